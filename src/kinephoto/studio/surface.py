"""A layer's surface in few triangles, and its picture: square blocks where it is nearly flat, pixels along its edges.

The renderer draws one quad per pixel (`kinephoto.scene.mesh`); a file for other programs needs fewer.
Four blocks become one where no tear runs through them and no corner between leaves the bilinear patch
of the outer four by more than a tolerance: a quadtree. A block has a vertex wherever a smaller neighbour on
the same surface has one, so that no crack opens between large and small (restricted meshes avoid these
T-junctions too: Herzen & Barr, Accurate Triangulations of Deformed, Intersecting Surfaces, SIGGRAPH 1987).
Tears stay where they are: no triangle spans a depth edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from kinephoto.compiled import inlined, kernel
from kinephoto.scene.mesh import corner_mesh
from kinephoto.scene.values import Layer
from kinephoto.studio.pictures import to_uint8

LARGEST_BLOCK_PX = 64
"""A power of two."""

DISPARITY_TOLERANCE = 0.002
"""Of the scene's disparity, 1 is nearest: an eighth of a pixel where the largest automatic move, 6 % of the
longer side, goes across 1024 px."""

COLOUR_TOLERANCE = 3
"""Of 255; for files that hold their colours in the vertices."""

MOST_TRIANGLES = 300_000
"""Of one layer; where there would be more, the tolerance of the disparity grows, up to ``ROUGHEST`` times."""

ROUGHEST = 8


@dataclass(frozen=True, eq=False)
class Surface:
    """Triangles over a layer's picture.

    Attributes:
        points_px: [N, 2] int32, column and row of each vertex, from the picture's top-left corner.
        sixths_px: [N, 2] int32, how far right and down from there its colour is looked up, in sixths of a
            pixel: at a tear the middle of the surface's own pixels, so that none of the other side is mixed in.
        disparity: [N] float32 > 0, the layer's.
        triangles: [M, 3] int32, clockwise on the picture (y down) when the surface faces the camera.
        rgb: [N, 3] uint8, mean of the pixels that meet there on this surface; None where not asked for.
    """

    points_px: np.ndarray
    sixths_px: np.ndarray
    disparity: np.ndarray
    triangles: np.ndarray
    rgb: np.ndarray | None = None

    def in_world(self, layer: Layer) -> np.ndarray:
        """[N, 3] float64, where the vertices are: the photo's camera, x right, y down, z forward."""
        (cx, cy), focal = layer.camera.centre_px, layer.camera.focal_px
        depth = 1 / self.disparity.astype(np.float64)
        x, y = (self.points_px - np.array([cx, cy])).T / focal
        home = layer.pose.inverse()
        return np.stack([x * depth, y * depth, depth], 1) @ home.R.numpy().T + home.t.numpy()


@dataclass(frozen=True, eq=False)
class Texture:
    """The part of a layer's picture that is seen.

    Attributes:
        rgb: [h, w, 3] uint8; where the layer is not, its colours continue, so that nothing foreign is
            mixed in along its edges and the picture compresses well.
        corner_px: column and row of its top-left corner in the layer's picture.
    """

    rgb: np.ndarray
    corner_px: tuple[int, int]

    def coordinates(self, surface: Surface) -> np.ndarray:
        """[N, 2] float32 in [0, 1], the vertices' places on the texture, from its top-left corner."""
        wh = np.array(self.rgb.shape[1::-1])
        seen_px = surface.points_px + surface.sixths_px / 6
        return ((seen_px - np.array(self.corner_px)) / wh).astype(np.float32)


