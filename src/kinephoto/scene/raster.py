"""The fast rasteriser: the rules of ``reference``, eight or sixteen quads at a time.

The view is drawn in bands of rows that fit the processor's second-level cache; threads take bands as they
come, so the result cannot depend on their number. A band looks at every segment (256 quads of one source row)
that may touch it, transforms its corners into a buffer that fits the first-level cache, and draws it.

Why it is written as it is (check benchmarks/renderer.py after each change; each point cost a factor of 2 to 5):

- Structure of arrays, float32. Snapped coordinates are integers below 2²⁴, which float32 holds exactly;
  relative to the pixel's centre, and for triangles under 8 pixels wide, so are products and their sums.
  Larger triangles take the path with 64-bit integers.
- One buffer and unsigned offsets instead of many slices, planes a constant apart: LLVM gives up SIMD when it
  has to prove that too many arrays do not overlap, or that a signed index does not wrap.
- Most quads cover one pixel or none. So SIMD tests every quad against the first pixel of its bounding
  box; the few further pixels are collected and tested together in a second go.
- Writing to the band is scalar, because two quads may hit one pixel.
- Chunks of later layers that lie behind all that has been drawn where they would land are left out before their
  corners are transformed: most of what layers share lies behind the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from kinephoto.compiled import inlined, kernel
from kinephoto.scene.mesh import CHUNK, SEGMENT, Mesh
from kinephoto.scene.reference import (
    FARTHEST_SUBPIXEL,
    LARGEST_FRACTION,
    NEAR,
    SMALLEST_DISPARITY,
    SMALLEST_W,
)
from kinephoto.scene.values import Hits

BAND = 64
"""Rows of the view that are drawn together."""

_HIDDEN_MARGIN = np.float32(1e-5)  # of a disparity; far above what interpolation can add to it by rounding
_TOP, _BOTTOM, _LEFT, _RIGHT, _NEAREST = range(5)  # planes of the chunks' bounds

_STRIDE = SEGMENT + 8  # one vertex more than quads, and room to keep planes aligned
_DROPPED = np.float32(1e9)
_LARGEST_SPAN = np.float32(2047)  # sub-pixels; 2 * 2047**2 < 2**23, so edge functions are exact
_CAPACITY = 2 * SEGMENT  # further pixels tested in one go
_MOST_PER_QUAD = 64  # a quad of the SIMD path spans at most 8 × 8 pixels
_MORE_STRIDE = _CAPACITY + _MOST_PER_QUAD


class Band:
    """Rows of the view while they are drawn.

    Attributes:
        u, v, disparity: [rows, W] float32; disparity is -1 where nothing has been drawn.
        order: [rows, W] int32, number of the triangle within the layer being drawn, -1 if of an earlier one.
        layer: [rows, W] int16, -1 where nothing has been drawn.
    """

    def __init__(self, width: int, rows: int = BAND) -> None:
        self.u, self.v, self.disparity = (np.empty((rows, width), np.float32) for _ in range(3))
        self.order = np.empty((rows, width), np.int32)
        self.layer = np.empty((rows, width), np.int16)


def rasterize(
    meshes: Sequence[Mesh],
    projections: Sequence[np.ndarray],
    hw: tuple[int, int],
    near: float = NEAR,
) -> Hits:
    """What each pixel of a view shows; see ``reference.rasterize``, whose equal this is."""
    height, width = hw
    u, v, disparity = (np.empty(hw, np.float32) for _ in range(3))
    layer = np.empty(hw, np.int16)
    band = Band(width)
    bounds = [bounds_of(mesh, matrix) for mesh, matrix in zip(meshes, projections, strict=True)]
    for first in range(0, height, BAND):
        rows = slice(first, min(height, first + BAND))
        draw_band(meshes, projections, bounds, near, first, rows.stop - first, band)
        count = rows.stop - first
        hit = band.layer[:count] >= 0
        u[rows], v[rows], disparity[rows] = (
            np.where(hit, a[:count], 0) for a in (band.u, band.v, band.disparity)
        )
        layer[rows] = band.layer[:count]
    return Hits(*(torch.from_numpy(a) for a in (u, v, disparity, layer)))


class Bounds(NamedTuple):
    """Where a mesh's parts lie in a view, px; one that is not there at all from infinity to its negative.

    Attributes:
        rows: [2, H] float32; the row of quads lies within these rows of the view.
        chunks: [5, H, C] float32; a chunk lies within rows [0, 1] and columns [2, 3] and is no nearer than [4].
    """

    rows: np.ndarray
    chunks: np.ndarray


def bounds_of(mesh: Mesh, projection: np.ndarray) -> Bounds:
    """Where a mesh's parts lie in the view of a projection."""
    chunks = np.empty((5, *mesh.nearest.shape), np.float32)
    _chunk_bounds(mesh.nearest, mesh.farthest, mesh.hw[1], projection, chunks)
    rows = np.stack([chunks[_TOP].min(1), chunks[_BOTTOM].max(1)])
    return Bounds(rows, chunks)


