from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinephoto.errors import InputError
from kinephoto.learn.labels import TeacherLabels, code_of
from kinephoto.learn.photos import (
    SHORT_SIDE_PX,
    Labelled,
    Skipped,
    check_few_bad,
    read_all,
    read_labelled,
    split_of,
)


def plain_folder(folder: Path, count: int) -> Path:
    """Pictures without a manifest, half of them in a folder of their own."""
    (folder / "inner").mkdir(parents=True)
    for number in range(count):
        place = folder / "inner" if number % 2 else folder
        pixels = np.full((20, 24, 3), number, np.uint8)
        Image.fromarray(pixels).save(place / f"{number:03d}.png")
    return folder


@pytest.mark.parametrize("manifest", [True, False])
def test_what_is_trained_on_and_what_is_held_out_are_disjoint_and_everything(photos, tmp_path, manifest):
    folder = photos if manifest else plain_folder(tmp_path / "plain", 200)
    train, held_out = split_of(folder, "train"), split_of(folder, "held-out")
    assert held_out
    assert not set(train) & set(held_out)
    assert len(train) + len(held_out) == (24 if manifest else 200)


def test_test_photos_appear_in_no_other_split(photos):
    test = split_of(photos, "test")
    assert len(test) == 2
    assert not set(test) & {*split_of(photos, "train"), *split_of(photos, "held-out")}


def test_a_photo_stays_in_its_split_when_others_come(tmp_path):
    plain_folder(tmp_path, 120)
    before = split_of(tmp_path, "held-out")
    Image.new("RGB", (20, 20)).save(tmp_path / "another.png")
    assert set(before) <= set(split_of(tmp_path, "held-out"))


def test_about_one_in_24_is_held_out(tmp_path):
    lines = [f"photos/{number}.png,train" for number in range(4800)]
    (tmp_path / "manifest.csv").write_text("\n".join(["path,split", *lines]))
    # 200 are expected; a binomial's deviation is 14.
    assert 150 < len(split_of(tmp_path, "held-out")) < 250


def test_of_few_photos_one_is_held_out_all_the_same(tmp_path):
    # By their hashes none of these names would be.
    for number in range(4):
        Image.new("RGB", (20, 20)).save(tmp_path / f"{number}.png")
    assert len(split_of(tmp_path, "held-out")) == 1
    assert len(split_of(tmp_path, "train")) == 3


