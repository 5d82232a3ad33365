"""The scene as fixed layers: what the photo shows, and behind it what was painted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.scene.camera import Camera, Pose, projection
from kinephoto.scene.fit import Trajectory
from kinephoto.scene.mesh import CONNECTED_TOLERANCE
from kinephoto.scene.values import Disparity, Layer, View

BEHIND = 0.98
"""A painted layer's disparity is so much smaller than that of what it continues, so that the photo wins where both
are: with 0.999 rounding and interpolation let 2 to 5 % of the photo disappear behind what was painted of it."""

AWAY, MOST_AWAY = 0.95, 100
"""A place that hides something of the photo keeps so much of its disparity at a time, so often at most."""

OVERLAP_PX = 2
"""A painted layer repeats so much of the known bank, that no seam opens."""


@dataclass(frozen=True)
class KeyView:
    """A view that was painted.

    Attributes:
        time: of the move, in [0, 1].
        hole_share: share of the frame that was a hole before.
    """

    time: float
    hole_share: float


@dataclass(frozen=True, eq=False)
class World:
    """Everything that a film needs.

    Attributes:
        layers: layer 0 is the photo's, the others were painted; their frame is the photo's camera.
        trajectory: where the camera goes.
        key_views: what was painted, in order; one per further layer.
        depth: the photo's, before it was fitted for drawing; None when the layers come from elsewhere.
        painter: who painted.
        seed: with which it was painted.
        seconds_by_stage: how long each stage of building took.
    """

    layers: tuple[Layer, ...]
    trajectory: Trajectory
    key_views: tuple[KeyView, ...] = ()
    depth: Disparity | None = None
    painter: str = "none"
    seed: int = 0
    seconds_by_stage: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.layers:
            raise InputError("A world has at least the photo's layer; got none.")

    @property
    def depth_name(self) -> str:
        """Who made the depth, in words."""
        return self.depth.source if self.depth else "given"

    @property
    def camera(self) -> Camera:
        """The photo's; layer 0 may show more, where it was continued beyond the photo's border."""
        return self.trajectory.rig.camera


def photo_layer(rgb: Tensor, disparity: Tensor, camera: Camera) -> Layer:
    """Layer 0: the photo itself.

    Args:
        rgb: [3, H, W].
        disparity: [H, W] > 0, the scene's.
    """
    everywhere = torch.ones(disparity.shape, dtype=torch.bool)
    return Layer(rgb.contiguous(), disparity.contiguous(), everywhere, camera, Pose.identity())


def apron(layer: Layer, margin_px: int) -> Layer:
    """What lies beyond a photo's border, as deep as the border itself; without colours.

    A post that the border cuts goes on beyond it, and a strip that comes into view there is the post's, not
    the background's. The apron lies behind whatever is painted of it, and before everything farther.

    Args:
        layer: the photo's.
        margin_px: how far beyond, on every side.
    """
    m = margin_px
    height, width = layer.camera.hw
    disparity = torch.nn.functional.pad(layer.disparity[None, None], (m, m, m, m), mode="replicate")[0, 0]
    around = torch.ones(disparity.shape, dtype=torch.bool)
    around[m : m + height, m : m + width] = False
    cx, cy = layer.camera.centre_px
    camera = Camera(layer.camera.focal_px, (cx + m, cy + m), (height + 2 * m, width + 2 * m))
    return Layer(torch.zeros(3, *disparity.shape), disparity * BEHIND**2, around, camera, layer.pose)


def lifted(rgb: Tensor, disparity: Tensor, painted: Tensor, view: View, camera: Camera, pose: Pose) -> Layer:
    """A painted view as a further layer: what was painted, and a little of the known bank around it.

    Args:
        rgb: [3, H, W], the painted view.
        disparity: [H, W] > 0, the background's: as deep as the hole's farther bank.
        painted: [H, W] bool, what was made up.
        view: as it was before.
        camera: the view's.
        pose: ``view_from_world``.
    """
    import cv2
    import numpy as np

    square = np.ones((2 * OVERLAP_PX + 1,) * 2, np.uint8)
    made, depth = painted.numpy(), disparity.numpy()
    beside = cv2.dilate(np.where(made, depth, np.float32(0)).astype(np.float32), square)
    limit = np.float32(1 + CONNECTED_TOLERANCE)
    bank = ~made & (beside > 0) & (depth <= limit * beside) & (beside <= limit * depth) & view.known.numpy()
    alpha = torch.from_numpy(made | bank)
    return Layer(rgb.contiguous(), (disparity * BEHIND).contiguous(), alpha, camera, pose)


def hiding_nothing(layer: Layer, photo: Layer) -> Layer:
    """A painted layer, farther away wherever it would stand before the photo, seen from the photo's own place.

    How deep a hole's ground lies is guessed; but the photo shows that nothing stands before what it shows. Each
    place moves along its own view's ray, so that it fills what it was painted for.
    """
    matrix = torch.from_numpy(projection(photo.camera, photo.pose @ layer.pose.inverse(), layer.camera))
    v, u = (at + 0.5 for at in torch.nonzero(layer.alpha, as_tuple=True))
    fixed = torch.stack([u, v, torch.ones_like(u)]).double()
    disparity = layer.disparity[layer.alpha].double()
    # The mesh between two pixels is as far as either.
    farthest = -torch.nn.functional.max_pool2d(-photo.disparity[None, None], 3, 1, 1)[0, 0]

    def excess(which: Tensor) -> Tensor:
        """How many times nearer than the photo's own pixel these places are; 0 beyond its frame."""
        x, y, w = matrix[:, :3] @ fixed[:, which] + matrix[:, 3:] * disparity[which]
        height, width = photo.camera.hw
        column, row = (x / w).floor().long(), (y / w).floor().long()
        inside = (w > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        shown = farthest[row.clamp(0, height - 1), column.clamp(0, width - 1)].double()
        alike = photo.alpha[row.clamp(0, height - 1), column.clamp(0, width - 1)]
        return torch.where(inside & alike, disparity[which] / w / shown, torch.zeros(()).double())

    moving = torch.nonzero(excess(torch.arange(len(disparity))) > 1)[:, 0]
    for _ in range(MOST_AWAY):
        if not len(moving):
            break
        disparity[moving] *= AWAY
        moving = moving[excess(moving) > BEHIND]
    moved = layer.disparity.clone()
    moved[layer.alpha] = disparity.to(moved)
    return replace(layer, disparity=moved)
