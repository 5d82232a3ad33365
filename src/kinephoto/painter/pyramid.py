"""The picture at falling sizes: what is a hole and what can be believed at each of them.

Letters: H, W height and width of a level, px.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True, eq=False)
class Level:
    """One size of the pyramid.

    Attributes:
        rgb: [H, W, 3] float32 in [0, 1]; anything where ``hole``.
        disparity: [H, W] float32 > 0, near is large.
        hole: [H, W] bool, to be painted.
        trusted: [H, W] bool, may be copied; where neither, the picture is known but not believed.
    """

    rgb: np.ndarray
    disparity: np.ndarray
    hole: np.ndarray
    trusted: np.ndarray

    @property
    def hw(self) -> tuple[int, int]:
        """(height, width)."""
        return self.hole.shape


def halvings(full: Level, narrowest_px: float, most: int) -> list[Level]:
    """The picture, then its halves, until its widest hole is ``narrowest_px`` or ``most`` are made."""
    levels = [full]
    for _ in range(most):
        last = levels[-1]
        width_px = 2 * cv2.distanceTransform(last.hole.astype(np.uint8), cv2.DIST_L2, 3).max()
        small = halve(last)
        if width_px <= narrowest_px or min(small.hw) < 16 or not small.trusted.any():
            break
        levels.append(small)
    return levels


def halve(level: Level) -> Level:
    """The picture at half size; odd sides repeat their last row or column.

    Two trusted pixels of four make a trusted one of their mean colour. The nearest of them gives
    its disparity: what mixes far with near counts as near and is not copied into a far hole.
    """
    pad = [(0, side % 2) for side in level.hw]
    rgb = np.pad(level.rgb, [*pad, (0, 0)], mode="edge")
    disparity, hole, trusted = (
        _blocks(np.pad(values, pad, mode="edge")) for values in (level.disparity, level.hole, level.trusted)
    )
    good = trusted.sum(-1) >= 2
    counts = np.where(good[..., None], trusted, True).astype(np.float32)
    colours = np.stack([_blocks(rgb[..., c]) for c in range(3)], -1)
    mean = (colours * counts[..., None]).sum(2) / counts.sum(-1)[..., None]
    hole_small = hole.any(-1) & ~good
    nearest = np.where(hole, 0, disparity).max(-1)
    farthest_hole = np.where(hole, disparity, np.inf).min(-1)
    return Level(
        mean.astype(np.float32),
        np.where(hole_small, farthest_hole, nearest).astype(np.float32),
        hole_small,
        good,
    )


def _blocks(values: np.ndarray) -> np.ndarray:
    """[2h, 2w] -> [h, w, 4]."""
    height, width = values.shape
    blocks = values.reshape(height // 2, 2, width // 2, 2).swapaxes(1, 2)
    return blocks.reshape(height // 2, width // 2, 4)


def nearest_in_patch(level: Level, radius: int) -> np.ndarray:
    """[H, W] float32: largest disparity in the patch around a pixel; inf if it holds an untrusted pixel.

    A patch that leaves the picture is untrusted.
    """
    values = np.where(level.trusted, level.disparity, np.float32(np.inf)).astype(np.float32)
    padded = np.pad(values, radius, constant_values=np.inf)
    inside = slice(radius, -radius)
    return cv2.dilate(padded, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8))[inside, inside]
