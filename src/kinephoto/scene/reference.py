"""The rasteriser's rules, spelt out slowly: the judge of the fast one (raster) and its twin (twin).

The rules, in full:

1. A vertex (u, v, disparity d) goes through the 3 × 4 matrix P in float64, each product and sum rounded
   on its own: w = p20 u + (p21 v + p22) + p23 d, x and y alike. It is dropped unless w > near * d (the point
   lies beyond the near plane) and w > 1e-9.
2. It is snapped to 1/256 pixel: floor(x * (1/w) * 256 - 127.5), so that integer 256 * n is the centre of
   pixel n. Vertices at or beyond ±2²³ of these are dropped, and with a vertex all its triangles.
3. Each quad is two triangles, (0, 1, 2) and (3, 2, 1) of its corners. Back faces and slivers of no area are
   culled. From here on coverage is a matter of integers.
4. A pixel is covered when its centre lies inside, or on a top or left edge: two triangles that share
   an edge never both cover it and never both miss it.
5. Disparity and position are interpolated in float32 (disparity is linear on the screen; u and v need
   the weights 1/w), in the order written in ``_interpolate``.
6. The larger disparity wins; of equal ones the lower (layer, row, column, triangle).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from kinephoto.scene.mesh import Mesh
from kinephoto.scene.values import Hits

SUBPIXELS = 256
FARTHEST_SUBPIXEL = 2.0**23
"""float32 holds integers and their differences exactly up to here."""
NEAR = 1e-3
"""The near plane, scene units; the nearest thing of a normalised photo is at 1."""
SMALLEST_W = 1e-9
SMALLEST_DISPARITY = np.float32(1e-12)
"""Rounding must not push a hit's disparity to 0, which means "nothing there"."""
LARGEST_FRACTION = np.float32(0.9995)
"""Rounding must not push a hit into the next quad, which may lie behind a tear."""

TRIANGLES = ((0, 1, 2), (3, 2, 1))
"""Corners of a quad's two triangles, clockwise on the screen when the surface faces the camera."""


def rasterize(
    meshes: Sequence[Mesh],
    projections: Sequence[np.ndarray],
    hw: tuple[int, int],
    near: float = NEAR,
) -> Hits:
    """What each pixel of a view shows.

    Args:
        meshes: one per layer.
        projections: one [3, 4] float64 per layer, as ``camera.projection`` makes them.
        hw: size of the view, px.
        near: distance of the near plane, scene units.
    """
    canvas = _Canvas(hw)
    for layer, (mesh, matrix) in enumerate(zip(meshes, projections, strict=True)):
        for j, i in np.argwhere(mesh.exists):
            vertices = [
                _project(i + k % 2, j + k // 2, mesh.corners[j, k, i], matrix, near) for k in range(4)
            ]
            for corners in TRIANGLES:
                _draw([vertices[k] for k in corners], corners, (int(j), int(i)), layer, canvas)
    return Hits(*(torch.from_numpy(a) for a in (canvas.u, canvas.v, canvas.disparity, canvas.layer)))


class _Canvas:
    """The view while it is drawn."""

    def __init__(self, hw: tuple[int, int]) -> None:
        self.hw = hw
        self.u, self.v, self.disparity = (np.zeros(hw, np.float32) for _ in range(3))
        self.layer = np.full(hw, -1, np.int16)


def _project(u: int, v: int, disparity: np.float32, matrix: np.ndarray, near: float) -> tuple | None:
    """(X, Y, 1/w, disparity) of a vertex in the view: two ints, two float32; None when dropped."""
    d = float(disparity)
    x, y, w = (float(row[0] * u + (row[1] * v + row[2]) + row[3] * d) for row in matrix)
    if not (w > near * d and w > SMALLEST_W):
        return None
    inverse_w = 1.0 / w
    snapped = [np.floor(a * inverse_w * SUBPIXELS - (SUBPIXELS / 2 - 0.5)) for a in (x, y)]
    if max(abs(a) for a in snapped) >= FARTHEST_SUBPIXEL:
        return None
    return int(snapped[0]), int(snapped[1]), np.float32(inverse_w), np.float32(d * inverse_w)


def _draw(vertices: list, corners: tuple, quad: tuple[int, int], layer: int, canvas: _Canvas) -> None:
    """Draw one triangle. Triangles come in rising order, so an equal disparity never replaces one."""
    if any(vertex is None for vertex in vertices):
        return
    points = [vertex[:2] for vertex in vertices]
    area = _edge(points[0], points[1], points[2])
    if area <= 0:
        return
    columns, rows = ([p[axis] for p in points] for axis in (0, 1))
    for y in range(max(0, -(-min(rows) // SUBPIXELS)), min(canvas.hw[0] - 1, max(rows) // SUBPIXELS) + 1):
        for x in range(
            max(0, -(-min(columns) // SUBPIXELS)), min(canvas.hw[1] - 1, max(columns) // SUBPIXELS) + 1
        ):
            weights = _weights(points, (x * SUBPIXELS, y * SUBPIXELS))
            if weights is None:
                continue
            disparity, u, v = _interpolate(vertices, weights, area, corners, quad)
            if disparity > canvas.disparity[y, x]:
                canvas.disparity[y, x], canvas.u[y, x], canvas.v[y, x] = disparity, u, v
                canvas.layer[y, x] = layer


def _edge(a: tuple[int, int], b: tuple[int, int], p: tuple[int, int]) -> int:
    """Twice the area of (a, b, p), positive when clockwise with y down."""
    return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])


def _is_top_left(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Of a clockwise triangle, edges that go up are left ones, level ones going right are top ones."""
    return b[1] < a[1] or (b[1] == a[1] and b[0] > a[0])


def _weights(points: list, centre: tuple[int, int]) -> list[int] | None:
    """Twice the areas opposite each vertex, or None when the centre is not covered."""
    weights = []
    for k in range(3):
        a, b = points[(k + 1) % 3], points[(k + 2) % 3]
        area = _edge(a, b, centre)
        if area < 0 or (area == 0 and not _is_top_left(a, b)):
            return None
        weights.append(area)
    return weights


def _interpolate(
    vertices: list, weights: list[int], area: int, corners: tuple, quad: tuple[int, int]
) -> tuple:
    """Disparity, u and v at the pixel's centre, float32 throughout."""
    one = np.float32(1)
    inverse_area = one / np.float32(area)
    l1, l2 = np.float32(weights[1]) * inverse_area, np.float32(weights[2]) * inverse_area
    l0 = one - l1 - l2
    disparity = l0 * vertices[0][3] + l1 * vertices[1][3] + l2 * vertices[2][3]
    m1, m2 = l1 * vertices[1][2], l2 * vertices[2][2]
    scale = one / (l0 * vertices[0][2] + m1 + m2)
    du, dv = m1 * scale, m2 * scale
    if corners[0] == 3:
        du, dv = one - du, one - dv
    du, dv = (np.clip(a, np.float32(0), LARGEST_FRACTION) for a in (du, dv))
    return max(disparity, SMALLEST_DISPARITY), np.float32(quad[1]) + du, np.float32(quad[0]) + dv
