"""New views from one photo, compared with real photos of those views.

A pair names a source and a target picture of a scene. The source's disparity gets the scene's scale, W moves the
source to the target's camera, a method fills what comes into view, and the result is compared with the target:
on the whole frame, on what the source saw and inside the holes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.measure.metrics import psnr, ssim
from kinephoto.measure.scenes import Scene
from kinephoto.measure.stlpips import Distance
from kinephoto.measure.view_case import ViewCase, ViewMethod, ViewPair
from kinephoto.measure.view_depth import DepthOf
from kinephoto.measure.view_protocol import ViewProtocol
from kinephoto.measure.view_scale import scaled
from kinephoto.measure.view_warp import (
    Edges,
    Warp,
    at_size,
    camera_distance,
    default_warp,
    prepared,
    squashed,
    warped,
)
from kinephoto.scene.values import View

BEST_PSNR_DB = 99.0
"""Of equal pictures; infinity would make every mean infinite."""


class PerceptualDistance(Protocol):
    """ST-LPIPS and its like."""

    def features(self, rgb: Tensor) -> Any: ...

    def distance(self, predicted: Tensor, true_features: Any) -> Distance: ...


@dataclass(frozen=True, eq=False)
class Tools:
    """All that measures a pair.

    Attributes:
        protocol: size, scale and border.
        depth_of: where disparity comes from.
        methods: by the name they get in the tables.
        distances: by the name of their metric, such as ``st_lpips_alex``.
        edges: what is done to depth edges.
        measured: whether the disparity's small steps can be believed, see ``scene.values.Disparity``.
        seeds: each method that draws something runs with each of them.
        warp: the renderer.
    """

    protocol: ViewProtocol
    depth_of: DepthOf
    methods: Mapping[str, ViewMethod]
    distances: Mapping[str, PerceptualDistance]
    edges: Edges = "film"
    seeds: tuple[int, ...] = (0,)
    measured: bool = False
    warp: Warp = field(default_factory=lambda: default_warp())


@dataclass(frozen=True, eq=False)
class PairResult:
    """What was measured on one pair.

    Attributes:
        pair: which one.
        distance: of the two cameras, in units of the middle depth of the source.
        hole_share: of the frame, that W leaves open.
        values: by method and metric, means over seeds; NaN where there is nothing to measure.
        failures: by method, why it has no picture.
        pictures: to look at: ``source``, ``target``, ``holes`` and each method's, [3, H, W].
    """

    pair: ViewPair
    distance: float
    hole_share: float
    values: Mapping[str, Mapping[str, float]]
    failures: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class ViewFailure:
    """What could not be measured: a scene, a pair of it, or one method on a pair; and why."""

    scene: str
    pair: ViewPair | None
    method: str | None
    why: str


def measure_scene(
    tools: Tools, scene: Scene, pairs: Sequence[ViewPair]
) -> Iterator[PairResult | ViewFailure]:
    """Measure the pairs of one scene, one by one; each source's depth is estimated once."""
    estimated: dict[int, Tensor] = {}
    for pair in pairs:
        try:
            _check_places(scene, pair)
            if pair.source not in estimated:
                estimated = {pair.source: tools.depth_of(scene, pair.source)}
            yield measure_pair(tools, scene, pair, estimated[pair.source])
        except InputError as error:
            yield ViewFailure(scene.name, pair, None, str(error))


def measure_pair(tools: Tools, scene: Scene, pair: ViewPair, disparity: Tensor) -> PairResult:
    """Every method on one pair.

    Args:
        tools: what to measure with.
        scene: of the pair.
        pair: which one.
        disparity: [h, w] of the source, nearest about 1.

    Raises:
        InputError: the pair can't be used.
    """
    case, target = case_of(tools, scene, pair, disparity)
    share = tools.protocol.border_crop
    true, known = cropped(target, share), cropped(case.view.known, share)
    features = {name: measure.features(true) for name, measure in tools.distances.items()}
    holes = torch.where(case.view.known, 1.0, 0.0).expand(3, -1, -1)
    pictures = {"source": case.source, "target": target, "holes": holes}
    values, failures = {}, {}
    for name, method in tools.methods.items():
        try:
            rows = []
            told = _told(method, case, target)
            for seed in tools.seeds if draws(name) else tools.seeds[:1]:
                start = time.perf_counter()
                picture = _checked(told(case.with_seed(seed)), target)
                seconds = time.perf_counter() - start
                pictures.setdefault(name, picture)
                scores = picture_scores(cropped(picture, share), true, known)
                scores |= _distances(tools.distances, features, cropped(picture, share), known)
                rows.append(scores | {"seconds": seconds})
            values[name] = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        except InputError as error:
            failures[name] = str(error)
    hole_share = float((~known).float().mean())
    return PairResult(pair, camera_distance(case), hole_share, values, failures, pictures)


