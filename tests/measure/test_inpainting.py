from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from kinephoto.errors import InputError
from kinephoto.learn.pairs import Pair, cycle_pair
from kinephoto.learn.photos import Skipped, split_of
from kinephoto.measure import inpainting
from kinephoto.measure.inpainting import (
    BEST_PSNR_DB,
    KINDS,
    Finished,
    Painted,
    evaluate_inpainting,
    inside_picture,
    kinds_of_holes,
    measured,
    photo_with_depth,
    windows,
)
from kinephoto.measure.inpainting_report import results, sheet, summary, tables
from kinephoto.measure.methods import hole_fills
from kinephoto.measure.photos import photo_names, split_note, spread
from kinephoto.measure.report import write_results
from kinephoto.measure.stlpips import Distance


class MeanError:
    """As quick as can be, in place of a network."""

    def features(self, rgb):
        return [rgb]

    def distance(self, predicted, true_features):
        apart = (predicted - true_features[0]).abs().mean(0)
        return Distance(float(apart.mean()), apart)


DISTANCES = {"alex": MeanError(), "vgg": MeanError()}


def plain(*names):
    return {name: hole_fills.PLAIN[name] for name in names}


@pytest.fixture
def pair(example_photo) -> Pair:
    """A near square before a wall."""
    with Image.open(example_photo) as picture:
        rgb = torch.from_numpy(np.array(picture.resize((144, 112)))).permute(2, 0, 1).float() / 255
    disparity = torch.full((112, 144), 0.2)
    disparity[30:80, 40:90] = 1.0
    return cycle_pair(rgb, disparity, seed=0, index=3)


@pytest.fixture
def folder(tmp_path, example_photos):
    """Two photos whose labels hold a near square before a wall, without a manifest; 96×128 px."""
    code = np.full((96, 128), 60, np.uint8)
    code[30:70, 40:80] = 255
    (tmp_path / "disparity").mkdir()
    for path in example_photos[:2]:
        with Image.open(path) as picture:
            picture.convert("RGB").resize((128, 96)).save(tmp_path / f"{path.stem}.png")
        Image.fromarray(code).save(tmp_path / "disparity" / f"{path.stem}.avif", quality=95)
    return tmp_path


def test_an_oracle_that_returns_the_truth_gets_the_best_of_every_number(pair):
    methods = {"oracle": lambda rgb, known, disparity, seed: pair.rgb, **plain(*hole_fills.PLAIN)}
    methods["black"] = lambda rgb, known, disparity, seed: rgb
    values = measured("photo", [pair], methods, DISTANCES).values
    oracle = values["oracle"]
    assert oracle["psnr_hole"] == BEST_PSNR_DB
    assert oracle["st_lpips_alex"] == oracle["st_lpips_vgg_windows"] == 0
    for row in values.values():
        for number, value in row.items():
            if number != "seconds" and not math.isnan(value):
                better = oracle[number] >= value if number.startswith("psnr") else oracle[number] <= value
                assert better, number
    assert values["black"]["psnr_hole"] < values["nearest"]["psnr_hole"] < BEST_PSNR_DB


def test_every_method_sees_the_same_holes_and_none_of_the_truth_in_them(pair):
    seen = []

    def spy(rgb, known, disparity, seed):
        seen.append((rgb.clone(), known.clone(), disparity.clone(), seed))
        for values in (rgb, known, disparity):
            values.zero_()
        return rgb

    measured("photo", [pair], {"first": spy, "second": spy}, DISTANCES, seed=5)
    (rgb, known, disparity, _), again = seen
    assert all(torch.equal(a, b) for a, b in zip((rgb, known, disparity), again[:3], strict=True))
    assert torch.equal(known, pair.known) and seen[0][3] == again[3] == 5
    assert torch.equal(rgb[:, known], pair.rgb[:, known]) and not rgb[:, ~known].any()
    assert torch.equal(disparity[known], pair.disparity[known]) and (disparity > 0).all()
    # What the square hid is the wall's, whatever the photo's own disparity there is.
    assert float(disparity[~known].max()) < 0.9


