"""Painters with a diffusion network of other people, from a folder or from the Hugging Face hub.

diffusers and transformers are imported when a painter is made: they take seconds, and few need them.
"""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from kinephoto.errors import InputError
from kinephoto.machine import usable_device
from kinephoto.painter.classical import ClassicalPainter
from kinephoto.painter.door import OnStep

if TYPE_CHECKING:
    from kinephoto.painter.sampling import View

# What masking weights are called in a folder of Stable Diffusion 1.x.
MASKING_FILE = "masking.safetensors"
# Steps where nobody says how many: as MUNetPipeline's own, and half of diffusers' 50.
SD_STEPS, HUB_STEPS = 12, 25
# A network that isn't told what is known must find it in what it starts from; with more noise than this
# too little of it is left.
WARM_STRENGTH = 0.6
# No network sees more than this at once, and none less than the smaller one.
MOST_WINDOW_PX, LEAST_WINDOW_PX = 1024, 256
# Towards its own sides a window fades into its neighbour over so many px.
MARGIN_PX = 64
# Sides that every autoencoder can halve three times, and FLUX once more.
MULTIPLE_PX = 16


class StableDiffusionPainter:
    """Stable Diffusion 1.x as an M-UNet; ``sd:FOLDER-OR-ID``.

    The weights of its Masked Enhanced Blocks are ``masking.safetensors`` in the folder. Without that file
    masks are without effect: the network isn't told what is known and only refines the classical
    painter's fill, from which it then starts, with what surrounds it.

    Args:
        name: a folder with model_index.json, or "owner/name" on the hub.
        device: such as "cuda"; None is the processor.
        offline: take the hub's from the cache only.
        steps: of the scheduler, >= 1; None is 12.
        guidance: >= 0, how much further than the plain model it follows the prompt (s of Eq. 12); any
            but 0 doubles the time.
        on_step: called between the network's steps; what it raises stops the painting.

    Attributes:
        masked: whether there are masking weights.

    Raises:
        InputError: it can't be loaded, or an option is out of range.
    """

    def __init__(
        self,
        name: str,
        *,
        device: str | None = None,
        offline: bool = False,
        steps: int | None = None,
        guidance: float = 0.0,
        on_step: OnStep = None,
    ) -> None:
        _check_options(name, steps, guidance)
        self.name = said(f"sd:{name}", name)
        self._steps, self._guidance, self._on_step = steps or SD_STEPS, guidance, on_step
        where = usable_device(device)
        masking = Path(name) / MASKING_FILE
        self.masked = masking.is_file()
        with quiet():
            from kinephoto.painter.pipeline import MUNetPipeline

            options = _load_options(where, offline or Path(name).is_dir())
            try:
                pipeline = MUNetPipeline.from_stable_diffusion(
                    name, masking_weights=masking if self.masked else None, **options
                )
            except Exception as error:
                raise InputError(_why(name, offline, error)) from error
            _check_complete(name, pipeline.components, ignored=frozenset(pipeline.unet.masking_weights()))
            pipeline.set_progress_bar_config(disable=True)
            self._pipeline = pipeline.to(where)

    def paint(
        self, rgb: Tensor, known: Tensor, disparity: Tensor, *, prompt: str | None = None, seed: int = 0
    ) -> Tensor:
        """See ``Painter.paint``."""
        fill = ClassicalPainter().paint(rgb, known, disparity, seed=seed)
        with quiet():
            painted = self._pipeline(
                rgb[None].float().cpu(),
                known[None].cpu(),
                prompt=prompt,
                fill=fill[None].float().cpu(),
                steps=self._steps,
                guidance=self._guidance,
                strength=1.0 if self.masked else WARM_STRENGTH,
                seed=seed,
                on_step=self._on_step,
            )
        return painted[0].to(rgb.device, rgb.dtype)


