"""The camera goes as far as the photo allows."""

from __future__ import annotations

import pytest
import torch

from kinephoto.scene.camera import Camera
from kinephoto.scene.fit import MOST_AUTO, fitted
from kinephoto.scene.path import path
from kinephoto.scene.render import Renderer
from kinephoto.scene.world import photo_layer


def posts(hw: tuple[int, int] = (120, 160), count: int = 6):
    """Near posts before a far wall: holes open everywhere."""
    disparity = torch.full(hw, 0.1)
    for k in range(count):
        left = int((k + 0.37 * (k % 3)) * hw[1] / count)
        disparity[:, left : left + hw[1] // (4 * count)] = 1.0
    return photo_layer(torch.rand(3, *hw), disparity, Camera.from_field_of_view(hw))


def test_auto_keeps_the_holes_under_the_limit_and_no_smaller_than_needed() -> None:
    trajectory = fitted(path("swing", max_hole=0.05), posts())
    assert 0 < trajectory.rig.amount < MOST_AUTO
    assert trajectory.hole_share <= 0.05 and trajectory.rig.amount == trajectory.safe_amount
    assert fitted(path("swing", amount=1.3 * trajectory.safe_amount), posts()).hole_share > 0.05


def test_a_looser_limit_lets_the_camera_go_further() -> None:
    amounts = [fitted(path("circle", max_hole=share), posts()).rig.amount for share in (0.01, 0.03, 0.1)]
    assert amounts == sorted(amounts) and amounts[0] < amounts[-1]


def test_an_amount_that_is_asked_for_is_taken() -> None:
    trajectory = fitted(path("swing", amount="large", max_hole=0.01), posts())
    assert trajectory.rig.amount == 0.08 and trajectory.safe_amount < 0.08 and trajectory.hole_share > 0.01


def test_a_plane_may_move_as_far_as_auto_goes() -> None:
    hw = (120, 160)
    layer = photo_layer(torch.rand(3, *hw), torch.ones(hw), Camera.from_field_of_view(hw))
    trajectory = fitted(path("swing"), layer)  # what is at the focus stays put, so nothing opens
    assert trajectory.rig.amount == MOST_AUTO and trajectory.hole_share == 0


@pytest.mark.parametrize("name", ["swing", "zoom-in", "dolly-zoom-in", "orbit"])
def test_the_share_counted_on_the_small_picture_holds_for_the_large_one(name: str) -> None:
    layer = posts((360, 480))
    trajectory = fitted(path(name, max_hole=0.05), layer)
    renderer = Renderer([layer])
    shares = [1 - float(renderer.coverage(*trajectory.view(k / 12)).float().mean()) for k in range(13)]
    assert max(shares) == pytest.approx(
        trajectory.hole_share, abs=0.015
    )  # a quad of 256 along each of six posts