def test_a_fill_cannot_change_what_is_known(pair):
    found = measured("photo", [pair], {"white": lambda rgb, *_: torch.ones_like(rgb)}, DISTANCES)
    picture = found.example.pictures["white"]
    assert torch.equal(picture[:, pair.known], pair.rgb[:, pair.known])
    assert (picture[:, ~pair.known] == 1).all()


def test_the_same_seed_gives_the_same_numbers_and_another_gives_other_holes(folder):
    def run(seed):
        names = photo_names(folder)
        found = evaluate_inpainting(folder, names, plain("nearest", "far"), DISTANCES, seed=seed, pairs=2)
        return [
            {m: {k: v for k, v in row.items() if k != "seconds"} for m, row in photo.values.items()}
            for photo in found
        ]

    first = run(0)
    np.testing.assert_equal(first, run(0))
    assert first[0]["nearest"]["psnr"] != run(1)[0]["nearest"]["psnr"]


def test_a_photos_holes_do_not_depend_on_the_other_photos(folder):
    both = list(evaluate_inpainting(folder, photo_names(folder), plain("far"), DISTANCES))
    (alone,) = evaluate_inpainting(folder, photo_names(folder)[1:], plain("far"), DISTANCES)
    assert torch.equal(both[1].example.known, alone.example.known)


def test_photos_are_finished_one_at_a_time_and_bad_ones_are_told(folder):
    (folder / "a-broken.png").write_bytes(b"no picture")
    Image.new("RGB", (90, 40)).save(folder / "b-small.png")
    run = evaluate_inpainting(folder, photo_names(folder), plain("far"), DISTANCES)
    broken, good, small, _ = run
    assert isinstance(good, Finished) and isinstance(broken, Skipped) and isinstance(small, Skipped)
    assert "a-broken.png" in broken.why and "64" in small.why


def test_a_move_that_opens_no_hole_is_followed_by_the_next_and_eight_are_enough(pair, monkeypatch):
    whole = Pair(pair.rgb, pair.rgb, torch.ones_like(pair.known), pair.disparity)
    tried = []

    def moves(rgb, disparity, seed, index, kinds):
        tried.append(index)
        return pair if len(tried) == 3 else whole

    monkeypatch.setattr(inpainting, "cycle_pair", moves)
    assert inpainting.holes(pair.rgb, pair.disparity, 0, "photo", 0) is pair
    assert len(set(tried)) == 3
    with pytest.raises(InputError, match="8 moves"):
        inpainting.holes(pair.rgb, pair.disparity, 0, "photo", 0)


def test_results_have_the_numbers_under_their_names(folder, tmp_path):
    finished = list(evaluate_inpainting(folder, photo_names(folder), plain("far", "nearest"), DISTANCES))
    write_results(tmp_path / "results.json", results(finished, [Skipped("x.png", "x.png is broken.")]))
    content = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert list(content["methods"]) == ["far", "nearest"] and content["photos"] == 2
    for name in ("psnr_hole", "psnr", "st_lpips_alex", "st_lpips_vgg", "st_lpips_alex_windows", "seconds"):
        number = content["methods"]["far"][name]
        low, high = number["ci95"]
        assert low <= number["mean"] <= high and number["photos"] == 2, name
    for kind in KINDS:
        assert {f"psnr_hole_{kind}", f"st_lpips_vgg_windows_{kind}"} <= set(content["methods"]["far"])
    assert content["skipped"] == [{"photo": "x.png", "why": "x.png is broken."}]
    assert len(content["by_photo"]) == 2 and content["commit"]
    table = tables(summary(finished))
    assert len([line for line in table.splitlines() if line.startswith("| far |")]) == 2


def test_one_photo_has_a_mean_and_no_interval(pair):
    number = summary([measured("photo", [pair], plain("far"), DISTANCES)])["far"]["psnr_hole"]
    assert number["mean"] == number["median"] and all(math.isnan(limit) for limit in number["ci95"])


def test_holes_are_told_apart_by_their_width_and_by_whether_they_touch_the_border():
    hole = torch.zeros(128, 128, dtype=torch.bool)
    hole[20:100, 10:14], hole[20:100, 30:46], hole[20:100, 60:100], hole[:, 124:] = True, True, True, True
    kinds = kinds_of_holes(hole)
    assert [int(kinds[kind].sum()) for kind in KINDS] == [80 * 4 + 128 * 4, 80 * 16, 80 * 40, 80 * 60]
    assert not inside_picture(hole)[:, 124:].any()


