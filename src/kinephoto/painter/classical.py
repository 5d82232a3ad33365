"""The classical painter: what comes into view is background, continued with its own texture.

At a coarse size the hole is painted from its farther bank inwards by copying; then, size by size,
patches over the hole look for their like among patches that are no nearer than the hole, and their
matches vote for its colours (Wexler et al., Space-time completion of video, PAMI 2007). At last the
mismatch along the bank fades into the hole.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from kinephoto.painter import patchmatch
from kinephoto.painter.diffuse import continue_from_farther_side
from kinephoto.painter.guide import appearance
from kinephoto.painter.patchmatch import Prices, Terrain
from kinephoto.painter.pyramid import Level, halvings, nearest_in_patch
from kinephoto.painter.seam import TOLERANCE, fade_into_hole, tinged

PATCH_RADIUS_PX = 2
# Chosen by eye on some twenty photos: by PSNR one would choose blur. Distance is per px of the full
# picture, and so is certain_px.
PRICES = Prices(distance=5e-4, depth=0.2, colour=0.3, texture=4.0, certain_px=12.0)
# Disparities this far apart, as a share of the nearest thing's, are equal: far depth is noise.
DEPTH_NOISE = 0.02
# A hole no wider than this is painted without going to a coarser size.
NARROW_PX = 10
MOST_HALVINGS = 2
# How fast poorer proposals lose weight: blurring while searching, nearly copying at the end.
SEARCH_SHARPNESS, FINAL_SHARPNESS = 1.0, 16.0
# How far the mismatch along the bank fades into the hole, and how much of it is believed.
FADE_PX, MOST_MISMATCH = 12.0, 0.15


class ClassicalPainter:
    """Patch-based filling from the farther side; no weights, runs on the CPU."""

    name = "classical"

    def paint(
        self, rgb: Tensor, known: Tensor, disparity: Tensor, *, prompt: str | None = None, seed: int = 0
    ) -> Tensor:
        """See ``Painter.paint``. ``prompt`` is not looked at."""
        picture = np.ascontiguousarray(rgb.detach().cpu().float().permute(1, 2, 0).numpy())
        is_known = known.detach().cpu().bool().numpy()
        depth = np.maximum(disparity.detach().cpu().float().numpy(), 1e-6)
        painted = fill(picture, is_known, depth, seed)
        return torch.from_numpy(painted).permute(2, 0, 1).contiguous().to(rgb.device, rgb.dtype)


def fill(rgb: np.ndarray, known: np.ndarray, disparity: np.ndarray, seed: int) -> np.ndarray:
    """Paint the unknown pixels.

    Args:
        rgb: [H, W, 3] float32 in [0, 1].
        known: [H, W] bool, at least one True.
        disparity: [H, W] float32 > 0, near is large; complete.
        seed: another seed looks for other matches.

    Returns:
        [H, W, 3] float32 in [0, 1]; ``rgb`` where known.
    """
    if known.all():
        return rgb
    untrusted = tinged(known, disparity)
    full = Level(rgb, disparity, ~known | untrusted, known & ~untrusted)
    if not full.trusted.any():
        full = Level(rgb, disparity, ~known, known)
    sizes_over_512 = max(0, round(math.log2(min(known.shape) / 512)))
    levels = halvings(full, NARROW_PX, MOST_HALVINGS + sizes_over_512)
    guide, match = None, None
    for halved in range(len(levels) - 1, -1, -1):
        guide = appearance(levels[halved], guide, TOLERANCE)
        terrain = _terrain(levels[halved], guide)
        painting, match = _paint_level(levels[halved], terrain, match, halved, seed)
    return np.where(known[..., None], rgb, np.clip(painting, 0, 1))


def _terrain(level: Level, guide: np.ndarray) -> Terrain:
    """Where sources lie at this size."""
    known = ~level.hole
    noise = DEPTH_NOISE * float(np.quantile(level.disparity[known], 0.99))
    reach = np.maximum(level.disparity + noise / TOLERANCE, level.disparity[known].min()) * TOLERANCE
    nearest = nearest_in_patch(level, PATCH_RADIUS_PX)
    usable = np.flatnonzero(np.isfinite(nearest)).astype(np.int32)
    rising = nearest.reshape(-1)[usable]
    order = np.argsort(rising, kind="stable")
    log_depth = np.log(level.disparity + 5 * noise)
    return Terrain(
        level.disparity,
        reach.astype(np.float32),
        nearest,
        guide,
        log_depth.astype(np.float32),
        _distance_to_bank(level, reach.astype(np.float32)),
        usable[order],
        rising[order],
    )


def _paint_level(
    level: Level, terrain: Terrain, coarse_match: np.ndarray | None, halved: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """One size: take over the coarser one's matches, peel what has none, then search and vote in turn.

    Returns:
        The painting [H, W, 3] float32 and the matches [H, W, 2] int32.
    """
    r, seed = PATCH_RADIUS_PX, seed * 64 + halved * 8
    prices = PRICES._replace(distance=PRICES.distance * 2**halved, certain_px=PRICES.certain_px / 2**halved)
    painting = np.where(level.hole[..., None], terrain.appearance[..., :3], level.rgb)
    painting = np.ascontiguousarray(painting, np.float32)
    match = _doubled(coarse_match, terrain)
    cost = np.zeros(level.hw, np.float32)
    belief = np.where(level.hole, np.maximum(0.1, 0.9**terrain.to_bank), level.trusted).astype(np.float32)
    targets = _targets(level, terrain)
    everyone = np.ones(level.hw, bool)

    # A vote by each pixel's own match alone is a plain copy.
    patchmatch.vote(level.rgb, belief, terrain, level.hole, everyone, match, cost, 0.0, 0, painting)
    painted = (level.trusted | (level.hole & (match[..., 0] >= 0))).astype(np.float32)
    bare = np.argwhere(targets & (match[..., 0] < 0)).astype(np.int32)
    inwards = bare[np.argsort(terrain.to_bank[bare[:, 0], bare[:, 1]], kind="stable")]
    patchmatch.peel(painting, painted, terrain, prices, inwards, match, r, max(level.hw) // 6, seed)

    spots = np.argwhere(targets).astype(np.int32)
    votes = 2 if halved == 0 else 3
    for turn in range(votes):
        patchmatch.search(painting, belief, terrain, prices, spots, match, cost, 2, r, 16, seed + turn + 1)
        spread = max(float(np.quantile(cost[targets], 0.75)), 1e-5)
        final = halved == 0 and turn == votes - 1
        if final:
            painting[level.hole] = np.nan
        sharpness = (FINAL_SHARPNESS if final else SEARCH_SHARPNESS) / (2 * spread)
        patchmatch.vote(level.rgb, belief, terrain, level.hole, everyone, match, cost, sharpness, r, painting)
    if halved == 0:
        painting = _completed(level, painting)
        painting += _seam(level, terrain, belief, match, cost)
    return painting, match


def _completed(level: Level, painting: np.ndarray) -> np.ndarray:
    """The painting, continued smoothly where no patch within reach proposed anything and it is NaN."""
    missing = np.isnan(painting[..., 0])
    if not missing.any():
        return painting
    there = np.where(missing[..., None], np.float32(0), painting)
    return continue_from_farther_side(there, level.disparity, missing, level.trusted, TOLERANCE)


def _seam(
    level: Level, terrain: Terrain, belief: np.ndarray, match: np.ndarray, cost: np.ndarray
) -> np.ndarray:
    """[H, W, 3]: what to add in the hole, so that what its patches propose for the bank meets the bank."""
    bank = level.trusted & _beside(level.hole, 5)
    proposed = level.rgb.copy()
    patchmatch.vote(level.rgb, belief, terrain, bank, level.hole, match, cost, 0.0, PATCH_RADIUS_PX, proposed)
    mismatch = np.clip(level.rgb - proposed, -MOST_MISMATCH, MOST_MISMATCH)
    return fade_into_hole(mismatch, bank, level.hole, level.disparity, terrain.reach, FADE_PX)


def _beside(mask: np.ndarray, side_px: int) -> np.ndarray:
    """[H, W] bool: ``mask`` grown by a square."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((side_px, side_px), np.uint8)) > 0


