"""The door: painters by name, known pixels untouched, bad input in one sentence."""

from __future__ import annotations

import pytest
import torch

from kinephoto.errors import InputError
from kinephoto.painter import get_painter, paint_holes, painter_names

# Those that need no folder; test_networks.py has the others.
READY = [name for name in painter_names() if not name.partition(":")[2].isupper()]


class Constant:
    """A painter that knows one grey."""

    name = "constant"

    def paint(self, rgb, known, disparity, *, prompt=None, seed=0):
        return torch.full_like(rgb, 0.5)


class Brightening:
    """A painter whose rendition of a flat 0.4 is 0.1 too bright everywhere."""

    name = "brightening"

    def paint(self, rgb, known, disparity, *, prompt=None, seed=0):
        return torch.full_like(rgb, 0.5)


def picture(height: int = 40, width: int = 48) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise with a hole in the middle, all at one depth."""
    rgb = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    known = torch.ones(height, width, dtype=torch.bool)
    known[10:30, 15:35] = False
    return rgb, known, torch.full((height, width), 0.5)


@pytest.mark.parametrize("name", READY)
def test_every_painter_leaves_known_pixels_bit_for_bit(name):
    rgb, known, disparity = picture()
    painted = paint_holes(get_painter(name), rgb, known, disparity)
    assert torch.equal(painted[:, known], rgb[:, known])


@pytest.mark.parametrize("name", READY)
def test_what_lies_under_a_hole_is_never_seen(name):
    rgb, known, disparity = picture()
    other = torch.where(known, rgb, torch.tensor(0.9))
    painter = get_painter(name)
    assert torch.equal(
        paint_holes(painter, rgb, known, disparity), paint_holes(painter, other, known, disparity)
    )


@pytest.mark.parametrize("name", READY)
def test_a_picture_without_holes_comes_back(name):
    rgb, known, disparity = picture()
    assert torch.equal(paint_holes(get_painter(name), rgb, torch.ones_like(known), disparity), rgb)


@pytest.mark.parametrize("name", READY)
def test_a_picture_of_nothing_but_hole_is_refused(name):
    rgb, known, disparity = picture()
    with pytest.raises(InputError, match="no known pixel"):
        paint_holes(get_painter(name), rgb, torch.zeros_like(known), disparity)


def test_a_careless_painter_cannot_touch_known_pixels():
    rgb, known, disparity = picture()
    painted = paint_holes(Constant(), rgb, known, disparity)
    assert torch.equal(painted[:, known], rgb[:, known])
    assert painted.min() >= 0 and painted.max() <= 1


def test_what_a_painter_misses_at_the_bank_fades_inside_the_hole():
    rgb, known, disparity = picture(80, 80)
    known = torch.ones(80, 80, dtype=torch.bool)
    known[10:70, 10:70] = False
    rgb = torch.full_like(rgb, 0.4)
    line = paint_holes(Brightening(), rgb, known, disparity)[0, 40]
    steps = line[1:] - line[:-1]
    assert steps[:40].min() >= -1e-6, "from the bank to the middle it rises to the painter's own"
    assert steps.abs().max() < 0.05, "no step as high as the painter's mistake of 0.1"
    assert abs(float(line[40]) - 0.5) < 0.01, "far inside, the painter has its way"


def test_a_silhouette_does_not_fade_into_the_hole_behind_it():
    rgb, known, disparity = picture(60, 60)
    rgb, disparity = torch.full_like(rgb, 0.5), torch.full_like(disparity, 0.1)
    rgb[0, :, :20], rgb[1:, :, :20], disparity[:, :20] = 1.0, 0.0, 1.0
    known = torch.ones(60, 60, dtype=torch.bool)
    known[:, 20:35] = False
    painted = paint_holes(Constant(), rgb, known, disparity)
    assert (painted[:, ~known] - 0.5).abs().max() < 1e-6


@pytest.mark.parametrize("name", ["sd", "opencv", "opencv:", "opencv:fsr", "classical:fast", "", "Auto"])
def test_an_unknown_painter_is_refused_with_a_list_of_those_that_exist(name):
    with pytest.raises(InputError) as caught:
        get_painter(name)
    for existing in painter_names():
        assert existing in str(caught.value)


def test_a_painter_says_its_name():
    for name in READY:
        assert get_painter(name).name == (name if name != "auto" else "builtin")


@pytest.mark.parametrize("broken", ["rgb", "known", "disparity", "dtype", "nan"])
def test_parts_that_do_not_fit_are_refused(broken):
    rgb, known, disparity = picture()
    if broken == "rgb":
        rgb = rgb[:2]
    if broken == "known":
        known = known[:-1]
    if broken == "disparity":
        disparity = disparity[:, :-1]
    if broken == "dtype":
        known = known.float()
    if broken == "nan":
        disparity = disparity.clone()
        disparity[3, 3] = float("nan")
    with pytest.raises(InputError):
        paint_holes(get_painter("classical"), rgb, known, disparity)