def draws(method: str) -> bool:
    """Whether a method's picture depends on the seed."""
    return not method.startswith(("copy", "w-", "depthflow", "predictions", "opencv"))


def case_of(tools: Tools, scene: Scene, pair: ViewPair, disparity: Tensor) -> tuple[ViewCase, Tensor]:
    """The pair as methods get it, and the target's picture at the same size.

    Raises:
        InputError: the two pictures differ in size, or the scale can't be had.
    """
    source, target = scene.rgb(pair.source), scene.rgb(pair.target)
    if source.shape != target.shape:
        sizes = [f"{rgb.shape[2]} x {rgb.shape[1]}" for rgb in (source, target)]
        raise InputError(
            f"{scene.images[pair.source]} is {sizes[0]} px, {scene.images[pair.target].name} {sizes[1]}; a clip's "
            "pictures have one size."
        )
    source, target = (squashed(rgb, tools.protocol.size) for rgb in (source, target))
    cameras = (scene.cameras[pair.source], scene.cameras[pair.target])
    found = at_size(disparity, source)

    def seen(values: Tensor) -> View:
        return warped(source, values, *cameras, tools.warp, measured=tools.measured)

    def visible_error(scaled_disparity: Tensor) -> float:
        view = seen(prepared(scaled_disparity, tools.edges))
        return -psnr(view.rgb, target, view.known) if bool(view.known.any()) else float("inf")

    in_scene = scaled(found, scene, pair.source, tools.protocol.scale, visible_error)
    in_scene = prepared(in_scene, tools.edges)
    view = seen(in_scene)
    return ViewCase(pair, scene, source, in_scene, *cameras, view, measured=tools.measured), target


def cropped(picture: Tensor, share: float) -> Tensor:
    """Without so much of height and width along each border; [..., H, W]."""
    if not share:
        return picture
    rows, columns = (round(side * share) for side in picture.shape[-2:])
    return picture[..., rows : picture.shape[-2] - rows, columns : picture.shape[-1] - columns]


def picture_scores(predicted: Tensor, true: Tensor, known: Tensor) -> dict[str, float]:
    """PSNR and SSIM on the whole frame, on what the source saw (``_visible``), and inside the holes (``_hole``)."""
    values = {"psnr": min(psnr(predicted, true), BEST_PSNR_DB), "ssim": ssim(predicted, true)}
    for suffix, mask in (("_visible", known), ("_hole", ~known)):
        some = bool(mask.any())
        values["psnr" + suffix] = min(psnr(predicted, true, mask), BEST_PSNR_DB) if some else float("nan")
        values["ssim" + suffix] = ssim(predicted, true, mask) if some else float("nan")
    return values


def _distances(
    distances: Mapping[str, PerceptualDistance], features: Mapping[str, Any], picture: Tensor, known: Tensor
) -> dict[str, float]:
    """Each perceptual distance on the whole frame, and the means of its map over what was seen and the holes."""
    values = {}
    for name, measure in distances.items():
        found = measure.distance(picture, features[name])
        values[name] = found.mean
        # The mean of nothing is NaN.
        values[name + "_visible"] = float(found.map[known].mean())
        values[name + "_hole"] = float(found.map[~known].mean())
    return values


def _told(method: ViewMethod, case: ViewCase, target: Tensor) -> ViewMethod:
    """The method; one that must be calibrated on the visible pixels of the target, calibrated (docs/protocol.md)."""
    calibrated = getattr(method, "calibrated", None)
    return calibrated(case, target) if calibrated is not None else method


def _checked(picture: Tensor, target: Tensor) -> Tensor:
    if picture.shape != target.shape:
        raise InputError(f"The picture is {tuple(picture.shape)}, its target {tuple(target.shape)}.")
    return picture.detach().cpu().float().clamp(0, 1)


def _check_places(scene: Scene, pair: ViewPair) -> None:
    for place in (pair.source, pair.target):
        if not 0 <= place < len(scene.images):
            raise InputError(
                f"{scene.name} has {len(scene.images)} pictures, 0 and up; the pair asks for {place}."
            )
