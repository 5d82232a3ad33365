"""Holes of a view: how deep what they hide must be, and where it goes on behind what is near.

A hole opens between a near thing's silhouette and the background that comes into view beside it. Across the
hole, the short way, one bank is the silhouette and the other the background; the hole belongs to the farther.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from kinephoto.compiled import kernel
from kinephoto.scene.mesh import CONNECTED_TOLERANCE
from kinephoto.scene.values import View

BORDER_COST = np.float32(2.0)
SMOOTHING_PX = 9
SMOOTHING_ROUNDS = 3


def farther_disparity(disparity: Tensor, known: Tensor) -> Tensor:
    """A complete disparity map: holes continue their farther bank, never nearer than it.

    Of the four lines through a hole pixel (level, upright, diagonal) the one counts whose way across the
    hole is shortest; of its two ends the farther. A level or upright line that ends at the picture's
    border counts as ``BORDER_COST`` times as long as it is, and gives what its one end has.

    Args:
        disparity: [H, W] float32, > 0 where ``known``.
        known: [H, W] bool, at least one True.

    Returns:
        [H, W] float32 > 0, ``disparity`` where known, smooth inside the holes.
    """
    values = np.ascontiguousarray(disparity.detach().cpu().numpy(), dtype=np.float32)
    covered = np.ascontiguousarray(known.detach().cpu().numpy(), dtype=bool)
    if covered.all():
        return torch.from_numpy(values.copy())
    found = np.where(covered, values, np.float32(0))
    distances = np.empty((8, *values.shape), np.float32)
    ends = np.empty((8, *values.shape), np.float32)
    _walk(values, covered, distances, ends)
    _choose(covered, distances, ends, found)
    _fill_from_neighbours(found)
    return torch.from_numpy(_smoothed(found, covered))


def grown_behind(view: View, complete: Tensor, radius_px: int) -> Tensor:
    """The holes and as much beside them as the near bank hides: what has to be painted.

    Seen from a little further on the hole is wider; a soft silhouette shows what lies just behind it. So
    holes are painted on under the near thing.

    Args:
        view: with the holes.
        complete: [H, W], from ``farther_disparity``.
        radius_px: how far under the near bank.

    Returns:
        [H, W] bool, at least the holes; of the known only what is nearer than the hole beside it.
    """
    hole = (~view.known).numpy()
    square = np.ones((2 * radius_px + 1,) * 2, np.uint8)
    behind = cv2.dilate(np.where(hole, complete.numpy(), np.float32(0)).astype(np.float32), square)
    near_bank = (behind > 0) & (view.disparity.numpy() > np.float32(1 + CONNECTED_TOLERANCE) * behind)
    return torch.from_numpy(hole | near_bank)


def far_rim(view: View, certain: Tensor, radius_px: int) -> Tensor:
    """Known pixels beside wide holes that are not to be painted from.

    Depth misses silhouettes by a pixel or two. What of a near thing was taken for background stays behind at the
    hole's other bank, and a painter would carry its colour on across the whole hole. Beside a crack the next pixel
    is still the best guess.

    Args:
        view: with the holes.
        certain: [H, W] bool, pixels of holes beyond the photo's border, where no silhouette was.
        radius_px: how wide; holes that are wide are wider than three times that.

    Returns:
        [H, W] bool.
    """
    hole = (~view.known & ~certain).numpy().astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3 * radius_px,) * 2)
    wide = cv2.morphologyEx(hole, cv2.MORPH_OPEN, disc)
    square = np.ones((2 * radius_px + 1,) * 2, np.uint8)
    return torch.from_numpy((cv2.dilate(wide, square) > 0) & view.known.numpy())


def without_near_bank(view: View, complete: Tensor, wanted: Tensor, certain: Tensor | None = None) -> Tensor:
    """[H, W] disparity of the background: ``complete``, with ``wanted`` continued from the farther side.

    Args:
        view: with the holes.
        complete: [H, W], from ``farther_disparity``.
        wanted: [H, W] bool, from ``grown_behind``.
        certain: [H, W] bool, pixels of holes whose depth is as it should be.
    """
    settled = ~wanted if certain is None else ~wanted | certain
    background = farther_disparity(complete, settled) if bool(settled.any()) else complete
    hole = ~view.known if certain is None else ~view.known & ~certain
    # Under the near bank the hole's own depth goes on; it was chosen across the whole hole.
    return torch.where(hole, torch.minimum(background, complete), background)


@kernel
def _walk(values, known, distances, ends):
    """The nearest known pixel in each of eight directions: how far it is and its disparity, 0 if none."""
    height, width = values.shape
    for k in range(8):
        dy = (-1, 0, -1, -1, 1, 0, 1, 1)[k]
        dx = (0, -1, -1, 1, 0, 1, 1, -1)[k]
        step = np.float32(1.0 if dy == 0 or dx == 0 else 1.4142135)
        for a in range(height):
            y = a if dy < 0 or (dy == 0 and dx < 0) else height - 1 - a
            for b in range(width):
                x = b if dx < 0 or (dx == 0 and dy < 0) else width - 1 - b
                if known[y, x]:
                    distances[k, y, x] = 0
                    ends[k, y, x] = values[y, x]
                    continue
                q, p = y + dy, x + dx
                if 0 <= q < height and 0 <= p < width:
                    distances[k, y, x] = distances[k, q, p] + step
                    ends[k, y, x] = ends[k, q, p]
                else:
                    distances[k, y, x] = step
                    ends[k, y, x] = 0


@kernel
def _choose(known, distances, ends, found):
    height, width = known.shape
    for y in range(height):
        for x in range(width):
            if known[y, x]:
                continue
            shortest = np.float32(np.inf)
            for k in range(4):
                there, back = ends[k, y, x], ends[k + 4, y, x]
                across = distances[k, y, x] + distances[k + 4, y, x]
                if there > 0 and back > 0:
                    value = min(there, back)
                elif k < 2:
                    across, value = BORDER_COST * across, max(there, back)
                else:
                    continue
                if value > 0 and across < shortest:
                    shortest = across
                    found[y, x] = value


def _fill_from_neighbours(found: np.ndarray) -> None:
    """Pixels whose eight directions meet nothing take the nearest value."""
    empty = found <= 0
    if empty.any():
        from scipy.ndimage import distance_transform_edt

        row, column = distance_transform_edt(empty, return_distances=False, return_indices=True)
        found[:] = found[row, column]


def _smoothed(found: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Holes blurred within themselves and their farther bank, so that lines of the walk don't show."""
    hole = ~known
    out = found.copy()
    limit = np.float32(1 + CONNECTED_TOLERANCE)
    square = np.ones((3, 3), np.uint8)
    nearest_hole = cv2.dilate(np.where(hole, found, np.float32(0)), square)
    bank = known & (nearest_hole > 0) & (found <= limit * nearest_hole)
    inside = (hole | bank).astype(np.float32)
    side = (SMOOTHING_PX, SMOOTHING_PX)
    weight = np.maximum(cv2.blur(inside, side), 1e-6)
    for _ in range(SMOOTHING_ROUNDS):
        mean = cv2.blur(out * inside, side) / weight
        # Over a step inside the hole the mean would make a ramp; there the value stays.
        alike = (mean <= limit * out) & (out <= limit * mean)
        out = np.where(hole & alike, mean, out).astype(np.float32)
    return out
