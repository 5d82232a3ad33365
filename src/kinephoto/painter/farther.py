"""The plainest fill that respects depth: each hole pixel takes the nearest colour of its farther bank."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

NEARER = 1.12
"""A known pixel so many times as near as a hole pixel is the silhouette before it, not its background."""

TINGED_PX = 2
"""Colours mix across a silhouette, so pixels this near it are no background either."""


def nearest_from_farther_side(rgb: Tensor, known: Tensor, disparity: Tensor) -> Tensor:
    """The picture with its holes filled from what is no nearer than they are.

    Holes are taken in slices of about equal depth. Where nothing is that far, the nearest known pixel counts.

    Args:
        rgb: [3, H, W] float; what it holds in holes is never seen.
        known: [H, W] bool, at least one True.
        disparity: [H, W] float32 > 0, complete: the holes' own from their farther side.

    Returns:
        [3, H, W], dtype and device of ``rgb``; ``rgb`` itself where known.
    """
    is_known, depth = known.cpu().numpy(), disparity.cpu().numpy().astype(np.float32)
    if is_known.all():
        return rgb.clone()
    rows, columns = (np.zeros(is_known.shape, np.int64) for _ in range(2))
    slice_of = np.floor(np.log(np.maximum(depth, 1e-6)) / np.log(NEARER)).astype(np.int32)
    square = np.ones((2 * TINGED_PX + 1,) * 2, np.uint8)
    for index in np.unique(slice_of[~is_known]):
        here = ~is_known & (slice_of == index)
        nearer = is_known & (depth > np.float32(NEARER ** (index + 2)))
        trusted = is_known & (cv2.dilate(nearer.astype(np.uint8), square) == 0)
        if not trusted.any():
            trusted = is_known
        found_rows, found_columns = nearest_true(trusted)
        rows[here], columns[here] = found_rows[here], found_columns[here]
    filled = rgb[:, torch.from_numpy(rows), torch.from_numpy(columns)]
    return torch.where(known, rgb, filled)


def nearest_true(there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column, each [H, W] int64, of the True pixel nearest to each pixel; ``there`` holds one."""
    _, labels = cv2.distanceTransformWithLabels(
        (~there).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    rows, columns = np.nonzero(there)
    row_of, column_of = (np.zeros(labels.max() + 1, np.int64) for _ in range(2))
    row_of[labels[rows, columns]], column_of[labels[rows, columns]] = rows, columns
    return row_of[labels], column_of[labels]
