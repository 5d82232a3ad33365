"""Depth edges become steps where the photo has its edges."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from kinephoto.scene.edges import FAINT, calmed, default_widening_px, sharpen, widen_near

NEAR, FAR = 0.9, 0.1


def scene(hw: tuple[int, int] = (96, 128), edge: float = 0.5) -> tuple[torch.Tensor, np.ndarray]:
    """A photo of two colours and where the near one is: right of a slanted edge."""
    height, width = hw
    y, x = np.mgrid[:height, :width]
    near = x > edge * width + 0.2 * (y - height / 2)
    rgb = np.where(near[..., None], np.float32([0.8, 0.3, 0.2]), np.float32([0.2, 0.4, 0.7])).astype(
        np.float32
    )
    noise = np.random.default_rng(0).normal(0, 0.02, rgb.shape).astype(np.float32)
    return torch.from_numpy(np.clip(rgb + noise, 0, 1)).permute(2, 0, 1).contiguous(), near


def soft(near: np.ndarray, hw: tuple[int, int], blur_px: float = 1.5, shift_px: int = 0) -> torch.Tensor:
    """What a network makes of it: smaller, soft, a little off."""
    values = np.where(np.roll(near, shift_px, 1), NEAR, FAR).astype(np.float32)
    small = cv2.resize(values, hw[::-1], interpolation=cv2.INTER_AREA)
    return torch.from_numpy(cv2.GaussianBlur(small, (0, 0), blur_px))


def between(values: torch.Tensor) -> float:
    """Share of pixels that belong to neither side: rubber."""
    inner = (values > 1.15 * FAR) & (values < NEAR / 1.15)
    return float(inner[6:-6, 6:-6].float().mean())


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_soft_edge_becomes_a_step_at_the_photos_edge(scale: int) -> None:
    rgb, near = scene((96, 128))
    found = sharpen(soft(near, (96 // scale, 128 // scale), 1.2), rgb)
    wrong = ((found > 0.5).numpy() != near)[6:-6, 6:-6]
    assert found.shape == (96, 128)
    assert between(found) < 0.002
    # An edge of 84 rows; less than a pixel off on average, two where the map is a quarter of the photo's size.
    assert wrong.sum() / 84 < (1.0 if scale < 4 else 2.0)


def test_an_edge_that_is_a_little_off_is_drawn_to_the_photos() -> None:
    rgb, near = scene()
    given = soft(near, (96, 128), 1.0, shift_px=2)
    before = ((given > 0.5).numpy() != near)[6:-6, 8:-8].sum()
    after = ((sharpen(given, rgb) > 0.5).numpy() != near)[6:-6, 8:-8].sum()
    assert after < 0.5 * before


def test_smooth_depth_stays_as_it_is() -> None:
    rgb, _ = scene()
    slope = torch.linspace(0.3, 0.9, 96)[:, None].repeat(1, 128).contiguous()
    assert torch.allclose(sharpen(slope, rgb)[8:-8, 8:-8], slope[8:-8, 8:-8], atol=0.01)


def test_the_range_is_kept() -> None:
    rgb, near = scene()
    given = soft(near, (48, 64))
    found = sharpen(given, rgb)
    assert float(found.min()) >= float(given.min()) - 1e-6 and float(found.max()) <= float(given.max()) + 1e-6


def test_faint_steps_of_the_far_are_smoothed_and_strong_ones_stay() -> None:
    values = np.full((60, 80), 0.06, np.float32)
    values[:, 40:] = 0.06 + 0.5 * FAINT
    ratios = calmed(values)[:, 1:] / calmed(values)[:, :-1]
    assert ratios.max() < 1.1 < values[:, 1:].max() / values.min()
    values[:, 40:] = 0.06 + 2 * FAINT
    assert calmed(values) == pytest.approx(values)


def test_widening_only_moves_edges_outwards_from_what_is_near() -> None:
    values = torch.full((20, 40), FAR)
    values[:, 20:] = NEAR
    wide = widen_near(values, 2)
    assert torch.equal(wide[:, 18:], torch.full((20, 22), NEAR)) and torch.equal(wide[:, :18], values[:, :18])
    assert torch.equal(widen_near(values, 0), values)
    slope = torch.linspace(0.3, 0.9, 200)[:, None].repeat(1, 8)
    assert torch.equal(widen_near(slope, 1), slope)


def test_widening_grows_with_the_picture() -> None:
    assert [default_widening_px((side, 2 * side)) for side in (100, 300, 512, 1080, 2160)] == [1, 1, 2, 4, 7]
