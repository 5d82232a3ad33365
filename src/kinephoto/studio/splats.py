"""Layers as Gaussian splats: for each pixel a flat, nearly opaque disc as large as the pixel's quad.

(Kerbl et al., 3D Gaussian Splatting for Real-Time Radiance Field Rendering, SIGGRAPH 2023; the file is the
one its code writes, without further elements, which some readers refuse.)
"""

from __future__ import annotations

import math

import numpy as np

from kinephoto.scene.mesh import corner_mesh
from kinephoto.scene.values import Layer
from kinephoto.scene.world import World

FIELDS = (
    *("x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)

SPREAD_PX = 0.5
"""Standard deviation of a disc, in pixels of the photo: neighbours close the surface, and it stays sharp."""

OPACITY = 0.99
THICKNESS = 0.05
"""Of a disc, as a share of its smaller extent."""

CONSTANT_HARMONIC = 0.28209479177387814
"""The spherical harmonic of degree 0, 1 / (2 √π): a colour c is stored as (c − 1/2) / this."""


def splats_ply(world: World) -> tuple[bytes, int]:
    """The file, binary little endian, in the world's own axes (x right, y down, z forward).

    Returns:
        Its bytes, and how many splats are in it.
    """
    rows = np.concatenate([splats_of(layer) for layer in world.layers])
    header = [
        *("ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"),
        *(f"property float {name}" for name in FIELDS),
        *("end_header", ""),
    ]
    return "\n".join(header).encode() + rows.tobytes(), len(rows)


def splats_of(layer: Layer) -> np.ndarray:
    """[N, 14] float32, the values of ``FIELDS`` for each pixel that exists.

    Scales are natural logarithms, opacity is a logit, the quaternion begins with its real part.
    """
    from scipy.spatial.transform import Rotation

    alpha = layer.alpha.numpy()
    centres, right, down = _discs(layer)
    axes, extents = _principal(right, down)
    home = layer.pose.inverse()
    axes = home.R.numpy() @ axes
    quaternions = np.roll(Rotation.from_matrix(axes).as_quat(), 1, axis=1)
    colours = (layer.rgb.numpy()[:, alpha].T - 0.5) / CONSTANT_HARMONIC
    logit = np.full((len(centres), 1), math.log(OPACITY / (1 - OPACITY)))
    places = centres @ home.R.numpy().T + home.t.numpy()
    values = [places, colours, logit, np.log(extents), quaternions]
    return np.concatenate(values, axis=1).astype("<f4")


def _discs(layer: Layer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middles of the quads [N, 3], and how far they reach to the right and down [N, 3], the layer's camera."""
    mesh, (cx, cy), focal = (
        corner_mesh(layer.disparity, layer.alpha, measured=layer.measured),
        layer.camera.centre_px,
        layer.camera.focal_px,
    )
    row, column = np.nonzero(mesh.exists)
    points = []
    for k in range(4):
        depth = 1 / mesh.corners[row, k, column].astype(np.float64)
        x, y = (column + k % 2 - cx) / focal, (row + k // 2 - cy) / focal
        points.append(np.stack([x * depth, y * depth, depth], 1))
    top_left, top_right, bottom_left, bottom_right = points
    depth = 1 / layer.disparity.numpy()[row, column].astype(np.float64)
    centres = np.stack([(column + 0.5 - cx) / focal * depth, (row + 0.5 - cy) / focal * depth, depth], 1)
    return (
        centres,
        (top_right - top_left + bottom_right - bottom_left) / 2,
        (bottom_left - top_left + bottom_right - top_right) / 2,
    )


def _principal(right: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The Gaussian whose covariance is right · rightᵀ + down · downᵀ, times ``SPREAD_PX`` squared.

    Returns:
        Rotations [N, 3, 3] whose columns are its axes, and standard deviations [N, 3] along them.
    """
    sides = np.stack([right, down], axis=2)
    squared, turns = np.linalg.eigh(sides.transpose(0, 2, 1) @ sides)
    extents = np.sqrt(np.maximum(squared, 1e-24))
    flat = sides @ turns / extents[:, None, :]
    normal = np.cross(flat[:, :, 0], flat[:, :, 1])[:, :, None]
    thin = THICKNESS * extents.min(1, keepdims=True)
    return np.concatenate([flat, normal], axis=2), SPREAD_PX * np.concatenate([extents, thin], axis=1)
