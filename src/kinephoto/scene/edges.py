"""Depth edges that follow the photo's: holes come from depth edges, and soft ones stretch like rubber.

A network's disparity is smaller than the photo and soft at silhouettes. Here its edges become steps first
(``mesh.sharpen_edges``); then every pixel of the photo near a step takes the disparity of those of its
neighbours that look like it (a weighted median, Ma et al., Constant time weighted median filtering for stereo
matching and beyond, ICCV 2013); elsewhere the map is interpolated smoothly.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from kinephoto.compiled import kernel
from kinephoto.scene.mesh import CONNECTED_TOLERANCE, sharpen_edges

NETWORK_WINDOW_PX, NETWORK_TIMES = 5, 2
"""A network's edges are about five pixels wide; two rounds leave a step of one."""

COLOUR_SIGMA = 0.08
"""How different a neighbour's colour may be and still count: a standard deviation per channel, rgb in [0, 1]."""

MEDIAN_RADIUS_PX = 3

SPECK_PX = 5
"""Side of the plain median that clears away specks which the photo's texture left in the map."""

FAINT = np.float32(0.05)
CALMING_RADIUS_PX, CALMING_ROUNDS = 4, 3


def sharpen(disparity: Tensor, rgb: Tensor) -> Tensor:
    """A soft disparity map at the photo's size with steps where the photo has its edges.

    Args:
        disparity: [h, w] float32 > 0, near is large, relative ones already moved to 0.06 … 1 or so, since
            what is a step is decided by ratios; h × w may be smaller than the photo.
        rgb: [3, H, W] float in [0, 1].

    Returns:
        [H, W] float32, within the range of ``disparity``.
    """
    import cv2

    height, width = rgb.shape[-2:]
    small = _picture(rgb, tuple(disparity.shape))
    steps = sharpen_edges(disparity, NETWORK_WINDOW_PX, NETWORK_TIMES).numpy()
    steps = guided_median(steps, small, small)
    # Times two at a time: each pixel then looks at steps no more than two pixels off.
    while steps.shape != (height, width):
        hw = tuple(min(2 * have, want) for have, want in zip(steps.shape, (height, width), strict=True))
        larger = _picture(rgb, hw)
        steps = guided_median(steps, _picture(rgb, steps.shape), larger)
    return torch.from_numpy(calmed(cv2.medianBlur(steps, SPECK_PX)))


def calmed(disparity: np.ndarray) -> np.ndarray:
    """The map with its faint steps smoothed away, where they would tear the far and show nothing behind.

    Whether a step tears is a matter of ratios, and far away a ratio is little: at 0.06 a step of 0.006,
    the noise of any network, tears the sky. Steps below ``FAINT`` uncover less than a pixel.
    """
    import cv2

    values = disparity
    side = 2 * CALMING_RADIUS_PX + 1
    square = np.ones((side, side), np.uint8)
    for _ in range(CALMING_ROUNDS):
        faint = cv2.dilate(values, square) - cv2.erode(values, square) < FAINT
        values = np.where(faint, cv2.blur(values, (side, side)), values)
    return values


def widen_near(disparity: Tensor, radius_px: int) -> Tensor:
    """Move every depth edge outwards from what is near, by ``radius_px``.

    A silhouette's pixels mix both colours, and depth misses it by a pixel or so. What of the near thing's
    colour stays behind would stand in the background as an outline of where it was; so the near thing
    takes along a little too much.

    Args:
        disparity: [H, W] float32 > 0.
        radius_px: 0 changes nothing.

    Returns:
        [H, W] float32, never farther than before.
    """
    import cv2

    values = np.ascontiguousarray(disparity.detach().cpu().numpy(), dtype=np.float32)
    if radius_px <= 0:
        return torch.from_numpy(values.copy())
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1,) * 2)
    nearest = cv2.dilate(values, disc)
    return torch.from_numpy(np.where(nearest > np.float32(1 + CONNECTED_TOLERANCE) * values, nearest, values))


