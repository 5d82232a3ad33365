"""Painting with an M-UNet: guidance (Eq. 12), warm starts, and windows for large photos.

Letters: B pictures, H, W height and width of the photo, h, w of a window, px; f pixels per latent.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.painter.munet import MUNet, Variant, resized
from kinephoto.painter.sampling import Box, Canvas, Sampler, Step, View, noise_of, windows

Condition = Literal["black", "filled"]


class MUNetPipeline(DiffusionPipeline):
    """Autoencoder, M-UNet, text encoder and scheduler that together paint holes.

    Args:
        vae: ``encode(x).latent_dist``, ``decode(z)`` and a config with ``scaling_factor`` and
            ``block_out_channels``, as ``AutoencoderKL`` has them; pictures in [-1, 1]. A decoder that
            takes ``image`` and ``mask``, as ``AsymmetricAutoencoderKL``'s does, is given the masked
            picture and a mask that is 1 in the holes, both at pixel precision.
        text_encoder: its first output is [B, L, D], as ``CLIPTextModel``'s; None where no block of the
            UNet attends to text.
        tokenizer: such as ``CLIPTokenizer``; None with the text encoder.
        unet: the M-UNet.
        scheduler: see ``Sampler``.
        condition: what z̃ is encoded from: "black", the picture with its holes blackened, as in the
            paper; "filled", the picture with its holes filled by the caller.
        residual_scale: None: z_0 is the picture's latents. A number: z_0 is what they differ from z̃
            by, divided by it.

    Raises:
        InputError: the UNet is a plain one, or there is no such condition.
    """

    model_cpu_offload_seq: Any = "text_encoder->unet->vae"
    _optional_components = ["text_encoder", "tokenizer"]  # noqa: RUF012  as diffusers spells it

    def __init__(
        self,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        unet: MUNet,
        scheduler: Any,
        condition: str = "black",
        residual_scale: float | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(unet, MUNet):
            raise InputError(f"The UNet is a {type(unet).__name__}; MUNet.from_unet makes an M-UNet of one.")
        if condition not in get_args(Condition):
            raise InputError(f"The condition is {condition!r}; it must be 'black' or 'filled'.")
        self.register_modules(
            vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler
        )
        self.register_to_config(condition=condition, residual_scale=residual_scale)

    @torch.no_grad()
    def __call__(
        self, rgb: Tensor, known: Tensor, *, on_step: Callable[[], None] | None = None, **options: Any
    ) -> Tensor:
        """``painting``, to its end.

        Args:
            rgb, known, options: see ``painting``.
            on_step: called before the first evaluation of the network and after each; what it raises
                stops the painting.

        Returns:
            [B, 3, H, W] in [0, 1]: the decoder's own rendition, of known pixels too, wherever a window
            was painted; ``rgb`` elsewhere.
        """
        for step in self.painting(rgb, known, **options):
            last = step
            if on_step is not None:
                on_step()
        return last.picture()

    @torch.no_grad()
    def painting(
        self,
        rgb: Tensor,
        known: Tensor,
        *,
        prompt: str | Sequence[str | None] | None = None,
        fill: Tensor | None = None,
        steps: int = 12,
        guidance: float = 0.0,
        strength: float = 1.0,
        seed: int | Sequence[int] = 0,
        window_px: int = 512,
        margin_px: int = 64,
    ) -> Iterator[Step]:
        """Paint, one value per evaluation of the network and one before the first; closing cancels.

        Args:
            rgb: [B, 3, H, W] in [0, 1], sRGB; what it holds in holes is never seen.
            known: [B, H, W] bool.
            prompt: one for all pictures or one for each; None is blank.
            fill: [B, 3, H, W] in [0, 1], rgb with its holes filled somehow; needed for the condition
                "filled" and for a strength below 1. Only its holes are looked at.
            steps: of the scheduler, in each window.
            guidance: s of Eq. 12; 0 is the plain conditional model and costs one pass a step, not two.
            strength: in (0, 1]: the fill is noised to this share of the timesteps, and denoised from
                there; 1 starts from pure noise.
            seed: picture i draws from a generator of its own, seeded with this or with its i-th.
            window_px: sides of what the network sees at once. Each picture's holes are covered by
                windows one after another, later ones seeing what earlier ones painted, so that memory
                does not grow with the photo.
            margin_px: a window believes what it paints this far from its own sides; towards them it
                fades into its neighbour.

        Raises:
            InputError: parts that disagree, or an option out of range.
        """
        fill = _checked(rgb, known, fill, self._option("condition"), strength)
        prompts = _one_each(prompt, len(rgb), "prompts")
        generators = [torch.Generator().manual_seed(s) for s in _one_each(seed, len(rgb), "seeds")]
        if not 0 <= margin_px <= window_px // 4:
            raise InputError(
                f"The margin is {margin_px} px; it must be between 0 and a quarter of {window_px} px."
            )
        canvas = Canvas(rgb, known, fill, window_px, self.pixels_per_latent)
        plans = [windows(~is_known, canvas.window_hw, margin_px) for is_known in canvas.known]
        rounds = max(map(len, plans), default=0)
        total = rounds * len(Sampler(self.scheduler, steps, strength).timesteps)
        yield Step(0, total, canvas.picture)

        texts, blank = self._texts(prompts, guidance) if rounds else (None, None)
        done = 0
        for turn in range(rounds):
            members = [i for i, plan in enumerate(plans) if turn < len(plan)]
            view = canvas.view(members, [plans[i][turn] for i in members])
            masked, filled, mask = self._conditions(view)
            sampler = Sampler(self.scheduler, steps, strength)
            own = [generators[i] for i in members]
            latents = sampler.start(noise_of(own, masked.shape[1:], masked), filled)
            text = None if texts is None else texts[members]
            predict = partial(self._predict, text, blank, guidance, mask, masked)
            last = len(sampler.timesteps) - 1
            for k, denoised in enumerate(sampler.run(latents, predict, own)):
                done += 1
                if k < last:
                    decode = partial(self._decoded, denoised.clean, masked, view)
                    yield Step(done, total, partial(canvas.preview, view, margin_px, decode))
            canvas.blend(view, margin_px, self._decoded(denoised.latents, masked, view))
            yield Step(done, total, canvas.picture)

    def paint_latents(
        self,
        rgb: Tensor,
        known: Tensor,
        *,
        fill: Tensor | None = None,
        steps: int = 12,
        strength: float = 1.0,
        seeds: Sequence[int] = (0,),
        learns: bool = False,
    ) -> Tensor:
        """The latents of a painting without text, before the decoder: for training one.

        Args:
            rgb: [B, 3, h, w] in [0, 1], one window each.
            known: [B, h, w] bool.
            fill: [B, 3, h, w], as for ``painting``.
            steps, strength: as for ``painting``.
            seeds: one for each picture, or one for all.
            learns: the last evaluation of the network is kept for going back through it (Clark et al.,
                Directly Fine-Tuning Diffusion Models on Differentiable Rewards, ICLR 2024, DRaFT-1).

        Returns:
            [B, C, h / f, w / f], as ``encode`` gives them.
        """
        fill = _checked(rgb, known, fill, self._option("condition"), strength)
        shown = torch.where(known[:, None], rgb, 0.0)
        filled_rgb = None if fill is None else torch.where(known[:, None], rgb, fill)
        view = View(list(range(len(rgb))), [Box(0, 0)] * len(rgb), shown, known, filled_rgb)
        masked, filled, mask = self._conditions(view)
        generators = [torch.Generator().manual_seed(s) for s in _one_each(list(seeds), len(rgb), "seeds")]
        sampler = Sampler(self.scheduler, steps, strength)
        final = int(sampler.timesteps[-1])
        with torch.no_grad():
            latents = sampler.start(noise_of(generators, masked.shape[1:], masked), filled)
            texts = self._texts([None], 0.0)[0]
        text = None if texts is None else texts.expand(len(rgb), -1, -1)

        def predict(z_t: Tensor, t: Tensor) -> Tensor:
            with torch.set_grad_enabled(learns and int(t) == final):
                return self._predict(text, None, 0.0, mask, masked, z_t, t)

        with torch.set_grad_enabled(learns):
            *_, last = sampler.run(latents, predict, generators)
            return self._whole(last.latents, masked)

    def _option(self, name: str) -> Any:
        return self.config[name]

    @property
    def pixels_per_latent(self) -> int:
        """f, by how much the autoencoder shrinks a side."""
        own = getattr(self.vae, "spatial_compression_ratio", None)
        return int(own or 2 ** (len(self.vae.config.block_out_channels) - 1))

    def _texts(self, prompts: list[Any], guidance: float) -> tuple[Tensor | None, Tensor | None]:
        """[B, L, D] of the prompts, and [1, L, D] of the blank one if guidance will ask for it."""
        wanted = [prompt or "" for prompt in prompts]
        if self.text_encoder is None:
            return None, None
        # Guidance away from a blank prompt towards a blank prompt leads nowhere.
        guided = guidance != 0 and any(wanted)
        return self.encode_prompt(wanted), self.encode_prompt([""]) if guided else None

    @torch.no_grad()
    def encode_prompt(self, prompts: list[str]) -> Tensor:
        """[B, L, D], p: the text encoder's states for each prompt; longer ones are cut at L tokens."""
        longest = min(self.tokenizer.model_max_length, self.text_encoder.config.max_position_embeddings)
        ids = self.tokenizer(
            prompts, padding="max_length", max_length=longest, truncation=True, return_tensors="pt"
        ).input_ids
        return self.text_encoder(ids.to(self.text_encoder.device))[0]

    @torch.no_grad()
    def encode(self, rgb: Tensor) -> Tensor:
        """[B, 3, h, w] in [0, 1] -> [B, C, h / f, w / f] float32, scaled as the UNet expects."""
        x = (2 * rgb - 1).to(self.vae.device, self.vae.dtype)
        z = self.vae.encode(x).latent_dist.mode().float()
        return (z - (self.vae.config.get("shift_factor") or 0)) * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Tensor, masked: Tensor, known: Tensor) -> Tensor:
        """[B, C, h / f, w / f] -> [B, 3, h, w] in [0, 1].

        Args:
            latents: as ``encode`` gives them.
            masked: [B, 3, h, w] in [0, 1], what z̃ was encoded from, for decoders that look at it.
            known: [B, h, w] bool, for the same.
        """
        z = latents / self.vae.config.scaling_factor + (self.vae.config.get("shift_factor") or 0)
        seen: dict[str, Tensor] = {}
        if {"image", "mask"} <= set(inspect.signature(self.vae.decode).parameters):
            seen["image"] = (2 * masked - 1).to(self.vae.device, self.vae.dtype)
            seen["mask"] = (~known)[:, None].to(self.vae.device, self.vae.dtype)
        x = self.vae.decode(z.to(self.vae.device, self.vae.dtype), return_dict=False, **seen)[0]
        return (x.float() / 2 + 0.5).clamp(0, 1)

    def _conditions(self, view: View) -> tuple[Tensor, Tensor | None, Tensor]:
        """z̃, the fill as z_0 would be (None without one), and M̃ at the latents' size."""
        device = self.unet.device
        masked = self.encode(self._shown(view)).to(device)
        mask = latent_mask(view.known, masked.shape[-2:]).to(device)
        if view.filled is None:
            return masked, None, mask
        filled = masked if self._option("condition") == "filled" else self.encode(view.filled).to(device)
        scale = self._option("residual_scale")
        return masked, filled if scale is None else (filled - masked) / scale, mask

    def _shown(self, view: View) -> Tensor:
        """[b, 3, h, w]: the masked picture Ṽ, black or filled in the holes."""
        if self._option("condition") == "filled":
            assert view.filled is not None
            return view.filled
        return view.rgb * view.known[:, None]

    def _decoded(self, latents: Tensor, masked: Tensor, view: View) -> Tensor:
        """z_0 -> [b, 3, h, w] in [0, 1]."""
        return self.decode(self._whole(latents, masked), self._shown(view), view.known)

    def _whole(self, latents: Tensor, masked: Tensor) -> Tensor:
        """z_0 as a picture's latents, where it is what they differ from z̃ by."""
        scale = self._option("residual_scale")
        return latents if scale is None else masked + scale * latents

    def _predict(
        self,
        text: Tensor | None,
        blank: Tensor | None,
        guidance: float,
        mask: Tensor,
        masked: Tensor,
        z_t: Tensor,
        t: Tensor,
    ) -> Tensor:
        """Eq. 12; both terms keep M̃ and z̃."""
        dtype, device = self.unet.dtype, self.unet.device
        if blank is None:
            states = None if text is None else text.to(device, dtype)
            return self.unet(z_t.to(dtype), t, states, mask, masked).sample.float()
        assert text is not None
        states = torch.cat([text, blank.expand_as(text)]).to(device, dtype)
        twice = [torch.cat([each, each]).to(dtype) for each in (z_t, mask, masked)]
        given, without = self.unet(twice[0], t, states, *twice[1:]).sample.float().chunk(2)
        return given + guidance * (given - without)

    @classmethod
    def from_pretrained(  # type: ignore[override]  # takes fewer kinds of name
        cls, pretrained_model_name_or_path: str | Path, **options: Any
    ) -> Any:
        """As diffusers has it, but safetensors only.

        Raises:
            InputError: there is no such pipeline, or its weights are pickled or don't match.
        """
        # diffusers makes only what has been imported already.
        import kinephoto.painter.autoencoder  # noqa: F401

        place = Path(pretrained_model_name_or_path)
        _refuse_folder(place)
        options.setdefault("low_cpu_mem_usage", False)
        options["use_safetensors"] = True
        try:
            return super().from_pretrained(str(pretrained_model_name_or_path), **options)
        except InputError:
            raise
        except (OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError) as error:
            raise InputError(_why(place, error)) from error

    @classmethod
    def from_stable_diffusion(
        cls,
        name: str | Path,
        *,
        variant: Variant = "meb",
        masking_weights: Path | None = None,
        **options: Any,
    ) -> MUNetPipeline:
        """Stable Diffusion 1.x with Masked Enhanced Blocks added.

        Args:
            name: folder or hub id of a Stable Diffusion 1.x pipeline.
            variant: of the M-UNet.
            masking_weights: a safetensors file of ``MUNet.masking_weights``; None leaves them as they
                start, and the masks without effect.
            **options: for every ``from_pretrained``, such as ``local_files_only`` and ``torch_dtype``.

        Raises:
            InputError: it can't be loaded, or the masking weights are another variant's.
        """
        from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
        from safetensors.torch import load_file
        from transformers import CLIPTextModel, CLIPTokenizer

        place = Path(name)
        _refuse_folder(place)
        models = {**options, "use_safetensors": True}
        plain = {k: v for k, v in options.items() if k != "torch_dtype"}
        try:
            unet = UNet2DConditionModel.from_pretrained(
                name, subfolder="unet", low_cpu_mem_usage=False, **models
            )
            vae = AutoencoderKL.from_pretrained(name, subfolder="vae", low_cpu_mem_usage=False, **models)
            text_encoder = CLIPTextModel.from_pretrained(name, subfolder="text_encoder", **models)
            tokenizer = CLIPTokenizer.from_pretrained(name, subfolder="tokenizer", **plain)
            scheduler = DDIMScheduler.from_pretrained(name, subfolder="scheduler", **plain)
            weights = {} if masking_weights is None else load_file(masking_weights)
        except Exception as error:  # transformers, the hub and safetensors each raise kinds of their own
            raise InputError(_why(place, error)) from error
        munet = MUNet.from_unet(unet, variant)
        if weights:
            munet.load_masking_weights(weights)
        return cls(vae, text_encoder, tokenizer, munet, scheduler)