def draw_band(
    meshes: Sequence[Mesh],
    projections: Sequence[np.ndarray],
    bounds: Sequence[Bounds],
    near: float,
    first: int,
    rows: int,
    band: Band,
) -> None:
    """Draw rows [first, first + rows) of the view into the first rows of ``band``."""
    band.disparity[:rows] = -1
    band.order[:rows] = -1
    band.layer[:rows] = -1
    for index, mesh in enumerate(meshes):
        _draw_layer(
            mesh.corners, mesh.exists, mesh.seamless, *bounds[index], projections[index], near,
            first, rows, index > 0, band.u, band.v, band.disparity, band.order,
        )  # fmt: skip
        _claim(band.order[:rows], band.layer[:rows], index)


@kernel
def _claim(order, layer, index):
    """Note which pixels the layer just drawn has won, and forget its triangles' numbers.

    A later layer of equal disparity then always meets the lower number -1, and loses.
    """
    for y in range(order.shape[0]):
        for x in range(order.shape[1]):
            if order[y, x] >= 0:
                layer[y, x] = index
                order[y, x] = -1


@kernel
def _chunk_bounds(nearest, farthest, width, matrix, bounds):
    """Project the box (columns × rows × disparities) of each chunk.

    x/w, y/w and d/w are ratios of linear functions, so while w > 0 their extremes lie at the box's corners.
    One pixel is added on each side for rounding and snapping. An empty chunk lies nowhere, one that is partly
    behind the camera may lie anywhere.
    """
    height, chunks = nearest.shape
    low, high, inf = np.float32(-np.inf), np.float32(np.inf), np.inf
    x0, x1, y0, y1 = np.empty(chunks), np.empty(chunks), np.empty(chunks), np.empty(chunks)
    z1, least_w = np.empty(chunks), np.empty(chunks)
    for j in range(height):
        x0[:], x1[:], y0[:], y1[:], z1[:], least_w[:] = inf, -inf, inf, -inf, -inf, inf
        for k in range(8):
            step, v = CHUNK * (k & 1), float(j + ((k >> 1) & 1))
            row_x = matrix[0, 1] * v + matrix[0, 2]
            row_y = matrix[1, 1] * v + matrix[1, 2]
            row_w = matrix[2, 1] * v + matrix[2, 2]
            for c in range(chunks):
                u = float(min(width, c * CHUNK + step))
                d = float(nearest[j, c]) if k & 4 else float(farthest[j, c])
                w = matrix[2, 0] * u + row_w + matrix[2, 3] * d
                r = 1 / w
                x = (matrix[0, 0] * u + row_x + matrix[0, 3] * d) * r
                y = (matrix[1, 0] * u + row_y + matrix[1, 3] * d) * r
                z = d * r
                x0[c], x1[c] = (x if x < x0[c] else x0[c]), (x if x > x1[c] else x1[c])
                y0[c], y1[c] = (y if y < y0[c] else y0[c]), (y if y > y1[c] else y1[c])
                z1[c], least_w[c] = (z if z > z1[c] else z1[c]), (w if w < least_w[c] else least_w[c])
        for c in range(chunks):
            empty, ahead = nearest[j, c] <= 0, least_w[c] > SMALLEST_W
            bounds[_TOP, j, c] = high if empty else (np.float32(y0[c] - 1.5) if ahead else low)
            bounds[_BOTTOM, j, c] = low if empty else (np.float32(y1[c] + 0.5) if ahead else high)
            bounds[_LEFT, j, c] = high if empty else (np.float32(x0[c] - 1.5) if ahead else low)
            bounds[_RIGHT, j, c] = low if empty else (np.float32(x1[c] + 0.5) if ahead else high)
            bounds[_NEAREST, j, c] = low if empty else (np.float32(z1[c]) if ahead else high)


