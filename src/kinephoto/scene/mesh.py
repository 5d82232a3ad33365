"""The corner mesh: a picture with depth as one small quad per pixel, torn at depth edges.

A pixel owns a square with four corners. Where neighbours lie on one surface they share their corners,
so the surface is closed; where a depth edge runs between them, each side keeps corners of its own
and the surface is torn. Seen from the photo's own camera every square lies exactly on its pixel.

Corner order everywhere: 0 top left, 1 top right, 2 bottom left, 3 bottom right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kinephoto.compiled import kernel
from kinephoto.errors import InputError

CONNECTED_TOLERANCE = 0.1
"""Two neighbours lie on one surface when their disparities differ by at most this share."""

STANDS_OUT_SHARE, STANDS_OUT_FACTOR, STANDS_OUT_LEAST = 0.02, 2.0, 0.01
"""Where measured depth tears as well: at a step that is more than this share of the farther side, more than so
many times the steps beyond it on both sides, and more than this share of the picture's nearest, below which
the steps of an 8-bit map lie."""

SEGMENT = 256
"""Quads of one row that are transformed and drawn together; fits the first-level cache."""

CHUNK = 32
"""Quads of a segment whose range of disparity is known; those hidden by other layers are left out together."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """A layer's surface, ready to be drawn from anywhere.

    Attributes:
        corners: [H, 4, W] float32 > 0, disparity at each quad's four corners.
        exists: [H, W] bool, the quads that are there.
        seamless: [H, S] bool, S = ceil(W / SEGMENT): no tear runs between the quads of this
            segment of a row, so that neighbours may share transformed corners.
        nearest, farthest: [H, C] float32, C = ceil(W / CHUNK), range of the existing corners' disparity in
            the chunk; nearest is 0 where the chunk is empty.
    """

    corners: np.ndarray
    exists: np.ndarray
    seamless: np.ndarray
    nearest: np.ndarray
    farthest: np.ndarray

    @property
    def hw(self) -> tuple[int, int]:
        """Quads down and across: the size of the picture."""
        return self.exists.shape  # type: ignore[return-value]


def corner_mesh(
    disparity: Tensor | np.ndarray,
    alpha: Tensor | np.ndarray | None = None,
    tolerance: float = CONNECTED_TOLERANCE,
    measured: bool = False,
) -> Mesh:
    """The mesh of a disparity map.

    A corner's disparity is the mean over those of the pixels around it that are connected to its
    owner, directly or through others of them: side by side, both there, and larger <= (1 + tolerance)
    times smaller. The rule looks at ratios, so scaling the scene changes nothing.

    Args:
        disparity: [H, W] float32, > 0 wherever ``alpha`` is.
        alpha: [H, W] bool, the pixels that exist; all of them when None.
        tolerance: >= 0; a large one keeps the whole picture in one piece.
        measured: every small step can be believed, so that the mesh is torn as well where one stands out from
            the slopes on both sides (``STANDS_OUT_SHARE``): a lattice close before a wall. A network's map
            has such steps in the middle of things.

    Raises:
        InputError: the shapes differ, or an existing pixel has no positive, finite disparity.
    """
    values = np.ascontiguousarray(_array(disparity), dtype=np.float32)
    if values.ndim != 2:
        raise InputError(f"A disparity map is [H, W]; got {values.shape}.")
    exists = np.ones(values.shape, bool) if alpha is None else np.ascontiguousarray(_array(alpha), dtype=bool)
    if exists.shape != values.shape:
        raise InputError(f"The disparity map is {values.shape}, its alpha {exists.shape}.")
    bad = ~(np.isfinite(values) & (values > 0)) & exists
    if bad.any():
        raise InputError(f"{int(bad.sum())} pixels of the layer have no positive, finite disparity.")
    height, width = values.shape
    corners = np.empty((height, 4, width), np.float32)
    seamless = np.empty((height, -(-width // SEGMENT)), np.bool_)
    nearest, farthest = np.empty((2, height, -(-width // CHUNK)), np.float32)
    across, down = np.empty((2, height, width), np.bool_)
    least = STANDS_OUT_LEAST * values.max(initial=0, where=exists) if measured else np.inf
    _links(values, exists, np.float32(1 + tolerance), np.float32(least), across, down)
    _corners(values, across, down, corners)
    _describe_parts(corners, exists, SEGMENT, CHUNK, seamless, nearest, farthest)
    return Mesh(corners, exists, seamless, nearest, farthest)


def sharpen_edges(
    disparity: Tensor,
    window: int = 3,
    times: int = 1,
    tolerance: float = CONNECTED_TOLERANCE,
) -> Tensor:
    """Turn soft depth edges into steps, so that they tear instead of stretching like rubber.

    Where the largest disparity in the window exceeds (1 + tolerance) times the smallest, the pixel
    takes whichever of the two is nearer to its own in log disparity.

    Args:
        disparity: [H, W] float32, > 0.
        window: side of the square window, odd px: 3 for measured depth, 5 for a network's.
        times: how often; network depth needs 2.

    Returns:
        [H, W] float32, a new tensor.

    Raises:
        InputError: the window is even or smaller than 3.
    """
    if window < 3 or window % 2 == 0:
        raise InputError(f"The sharpening window is {window} px; it must be odd and at least 3.")
    import cv2

    values = np.ascontiguousarray(_array(disparity), dtype=np.float32)
    square = np.ones((window, window), np.uint8)
    for _ in range(times):
        largest, smallest = cv2.dilate(values, square), cv2.erode(values, square)
        # Nearer in log disparity without logarithms: d is above the geometric mean.
        snapped = np.where(values * values >= largest * smallest, largest, smallest)
        values = np.where(largest > np.float32(1 + tolerance) * smallest, snapped, values)
    return torch.from_numpy(values)


def smooth_around(
    disparity: np.ndarray, exists: np.ndarray, radius: int, tolerance: float = CONNECTED_TOLERANCE
) -> np.ndarray:
    """[H, W] bool: every pixel within ``radius`` exists and lies on one surface with this one.

    Pixels outside the picture do not count against it.
    """
    import cv2

    square = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    values = np.where(exists, disparity, np.float32(0))
    largest, smallest = cv2.dilate(values, square), cv2.erode(values, square)
    whole = cv2.erode(exists.astype(np.uint8), square) > 0
    return whole & (largest <= np.float32(1 + tolerance) * smallest)


def _array(values: Tensor | np.ndarray) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


@kernel
def _linked(a, b, limit):
    """Whether two neighbours (0 = not there) lie on one surface."""
    return (a > 0) & (b > 0) & (max(a, b) <= limit * min(a, b))


@kernel
def _stands_out(a, b, before, after, least):
    """Whether the step between two neighbours is larger than slopes explain; 0 = not there."""
    step = abs(a - b)
    if not (step > least and step > STANDS_OUT_SHARE * min(a, b)):
        return False
    slope = np.float32(0)
    if before > 0:
        slope = max(slope, abs(a - before))
    if after > 0:
        slope = max(slope, abs(after - b))
    return step > STANDS_OUT_FACTOR * slope


@kernel
def _links(disparity, exists, limit, least, across, down):
    """Fill [H, W]: whether each pixel lies on one surface with its right and with its lower neighbour."""
    height, width = disparity.shape
    zero = np.float32(0)
    for j in range(height):
        for i in range(width):
            across[j, i] = down[j, i] = False
            if not exists[j, i]:
                continue
            d = disparity[j, i]
            if i + 1 < width and exists[j, i + 1] and _linked(d, disparity[j, i + 1], limit):
                before = disparity[j, i - 1] if i > 0 and exists[j, i - 1] else zero
                after = disparity[j, i + 2] if i + 2 < width and exists[j, i + 2] else zero
                across[j, i] = not _stands_out(d, disparity[j, i + 1], before, after, least)
            if j + 1 < height and exists[j + 1, i] and _linked(d, disparity[j + 1, i], limit):
                before = disparity[j - 1, i] if j > 0 and exists[j - 1, i] else zero
                after = disparity[j + 2, i] if j + 2 < height and exists[j + 2, i] else zero
                down[j, i] = not _stands_out(d, disparity[j + 1, i], before, after, least)


@kernel
def _mean(tl, tr, bl, br, with_tl, with_tr, with_bl, with_br):
    """Mean of the members, added in a fixed order: every member of a group gets the same bits."""
    total = 0.0
    count = 0.0
    if with_tl:
        total += tl
        count += 1.0
    if with_tr:
        total += tr
        count += 1.0
    if with_bl:
        total += bl
        count += 1.0
    if with_br:
        total += br
        count += 1.0
    return np.float32(total / count)


@kernel
def _corners(disparity, across, down, corners):
    """Fill corners [H, 4, W]; one pass over the (H + 1) x (W + 1) points between pixels."""
    height, width = disparity.shape
    zero = np.float32(0)
    for j in range(height + 1):
        for i in range(width + 1):
            up, low, left, right = j > 0, j < height, i > 0, i < width
            # The four pixels around the point; what is not there is linked to nothing.
            tl = disparity[j - 1, i - 1] if up and left else zero
            tr = disparity[j - 1, i] if up and right else zero
            bl = disparity[j, i - 1] if low and left else zero
            br = disparity[j, i] if low and right else zero
            top = up and left and right and across[j - 1, i - 1]
            bottom = low and left and right and across[j, i - 1]
            west = up and low and left and down[j - 1, i - 1]
            east = up and low and right and down[j - 1, i]
            # Diagonal neighbours are joined by way of either of the other two; three links join all.
            falling = (top & east) | (west & bottom)
            rising = (top & west) | (east & bottom)
            if (top & bottom & (west | east)) | (west & east & (top | bottom)):
                top = bottom = west = east = falling = rising = True
            if up and left:
                corners[j - 1, 3, i - 1] = _mean(tl, tr, bl, br, True, top, west, falling)
            if up and right:
                corners[j - 1, 2, i] = _mean(tl, tr, bl, br, top, True, rising, east)
            if low and left:
                corners[j, 1, i - 1] = _mean(tl, tr, bl, br, west, rising, True, bottom)
            if low and right:
                corners[j, 0, i] = _mean(tl, tr, bl, br, falling, east, bottom, True)


@kernel
def _describe_parts(corners, exists, segment, chunk, seamless, nearest, farthest):
    """Fill what Mesh says of segments and chunks, and give missing quads their left neighbour's corners.

    A missing quad is never drawn; with its neighbour's corners it does not look like a tear.
    """
    height, _, width = corners.shape
    seamless[:] = True
    nearest[:] = 0
    farthest[:] = np.inf
    for j in range(height):
        for i in range(width):
            if not exists[j, i]:
                for k in (0, 2):
                    corners[j, k, i] = corners[j, k + 1, i - 1] if i > 0 else np.float32(1)
                    corners[j, k + 1, i] = corners[j, k, i]
                continue
            c = i // chunk
            for k in range(4):
                nearest[j, c] = max(nearest[j, c], corners[j, k, i])
                farthest[j, c] = min(farthest[j, c], corners[j, k, i])
            if i % segment > 0 and exists[j, i - 1]:
                for k in (0, 2):
                    seamless[j, i // segment] &= corners[j, k, i] == corners[j, k + 1, i - 1]
