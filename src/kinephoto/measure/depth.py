"""How good a depth estimator is: against a teacher's labels, against known depth, at the outlines of things.

Four parts, each a row per picture; ``docs/protocol.md`` says why it is done so:

- ``teacher``: photos with a teacher's label, scale and shift by least squares;
- ``dense``: stereo pairs with known disparity, scale and shift by least squares;
- ``sparse``: posed pictures with points, some of which are wrong, scale and shift by ``fit_robust``;
- ``outline``: photos with masks of objects, the depth step across their outlines.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.measure.alignment import fit_least_squares, fit_robust
from kinephoto.measure.edges import boundary_f1, edge_profile
from kinephoto.measure.inpainting import mean_of
from kinephoto.measure.methods.depth_sources import DisparityOf
from kinephoto.measure.metrics import abs_rel, correlation, delta_share, depth_from_disparity
from kinephoto.measure.scenes import Scene, true_disparity, visible_points

# An aligned depth is kept within half the nearest and twice the farthest true one of its picture: wide
# enough to give nothing away, and no pixel counts infinitely.
DEPTH_LATITUDE = 2.0
# Fewer points say more about themselves than about the depth map.
LEAST_POINTS = 20
# Where much of the truth is unknown, it is unknown along edges: boundary F1 would judge the few left over.
LEAST_KNOWN_SHARE = 0.9

# disparity [H, W] and rgb [3, H, W] to disparity [H, W].
Sharpen = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class DepthScore:
    """One picture's numbers.

    Attributes:
        part: ``teacher``, ``dense``, ``sparse`` or ``outline``.
        group: the photo's origin or the scene's name, whose pictures are averaged first.
        picture: its name.
        values: the numbers by name; NaN where there is nothing to measure.
    """

    part: str
    group: str
    picture: str
    values: dict[str, float]


@dataclass(frozen=True, eq=False)
class KnownPhoto:
    """A photo and what is known of its depth.

    Attributes:
        name: of the photo.
        rgb: [3, H, W] in [0, 1].
        label: the teacher's disparity [H, W], near is large, or None.
        masks: of its objects, [H, W] bool each.
    """

    name: str
    rgb: Tensor
    label: np.ndarray | None
    masks: Sequence[np.ndarray] = ()

    def __post_init__(self) -> None:
        hw = tuple(self.rgb.shape[1:])
        for what, plane in (("label", self.label), *(("mask", mask) for mask in self.masks)):
            if plane is not None and plane.shape != hw:
                raise InputError(f"{self.name} is {_size(hw)}, its {what} {_size(plane.shape)}.")

    @property
    def group(self) -> str:
        """Where it comes from: what stands before the first slash of its name."""
        return self.name.split("/")[0]


def of_photo(
    disparity_of: DisparityOf, photo: KnownPhoto, sharpen: Sharpen | None = None
) -> list[DepthScore]:
    """What can be measured on a photo: against its label, along its objects' outlines."""
    if photo.label is None and not photo.masks:
        return []
    found = resized(disparity_of(photo.rgb), photo.rgb.shape[1:])
    scores = [against_teacher(found, photo)] if photo.label is not None else []
    outline = along_outlines(found, photo, sharpen)
    return scores + ([outline] if outline else [])


def of_scene(disparity_of: DisparityOf, scene: Scene, sharpen: Sharpen | None = None) -> list[DepthScore]:
    """What can be measured on a scene: against its dense truth if it has one, else against its points."""
    if scene.stereo_disparity is not None:
        return [against_stereo(disparity_of, scene, sharpen)]
    return against_points(disparity_of, scene) if scene.points is not None else []


def against_teacher(found: Tensor, photo: KnownPhoto) -> DepthScore:
    """Correlation with the label, and the mean error left after alignment.

    The error is a share of the label's own mean deviation: a constant plane scores 1.

    Args:
        found: [H, W] disparity.
        photo: one with a label.
    """
    label, disparity = photo.label, found.numpy()
    assert label is not None  # asked only of photos with one
    error = np.abs(fit_least_squares(disparity, label)(disparity) - label).mean()
    values = {
        "correlation": correlation(disparity, label),
        "relative_error": float(error / max(np.abs(label - label.mean()).mean(), 1e-9)),
    }
    return DepthScore("teacher", photo.group, photo.name, values)


