"""Cameras and poses: where a point of the scene lands in a picture.

Axes are OpenCV's: x right, y down, z forward. Pixel (column u, row v) has its centre at
(u + 0.5, v + 0.5). Disparity is 1/z, known up to a scale of the scene.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with square pixels.

    Attributes:
        focal_px: focal length in pixels, > 0.
        centre_px: (cx, cy), where the optical axis meets the picture, px from its top-left corner.
        hw: (height, width) of the picture, px.
    """

    focal_px: float
    centre_px: tuple[float, float]
    hw: tuple[int, int]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.focal_px) and self.focal_px > 0):
            raise InputError(f"The focal length is {self.focal_px} px; it must be positive.")
        if min(self.hw) < 1:
            raise InputError(f"The picture is {self.hw[1]}×{self.hw[0]} px; both must be at least 1.")

    @classmethod
    def from_field_of_view(cls, hw: tuple[int, int], angle_deg: float = 55.0) -> Camera:
        """The camera whose longer side sees ``angle_deg`` degrees, looking through the middle."""
        height, width = hw
        focal_px = 0.5 * max(hw) / math.tan(math.radians(angle_deg) / 2)
        return cls(focal_px, (width / 2, height / 2), (height, width))

    @property
    def matrix(self) -> np.ndarray:
        """K, [3, 3] float64: px_homogeneous = K @ xyz_cam."""
        cx, cy = self.centre_px
        return np.array([[self.focal_px, 0.0, cx], [0.0, self.focal_px, cy], [0.0, 0.0, 1.0]])

    def resized(self, hw: tuple[int, int]) -> Camera:
        """The same view on ``hw`` pixels.

        The focal length scales with the longer side; where ``hw`` has another aspect, as it does after
        rounding, the shorter side sees a little more or less. The centre keeps its share of each side.
        """
        side = 0 if self.hw[0] >= self.hw[1] else 1
        scale = hw[side] / self.hw[side]
        cx = self.centre_px[0] * hw[1] / self.hw[1]
        cy = self.centre_px[1] * hw[0] / self.hw[0]
        return Camera(self.focal_px * scale, (cx, cy), (int(hw[0]), int(hw[1])))

    def zoomed(self, factor: float) -> Camera:
        """The same camera with ``factor`` times the focal length."""
        return Camera(self.focal_px * factor, self.centre_px, self.hw)


@dataclass(frozen=True, eq=False)
class Pose:
    """A rigid motion, named ``target_from_source``: xyz_target = R @ xyz_source + t.

    Attributes:
        R: [3, 3] float64, a rotation.
        t: [3] float64, scene units (nearest thing of a normalised photo is at z = 1).
    """

    R: Tensor
    t: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "R", torch.as_tensor(self.R, dtype=torch.float64))
        object.__setattr__(self, "t", torch.as_tensor(self.t, dtype=torch.float64))
        if self.R.shape != (3, 3) or self.t.shape != (3,):
            raise InputError(
                f"A pose is R [3, 3] and t [3]; got {tuple(self.R.shape)}, {tuple(self.t.shape)}."
            )

    @classmethod
    def identity(cls) -> Pose:
        """The pose that moves nothing."""
        return cls(torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))

    def __matmul__(self, other: Pose) -> Pose:
        """``c_from_b @ b_from_a`` is ``c_from_a``."""
        return Pose(self.R @ other.R, self.R @ other.t + self.t)

    def inverse(self) -> Pose:
        """``source_from_target``."""
        return Pose(self.R.T, -(self.R.T @ self.t))


def projection(target: Camera, target_from_source: Pose, source: Camera) -> np.ndarray:
    """The matrix that carries a pixel and its disparity to another view.

    P = [K' R K⁻¹ | K' t]; with (x, y, w) = P @ (u, v, 1, d) the pixel lands at (x/w, y/w) with
    disparity d/w (Hartley & Zisserman, Multiple View Geometry, 2nd ed., section 6.2, divided by z).

    Returns:
        [3, 4] float64.
    """
    rotation = target_from_source.R.numpy()
    shift = target_from_source.t.numpy()
    infinite = target.matrix @ rotation @ np.linalg.inv(source.matrix)
    return np.concatenate([infinite, (target.matrix @ shift)[:, None]], axis=1)
