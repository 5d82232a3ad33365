"""Where the depth of a measured view comes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.measure.scenes import Scene
from kinephoto.measure.view_scale import true_inverse_depth

DepthOf = Callable[[Scene, int], Tensor]
"""Disparity [h, w] > 0 of a scene's picture, the nearest about 1; InputError where there is none."""


def estimated_depth(source: str, device: str | None = None, offline: bool = False) -> DepthOf:
    """Depth as a film's: from ``builtin``, ``hub:ID``, a folder, or weights of our network (``.safetensors``).

    ``truth`` is a stereo scene's own disparity, its gaps filled from what is nearest in the picture.
    """
    if source == "truth":
        return _truth
    network: Any = source
    if source.endswith(".safetensors"):
        network = _Weights(Path(source), device)

    def depth_of(scene: Scene, image: int) -> Tensor:
        from kinephoto.scene.depth import estimate_depth
        from kinephoto.scene.photo import photo_from_array

        photo = photo_from_array(scene.rgb(image), name=scene.images[image].name)
        return estimate_depth(photo, network, device=device, offline=offline).values

    return depth_of


class _Weights:
    """Other weights of our own network as a source of depth; what the network says, as a source is to give it."""

    def __init__(self, path: Path, device: str | None) -> None:
        from kinephoto.scene.depthnet import load_depthnet

        if not path.is_file():
            raise InputError(f"There are no weights {path}.")
        self._net = load_depthnet(path, device or "cpu")

    def disparity(self, rgb: Tensor) -> Any:
        from kinephoto.scene.values import Disparity

        return Disparity(self._net.disparity(rgb), source="weights")


def _truth(scene: Scene, image: int) -> Tensor:
    from scipy.ndimage import distance_transform_edt

    truth = true_inverse_depth(scene) if image == 0 else None
    if truth is None:
        raise InputError(f"{scene.name} has no true depth of picture {image}.")
    row, column = distance_transform_edt(np.isnan(truth), return_distances=False, return_indices=True)
    filled = truth[row, column]
    return torch.from_numpy((filled / np.percentile(filled, 99)).astype(np.float32))
