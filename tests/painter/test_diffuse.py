"""Smooth continuation: known values stay, nothing is invented, the nearer side has no say."""

from __future__ import annotations

import numpy as np
import pytest

from kinephoto.painter.diffuse import continue_from_farther_side, push_pull, push_pull_holes
from kinephoto.painter.pyramid import Level, halve
from kinephoto.painter.seam import fade_into_hole


@pytest.mark.parametrize("hw", [(1, 1), (1, 9), (8, 8), (13, 22)])
def test_push_pull_keeps_what_is_known_and_stays_within_its_range(hw):
    random = np.random.default_rng(0)
    values = random.random((*hw, 3)).astype(np.float32)
    known = random.random(hw) < 0.3
    known[0, 0] = True
    filled = push_pull(values, known.astype(np.float32))
    assert np.array_equal(filled[known], values[known])
    # 1e-6: float32 rounding of averages of averages.
    assert filled.min() >= values[known].min() - 1e-6 and filled.max() <= values[known].max() + 1e-6


def test_push_pull_ignores_values_of_no_weight():
    values = np.zeros((16, 16, 1), np.float32)
    values[:, 8:] = 9
    weight = np.ones((16, 16), np.float32)
    weight[:, 8:] = 0
    assert push_pull(values, weight).max() == 0


def two_walls() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A near wall of 1, a hole as far as the far wall of 0 to its right."""
    disparity = np.full((20, 30), 0.1, np.float32)
    disparity[:, :10] = 1
    hole = np.zeros((20, 30), bool)
    hole[:, 10:20] = True
    return (disparity > 0.5).astype(np.float32)[..., None], disparity, hole


def test_the_nearer_side_has_no_say():
    values, disparity, hole = two_walls()
    assert continue_from_farther_side(values, disparity, hole, ~hole, 1.2)[hole].max() == 0


def test_background_that_is_not_trusted_still_goes_before_foreground():
    values, disparity, hole = two_walls()
    only_near = disparity > 0.5
    assert continue_from_farther_side(values, disparity, hole, only_near, 1.2)[hole].max() == 0


def test_halving_never_takes_a_hole_for_known_nor_near_for_far():
    values, disparity, hole = two_walls()
    disparity[:, 9] = 0.1  # the silhouette now lies inside a block of two by two
    level = Level(np.repeat(values, 3, -1), disparity, hole, ~hole)
    small = halve(level)
    assert small.hw == (10, 15)
    assert small.hole[:, 5:10].all() and not small.hole[:, :5].any()
    assert (small.disparity[:, 4] == 1).all(), "a mixed pixel counts as near"


def test_a_mismatch_dies_away_and_does_not_cross_a_silhouette():
    _, disparity, hole = two_walls()
    mismatch = np.ones((20, 30, 1), np.float32)
    reach = 1.2 * disparity
    field = fade_into_hole(mismatch, ~hole, hole, disparity, reach, 3.0)[10, :, 0]
    assert (field[:10] == 0).all() and (field[20:] == 0).all(), "nothing outside the hole"
    assert field[19] > 0.6 and (np.diff(field[10:20]) > 0).all(), "largest at the farther bank"
    # 0.3: the solver stops early and is too high far from the bank; from the silhouette would come 0.7.
    assert field[10] < 0.3, "nothing comes from the silhouette"


@pytest.mark.parametrize("hw", [(200, 330), (512, 682)])
def test_small_holes_get_what_the_whole_picture_would_give_them(hw: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    values = rng.random((*hw, 3), dtype=np.float32)
    known = np.ones(hw, bool)
    for y, x in [(0, 0), (hw[0] - 1, hw[1] - 1), (63, 64), (100, 127), (100, 128), (150, 190)]:
        known[y, x] = False
    known[64:67, 30:35] = False  # as large as a film leaves them, and then some
    whole = push_pull(values, known.astype(np.float32))
    found = push_pull_holes(values, known)
    # Half of an odd side is not exactly half, so the whole picture's blocks drift by parts of a pixel.
    assert np.abs(found - whole).max() < 1 / 255
    assert np.array_equal(found[known], values[known])


def test_large_holes_are_filled_with_the_whole_picture_in_view() -> None:
    values = np.random.default_rng(1).random((128, 192, 3), dtype=np.float32)
    known = np.random.default_rng(2).random((128, 192)) > 0.5
    assert np.array_equal(push_pull_holes(values, known), push_pull(values, known.astype(np.float32)))