@kernel
def _all_nearer(zs, left, right, top, bottom, z):
    """Whether all pixels in [left, right] × [top, bottom] show what is nearer than disparity z."""
    if left > right:
        return True
    limit = max(z, SMALLEST_DISPARITY) * (np.float32(1) + _HIDDEN_MARGIN)
    for y in range(top, bottom + 1):
        farther = np.int32(0)
        for x in range(np.uint64(left), np.uint64(right + 1)):
            farther += np.int32(1) if zs[y, x] <= limit else np.int32(0)
        if farther > 0:
            return False
    return True


@kernel
def _transform(disparity, first_u, v, matrix, near, out):
    """Rules 1 and 2 for a row of vertices; out holds planes X, Y, 1/w, disparity, _STRIDE apart."""
    p00, p03 = matrix[0, 0], matrix[0, 3]
    p10, p13 = matrix[1, 0], matrix[1, 3]
    p20, p23 = matrix[2, 0], matrix[2, 3]
    row_x = matrix[0, 1] * v + matrix[0, 2]
    row_y = matrix[1, 1] * v + matrix[1, 2]
    row_w = matrix[2, 1] * v + matrix[2, 2]
    for i in range(disparity.shape[0]):
        u = i + first_u
        d = float(disparity[i])
        w = p20 * u + row_w + p23 * d
        x = p00 * u + row_x + p03 * d
        y = p10 * u + row_y + p13 * d
        good = (w > near * d) & (w > SMALLEST_W)
        r = 1.0 / (w if good else 1.0)
        sx = np.floor(x * r * 256.0 - 127.5)
        sy = np.floor(y * r * 256.0 - 127.5)
        good = good & (abs(sx) < FARTHEST_SUBPIXEL) & (abs(sy) < FARTHEST_SUBPIXEL)
        out[i] = np.float32(sx) if good else _DROPPED
        out[i + _STRIDE] = np.float32(sy) if good else _DROPPED
        out[i + 2 * _STRIDE] = np.float32(r)
        out[i + 3 * _STRIDE] = np.float32(d * r)


@kernel
def _transform_segment(corners, seamless, j, start, count, matrix, near, vertices):
    """Transform a segment's corners; returns how far the right corners lie behind the left ones.

    Between seamless quads a right corner is the next quad's left one: half the work.
    """
    for side in range(2):
        v = float(j + side)
        left = vertices[8 * side * _STRIDE :]
        if seamless:
            _transform(corners[j, 2 * side, start : start + count], float(start), v, matrix, near, left)
            last = start + count - 1
            _transform(
                corners[j, 2 * side + 1, last : last + 1], float(last + 1), v, matrix, near, left[count:]
            )
        else:
            _transform(corners[j, 2 * side, start : start + count], float(start), v, matrix, near, left)
            right = vertices[(8 * side + 4) * _STRIDE :]
            _transform(
                corners[j, 2 * side + 1, start : start + count], float(start + 1), v, matrix, near, right
            )
    return np.uint64(1) if seamless else np.uint64(4 * _STRIDE)


