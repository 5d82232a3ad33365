from __future__ import annotations

import pytest
import torch

from kinephoto.errors import InputError
from kinephoto.measure.methods import fills
from kinephoto.scene.holes import farther_disparity
from kinephoto.scene.values import View


@pytest.fixture
def view() -> View:
    """A bright far wall on the left, a dark near thing on the right, a hole between them."""
    rgb, disparity = torch.full((3, 32, 48), 0.8), torch.full((32, 48), 0.2)
    rgb[:, :, 30:], disparity[:, 30:] = 0.1, 1.0
    known = torch.ones(32, 48, dtype=torch.bool)
    known[:, 22:30] = False
    layer = torch.where(known, 0, -1).to(torch.int16)
    return View(rgb * known, disparity * known, known, layer)


@pytest.mark.parametrize("name", ["auto", "classical", "opencv:telea"])
def test_a_painter_fills_the_hole_and_leaves_the_known_bit_for_bit(view, name):
    filled = fills.painter(name)(view.rgb, view)
    assert torch.equal(filled[:, view.known], view.rgb[:, view.known])
    assert torch.isfinite(filled).all()
    assert (filled[:, ~view.known] > 0).all()


def test_the_classical_painter_is_told_which_side_is_farther(view):
    filled = fills.painter("classical")(view.rgb, view)
    assert (filled[:, :, 22:30] > 0.7).all()


def test_the_same_seed_gives_the_same_bytes(view):
    first, second = (fills.painter("classical", seed=4)(view.rgb, view) for _ in range(2))
    assert torch.equal(first, second)


def test_a_view_without_holes_comes_back_as_it_is(view):
    whole = View(view.rgb, view.disparity.clamp_min(0.1), torch.ones_like(view.known), view.layer)
    assert torch.equal(fills.painter("classical")(view.rgb, whole), view.rgb)


def test_a_view_without_anything_known_is_the_source(view):
    nothing = torch.zeros_like(view.known)
    empty = View(view.rgb * 0, view.disparity * 0, nothing, view.layer)
    source = torch.rand(3, 32, 48)
    assert torch.equal(fills.painter("classical")(source, empty), source)


def test_a_painter_that_is_not_there_is_named_when_it_is_asked_for():
    with pytest.raises(InputError, match="no painter called 'rembrandt'"):
        fills.painter("rembrandt")


class Scribbler:
    """Paints everything red and remembers what it was told."""

    name = "scribbler"

    def paint(self, rgb, known, disparity, *, prompt=None, seed=0):
        self.disparity = disparity
        return torch.tensor([1.0, 0.0, 0.0])[:, None, None].expand_as(rgb)


def test_a_painter_is_told_the_depth_of_holes_as_in_a_film(view):
    scribbler = Scribbler()
    filled = fills.painter(scribbler)(view.rgb, view)
    assert torch.equal(scribbler.disparity, farther_disparity(view.disparity, view.known))
    assert torch.equal(filled[:, view.known], view.rgb[:, view.known])
    assert (filled[0, ~view.known] > 0.5).all()


@pytest.mark.parametrize("fill", [fills.push_pull, fills.telea, fills.navier_stokes])
def test_smooth_fills_lie_between_the_banks_and_leave_the_known_bit_for_bit(view, fill):
    filled = fill(view.rgb, view)
    assert torch.equal(filled[:, view.known], view.rgb[:, view.known])
    assert (filled[:, ~view.known] > 0.05).all() and (filled[:, ~view.known] < 0.85).all()
    middle = filled[0, 16, 22:30]
    assert middle[0] > 0.5 > middle[-1]
