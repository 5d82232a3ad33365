"""M-UNet: a diffusers UNet that is told what is known, by Masked Enhanced Blocks (the paper's Fig. 4).

Letters: B batch, C latent channels, F feature channels, h, w height and width of the latents;
f features, M̃ mask, z̃ masked latents, as in the paper.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from diffusers.models.modeling_utils import ModelMixin as ModelMixin  # diffusers looks for it beside MUNet
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel, UNet2DConditionOutput
from torch import Tensor, nn

from kinephoto.errors import InputError

Variant = Literal["meb", "no-mask", "cross-fusion", "concat"]


class _Blocks(NamedTuple):
    down: Any
    mid: Any
    up: Any


def resized(picture: Tensor, hw: Sequence[int]) -> Tensor:
    """[B, n, any, any] -> [B, n, h, w] by means over areas: a mask becomes the share that is known."""
    return F.adaptive_avg_pool2d(picture, (hw[0], hw[1]))


class SpatialEmbedding(nn.Module):
    """A picture's scale γ and shift β for every feature at every place (γ and β of Eq. 10).

    Args:
        in_channels: of the picture, 1 for M̃ and C for z̃.
        channels: F.
        hidden_channels: of the layer that γ and β share.
    """

    def __init__(self, in_channels: int, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.shared = nn.Conv2d(in_channels, hidden_channels, 3, padding=1)
        self.gamma = nn.Conv2d(hidden_channels, channels, 3, padding=1)
        self.beta = nn.Conv2d(hidden_channels, channels, 3, padding=1)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """[B, in_channels, h, w] -> γ and β, each [B, F, h, w]."""
        hidden = F.silu(self.shared(picture))
        return self.gamma(hidden), self.beta(hidden)


class MaskedEnhancedBlock(nn.Module):
    """Eq. 10 with its skip connections and the timestep (Fig. 4b).

    f₁ = f + γ_z(z̃)·Norm(f) + β_z(z̃), f₂ = f₁ + γ_M(M̃)·f₁ + β_M(M̃), and what comes out is
    f + conv(SiLU(Norm(f₂ + t))), whose convolution is zero at the start: then the block does nothing.

    Args:
        channels: F; a multiple of ``groups``.
        latent_channels: C.
        time_channels: of the timestep's embedding.
        hidden_channels: inside each embedding.
        variant: "meb"; "no-mask" leaves out f₂; "cross-fusion" has one layer for both pictures, whose
            γ and β are mixed by two learnt weights (Zhu et al., SEAN, CVPR 2020, section 3.2).
        groups: of the group normalisation.
        eps: of the group normalisation.
    """

    def __init__(
        self,
        channels: int,
        latent_channels: int,
        time_channels: int,
        hidden_channels: int,
        variant: Variant,
        groups: int = 32,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.variant = variant
        self.norm = nn.GroupNorm(groups, channels, eps)
        self.embed_latents = SpatialEmbedding(latent_channels, channels, hidden_channels)
        if variant != "no-mask":
            self.embed_mask = SpatialEmbedding(1, channels, hidden_channels)
        if variant == "cross-fusion":
            self.mix_gamma = nn.Parameter(torch.zeros(1))
            self.mix_beta = nn.Parameter(torch.zeros(1))
        self.time_proj = nn.Linear(time_channels, channels)
        self.norm_out = nn.GroupNorm(groups, channels, eps)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]  # a convolution made here has a bias

    def forward(self, f: Tensor, time: Tensor, mask: Tensor, masked_latents: Tensor) -> Tensor:
        """Features that know what is known.

        Args:
            f: [B, F, h', w'], features at this level.
            time: [B, time_channels], the timestep's embedding.
            mask: [B, 1, any, any], M̃; resized to (h', w') by means over areas.
            masked_latents: [B, C, any, any], z̃; resized likewise.

        Returns:
            [B, F, h', w'].
        """
        hw = f.shape[-2:]
        gamma, beta = self.embed_latents(resized(masked_latents, hw))
        if self.variant != "no-mask":
            gamma_mask, beta_mask = self.embed_mask(resized(mask, hw))
        if self.variant == "cross-fusion":
            gamma = torch.lerp(gamma_mask, gamma, torch.sigmoid(self.mix_gamma).to(gamma))
            beta = torch.lerp(beta_mask, beta, torch.sigmoid(self.mix_beta).to(beta))
        g = f + gamma * self.norm(f) + beta
        if self.variant == "meb":
            g = g + gamma_mask * g + beta_mask
        g = g + self.time_proj(F.silu(time))[:, :, None, None]
        return f + self.conv_out(F.silu(self.norm_out(g)))


class MUNet(UNet2DConditionModel):
    """A ``UNet2DConditionModel`` with one Masked Enhanced Block at the start of each down block.

    Parameters of the UNet keep their names and shapes, so that every Stable Diffusion 1.x UNet fits; a
    block's own are ``down_blocks.N.meb.*``. The variant "concat" has none of them, but ``mask_in.*``:
    convolving [sample, mask, masked latents] is convolving the sample, as before, and adding that.

    Args:
        mask_variant: one of ``Variant``. (``variant`` is what diffusers calls a file's precision.)
        mask_hidden_channels: inside each embedding; 128 in SPADE, fewer for small networks.
        masked_channels: C of the masked latents; None: ``in_channels``.
        **unet: every argument of ``UNet2DConditionModel``.

    Raises:
        InputError: there is no such variant.
    """

    def __init__(
        self,
        mask_variant: Variant = "meb",
        mask_hidden_channels: int = 128,
        masked_channels: int | None = None,
        **unet: Any,
    ) -> None:
        if mask_variant not in get_args(Variant):
            raise InputError(
                f"There is no M-UNet variant {mask_variant!r}; there are {', '.join(get_args(Variant))}."
            )
        super().__init__(**unet)
        self.register_to_config(
            mask_variant=mask_variant,
            mask_hidden_channels=mask_hidden_channels,
            masked_channels=masked_channels,
        )
        config, blocks = self._untyped()
        latent_channels = masked_channels or config.in_channels
        if mask_variant == "concat":
            side = config.conv_in_kernel
            width = config.block_out_channels[0]
            self.mask_in = nn.Conv2d(1 + latent_channels, width, side, padding=(side - 1) // 2, bias=False)
            nn.init.zeros_(self.mask_in.weight)
            return
        widths = (config.block_out_channels[0], *config.block_out_channels[:-1])
        for block, channels in zip(blocks.down, widths, strict=True):
            block.meb = MaskedEnhancedBlock(
                channels,
                latent_channels,
                block.resnets[0].time_emb_proj.in_features,
                mask_hidden_channels,
                mask_variant,
                config.norm_num_groups or 1,
                config.norm_eps,
            )

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        encoder_hidden_states: Tensor | None,
        mask: Tensor,
        masked_latents: Tensor,
        *,
        class_labels: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        added_cond_kwargs: dict[str, Tensor] | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        return_dict: bool = True,
    ) -> UNet2DConditionOutput | tuple[Tensor]:
        """ε_θ(z_t, t, c) with c = {M̃, z̃, p} (Eq. 11), or v, whichever it was trained for.

        Args:
            sample: [B, C, h, w], z_t; sides of any length.
            timestep: one, or [B].
            encoder_hidden_states: [B, L, cross_attention_dim], the text p; None only if no block attends.
            mask: [B, 1, any, any] in [0, 1], M̃: 1 where known, 0 in holes (Eq. 8). Finer than the
                latents is fine: each level takes means over its areas.
            masked_latents: [B, C, h, w], z̃ = E(masked image).
            class_labels: as diffusers has it, like the remaining arguments.
            encoder_attention_mask: [B, L], 1 keeps a token.
            added_cond_kwargs: further embeddings, such as SDXL's.
            cross_attention_kwargs: for the attention processors.
            return_dict: False gives a tuple of one.

        Returns:
            ``.sample`` is [B, C, h, w].
        """
        mask, masked_latents = mask.to(sample.dtype), masked_latents.to(sample.dtype)
        text, time = self._embedded(
            sample, timestep, encoder_hidden_states, class_labels, added_cond_kwargs or {}
        )
        attend = {"encoder_hidden_states": text, "cross_attention_kwargs": cross_attention_kwargs}
        attend["encoder_attention_mask"] = _as_bias(encoder_attention_mask, sample.dtype)

        config, blocks = self._untyped()
        f = self.conv_in(2 * sample - 1 if config.center_input_sample else sample)
        if config.mask_variant == "concat":
            hw = sample.shape[-2:]
            pictures = [resized(picture, hw) for picture in (mask, masked_latents)]
            f = f + self.mask_in(torch.cat(pictures, 1))
        skipped = [f]
        for block in blocks.down:
            if hasattr(block, "meb"):
                f = block.meb(f, time, mask, masked_latents)
            f, outputs = block(f, time, **(attend if _attends(block) else {}))
            skipped.extend(outputs)
        if blocks.mid is not None:
            f = blocks.mid(f, time, **(attend if _attends(blocks.mid) else {}))
        for block in blocks.up:
            n = len(block.resnets)
            skipped, taken = skipped[:-n], tuple(skipped[-n:])
            # The next block's height and width, which aren't twice this one's if a side was odd.
            next_hw = skipped[-1].shape[-2:] if skipped else None
            f = block(f, taken, time, upsample_size=next_hw, **(attend if _attends(block) else {}))
        if self.conv_norm_out is not None:
            f = self.conv_act(self.conv_norm_out(f))
        f = self.conv_out(f)
        return UNet2DConditionOutput(sample=f) if return_dict else (f,)

    def _embedded(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        text: Any,
        class_labels: Tensor | None,
        added: dict[str, Tensor],
    ) -> tuple[Any, Tensor]:
        """The text as the blocks attend to it and the timestep's embedding, each as in diffusers' UNet."""
        time = self.time_embedding(self.get_time_embed(sample=sample, timestep=timestep))
        of_class = self.get_class_embed(sample=sample, class_labels=class_labels)
        if of_class is not None:
            joined = self._untyped()[0].class_embeddings_concat
            time = torch.cat([time, of_class], -1) if joined else time + of_class
        further = self.get_aug_embed(emb=time, encoder_hidden_states=text, added_cond_kwargs=added)
        time = time if further is None else time + further
        time = time if self.time_embed_act is None else self.time_embed_act(time)
        return self.process_encoder_hidden_states(encoder_hidden_states=text, added_cond_kwargs=added), time

    def _untyped(self) -> tuple[Any, _Blocks]:
        """The config and the blocks, whose types diffusers doesn't tell."""
        return self.config, _Blocks(self.down_blocks, self.mid_block, self.up_blocks)

    def masking_weights(self) -> dict[str, Tensor]:
        """The parameters that a UNet doesn't have, by name: what is stored beside Stable Diffusion."""
        return {name: value for name, value in self.state_dict().items() if _is_masking(name)}

    def load_masking_weights(self, weights: dict[str, Tensor]) -> None:
        """Take over what ``masking_weights`` gave.

        Raises:
            InputError: they are another variant's or another shape's.
        """
        own = self.masking_weights()
        _refuse_other_names(set(own), set(weights), self._untyped()[0].mask_variant)
        for name, value in weights.items():
            if value.shape != own[name].shape:
                raise InputError(
                    f"The weights' {name} is {tuple(value.shape)}; this M-UNet's is {tuple(own[name].shape)}."
                )
        self.load_state_dict(weights, strict=False)

    @classmethod
    def from_unet(
        cls, unet: UNet2DConditionModel, variant: Variant = "meb", *, mask_hidden_channels: int = 128
    ) -> MUNet:
        """An M-UNet that computes exactly what ``unet`` computes, whatever mask it is given.

        Args:
            unet: copied, not changed; its device and dtype are kept.
            variant: how mask and masked latents come in, see ``Variant``.
            mask_hidden_channels: see ``MUNet``.
        """
        own = ("mask_variant", "mask_hidden_channels", "masked_channels")
        config = {k: v for k, v in unet.config.items() if not k.startswith("_") and k not in own}
        made: Any = cls(mask_variant=variant, mask_hidden_channels=mask_hidden_channels, **config)
        made.load_state_dict({k: v for k, v in unet.state_dict().items() if not _is_masking(k)}, strict=False)
        if (unet.device, unet.dtype) != (made.device, made.dtype):
            made.to(device=unet.device, dtype=unet.dtype)
        return made.train(unet.training)

    @classmethod
    def from_pretrained(  # type: ignore[override]  # takes fewer kinds of name
        cls, pretrained_model_name_or_path: str | Path, **options: Any
    ) -> Any:
        """As diffusers has it, but safetensors only, and every weight must be there.

        Raises:
            InputError: no such folder, pickled weights only, or weights that don't match the config.
        """
        named = Path(str(pretrained_model_name_or_path)).name
        wants_report = options.pop("output_loading_info", False)
        options["use_safetensors"] = True
        try:
            both: Any = super().from_pretrained(
                pretrained_model_name_or_path, output_loading_info=True, **_without_accelerate(options)
            )
        except (OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
            place = Path(str(pretrained_model_name_or_path), options.get("subfolder") or "")
            raise InputError(_why(named, place, error)) from error
        loaded, report = both
        variant = loaded.config.mask_variant
        missing, unexpected = set(report["missing_keys"]), set(report["unexpected_keys"])
        known = set(loaded.state_dict()) - missing
        _refuse_other_names(known | missing, known | unexpected, variant, f"The weights in {named}")
        return (loaded, report) if wants_report else loaded


def _with_arguments_of_unet(init: Any) -> None:
    """diffusers reads from the signature of a model's ``__init__`` what its config may hold."""
    own = list(inspect.signature(init).parameters.values())[:-1]
    of_unet = list(inspect.signature(UNet2DConditionModel.__init__).parameters.values())[1:]
    init.__signature__ = inspect.Signature(own + of_unet)


_with_arguments_of_unet(MUNet.__init__)


def _attends(block: nn.Module) -> bool:
    return bool(getattr(block, "has_cross_attention", False))


def _as_bias(attention_mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """[B, L] of ones and zeros -> [B, 1, L] to be added to attention scores."""
    return None if attention_mask is None else (1 - attention_mask.to(dtype))[:, None] * -10000.0


def _is_masking(name: str) -> bool:
    return ".meb." in name or name.startswith("mask_in.")


def _refuse_other_names(own: set[str], found: set[str], variant: str, whose: str = "The weights") -> None:
    """Raise InputError unless the names are the same; say so if it is the variant that differs."""
    missing, unexpected = sorted(own - found), sorted(found - own)
    if not missing and not unexpected:
        return
    if missing and not any(map(_is_masking, found)):
        raise InputError(f"{whose} are a plain UNet's; MUNet.from_unet makes an M-UNet of one.")
    if all(map(_is_masking, missing + unexpected)):
        raise InputError(f"{whose} are another variant's than {variant!r}, which the M-UNet is.")
    what = f"lack {missing[0]}" if missing else f"hold {unexpected[0]}, which the M-UNet doesn't have"
    count = len(missing) + len(unexpected)
    raise InputError(f"{whose} don't match the config: they {what} ({count} such names).")


def _without_accelerate(options: dict[str, Any]) -> dict[str, Any]:
    """diffusers warns on every load that accelerate is absent, unless it is told."""
    import importlib.util

    if importlib.util.find_spec("accelerate") is not None:
        return options
    return {**options, "low_cpu_mem_usage": False}


def _why(named: str, place: Path, error: Exception) -> str:
    """One sentence for what diffusers raised."""
    if not place.is_dir():
        if not isinstance(error, OSError):
            return f"{place} can't be loaded as an M-UNet ({_first_line(error)})."
        return (
            f"{place} is neither a folder here nor can it be had from the hub; give a folder with an M-UNet."
        )
    if not (place / "config.json").is_file():
        return f"{named} holds no M-UNet: it lacks config.json."
    if not any(place.glob("*.safetensors")):
        if any(place.glob("*.bin")):
            return f"{named} holds pickled weights (.bin), which can run code; only safetensors are loaded."
        return f"{named} holds no M-UNet: it lacks safetensors weights."
    return f"The weights in {named} don't match its config ({_first_line(error)})."


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".: ")
