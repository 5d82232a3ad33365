"""Where a painted hole meets the picture: which bank can be believed, and how to meet it."""

from __future__ import annotations

import math

import cv2
import numpy as np

from kinephoto.painter.relax import relax

# A source may be this much nearer than the hole: depth noise and slanted ground, but no silhouette.
TOLERANCE = 1.2
# A silhouette tinges the other bank of its hole up to this share of the shorter side away.
WIDEST_HOLE = 0.15


def tinged(known: np.ndarray, disparity: np.ndarray) -> np.ndarray:
    """Known pixels on a hole's farther bank that may carry the colour of the silhouette opposite.

    In the photo they lay beside that silhouette, whose edge is soft and which the depth map misses
    by a pixel or so: about 2 px at 320 px, 4 at 1024. Banks of border strips and of cracks have no
    silhouette opposite and are clean.

    Args:
        known: [H, W] bool.
        disparity: [H, W] float32 > 0, near is large; complete, the holes' own is the farther side's.

    Returns:
        [H, W] bool, a part of ``known``.
    """
    shorter = min(known.shape)
    softness_px = 1 + shorter / 340
    hole_disparity = np.where(known, 0, disparity).astype(np.float32)
    beside = cv2.dilate(hole_disparity, np.ones((3, 3), np.uint8))
    silhouette = known & (beside > 0) & (disparity > TOLERANCE * beside)
    if not silhouette.any():
        return np.zeros_like(known)
    side = 2 * math.ceil(softness_px + 0.5) + 1
    bank = known & (disparity <= TOLERANCE * cv2.dilate(hole_disparity, np.ones((side, side), np.uint8)))
    to_silhouette = cv2.distanceTransform((~silhouette).astype(np.uint8), cv2.DIST_L2, 3)
    to_hole = cv2.distanceTransform(known.astype(np.uint8), cv2.DIST_L2, 3)
    return bank & (to_silhouette < WIDEST_HOLE * shorter + 2) & (to_hole < softness_px + 0.5)


def fade_into_hole(
    mismatch: np.ndarray,
    bank: np.ndarray,
    hole: np.ndarray,
    disparity: np.ndarray,
    reach: np.ndarray,
    length_px: float,
) -> np.ndarray:
    """The smooth field that equals ``mismatch`` on the bank and dies away inside the hole.

    Solves the screened Laplace equation Δf = f / length² in the hole (the correction of Pérez et
    al., Poisson image editing, SIGGRAPH 2003, with a screen), where only the farther bank counts:
    the nearer one is a silhouette, and there the field ends freely.

    Args:
        mismatch: [H, W, C] float32, read where ``bank``.
        bank: [H, W] bool, pixels with a mismatch; none of them in ``hole``.
        hole: [H, W] bool.
        disparity: [H, W] float32 > 0, near is large.
        reach: [H, W] float32, largest disparity that counts for a hole pixel.
        length_px: the mismatch falls to 1/e after about so many pixels.

    Returns:
        [H, W, C] float32, 0 outside the hole.
    """
    sweeps = 24
    field = np.where(bank[..., None], mismatch, 0).astype(np.float32)
    if not bank.any():
        return np.zeros_like(field)
    to_bank = cv2.distanceTransform((~bank).astype(np.uint8), cv2.DIST_L2, 5)
    ys, xs = np.nonzero(hole & (to_bank < 4 * length_px))
    order = np.argsort(to_bank[ys, xs], kind="stable")
    relax(field, bank, disparity, reach, ys[order], xs[order], 1 / length_px**2, sweeps)
    return np.where(hole[..., None], field, 0)