def guided_median(disparity: np.ndarray, own: np.ndarray, guide: np.ndarray) -> np.ndarray:
    """Disparity at the guide's size: interpolated, but near steps the weighted median of the neighbours.

    Args:
        disparity: [h, w] float32 > 0, edges are steps.
        own: [h, w, 3] float32, the photo at that size.
        guide: [H, W, 3] float32, the photo at the size wanted.

    Returns:
        [H, W] float32; near a step every value is one of the neighbours', so steps stay steps.
    """
    import cv2

    hw = guide.shape[:2]
    square = np.ones((2 * MEDIAN_RADIUS_PX + 1,) * 2, np.uint8)
    largest, smallest = cv2.dilate(disparity, square), cv2.erode(disparity, square)
    near_step = (largest > np.float32(1 + CONNECTED_TOLERANCE) * smallest).astype(np.uint8)
    wanted = cv2.resize(near_step, hw[::-1], interpolation=cv2.INTER_NEAREST_EXACT) > 0
    out = cv2.resize(disparity, hw[::-1], interpolation=cv2.INTER_LINEAR)
    arrays = (np.ascontiguousarray(a, dtype=np.float32) for a in (disparity, own, guide))
    _medians(*arrays, wanted, MEDIAN_RADIUS_PX, np.float32(1 / (2 * COLOUR_SIGMA**2)), out)
    return out


def default_widening_px(hw: tuple[int, int]) -> int:
    """How far ``widen_near`` goes for a picture of this size: one pixel in 300, at least one."""
    return max(1, math.floor(min(hw) / 300 + 0.5))


def _picture(rgb: Tensor, hw: tuple[int, ...]) -> np.ndarray:
    """[h, w, 3] float32, each pixel the mean of what it covers."""
    import cv2

    picture = np.ascontiguousarray(rgb.detach().cpu().float().permute(1, 2, 0).numpy())
    if picture.shape[:2] == tuple(hw):
        return picture
    return cv2.resize(picture, (hw[1], hw[0]), interpolation=cv2.INTER_AREA)


@kernel
def _medians(disparity, own, guide, wanted, radius, sharpness, out):
    """Write the weighted median of a window of ``disparity`` wherever ``wanted``."""
    rows, columns = disparity.shape
    height, width = wanted.shape
    most = (2 * radius + 1) ** 2
    values, weights = np.empty(most, np.float32), np.empty(most, np.float32)
    order = np.empty(most, np.int64)
    for y in range(height):
        j = min(rows - 1, int((y + 0.5) * rows / height))
        for x in range(width):
            if not wanted[y, x]:
                continue
            i = min(columns - 1, int((x + 0.5) * columns / width))
            count, total = 0, np.float32(0)
            for q in range(max(0, j - radius), min(rows, j + radius + 1)):
                for p in range(max(0, i - radius), min(columns, i + radius + 1)):
                    distance = np.float32(0)
                    for c in range(3):
                        step = guide[y, x, c] - own[q, p, c]
                        distance += step * step
                    off_y, off_x = (y + 0.5) * rows / height - q - 0.5, (x + 0.5) * columns / width - p - 0.5
                    spread = np.float32((off_y * off_y + off_x * off_x) / (radius * radius))
                    weight = np.exp(-sharpness * distance - spread) + np.float32(1e-6)
                    values[count], weights[count] = disparity[q, p], weight
                    total += weight
                    count += 1
            # Insertion sort: the windows are small and nearly sorted into two groups.
            for k in range(count):
                m = k
                while m > 0 and values[order[m - 1]] > values[k]:
                    order[m] = order[m - 1]
                    m -= 1
                order[m] = k
            passed = np.float32(0)
            for k in range(count):
                passed += weights[order[k]]
                if passed >= np.float32(0.5) * total:
                    out[y, x] = values[order[k]]
                    break
