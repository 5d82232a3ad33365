"""``kinephoto evaluate inpainting`` on a folder of two small photos."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from kinephoto.app.cli import app
from kinephoto.errors import InputError
from kinephoto.measure.stlpips import weights_file


@pytest.fixture
def folder(tmp_path: Path, example_photos: list[Path]) -> Path:
    """Two photos of 96×80 px without labels or a manifest."""
    (tmp_path / "mine").mkdir()
    for path in example_photos[:2]:
        with Image.open(path) as picture:
            picture.convert("RGB").resize((96, 80)).save(tmp_path / "mine" / path.name)
    return tmp_path / "mine"


@pytest.fixture
def weights() -> None:
    try:
        weights_file("alex")
    except InputError as error:
        pytest.skip(str(error))


def test_it_prints_a_table_and_writes_results_and_sheets(kinephoto, folder: Path, weights: None) -> None:
    (folder / "broken.jpg").write_bytes(b"no picture")
    words = "evaluate inpainting --photos mine --methods nearest,telea --out out --sheets 1"
    answer = kinephoto(*words.split())
    said = answer.stderr.decode()
    assert answer.returncode == 0, said
    assert "2 photos measured, 1 skipped." in said and "broken.jpg" in said
    content = json.loads((folder.parent / "out" / "results.json").read_text(encoding="utf-8"))
    assert set(content["methods"]) == {"nearest", "telea"} and content["settings"]["seed"] == 0
    for number in ("psnr_hole", "psnr", "st_lpips_alex", "st_lpips_vgg"):
        assert content["methods"]["telea"][number]["mean"] > 0
    assert answer.stdout.decode() == (folder.parent / "out" / "results.md").read_text(encoding="utf-8")
    assert answer.stdout.decode().count("| telea |") == 2
    (sheet,) = (folder.parent / "out" / "sheets").iterdir()
    with Image.open(sheet) as picture:
        assert sheet.name == "000.png" and picture.width > 4 * 96


def test_misuse_is_one_sentence_and_exit_code_2(kinephoto, folder: Path) -> None:
    answer = kinephoto("evaluate", "inpainting", "--photos", "absent")
    assert answer.returncode == 2
    assert answer.stderr.decode() == "Error: There is no folder of photos absent.\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--pairs 0", "--pairs is 0; it must be from 1"),
        ("--split best", "--split"),
        ("--sheets 2", "--out DIR"),
        ("--methods rembrandt", "no painter called 'rembrandt'.*nearest"),
        ("--methods far,far", "once"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_done(folder: Path, words: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        app(["evaluate", "inpainting", "--photos", str(folder), *words.split()], standalone_mode=False)


def test_a_file_in_the_place_of_the_output_folder_is_told(folder: Path, weights: None) -> None:
    words = ["--photos", str(folder), "--methods", "far", "--out", str(folder / "astronaut.jpg")]
    with pytest.raises(InputError, match="cannot be made a folder"):
        app(["evaluate", "inpainting", *words], standalone_mode=False)


def test_a_folder_where_nothing_can_be_measured_is_an_error(tmp_path: Path, weights: None) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    words = ["--photos", str(tmp_path), "--methods", "far", "-q"]
    with pytest.raises(InputError, match="None of the 1 photos could be measured"):
        app(["evaluate", "inpainting", *words], standalone_mode=False)
