from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr

from kinephoto.painter import get_painter
from kinephoto.painter.scene_painting import paint_around, softened


@pytest.fixture
def object_alone() -> tuple[torch.Tensor, torch.Tensor]:
    """A disc of two colours in a picture of 160 x 128 px."""
    rows, columns = torch.meshgrid(torch.arange(160), torch.arange(128), indexing="ij")
    known = (rows - 80) ** 2 + (columns - 64) ** 2 < 30**2
    rgb = torch.where(rows[None] < 80, torch.tensor([0.8, 0.3, 0.2])[:, None, None], torch.tensor(0.15))
    return rgb * known, known


def test_a_scene_has_more_to_it_than_a_tinted_wall(object_alone):
    rgb, known = object_alone
    scene = paint_around(get_painter("builtin"), rgb, known, seed=1)
    assert torch.equal(scene[:, known], rgb[:, known])
    # Both colours of the object are found in the scene; from the mean colour alone it varied by .05.
    blurred = torch.nn.functional.avg_pool2d(scene[None], 16)[0]
    assert float(blurred[0].max() - blurred[0].min()) > 0.3


def test_softening_takes_speckles_and_half_the_detail_and_leaves_what_is_known():
    random = torch.Generator().manual_seed(0)
    speckled = (0.5 + 0.1 * torch.randn(3, 96, 96, generator=random)).clamp(0, 1)
    known = torch.zeros(96, 96, dtype=torch.bool)
    known[:20] = True
    found = softened(speckled, known)
    assert torch.equal(found[:, known], speckled[:, known])
    before, after = (rgb2ycbcr(rgb[:, 30:90].numpy(), channel_axis=0) for rgb in (speckled, found))
    assert after[1].std() < 0.15 * before[1].std(), "colour"
    assert 0.4 < after[0].std() / before[0].std() < 0.6, "brightness"


def test_softening_keeps_slopes_and_large_shapes():
    rows, columns = np.mgrid[:96, :96].astype(np.float32) / 96
    slope = torch.from_numpy(np.stack([0.2 + 0.6 * rows, 0.3 + 0.4 * columns, 0.5 + 0 * rows]))
    found = softened(slope, torch.zeros(96, 96, dtype=torch.bool))
    inner = (slice(None), slice(16, 80), slice(16, 80))
    torch.testing.assert_close(found[inner], slope[inner], atol=2e-3, rtol=0)
