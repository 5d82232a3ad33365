"""What can be measured as a depth estimator: a function from rgb [3, H, W] to disparity [h, w]."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

# Near is large, any size with the photo's aspect, known up to scale and shift.
DisparityOf = Callable[[Tensor], Tensor]


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


def transformers_folder(folder: Path, short_side_px: int) -> DisparityOf:
    """A depth network saved for transformers, which sees photos at ``short_side_px``.

    Raises:
        InputError: the folder holds no such network.
    """
    from kinephoto.scene.depth_networks import TransformersDepth

    network = TransformersDepth(folder, short_side_px=short_side_px)
    return lambda rgb: network.disparity(rgb).values


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
