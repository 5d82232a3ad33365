"""Looking up a picture where a rasteriser says so, without mixing colours across a depth edge.

Bicubic is Keys' kernel with a = -1/2 (Catmull-Rom), bilinear the usual tent; both give a pixel's own value,
bit for bit, at its centre. Near a depth edge their neighbourhood would reach onto another surface and draw a
halo of its colour along the edge. There both become bilinear over those of the four pixels that lie on the
surface that was hit, weights scaled to sum to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.scene.compiled import inlined, kernel
from kinephoto.scene.mesh import CONNECTED_TOLERANCE, smooth_around
from kinephoto.scene.values import Hits

Method = Literal["nearest", "bilinear", "bicubic"]
METHODS = {"nearest": 0, "bilinear": 1, "bicubic": 2}
"""The number is also the radius in pixels of what a method looks at, and its code in the kernels."""

_LIMIT = np.float32(1 + CONNECTED_TOLERANCE)


@dataclass(frozen=True, eq=False)
class Surface:
    """Where a layer's picture may be interpolated.

    Attributes:
        disparity: [H, W] float32, 0 where the layer has no pixel.
        reach: [H, W] uint8, the widest method (its number in METHODS) whose neighbourhood stays
            on the pixel's own surface and inside the picture.
    """

    disparity: np.ndarray
    reach: np.ndarray

    @classmethod
    def of(cls, disparity: np.ndarray, exists: np.ndarray) -> Surface:
        """Prepare once per layer."""
        reach = np.zeros(disparity.shape, np.uint8)
        for radius in (1, 2):
            inner = np.zeros(disparity.shape, bool)
            inner[radius:-radius, radius:-radius] = True
            reach[inner & smooth_around(disparity, exists, radius)] = radius
        return cls(np.where(exists, disparity, np.float32(0)), reach)


def method_number(method: str) -> int:
    """The number of a method.

    Raises:
        InputError: there is no such method.
    """
    if method not in METHODS:
        raise InputError(f"There is no sampling method {method!r}; there are {', '.join(METHODS)}.")
    return METHODS[method]


def sample(
    texture: Tensor,
    hits: Hits,
    surface: Surface,
    layer: int = 0,
    method: Method = "bicubic",
    out: Tensor | None = None,
) -> Tensor:
    """What a layer's texture (colours, a mask, features) shows in a view.

    Args:
        texture: [C, H, W], float32 of any range, or uint8, which comes back rounded to uint8.
        hits: what ``rasterize`` found.
        surface: of the same layer.
        layer: pixels of the view that hit another layer keep what ``out`` holds.
        out: [C, H', W'] float32 to write into; zeros when None.

    Returns:
        [C, H', W'], dtype of ``texture``.

    Raises:
        InputError: the texture's size is not the layer's, or the method is unknown.
    """
    if tuple(texture.shape[1:]) != surface.reach.shape:
        raise InputError(f"The texture is {tuple(texture.shape[1:])}, its layer {surface.reach.shape}.")
    pixels = np.ascontiguousarray(texture.detach().cpu().numpy(), dtype=np.float32)
    result = np.zeros((len(pixels), *hits.u.shape), np.float32) if out is None else out.numpy()
    whole = texture.dtype == torch.uint8
    low, high = (0.0, 255.0) if whole else (-np.inf, np.inf)
    fields = (hits.layer.numpy(), hits.u.numpy(), hits.v.numpy())
    sample_rows(pixels, surface, layer, *fields, method_number(method), (low, high), result)
    tensor = torch.from_numpy(result)
    return tensor.round().to(torch.uint8) if whole else tensor


def sample_rows(
    pixels: np.ndarray,
    surface: Surface,
    index: int,
    layer: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    method: int,
    limits: tuple[float, float],
    out: np.ndarray,
) -> None:
    """Write out[:, y, x] wherever layer[y, x] is ``index``; all arrays [rows, W] but out [C, rows, W].

    ``limits``: bicubic overshoots at steps of brightness; its results are cut to this range.
    """
    low, high = np.float32(limits[0]), np.float32(limits[1])
    _sample_rows(pixels, surface.disparity, surface.reach, index, layer, u, v, method, low, high, out)


@inlined
def _cubic_weights(t):
    """Keys, "Cubic convolution interpolation", 1981, eq. 4 with a = -1/2; t in [0, 1)."""
    half, one, two = np.float32(0.5), np.float32(1), np.float32(2)
    w0 = ((two - t) * t - one) * t * half
    w1 = (np.float32(1.5) * t - np.float32(2.5)) * t * t + one
    w2 = ((np.float32(4) - np.float32(3) * t) * t + one) * t * half
    w3 = (t - one) * t * t * half
    return w0, w1, w2, w3


@kernel
def sample_point(pixels, disparity, reach, u, v, method, result):
    """One point by any method, with every care; result [C] float32."""
    channels, height, width = pixels.shape
    own_i, own_j = min(np.int64(u), width - 1), min(np.int64(v), height - 1)
    method = min(method, max(np.int64(reach[own_j, own_i]), 1))
    if method == 0:
        for c in range(channels):
            result[c] = pixels[c, own_j, own_i]
        return
    x, y = u - np.float32(0.5), v - np.float32(0.5)
    i, j = np.int64(np.floor(x)), np.int64(np.floor(y))
    fx, fy = x - np.float32(i), y - np.float32(j)
    if method == 2:
        wx, wy = _cubic_weights(fx), _cubic_weights(fy)
        for c in range(channels):
            total = np.float32(0)
            for b in range(4):
                row = np.float32(0)
                for a in range(4):
                    row += wx[a] * pixels[c, j - 1 + b, i - 1 + a]
                total += wy[b] * row
            result[c] = total
        return
    own = disparity[own_j, own_i]
    total_weight = np.float32(0)
    for c in range(channels):
        result[c] = np.float32(0)
    for b in range(2):
        for a in range(2):
            q, p = min(max(j + b, 0), height - 1), min(max(i + a, 0), width - 1)
            d = disparity[q, p]
            if max(d, own) > _LIMIT * min(d, own):  # another surface, or nothing there (0)
                continue
            weight = (fx if a else np.float32(1) - fx) * (fy if b else np.float32(1) - fy)
            total_weight += weight
            for c in range(channels):
                result[c] += weight * pixels[c, q, p]
    for c in range(channels):
        result[c] = result[c] / total_weight


@kernel
def _locate_row(index, layer, u, v, width, height, first_tap, mine, base, own, fx, fy):
    """Where a row's pixels look: first tap and own pixel as flat indices, fractions between the taps.

    Indices are kept inside the picture for all, so that loops over whole rows need no branch: pixels of other
    layers are masked afterwards, those at the picture's border belong to the careful ones.
    """
    half, zero = np.float32(0.5), np.float32(0)
    low, high_i, high_j = (
        np.float32(first_tap),
        np.float32(width - 2 - first_tap),
        np.float32(height - 2 - first_tap),
    )
    last_i, last_j = np.float32(width - 1), np.float32(height - 1)
    down, before = np.int32(width), np.int32(first_tap * (width + 1))  # 64 bits would halve the speed
    for x in range(u.shape[0]):
        is_mine = layer[x] == index
        px, py = (u[x] if is_mine else zero), (v[x] if is_mine else zero)
        own_i, own_j = np.floor(px), np.floor(py)
        own_i, own_j = (own_i if own_i < last_i else last_i), (own_j if own_j < last_j else last_j)
        px, py = px - half, py - half
        i, j = np.floor(px), np.floor(py)
        i, j = (i if i > low else low), (j if j > low else low)
        i, j = (i if i < high_i else high_i), (j if j < high_j else high_j)
        mine[x] = is_mine
        fx[x], fy[x] = px - i, py - j
        base[x] = np.int32(j) * down + np.int32(i) - before
        own[x] = np.int32(own_j) * down + np.int32(own_i)


@kernel
def _bilinear_row(flat, base, down, fx, fy, mine, out):
    """``flat`` is one channel, ``base`` the top left tap, ``down`` a row's length."""
    for x in range(out.shape[0]):
        b = np.uint64(base[x])
        c = b + down
        top, bottom = flat[b], flat[c]
        top += fx[x] * (flat[b + np.uint64(1)] - top)
        bottom += fx[x] * (flat[c + np.uint64(1)] - bottom)
        value = top + fy[x] * (bottom - top)
        out[x] = value if mine[x] else out[x]


