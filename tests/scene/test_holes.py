"""A hole is as deep as its farther bank."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kinephoto.scene.camera import Camera, Pose
from kinephoto.scene.holes import far_rim, farther_disparity, grown_behind, without_near_bank
from kinephoto.scene.render import Renderer
from kinephoto.scene.values import Layer, View
from kinephoto.scene.world import hiding_nothing, lifted, photo_layer

NEAR, FAR = 0.8, 0.2


def view_with_hole(hw: tuple[int, int] = (60, 80)) -> View:
    """A near post on the right, far ground on the left, between them a hole of eight columns."""
    disparity = torch.full(hw, FAR)
    disparity[:, 48:] = NEAR
    known = torch.ones(hw, dtype=torch.bool)
    known[:, 40:48] = False
    disparity = torch.where(known, disparity, torch.zeros(()))
    return View(torch.rand(3, *hw), disparity, known, torch.where(known, 0, -1).to(torch.int16))


def test_a_hole_continues_its_farther_bank() -> None:
    view = view_with_hole()
    complete = farther_disparity(view.disparity, view.known)
    assert torch.equal(complete[view.known], view.disparity[view.known])
    assert complete[:, 40:48].numpy() == pytest.approx(FAR)


def test_the_short_way_across_counts_not_the_farthest_there_is() -> None:
    """A tall narrow hole beside a wall ends far above in the sky; it still belongs to the wall."""
    disparity = torch.full((80, 60), 0.4)
    disparity[:10] = 0.06
    disparity[:, 30:] = 0.9
    known = torch.ones(80, 60, dtype=torch.bool)
    known[5:, 25:30] = False
    complete = farther_disparity(torch.where(known, disparity, torch.zeros(())), known)
    assert complete[40:70, 25:30].numpy() == pytest.approx(0.4, rel=0.02)


def test_a_strip_at_the_border_continues_what_is_beside_it() -> None:
    disparity = torch.linspace(0.2, 0.9, 50)[:, None].repeat(1, 40)
    known = torch.ones(50, 40, dtype=torch.bool)
    known[:, :6] = False
    complete = farther_disparity(torch.where(known, disparity, torch.zeros(())), known)
    assert complete[5:-5, :6].numpy() == pytest.approx(disparity[5:-5, :6].numpy(), rel=0.03)


def test_no_hole_is_nearer_than_both_of_its_banks() -> None:
    generator = torch.Generator().manual_seed(3)
    disparity = torch.rand(40, 50, generator=generator) * 0.9 + 0.05
    known = torch.rand(40, 50, generator=generator) > 0.5
    complete = farther_disparity(torch.where(known, disparity, torch.zeros(())), known)
    assert bool((complete > 0).all()) and float(complete.max()) <= float(disparity[known].max()) + 1e-6


def test_one_known_pixel_is_enough() -> None:
    known = torch.zeros(9, 11, dtype=torch.bool)
    known[4, 5] = True
    complete = farther_disparity(torch.where(known, torch.full((9, 11), 0.5), torch.zeros(())), known)
    assert complete.numpy() == pytest.approx(0.5)


def test_painting_goes_on_under_the_near_bank_only() -> None:
    view = view_with_hole()
    complete = farther_disparity(view.disparity, view.known)
    wanted = grown_behind(view, complete, 3)
    columns = wanted.all(0).numpy()
    assert list(np.flatnonzero(columns)) == list(range(40, 51))
    background = without_near_bank(view, complete, wanted)
    assert background[:, 40:51].numpy() == pytest.approx(FAR)


def test_a_lifted_view_closes_the_hole_and_hides_nothing_that_was_known() -> None:
    """Rendered from where it was painted: the known is as before, bit for bit, the hole shows the painting."""
    hw = (60, 80)
    camera = Camera.from_field_of_view(hw)
    disparity = torch.full(hw, FAR)
    disparity[:, 40:] = NEAR
    rgb = torch.rand(3, *hw, generator=torch.Generator().manual_seed(1))
    photo = photo_layer(rgb, disparity, camera)
    pose = Pose(torch.eye(3), torch.tensor([0.12, 0.0, 0.0]))
    before = Renderer([photo])
    view = before.render(camera, pose)
    assert int((~view.known).sum()) > 0
    complete = farther_disparity(view.disparity, view.known)
    wanted = grown_behind(view, complete, 2)
    painting = torch.where(wanted, torch.ones(3, *hw), view.rgb)
    layer = lifted(painting, without_near_bank(view, complete, wanted), wanted, view, camera, pose)
    after = before.with_layer(layer).render(camera, pose)
    assert bool(after.known.all())
    assert torch.equal(after.rgb[:, view.known], view.rgb[:, view.known])
    assert bool((after.rgb[:, ~view.known] == 1).all())
    assert bool((after.layer[~view.known] == 1).all())


def test_only_wide_holes_have_a_rim_that_is_not_believed() -> None:
    view = view_with_hole()
    nowhere = torch.zeros_like(view.known)
    assert not bool(far_rim(view, nowhere, 3).any())
    rim = far_rim(view, nowhere, 1)
    assert list(np.flatnonzero(rim.all(0).numpy())) == [39, 48] and int(rim.sum()) == 2 * 60
    assert not bool(far_rim(view, ~view.known, 1).any())


@pytest.mark.parametrize("depth", [0.2, 0.6, 1.0])
def test_what_was_painted_stands_before_nothing_of_the_photo(depth: float) -> None:
    disparity = torch.full((24, 32), 0.3)
    disparity[:, 16:] = 0.8
    camera = Camera.from_field_of_view((24, 32))
    photo = photo_layer(torch.rand(3, 24, 32), disparity, camera)
    pose = Pose(torch.eye(3), torch.tensor([0.15, 0.0, 0.0]))
    alpha = torch.zeros(24, 32, dtype=torch.bool)
    alpha[4:20, 4:28] = True
    painted = Layer(torch.rand(3, 24, 32), torch.full((24, 32), depth), alpha, camera, pose)
    moved = hiding_nothing(painted, photo)
    home = Renderer([photo, moved]).render(camera, Pose.identity())
    assert int((home.layer == 1).sum()) == 0
    assert torch.equal(home.rgb, photo.rgb)
    # Seen from its own place it still fills what it was painted for, and what hid nothing stays.
    assert torch.equal(moved.alpha, alpha) and bool((moved.disparity <= painted.disparity).all())
    assert torch.equal(moved.disparity, painted.disparity) == (depth == 0.2)
