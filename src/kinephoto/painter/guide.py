"""What a hole should look like from afar: colour, texture and depth, continued from its farther side.

Patches alone drift: they grow smooth patches into crowds and sky into hedges. The guide tells them
the mean colour and the strength of texture to expect, and compares means only, so that it does not
favour smooth sources.
"""

from __future__ import annotations

import cv2
import numpy as np

from kinephoto.painter.diffuse import continue_from_farther_side
from kinephoto.painter.pyramid import Level

COLOUR_SIDE_PX = 21
TEXTURE_SIDE_PX = 9


def appearance(level: Level, coarser: np.ndarray | None, tolerance: float) -> np.ndarray:
    """Mean colour and strength of texture around every pixel.

    Args:
        level: the picture.
        coarser: [ceil(H/2), ceil(W/2), 4], the appearance at half size, taken over in the hole; None
            at the coarsest size, where the hole's appearance is continued from its farther side.
        tolerance: how much nearer than a hole its farther side may be.

    Returns:
        [H, W, 4] float32: r, g, b in [0, 1] and the deviation from the mean, summed over channels.
    """
    weight = level.trusted.astype(np.float32)
    near = _mean(level.rgb, weight, TEXTURE_SIDE_PX)
    deviation = np.sqrt(np.maximum(_mean((level.rgb - near) ** 2, weight, TEXTURE_SIDE_PX).sum(-1), 0))
    if coarser is None:
        sources = np.dstack([level.rgb, deviation]).astype(np.float32)
        inside = continue_from_farther_side(sources, level.disparity, level.hole, level.trusted, tolerance)
    else:
        inside = cv2.resize(coarser, level.hw[::-1], interpolation=cv2.INTER_LINEAR)
    around = np.dstack([_mean(level.rgb, weight, COLOUR_SIDE_PX), deviation])
    return np.where(level.hole[..., None], inside, around).astype(np.float32)


def _mean(values: np.ndarray, weight: np.ndarray, side_px: int) -> np.ndarray:
    """[H, W, 3]: weighted mean over a square; 0 where it holds no weight."""
    square = (side_px, side_px)
    total = np.maximum(cv2.blur(weight, square), 1e-4)
    return cv2.blur(values * weight[..., None], square) / total[..., None]
