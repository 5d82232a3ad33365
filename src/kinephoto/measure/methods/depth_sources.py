"""What can be measured as a depth estimator: a function from rgb [3, H, W] to disparity [h, w]."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kinephoto.errors import InputError

# Near is large, any size with the photo's aspect, known up to scale and shift.
DisparityOf = Callable[[Tensor], Tensor]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def constant_plane(rgb: Tensor) -> Tensor:
    """The baseline that knows nothing: everything is equally far."""
    return torch.ones(rgb.shape[1:])


def builtin(device: str = "cpu") -> DisparityOf:
    """The network inside the package."""
    from kinephoto.scene.depthnet import load_builtin

    return load_builtin(device).disparity


def weights_file(path: Path, device: str = "cpu") -> DisparityOf:
    """The built-in network's architecture with other weights, such as a training run's checkpoint."""
    from kinephoto.scene.depthnet import load_depthnet

    return load_depthnet(path, device).disparity


def transformers_folder(folder: Path, short_side_px: int, multiple_px: int = 14) -> DisparityOf:
    """A depth network saved for transformers, run as Depth Anything is.

    Bicubic to ``short_side_px``, both sides multiples of ``multiple_px``, ImageNet's mean and deviation.

    Raises:
        InputError: the folder holds no such network.
    """
    from transformers import AutoModelForDepthEstimation

    try:
        network = AutoModelForDepthEstimation.from_pretrained(folder, local_files_only=True).eval()
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no depth network that transformers loads ({error}).") from None
    mean = torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
    deviation = torch.tensor(IMAGENET_DEVIATION).view(3, 1, 1)

    @torch.inference_mode()
    def disparity(rgb: Tensor) -> Tensor:
        hw = _sides(tuple(rgb.shape[1:]), short_side_px, multiple_px)
        small = F.interpolate(rgb[None], hw, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
        output: Any = network(pixel_values=(small - mean) / deviation)
        return output.predicted_depth[0].float()

    return disparity


def _sides(hw: tuple[int, ...], short_side_px: int, multiple_px: int) -> tuple[int, int]:
    scale = short_side_px / min(hw)
    height, width = (max(1, round(side * scale / multiple_px)) * multiple_px for side in hw)
    return height, width


def cached(disparity_of: DisparityOf, folder: Path) -> DisparityOf:
    """The same source, each picture's answer kept as a file; a slow network is run once per picture.

    Args:
        folder: made if absent; one folder for one source and setting.
    """

    def disparity(rgb: Tensor) -> Tensor:
        pixels = (rgb * 255).round().byte().contiguous().numpy()
        path = (
            folder / f"{hashlib.sha256(pixels.tobytes() + str(pixels.shape).encode()).hexdigest()[:24]}.npy"
        )
        if path.exists():
            return torch.from_numpy(np.load(path))
        found = disparity_of(rgb).cpu()
        folder.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part.npy")
        np.save(beside, found.numpy())
        beside.replace(path)
        return found

    return disparity
