"""From a posed photo with depth to what another posed camera sees of it: W, for pictures of any shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from kinephoto.measure.scenes import PosedCamera
from kinephoto.measure.view_case import ViewCase
from kinephoto.scene.camera import Camera, Pose
from kinephoto.scene.values import Layer, View

Warp = Callable[[Layer, Camera, Pose], View]
"""The layer that stands for the photo, the camera that looks at it, and its pose target_from_source."""

Edges = Literal["film", "none"]
"""``film``: depth edges are made steps and moved outwards, as in a film; ``none``: left as they are."""


def default_warp() -> Warp:
    """kinephoto's renderer."""
    from kinephoto.scene.render import Renderer

    def warp(layer: Layer, camera: Camera, pose: Pose) -> View:
        return Renderer([layer]).render(camera, pose)

    return warp


def squashed(rgb: Tensor, hw: tuple[int, int] | None) -> Tensor:
    """The picture on ``hw`` pixels whatever its aspect, each the mean of what it covers; [3, H, W]."""
    import cv2

    if hw is None or tuple(rgb.shape[1:]) == tuple(hw):
        return rgb
    small = cv2.resize(rgb.permute(1, 2, 0).numpy(), (hw[1], hw[0]), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small).permute(2, 0, 1).contiguous()


def warped(
    rgb: Tensor,
    disparity: Tensor,
    source: PosedCamera,
    target: PosedCamera,
    warp: Warp,
    *,
    measured: bool = False,
) -> View:
    """What the target's camera sees of a source picture with depth.

    Args:
        rgb: [3, H, W].
        disparity: [H, W] > 0, the scene's units.
        measured: see ``scene.values.Disparity``.
    """
    layer, unit = lifted(rgb, disparity, source, measured=measured)
    return warp(layer, *standpoint(source, target, layer.camera.hw, unit))


def lifted(
    rgb: Tensor, disparity: Tensor, source: PosedCamera, *, measured: bool = False
) -> tuple[Layer, float]:
    """The picture as a layer, and how many of the renderer's units a unit of the scene has.

    The renderer's near plane is made for scenes whose nearest things are at z = 1.
    """
    height, width = disparity.shape
    unit = float(torch.quantile(disparity.flatten()[::7], 0.99))
    camera, _ = square_camera(source, (height, width))
    everywhere = torch.ones(height, width, dtype=torch.bool)
    layer = Layer(rgb, disparity / unit, everywhere, camera, Pose.identity(), measured=measured)
    return layer, unit


def standpoint(
    source: PosedCamera, target: PosedCamera, hw: tuple[int, int], unit: float
) -> tuple[Camera, StretchedPose]:
    """The target's camera with square pixels, and its pose target_from_source among ``lifted`` layers."""
    _, source_stretch = square_camera(source, hw)
    camera, stretch = square_camera(target, hw)
    rotation = target.R @ source.R.T
    shift = (target.t - rotation @ source.t) * unit
    stretched = stretch @ rotation @ np.linalg.inv(source_stretch)
    return camera, StretchedPose(torch.from_numpy(stretched), torch.from_numpy(stretch @ shift))


class StretchedPose(Pose):
    """A pose between scenes that were stretched so that squashed pictures have square pixels.

    Its R is no rotation, so its inverse is not the transposed.
    """

    def inverse(self) -> Pose:
        """``source_from_target``."""
        back = torch.linalg.inv(self.R)
        return StretchedPose(back, -(back @ self.t))


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


def camera_distance(case: ViewCase) -> float:
    """How far the target's camera is from the source's, in middle depths of the source."""
    centres = [-camera.R.T @ camera.t for camera in (case.source_camera, case.target_camera)]
    return float(np.linalg.norm(centres[1] - centres[0])) * float(case.disparity.median())


def at_size(disparity: Tensor, rgb: Tensor) -> Tensor:
    """Disparity on the pixels of ``rgb``; squashed, its edges are drawn to the picture's anew."""
    from kinephoto.scene.edges import sharpen

    if disparity.shape == rgb.shape[1:]:
        return disparity
    return sharpen(squashed(disparity[None].expand(3, -1, -1), tuple(rgb.shape[1:]))[0].contiguous(), rgb)  # type: ignore[arg-type]


def prepared(disparity: Tensor, edges: Edges) -> Tensor:
    """Disparity [H, W] > 0 as the renderer is given it."""
    if edges == "none":
        return disparity
    from kinephoto.scene.edges import default_widening_px, widen_near
    from kinephoto.scene.mesh import sharpen_edges

    hw = (int(disparity.shape[0]), int(disparity.shape[1]))
    return widen_near(sharpen_edges(disparity), default_widening_px(hw))
