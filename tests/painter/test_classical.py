"""The classical painter: background continued with its texture, foreground never smeared."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kinephoto.painter import get_painter, paint_holes
from kinephoto.painter.seam import tinged


def paint(rgb: np.ndarray, known: np.ndarray, disparity: np.ndarray, seed: int = 0) -> np.ndarray:
    """[H, W, 3] -> [H, W, 3], through the door."""
    painted = paint_holes(
        get_painter("classical"),
        torch.from_numpy(rgb.astype(np.float32)).permute(2, 0, 1).contiguous(),
        torch.from_numpy(known),
        torch.from_numpy(disparity.astype(np.float32)),
        seed=seed,
    )
    return painted.permute(1, 2, 0).numpy()


def two_tone(hole_px: int = 24, soft_px: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A red disc before a textured green wall, and the hole that opens to its right when it moves left.

    With ``soft_px`` the wall's first pixels beside the hole carry the disc's red, as soft edges do.
    """
    ys, xs = np.mgrid[:128, :128]
    random = np.random.default_rng(0)
    rgb = np.zeros((128, 128, 3))
    rgb[..., 1] = 0.5 + 0.3 * np.sin(xs * 0.9) * np.cos(ys * 0.7) + 0.1 * random.random((128, 128))
    disc = (xs - 50) ** 2 + (ys - 64) ** 2 < 30**2
    gone = ((xs - 50 - hole_px) ** 2 + (ys - 64) ** 2 < 30**2) & ~disc
    fringe = ((xs - 50 - hole_px) ** 2 + (ys - 64) ** 2 < (30 + soft_px) ** 2) & ~disc & ~gone & (xs > 50)
    rgb[disc] = (1, 0, 0)
    rgb[fringe] = (0.6, 0.2, 0)
    return rgb, ~gone, np.where(disc, 1.0, 0.2)


@pytest.mark.parametrize("hole_px", [2, 6, 24, 50])
def test_nothing_of_the_foreground_enters(hole_px):
    rgb, known, disparity = two_tone(hole_px)
    painted = paint(rgb, known, disparity)[~known]
    assert painted[:, 0].max() < 1e-3
    assert painted[:, 1].min() > 0.05


