from __future__ import annotations

import numpy as np
import pytest

from kinephoto.errors import InputError
from kinephoto.measure.alignment import fit_least_squares, fit_robust, fit_scale

SCALE, SHIFT = 0.4, 0.03


@pytest.fixture
def disparity() -> np.ndarray:
    return np.random.default_rng(1).uniform(0.1, 2.0, 400)


@pytest.mark.parametrize("fit", [fit_least_squares, fit_robust])
def test_a_planted_scale_and_shift_are_found(disparity, fit):
    found = fit(disparity, SCALE * disparity + SHIFT)
    assert found.scale == pytest.approx(SCALE, rel=1e-9)
    assert found.shift == pytest.approx(SHIFT, rel=1e-9)


@pytest.mark.parametrize("share", [0.2, 0.3])
def test_the_robust_fit_ignores_outliers(disparity, share):
    rng = np.random.default_rng(2)
    truth = SCALE * disparity + SHIFT + rng.normal(0, 0.002, disparity.shape)
    wrong = rng.random(disparity.shape) < share
    # All to one side and not far off, where they pull hardest without standing out.
    truth[wrong] += rng.uniform(0.03, 1.0, wrong.sum())
    found = fit_robust(disparity, truth)
    # 300 values with noise .002 fix a line over [.1, 2] to about .0002; ten times that is allowed.
    assert found.scale == pytest.approx(SCALE, abs=0.002)
    assert found.shift == pytest.approx(SHIFT, abs=0.002)
    assert abs(fit_least_squares(disparity, truth).shift - SHIFT) > 0.05


def test_the_robust_fit_is_the_same_every_time(disparity):
    truth = disparity + np.random.default_rng(3).normal(0, 0.1, disparity.shape)
    assert fit_robust(disparity, truth) == fit_robust(disparity, truth)


def test_values_without_weight_do_not_count(disparity):
    truth = SCALE * disparity + SHIFT
    truth[:100] = 50.0
    weight = np.ones_like(truth)
    weight[:100] = 0.0
    assert fit_least_squares(disparity, truth, weight).scale == pytest.approx(SCALE)


def test_scale_alone_is_the_median_ratio(disparity):
    truth = SCALE * disparity
    truth[:120] *= 40
    found = fit_scale(disparity, truth)
    assert found.scale == pytest.approx(SCALE)
    assert found.shift == 0


@pytest.mark.parametrize("fit", [fit_least_squares, fit_robust])
def test_a_constant_prediction_becomes_the_mean(fit):
    found = fit(np.full(10, 3.0), np.arange(10.0))
    assert found.scale == 0
    assert found.shift == pytest.approx(4.5)


@pytest.mark.parametrize("fit", [fit_least_squares, fit_robust, fit_scale])
def test_one_value_is_too_few(fit):
    with pytest.raises(InputError, match="two or more"):
        fit(np.ones(1), np.ones(1))
