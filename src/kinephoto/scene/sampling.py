"""Looking up a picture where a rasteriser says so, without mixing colours across a depth edge.

Bicubic is Keys' kernel with a = -1/2 (Catmull-Rom), bilinear the usual tent; both give a pixel's own value,
bit for bit, at its centre. Near a depth edge their neighbourhood would reach onto another surface and draw a
halo of its colour along the edge. There both become bilinear over those of the four pixels that lie on the
surface that was hit, weights scaled to sum to 1.

The kernels see a texture as quartets, [ceil(C / 4), H, W, 4]: four channels of a pixel side by side are one
vector of the processor, so that each tap is one load for all of them (three times as fast as by channels).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from torch import Tensor

from kinephoto.compiled import inlined, kernel
from kinephoto.errors import InputError
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
    pixels = quartets(texture.detach().cpu().numpy())
    result = np.zeros((len(texture), *hits.u.shape), np.float32) if out is None else out.numpy()
    whole = texture.dtype == torch.uint8
    low, high = (0.0, 255.0) if whole else (-np.inf, np.inf)
    fields = (hits.layer.numpy(), hits.u.numpy(), hits.v.numpy())
    sample_rows(pixels, surface, layer, *fields, method_number(method), (low, high), result)
    tensor = torch.from_numpy(result)
    return tensor.round().to(torch.uint8) if whole else tensor


def quartets(texture: np.ndarray) -> np.ndarray:
    """[ceil(C / 4), H, W, 4] float32 of a texture [C, H, W]; channels that are missing are 0."""
    channels, height, width = texture.shape
    groups = -(-channels // 4)
    pixels = np.zeros((groups, height, width, 4), np.float32)
    for channel in range(channels):
        pixels[channel // 4, :, :, channel % 4] = texture[channel]
    return pixels


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

    ``pixels``: in quartets. ``limits``: bicubic overshoots at steps of brightness; its results are cut to this range.
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


@intrinsic
def _sum_taps(typing_context, flat, first, down, across, along, out, at):
    """out[at : at + 4] = the sum over b, a of along[b] * across[a] * the quartet at flat[first + b * down + 4 * a].

    Written in LLVM's terms because Numba leaves LLVM's vectoriser for straight code (SLP) off, and the one for
    loops does not see four channels as one vector.
    """
    signature = types.void(flat, first, down, across, along, out, at)
    vector, index = ir.VectorType(ir.FloatType(), 4), ir.IntType(64)

    def build(context, builder, signature, arguments):
        flat, first, down, across, along, out, at = arguments
        source = context.make_array(signature.args[0])(context, builder, flat).data
        target = context.make_array(signature.args[5])(context, builder, out).data

        def four_times(number):
            full = ir.Constant(vector, ir.Undefined)
            for lane in range(4):
                full = builder.insert_element(full, number, ir.Constant(ir.IntType(32), lane))
            return full

        def quartet(array, offset):
            return builder.bitcast(builder.gep(array, [offset]), vector.as_pointer())

        def weighted_sum(weights, values):
            parts = [builder.fmul(weight, value) for weight, value in zip(weights, values, strict=True)]
            total = parts[0]
            for part in parts[1:]:
                total = builder.fadd(total, part)
            return total

        across, along = (
            [four_times(builder.extract_value(weights, k)) for k in range(kind.count)]
            for weights, kind in ((across, signature.args[3]), (along, signature.args[4]))
        )
        sums = []
        for b in range(len(along)):
            row = builder.add(first, builder.mul(down, index(b)))
            offsets = [builder.add(row, index(4 * a)) for a in range(len(across))]
            taps = [builder.load(quartet(source, offset), align=4) for offset in offsets]
            sums.append(weighted_sum(across, taps))
        builder.store(weighted_sum(along, sums), quartet(target, at), align=4)
        return context.get_dummy_value()

    return signature, build


@inlined
def _sample_inside(flat, width, u, v, method, out, at):
    """One point whose whole neighbourhood, as far as the method looks, lies on its surface."""
    one, half = np.float32(1), np.float32(0.5)
    x, y = u - half, v - half
    left, top = np.floor(x), np.floor(y)
    fx, fy = x - left, y - top
    i, j = np.int64(left), np.int64(top)
    if method == 2:
        first = 4 * ((j - 1) * width + i - 1)
        _sum_taps(flat, first, 4 * width, _cubic_weights(fx), _cubic_weights(fy), out, at)
    else:
        _sum_taps(flat, 4 * (j * width + i), 4 * width, (one - fx, fx), (one - fy, fy), out, at)


@inlined
def _sample_own_surface(flat, disparity, width, height, here, u, v, out, at):
    """One point near a depth edge or the border: bilinear over the taps that lie on the surface of pixel ``here``."""
    zero, one, half = np.float32(0), np.float32(1), np.float32(0.5)
    x, y = u - half, v - half
    left, top = np.floor(x), np.floor(y)
    fx, fy = x - left, y - top
    i, j = np.int64(left), np.int64(top)
    own = disparity[np.uint64(here)]
    total_0 = total_1 = total_2 = total_3 = total_weight = zero
    for b in range(2):
        for a in range(2):
            tap = min(max(j + b, 0), height - 1) * width + min(max(i + a, 0), width - 1)
            d = disparity[np.uint64(tap)]
            near, far = (d if d > own else own), (own if d > own else d)
            is_own = near <= _LIMIT * far  # a missing pixel has 0
            weight = (fx if a else one - fx) * (fy if b else one - fy)
            # Instead of a branch that nothing predicts, other surfaces count nothing and are not looked at.
            weight, tap = (weight if is_own else zero), np.uint64(4 * (tap if is_own else here))
            total_weight += weight
            total_0 += weight * flat[tap]
            total_1 += weight * flat[tap + np.uint64(1)]
            total_2 += weight * flat[tap + np.uint64(2)]
            total_3 += weight * flat[tap + np.uint64(3)]
    out[at], out[at + np.uint64(1)] = total_0 / total_weight, total_1 / total_weight
    out[at + np.uint64(2)], out[at + np.uint64(3)] = total_2 / total_weight, total_3 / total_weight


@inlined
def sample_point(flat, disparity, reach, width, height, u, v, method, out, at):
    """One point by any method, with every care, to out[at : at + 4].

    ``flat`` is a group of four channels, [H * W * 4]; disparity and reach are [H * W]. Making a view of an array
    in here, or a call that passes arrays on, would cost more than all the rest.
    """
    here = min(np.int64(v), height - 1) * width + min(np.int64(u), width - 1)
    own_reach = np.int64(reach[np.uint64(here)])
    method = min(method, max(own_reach, 1))
    if method == 0:
        for c in range(np.uint64(4)):
            out[at + c] = flat[np.uint64(4 * here) + c]
    elif own_reach >= method:
        _sample_inside(flat, width, u, v, method, out, at)
    else:
        _sample_own_surface(flat, disparity, width, height, here, u, v, out, at)


@kernel
def _sample_rows(pixels, disparity, reach, index, layer, u, v, method, low, high, out):
    groups, height, width, _ = pixels.shape
    channels, rows, view_width = out.shape
    disparity, reach = disparity.reshape(-1), reach.reshape(-1)
    inside, careful = np.empty(view_width + 1, np.uint64), np.empty(view_width + 1, np.uint64)
    line = np.empty(4 * view_width, np.float32)
    for y in range(rows):
        inside_count = careful_count = 0
        for x in range(view_width):
            if layer[y, x] != index:
                continue
            here = min(np.int64(v[y, x]), height - 1) * width + min(np.int64(u[y, x]), width - 1)
            is_inside = method > 0 and reach[np.uint64(here)] >= method
            inside[inside_count] = careful[careful_count] = x
            inside_count += 1 if is_inside else 0
            careful_count += 0 if is_inside else 1
        if inside_count + careful_count == 0:
            continue
        for group in range(groups):
            flat = pixels[group].reshape(-1)
            for k in range(inside_count):
                x = inside[k]
                _sample_inside(flat, width, u[y, x], v[y, x], method, line, np.uint64(4) * x)
            for k in range(careful_count):
                x = careful[k]
                sample_point(
                    flat, disparity, reach, width, height, u[y, x], v[y, x], method, line, np.uint64(4) * x
                )
            for c in range(4 * group, min(4 * group + 4, channels)):
                first = c - 4 * group
                for x in range(view_width):
                    value = min(max(line[4 * x + first], low), high)
                    out[c, y, x] = value if layer[y, x] == index else out[c, y, x]
