"""The plainest fill that respects depth: each hole pixel takes the nearest colour of the farther bank."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

REACH_PX = 48
"""Known things this near a hole may be the silhouette that uncovers it."""

TINGED_PX = 2
"""Colours mix across a silhouette, so pixels this near it are no background either."""

NEARER = 1.12
"""A known pixel so many times as near as the hole beside it is the silhouette, not the background."""


def nearest_from_farther_side(rgb: Tensor, known: Tensor, disparity: Tensor) -> Tensor:
    """The picture with its holes filled from what is no nearer than they are.

    Args:
        rgb: [3, H, W] float; what it holds in holes is never seen.
        known: [H, W] bool, at least one True.
        disparity: [H, W] float32 > 0, complete: the holes' own from their farther side.

    Returns:
        [3, H, W], dtype and device of ``rgb``; ``rgb`` itself where known.
    """
    is_known = known.cpu().numpy()
    if is_known.all():
        return rgb.clone()
    trusted = is_known & ~near_bank(is_known, disparity.cpu().numpy())
    rows, columns = nearest_true(trusted if trusted.any() else is_known)
    filled = rgb[:, torch.from_numpy(rows), torch.from_numpy(columns)]
    return torch.where(known, rgb, filled)


def near_bank(known: np.ndarray, disparity: np.ndarray, reach_px: int = REACH_PX) -> np.ndarray:
    """[H, W] bool, what is known and nearer than a hole within ``reach_px``."""
    square = np.ones((2 * TINGED_PX + 1,) * 2, np.uint8)
    behind = np.where(known, np.float32(0), disparity.astype(np.float32))
    behind = cv2.dilate(behind, np.ones((2 * reach_px + 1, 1), np.uint8))
    behind = cv2.dilate(behind, np.ones((1, 2 * reach_px + 1), np.uint8))
    near = known & (behind > 0) & (disparity > np.float32(NEARER) * behind)
    return known & (cv2.dilate(near.astype(np.uint8), square) > 0)


def nearest_true(there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column, each [H, W] int64, of the True pixel nearest to each pixel; ``there`` holds one."""
    _, labels = cv2.distanceTransformWithLabels(
        (~there).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    rows, columns = np.nonzero(there)
    row_of, column_of = (np.zeros(labels.max() + 1, np.int64) for _ in range(2))
    row_of[labels[rows, columns]], column_of[labels[rows, columns]] = rows, columns
    return row_of[labels], column_of[labels]