def test_labels_masks_depth_maps_and_hidden_files_are_no_photos(tmp_path):
    plain_folder(tmp_path, 4)
    for name in ("disparity/a.avif", "masks/a.png", "b_depth.png", ".thumbs/c.png", "run/labels/d.avif"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        Image.new("L", (20, 20)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    names = split_of(tmp_path, "train", tmp_path / "run") + split_of(tmp_path, "held-out", tmp_path / "run")
    assert sorted(names) == ["000.png", "002.png", "inner/001.png", "inner/003.png"]
    assert split_of(tmp_path, "test") == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,split\na.png,train\n", "columns path and split"),
        ("path,split\na.png,test\n", "no photo of the split train"),
        ("path,split\na.png,train\na.png,test\n", "both for train and for test"),
        ("", "no photo of the split train"),
        ("path,split\n\xff\xfe,train\n", "columns path and split"),
    ],
)
def test_a_wrong_manifest_is_refused_in_one_sentence(tmp_path, text, says):
    (tmp_path / "manifest.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=says):
        split_of(tmp_path, "train")


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(InputError, match="no pictures and no manifest.csv"):
        split_of(tmp_path, "train")
    with pytest.raises(InputError, match="no folder of photos"):
        split_of(tmp_path / "absent", "train")
    with pytest.raises(InputError, match="'dev' is not a split"):
        split_of(tmp_path, "dev")


def test_a_photo_and_its_label_are_read_as_they_are_stored(photos, picture):
    found = read_labelled(photos, "photos/free/003.png")
    rgb, code = picture(3)
    np.testing.assert_array_equal(found.rgb, rgb)
    # AVIF changes a step between two planes by a few of 255, most pixels not at all.
    assert np.abs(found.code.astype(int) - code).mean() < 2


SPOILT = {
    "not a picture": (
        lambda photo, label: photo.write_bytes(b"no picture"),
        "not a picture that can be read",
    ),
    "cut off": (lambda photo, label: photo.write_bytes(photo.read_bytes()[:120]), "not a picture"),
    "missing": (lambda photo, label: photo.unlink(), "not a picture that can be read"),
    "no label": (lambda photo, label: label.unlink(), "has no disparity label .* --teacher"),
    "label not a picture": (
        lambda photo, label: label.write_bytes(b"\x00" * 90),
        "The label of photos/free/003",
    ),
    "another size": (
        lambda photo, label: Image.new("RGB", (30, 30)).save(photo),
        r"is \(30, 30\), its disparity",
    ),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_photo_that_cannot_be_used_is_told_in_one_sentence(own_photos, case):
    spoil, says = SPOILT[case]
    spoil(own_photos / "photos/free/003.png", own_photos / "disparity/free/003.avif")
    with pytest.raises(InputError, match=says) as error:
        read_labelled(own_photos, "photos/free/003.png")
    assert "\n" not in str(error.value)


def test_one_bad_photo_is_skipped_and_the_others_come_in_order(own_photos):
    names = split_of(own_photos, "train")
    (own_photos / names[5]).write_bytes(b"no picture")
    found = list(read_all(own_photos, names, None))
    assert [photo.name for photo in found] == names
    assert [photo.name for photo in found if isinstance(photo, Skipped)] == [names[5]]


def test_one_photo_in_twenty_may_be_bad_and_no_more(tmp_path):
    bad = [Skipped("a.png", "a.png is not a picture."), Skipped("b.png", "b.png is not a picture.")]
    check_few_bad(tmp_path, bad, 40)
    with pytest.raises(InputError, match="More than 5% of the 39 photos .* a.png is not a picture"):
        check_few_bad(tmp_path, bad, 39)


class Brightness:
    """A teacher to whom bright is near; it counts the labels that it makes."""

    fingerprint = b"brightness"

    def __init__(self) -> None:
        self.asked = 0

    def disparity(self, rgb):
        self.asked += 1
        return rgb.mean(0)


def test_a_label_is_made_once_and_found_again_by_the_pictures_content(tmp_path, picture):
    rgb, _ = picture(0)
    teacher = Brightness()
    labels = TeacherLabels(teacher, tmp_path / "labels")
    first = labels.code(rgb)
    again = TeacherLabels(teacher, tmp_path / "labels").code(rgb.copy())
    assert teacher.asked == 1
    np.testing.assert_array_equal(first, again)
    labels.code(rgb[::-1])
    assert teacher.asked == 2
    assert len(list((tmp_path / "labels").iterdir())) == 2


def test_another_teacher_makes_its_own_labels(tmp_path, picture):
    rgb, _ = picture(0)
    TeacherLabels(Brightness(), tmp_path).code(rgb)
    other = Brightness()
    other.fingerprint = b"another"
    TeacherLabels(other, tmp_path).code(rgb)
    assert other.asked == 1


def test_a_label_says_what_the_teacher_said(tmp_path, picture):
    rgb, _ = picture(0)
    truth = rgb.mean(-1)
    truth = (truth - truth.min()) / np.ptp(truth)
    for folder in (tmp_path, None):
        code = TeacherLabels(Brightness(), folder).code(rgb)
        # The file's coding; without a file, the rounding to 255 square roots, is far below.
        assert np.abs((code / 255.0) ** 2 - truth).mean() < (0.02 if folder else 0.004)


def test_a_flat_answer_is_a_flat_label():
    assert not code_of(np.full((4, 5), 7.0, np.float32)).any()


def test_labels_are_not_made_without_need(photos, tmp_path):
    teacher = Brightness()
    found = list(read_all(photos, split_of(photos, "train"), TeacherLabels(teacher, tmp_path)))
    assert all(isinstance(photo, Labelled) for photo in found)
    assert teacher.asked == 0


def test_a_large_picture_without_a_label_is_made_small_and_upright(tmp_path):
    pixels = np.zeros((800, 1200, 3), np.uint8)
    pixels[:, :600] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter, clockwise, to see it upright
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif)
    found = read_labelled(tmp_path, "turned.jpg", TeacherLabels(Brightness(), None))
    assert found.rgb.shape == (576, SHORT_SIDE_PX, 3)
    assert found.code.shape == (576, SHORT_SIDE_PX)
    assert found.rgb[:200].mean() > 190
    assert found.rgb[-200:].mean() < 10
