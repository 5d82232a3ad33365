"""The rasteriser's rules in plain torch: the same pixels on a processor, CUDA or any other device, in batches.

Every (triangle, pixel) candidate is listed and tested at once. A hit becomes one 64-bit key, disparity
bits above, inverted triangle number below, and the largest key per pixel wins: maximum does not care about
order, so neither does the result. Positive float32 numbers sort like their bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kinephoto.scene.mesh import CONNECTED_TOLERANCE, Mesh
from kinephoto.scene.reference import (
    FARTHEST_SUBPIXEL,
    LARGEST_FRACTION,
    NEAR,
    SMALLEST_DISPARITY,
    SMALLEST_W,
    SUBPIXELS,
    TRIANGLES,
)
from kinephoto.scene.values import Hits

_LARGEST_NUMBER = 2**32 - 1
CANDIDATES_AT_ONCE = 2**22
"""Candidates are listed in parts of about this many, which bounds memory to about 1 GB."""


def rasterize(
    meshes: Sequence[Mesh],
    projections: Sequence[np.ndarray],
    hw: tuple[int, int],
    near: float = NEAR,
    device: str | torch.device = "cpu",
) -> Hits:
    """What each pixel of a view shows; see ``reference.rasterize``, whose equal this is."""
    layers = [
        (
            torch.from_numpy(mesh.corners)[None],
            torch.from_numpy(mesh.exists)[None],
            torch.as_tensor(matrix)[None],
        )
        for mesh, matrix in zip(meshes, projections, strict=True)
    ]
    batch = rasterize_batch([[part.to(device) for part in layer] for layer in layers], hw, near)
    return Hits(batch.u[0], batch.v[0], batch.disparity[0], batch.layer[0])


def rasterize_batch(layers: Sequence[Sequence[Tensor]], hw: tuple[int, int], near: float = NEAR) -> Hits:
    """Many views at once, each of its own layers.

    Args:
        layers: per layer (corners [B, H, 4, W] float32, exists [B, H, W] bool, projections
            [B, 3, 4] float64), all on one device; H and W may differ between layers.
        hw: size of the views, px.

    Returns:
        Hits with a leading dimension B, on the layers' device.
    """
    count = len(layers[0][0]) if layers else 1
    device = layers[0][0].device if layers else torch.device("cpu")
    keys = torch.full((count * hw[0] * hw[1],), -1, dtype=torch.int64, device=device)
    projected = [_project(corners, matrices, near) for corners, _, matrices in layers]
    first_number = 0
    for (_corners, exists, _), vertices in zip(layers, projected, strict=True):
        for triangle in (0, 1):
            _draw(vertices, exists, triangle, first_number, hw, keys)
        first_number += 2 * exists[0].numel()
    return _resolve(projected, keys, (count, *hw))


def corners_of(disparity: Tensor, exists: Tensor, tolerance: float = CONNECTED_TOLERANCE) -> Tensor:
    """[B, H, 4, W] float32, the corners of ``mesh.corner_mesh``, wherever a pixel exists.

    Args:
        disparity: [B, H, W] float32, > 0 wherever ``exists`` is.
        exists: [B, H, W] bool.
    """
    values = torch.where(exists, disparity, 0).float()
    padded = torch.nn.functional.pad(values, (1, 1, 1, 1))
    tl, tr, bl, br = padded[:, :-1, :-1], padded[:, :-1, 1:], padded[:, 1:, :-1], padded[:, 1:, 1:]
    limit = torch.tensor(np.float32(1 + tolerance), device=values.device)

    def linked(a: Tensor, b: Tensor) -> Tensor:
        return (a > 0) & (b > 0) & (torch.maximum(a, b) <= limit * torch.minimum(a, b))

    top, bottom, west, east = linked(tl, tr), linked(bl, br), linked(tl, bl), linked(tr, br)
    whole = (top & bottom & (west | east)) | (west & east & (top | bottom))
    falling, rising = (top & east) | (west & bottom) | whole, (top & west) | (east & bottom) | whole
    top, bottom, west, east = (side | whole for side in (top, bottom, west, east))
    always = torch.ones_like(top)

    def mean(*members: Tensor) -> Tensor:
        total, count = torch.zeros_like(tl, dtype=torch.float64), torch.zeros_like(tl, dtype=torch.float64)
        for value, member in zip((tl, tr, bl, br), members, strict=True):
            total = total + torch.where(member, value.double(), 0.0)
            count = count + member
        return (total / count).float()

    # Each mean belongs to one of the four pixels around a point; seen from the pixel the point is the opposite corner.
    return torch.stack(
        [
            mean(falling, east, bottom, always)[:, :-1, :-1],
            mean(west, rising, always, bottom)[:, :-1, 1:],
            mean(top, always, rising, east)[:, 1:, :-1],
            mean(always, top, west, falling)[:, 1:, 1:],
        ],
        dim=2,
    )


def _project(corners: Tensor, matrices: Tensor, near: float) -> dict[str, Tensor]:
    """Rules 1 and 2; each value [B, H, 4, W]."""
    _, height, _, width = corners.shape
    k = torch.arange(4, device=corners.device)
    u = (torch.arange(width, device=corners.device)[None] + (k % 2)[:, None]).double()
    v = (torch.arange(height, device=corners.device)[:, None, None] + (k // 2)[:, None]).double()
    d = corners.double()
    p = matrices[:, :, :, None, None, None]
    x, y, w = (p[:, r, 0] * u + (p[:, r, 1] * v + p[:, r, 2]) + p[:, r, 3] * d for r in range(3))
    good = (w > near * d) & (w > SMALLEST_W)
    inverse_w = 1.0 / torch.where(good, w, 1.0)
    snapped = [torch.floor(a * inverse_w * SUBPIXELS - (SUBPIXELS / 2 - 0.5)) for a in (x, y)]
    for a in snapped:
        good &= a.abs() < FARTHEST_SUBPIXEL
    x, y = (torch.where(good, a, 0.0).long() for a in snapped)
    return {"x": x, "y": y, "w": inverse_w.float(), "z": (d * inverse_w).float(), "good": good}


def _draw(
    vertices: dict[str, Tensor],
    exists: Tensor,
    triangle: int,
    first_number: int,
    hw: tuple[int, int],
    keys: Tensor,
) -> None:
    """Rules 3 to 6 for one triangle of every quad; raises ``keys`` in place."""
    corners = TRIANGLES[triangle]
    xs, ys = ([vertices[axis][:, :, k] for k in corners] for axis in "xy")
    good = exists & (_edge(xs[0], ys[0], xs[1], ys[1], xs[2], ys[2]) > 0)
    for k in corners:
        good = good & vertices["good"][:, :, k]
    x0, x1 = _pixel_range(xs, hw[1])
    y0, y1 = _pixel_range(ys, hw[0])
    chosen = (good & (x0 <= x1) & (y0 <= y1)).flatten().nonzero()[:, 0]
    x0, x1, y0, y1 = (a.flatten()[chosen] for a in (x0, x1, y0, y1))
    last_candidate = ((x1 - x0 + 1) * (y1 - y0 + 1)).cumsum(0) - 1
    sizes = (last_candidate // CANDIDATES_AT_ONCE).unique_consecutive(return_counts=True)[1].tolist()
    for part, *box in zip(*(a.split(sizes) for a in (chosen, x0, x1, y0, y1)), strict=True):
        _draw_part(vertices, part, box, triangle, first_number, exists.shape, hw, keys)


def _draw_part(
    vertices: dict[str, Tensor],
    quads: Tensor,
    box: list[Tensor],
    triangle: int,
    first_number: int,
    shape: tuple[int, ...],
    hw: tuple[int, int],
    keys: Tensor,
) -> None:
    """List the candidates of these quads [N] (flat indices into ``shape``), test them, raise the keys."""
    x0, x1, y0, y1 = box
    across = x1 - x0 + 1
    counts = across * (y1 - y0 + 1)
    which = torch.repeat_interleave(torch.arange(len(quads), device=keys.device), counts)
    place = torch.arange(len(which), device=keys.device) - (counts.cumsum(0) - counts)[which]
    px, py = x0[which] + place % across[which], y0[which] + place // across[which]
    quads = quads[which]
    points, area, weights = _weights(vertices, quads, triangle, shape, px, py)
    inside = torch.ones_like(quads, dtype=torch.bool)
    for k in range(3):
        a, b = points[(k + 1) % 3], points[(k + 2) % 3]
        top_left = (b[1] < a[1]) | ((b[1] == a[1]) & (b[0] > a[0]))
        inside &= (weights[k] > 0) | ((weights[k] == 0) & top_left)
    hit = inside.nonzero()[:, 0]
    quads, px, py, area = (a[hit] for a in (quads, px, py, area))
    l0, l1, l2 = _shares([w[hit] for w in weights], area)
    z0, z1, z2 = _at(vertices["z"], quads, triangle, shape)
    disparity = (l0 * z0 + l1 * z1 + l2 * z2).clamp(min=float(SMALLEST_DISPARITY))
    quads_per_view = shape[1] * shape[2]
    number = first_number + 2 * (quads % quads_per_view) + triangle
    pixel = (quads // quads_per_view * hw[0] + py) * hw[1] + px
    bits = disparity.view(torch.int32).long()
    keys.scatter_reduce_(0, pixel, (bits << 32) | (_LARGEST_NUMBER - number), "amax")


def _resolve(projected: list[dict[str, Tensor]], keys: Tensor, shape: tuple[int, int, int]) -> Hits:
    """From the winning keys to what they mean."""
    _, height, width = shape
    u, v = torch.zeros_like(keys, dtype=torch.float32), torch.zeros_like(keys, dtype=torch.float32)
    layer = torch.full_like(keys, -1, dtype=torch.int16)
    number = torch.where(keys >= 0, _LARGEST_NUMBER - (keys & _LARGEST_NUMBER), -1)
    first_number = 0
    for index, vertices in enumerate(projected):
        batch, rows, _, columns = vertices["x"].shape
        beyond = first_number + 2 * rows * columns
        for triangle in (0, 1):
            mine = (number >= first_number) & (number < beyond) & ((number - first_number) % 2 == triangle)
            pixel = mine.nonzero()[:, 0]
            quad = (number[pixel] - first_number) // 2
            view = pixel // (height * width)
            u[pixel], v[pixel] = _position(
                vertices, view * rows * columns + quad, triangle, (batch, rows, columns),
                pixel % width, pixel // width % height,
            )  # fmt: skip
            layer[pixel] = index
        first_number = beyond
    bits = torch.where(keys >= 0, keys >> 32, 0).int()
    fields = (u, v, bits.view(torch.float32), layer)
    return Hits(*(field.reshape(shape) for field in fields))


def _position(
    vertices: dict[str, Tensor], quads: Tensor, triangle: int, shape: tuple, px: Tensor, py: Tensor
) -> tuple[Tensor, Tensor]:
    """u and v of the pixels' centres on their triangles, rule 5."""
    _, area, weights = _weights(vertices, quads, triangle, shape, px, py)
    l0, l1, l2 = _shares(weights, area)
    w0, w1, w2 = _at(vertices["w"], quads, triangle, shape)
    m1, m2 = l1 * w1, l2 * w2
    scale = 1 / (l0 * w0 + m1 + m2)
    du, dv = m1 * scale, m2 * scale
    if triangle == 1:
        du, dv = 1 - du, 1 - dv
    du, dv = (a.clamp(0.0, float(LARGEST_FRACTION)) for a in (du, dv))
    width = shape[2]
    return (quads % width).float() + du, (quads // width % shape[1]).float() + dv


def _weights(
    vertices: dict[str, Tensor], quads: Tensor, triangle: int, shape: tuple, px: Tensor, py: Tensor
) -> tuple[list[tuple[Tensor, Tensor]], Tensor, list[Tensor]]:
    """The triangles' points, twice their areas, and twice the areas opposite each point; int64."""
    xs, ys = (_at(vertices[axis], quads, triangle, shape) for axis in "xy")
    area = _edge(xs[0], ys[0], xs[1], ys[1], xs[2], ys[2])
    x, y = px * SUBPIXELS, py * SUBPIXELS
    weights = [
        _edge(xs[(k + 1) % 3], ys[(k + 1) % 3], xs[(k + 2) % 3], ys[(k + 2) % 3], x, y) for k in range(3)
    ]
    return list(zip(xs, ys, strict=True)), area, weights


def _at(values: Tensor, quads: Tensor, triangle: int, shape: tuple) -> list[Tensor]:
    """values [B, H, 4, W] at the three corners of a triangle of each quad (flat index into [B, H, W])."""
    width = shape[2]
    row, column = quads // width, quads % width
    flat = values.flatten()
    return [flat[(row * 4 + k) * width + column] for k in TRIANGLES[triangle]]


def _shares(weights: list[Tensor], area: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Barycentric coordinates, float32."""
    inverse_area = 1 / area.float()
    l1, l2 = weights[1].float() * inverse_area, weights[2].float() * inverse_area
    return 1 - l1 - l2, l1, l2


def _edge(ax: Tensor, ay: Tensor, bx: Tensor, by: Tensor, px: Tensor, py: Tensor) -> Tensor:
    return (bx - ax) * (py - ay) - (by - ay) * (px - ax)


def _pixel_range(coordinates: list[Tensor], count: int) -> tuple[Tensor, Tensor]:
    """First and last pixel whose centre the three coordinates may enclose."""
    low = torch.minimum(torch.minimum(coordinates[0], coordinates[1]), coordinates[2])
    high = torch.maximum(torch.maximum(coordinates[0], coordinates[1]), coordinates[2])
    return ((low + SUBPIXELS - 1) >> 8).clamp(min=0), (high >> 8).clamp(max=count - 1)
