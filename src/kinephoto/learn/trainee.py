"""What is trained: an M-UNet and, if it is small, its text encoder, with the parts that stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kinephoto.errors import InputError
from kinephoto.learn.captions import new_text_encoder, new_tokenizer
from kinephoto.learn.painter_settings import PainterSettings
from kinephoto.painter.munet import MUNet
from kinephoto.painter.networks import MASKING_FILE, quiet
from kinephoto.painter.pipeline import MUNetPipeline

TEXT_CHANNELS = 128
MASK_CHANNELS = 32
TRAINED_TIMESTEPS = 1000

CROPS_A_STEP = "crops a step (--batch × --accumulate × processes)"


class Trainee(nn.Module):
    """M-UNet and text encoder as one module, so that they are trained, averaged and distributed together.

    Args:
        unet: the M-UNet.
        text_encoder: trained with it; None where there is none or where it stays as it is.
    """

    def __init__(self, unet: MUNet, text_encoder: Any) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder

    def learnt(self) -> dict[str, Tensor]:
        """The parameters that learn, by name; not those of a Stable Diffusion UNet, which stay as they are."""
        learns = {name for name, value in self.named_parameters() if value.requires_grad}
        return {name: value for name, value in self.state_dict().items() if name in learns}

    def take(self, learnt: dict[str, Tensor]) -> None:
        """Take over what ``learnt`` gave."""
        self.load_state_dict(learnt, strict=False)

    def forward(
        self,
        z_t: Tensor,
        t: Tensor,
        tokens: Tensor | None,
        states: Tensor | None,
        mask: Tensor,
        masked: Tensor,
    ) -> Tensor:
        """What the M-UNet predicts, [B, C, h, w].

        Args:
            z_t: [B, C, h, w].
            t: [B] int64.
            tokens: [B, L], read by the trained text encoder.
            states: [B, L, D], of a text encoder that stays as it is; one of both is None.
            mask: [B, 1, h, w], M̃.
            masked: [B, C, h, w], z̃.
        """
        if self.text_encoder is not None:
            states = self.text_encoder(tokens)[0]
        # torch's group norm crashes going back where channels lie last and its own weights don't learn.
        return self.unet(z_t.contiguous(), t, states, mask.contiguous(), masked.contiguous()).sample


@dataclass(frozen=True, eq=False)
class Parts:
    """A run's pipeline, and what of it learns.

    Attributes:
        pipeline: all parts.
        trains_text: the text encoder learns too; it does where it was made for this painter.
    """

    pipeline: MUNetPipeline
    trains_text: bool

    def trainee(self) -> Trainee:
        """The modules that learn; the pipeline's own.

        A painter of ours learns as a whole. Of Stable Diffusion only the Masked Enhanced Blocks learn, so that its
        weights serve every painter made from it, and what is stored is small.
        """
        trainee = Trainee(self.pipeline.unet, self.pipeline.text_encoder if self.trains_text else None)
        masking = {f"unet.{name}" for name in self.pipeline.unet.masking_weights()}
        for name, value in trainee.named_parameters():
            value.requires_grad_(self.trains_text or name in masking)
        return trainee

    def place(self, device: torch.device) -> None:
        """Move what doesn't learn to a device."""
        for part in (self.pipeline.vae, None if self.trains_text else self.pipeline.text_encoder):
            if part is not None:
                part.eval().requires_grad_(False).to(device)

    @torch.no_grad()
    def states(self, tokens: Tensor | None) -> Tensor | None:
        """[B, L] to [B, L, D], of a text encoder that isn't trained; None where there is none."""
        encoder = self.pipeline.text_encoder
        return None if self.trains_text or encoder is None or tokens is None else encoder(tokens)[0]


def parts_of(settings: PainterSettings, captions: list[str]) -> Parts:
    """The pipeline as ``settings.init`` asks for it.

    Raises:
        InputError: no such start, or one of another variant.
    """
    if settings.init == "scratch":
        return Parts(_from_scratch(settings, captions), True)
    from kinephoto.painter.builtin import builtin_folder, loaded

    place = builtin_folder() if settings.init == "builtin" else Path(settings.init)
    if place.is_dir() and _is_ours(place):
        pipeline = loaded(place)
        _refuse_other(place.name, _kind_of(pipeline), settings)
        return Parts(pipeline, True)
    masking = place / MASKING_FILE
    with quiet(), torch.random.fork_rng(devices=[]):
        # The blocks that a folder doesn't bring are drawn.
        torch.manual_seed(settings.seed)
        pipeline = MUNetPipeline.from_stable_diffusion(
            settings.init,
            variant=settings.variant,
            masking_weights=masking if masking.is_file() else None,
        )
    # The paper's way, unless another is asked for.
    condition = "black" if settings.condition == "auto" else settings.condition
    pipeline.register_to_config(condition=condition, residual_scale=settings.residual or None)
    _refuse_other(place.name, {"target": _kind_of(pipeline)["target"]}, settings)
    return Parts(pipeline, False)


