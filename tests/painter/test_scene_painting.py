from __future__ import annotations

import pytest
import torch

from kinephoto.painter import get_painter
from kinephoto.painter.scene_painting import paint_around


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
    # Means over squares that hold none of the object; begun from its mean colour they differ by .03 to .06.
    alone = torch.nn.functional.avg_pool2d(known[None].float(), 16)[0] == 0
    squares = torch.nn.functional.avg_pool2d(scene[None], 16)[0, 0][alone]
    assert float(squares.max() - squares.min()) > 0.3
