"""Depth networks of other people: whatever transformers' AutoModelForDepthEstimation loads."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.scene.depthnet import RGB_DEVIATION, RGB_MEAN
from kinephoto.scene.values import Disparity

# Free for any use (Apache-2.0), the best first; "auto" takes the first that is in the cache already.
RECOMMENDED = (
    "depth-anything/Depth-Anything-V2-Small-hf",
    "LiheYoung/depth-anything-small-hf",
    "Intel/dpt-hybrid-midas",
)

SHORT_SIDE_PX = 392
"""What a network sees; a multiple of 14 and near enough to one of 32."""

# These give depth in metres; DepthAnything's configuration says which kind it is, all others give disparity.
GIVES_DEPTH = {"zoedepth", "glpn", "prompt_depth_anything"}

# Gives inverse depth whose zero is infinitely far, though transformers calls it depth, of a square of one size.
DEPTH_PRO = "depth_pro"


def best_cached() -> str | None:
    """The first recommended network whose weights are in the Hugging Face cache, or None."""
    from huggingface_hub import try_to_load_from_cache

    for name in RECOMMENDED:
        if isinstance(try_to_load_from_cache(name, "model.safetensors"), str):
            return name
    return None


def check_folder(folder: Path) -> None:
    """Refuse a folder that can't be a depth network's, by the names of the files in it.

    Raises:
        InputError: its configuration or its weights are missing.
    """
    for name, pattern in (("config.json", "config.json"), ("model.safetensors", "*.safetensors")):
        if not any(folder.glob(pattern)):
            raise InputError(
                f"{folder} holds no depth network: there is no {name} in it; give the folder into which "
                "transformers saved one, or a depth map's file."
            )


class TransformersDepth:
    """A network from the Hugging Face hub or from a folder.

    Args:
        name: "owner/name" on the hub, or a folder with config.json and model.safetensors.
        device: such as "cuda"; None is the processor.
        offline: take the hub's from the cache only.
        short_side_px: what it sees of a photo; rounded to what it takes.

    Raises:
        InputError: it can't be loaded; the message says what to do.
    """

    def __init__(
        self,
        name: str | Path,
        *,
        device: str | None = None,
        offline: bool = False,
        short_side_px: int = SHORT_SIDE_PX,
    ) -> None:
        self._short_side_px = short_side_px
        self.name = f"folder {Path(name).name}" if Path(name).is_dir() else f"hub:{name}"
        self._device = device or "cpu"
        self._model, self._mean, self._deviation, self._multiple = _loaded(str(name), self._device, offline)

    @torch.inference_mode()
    def disparity(self, rgb: Tensor) -> Disparity:
        """See ``kinephoto.scene.depth.DepthSource``."""
        hw = self._sides(tuple(rgb.shape[-2:]))
        x = F.interpolate(rgb[None].float(), hw, mode="bicubic", align_corners=False, antialias=True).clamp(
            0, 1
        )
        x = (x - self._mean) / self._deviation
        found = self._model(pixel_values=x.to(self._device)).predicted_depth[0].float().cpu()
        if found.ndim == 3:
            found = found[0]
        if not bool(torch.isfinite(found).all()):
            raise InputError(f"The depth network {self.name} gave values that are not finite for this photo.")
        found = self._unsquared(found, tuple(rgb.shape[-2:]))
        if self._gives_depth():
            return Disparity(1 / found.clamp_min(1e-3), True, self.name)
        return Disparity(found, self._model.config.model_type == DEPTH_PRO, self.name)

    def _sides(self, hw: tuple[int, ...]) -> tuple[int, int]:
        config = self._model.config
        if config.model_type == "dpt" and getattr(config, "backbone_config", None) is None:
            # Without a backbone of its own kind this network only counts in squares.
            return config.image_size, config.image_size
        if config.model_type == DEPTH_PRO:
            # At its smallest scale the square is one patch.
            side = round(self._multiple / min(config.scaled_images_ratios))
            return side, side
        scale = self._short_side_px / min(hw)
        height, width = (max(1, round(side * scale / self._multiple)) * self._multiple for side in hw)
        return height, width

    def _unsquared(self, found: Tensor, hw: tuple[int, ...]) -> Tensor:
        """The map at the photo's aspect, should the network have seen another."""
        height, width = found.shape
        if abs(width * hw[0] / (height * hw[1]) - 1) < 0.05:
            return found
        scale = min(height, width) / min(hw)
        wanted = (max(2, round(hw[0] * scale)), max(2, round(hw[1] * scale)))
        return F.interpolate(found[None, None], wanted, mode="bilinear", align_corners=False)[0, 0]

    def _gives_depth(self) -> bool:
        config = self._model.config
        return config.model_type in GIVES_DEPTH or getattr(config, "depth_estimation_type", "") == "metric"


@lru_cache(maxsize=2)
def _loaded(name: str, device: str, offline: bool) -> tuple[Any, Tensor, Tensor, int]:
    from transformers import AutoModelForDepthEstimation
    from transformers.utils import logging

    logging.disable_progress_bar()
    local = offline or Path(name).is_dir()
    if Path(name).is_dir():
        check_folder(Path(name))
    try:
        model = AutoModelForDepthEstimation.from_pretrained(
            name, local_files_only=local, use_safetensors=True
        )
    except Exception as error:  # transformers, the hub and safetensors each raise kinds of their own
        raise InputError(_sentence(name, offline)) from error
    model = model.eval().requires_grad_(False).to(device)
    mean, deviation = _processor_file(name, local) or (RGB_MEAN, RGB_DEVIATION)
    means = [torch.tensor(values).view(3, 1, 1) for values in (mean, deviation)]
    return model, means[0], means[1], _multiple(model.config)


def _processor_file(name: str, local: bool) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and deviation from preprocessor_config.json, read as it is."""
    import json

    from huggingface_hub import hf_hub_download

    folder = Path(name)
    try:
        place = folder / "preprocessor_config.json"
        path = place if folder.is_dir() else Path(hf_hub_download(name, place.name, local_files_only=local))
        values = json.loads(path.read_text(encoding="utf-8"))
        return tuple(values["image_mean"]), tuple(values["image_std"])
    except (OSError, KeyError, TypeError, ValueError):  # not there, or not what it should be
        return None


def _multiple(config: Any) -> int:
    """Both sides of what the network sees must be a multiple of this."""
    parts = (config, getattr(config, "backbone_config", None) or config)
    return max(int(getattr(part, "patch_size", 0) or 0) for part in parts) or 32


def _sentence(name: str, offline: bool) -> str:
    if Path(name).is_dir():
        return (
            f"{name} holds no depth network that transformers can load; its config.json and model.safetensors "
            "must be whole, and those of a network for depth."
        )
    if offline:
        return f"The depth network {name} is not on this machine, and --offline forbids fetching it."
    return (
        f"The depth network {name} could not be fetched from the Hugging Face hub; check the name and the "
        "connection, or give the folder of a network that is on this machine."
    )
