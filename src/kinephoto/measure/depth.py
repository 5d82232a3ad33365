"""How good a depth estimator is: against a teacher's labels, against known depth, at the outlines of things.

Four parts, each a row per picture; ``docs/protocol.md`` says why it is done so:

- ``teacher``: photos with a teacher's label, scale and shift by least squares;
- ``dense``: stereo pairs with known disparity, scale and shift by least squares;
- ``sparse``: posed pictures with points, some of which are wrong, scale and shift by ``fit_robust``;
- ``outline``: photos with masks of objects, the depth step across their outlines.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kinephoto.measure.alignment import fit_least_squares, fit_robust
from kinephoto.measure.edges import boundary_f1, edge_profile
from kinephoto.measure.methods.depth_sources import DisparityOf
from kinephoto.measure.metrics import abs_rel, correlation, delta_share, depth_from_disparity
from kinephoto.measure.photos import PhotoFiles, object_masks
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


def evaluate_depth(
    disparity_of: DisparityOf,
    photos: Sequence[PhotoFiles] = (),
    scenes: Sequence[Scene] = (),
    sharpen: Sharpen | None = None,
) -> list[DepthScore]:
    """Measure one estimator on everything that is given.

    Args:
        disparity_of: rgb [3, H, W] in [0, 1] to disparity [h, w] of any size, near is large, known up to
            scale and shift.
        photos: those with labels are compared with them, those with masks measured at their outlines.
        scenes: those with stereo disparity are compared with it, the others with their points.
        sharpen: if given, edges are measured after it too (names ending in ``_sharpened``).
    """
    scores = against_teacher(disparity_of, photos)
    for scene in scenes:
        if scene.stereo_disparity is not None:
            scores.append(against_stereo(disparity_of, scene, sharpen))
        elif scene.points is not None:
            scores += against_points(disparity_of, scene)
    return scores + along_outlines(disparity_of, photos, sharpen)


def against_teacher(disparity_of: DisparityOf, photos: Iterable[PhotoFiles]) -> list[DepthScore]:
    """Correlation with the label, and the mean error left after alignment.

    The error is a share of the label's own mean deviation: a constant plane scores 1.
    """
    scores = []
    for photo in photos:
        label = photo.label()
        if label is None:
            continue
        found = resized(disparity_of(photo.rgb()), label.shape).numpy()
        error = np.abs(fit_least_squares(found, label)(found) - label).mean()
        values = {
            "correlation": correlation(found, label),
            "relative_error": float(error / max(np.abs(label - label.mean()).mean(), 1e-9)),
        }
        scores.append(DepthScore("teacher", photo.name.split("/")[0], photo.name, values))
    return scores


def against_stereo(disparity_of: DisparityOf, scene: Scene, sharpen: Sharpen | None = None) -> DepthScore:
    """AbsRel, δ<1.25 and, where nine tenths of the truth are known, boundary F1 of a pair's first picture."""
    truth = true_disparity(scene)
    assert truth is not None  # asked only of scenes with a dense truth
    known = np.isfinite(truth)
    rgb = scene.rgb(0)
    found = resized(disparity_of(rgb), truth.shape)
    values: dict[str, float] = {}
    for suffix, disparity in _before_and_after(found, rgb, sharpen):
        aligned = fit_least_squares(disparity[known], truth[known])(disparity)
        depth, true_depth = _depths(aligned, np.asarray(1 / truth), known)
        if not suffix:
            values |= _depth_errors(depth[known], true_depth[known])
            values["correlation"] = correlation(disparity[known], truth[known])
        if known.mean() >= LEAST_KNOWN_SHARE:
            values["boundary_f1" + suffix] = boundary_f1(1 / depth, truth)
    return DepthScore("dense", scene.name, "0", values)


def against_points(disparity_of: DisparityOf, scene: Scene) -> list[DepthScore]:
    """AbsRel and δ<1.25 at the points seen in each picture."""
    scores = []
    for image in range(len(scene.images)):
        uv, z = visible_points(scene, image)
        if len(z) < LEAST_POINTS:
            continue
        rgb = scene.rgb(image)
        found = at_places(resized(disparity_of(rgb), rgb.shape[1:]).numpy(), uv)
        aligned = fit_robust(found, 1 / z)(found)
        depth, _ = _depths(aligned, z, np.ones(len(z), bool))
        values = _depth_errors(depth, z) | {"correlation": correlation(found, 1 / z)}
        scores.append(DepthScore("sparse", scene.name, str(image), values))
    return scores


def along_outlines(
    disparity_of: DisparityOf, photos: Sequence[PhotoFiles], sharpen: Sharpen | None = None
) -> list[DepthScore]:
    """Width of the depth step at the outlines of masked objects, and the share of steps that are there.

    The teacher's label, where there is one, says which places of an outline should have a step, so that
    all estimators are judged at the same ones.
    """
    scores = []
    for photo, masks in object_masks(list(photos)):
        rgb, label = photo.rgb(), photo.label()
        found = resized(disparity_of(rgb), rgb.shape[1:])
        values = defaultdict(list)
        for suffix, disparity in _before_and_after(found, rgb, sharpen):
            for mask in masks:
                profile = edge_profile(disparity, mask, label)
                if profile.places >= LEAST_POINTS:
                    values["edge_width_px" + suffix].append(profile.width_px)
                    values["edge_kept" + suffix].append(profile.kept)
        if values:
            means = {name: _mean(numbers) for name, numbers in values.items()}
            scores.append(DepthScore("outline", photo.name.split("/")[0], photo.name, means))
    return scores


def summary(scores: Iterable[DepthScore]) -> dict[str, dict[str, float]]:
    """Means by part: of photos over pictures, of scenes over each scene's pictures and then over scenes.

    Returns:
        {part: {name: mean, name_median: median over pictures or scenes, "pictures": count}}; the sparse part
        is split in two, ``sparse re10k`` and ``sparse other``.
    """
    parts = defaultdict(list)
    for score in scores:
        kind = score.group.split("-")[0]
        part = score.part + (f" {'re10k' if kind == 're10k' else 'other'}" if score.part == "sparse" else "")
        parts[part].append(score)
    return {part: _part_summary(of_part) for part, of_part in parts.items()}


def _part_summary(scores: list[DepthScore]) -> dict[str, float]:
    groups = defaultdict(list)
    by_scene = scores[0].part in ("dense", "sparse")
    for score in scores:
        groups[score.group if by_scene else score.picture].append(score.values)
    found = {}
    for name in sorted({name for score in scores for name in score.values}):
        means = [_mean([values.get(name, float("nan")) for values in group]) for group in groups.values()]
        means = [mean for mean in means if np.isfinite(mean)]
        found[name] = _mean(means)
        found[name + "_median"] = float(np.median(means)) if means else float("nan")
    return found | {"pictures": len(scores), "groups": len(groups)}


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


def _depths(aligned: np.ndarray, true_depth: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    nearest, farthest = true_depth[known].min(), true_depth[known].max()
    kept = depth_from_disparity(aligned, nearest / DEPTH_LATITUDE, farthest * DEPTH_LATITUDE)
    return kept, true_depth


def _depth_errors(depth: np.ndarray, true_depth: np.ndarray) -> dict[str, float]:
    return {"abs_rel": abs_rel(depth, true_depth), "delta_1.25": delta_share(depth, true_depth)}


def _mean(numbers: Sequence[float]) -> float:
    finite = [number for number in numbers if np.isfinite(number)]
    return float(np.mean(finite)) if finite else float("nan")
