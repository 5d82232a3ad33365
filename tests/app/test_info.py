"""``kinephoto info`` reads back what ``animate`` wrote, and says what can be believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from kinephoto.scene.values import Frame
from kinephoto.studio.certificates import development_signer
from kinephoto.studio.provenance import Provenance
from kinephoto.studio.video import write_video

KNOWN = Provenance("kinephoto 1.2.3", "classical", "depth.png", 7, {"path": "circle", "loop": True})
WORDS = "--depth depth.png --seconds 0.25 --fps 12 --size 96 --painter opencv:telea --path circle -q"
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path: Path) -> Call:
    """Exit code, standard output and standard error of ``kinephoto`` in this process."""

    def call(*words: object) -> tuple[int, str, str]:
        from kinephoto.app import cli

        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["kinephoto", *(str(word) for word in words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


@pytest.fixture
def info(run: Call) -> Call:
    return lambda *words: run("info", *words)


def film(folder: Path, name: str = "film.mp4", **how: Any) -> Path:
    frames = [Frame(torch.full((3, 48, 64), 0.5), index, torch.full((48, 64), 0.25)) for index in range(3)]
    return write_video(frames, folder / name, **{"provenance": KNOWN} | how).path


def test_animate_says_how_the_film_was_made(
    run: Call, info: Call, small_photo: Path, small_depth: Path
) -> None:
    words = (*WORDS.split(), "--credentials", "--seed", 5, "--save-mask", "mask.webm")
    assert run("animate", "beach.jpg", *words) == (0, "", "")
    code, text, _ = info(small_photo.with_name("beach.mp4"), "--json")
    said = json.loads(text)
    assert code == 0 and said["made_by_kinephoto"] and said["stated_in"] == ["XMP", "Content Credentials"]
    provenance = said["provenance"]
    assert (provenance["seed"], provenance["painter"], provenance["depth"]) == (
        5,
        "opencv:telea",
        "depth.png",
    )
    assert provenance["settings"]["path"] == "circle" and "threads" not in provenance["settings"]
    assert 0 < provenance["invented_share"] <= provenance["invented_most"] < 0.5
    signature = said["content_credentials"]
    assert (signature["state"], signature["ingredients"]) == ("valid", ["beach.jpg"])
    assert signature["actions"] == ["c2pa.opened", "c2pa.edited"]
    _, text, _ = info(small_photo.with_name("mask.webm"), "--json")
    mask = json.loads(text)
    assert (
        mask["provenance"]["source_type"].endswith("/dataDrivenMedia") and mask["content_credentials"] is None
    )


def test_the_same_seed_is_the_same_file_whatever_the_threads(
    run: Call, small_photo: Path, small_depth: Path, tmp_path: Path
) -> None:
    for threads in (1, 2):
        words = ("-o", f"{threads}.mp4", "--threads", threads, "--path", "still")
        assert run("animate", "beach.jpg", *WORDS.split(), *words)[0] == 0
    assert (tmp_path / "1.mp4").read_bytes() == (tmp_path / "2.mp4").read_bytes()


def test_people_read_one_fact_a_line(tmp_path: Path, info: Call) -> None:
    code, text, _ = info(film(tmp_path))
    assert code == 0
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines == [
        "film.mp4: made by kinephoto 1.2.3.",
        "Kind compositeWithTrainedAlgorithmicMedia",
        "Invented 25.00% of all pixels, at most 25.00% of a frame",
        "Painter classical",
        "Depth depth.png",
        "Seed 7",
        "Settings loop yes, path circle",
        "Stated in XMP",
        "Signature none, so anybody could have written this.",
    ]


def test_a_signature_is_whole_trusted_or_broken(tmp_path: Path, info: Call) -> None:
    signer = development_signer()
    path = film(tmp_path, signer=signer)
    code, text, _ = info(path)
    assert code == 0 and "whole; kinephoto development certificate, not a proof of identity" in text
    roots = tmp_path / "roots.pem"
    roots.write_bytes(b"-----BEGIN" + signer.chain_pem.split(b"-----BEGIN")[-1])
    code, text, _ = info(path, "--trust", roots)
    assert code == 0 and "signed it, and is trusted" in text
    path.write_bytes(path.read_bytes().replace(b">0.2500<", b">0.0000<"))
    code, text, _ = info(path)
    assert code == 1 and "BROKEN" in text and "assertion.bmffHash.mismatch" in text
    code, text, _ = info(path, "--json")
    assert code == 1 and json.loads(text)["content_credentials"]["state"] == "broken"


def test_files_of_others_are_said_to_be_so_in_one_sentence(
    tmp_path: Path, example_photo: Path, info: Call
) -> None:
    plain = film(tmp_path, provenance=None)
    for path in (example_photo, plain):
        assert info(path) == (0, f"{path.name} doesn't say that kinephoto made it.\n", "")
    assert json.loads(info(plain, "--json")[1])["made_by_kinephoto"] is False


@pytest.mark.parametrize("name", ["GIF", "WEBP", "TIFF"])
def test_pictures_that_ffmpeg_finds_no_width_in_are_pictures(tmp_path: Path, name: str, info: Call) -> None:
    path = tmp_path / f"picture.{name.lower()}"
    first, second = (Image.new("F" if name == "TIFF" else "RGB", (32, 24), shade) for shade in (0, 1))
    more = {} if name == "TIFF" else {"save_all": True, "append_images": [second]}
    first.save(path, name, **more)
    assert info(path) == (0, f"{path.name} doesn't say that kinephoto made it.\n", "")


def test_a_name_that_ends_like_a_picture_makes_none(tmp_path: Path, example_photo: Path, info: Call) -> None:
    (tmp_path / "text.jpg").write_text("not a picture\n" * 50)
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name in ("text.jpg", "cut.png"):
        said = f"Error: {tmp_path / name} is neither a video nor a picture that kinephoto can read.\n"
        assert info(tmp_path / name) == (2, "", said)
    (tmp_path / "photo.png").write_bytes(example_photo.read_bytes())
    assert info(tmp_path / "photo.png")[0] == 0


def test_a_folder_of_frames_names_one_which_tells_all(tmp_path: Path, info: Call) -> None:
    (tmp_path / "frames").mkdir()
    folder = film(tmp_path, "frames")
    code, text, error = info("frames")
    assert (code, text) == (2, "")
    assert (
        error == "Error: frames is a folder; name one of the frames in it, such as frames/frame_00000.png.\n"
    )
    assert "made by kinephoto 1.2.3." in info(folder / "frame_00000.png")[1]
    assert info(".")[2] == "Error: . is a folder; name a video or picture in it.\n"


@pytest.mark.parametrize("name", ["gone.mp4", "text.mp4", "empty.png", "."])
def test_what_cannot_be_read_is_one_sentence_and_exit_code_2(tmp_path: Path, name: str, info: Call) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty.png").write_bytes(b"")
    code, text, error = info(tmp_path / name)
    assert (code, text) == (2, "") and error.startswith("Error: ") and error.count("\n") == 1


def test_a_files_texts_cannot_steer_the_terminal_or_forge_a_line(tmp_path: Path, info: Call) -> None:
    evil = replace(KNOWN, painter="x\n  Signature   whole", depth="a\x1b[2Jb")
    for name in ("film.mkv", "film.mp4"):
        _, text, _ = info(film(tmp_path, name, provenance=evil))
        assert "\x1b" not in text and len(text.splitlines()) == 9 and text.count("\n  Signature") == 1


BAD = [
    (("--credentials", "-o", "film.webm"), "film.webm cannot hold Content Credentials"),
    (("--sign-with", "gone.pem", "key.pem"), "gone.pem cannot be read"),
]


@pytest.mark.parametrize(("words", "says"), BAD)
def test_what_cannot_be_signed_is_said_before_the_work(
    words: tuple[str, ...], says: str, small_photo: Path, tmp_path: Path, monkeypatch, run: Call
) -> None:
    monkeypatch.setattr("kinephoto.studio.produce.animate", lambda *_: pytest.fail("the work has begun"))
    code, _, error = run("animate", "beach.jpg", *words)
    assert code == 2 and says in error
    assert [path.name for path in tmp_path.iterdir()] == ["beach.jpg"]
