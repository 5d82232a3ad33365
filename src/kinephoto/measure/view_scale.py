"""The scale of a photo's depth: a network's disparity has none, and the scene has one.

Four ways, ``ScaleMode``:

- ``affine``: scale and shift fitted to the points seen in the source, robust (RANSAC's cousin, ``fit_robust``);
- ``scale``: the scale alone, from log ratios at those points (MINE, Li et al. 2021; Flash3D, Szymanowicz et al. 2024);
- ``best-of-20``: twenty scales from a tenth to twice the scene's unit, the one whose visible pixels fit the target
  best (as Stable Virtual Camera, Zhou et al. 2025, sweeps its unit of length): it has seen the target;
- ``none``: the nearest thing is at the scene's unit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.measure.alignment import Alignment, fit_robust, fit_scale
from kinephoto.measure.depth import DEPTH_LATITUDE, at_places
from kinephoto.measure.scenes import Scene, true_disparity, visible_points
from kinephoto.measure.view_protocol import ScaleMode

BEST_OF = np.arange(1, 21) / 10
"""The scales that ``best-of-20`` tries."""

MOST_POINTS = 20_000
"""Of a dense truth so many pixels, evenly spread, stand for points."""


def reference_points(scene: Scene, image: int) -> tuple[np.ndarray, np.ndarray]:
    """Places in a picture whose inverse depth is known: the scene's points, else its dense disparity.

    Returns:
        uv [N, 2] float64, px of the stored picture, and inverse depth [N] float64 > 0, 1 / scene units.

    Raises:
        InputError: fewer than two are known.
    """
    uv, z = visible_points(scene, image)
    if len(z) >= 2:
        return uv, 1 / z
    truth = true_inverse_depth(scene) if image == 0 else None
    if truth is None:
        raise InputError(
            f"{scene.name} has {len(z)} points in front of the camera in picture {image}; its scale needs two or "
            "more, or --scale none."
        )
    rows, columns = np.nonzero(np.isfinite(truth))
    every = max(1, len(rows) // MOST_POINTS)
    rows, columns = rows[::every], columns[::every]
    return np.stack([columns + 0.5, rows + 0.5], axis=1), truth[rows, columns].astype(np.float64)


def true_inverse_depth(scene: Scene) -> np.ndarray | None:
    """Inverse depth of a stereo scene's first picture, 1 / scene units: [H, W] float32, NaN unknown, or None."""
    disparity_px = true_disparity(scene)
    if disparity_px is None:
        return None
    focal_px = scene.cameras[0].focal[0] * disparity_px.shape[1]
    baseline = float(np.linalg.norm(scene.cameras[1].t - scene.cameras[0].t))
    return (disparity_px / np.float32(focal_px * baseline)).astype(np.float32)


def scaled(
    disparity: Tensor,
    scene: Scene,
    image: int,
    mode: ScaleMode,
    visible_error: Callable[[Tensor], float] | None = None,
) -> Tensor:
    """A disparity in the scene's units.

    Args:
        disparity: [H, W] > 0, of picture ``image``, nearest about 1; at any size of that picture.
        scene: it belongs to.
        image: the picture's number.
        mode: how.
        visible_error: for ``best-of-20``: how badly the target is met with a disparity; least is best.

    Returns:
        [H, W] float32 > 0. With points, depth is kept between half their 1st and twice their 99th percentile.

    Raises:
        InputError: there are no points that the mode needs.
    """
    if mode == "none":
        return disparity.float()
    if mode == "best-of-20":
        if visible_error is None:
            raise InputError("best-of-20 needs the target to choose by.")
        tried = [disparity.float() * float(scale) for scale in BEST_OF]
        return min(tried, key=visible_error)
    uv, inverse = reference_points(scene, image)
    stored_hw = np.array(scene.rgb(image).shape[1:])
    here = uv * (np.array(disparity.shape) / stored_hw)[::-1]
    values = disparity.numpy()
    found = at_places(values, here)
    fitted: Alignment = fit_robust(found, inverse) if mode == "affine" else fit_scale(found, inverse)
    # Points on the picture's few wrong matches must not set the limits: take the outer percents.
    farthest, nearest = np.percentile(inverse, (1, 99))
    kept = np.clip(fitted(values), farthest / DEPTH_LATITUDE, nearest * DEPTH_LATITUDE)
    return torch.from_numpy(kept.astype(np.float32))
