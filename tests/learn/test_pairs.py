from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from kinephoto.errors import InputError
from kinephoto.learn.bank import HoleBank, Holes, photo_disparity
from kinephoto.learn.hole_crops import drawn_ahead, hole_batch, hole_crop
from kinephoto.learn.pairs import MIXTURE, Motion, cycle_pair, hole_widths
from kinephoto.learn.photos import Labelled

KINDS = ("cycle", "union", "wide", "border")


@pytest.fixture
def photo(picture) -> Labelled:
    return Labelled("a", *picture(3, (96, 128)))


@pytest.fixture
def scene(photo):
    rgb = torch.from_numpy(photo.rgb.copy()).permute(2, 0, 1).float() / 255
    return rgb, photo_disparity(photo)


def test_the_near_thing_takes_its_edge_along_as_in_a_film(photo):
    disparity = photo_disparity(photo)
    code = photo.code.astype(np.float32) / 255
    near = torch.from_numpy(code > 0.5 * (code.max() + np.median(code)))
    taken_along = (disparity > 0.7 * float(disparity.max())) & ~near
    # The near thing's own edge, half its colour, is not left to the background.
    ring = torch.nn.functional.max_pool2d(near[None].float(), 3, 1, 1)[0].bool() & ~near
    assert float(taken_along[ring].float().mean()) > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_a_pair_depends_on_seed_and_index_alone(scene, kind):
    once, again = (cycle_pair(*scene, 5, 7, kinds=[kind]) for _ in range(2))
    assert once.kind == again.kind == kind
    assert torch.equal(once.known, again.known)
    others = [cycle_pair(*scene, 5, index, kinds=[kind]).known for index in range(8, 14)]
    assert not all(torch.equal(once.known, other) for other in others)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_known_is_the_photo_and_what_is_lost_is_black(scene, kind):
    rgb, disparity = scene
    pair = cycle_pair(rgb, disparity, 1, 2, kinds=[kind])
    assert torch.equal(pair.rgb, rgb)
    assert 0 < float((~pair.known).float().mean()) < 0.7
    assert float(pair.rendered[:, ~pair.known].abs().max()) == 0
    # The way there and back resamples twice: edges soften, the rest stays.
    assert float((pair.rendered - rgb)[:, pair.known].abs().median()) < 0.02


def test_holes_of_the_way_there_and_back_lie_beside_the_near_thing(scene):
    rgb, disparity = scene
    still = Motion(sideways=(0.05, 0.05001), upwards=0.0, forwards=0.0, turned_deg=0.0)
    pair = cycle_pair(rgb, disparity, 0, 1, still)
    lost = ~pair.known
    lost[:, :12] = lost[:, -12:] = False  # what left the picture at its sides
    lost[:12] = lost[-12:] = False
    assert lost.any()
    # The disc is near: what it hides is background.
    assert float(disparity[lost].mean()) < 0.6 * float(disparity.max())


def test_a_wider_hole_covers_what_the_way_there_and_back_lost(scene):
    widths = {kind: [] for kind in ("cycle", "wide")}
    for kind, found in widths.items():
        for index in range(6):
            found.append(float((~cycle_pair(*scene, 3, index, kinds=[kind]).known).float().mean()))
    assert np.mean(widths["wide"]) > np.mean(widths["cycle"])


def test_the_mixture_is_drawn_as_it_says(scene):
    kinds = [cycle_pair(*scene, 0, i, kinds={"cycle": 0.3, "border": 0.7}).kind for i in range(60)]
    # 42 borders expected, four standard deviations are 14.
    assert 28 <= kinds.count("border") <= 56


def test_hole_widths_are_those_of_the_strip():
    known = torch.ones(40, 60, dtype=torch.bool)
    known[:, 20:30] = False
    widths = hole_widths(known)
    assert len(widths) == 400
    assert np.allclose(widths, 10, atol=1.5)  # a chessboard of distances, 5×5 weights


