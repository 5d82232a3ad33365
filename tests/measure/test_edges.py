from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from kinephoto.measure.edges import boundary_f1, edge_profile, edge_width


@pytest.fixture
def disc() -> np.ndarray:
    rows, columns = np.mgrid[:120, :140]
    return np.hypot(rows - 60, columns - 70) < 35


def test_the_truth_finds_all_its_edges(disc):
    truth = np.where(disc, 2.0, 1.0)
    assert boundary_f1(truth, truth) == pytest.approx(1)
    assert boundary_f1(5 * truth, truth) == pytest.approx(1)


def test_a_soft_or_shifted_edge_scores_less(disc):
    truth = np.where(disc, 2.0, 1.0)
    soft = boundary_f1(gaussian_filter(truth, 2.0), truth)
    shifted = boundary_f1(np.roll(truth, 1, axis=1), truth)
    assert soft < 0.5
    assert 0.1 < shifted < 0.9
    assert boundary_f1(np.ones_like(truth), truth) == 0


def test_edges_beside_unknown_truth_do_not_count(disc):
    truth = np.where(disc, 2.0, 1.0)
    truth[:, :70] = np.nan
    guess = np.where(disc, 2.0, 1.0)
    guess[:, :60] = np.random.default_rng(0).uniform(1, 9, guess[:, :60].shape)
    # Of the four directions only three have an edge in the known half; a direction without counts 0.
    assert boundary_f1(guess, truth) == pytest.approx(0.75)


def test_one_direction_by_hand():
    truth = np.array([[1.0, 1.0, 2.0, 2.0]])
    guess = np.array([[1.0, 2.0, 2.0, 4.0]])
    # Right direction: one true edge, two guessed, none right... the other three directions have no edges.
    assert boundary_f1(guess, truth) == 0
    guess = np.array([[1.0, 1.0, 2.0, 4.0]])
    # Precision 1/2 and recall 1 in one of four directions, 0 in the others, as Depth Pro averages them.
    assert boundary_f1(guess, truth) == pytest.approx(2 * (1 / 8) * (1 / 4) / (1 / 8 + 1 / 4))


def test_larger_steps_count_more():
    truth = np.where(np.arange(8) < 4, 1.0, 1.16)[None].repeat(3, axis=0)
    ratios = np.linspace(1.05, 1.25, 10)
    # Found at all ratios below 1.16, each then scores 1 in the one direction of four that has the edge.
    assert boundary_f1(truth, truth) == pytest.approx(0.25 * ratios[ratios < 1.16].sum() / ratios.sum())


def test_a_hard_step_is_as_narrow_as_pixels_allow(disc):
    assert 0.7 < edge_width(np.where(disc, 2.0, 1.0), disc) < 1.3


@pytest.mark.parametrize("sigma_px", [1.0, 1.5, 2.0])
def test_a_blurred_step_has_the_width_of_its_blur(disc, sigma_px):
    found = edge_width(gaussian_filter(np.where(disc, 2.0, 1.0), sigma_px), disc)
    # A Gaussian rises from 10 to 90 % within 2.563 sigma, a pixel read bilinearly within 0.8; both together
    # add in squares.
    assert found == pytest.approx(np.hypot(2.563 * sigma_px, 0.8), rel=0.05)


def test_scale_and_shift_do_not_change_a_width(disc):
    blurred = gaussian_filter(np.where(disc, 2.0, 1.0), 1.5)
    assert edge_width(7 * blurred + 3, disc) == pytest.approx(edge_width(blurred, disc))


def test_a_thing_behind_its_outline_has_a_width_too(disc):
    assert 0.7 < edge_width(np.where(disc, 1.0, 2.0), disc) < 1.3


def test_a_missing_step_is_counted_and_not_measured(disc):
    truth = np.where(disc, 2.0, 1.0)
    half = truth.copy()
    half[:, 70:] = np.linspace(1, 2, 120)[:, None]
    found = edge_profile(half, disc, reference=truth)
    assert 0.4 < found.kept < 0.8
    assert found.places == edge_profile(truth, disc).places > 100


def test_no_step_no_width(disc):
    assert np.isnan(edge_width(np.ones(disc.shape), disc))