@inlined
def _test(ax, bx, cx, dx, ay, by, cy, dy, wa, wb, wc, wd, za, zb, zc, zd, px, py):
    """Rules 3 to 5 for one quad (corners a, b, c, d) and one pixel, coordinates in exact float32.

    Returns: pixel in triangle 0, pixel in triangle 1, disparity, u and v from the quad's corner.
    """
    zero, one, half = np.float32(0), np.float32(1), np.float32(-0.5)
    abx, aby, bcx, bcy, cax, cay = bx - ax, by - ay, cx - bx, cy - by, ax - cx, ay - cy
    dcx, dcy, bdx, bdy = cx - dx, cy - dy, dx - bx, dy - by
    ox, oy = px * np.float32(256), py * np.float32(256)
    ax, bx, cx, dx = ax - ox, bx - ox, cx - ox, dx - ox
    ay, by, cy, dy = ay - oy, by - oy, cy - oy, dy - oy
    # Twice the areas that each edge spans with the pixel's centre: whole numbers, so that "greater than
    # -0.5" means "not negative", which is what top and left edges ask for.
    eab, ebc, eca = ax * by - ay * bx, bx * cy - by * cx, cx * ay - cy * ax
    edc, ebd = dx * cy - dy * cx, bx * dy - by * dx
    bc_top_left = (bcy < zero) | ((bcy == zero) & (bcx > zero))
    least_ab = half if (aby < zero) | ((aby == zero) & (abx > zero)) else zero
    least_bc = half if bc_top_left else zero
    least_cb = zero if bc_top_left else half
    least_ca = half if (cay < zero) | ((cay == zero) & (cax > zero)) else zero
    least_dc = half if (dcy < zero) | ((dcy == zero) & (dcx > zero)) else zero
    least_bd = half if (bdy < zero) | ((bdy == zero) & (bdx > zero)) else zero
    area_0, area_1 = eab + ebc + eca, edc - ebc + ebd
    in_0 = (eab > least_ab) & (ebc > least_bc) & (eca > least_ca) & (area_0 > zero)
    in_1 = (edc > least_dc) & (-ebc > least_cb) & (ebd > least_bd) & (area_1 > zero)
    inverse_area = one / (area_0 if in_0 else area_1)
    l1 = (eca if in_0 else ebd) * inverse_area
    l2 = (eab if in_0 else edc) * inverse_area
    l0 = one - l1 - l2
    z = l0 * (za if in_0 else zd) + l1 * (zb if in_0 else zc) + l2 * (zc if in_0 else zb)
    m1, m2 = l1 * (wb if in_0 else wc), l2 * (wc if in_0 else wb)
    scale = one / (l0 * (wa if in_0 else wd) + m1 + m2)
    du, dv = m1 * scale, m2 * scale
    du, dv = (du if in_0 else one - du), (dv if in_0 else one - dv)
    du, dv = (du if du > zero else zero), (dv if dv > zero else zero)
    du = du if du < LARGEST_FRACTION else LARGEST_FRACTION
    dv = dv if dv < LARGEST_FRACTION else LARGEST_FRACTION
    return in_0, in_1, (z if z > SMALLEST_DISPARITY else SMALLEST_DISPARITY), du, dv


@inlined
def _write(y, x, z, u, v, number, us, vs, zs, order):
    """Rule 6."""
    if z > zs[y, x] or (z == zs[y, x] and number < order[y, x]):
        zs[y, x] = z
        us[y, x] = u
        vs[y, x] = v
        order[y, x] = number


@kernel
def _edge_area(ax, ay, bx, by, px, py):
    return (bx - ax) * (py - ay) - (by - ay) * (px - ax)


@kernel
def _draw_large_triangle(ax, ay, bx, by, cx, cy, wa, wb, wc, za, zb, zc, second, j, i, number,
                         x0, x1, y0, y1, first, us, vs, zs, order):  # fmt: skip
    """Rules 3 to 6 in 64-bit integers, for the triangle a, b, c within pixels [x0, x1] × [y0, y1]."""
    if max(ax, bx, cx) > FARTHEST_SUBPIXEL:
        return
    zero, one = np.float32(0), np.float32(1)
    area = _edge_area(ax, ay, bx, by, cx, cy)
    if area <= 0:
        return
    least_ab = 0 if by < ay or (by == ay and bx > ax) else 1
    least_bc = 0 if cy < by or (cy == by and cx > bx) else 1
    least_ca = 0 if ay < cy or (ay == cy and ax > cx) else 1
    inverse_area = one / np.float32(area)
    for y in range(y0, y1 + 1):
        for x in range(x0, x1 + 1):
            ebc = _edge_area(bx, by, cx, cy, x * 256, y * 256)
            eca = _edge_area(cx, cy, ax, ay, x * 256, y * 256)
            eab = _edge_area(ax, ay, bx, by, x * 256, y * 256)
            if ebc < least_bc or eca < least_ca or eab < least_ab:
                continue
            l1, l2 = np.float32(eca) * inverse_area, np.float32(eab) * inverse_area
            l0 = one - l1 - l2
            z = max(l0 * za + l1 * zb + l2 * zc, SMALLEST_DISPARITY)
            m1, m2 = l1 * wb, l2 * wc
            scale = one / (l0 * wa + m1 + m2)
            du, dv = m1 * scale, m2 * scale
            if second:
                du, dv = one - du, one - dv
            du, dv = min(max(du, zero), LARGEST_FRACTION), min(max(dv, zero), LARGEST_FRACTION)
            _write(y - first, x, z, np.float32(i) + du, np.float32(j) + dv, number, us, vs, zs, order)


