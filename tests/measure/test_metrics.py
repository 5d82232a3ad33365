from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from kinephoto.errors import InputError
from kinephoto.measure import metrics


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth picture and a noisy copy, 8-bit values."""
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(56.0), indexing="ij")
    true = torch.stack([torch.sin(rows / 7), torch.cos(columns / 5), torch.sin(columns / 9)]) * 0.4 + 0.5
    noise = torch.randn(true.shape, generator=torch.Generator().manual_seed(0))
    return metrics.to_8bit(true + 0.08 * noise).float(), metrics.to_8bit(true).float()


def test_psnr_and_ssim_agree_with_scikit_image(pictures):
    reference = pytest.importorskip("skimage.metrics", reason="scikit-image comes with kinephoto[eval]")
    predicted, true = (picture.permute(1, 2, 0).double().numpy() for picture in pictures)
    assert metrics.psnr(*pictures) == pytest.approx(
        reference.peak_signal_noise_ratio(true, predicted, data_range=1), abs=1e-4
    )
    similarity = reference.structural_similarity(
        true,
        predicted,
        channel_axis=2,
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert metrics.ssim(*pictures) == pytest.approx(similarity, abs=1e-4)


def test_equal_pictures_score_perfectly(pictures):
    _, true = pictures
    assert metrics.psnr(true, true) == math.inf
    assert metrics.ssim(true, true) == pytest.approx(1.0, abs=1e-12)


def test_more_noise_never_scores_better(pictures):
    _, true = pictures
    noise = torch.randn(true.shape, generator=torch.Generator().manual_seed(1))
    noisy = [(true + amount * noise).clamp(0, 1) for amount in (0.02, 0.05, 0.1, 0.3)]
    for metric in (metrics.psnr, metrics.ssim):
        scores = [metric(picture, true) for picture in noisy]
        assert scores == sorted(scores, reverse=True)


def test_a_mask_leaves_the_rest_out(pictures):
    predicted, true = pictures
    half = torch.zeros(true.shape[1:], dtype=torch.bool)
    half[:, :28] = True
    spoilt = predicted.clone()
    spoilt[:, :, 28:] = 0
    assert metrics.psnr(spoilt, true, half) == metrics.psnr(predicted, true, half)
    interior = torch.zeros_like(half)
    interior[5:-5, 5:-5] = True
    assert metrics.ssim(predicted, true, interior) == pytest.approx(metrics.ssim(predicted, true), abs=1e-12)


def test_psnr_sees_what_an_8_bit_file_keeps():
    true = torch.full((3, 8, 8), 100 / 255)
    assert metrics.psnr(true + 0.3 / 255, true) == math.inf
    assert metrics.psnr(true + 1 / 255, true) == pytest.approx(20 * math.log10(255))


def test_pictures_of_two_sizes_are_refused():
    with pytest.raises(InputError, match="one size"):
        metrics.psnr(torch.zeros(3, 8, 8), torch.zeros(3, 8, 9))


def test_depth_errors_by_hand():
    true, predicted = np.array([1.0, 2.0, 4.0, 10.0]), np.array([1.2, 2.0, 3.0, 20.0])
    assert metrics.abs_rel(predicted, true) == pytest.approx((0.2 + 0 + 0.25 + 1) / 4)
    assert metrics.delta_share(predicted, true) == pytest.approx(0.5)


def test_correlation_knows_direction_and_ignores_scale_and_shift():
    x = np.random.default_rng(0).normal(size=100)
    assert metrics.correlation(x, 3 * x + 7) == pytest.approx(1)
    assert metrics.correlation(x, -x) == pytest.approx(-1)
    assert metrics.correlation(x, np.full(100, 0.1)) == 0


def test_depth_stays_between_its_limits():
    found = metrics.depth_from_disparity(np.array([-1.0, 0.0, 0.5, 100.0]), nearest=1, farthest=10)
    np.testing.assert_allclose(found, [10, 10, 2, 1])