@kernel
def _bicubic_row(flat, base, down, fx, fy, mine, low, high, out):
    """``base`` is the first of sixteen taps."""
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    for x in range(out.shape[0]):
        w0, w1, w2, w3 = _cubic_weights(fx[x])
        p = np.uint64(base[x])
        q, r, s = p + down, p + two * down, p + three * down
        row_0 = w0 * flat[p] + w1 * flat[p + one] + w2 * flat[p + two] + w3 * flat[p + three]
        row_1 = w0 * flat[q] + w1 * flat[q + one] + w2 * flat[q + two] + w3 * flat[q + three]
        row_2 = w0 * flat[r] + w1 * flat[r + one] + w2 * flat[r + two] + w3 * flat[r + three]
        row_3 = w0 * flat[s] + w1 * flat[s + one] + w2 * flat[s + two] + w3 * flat[s + three]
        w0, w1, w2, w3 = _cubic_weights(fy[x])
        value = w0 * row_0 + w1 * row_1 + w2 * row_2 + w3 * row_3
        value = value if value > low else low
        value = value if value < high else high
        out[x] = value if mine[x] else out[x]


@kernel
def _sample_rows(pixels, disparity, reach, index, layer, u, v, method, low, high, out):
    channels, height, width = pixels.shape
    rows, view_width = layer.shape
    first_tap = max(method - 1, 0)  # bicubic begins one pixel before bilinear
    has_inside = method > 0 and min(height, width) >= 2 * method
    mine, careful = np.empty(view_width, np.bool_), np.empty(view_width + 1, np.int32)
    base, own = np.empty(view_width, np.int32), np.empty(view_width, np.int32)
    fx, fy = np.empty(view_width, np.float32), np.empty(view_width, np.float32)
    result = np.empty(channels, np.float32)
    flat_reach = reach.reshape(-1)
    for y in range(rows):
        present = False
        for x in range(view_width):
            present |= layer[y, x] == index
        if not present:
            continue
        _locate_row(index, layer[y], u[y], v[y], width, height, first_tap, mine, base, own, fx, fy)
        for c in range(channels if has_inside else 0):
            flat = pixels[c].reshape(-1)
            if method == 1:
                _bilinear_row(flat, base, np.uint64(width), fx, fy, mine, out[c, y])
            else:
                _bicubic_row(flat, base, np.uint64(width), fx, fy, mine, low, high, out[c, y])
        count = 0
        for x in range(view_width):
            careful[count] = x
            count += 1 if mine[x] and (method == 0 or flat_reach[own[x]] < method) else 0
        for k in range(count):
            x = careful[k]
            sample_point(pixels, disparity, reach, u[y, x], v[y, x], method, result)
            for c in range(channels):
                out[c, y, x] = min(max(result[c], low), high)
