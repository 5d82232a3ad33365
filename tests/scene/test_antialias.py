"""Supersampling: silhouettes become soft, surfaces stay sharp, shares are what was counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kinephoto.scene.camera import Camera, Pose
from kinephoto.scene.render import Renderer
from kinephoto.scene.values import Layer

HOME = Pose.identity()


def camera_of(hw: tuple[int, int]) -> Camera:
    return Camera(64.0, (hw[1] / 2, hw[0] / 2), hw)


def at(x: float, y: float, z: float = 0.0) -> Pose:
    """view_from_world of a camera that has gone to (x, y, z)."""
    return Pose(torch.eye(3), torch.tensor([-x, -y, -z], dtype=torch.float64))


def rolled(degrees: float) -> Pose:
    """A camera turned about its axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    rotation = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return Pose(rotation, torch.zeros(3))


def noise(hw: tuple[int, int]) -> torch.Tensor:
    return torch.rand(3, *hw, generator=torch.Generator().manual_seed(0))


def layer_of(rgb: torch.Tensor, disparity: torch.Tensor, alpha=None) -> Layer:
    hw = tuple(disparity.shape)
    alpha = torch.ones(hw, dtype=torch.bool) if alpha is None else alpha
    return Layer(rgb, disparity, alpha, camera_of(hw), HOME)


def card_before_wall() -> list[Layer]:
    """Layer 0 a white near card, layer 1 a black wall behind it."""
    hw = (48, 64)
    alpha = torch.zeros(hw, dtype=torch.bool)
    alpha[12:36, 16:48] = True
    near = layer_of(torch.ones(3, *hw), torch.ones(hw), alpha)
    return [near, layer_of(torch.zeros(3, *hw), torch.full(hw, 0.25))]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_shares_are_what_a_finer_view_counts(scale):
    layers = [*card_before_wall(), layer_of(noise((30, 40)), torch.full((30, 40), 0.5))]
    renderer, pose, camera = Renderer(layers), rolled(17) @ at(0.1, 0.05, 0.1), camera_of((70, 80))
    view = renderer.render(camera, pose, supersample=scale)
    points = renderer.locate(camera.resized((70 * scale, 80 * scale)), pose)
    inside = points.layer.reshape(70, scale, 80, scale).permute(0, 2, 1, 3).flatten(2)
    # Shares are multiples of 1 / scale², rounded once to float32.
    np.testing.assert_allclose(view.coverage, (inside >= 0).float().mean(2), rtol=0, atol=1e-7)
    np.testing.assert_allclose(view.beyond_first, (inside > 0).float().mean(2), rtol=0, atol=1e-7)
    assert torch.equal(view.known, (inside >= 0).any(2))
    for share in (view.coverage, view.beyond_first):
        assert share.dtype == torch.float32 and share.min() == 0 and share.max() == 1
        assert ((share > 0) & (share < 1)).any()
    assert (view.beyond_first <= view.coverage).all()


def test_without_supersampling_known_and_layer_say_it_all():
    view = Renderer(card_before_wall()).render(camera_of((48, 64)), HOME)
    assert view.coverage is None and view.beyond_first is None


@pytest.mark.parametrize("scale", [2, 4])
def test_from_home_supersampling_changes_nothing(scale):
    layer = layer_of(noise((48, 64)), torch.linspace(0.2, 1, 64).expand(48, 64).contiguous())
    view = Renderer([layer]).render(layer.camera, HOME, supersample=scale)
    assert torch.equal(view.rgb, layer.rgb) and view.known.all()
    assert (view.coverage == 1).all() and (view.beyond_first == 0).all()


@pytest.mark.parametrize("scale", [2, 3])
def test_surfaces_stay_as_sharp_as_without(scale):
    layer = layer_of(noise((48, 64)), torch.full((48, 64), 0.5))
    renderer, pose = Renderer([layer]), rolled(3) @ at(0.033, 0.021, -0.1)
    soft = renderer.render(layer.camera, pose, supersample=scale)
    hard = renderer.render(layer.camera, pose)
    inside = soft.coverage == 1
    assert inside.float().mean() > 0.7
    # The middle of the points is the pixel's centre but for vertices snapped to 1/256 px, and noise has
    # slopes of 1 per px.
    assert (soft.rgb - hard.rgb)[:, inside].abs().max() < 2 / 256
    assert (soft.disparity - hard.disparity)[inside].abs().max() < 1e-3
    averaged = soft.rgb[:, inside].std() / layer.rgb.std()
    assert averaged == pytest.approx(float(hard.rgb[:, inside].std() / layer.rgb.std()), abs=0.01)


def test_an_edge_through_the_middle_of_pixels_covers_half_of_them():
    layer = layer_of(torch.full((3, 24, 32), 0.6), torch.full((24, 32), 0.5))
    view = Renderer([layer]).render(layer.camera, at(0.5 / 32, 0), supersample=4)
    assert (view.coverage[:, -1] == 0.5).all() and (view.coverage[:, :-1] == 1).all()
    assert (view.rgb - 0.6).abs().max() < 1e-6, "colour is not multiplied by coverage"


def test_a_slanting_silhouette_has_all_shades_and_the_right_area():
    wall = layer_of(torch.full((3, 24, 32), 0.6), torch.full((24, 32), 0.5))
    camera = camera_of((48, 48))
    area_px = 24 * 32
    hard = Renderer([wall]).render(camera, rolled(21))
    soft = Renderer([wall]).render(camera, rolled(21), supersample=4)
    shades = soft.coverage[(soft.coverage > 0) & (soft.coverage < 1)]
    assert len(shades.unique()) > 8
    # About 110 border pixels, off by up to 1/8 without a common sign: far less than 3 px.
    assert float(soft.coverage.sum()) == pytest.approx(area_px, abs=3)
    assert (soft.known | ~hard.known).all(), "what covers a centre covers a point"


def test_at_a_silhouette_the_colour_is_the_mean_of_both_sides():
    layers, pose = card_before_wall(), rolled(11)
    view = Renderer(layers).render(layers[0].camera, pose, supersample=4)
    seen = view.coverage == 1
    mixed = seen & (view.beyond_first > 0) & (view.beyond_first < 1)
    assert mixed.sum() > 60
    # White card, black wall: brightness is the card's share. Sixteen sixteenths are added in float32.
    np.testing.assert_allclose(view.rgb[0, seen], 1 - view.beyond_first[seen], rtol=0, atol=1e-6)
    # 1e-6: disparity is a sum of three shares that are rounded.
    assert (view.layer[mixed] == 0).all() and (view.disparity[mixed] - 1).abs().max() < 1e-6, "never a mean"


def test_a_much_reduced_picture_is_averaged():
    layer = layer_of(noise((96, 128)), torch.full((96, 128), 0.5))
    view = Renderer([layer]).render(layer.camera.resized((24, 32)), HOME, supersample=4)
    # The points of a pixel are the centres of 4 × 4 pixels of the photo; sixteen sixteenths in float32.
    expected = torch.nn.functional.avg_pool2d(layer.rgb, 4)
    assert (view.rgb - expected).abs().max() < 1e-6


def test_colours_stay_in_range_though_bicubic_overshoots():
    layer = layer_of((noise((48, 64)) > 0.5).float(), torch.full((48, 64), 0.5))
    for scale in (1, 2):
        view = Renderer([layer]).render(camera_of((60, 70)), rolled(20) @ at(0.1, 0), supersample=scale)
        # A mean of nine numbers that are at most 1 may round to a little more.
        assert view.rgb.min() >= 0 and view.rgb.max() <= 1 + 1e-6