def test_unknown_kinds_and_sizes_are_refused(scene):
    rgb, disparity = scene
    with pytest.raises(InputError, match="kinds cycle, union, wide, border"):
        cycle_pair(rgb, disparity, 0, 0, kinds=["square"])  # type: ignore[list-item]
    with pytest.raises(InputError, match="its disparity"):
        cycle_pair(rgb, disparity[:-1], 0, 0)


def test_the_bank_gives_back_what_it_made(photo, tmp_path):
    made = HoleBank(tmp_path / "holes").holes(photo)
    read = HoleBank(tmp_path / "holes").holes(photo)
    unkept = HoleBank(None).holes(photo)
    for other in (read, unkept):
        assert np.array_equal(made.known, other.known)
        assert np.array_equal(made.disparity, other.disparity)
    assert len(list((tmp_path / "holes").iterdir())) == 1


def test_the_bank_refuses_what_it_did_not_write(photo, tmp_path):
    HoleBank(tmp_path).holes(photo)
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputError, match="delete it"):
        HoleBank(tmp_path).holes(photo)


def test_another_seed_has_other_holes(photo):
    one, other = (HoleBank(None, seed=seed).holes(photo).known for seed in (0, 1))
    assert one.shape != other.shape or not np.array_equal(one, other)


def test_each_photo_has_ways_and_kinds_of_its_own(picture):
    photos = [Labelled(f"{number}", *picture(number, (48, 64))) for number in range(24)]
    bank = HoleBank(None)
    kinds = [tuple(bank.holes(photo).kinds) for photo in photos]
    assert set().union(*kinds) == set(range(len(MIXTURE)))
    assert len(set(kinds)) > 8
    renamed = Labelled("another name", photos[0].rgb, photos[0].code)
    assert np.array_equal(bank.holes(renamed).known, bank.holes(photos[0]).known)


def test_crops_hold_holes_and_their_fill_is_made_of_the_known(photo):
    holes = HoleBank(None).holes(photo)
    for number in range(10):
        rgb, known, filled = hole_crop(photo, holes, 64, np.random.default_rng(number))
        assert rgb.shape == filled.shape == (3, 64, 64)
        assert not known.all()
        assert torch.equal(filled[:, known], rgb[:, known])
        colours = {tuple(c) for c in (rgb[:, known] * 255).round().int().T.tolist()}
        assert {tuple(c) for c in (filled[:, ~known] * 255).round().int().T.tolist()} <= colours


def test_a_crop_does_not_depend_on_its_batch(photo, picture):
    photos = [photo, Labelled("b", *picture(4, (96, 128)))]
    bank = HoleBank(None)
    draw = partial(hole_batch, photos, bank.holes, 64)
    keys = [(0, 5, i) for i in range(4)]
    whole = draw(keys)
    parts = [draw(keys[:1]), draw(keys[1:])]
    for name in ("rgb", "known", "filled"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(p, name) for p in parts]))
    assert whole.names == parts[0].names + parts[1].names


def test_photos_smaller_than_a_crop_are_mirrored_on(photo):
    rgb, known, _ = hole_crop(photo, HoleBank(None).holes(photo), 160, np.random.default_rng(0))
    assert rgb.shape == (3, 160, 160)
    assert not known.all()


def test_photos_without_edges_are_not_waited_for_for_ever():
    flat = Labelled("flat", np.full((64, 64, 3), 90, np.uint8), np.full((64, 64), 90, np.uint8))
    none = Holes(np.zeros((0, 64, 64), bool), np.zeros(0, np.uint8), np.ones((64, 64), np.float16))
    with pytest.raises(InputError, match="no depth edges"):
        hole_batch([flat], lambda photo: none, 32, [(0,)])


def test_what_is_drawn_ahead_comes_in_order():
    assert list(drawn_ahead(lambda step: step * step, 3, 9)) == [9, 16, 25, 36, 49, 64]