def test_windows_hold_every_hole_and_stay_near_it():
    hole = torch.zeros(200, 300, dtype=torch.bool)
    hole[100:103, 150:153] = True
    assert int(windows(hole).sum()) == 64 * 64
    hole[0] = True
    region = windows(hole)
    assert region[hole].all() and not region[170:].any()
    assert not windows(torch.zeros(200, 300, dtype=torch.bool)).any()


def test_photos_are_reduced_and_their_labels_with_them(folder):
    rgb, disparity = photo_with_depth(folder, photo_names(folder)[0], 80)
    assert rgb.shape == (3, 80, 107) and disparity.shape == (80, 107)
    assert disparity[40, 50] > 0.9 and disparity[5, 5] < 0.1


def test_the_split_is_the_manifests_and_all_pictures_without_one(folder):
    names = photo_names(folder)
    assert len(names) == 2
    parted = {split: photo_names(folder, split) for split in ("train", "held-out")}
    assert parted == {split: split_of(folder, split) for split in parted}
    assert sorted(parted["train"] + parted["held-out"]) == names and all(parted.values())
    assert "no manifest.csv" in split_note(folder, "test") and not split_note(folder, "held-out")
    (folder / "manifest.csv").write_text("path,split\n" + "\n".join(f"{n},test" for n in names[:1]) + "\n")
    assert photo_names(folder) == names[:1] and not split_note(folder, "test")
    (folder / "manifest.csv").write_text("file\nx\n")
    with pytest.raises(InputError, match="columns path and split"):
        photo_names(folder)
    with pytest.raises(InputError, match="no folder"):
        photo_names(folder / "absent")


def test_few_photos_are_spread_over_all():
    assert spread("abcdefghij", 3) == ["a", "d", "g"]
    assert spread("abc", None) == spread("abc", 7) == ["a", "b", "c"]


def test_methods_are_the_plain_fills_short_names_and_whatever_the_door_knows():
    assert list(hole_fills.methods_named(["ns", "opencv:telea", "push-pull"])) == [
        "ns",
        "opencv:telea",
        "push-pull",
    ]
    for names, sentence in (
        (["rembrandt"], "no painter called 'rembrandt'"),
        (["far", "far"], "once"),
        ([], "none"),
    ):
        with pytest.raises(InputError, match=sentence):
            hole_fills.methods_named(names)


@pytest.mark.parametrize("name", ["far", "push-pull-far", "classical"])
def test_what_goes_by_depth_continues_the_wall_and_not_the_square(name):
    rgb, disparity = torch.full((3, 64, 64), 0.8), torch.full((64, 64), 0.2)
    rgb[:, :, 36:], disparity[:, 36:] = 0.1, 1.0
    known = torch.ones(64, 64, dtype=torch.bool)
    known[:, 28:36] = False
    disparity[:, 28:36] = 0.2
    filled = hole_fills.methods_named([name])[name](rgb * known, known, disparity, 0)
    assert (filled[:, :, 28:36] > 0.7).all()


def test_a_sheet_shows_photo_holes_and_every_method(pair):
    example = measured("photo", [pair], plain("far", "nearest"), DISTANCES).example
    drawn = sheet(example)
    assert drawn.shape[0] == 3 and drawn.shape[2] > 4 * pair.rgb.shape[2]
    assert torch.isfinite(drawn).all() and 0 <= float(drawn.min()) <= float(drawn.max()) <= 1


@pytest.mark.parametrize("hw", [(96, 99), (97, 98), (100, 128)])
def test_sheets_of_pictures_whose_sides_are_no_multiples_of_three(hw):
    known = torch.ones(hw, dtype=torch.bool)
    known[40:50, 40:50] = False
    rgb = torch.rand(3, *hw)
    drawn = sheet(Painted(rgb, known, {"grey": rgb * 0 + 0.5}))
    assert drawn.shape[0] == 3 and torch.isfinite(drawn).all()