def _distance_to_bank(level: Level, reach: np.ndarray) -> np.ndarray:
    """[H, W] float32: px to the nearest trusted pixel that may serve a hole close by."""
    bank = level.trusted & (level.disparity <= _largest_reach_around(level, reach, 3))
    if not bank.any():
        bank = level.trusted
    return cv2.distanceTransform((~bank).astype(np.uint8), cv2.DIST_L2, 5)


def _targets(level: Level, terrain: Terrain) -> np.ndarray:
    """[H, W] bool: the hole, and trusted pixels on its farther bank whose patches overlap it."""
    reach = _largest_reach_around(level, terrain.reach, PATCH_RADIUS_PX)
    return level.hole | (level.trusted & (level.disparity <= reach))


def _largest_reach_around(level: Level, reach: np.ndarray, radius_px: int) -> np.ndarray:
    """[H, W] float32: the largest reach of the hole's pixels within ``radius_px``, 0 where there are none."""
    inside = np.where(level.hole, reach, 0).astype(np.float32)
    return cv2.dilate(inside, np.ones((2 * radius_px + 1, 2 * radius_px + 1), np.uint8))


def _doubled(coarse: np.ndarray | None, terrain: Terrain) -> np.ndarray:
    """[H, W, 2] int32: the coarser matches at this size; -1 where there is none or it is out of reach."""
    height, width = terrain.nearest.shape
    if coarse is None:
        return np.full((height, width, 2), -1, np.int32)
    ys, xs = np.mgrid[:height, :width]
    there = coarse[ys // 2, xs // 2]
    v = np.minimum(2 * there[..., 0] + ys % 2, height - 1)
    u = np.minimum(2 * there[..., 1] + xs % 2, width - 1)
    good = (there[..., 0] >= 0) & (terrain.nearest[v, u] <= terrain.reach)
    return np.where(good[..., None], np.stack([v, u], -1), -1).astype(np.int32)