def texture_of(layer: Layer) -> Texture:
    """The layer's picture, cut to the smallest box around its alpha."""
    from kinephoto.painter.diffuse import push_pull_holes

    alpha = layer.alpha.numpy()
    rows, columns = (np.flatnonzero(alpha.any(axis)) for axis in (1, 0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    values = np.ascontiguousarray(layer.rgb.numpy().transpose(1, 2, 0)[box], dtype=np.float32)
    if not alpha[box].all():
        values = push_pull_holes(values, alpha[box])
    rgb = to_uint8(torch.from_numpy(values).permute(2, 0, 1))
    return Texture(rgb, (int(columns[0]), int(rows[0])))


def surface_of(layer: Layer, *, coloured: bool = False) -> Surface:
    """The layer's surface, with at most about ``MOST_TRIANGLES`` where that can be had.

    Args:
        layer: its disparity > 0 wherever its alpha is.
        coloured: whether the vertices carry the picture; its detail then keeps blocks small, whatever
            their number.
    """
    mesh = corner_mesh(layer.disparity, layer.alpha, measured=layer.measured)
    corners, exists = np.ascontiguousarray(mesh.corners.transpose(0, 2, 1)), mesh.exists
    rgb = _corner_colours(layer, corners, exists) if coloured else np.zeros((0, 0, 4, 3), np.uint8)
    roughness = 1
    while True:
        found = _blocks(corners, exists, rgb, roughness * DISPARITY_TOLERANCE)
        if coloured or len(found.triangles) <= MOST_TRIANGLES or roughness >= ROUGHEST:
            return found
        roughness *= 2


def _corner_colours(layer: Layer, corners: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """[H, W, 4, 3] uint8: what the quads' corners show; quads that share a corner show the same."""
    rgb = np.empty((*corners.shape, 3), np.uint8)
    _mix_colours(to_uint8(layer.rgb), corners, exists, rgb)
    return rgb


def _blocks(corners: np.ndarray, exists: np.ndarray, rgb: np.ndarray, tolerance: float) -> Surface:
    side = exists.astype(np.int32)
    torn = _beside_tears(corners, exists)
    block = 2
    while block <= LARGEST_BLOCK_PX:
        _grow(corners, exists, rgb, torn, np.float32(tolerance), COLOUR_TOLERANCE, block, side)
        block *= 2
    used = np.zeros(4 * (exists.shape[0] + 1) * (exists.shape[1] + 1), np.bool_)
    _mark(corners, exists, side, used)
    triangles = np.empty((2 * int(exists.sum()), 3), np.int64)
    count = _triangulate(corners, exists, side, used, triangles)
    vertices = np.flatnonzero(used)
    number = np.cumsum(used, dtype=np.int32) - np.int32(1)
    point, slot = vertices // 4, vertices % 4
    row, column = np.divmod(point, exists.shape[1] + 1)
    # Pixel ``slot`` around the point, in corner order, touches it with the opposite corner.
    owner = (row - 1 + slot // 2, column - 1 + slot % 2, 3 - slot)
    return Surface(
        np.stack([column, row], 1).astype(np.int32),
        _towards_own_pixels(corners, exists, row, column, corners[owner]),
        corners[owner],
        number[triangles[:count]],
        rgb[owner] if rgb.size else None,
    )


def _beside_tears(corners: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """[H, W] bool, the pixels that another surface touches; they stay alone, since their colours are moved."""
    beside = np.zeros_like(exists)
    whole, but_last, but_first = np.s_[:], np.s_[:-1], np.s_[1:]
    down, right = (but_last, whole), (whole, but_last)
    for one, other, pairs in (
        (right, (whole, but_first), ((1, 0), (3, 2))),
        (down, (but_first, whole), ((2, 0), (3, 1))),
        ((but_last, but_last), (but_first, but_first), ((3, 0),)),
        ((but_last, but_first), (but_first, but_last), ((2, 1),)),
    ):
        a, b = corners[one], corners[other]
        torn = np.any([a[..., k] != b[..., j] for k, j in pairs], axis=0) & exists[one] & exists[other]
        beside[one] |= torn
        beside[other] |= torn
    return beside


def _towards_own_pixels(
    corners: np.ndarray, exists: np.ndarray, row: np.ndarray, column: np.ndarray, disparity: np.ndarray
) -> np.ndarray:
    """[N, 2] int32, sixths of a pixel from a point to the mean of the pixels around it without other surfaces'."""
    height, width = exists.shape
    total, count = np.zeros((len(row), 2), np.int32), np.zeros((len(row), 1), np.int32)
    for slot in range(4):
        j, i = row - 1 + slot // 2, column - 1 + slot % 2
        inside = (j >= 0) & (j < height) & (i >= 0) & (i < width)
        j, i = np.where(inside, j, 0), np.where(inside, i, 0)
        member = ~inside | ~exists[j, i] | (corners[j, i, 3 - slot] == disparity)
        # Half a pixel is three sixths; sums of these divide by one, two, three and four without rest.
        total += member[:, None] * np.array([6 * (slot % 2) - 3, 6 * (slot // 2) - 3], np.int32)
        count += member[:, None]
    return total // count


@inlined
def _vertex(corners, exists, y, x, k):
    """The number of the vertex at corner k of a pixel's quad: its point and the first quad that shares it.

    Quads on one surface hold the same bits where they meet (see ``mesh._mean``).
    """
    height, width = exists.shape
    row, column = y + k // 2, x + k % 2
    slot = 3 - k
    value = corners[y, x, k]
    for first in range(3 - k):
        j, i = row - 1 + first // 2, column - 1 + first % 2
        if 0 <= j < height and 0 <= i < width and exists[j, i] and corners[j, i, 3 - first] == value:
            slot = first
            break
    return 4 * (row * (width + 1) + column) + slot


@kernel
def _mix_colours(pixels, corners, exists, rgb):
    height, width = exists.shape
    for y in range(height):
        for x in range(width):
            if not exists[y, x]:
                continue
            for k in range(4):
                row, column, count = y + k // 2, x + k % 2, 0
                red, green, blue = 0, 0, 0
                for slot in range(4):
                    j, i = row - 1 + slot // 2, column - 1 + slot % 2
                    if not (0 <= j < height and 0 <= i < width and exists[j, i]):
                        continue
                    if corners[j, i, 3 - slot] == corners[y, x, k]:
                        red, green = red + pixels[j, i, 0], green + pixels[j, i, 1]
                        blue, count = blue + pixels[j, i, 2], count + 1
                rgb[y, x, k, 0] = (red + count // 2) // count
                rgb[y, x, k, 1] = (green + count // 2) // count
                rgb[y, x, k, 2] = (blue + count // 2) // count


@kernel
def _grow(corners, exists, rgb, torn, tolerance, colour_tolerance, block, side):
    """Join four blocks of half the size wherever that is allowed; ``side`` [H, W] says whose block a pixel is."""
    height, width = exists.shape
    half = block // 2
    for top in range(0, height - block + 1, block):
        for left in range(0, width - block + 1, block):
            whole = (
                side[top, left] == half
                and side[top, left + half] == half
                and side[top + half, left] == half
                and side[top + half, left + half] == half
                and not (block == 2 and torn[top : top + 2, left : left + 2].any())
            )
            if (
                whole
                and _seamless(corners, top, left, block)
                and _flat(corners, rgb, tolerance, colour_tolerance, top, left, block)
            ):
                side[top : top + block, left : left + block] = block


@kernel
def _seamless(corners, top, left, block):
    """No tear between the four blocks of half the size; there is none inside them."""
    half = block // 2
    for n in range(block):
        a, b = (top + n, left + half - 1), (top + n, left + half)
        if corners[a][1] != corners[b][0] or corners[a][3] != corners[b][2]:
            return False
        a, b = (top + half - 1, left + n), (top + half, left + n)
        if corners[a][2] != corners[b][0] or corners[a][3] != corners[b][1]:
            return False
    return True


@kernel
def _flat(corners, rgb, tolerance, colour_tolerance, top, left, block):
    """Every corner inside is within tolerance of the bilinear patch over the outer four."""
    last = block - 1
    a, b = corners[top, left, 0], corners[top, left + last, 1]
    c, d = corners[top + last, left, 2], corners[top + last, left + last, 3]
    # Two triangles differ from the patch by a quarter of its twist.
    if abs(a + d - b - c) > 4 * tolerance:
        return False
    for n in range(block):
        for m in range(block):
            for k in range(4):
                v, u = np.float32(n + k // 2) / block, np.float32(m + k % 2) / block
                patch = (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * c + u * d)
                if abs(corners[top + n, left + m, k] - patch) > tolerance:
                    return False
                for channel in range(3 if rgb.size else 0):
                    patch = (1 - v) * (
                        (1 - u) * rgb[top, left, 0, channel] + u * rgb[top, left + last, 1, channel]
                    ) + v * (
                        (1 - u) * rgb[top + last, left, 2, channel]
                        + u * rgb[top + last, left + last, 3, channel]
                    )
                    if abs(rgb[top + n, left + m, k, channel] - patch) > colour_tolerance:
                        return False
    return True


@kernel
def _mark(corners, exists, side, used):
    """Mark the vertices at the corners of blocks."""
    height, width = exists.shape
    for y in range(height):
        for x in range(width):
            block = side[y, x]
            if block == 0 or y % block or x % block:
                continue
            for k in range(4):
                j, i = y + (k // 2) * (block - 1), x + (k % 2) * (block - 1)
                used[_vertex(corners, exists, j, i, k)] = True


@kernel
def _triangulate(corners, exists, side, used, triangles):
    """Fill ``triangles`` with numbers of vertices, mark the blocks' middles, and return how many there are."""
    height, width = exists.shape
    around = np.empty(4 * LARGEST_BLOCK_PX, np.int64)
    count = 0
    for y in range(height):
        for x in range(width):
            block = side[y, x]
            if block == 0 or y % block or x % block:
                continue
            # Clockwise from the top-left corner: where the walk begins, its direction, which corner it sees.
            length = 0
            for edge in range(4):
                for n in range(block):
                    if edge == 0:
                        vertex = _vertex(corners, exists, y, x + n, 0)
                    elif edge == 1:
                        vertex = _vertex(corners, exists, y + n, x + block - 1, 1)
                    elif edge == 2:
                        vertex = _vertex(corners, exists, y + block - 1, x + block - 1 - n, 3)
                    else:
                        vertex = _vertex(corners, exists, y + block - 1 - n, x, 2)
                    if used[vertex]:
                        around[length] = vertex
                        length += 1
            if length == 4:
                triangles[count] = (around[0], around[1], around[3])
                triangles[count + 1] = (around[2], around[3], around[1])
                count += 2
                continue
            middle = _vertex(corners, exists, y + block // 2, x + block // 2, 0)
            used[middle] = True
            for n in range(length):
                following = around[n + 1] if n + 1 < length else around[0]
                triangles[count] = (middle, around[n], following)
                count += 1
    return count
