"""Smooth continuation of known pixels into a hole, from its farther side only: masked push-pull."""

from __future__ import annotations

import cv2
import numpy as np

TILE_PX = 64  # a power of two, like the pyramid's blocks


def push_pull(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Continue ``values`` to where ``weight`` is 0 by averages of ever wider neighbourhoods.

    (Gortler et al., The Lumigraph, SIGGRAPH 1996, section 3.4.)

    Args:
        values: [H, W, C] float32.
        weight: [H, W] float32 in [0, 1], 1 where ``values`` counts in full.

    Returns:
        [H, W, C] float32; ``values`` itself wherever ``weight`` is 1. Zeros if every weight is 0.
    """
    height, width = weight.shape
    if (height, width) == (1, 1) or weight.min() >= 1:
        return values * (weight[..., None] > 0)
    small_hw = ((height + 1) // 2, (width + 1) // 2)
    small = _shrink(np.dstack([values * weight[..., None], weight]), small_hw)
    total = small[..., -1:]
    mean = np.divide(small[..., :-1], total, out=np.zeros_like(small[..., :-1]), where=total > 0)
    coarse = push_pull(mean, np.minimum(total[..., 0] * 4, 1))
    grown = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).reshape(values.shape)
    blend = weight[..., None]
    return (blend * values + (1 - blend) * grown).astype(np.float32)


def push_pull_holes(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """``push_pull`` of a picture whose holes are few and small, without a look at the rest of it.

    Only the tiles that hold a hole are filled, each with its eight neighbours in view. Tiles begin where the
    pyramid's blocks do, so that a hole much smaller than a tile gets what the whole picture would give it, to
    less than an eight-bit step.

    Args:
        values: [H, W, C] float32.
        known: [H, W] bool.

    Returns:
        [H, W, C] float32; ``values`` wherever ``known``.
    """
    tiles = np.unique(np.argwhere(~known) // TILE_PX, axis=0)
    if 9 * len(tiles) * TILE_PX**2 >= known.size:
        return push_pull(values, known.astype(np.float32))
    filled = values.copy()
    for row, column in tiles * TILE_PX:
        top, left = max(0, row - TILE_PX), max(0, column - TILE_PX)
        window = np.s_[top : row + 2 * TILE_PX, left : column + 2 * TILE_PX]
        tile = np.s_[row : row + TILE_PX, column : column + TILE_PX]
        part = push_pull(values[window], known[window].astype(np.float32))
        filled[tile] = part[row - top :, column - left :][:TILE_PX, :TILE_PX]
    return filled


def _shrink(values: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """Half size, each pixel the mean of its 2x2 block; odd sides repeat their last row or column."""
    bottom, right = 2 * hw[0] - values.shape[0], 2 * hw[1] - values.shape[1]
    padded = np.pad(values, [(0, bottom), (0, right), (0, 0)], mode="edge")
    return padded.reshape(hw[0], 2, hw[1], 2, -1).mean((1, 3)).astype(np.float32)


def continue_from_farther_side(
    values: np.ndarray, disparity: np.ndarray, hole: np.ndarray, trusted: np.ndarray, tolerance: float
) -> np.ndarray:
    """Fill ``hole`` smoothly from trusted pixels that are not nearer than the hole itself.

    Holes are taken in slices of equal depth, each continued from what is at most ``tolerance``
    times nearer than the slice. Where nothing is that far, from the farthest there is: first what is
    known but not trusted, then what is nearer.

    Args:
        values: [H, W, C] float32.
        disparity: [H, W] float32 > 0, near is large; complete.
        hole: [H, W] bool, not everywhere.
        trusted: [H, W] bool, False where ``hole``.
        tolerance: > 1.

    Returns:
        [H, W, C] float32; ``values`` wherever not ``hole``.
    """
    filled = values.copy()
    slice_of = np.floor(np.log(disparity) / np.log(tolerance)).astype(np.int32)
    farthest_known = disparity[~hole].min()
    for index in np.unique(slice_of[hole]):
        here = hole & (slice_of == index)
        limit = tolerance * max(disparity[here].max(), farthest_known)
        sources = trusted & (disparity <= limit)
        if not sources.any():
            sources = ~hole & (disparity <= limit)
        filled[here] = push_pull(values, sources.astype(np.float32))[here]
    return filled
