"""How sharp depth is where one thing ends and another begins.

``boundary_f1`` asks whether the edges lie where the true ones do, to the pixel (Bochkovskii et al., Depth Pro,
2024, section 3.2). ``edge_profile`` asks how many pixels a step takes across the outline of an object: a
wide step becomes a rubber sheet when the camera moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Depth Pro's thresholds: neighbours whose depths differ by 5 to 25 %, the larger steps counting more.
F1_RATIOS = np.linspace(1.05, 1.25, 10)

PROFILE_REACH_PX = 8.0
PROFILE_STEP_PX = 0.25
# A step counts when it is a tenth of the map's range (2nd to 98th percentile) or more.
SIGNIFICANT_SHARE = 0.1
# A step that is there, but a quarter of its due height, is called missing: its width would be noise.
KEPT_SHARE = 0.25


def boundary_f1(predicted: np.ndarray, true: np.ndarray) -> float:
    """Depth Pro's scale-invariant boundary F1.

    An edge lies between two neighbours (right, left, below, above) when the one's depth is more than r times
    the other's; precision and recall are means over the four directions, F1 is averaged over r with weight r.
    Pairs with unknown truth are left out.

    Args:
        predicted: [H, W] disparity, > 0, with the true infinity at zero (aligned).
        true: [H, W] disparity, > 0, NaN unknown; its scale doesn't matter.

    Returns:
        F1 in [0, 1]; 0 where the truth has no edge.
    """
    scores = [_f1_at(predicted, true, ratio) for ratio in F1_RATIOS]
    return float(np.average(scores, weights=F1_RATIOS))


def _f1_at(predicted: np.ndarray, true: np.ndarray, ratio: float) -> float:
    precisions, recalls = [], []
    for edges, true_edges in zip(_edges(predicted, true, ratio), _edges(true, true, ratio), strict=True):
        both = int(np.count_nonzero(edges & true_edges))
        precisions.append(both / max(int(np.count_nonzero(edges)), 1))
        recalls.append(both / max(int(np.count_nonzero(true_edges)), 1))
    precision, recall = float(np.mean(precisions)), float(np.mean(recalls))
    return float(2 * precision * recall / max(precision + recall, 1e-12))


def _edges(disparity: np.ndarray, true: np.ndarray, ratio: float) -> list[np.ndarray]:
    """Where a pixel is nearer by ``ratio`` than its left, right, upper, lower neighbour."""
    found = []
    for one, other in (
        (np.s_[:, 1:], np.s_[:, :-1]),
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[1:], np.s_[:-1]),
        (np.s_[:-1], np.s_[1:]),
    ):
        known = np.isfinite(true[one]) & np.isfinite(true[other])
        found.append(known & (disparity[one] > ratio * disparity[other]))
    return found


@dataclass(frozen=True)
class EdgeProfile:
    """What the depth steps across one object's outline look like.

    Attributes:
        width_px: median distance over which a step rises from 10 to 90 %; NaN where none is there.
        kept: share of the significant steps that are there at all, NaN where none is significant.
        places: number of significant places of the outline.
    """

    width_px: float
    kept: float
    places: int


def edge_width(disparity: np.ndarray, mask: np.ndarray) -> float:
    """Median 10-90 % width of the depth step across a mask's outline, px; NaN where there is no step.

    Args:
        disparity: [H, W], near is large, any scale and shift.
        mask: [H, W] bool, the object.
    """
    return edge_profile(disparity, mask).width_px


def edge_profile(disparity: np.ndarray, mask: np.ndarray, reference: np.ndarray | None = None) -> EdgeProfile:
    """Measure the depth steps along the normals of a mask's outline.

    From every pixel of the outline a line is followed 8 px inwards and outwards. Lines that meet the outline
    again (thin parts, corners) or leave the picture are not used. A step bilinearly sampled between two pixels
    has a width of 0.8 px: that is the least.

    Args:
        disparity: [H, W], near is large, any scale and shift.
        mask: [H, W] bool, the object.
        reference: [H, W], the disparity that says where a step is significant, so that two maps can be
            judged at the same places; ``disparity`` itself if absent.
    """
    from scipy.ndimage import map_coordinates

    places, reach = _normal_lines(mask)
    reference = disparity if reference is None else reference

    def sampled(values: np.ndarray) -> np.ndarray:
        return map_coordinates(values.astype(np.float64), places, order=1, mode="nearest")

    due = _heights(sampled(reference)) / _range(reference)
    profiles = sampled(disparity)
    rise = np.sign(due) * _heights(profiles) / _range(disparity)
    significant = np.abs(due) >= SIGNIFICANT_SHARE
    kept = significant & (rise >= KEPT_SHARE * np.abs(due))
    widths = [_rise_px(profile, reach) for profile in profiles[kept]]
    return EdgeProfile(
        float(np.median(widths)) if widths else float("nan"),
        float(kept.sum() / significant.sum()) if significant.any() else float("nan"),
        int(significant.sum()),
    )


def _normal_lines(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lines across the outline, outside to inside.

    Returns:
        rows and columns [2, lines, samples] in pixel indices, and the samples' distance from the outline [samples] px.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

    inside, outside = distance_transform_edt(mask), distance_transform_edt(~mask)
    # Half a pixel off at both sides of the outline, so that the field crosses zero between the two pixels.
    signed = np.where(mask, inside - 0.5, 0.5 - outside)
    slope = np.stack(np.gradient(gaussian_filter(signed, 1.5)))
    slope = slope / np.maximum(np.linalg.norm(slope, axis=0), 1e-9)
    row, column = np.nonzero(mask & (inside < 1.5))
    normal = slope[:, row, column]
    reach = np.arange(-PROFILE_REACH_PX, PROFILE_REACH_PX + PROFILE_STEP_PX / 2, PROFILE_STEP_PX)
    start = np.stack([row, column]) - normal * signed[row, column]
    places = start[:, :, None] + normal[:, :, None] * reach
    limit = np.array(mask.shape)[:, None, None] - 1
    within = ((places >= 0) & (places <= limit)).all(axis=(0, 2))
    field = map_coordinates(signed, places, order=1, mode="nearest")
    # The distance to the outline must grow along the line; near a second outline it falls again.
    straight = (np.abs(field - reach) < 0.35 * np.abs(reach) + 1.0).all(axis=1)
    return places[:, within & straight], reach


def _heights(profiles: np.ndarray) -> np.ndarray:
    """Inside's level minus outside's, each the mean of the line's last two pixels; [lines]."""
    end = round(2 / PROFILE_STEP_PX)
    return profiles[:, -end:].mean(1) - profiles[:, :end].mean(1)