@kernel
def _draw_large_quad(vertices, a, b, c, d, j, i, number, x0, x1, y0, y1, first, us, vs, zs, order):
    """Both triangles of a quad that is wider than the SIMD path can hold, or lost a vertex.

    a, b, c, d: where the corners' X lie in ``vertices``; Y, 1/w and disparity follow _STRIDE apart.
    """
    ax, ay = np.int64(vertices[a]), np.int64(vertices[a + _STRIDE])
    bx, by = np.int64(vertices[b]), np.int64(vertices[b + _STRIDE])
    cx, cy = np.int64(vertices[c]), np.int64(vertices[c + _STRIDE])
    dx, dy = np.int64(vertices[d]), np.int64(vertices[d + _STRIDE])
    wa, za = vertices[a + 2 * _STRIDE], vertices[a + 3 * _STRIDE]
    wb, zb = vertices[b + 2 * _STRIDE], vertices[b + 3 * _STRIDE]
    wc, zc = vertices[c + 2 * _STRIDE], vertices[c + 3 * _STRIDE]
    wd, zd = vertices[d + 2 * _STRIDE], vertices[d + 3 * _STRIDE]
    _draw_large_triangle(ax, ay, bx, by, cx, cy, wa, wb, wc, za, zb, zc, False, j, i, number,
                         x0, x1, y0, y1, first, us, vs, zs, order)  # fmt: skip
    _draw_large_triangle(dx, dy, cx, cy, bx, by, wd, wc, wb, zd, zc, zb, True, j, i, number + 1,
                         x0, x1, y0, y1, first, us, vs, zs, order)  # fmt: skip


@kernel
def _test_first_pixels(vertices, right, exists, last_x, first_y, last_y, found, kinds):
    """Test each quad of a segment against the first pixel of its bounding box.

    found: planes first x, first y, last x, last y, disparity, du, dv, _STRIDE apart.
    kinds: 0 nothing; 1 the first pixel is covered by triangle 0, 2 by triangle 1; + 4 more pixels to test;
    8 a large quad.
    """
    zero, per_pixel = np.float32(0), np.float32(1 / 256)
    stride = np.uint64(_STRIDE)
    below = np.uint64(8 * _STRIDE)
    for i in range(np.uint64(exists.shape[0])):
        a, c = i, i + below
        b, d = a + right, c + right
        ax, bx, cx, dx = vertices[a], vertices[b], vertices[c], vertices[d]
        ay, by, cy, dy = (
            vertices[a + stride],
            vertices[b + stride],
            vertices[c + stride],
            vertices[d + stride],
        )
        w = np.uint64(2) * stride
        z = np.uint64(3) * stride
        low, high = (ax if ax < bx else bx), (cx if cx < dx else dx)
        min_x = low if low < high else high
        low, high = (ax if ax > bx else bx), (cx if cx > dx else dx)
        max_x = low if low > high else high
        low, high = (ay if ay < by else by), (cy if cy < dy else dy)
        min_y = low if low < high else high
        low, high = (ay if ay > by else by), (cy if cy > dy else dy)
        max_y = low if low > high else high
        x0, x1 = np.ceil(min_x * per_pixel), np.floor(max_x * per_pixel)
        y0, y1 = np.ceil(min_y * per_pixel), np.floor(max_y * per_pixel)
        x0, x1 = (x0 if x0 > zero else zero), (x1 if x1 < last_x else last_x)
        y0, y1 = (y0 if y0 > first_y else first_y), (y1 if y1 < last_y else last_y)
        in_0, in_1, disparity, du, dv = _test(
            ax, bx, cx, dx, ay, by, cy, dy,
            vertices[a + w], vertices[b + w], vertices[c + w], vertices[d + w],
            vertices[a + z], vertices[b + z], vertices[c + z], vertices[d + z], x0, y0,
        )  # fmt: skip
        found[i] = x0
        found[i + stride] = y0
        found[i + np.uint64(2) * stride] = x1
        found[i + np.uint64(3) * stride] = y1
        found[i + np.uint64(4) * stride] = disparity
        found[i + np.uint64(5) * stride] = du
        found[i + np.uint64(6) * stride] = dv
        empty = (x0 > x1) | (y0 > y1) | (not exists[i])
        large = (max_x - min_x > _LARGEST_SPAN) | (max_y - min_y > _LARGEST_SPAN)
        hit = np.int32(1) if in_0 else (np.int32(2) if in_1 else np.int32(0))
        more = np.int32(4) if (x0 < x1) | (y0 < y1) else np.int32(0)
        kinds[i] = np.int32(0) if empty else (np.int32(8) if large else hit + more)