def latent_mask(known: Tensor, hw: Sequence[int]) -> Tensor:
    """M̃ as the M-UNet takes it: [B, H, W] bool -> [B, 1, h, w], the share of each latent that is known."""
    return resized(known[:, None].float(), hw)


def composited(rgb: Tensor, known: Tensor, painted: Tensor) -> Tensor:
    """``painted`` in the holes, ``rgb`` bit for bit elsewhere; without the feather of ``paint_holes``."""
    return torch.where(known[:, None], rgb, painted.to(rgb.device, rgb.dtype))


def _one_each(given: Any, count: int, what: str) -> list[Any]:
    """One value for all, or one for each."""
    if given is None or isinstance(given, str | int):
        return [given] * count
    if len(given) != count:
        raise InputError(f"There are {count} pictures and {len(given)} {what}; give one for all or one each.")
    return list(given)


def _checked(
    rgb: Tensor, known: Tensor, fill: Tensor | None, condition: str, strength: float
) -> Tensor | None:
    """The fill, if it is needed; InputError unless the parts fit together."""
    if rgb.ndim != 4 or rgb.shape[1] != 3 or not rgb.is_floating_point():
        raise InputError(f"Pictures to paint are [B, 3, H, W] floats; got {tuple(rgb.shape)}, {rgb.dtype}.")
    if known.dtype != torch.bool or known.shape != (len(rgb), *rgb.shape[2:]):
        raise InputError(
            f"For pictures {tuple(rgb.shape)} the mask of known pixels is [B, H, W] bool;"
            f" got {tuple(known.shape)}, {known.dtype}."
        )
    if fill is not None and fill.shape != rgb.shape:
        raise InputError(f"The pictures are {tuple(rgb.shape)}, their fill {tuple(fill.shape)}.")
    if not 0 < strength <= 1:
        raise InputError(f"The strength is {strength}; it must be above 0 and at most 1.")
    if fill is None and condition == "filled":
        raise InputError("This painter looks at a filled picture; give it a fill.")
    if fill is None and strength < 1:
        raise InputError(f"A strength of {strength} needs a fill to start from; give one or use 1.")
    return fill


def _refuse_folder(place: Path) -> None:
    """Raise InputError for a folder that can't hold a pipeline; let hub ids pass."""
    if place.is_dir() and not (place / "model_index.json").is_file():
        raise InputError(f"{place.name} holds no diffusers pipeline: it lacks model_index.json.")


def _why(place: Path, error: Exception) -> str:
    """One sentence for what diffusers, transformers or safetensors raised."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".: ")
    if not place.is_dir():
        return f"{place} is no folder here and can't be had from the hub ({reason}); give a folder."
    for part in sorted(each for each in place.iterdir() if each.is_dir()):
        if any(part.glob("*.bin")) and not any(part.glob("*.safetensors")):
            return (
                f"{place.name}/{part.name} holds pickled weights (.bin), which can run code;"
                " only safetensors are loaded."
            )
    return f"The pipeline in {place.name} can't be loaded ({reason})."