def _range(values: np.ndarray) -> float:
    low, high = np.percentile(values, (2, 98))
    return max(float(high - low), 1e-12)


def _rise_px(profile: np.ndarray, reach: np.ndarray) -> float:
    """Distance between the 10 % and the 90 % of one step, around the 50 % nearest to the outline."""
    end = round(2 / PROFILE_STEP_PX)
    low, high = profile[:end].mean(), profile[-end:].mean()
    share = (profile - low) / (high - low)
    crossing = np.nonzero((share[:-1] < 0.5) & (share[1:] >= 0.5))[0]
    middle = crossing[np.argmin(np.abs(reach[crossing]))]
    below = np.nonzero(share[: middle + 1] <= 0.1)[0]
    above = np.nonzero(share[middle + 1 :] >= 0.9)[0] + middle + 1
    left = _between(share, reach, below[-1], 0.1) if len(below) else reach[0]
    right = _between(share, reach, above[0] - 1, 0.9) if len(above) else reach[-1]
    return float(right - left)


def _between(share: np.ndarray, reach: np.ndarray, before: int, level: float) -> float:
    """Where the line from sample ``before`` to the next one meets ``level``."""
    run = share[before + 1] - share[before]
    return float(reach[before] + (level - share[before]) / run * PROFILE_STEP_PX)