@kernel
def _test_further_pixels(vertices, right, quads, xs, ys, count, gathered, found, kinds):
    """Test collected (quad, pixel) pairs; kinds: 0, 1 or 2 as above.

    found: planes disparity, du, dv, _MORE_STRIDE apart; gathered: [16, _MORE_STRIDE].
    """
    size = np.uint64(_MORE_STRIDE)
    for q in range(count):
        i = np.uint64(quads[q])
        for k in range(4):
            corner = i + np.uint64(8 * _STRIDE * (k >> 1)) + (right if k & 1 else np.uint64(0))
            for plane in range(4):
                gathered[4 * plane + k, q] = vertices[corner + np.uint64(plane * _STRIDE)]
    flat = gathered.reshape(-1)
    for q in range(np.uint64(count)):
        in_0, in_1, disparity, du, dv = _test(
            flat[q], flat[q + size], flat[q + np.uint64(2) * size], flat[q + np.uint64(3) * size],
            flat[q + np.uint64(4) * size], flat[q + np.uint64(5) * size],
            flat[q + np.uint64(6) * size], flat[q + np.uint64(7) * size],
            flat[q + np.uint64(8) * size], flat[q + np.uint64(9) * size],
            flat[q + np.uint64(10) * size], flat[q + np.uint64(11) * size],
            flat[q + np.uint64(12) * size], flat[q + np.uint64(13) * size],
            flat[q + np.uint64(14) * size], flat[q + np.uint64(15) * size], xs[q], ys[q],
        )  # fmt: skip
        found[q] = disparity
        found[q + size] = du
        found[q + np.uint64(2) * size] = dv
        kinds[q] = np.int32(1) if in_0 else (np.int32(2) if in_1 else np.int32(0))


@kernel
def _may_be_seen(bounds, j, c, last_x, first_y, last_y, over_others, first, zs):
    """Whether a chunk may touch the band and, if asked, is not behind all that it shows there."""
    top, bottom = bounds[_TOP, j, c], bounds[_BOTTOM, j, c]
    left, right = bounds[_LEFT, j, c], bounds[_RIGHT, j, c]
    if bottom < first_y or top > last_y or right < 0 or left > last_x:
        return False
    if not over_others:
        return True
    top, bottom = max(top, first_y), min(bottom + 1, last_y)
    left, right = max(left, np.float32(0)), min(right + 1, last_x)
    return not _all_nearer(
        zs, int(left), int(right), int(top) - first, int(bottom) - first, bounds[_NEAREST, j, c]
    )


