from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kinephoto.errors import InputError
from kinephoto.measure import metrics
from kinephoto.measure.photos import read_rgb
from kinephoto.measure.stlpips import StLpips


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


def test_psnr_and_ssim_agree_with_torchmetrics(pictures):
    reference = pytest.importorskip(
        "torchmetrics.functional.image", reason="torchmetrics comes with kinephoto[eval]"
    )
    predicted, true = (picture.double()[None] for picture in pictures)
    found = reference.peak_signal_noise_ratio(predicted, true, data_range=1.0)
    assert metrics.psnr(*pictures) == pytest.approx(float(found), abs=1e-4)
    found = reference.structural_similarity_index_measure(
        predicted, true, gaussian_kernel=True, sigma=1.5, kernel_size=11, data_range=1.0
    )
    # Theirs, too, continues the picture by mirroring, and takes every window.
    assert float(metrics.ssim_map(*pictures).mean()) == pytest.approx(float(found), abs=1e-4)


def test_psnr_by_hand():
    """A chequerboard of 8×8 px, off by 2 in a quarter of its 64 pixels and by 1 in another: 16 · 4 + 16 · 1 over 64."""
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    true = (100 + 50 * ((rows + columns) % 2)).expand(3, 8, 8).float() / 255
    predicted = true.clone()
    predicted[:, :4, :4] += 2 / 255
    predicted[:, 4:, 4:] -= 1 / 255
    assert metrics.psnr(predicted, true) == pytest.approx(10 * math.log10(255**2 / 1.25), abs=1e-9)
    quarter = torch.zeros(8, 8, dtype=torch.bool)
    quarter[:4, :4] = True
    assert metrics.psnr(predicted, true, quarter) == pytest.approx(10 * math.log10(255**2 / 4), abs=1e-9)
    assert math.isnan(metrics.psnr(predicted, true, torch.zeros(8, 8, dtype=torch.bool)))


def test_ssim_by_hand_of_two_grey_pictures():
    """Without any variance only the means count: (2ab + c1) / (a² + b² + c1), 16×16 px."""
    a, b = 51 / 255, 204 / 255
    grey = torch.ones(3, 16, 16)
    expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    assert metrics.ssim(a * grey, b * grey) == pytest.approx(expected, abs=1e-9)


def test_ssim_by_hand_is_a_double_loop_over_windows():
    rng = np.random.default_rng(3)
    x, y = (np.round(rng.random((2, 16, 16)) * 255) / 255)[:]
    at = np.arange(-5, 6)
    window = np.exp(-(at**2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2
    values = []
    for row in range(5, 11):
        for column in range(5, 11):
            p, q = (picture[row - 5 : row + 6, column - 5 : column + 6] for picture in (x, y))
            mean_p, mean_q = (window * p).sum(), (window * q).sum()
            variance_p, variance_q = (window * (p - mean_p) ** 2).sum(), (window * (q - mean_q) ** 2).sum()
            both = (window * (p - mean_p) * (q - mean_q)).sum()
            above = (2 * mean_p * mean_q + 1e-4) * (2 * both + 9e-4)
            values.append(above / ((mean_p**2 + mean_q**2 + 1e-4) * (variance_p + variance_q + 9e-4)))
    found = metrics.ssim(*(torch.from_numpy(picture).expand(3, 16, 16) for picture in (x, y)))
    assert found == pytest.approx(np.mean(values), abs=1e-12)


def test_equal_pictures_score_perfectly(pictures):
    _, true = pictures
    assert metrics.psnr(true, true) == math.inf
    assert metrics.ssim(true, true) == pytest.approx(1.0, abs=1e-12)
    small = torch.rand(3, 16, 16)
    assert metrics.psnr(small, small) == math.inf
    assert metrics.ssim(small, small) == pytest.approx(1.0, abs=1e-12)


@pytest.fixture
def st_lpips() -> StLpips:
    try:
        return StLpips("alex")
    except InputError as error:
        pytest.skip(str(error))


def test_worse_distortions_of_a_photo_score_worse_and_st_lpips_bears_a_shift(example_photo, st_lpips):
    """Blur, noise, and a shift by 1 px of a photo of 128×128 px: what each number makes of them is known."""
    whole = read_rgb(example_photo)[:, 40:168, 180:309]
    true, shifted = whole[:, :, 1:], whole[:, :, :-1]
    noise = torch.randn(true.shape, generator=torch.Generator().manual_seed(0))

    def blurred(width_px: int) -> torch.Tensor:
        margin = width_px // 2
        return F.avg_pool2d(F.pad(true, (margin,) * 4, mode="reflect"), width_px, 1)

    blurs = [blurred(width_px) for width_px in (3, 5, 9)]
    noises = [(true + strength * noise).clamp(0, 1) for strength in (0.01, 0.04, 0.12)]
    features = st_lpips.features(true)
    for row in (blurs, noises):
        for metric in (metrics.psnr, metrics.ssim):
            scores = [metric(picture, true) for picture in row]
            assert scores == sorted(scores, reverse=True)
        distances = [st_lpips.distance(picture, features).mean for picture in row]
        assert distances == sorted(distances) and distances[0] > 0
    # A shift by a pixel, which nobody sees: to PSNR as bad as strong blur, to ST-LPIPS next to nothing.
    assert metrics.psnr(shifted, true) < min(metrics.psnr(blurs[1], true), metrics.psnr(noises[1], true))
    assert metrics.ssim(shifted, true) < min(metrics.ssim(blurs[0], true), metrics.ssim(noises[0], true))
    least = min(st_lpips.distance(picture, features).mean for picture in (blurs[0], noises[1]))
    assert 0 < st_lpips.distance(shifted, features).mean < least / 10


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
