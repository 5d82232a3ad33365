"""How far the camera may go: the move's amount fitted to the hole area that it opens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F

from kinephoto.scene.camera import Camera
from kinephoto.scene.path import Path, Rig, View, rig_for
from kinephoto.scene.render import Renderer
from kinephoto.scene.values import Layer

MOST_AUTO = 0.06
"""The largest amount that "auto" takes, even where nothing would have to be painted: near things don't fly off."""

PREVIEW_SHORT_SIDE_PX = 192
"""Holes are counted on a mesh of this size, which opens like the large one and is drawn in milliseconds."""

FINER = 2
"""Rows of the view per row of that mesh, so that a hole of half a quad counts as well."""

PREVIEW_TIMES = 13
FITTING_STEPS = 7  # halvings of the range; the amount is then known to MOST_AUTO / 128

Viewers = Callable[[View], tuple[View, ...]]
"""From where the path leads the camera to the cameras that film there: that one alone, or two eyes beside it."""


def alone(view: View) -> tuple[View, ...]:
    """The path's camera films by itself."""
    return (view,)


@dataclass(frozen=True)
class Trajectory:
    """A path that has met its photo: where the camera is at each time.

    Attributes:
        path: what was asked for.
        rig: the photo's camera, the amount and the focus.
        safe_amount: the largest amount, up to ``MOST_AUTO``, with which no frame has more hole than ``path.max_hole``.
        hole_share: the largest share of a frame that has to be painted, at ``rig.amount``.
        viewers: who films along the path.
    """

    path: Path
    rig: Rig
    safe_amount: float
    hole_share: float
    viewers: Viewers = alone

    def view(self, time: float) -> View:
        """The camera and its pose ``view_from_world`` at a time of the move in [0, 1]."""
        return self.path.move(time, self.rig)

    def views(self, time: float) -> tuple[View, ...]:
        """What is filmed at that time: all that must be painted."""
        return self.viewers(self.view(time))


def fitted(path: Path, layer: Layer, threads: int | None = None, viewers: Viewers = alone) -> Trajectory:
    """Choose the amount for a photo's layer: the path's own, or the largest safe one.

    Args:
        path: the move.
        layer: the photo's, its pose the identity.
        viewers: who films along the path; none of them gets more hole than the path allows.
    """
    small = _reduced(layer)
    rig = rig_for(small.camera, small.disparity.numpy(), path.focus, MOST_AUTO)
    renderer = Renderer([small], threads=threads)

    @cache
    def holes(amount: float) -> float:
        moved = Rig(rig.camera, amount, rig.focus_px, rig.focus_disparity)
        return largest_hole(renderer, path, moved, viewers)

    safe = _largest_safe(holes, path.max_hole)
    amount = safe if path.amount is None else path.amount
    u, v = rig.focus_px
    scale_v, scale_u = (full / part for full, part in zip(layer.camera.hw, small.camera.hw, strict=True))
    full = Rig(layer.camera, amount, (u * scale_u, v * scale_v), rig.focus_disparity)
    return Trajectory(path, full, safe, holes(amount), viewers)


def largest_hole(renderer: Renderer, path: Path, rig: Rig, viewers: Viewers = alone) -> float:
    """The largest share of a frame that no layer covers, over ``PREVIEW_TIMES`` times of the move."""
    shares = []
    for time in np.linspace(0, 1, PREVIEW_TIMES):
        for camera, pose in viewers(path.move(float(time), rig)):
            camera = camera.resized((FINER * camera.hw[0], FINER * camera.hw[1]))
            shares.append(1 - float(renderer.coverage(camera, pose).float().mean()))
    return max(shares)


def _largest_safe(holes: Callable[[float], float], max_hole: float) -> float:
    """Bisection; holes grow with the amount but for a pixel here and there."""
    if holes(MOST_AUTO) <= max_hole:
        return MOST_AUTO
    low, high = 0.0, MOST_AUTO
    for _ in range(FITTING_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holes(middle) <= max_hole else (low, middle)
    return low


def _reduced(layer: Layer) -> Layer:
    """The layer on fewer pixels; each takes one pixel's disparity, since a mean would soften steps."""
    scale = min(1.0, PREVIEW_SHORT_SIDE_PX / min(layer.camera.hw))
    hw = (max(1, round(layer.camera.hw[0] * scale)), max(1, round(layer.camera.hw[1] * scale)))
    if hw == layer.camera.hw:
        return layer
    disparity = F.interpolate(layer.disparity[None, None], size=hw, mode="nearest-exact")[0, 0].contiguous()
    alpha = torch.ones(hw, dtype=torch.bool)
    camera: Camera = layer.camera.resized(hw)
    return Layer(torch.zeros(3, *hw), disparity, alpha, camera, layer.pose)
