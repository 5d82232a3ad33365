"""New views from one photo, compared with real photos of those views.

A pair names a source and a target picture of a scene. The source's disparity is fitted (scale and shift) to
the points seen in it, the source is moved to the target's camera by the renderer, the holes are filled, and
the result is compared with the target, on the whole frame, on what the source saw and inside the holes.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.measure.alignment import fit_robust
from kinephoto.measure.depth import DEPTH_LATITUDE, Sharpen, at_places, resized
from kinephoto.measure.methods.depth_sources import DisparityOf
from kinephoto.measure.methods.fills import Fill
from kinephoto.measure.metrics import psnr, ssim
from kinephoto.measure.scenes import PosedCamera, Scene, visible_points
from kinephoto.scene.camera import Camera, Pose
from kinephoto.scene.values import Layer, View

# The layer that stands for the photo, the camera that looks at it, and its pose target_from_source.
Warp = Callable[[Layer, Camera, Pose], View]

PAPER_HW = (256, 256)


@dataclass(frozen=True)
class ViewPair:
    """Source and target picture of a scene; ``name`` is the target's in the tables, such as ``t5``."""

    scene: str
    source: int
    target: int
    name: str


@dataclass(frozen=True, eq=False)
class ViewScore:
    """What one method scored on one pair; NaN where there is nothing to measure."""

    pair: ViewPair
    method: str
    values: dict[str, float]


def read_pairs(source: str | Path = "re10k") -> list[ViewPair]:
    """A list of pairs: one that comes with the package, by name, or a CSV file of the same columns.

    Raises:
        InputError: there is no such list, or a line of it is malformed.
    """
    bundled = resources.files("kinephoto.measure") / "protocols" / f"{source}.csv"
    path = bundled if bundled.is_file() else Path(source)
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        return [ViewPair(row["scene"], int(row["source"]), int(row["target"]), row["name"]) for row in rows]
    except OSError:
        raise InputError(f"{source} is neither a known list of pairs (re10k) nor a readable file.") from None
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{source} must have the columns scene, source, target, name.") from None


def evaluate_views(
    disparity_of: DisparityOf,
    scenes: Mapping[str, Scene],
    pairs: Iterable[ViewPair],
    fills: Mapping[str, Fill],
    warp: Warp,
    hw: tuple[int, int] | None = PAPER_HW,
    sharpen: Sharpen | None = None,
) -> list[ViewScore]:
    """Score every way of filling on every pair.

    Args:
        disparity_of: rgb [3, H, W] to disparity [h, w], known up to scale and shift.
        scenes: by name; those of the pairs must be there and have points.
        pairs: what to compare.
        fills: by the name they get in the tables.
        warp: the renderer.
        hw: pictures are squashed to this size first; None leaves them as they are.
        sharpen: applied to the disparity at that size before it is aligned.
    """
    scores = []
    for pair in pairs:
        scene = scenes[pair.scene]
        source, target = (squashed(scene.rgb(image), hw) for image in (pair.source, pair.target))
        found = resized(disparity_of(scene.rgb(pair.source)), source.shape[1:])
        if sharpen is not None:
            low, high = torch.aminmax(found)
            found = sharpen((found - low) / (high - low).clamp_min(1e-9) * 0.94 + 0.06, source)
        disparity = scaled_to_points(found, scene, pair.source)
        view = warped(source, disparity, scene.cameras[pair.source], scene.cameras[pair.target], warp)
        for name, fill in fills.items():
            values = picture_scores(fill(source, view), target, view.known)
            scores.append(ViewScore(pair, name, values))
    return scores


def squashed(rgb: Tensor, hw: tuple[int, int] | None) -> Tensor:
    """The picture on ``hw`` pixels whatever its aspect, each the mean of what it covers; [3, H, W]."""
    import cv2

    if hw is None or tuple(rgb.shape[1:]) == tuple(hw):
        return rgb
    small = cv2.resize(rgb.permute(1, 2, 0).numpy(), (hw[1], hw[0]), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small).permute(2, 0, 1).contiguous()


