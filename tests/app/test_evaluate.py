"""``kinephoto evaluate`` on a folder of two small photos."""

from __future__ import annotations

import json
import sys
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
    assert "Note: mine has no manifest.csv, so all its pictures are measured" in said
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


@pytest.fixture
def labelled(folder: Path) -> Path:
    """The same photos, each with a label: a slope."""
    (folder / "disparity").mkdir()
    for path in folder.glob("*.jpg"):
        slope = Image.linear_gradient("L").resize((96, 80))
        slope.save(folder / "disparity" / f"{path.stem}.avif", quality=90)
    return folder


def test_depth_prints_tables_and_writes_results(labelled: Path, capsys: pytest.CaptureFixture) -> None:
    out = labelled.parent / "out"
    words = ["--photos", str(labelled), "--depth", "plane", "--out", str(out)]
    app(["evaluate", "depth", *words], standalone_mode=False)
    text, said = capsys.readouterr()
    assert "has no manifest.csv, so all its pictures are measured" in said
    assert "**teacher**: against the teacher's labels (2 photos, 2 pictures)" in text
    assert "| plane | 0.000 (0.000 to 0.000) | 0.000 | 1.000 (1.000 to 1.000) |" in text
    assert text == (out / "results.md").read_text(encoding="utf-8")
    content = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert content["methods"]["plane"]["teacher"]["correlation"]["mean"] == 0
    assert content["weights_sha256"] == {"plane": None} and content["settings"]["depth"] == "plane"


def test_depth_names_what_is_broken_and_ends_with_exit_code_1(
    labelled: Path, capsys: pytest.CaptureFixture
) -> None:
    (labelled / "broken.jpg").write_bytes(b"no picture")
    scenes, out = labelled.parent / "scenes", labelled.parent / "out"
    (scenes / "bad" / "images").mkdir(parents=True)
    (scenes / "bad" / "cameras.txt").write_text("made by a test\n1 2 3\n")
    words = ["--photos", str(labelled), "--scenes", str(scenes), "--depth", "plane", "--out", str(out), "-q"]
    assert app(["evaluate", "depth", *words], standalone_mode=False) == 1
    printed = capsys.readouterr()
    assert "Left out: broken.jpg: " in printed.err and "Left out: bad: " in printed.err
    assert "2 could not be used." in printed.err and "| plane |" in printed.out
    content = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert [each["name"] for each in content["skipped"]] == ["broken.jpg", "bad"]
    assert len(content["by_name"]) == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", "nothing to measure on; name --photos DIR or --scenes DIR"),
        ("--photos absent", "no folder of photos absent"),
        ("--scenes absent", "absent holds no scene"),
        ("--photos {} --depth rembrandt", "no depth 'rembrandt' to measure"),
        ("--photos {} --depth plane,plane", "twice"),
        ("--photos {} --depth plane --short-side-px 8", "--short-side-px is 8; it must be from 56"),
        (
            "--photos {} --depth plane -q",
            "Nothing could be measured on 2 photos and 0 scenes: there are no labels",
        ),
    ],
)
def test_depth_that_cannot_be_measured_is_told(folder: Path, words: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        app(["evaluate", "depth", *words.format(folder).split()], standalone_mode=False)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that are over at once, in place of films; the painter "broken" fails."""
    from kinephoto.measure import speed_contestants
    from kinephoto.measure.speed import Contestant

    def made(painter: str, photo: Path, size: int, frames: int, depth: Path | None = None) -> Contestant:
        tells = photo.with_name(f"{painter}.json")
        end = "raise SystemExit('no paint')" if painter == "broken" else "0"
        told = f"open({str(tells)!r}, 'w').write('{{\"seconds\": {{\"frames\": 2}}}}'); {end}"
        return Contestant(painter, (sys.executable, "-S", "-c", told), frames, tells)

    monkeypatch.delenv(speed_contestants.DEPTHFLOW_VARIABLE, raising=False)
    monkeypatch.setattr(speed_contestants, "kinephoto_contestant", made)


def test_speed_prints_a_table_and_writes_results(
    folder: Path, quick: None, capsys: pytest.CaptureFixture
) -> None:
    words = ["--photo", str(next(folder.iterdir())), "--painters", "a,b", "--runs", "2"]
    app(["evaluate", "speed", *words, "--out", str(folder / "out")], standalone_mode=False)
    text = capsys.readouterr().out
    assert "| a | 2 |" in text and "| b | 2 |" in text and "| 24.00 | 24.00 to 24.00 |" in text
    content = json.loads((folder / "out" / "results.json").read_text(encoding="utf-8"))
    assert [each["program"] for each in content["runs"]] == ["a", "b"] * 3
    assert content["programs"]["a"]["frames_per_s"]["median"] == 24 and content["depthflow"] is None


def test_speed_names_who_failed_and_ends_with_exit_code_1(
    folder: Path, quick: None, capsys: pytest.CaptureFixture
) -> None:
    words = ["--photo", str(next(folder.iterdir())), "--painters", "a,broken", "--runs", "1", "-q"]
    assert app(["evaluate", "speed", *words], standalone_mode=False) == 1
    printed = capsys.readouterr()
    assert "| a | 1 |" in printed.out and "broken" not in printed.out
    assert "Left out: broken: " in printed.err and "exit code 1: no paint" in printed.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--painters ,", "name one or more, each once"),
        ("--painters a,a", "each once"),
        ("--depthflow absent", "There is no absent; --depthflow takes"),
        ("--photo absent.jpg", "absent.jpg is not a picture"),
        ("--painters broken -q --runs 1", "None of the programs ran to its end"),
    ],
)
def test_speed_that_cannot_be_timed_is_told(folder: Path, quick: None, words: str, sentence: str) -> None:
    given = words.split()
    photo = [] if "--photo" in given else ["--photo", str(next(folder.iterdir()))]
    with pytest.raises(InputError, match=sentence):
        app(["evaluate", "speed", *photo, *given], standalone_mode=False)
