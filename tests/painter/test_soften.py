from __future__ import annotations

import numpy as np
import torch
from skimage.color import rgb2ycbcr

from kinephoto.painter.soften import softened


def test_softening_takes_speckles_and_half_the_detail_and_leaves_what_is_known():
    random = torch.Generator().manual_seed(0)
    speckled = (0.5 + 0.1 * torch.randn(3, 96, 96, generator=random)).clamp(0, 1)
    known = torch.zeros(96, 96, dtype=torch.bool)
    known[:20] = True
    found = softened(speckled, known, colour_px=3.0, detail_px=1.5, detail_share=0.5)
    assert torch.equal(found[:, known], speckled[:, known])
    before, after = (rgb2ycbcr(rgb[:, 30:90].numpy(), channel_axis=0) for rgb in (speckled, found))
    assert after[1].std() < 0.15 * before[1].std(), "colour"
    assert 0.4 < after[0].std() / before[0].std() < 0.6, "brightness"


def test_softening_keeps_slopes_and_large_shapes():
    rows, columns = np.mgrid[:96, :96].astype(np.float32) / 96
    slope = torch.from_numpy(np.stack([0.2 + 0.6 * rows, 0.3 + 0.4 * columns, 0.5 + 0 * rows]))
    found = softened(
        slope, torch.zeros(96, 96, dtype=torch.bool), colour_px=3.0, detail_px=1.5, detail_share=0.5
    )
    inner = (slice(None), slice(16, 80), slice(16, 80))
    torch.testing.assert_close(found[inner], slope[inner], atol=2e-3, rtol=0)


def test_what_is_known_bleeds_into_nothing():
    red, grey = (torch.tensor(colour)[:, None, None] for colour in ([1.0, 0.0, 0.0], [0.5, 0.5, 0.5]))
    known = torch.zeros(32, 32, dtype=torch.bool)
    known[:, :16] = True
    found = softened(torch.where(known, red, grey), known, colour_px=2.0)
    torch.testing.assert_close(found[:, :, 16:], grey.expand(3, 32, 16), atol=1e-5, rtol=0)


def test_brightness_stays_unless_less_of_it_is_asked_for():
    random = torch.Generator().manual_seed(0)
    noise = torch.rand(1, 64, 64, generator=random).expand(3, -1, -1)
    found = softened(noise, torch.zeros(64, 64, dtype=torch.bool), colour_px=2.0)
    torch.testing.assert_close(found, noise, atol=1e-5, rtol=0)