def scaled_to_points(disparity: Tensor, scene: Scene, image: int) -> Tensor:
    """Disparity [H, W] in the scene's units: scale and shift fitted to the points seen in the picture.

    It is then kept within half the nearest and twice the farthest of them.

    Raises:
        InputError: the scene has no points in that picture.
    """
    uv, z = visible_points(scene, image)
    if len(z) < 2:
        raise InputError(f"{scene.name} has {len(z)} points in picture {image}; scale needs two or more.")
    stored_hw = np.array(scene.rgb(image).shape[1:])
    here = uv * (np.array(disparity.shape) / stored_hw)[::-1]
    values = disparity.numpy()
    aligned = fit_robust(at_places(values, here), 1 / z)(values)
    # Points on the picture's few wrong matches must not set the limits: take the outer percents.
    nearest, farthest = np.percentile(z, (1, 99))
    kept = np.clip(aligned, 1 / (farthest * DEPTH_LATITUDE), DEPTH_LATITUDE / nearest)
    return torch.from_numpy(kept.astype(np.float32))


def warped(rgb: Tensor, disparity: Tensor, source: PosedCamera, target: PosedCamera, warp: Warp) -> View:
    """What the target's camera sees of a source picture with depth.

    Args:
        rgb: [3, H, W].
        disparity: [H, W] > 0, the scene's units.
    """
    height, width = disparity.shape
    hw = (height, width)
    # The renderer's near plane is made for scenes whose nearest things are at z = 1.
    unit = float(torch.quantile(disparity.flatten()[::7], 0.99))
    source_camera, source_stretch = square_camera(source, hw)
    target_camera, target_stretch = square_camera(target, hw)
    rotation = target.R @ source.R.T
    shift = (target.t - rotation @ source.t) * unit
    stretched = target_stretch @ rotation @ np.linalg.inv(source_stretch)
    pose = Pose(torch.from_numpy(stretched), torch.from_numpy(target_stretch @ shift))
    everywhere = torch.ones(hw, dtype=torch.bool)
    layer = Layer(rgb, disparity / unit, everywhere, source_camera, Pose.identity())
    return warp(layer, target_camera, pose)


def square_camera(camera: PosedCamera, hw: tuple[int, int]) -> tuple[Camera, np.ndarray]:
    """A camera with square pixels, and the stretch of space before it that gives the same picture.

    A squashed picture has fx ≠ fy. K = K_square · S with S = diag(1, fy / fx, 1): squash the scene instead
    of the camera, and the renderer need not know.

    Returns:
        The camera and S, [3, 3].
    """
    matrix = camera.matrix(hw)
    square = Camera(float(matrix[0, 0]), (float(matrix[0, 2]), float(matrix[1, 2])), hw)
    return square, np.diag([1.0, matrix[1, 1] / matrix[0, 0], 1.0])


def picture_scores(predicted: Tensor, true: Tensor, known: Tensor) -> dict[str, float]:
    """PSNR and SSIM on the whole frame, on what the source saw, inside the holes; and the holes' share."""
    values = {"psnr": psnr(predicted, true), "ssim": ssim(predicted, true)}
    for suffix, mask in (("_visible", known), ("_hole", ~known)):
        values["psnr" + suffix] = psnr(predicted, true, mask) if bool(mask.any()) else float("nan")
        values["ssim" + suffix] = ssim(predicted, true, mask) if bool(mask.any()) else float("nan")
    return values | {"hole_share": float((~known).float().mean())}


def summary(scores: Sequence[ViewScore]) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Means over clips with the half-width of their 95 % interval.

    Returns:
        {method: {target: {metric: {"mean": …, "ci95": …, "clips": …}}}}.
    """
    grouped: Any = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for score in scores:
        for metric, value in score.values.items():
            if np.isfinite(value):
                grouped[score.method][score.pair.name][metric].append(value)
    return {
        method: {
            target: {metric: _interval(values) for metric, values in metrics.items()}
            for target, metrics in targets.items()
        }
        for method, targets in grouped.items()
    }


def _interval(values: list[float]) -> dict[str, float]:
    """Mean and half-width of its 95 % interval (Student's t) over clips."""
    from scipy.stats import t

    half = float("nan")
    if len(values) > 1:
        half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return {"mean": float(np.mean(values)), "ci95": half, "clips": len(values)}


def default_warp() -> Warp:
    """kinephoto's renderer."""
    from kinephoto.scene.render import Renderer

    def warp(layer: Layer, camera: Camera, pose: Pose) -> View:
        return Renderer([layer]).render(camera, pose)

    return warp