def test_a_slightly_nearer_thing_that_looks_the_same_does_not_serve():
    ys, xs = np.mgrid[:96, :96]
    rgb = np.random.default_rng(4).random((96, 96, 3))
    near = (ys // 24 + xs // 24) % 2 == 1
    rgb[..., 0] = np.where(near, 0.02, 0.0)  # a mark too faint to steer the search
    known = ~((ys % 24 > 7) & (ys % 24 < 19) & (xs % 24 > 7) & ~near)
    painted = paint(rgb, known, np.where(near, 0.26, 0.2))
    assert painted[~known][:, 0].max() == 0


def test_a_bank_tinged_by_the_silhouette_is_not_copied():
    rgb, known, disparity = two_tone(20, soft_px=1)
    assert rgb[known & (disparity < 0.5), 0].max() > 0.5, "the bank is tinged in this scene"
    # 0.02: the share of the fringe that the silhouette's tips, where both banks meet, may leave.
    assert paint(rgb, known, disparity)[~known][:, 0].mean() < 0.02


def test_banks_without_a_silhouette_opposite_are_believed():
    disparity = np.full((64, 64), 0.3)
    strip, crack = np.ones((64, 64), bool), np.ones((64, 64), bool)
    strip[:, :9], crack[30:32] = False, False
    assert not tinged(strip, disparity).any()
    assert not tinged(crack, disparity).any()
    _, known, disparity = two_tone()
    assert tinged(known, disparity).any()
    assert not tinged(known, disparity)[~known].any()


@pytest.mark.parametrize("where", ["left", "top", "middle", "crack", "corner"])
def test_a_constant_background_is_continued_constant(where):
    rgb = np.tile(np.array([0.2, 0.6, 0.4]), (70, 90, 1))
    known = np.ones((70, 90), bool)
    holes = {
        "left": np.s_[:, :20],
        "top": np.s_[:13],
        "middle": np.s_[20:50, 30:60],
        "crack": np.s_[:, 40:41],
        "corner": np.s_[50:, 70:],
    }
    known[holes[where]] = False
    assert np.abs(paint(rgb, known, np.full((70, 90), 0.5)) - rgb).max() < 1e-5


@pytest.mark.parametrize("pattern", ["stripes", "checks", "noise"])
@pytest.mark.parametrize("where", ["border", "middle"])
def test_texture_is_kept(pattern, where):
    ys, xs = np.mgrid[:96, :96]
    random = np.random.default_rng(1)
    field = {
        "stripes": (xs // 3 + ys // 3) % 2,
        "checks": (xs // 4 % 2) ^ (ys // 4 % 2),
        "noise": random.random((96, 96)),
    }[pattern]
    rgb = np.repeat(0.2 + 0.6 * field[..., None], 3, -1).astype(np.float32)
    known = np.ones((96, 96), bool)
    known[np.s_[:, :20] if where == "border" else np.s_[35:55, 38:58]] = False
    painted = paint(rgb, known, np.full((96, 96), 0.5))
    inside = ~known
    energy = [np.abs(np.diff(picture[..., 0], axis=1))[inside[:, 1:]].mean() for picture in (painted, rgb)]
    # A factor of two either way: push-pull, Telea and Navier-Stokes leave less than a third.
    assert 0.5 < energy[0] / energy[1] < 2


def test_a_striped_wall_goes_on_in_step():
    xs = np.mgrid[:96, :96][1]
    rgb = np.repeat(0.5 + 0.4 * np.sign(np.sin(xs * np.pi / 4 + 0.1))[..., None], 3, -1)
    known = np.ones((96, 96), bool)
    known[30:60, 40:62] = False
    painted = paint(rgb, known, np.full((96, 96), 0.5))
    assert np.abs(painted - rgb)[~known].mean() < 0.05


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_no_hole_is_left_whatever_the_mask(share):
    random = np.random.default_rng(2)
    rgb = 0.3 + 0.5 * random.random((45, 61, 3))
    known = random.random((45, 61)) > share
    known[0, 0] = True
    disparity = 0.1 + random.random((45, 61))
    painted = paint(rgb, known, disparity)
    assert painted.min() > 0.25, "every hole shows something of the picture, which holds nothing below 0.3"


@pytest.mark.parametrize("at", [(0, 0), (13, 20), (29, 39)])
def test_one_known_pixel_paints_the_whole_picture(at):
    known = np.zeros((30, 40), bool)
    known[at] = True
    rgb = np.zeros((30, 40, 3))
    rgb[at] = (0.3, 0.5, 0.7)
    painted = paint(rgb, known, np.full((30, 40), 0.4))
    assert np.abs(painted - (0.3, 0.5, 0.7)).max() < 1e-3


@pytest.mark.parametrize("hw", [(1, 2), (2, 1), (1, 40), (40, 1), (3, 3), (7, 5), (17, 33)])
def test_tiny_pictures_are_painted(hw):
    random = np.random.default_rng(3)
    rgb = 0.4 + 0.4 * random.random((*hw, 3))
    known = np.ones(hw, bool)
    known[-1, -1] = False
    painted = paint(rgb, known, np.full(hw, 0.5))
    assert painted[-1, -1].min() >= 0.39 and painted[-1, -1].max() <= 0.81


def test_a_hole_farther_than_everything_known_takes_the_farthest():
    rgb, known, disparity = two_tone()
    disparity = np.where(known, disparity, 0.01)
    assert paint(rgb, known, disparity)[~known][:, 0].max() < 1e-3


def test_two_depths_behind_one_silhouette_are_kept_apart():
    rgb, known, disparity = two_tone()
    upper = np.arange(128)[:, None] < 64
    wall = disparity < 0.5
    rgb = np.where((wall & upper)[..., None], (0.0, 0.2, 0.9), rgb)
    disparity = np.where(wall & upper, 0.05, disparity)
    painted = paint(rgb, known, disparity)
    sky = ~known & upper & (np.arange(128)[:, None] < 60)
    assert np.abs(painted[sky] - (0.0, 0.2, 0.9)).max() < 0.05, (
        "the far blue takes nothing of the nearer green"
    )


def test_the_same_seed_gives_the_same_bytes_and_threads_do_not_matter():
    rgb, known, disparity = two_tone()
    threads = torch.get_num_threads()
    first = paint(rgb, known, disparity, seed=5)
    torch.set_num_threads(threads + 1)
    try:
        assert np.array_equal(first, paint(rgb, known, disparity, seed=5))
    finally:
        torch.set_num_threads(threads)
    assert not np.array_equal(first, paint(rgb, known, disparity, seed=6))


def test_the_scale_of_disparity_does_not_matter():
    rgb, known, disparity = two_tone()
    # 4: a power of two, so that no rounding differs.
    small, large = paint(rgb, known, disparity), paint(rgb, known, 4 * disparity)
    assert np.abs(small - large).mean() < 0.03