def along_outlines(found: Tensor, photo: KnownPhoto, sharpen: Sharpen | None = None) -> DepthScore | None:
    """Width of the depth step at the outlines of masked objects, and the share of steps that are there.

    The teacher's label, where there is one, says which places of an outline should have a step, so that
    all methods are judged at the same ones.

    Args:
        found: [H, W] disparity.
        photo: whose masks are followed.
        sharpen: if given, measured after it too.

    Returns:
        None where there is no outline of use.
    """
    if not photo.masks:
        return None
    values = defaultdict(list)
    for suffix, disparity in _before_and_after(found, photo.rgb, sharpen):
        for mask in photo.masks:
            profile = edge_profile(disparity, mask, photo.label)
            if profile.places >= LEAST_POINTS:
                values["edge_width_px" + suffix].append(profile.width_px)
                values["edge_kept" + suffix].append(profile.kept)
    if not values:
        return None
    means = {name: mean_of(numbers) for name, numbers in values.items()}
    return DepthScore("outline", photo.group, photo.name, means)


def against_stereo(disparity_of: DisparityOf, scene: Scene, sharpen: Sharpen | None = None) -> DepthScore:
    """AbsRel, δ<1.25 and, where nine tenths of the truth are known, boundary F1 of a pair's first picture.

    Raises:
        InputError: the truth has another size than the picture, or fewer than twenty known pixels.
    """
    truth = true_disparity(scene)
    assert truth is not None  # asked only of scenes with a dense truth
    known, rgb = np.isfinite(truth), scene.rgb(0)
    if truth.shape != tuple(rgb.shape[1:]):
        raise InputError(
            f"The first picture of {scene.name} is {_size(rgb.shape[1:])}, its disparity {_size(truth.shape)}."
        )
    if known.sum() < LEAST_POINTS:
        raise InputError(
            f"The disparity of {scene.name} is known at {known.sum()} pixels; {LEAST_POINTS} are needed."
        )
    found = resized(disparity_of(rgb), truth.shape)
    values: dict[str, float] = {}
    for suffix, disparity in _before_and_after(found, rgb, sharpen):
        aligned = fit_least_squares(disparity[known], truth[known])(disparity)
        true_depth = np.asarray(1 / truth)
        depth = _kept_depth(aligned, true_depth[known])
        if not suffix:
            values |= _depth_errors(depth[known], true_depth[known])
            values["correlation"] = correlation(disparity[known], truth[known])
        if known.mean() >= LEAST_KNOWN_SHARE:
            values["boundary_f1" + suffix] = boundary_f1(1 / depth, truth)
    return DepthScore("dense", scene.name, "0", values)


def against_points(disparity_of: DisparityOf, scene: Scene) -> list[DepthScore]:
    """AbsRel, δ<1.25 and correlation at the points seen in each picture; twenty or more are needed."""
    scores = []
    for image in range(len(scene.images)):
        uv, z = visible_points(scene, image)
        if len(z) < LEAST_POINTS:
            continue
        rgb = scene.rgb(image)
        found = at_places(resized(disparity_of(rgb), rgb.shape[1:]).numpy(), uv)
        depth = _kept_depth(fit_robust(found, 1 / z)(found), z)
        values = _depth_errors(depth, z) | {"correlation": correlation(found, 1 / z)}
        scores.append(DepthScore("sparse", scene.name, str(image), values))
    return scores


def resized(disparity: Tensor, hw: tuple[int, ...]) -> Tensor:
    """Disparity [h, w] on a picture's pixels, [H, W] float32, bilinear."""
    if tuple(disparity.shape) == tuple(hw):
        return disparity.float()
    return F.interpolate(disparity.float()[None, None], tuple(hw), mode="bilinear", align_corners=False)[0, 0]


def at_places(values: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Values [H, W] at places [N, 2] px (the first pixel's centre is 0.5), bilinear, [N]."""
    from scipy.ndimage import map_coordinates

    return map_coordinates(values, [uv[:, 1] - 0.5, uv[:, 0] - 0.5], order=1, mode="nearest")


def _before_and_after(found: Tensor, rgb: Tensor, sharpen: Sharpen | None) -> list[tuple[str, np.ndarray]]:
    pairs = [("", found.numpy())]
    if sharpen is not None:
        # Sharpeners may compare neighbours by ratio: give them what starts at a small positive floor.
        low, high = torch.aminmax(found)
        lifted = (found - low) / (high - low).clamp_min(1e-9) * 0.94 + 0.06
        pairs.append(("_sharpened", sharpen(lifted, rgb).numpy()))
    return pairs


def _kept_depth(aligned: np.ndarray, true_depth: np.ndarray) -> np.ndarray:
    """Depth of an aligned disparity, kept within the latitude around the true depths that are known."""
    nearest, farthest = float(true_depth.min()), float(true_depth.max())
    return depth_from_disparity(aligned, nearest / DEPTH_LATITUDE, farthest * DEPTH_LATITUDE)


def _depth_errors(depth: np.ndarray, true_depth: np.ndarray) -> dict[str, float]:
    return {"abs_rel": abs_rel(depth, true_depth), "delta_1.25": delta_share(depth, true_depth)}


def _size(hw: Sequence[int]) -> str:
    return f"{hw[1]}×{hw[0]} px"
