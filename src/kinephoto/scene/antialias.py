"""From the fine points inside a pixel to the pixel: soft silhouettes, sharp surfaces.

Averaging colours inside a surface would only blur it, so the points of a pixel are averaged as colours
only where they differ: at silhouettes and holes, and where a pixel shows more than one pixel of the photo.
"""

from __future__ import annotations

import numpy as np

from kinephoto.compiled import kernel
from kinephoto.scene.mesh import CONNECTED_TOLERANCE
from kinephoto.scene.raster import Band
from kinephoto.scene.sampling import Surface, sample_point

MIXED = -2
"""In place of a layer's index: the points of this pixel are to be averaged as colours."""

_LIMIT = np.float32(1 + CONNECTED_TOLERANCE)
_LARGEST_SPREAD = np.float32(1.0)
"""Pixels of the photo between the points of one pixel, above which one look-up would alias."""


def copy_band(band: Band, count: int, disparity: np.ndarray, known: np.ndarray, layer: np.ndarray) -> None:
    """Without supersampling: each pixel is its one point."""
    _copy(band.disparity[:count], band.layer[:count], disparity, known, layer)


def resolve_band(
    band: Band,
    count: int,
    scale: int,
    disparity: np.ndarray,
    known: np.ndarray,
    layer: np.ndarray,
    coverage: np.ndarray,
    beyond_first: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fill the view's fields from scale × scale points per pixel.

    Returns:
        u, v [rows, W] float32 at the pixel's centre and [rows, W] int16, the layer to look them up in;
        -1 where nothing is known, MIXED where the points differ.
    """
    u, v = np.empty(layer.shape, np.float32), np.empty(layer.shape, np.float32)
    shaded = np.empty(layer.shape, np.int16)
    points = (band.u[:count], band.v[:count], band.disparity[:count], band.layer[:count])
    _resolve(*points, scale, u, v, shaded, disparity, known, layer, coverage, beyond_first)
    return u, v, shaded


def add_silhouettes(
    pixels: np.ndarray,
    surface: Surface,
    index: int,
    shaded: np.ndarray,
    band: Band,
    count: int,
    scale: int,
    method: int,
    rgb: np.ndarray,
) -> None:
    """Add layer ``index``'s share of every MIXED pixel's mean colour to rgb [3, rows, W].

    ``pixels``: the layer's colours, in quartets.
    """
    points = (band.u[:count], band.v[:count], band.layer[:count])
    _add_mixed(pixels, surface.disparity, surface.reach, index, shaded, *points, scale, method, rgb)


@kernel
def _copy(point_disparity, point_layer, disparity, known, layer):
    for y in range(known.shape[0]):
        for x in range(known.shape[1]):
            hit = point_layer[y, x] >= 0
            disparity[y, x] = point_disparity[y, x] if hit else np.float32(0)
            known[y, x] = hit
            layer[y, x] = point_layer[y, x]


@kernel
def _resolve(pu, pv, pd, pl, scale, u, v, shaded, disparity, known, layer, coverage, beyond_first):
    """pu, pv, pd, pl: the fine band's u, v, disparity, layer."""
    points = scale * scale
    share = np.float32(1) / np.float32(points)
    for y in range(known.shape[0]):
        for x in range(known.shape[1]):
            total_u = total_v = total_d = np.float32(0)
            low_u = low_v = low_d = np.float32(1e30)
            high_u = high_v = high_d = np.float32(-1)
            hits = others = 0
            same = True
            seen = np.int16(-1)
            first = pl[y * scale, x * scale]
            for b in range(y * scale, (y + 1) * scale):
                for a in range(x * scale, (x + 1) * scale):
                    same &= pl[b, a] == first
                    if pl[b, a] < 0:
                        continue
                    hits += 1
                    others += 1 if pl[b, a] > 0 else 0
                    total_u, low_u, high_u = total_u + pu[b, a], min(low_u, pu[b, a]), max(high_u, pu[b, a])
                    total_v, low_v, high_v = total_v + pv[b, a], min(low_v, pv[b, a]), max(high_v, pv[b, a])
                    if pd[b, a] > high_d:
                        seen = pl[b, a]
                    total_d, low_d, high_d = total_d + pd[b, a], min(low_d, pd[b, a]), max(high_d, pd[b, a])
            one_surface = same and hits == points and high_d <= _LIMIT * low_d
            one_surface &= high_u - low_u <= _LARGEST_SPREAD and high_v - low_v <= _LARGEST_SPREAD
            known[y, x] = hits > 0
            layer[y, x] = seen
            coverage[y, x] = np.float32(hits) * share
            beyond_first[y, x] = np.float32(others) * share
            if one_surface:
                u[y, x], v[y, x], disparity[y, x] = total_u * share, total_v * share, total_d * share
                shaded[y, x] = seen
            else:
                u[y, x] = v[y, x] = np.float32(0)
                disparity[y, x] = max(high_d, np.float32(0))
                shaded[y, x] = MIXED if hits > 0 else -1


@kernel
def _add_mixed(pixels, disparity, reach, index, shaded, pu, pv, pl, scale, method, rgb):
    _, height, width, _ = pixels.shape
    flat, disparity, reach = pixels.reshape(-1), disparity.reshape(-1), reach.reshape(-1)
    colour, at = np.empty(4, np.float32), np.uint64(0)
    for y in range(shaded.shape[0]):
        for x in range(shaded.shape[1]):
            if shaded[y, x] != MIXED:
                continue
            hits = 0
            for b in range(y * scale, (y + 1) * scale):
                for a in range(x * scale, (x + 1) * scale):
                    hits += 1 if pl[b, a] >= 0 else 0
            share = np.float32(1) / np.float32(hits)
            for b in range(y * scale, (y + 1) * scale):
                for a in range(x * scale, (x + 1) * scale):
                    if pl[b, a] != index:
                        continue
                    u, v = pu[b, a], pv[b, a]
                    sample_point(flat, disparity, reach, width, height, u, v, method, colour, at)
                    for c in range(3):
                        rgb[c, y, x] += share * min(max(colour[c], np.float32(0)), np.float32(1))
