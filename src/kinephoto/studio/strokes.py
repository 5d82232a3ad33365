"""What somebody draws onto a picture becomes a mask, points, a box, or another depth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.scene.values import Disparity
from kinephoto.studio.cutout import Box, Point

VISIBLE = 32
"""Alpha, of 255, from which on a stroke counts; less is its soft border."""

MOST_POINTS = 50


def drawn(layers: Sequence[np.ndarray]) -> np.ndarray:
    """Where anything was drawn.

    Args:
        layers: [h, w, 4] uint8 each, colours with alpha, all of one size.

    Returns:
        [h, w] bool.

    Raises:
        InputError: nothing was.
    """
    there = [layer[..., 3] >= VISIBLE for layer in layers if layer.ndim == 3 and layer.shape[2] == 4]
    if not there or not np.logical_or.reduce(there).any():
        raise InputError("Nothing is drawn yet; draw on the picture first.")
    return np.logical_or.reduce(there)


def mask_of(strokes: np.ndarray, hw: tuple[int, int]) -> Tensor:
    """[H, W] bool: the strokes, [h, w] bool, on a picture of ``hw`` pixels."""
    import cv2

    scaled = cv2.resize(strokes.astype(np.uint8), hw[::-1], interpolation=cv2.INTER_NEAREST)
    return torch.from_numpy(scaled.astype(bool))


def points_of(strokes: np.ndarray, hw: tuple[int, int]) -> list[Point]:
    """A point on each stroke, in px of a picture of ``hw`` pixels; the largest strokes first.

    Example:
        >>> strokes = np.zeros((10, 20), bool)
        >>> strokes[4:7, 10:13] = True
        >>> points_of(strokes, (20, 40))
        [(23.0, 11.0)]
    """
    import cv2

    count, labels, stats, centres = cv2.connectedComponentsWithStats(strokes.astype(np.uint8))
    largest = sorted(range(1, count), key=lambda label: -int(stats[label, cv2.CC_STAT_AREA]))[:MOST_POINTS]
    scale_y, scale_x = hw[0] / strokes.shape[0], hw[1] / strokes.shape[1]
    points = []
    for label in largest:
        rows, columns = np.nonzero(labels == label)
        x, y = centres[label]
        nearest = int(np.argmin((columns - x) ** 2 + (rows - y) ** 2))  # a ring's middle is not on it
        points.append(((float(columns[nearest]) + 0.5) * scale_x, (float(rows[nearest]) + 0.5) * scale_y))
    return points


def box_of(strokes: np.ndarray, hw: tuple[int, int]) -> Box:
    """The smallest box around all strokes, in px of a picture of ``hw`` pixels.

    Example:
        >>> strokes = np.zeros((10, 20), bool)
        >>> strokes[2, 5], strokes[7, 14] = True, True
        >>> box_of(strokes, (10, 20))
        (5.0, 2.0, 15.0, 8.0)
    """
    rows, columns = np.nonzero(strokes.any(1))[0], np.nonzero(strokes.any(0))[0]
    scale_y, scale_x = hw[0] / strokes.shape[0], hw[1] / strokes.shape[1]
    left, right = float(columns[0]) * scale_x, float(columns[-1] + 1) * scale_x
    top, bottom = float(rows[0]) * scale_y, float(rows[-1] + 1) * scale_y
    return left, top, right, bottom


def retouched(disparity: Disparity, layers: Sequence[np.ndarray]) -> Disparity:
    """The depth with greys painted over it: white is as near as its nearest, black as far as its farthest.

    Args:
        disparity: what was shown, [H, W].
        layers: [h, w, 4] uint8 each, from the lowest up; where alpha is, the grey replaces the depth.

    Raises:
        InputError: nothing was drawn.
    """
    import cv2

    drawn(layers)
    values = disparity.numpy().copy()
    low, high = float(values.min()), float(values.max())
    for layer in layers:
        scaled = cv2.resize(layer, values.shape[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)
        grey = low + (high - low) * scaled[..., :3].mean(-1) / 255
        # Depth has no half-way between near and far: a soft border would become a slope.
        values = np.where(scaled[..., 3] >= 128, grey, values)
    return Disparity(torch.from_numpy(values.astype(np.float32)), source="retouched")