def kind_of(parts: Parts, settings: PainterSettings, processes: int = 1) -> dict[str, Any]:
    """What must stay the same within a run, under the names of the settings or as words.

    The crops of a step are the same ones, and in the same order, however many processes share them.
    """
    own = {name: getattr(settings, name) for name in ("seed", "crop_px")}
    crops = {CROPS_A_STEP: settings.batch * settings.accumulate * processes}
    return own | crops | _kind_of(parts.pipeline)


def _kind_of(pipeline: MUNetPipeline) -> dict[str, Any]:
    """What a painter is, under the names of the settings that say so."""
    return {
        "variant": pipeline.unet.config["mask_variant"],
        "target": pipeline.scheduler.config["prediction_type"],
        "condition": pipeline.config["condition"],
        "residual": float(pipeline.config["residual_scale"] or 0.0),
    }


def _refuse_other(name: str, theirs: dict[str, Any], settings: PainterSettings) -> None:
    """Raise InputError where the settings ask for another kind of painter than the start is."""
    for setting, value in theirs.items():
        asked = getattr(settings, setting)
        if asked not in (None, "auto", value):
            flag = "--" + setting
            raise InputError(f"{name} is a painter with {flag} {value}; {flag} {asked} needs --init scratch.")


def _is_ours(place: Path) -> bool:
    index = place / "model_index.json"
    return index.is_file() and "MUNet" in index.read_text(encoding="utf-8")


def _from_scratch(settings: PainterSettings, captions: list[str]) -> MUNetPipeline:
    target = "v_prediction" if settings.target == "auto" else settings.target
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        tokenizer = new_tokenizer(captions)
        text_encoder = new_text_encoder(tokenizer, TEXT_CHANNELS)
        vae = _autoencoder(settings)
        unet = new_unet(settings, int(vae.config["latent_channels"]))
    return MUNetPipeline(
        vae,
        text_encoder,
        tokenizer,
        unet,
        new_scheduler(target),
        condition="filled" if settings.condition == "auto" else settings.condition,
        residual_scale=(1.0 if settings.residual is None else settings.residual) or None,
    )


def _autoencoder(settings: PainterSettings) -> Any:
    from kinephoto.painter.autoencoder import PatchAutoencoder
    from kinephoto.painter.builtin import builtin_folder

    place = settings.autoencoder or builtin_folder() / "vae"
    if not (place / "config.json").is_file():
        raise InputError(f"There is no autoencoder in {place}; --autoencoder FOLDER names one.")
    return PatchAutoencoder.from_pretrained(place, use_safetensors=True, low_cpu_mem_usage=False).float()


def new_unet(settings: PainterSettings, latent_channels: int) -> MUNet:
    """A small M-UNet of ``settings.widths`` that attends, to itself and to text, at its lowest level."""
    levels = len(settings.widths)
    down = ("DownBlock2D",) * (levels - 1) + ("CrossAttnDownBlock2D",)
    up = ("CrossAttnUpBlock2D",) + ("UpBlock2D",) * (levels - 1)
    return MUNet(
        mask_variant=settings.variant,
        mask_hidden_channels=MASK_CHANNELS,
        sample_size=settings.crop_px // 8,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=tuple(settings.widths),
        layers_per_block=1,
        down_block_types=down,
        up_block_types=up,
        cross_attention_dim=TEXT_CHANNELS,
        attention_head_dim=8,
        norm_num_groups=16,
    )


def new_scheduler(target: str) -> Any:
    """The noise schedule of the built-in painter: a cosine (Nichol and Dhariwal 2021, Eq. 17)."""
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(
        num_train_timesteps=TRAINED_TIMESTEPS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type=target,
        timestep_spacing="trailing",
    )