@kernel
def _draw_quads(corners, exists, seamless, width, j, start, count, matrix, near, first, last_x, first_y, last_y,
                us, vs, zs, order, vertices, found, kinds, hits, several,
                more_xs, more_ys, more_quads, more_kinds, more_found, gathered):  # fmt: skip
    """Draw quads [start, start + count) of row j, all of one segment; the last two lines are room to work in."""
    size = _MORE_STRIDE
    right = _transform_segment(corners, seamless, j, start, count, matrix, near, vertices)
    present = exists[j, start : start + count]
    _test_first_pixels(vertices, right, present, last_x, first_y, last_y, found, kinds)
    hit_count = several_count = 0
    for i in range(count):
        hits[hit_count] = i
        hit_count += 1 if kinds[i] & 3 else 0
        several[several_count] = i
        several_count += 1 if kinds[i] & 12 else 0
    for k in range(hit_count):
        i = hits[k]
        number = 2 * (j * width + start + i) + (kinds[i] & 3) - 1
        _write(
            np.int64(found[i + _STRIDE]) - first, np.int64(found[i]), found[i + 4 * _STRIDE],
            np.float32(start + i) + found[i + 5 * _STRIDE], np.float32(j) + found[i + 6 * _STRIDE],
            number, us, vs, zs, order,
        )  # fmt: skip
    k = 0
    while k < several_count:
        pending = 0
        while k < several_count and pending < _CAPACITY:
            i = several[k]
            k += 1
            x0, x1 = np.int64(found[i]), np.int64(found[i + 2 * _STRIDE])
            y0, y1 = np.int64(found[i + _STRIDE]), np.int64(found[i + 3 * _STRIDE])
            if kinds[i] == 8:
                step = np.int64(right)
                _draw_large_quad(
                    vertices, i, i + step, i + 8 * _STRIDE, i + 8 * _STRIDE + step, j, start + i,
                    2 * (j * width + start + i), x0, x1, y0, y1, first, us, vs, zs, order,
                )  # fmt: skip
                continue
            for y in range(y0, y1 + 1):
                for x in range(x0 + 1 if y == y0 else x0, x1 + 1):
                    more_xs[pending], more_ys[pending] = x, y
                    more_quads[pending] = i
                    pending += 1
        _test_further_pixels(
            vertices, right, more_quads, more_xs, more_ys, pending, gathered, more_found, more_kinds
        )
        for q in range(pending):
            if more_kinds[q] == 0:
                continue
            i = more_quads[q]
            number = 2 * (j * width + start + i) + more_kinds[q] - 1
            _write(
                np.int64(more_ys[q]) - first, np.int64(more_xs[q]), more_found[q],
                np.float32(start + i) + more_found[q + size], np.float32(j) + more_found[q + 2 * size],
                number, us, vs, zs, order,
            )  # fmt: skip


@kernel
def _draw_layer(
    corners, exists, seamless, row_bounds, bounds, matrix, near, first, rows, over_others, us, vs, zs, order
):
    """Draw one layer into a band of ``rows`` rows that starts at row ``first`` of the view.

    ``over_others``: others have been drawn, and what lies behind them can be left out.
    """
    height, _, width = corners.shape
    last_x, first_y, last_y = np.float32(us.shape[1] - 1), np.float32(first), np.float32(first + rows - 1)
    vertices = np.empty(16 * _STRIDE, np.float32)
    found = np.empty(7 * _STRIDE, np.float32)
    kinds = np.empty(SEGMENT, np.int32)
    hits = np.empty(SEGMENT + 1, np.int32)
    several = np.empty(SEGMENT + 1, np.int32)
    size = _MORE_STRIDE
    more_xs, more_ys = np.empty(size, np.float32), np.empty(size, np.float32)
    more_quads, more_kinds = np.empty(size, np.int32), np.empty(size, np.int32)
    more_found, gathered = np.empty(3 * size, np.float32), np.empty((16, size), np.float32)
    for j in range(height):
        if row_bounds[1, j] < first_y or row_bounds[0, j] > last_y:
            continue
        for s in range(seamless.shape[1]):
            # What is to be seen of the segment is drawn in runs of chunks, each as long as it can be.
            begin, end = s * SEGMENT, min(width, (s + 1) * SEGMENT)
            for chunk in range(begin, end + CHUNK, CHUNK):
                if chunk < end and _may_be_seen(
                    bounds, j, chunk // CHUNK, last_x, first_y, last_y, over_others, first, zs
                ):
                    continue
                after = min(chunk, end)
                if begin < after:
                    _draw_quads(
                        corners, exists, seamless[j, s], width, j, begin, after - begin, matrix, near,
                        first, last_x, first_y, last_y, us, vs, zs, order, vertices, found, kinds, hits, several,
                        more_xs, more_ys, more_quads, more_kinds, more_found, gathered,
                    )  # fmt: skip
                begin = chunk + CHUNK
