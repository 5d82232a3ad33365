from __future__ import annotations

import numpy as np
import torch

from kinephoto.painter.farther import nearest_from_farther_side, nearest_true


def scene() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A red thing at disparity 1 left, blue ground at 0.3 right, between them a hole that belongs to the ground."""
    disparity = torch.full((20, 40), 0.3)
    disparity[:, :15] = 1.0
    rgb = torch.zeros(3, 20, 40)
    rgb[0, :, :15], rgb[2, :, 15:] = 1, 1
    known = torch.ones(20, 40, dtype=torch.bool)
    known[:, 15:25] = False
    return rgb * known, known, disparity


def test_holes_take_the_ground_and_not_the_thing_before_it():
    rgb, known, disparity = scene()
    filled = nearest_from_farther_side(rgb, known, disparity)
    assert float(filled[0, ~known].max()) == 0
    assert float(filled[2, ~known].min()) == 1
    assert torch.equal(filled[:, known], rgb[:, known])


def test_a_hole_in_front_takes_what_is_as_near():
    rgb, known, disparity = scene()
    disparity[:, 15:25] = 1.0
    filled = nearest_from_farther_side(rgb, known, disparity)
    # The near thing's own pixels are the nearest to the hole's left half.
    assert float(filled[0, :, 15:19].min()) == 1


def test_each_depth_has_its_own_background():
    disparity = torch.full((30, 60), 0.1)
    disparity[15:] = 0.4
    rgb = torch.zeros(3, 30, 60)
    rgb[1, :15], rgb[2, 15:] = 1, 1
    known = torch.ones(30, 60, dtype=torch.bool)
    known[5:25, 20:40] = False
    filled = nearest_from_farther_side(rgb * known, known, disparity)
    assert float(filled[2, 5:15, 20:40].max()) == 0  # the far half never takes what is nearer


def test_without_any_background_the_nearest_counts():
    rgb, known, disparity = scene()
    known[:, 25:] = False
    filled = nearest_from_farther_side(rgb * known, known, disparity)
    assert float(filled[0].min()) == 1


def test_nearest_true_is_the_nearest():
    rng = np.random.default_rng(0)
    there = rng.random((13, 17)) < 0.1
    rows, columns = nearest_true(there)
    ys, xs = np.nonzero(there)
    for y in range(13):
        for x in range(17):
            assert there[rows[y, x], columns[y, x]]
            best = np.hypot(ys - y, xs - x).min()
            # OpenCV's 5×5 mask is off by up to 2 %.
            assert np.hypot(rows[y, x] - y, columns[y, x] - x) <= 1.03 * best + 0.05