class HubPainter:
    """Any inpainting pipeline that diffusers loads: Stable Diffusion, SDXL, FLUX fill; ``hub:FOLDER-OR-ID``.

    Networks that were trained to inpaint see the mask. From one that only makes pictures of text, such as
    plain SDXL, diffusers makes one that keeps what is known at every step. All start from the classical
    painter's fill as far as their own ``strength`` says.

    Args:
        name: a folder with model_index.json, or "owner/name" on the hub.
        device: such as "cuda"; None is the processor.
        offline: take the hub's from the cache only.
        steps: of the scheduler, >= 1; None is 25.
        guidance: >= 0, how much further than the plain model it follows the prompt (s of Eq. 12, so that
            diffusers' ``guidance_scale`` is 1 + s). Networks that were distilled with guidance, as
            FLUX fill was, keep their own scale where it is 0.
        on_step: called between the network's steps, if the pipeline tells of them.

    Raises:
        InputError: it can't be loaded, it doesn't inpaint, or an option is out of range.
    """

    def __init__(
        self,
        name: str,
        *,
        device: str | None = None,
        offline: bool = False,
        steps: int | None = None,
        guidance: float = 0.0,
        on_step: OnStep = None,
    ) -> None:
        _check_options(name, steps, guidance)
        self.name = said(f"hub:{name}", name)
        self._steps, self._guidance, self._on_step = steps or HUB_STEPS, guidance, on_step
        where = usable_device(device)
        with quiet():
            try:
                pipeline = _inpainting_pipeline(name, _load_options(where, offline or Path(name).is_dir()))
            except Exception as error:  # diffusers, transformers, the hub and safetensors raise their own
                raise InputError(_why(name, offline, error)) from error
            self._takes = set(inspect.signature(pipeline.__call__).parameters)
            if not {"image", "mask_image", "prompt"} <= self._takes:
                raise InputError(f"{name} is a {type(pipeline).__name__}, which does not inpaint.")
            _check_complete(name, pipeline.components)
            pipeline.set_progress_bar_config(disable=True)
            self._pipeline = pipeline.to(where)

    def paint(
        self, rgb: Tensor, known: Tensor, disparity: Tensor, *, prompt: str | None = None, seed: int = 0
    ) -> Tensor:
        """See ``Painter.paint``.

        Raises:
            InputError: the pipeline's safety checker refuses what was painted.
        """
        from kinephoto.painter.sampling import Canvas, windows

        fill = ClassicalPainter().paint(rgb, known, disparity, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        # Canvas makes sides shorter than a window multiples of MULTIPLE_PX by repeating the border.
        canvas = Canvas(rgb[None].cpu(), known[None].cpu(), fill[None].cpu(), self.window_px, MULTIPLE_PX)
        for box in windows(~canvas.known[0], canvas.window_hw, MARGIN_PX):
            view = canvas.view([0], [box])
            canvas.blend(view, MARGIN_PX, self._painted(view, prompt or "", generator))
        return canvas.picture()[0].to(rgb.device)

    @property
    def window_px(self) -> int:
        """Sides of what the network sees at once: what it was trained on, within bounds."""
        unet = getattr(self._pipeline, "unet", None)
        own: Any = getattr(unet.config, "sample_size", None) if unet is not None else None
        latents: Any = own or getattr(self._pipeline, "default_sample_size", 64)
        side = int(latents if isinstance(latents, int) else min(latents)) * self._pipeline.vae_scale_factor
        return max(LEAST_WINDOW_PX, min(side, MOST_WINDOW_PX))

    def _painted(self, view: View, prompt: str, generator: torch.Generator) -> Tensor:
        """[1, 3, h, w] in [0, 1]: one window as the network renders it."""
        from PIL import Image

        assert view.filled is not None
        height, width = view.known.shape[-2:]
        picture = (view.filled[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()
        hole = np.where(view.known[0].numpy(), 0, 255).astype(np.uint8)
        options: dict[str, Any] = {"height": height, "width": width, "output_type": "np"}
        options |= self._scale()
        if "strength" in self._takes and self._steps == 1:
            options["strength"] = 1.0  # less of a single step would be none
        if "callback_on_step_end" in self._takes and self._on_step is not None:
            options["callback_on_step_end"] = self._told
        with quiet(), torch.inference_mode():
            made = self._pipeline(
                prompt=prompt,
                image=Image.fromarray(picture),
                mask_image=Image.fromarray(hole),
                num_inference_steps=self._steps,
                generator=generator,
                **options,
            )
        if any(getattr(made, "nsfw_content_detected", None) or ()):
            raise InputError(
                f"The safety checker of {self.name} refuses what was painted; try another seed or prompt."
            )
        return torch.from_numpy(np.asarray(made.images[0], np.float32)).permute(2, 0, 1)[None]

    def _told(self, _pipeline: Any, _step: int, _timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        """What diffusers calls after each step; it goes on with the values that come back."""
        if self._on_step is not None:
            self._on_step()
        return values

    def _scale(self) -> dict[str, float]:
        """The pipeline's ``guidance_scale``; nothing where its own is to be kept."""
        transformer = getattr(self._pipeline, "transformer", None)
        distilled = transformer is not None and getattr(transformer.config, "guidance_embeds", False)
        if "guidance_scale" not in self._takes or (distilled and self._guidance == 0):
            return {}
        return {"guidance_scale": 1.0 + self._guidance}


@contextmanager
def quiet() -> Iterator[None]:
    """While inside, diffusers, transformers and the hub show no bars, logs or warnings of their own."""
    from diffusers.utils import logging as diffusers_logging
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging as transformers_logging

    libraries: tuple[Any, ...] = (diffusers_logging, transformers_logging)
    before = [(each, each.get_verbosity(), each.is_progress_bar_enabled()) for each in libraries]
    hub_was_quiet = are_progress_bars_disabled()
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for library, verbosity, showed in before:
            library.set_verbosity(verbosity)
            if showed:
                library.enable_progress_bar()
        if not hub_was_quiet:
            enable_progress_bars()


def _inpainting_pipeline(name: str, options: dict[str, Any]) -> Any:
    """The diffusers pipeline in a folder or on the hub, as one that inpaints."""
    from diffusers import AutoPipelineForInpainting, DiffusionPipeline

    options = {**options, "use_safetensors": True, "low_cpu_mem_usage": False}
    config = DiffusionPipeline.load_config(name, local_files_only=options["local_files_only"])
    # FLUX fill inpaints, and nothing else, under a name that the automatic choice does not know.
    fills = "Fill" in str(config.get("_class_name"))
    kind = DiffusionPipeline if fills else AutoPipelineForInpainting
    return kind.from_pretrained(name, **options).to("cpu")


def _load_options(device: torch.device, local: bool) -> dict[str, Any]:
    """For ``from_pretrained``: half the memory where a card computes with half the bits."""
    options: dict[str, Any] = {"local_files_only": local}
    if device.type == "cuda":
        options["torch_dtype"] = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return options


def _check_options(name: str, steps: int | None, guidance: float) -> None:
    """Raise InputError for options out of range, and for a folder that can be no pipeline."""
    if steps is not None and steps < 1:
        raise InputError(f"The number of steps is {steps}; it must be at least 1.")
    if not guidance >= 0:
        raise InputError(f"The guidance is {guidance}; it must be at least 0.")
    place = Path(name)
    if place.is_dir():
        if not (place / "model_index.json").is_file():
            raise InputError(f"{place.name} holds no diffusers pipeline: it lacks model_index.json.")
        pickled = _pickled(place)
        if pickled:
            raise InputError(
                f"{place.name}/{pickled} holds pickled weights (.bin), which can run code; "
                "only safetensors are loaded."
            )
    elif place.is_absolute() or name.startswith((".", "~")) or len(place.parts) != 2 or "\\" in name:
        raise InputError(f"There is no folder {name}; a hub id is OWNER/NAME.")


def _pickled(folder: Path) -> str | None:
    """The first part of a pipeline that has no weights but pickled ones."""
    for part in sorted(each for each in folder.iterdir() if each.is_dir()):
        if any(part.glob("*.bin")) and not any(part.glob("*.safetensors")):
            return part.name
    return None


def said(name: str, place: str) -> str:
    """The painter's name for reports, which don't tell where a user's folders are."""
    family = name.partition(":")[0]
    return f"{family}:{Path(place).resolve().name}" if Path(place).is_dir() else name


def _why(name: str, offline: bool, error: Exception) -> str:
    """One sentence for what diffusers, transformers, the hub or safetensors raised."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".: ")
    if isinstance(error, InputError) and Path(name).is_dir():
        return str(error)
    if Path(name).is_dir():
        return f"The pipeline in {Path(name).name} can't be loaded ({reason})."
    if "safetensors" in str(error) and "file" in str(error):
        return f"{name} has no safetensors weights ({reason}); pickled ones can run code and are not loaded."
    if offline:
        return (
            f"{name} is not on this machine, and --offline forbids fetching it; give the folder of a pipeline "
            "that is here."
        )
    return (
        f"{name} could not be fetched from the Hugging Face hub ({reason}); check the name and the connection, "
        "or give the folder of a pipeline that is on this machine."
    )


def _check_complete(name: str, parts: dict[str, Any], ignored: frozenset[str] = frozenset()) -> None:
    """Raise InputError if a network has weights that its file doesn't hold.

    diffusers only warns of those, and leaves them random. Numbers are counted, not names compared: old
    files have old names, which are translated when they are read.

    Args:
        name: folder or hub id.
        parts: the pipeline's, by the names of their folders.
        ignored: names of weights that come from elsewhere.
    """
    folder = _folder(name)
    for part, network in parts.items():
        if folder is None or not isinstance(network, nn.Module):
            continue
        wanted = sum(weight.numel() for key, weight in network.named_parameters() if key not in ignored)
        held = _numbers_in(folder / part)
        if held is not None and held < wanted:
            raise InputError(
                f"The weights in {Path(name).name}/{part} don't fit their config.json: they are {held} numbers, "
                f"and it asks for {wanted}."
            )


def _folder(name: str) -> Path | None:
    """Where a pipeline that has been loaded lies."""
    from huggingface_hub import try_to_load_from_cache

    if Path(name).is_dir():
        return Path(name)
    found = try_to_load_from_cache(name, "model_index.json")
    return Path(found).parent if isinstance(found, str) else None


def _numbers_in(part: Path) -> int | None:
    """How many numbers the weights that are loaded by default hold; None where there are none."""
    from safetensors import safe_open

    count = None
    for stem in ("diffusion_pytorch_model", "model"):
        index, whole = part / f"{stem}.safetensors.index.json", part / f"{stem}.safetensors"
        files = [whole] if whole.is_file() else []
        if index.is_file():
            listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
            files = [part / file for file in sorted(set(listed))]
        for file in files:
            with safe_open(file, "pt") as weights:
                shapes = [weights.get_slice(key).get_shape() for key in weights.keys()]  # noqa: SIM118
            count = (count or 0) + sum(int(np.prod(shape)) for shape in shapes)
    return count
