"""``out-animate`` has all that ``animate`` has, and both refuse what they can before anything is painted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

from kinephoto.app import cli
from kinephoto.painter import door
from kinephoto.studio.provenance import DATA, read_provenance

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def cup(tmp_path: Path, repository: Path) -> Path:
    """A picture with transparent parts, 96×64 px, in the folder where the command runs."""
    with Image.open(repository / "examples" / "coffee.jpg") as picture:
        small = picture.convert("RGB").resize((96, 64))
    opaque = np.zeros((64, 96), np.uint8)
    opaque[16:52, 30:70] = 255
    small.putalpha(Image.fromarray(opaque))
    small.save(tmp_path / "cup.png")
    return tmp_path / "cup.png"


@pytest.fixture
def depth(tmp_path: Path) -> Path:
    values = np.full((64, 96), 20, np.uint8)
    values[16:52, 30:70] = 255
    Image.fromarray(values).save(tmp_path / "near.png")
    return tmp_path / "near.png"


def test_every_flag_of_animate_is_one_of_out_animates() -> None:
    flags = {
        name: {flag for one in command.params for flag in one.opts if flag.startswith("-")}
        for name, command in get_command(cli.app).commands.items()
    }
    assert flags["animate"] - flags["out-animate"] == set()
    assert {"--save-scene", "--settings", "--credentials", "--sign-with"} <= flags["out-animate"]


def test_out_animate_makes_all_that_is_asked_for_with_one_painter(
    run: Run, cup: Path, depth: Path, tmp_path: Path, monkeypatch
) -> None:
    made = []
    variants, make = door._FAMILIES["classical"]

    def counted(variant: str, options: door.Options) -> door.Painter:
        made.append(make(variant, options))
        return made[-1]

    monkeypatch.setitem(door._FAMILIES, "classical", (variants, counted))
    settings = {"painter": "classical", "scene_size": "96x64", "seconds": 2, "fps": 8, "depth": depth.name}
    (tmp_path / "s.json").write_text(json.dumps(settings))
    words = "--settings s.json --seconds 0.5 --stereo sbs --amount 0.05 --max-hole 0.01 --report r.json"
    more = "--save-scene o.glb --save-scene o.html --save-scene-picture s.png --save-depth d.png --save-mask m.mp4"
    code, said = run("out-animate", cup.name, *words.split(), *more.split())
    assert code == 0, said
    with av.open(str(tmp_path / "cup_LRF_Full_SBS.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 4
        assert (film.streams.video[0].width, film.streams.video[0].height) == (192, 64)
    assert (tmp_path / "o.glb").read_bytes()[:4] == b"glTF" and "<canvas" in (tmp_path / "o.html").read_text()
    assert len(made) == 1
    assert "The output is named cup_LRF_Full_SBS.mp4" in said
    assert re.search(r"4 frames of 192×64: about \d+ s\.", said) and "Painting the scene" in said
    assert "stay under 1.0%" in said and "of a frame is invented." in said
    report = json.loads((tmp_path / "r.json").read_text())
    assert list(report["seconds"]) == ["scene", "depth", "path", "painting", "frames"]
    with Image.open(tmp_path / "s.png") as scene:
        own = np.asarray(scene)[18:50, 32:68]
    with Image.open(cup) as picture:  # whose middle comes to lie elsewhere, but not its colours
        colours = {tuple(pixel) for row in np.asarray(picture)[16:52, 30:70, :3] for pixel in row}
    assert sum(tuple(pixel) in colours for row in own for pixel in row) > 0.8 * own.shape[0] * own.shape[1]


def test_an_object_comes_through_a_pipe_and_its_film_is_signed(
    kinephoto, run: Run, cup: Path, depth: Path, tmp_path: Path
) -> None:
    pytest.importorskip("c2pa")
    words = (
        "--painter classical --scene-size 96x64 --seconds 0.25 --path still --depth near.png --credentials"
    )
    answer = kinephoto("out-animate", "-", "-o", "out.mp4", *words.split(), stdin=cup.read_bytes())
    assert answer.returncode == 0, answer.stderr.decode()
    found = read_provenance(tmp_path / "out.mp4")
    assert found.provenance is not None and 0.4 < found.provenance.invented_share < 0.9
    assert found.places == ("XMP", "Content Credentials") and found.verdict.state != "broken"
    code, said = run("out-animate", "-")
    assert code == 2 and "-o FILE" in said


def test_depth_maps_and_preview_sheets_say_how_they_were_made(
    run: Run, small_photo: Path, small_depth: Path, tmp_path: Path
) -> None:
    assert run("depth", "beach.jpg", "--depth", "depth.png", "-o", "d.png", "--colour", "c.jpg")[0] == 0
    for name in ("d.png", "c.jpg"):
        found = read_provenance(tmp_path / name).provenance
        assert found is not None
        assert (found.source_type, found.depth, found.painter) == (DATA, "depth.png", "none")
    assert run("preview", "beach.jpg", "--depth", "depth.png", "--path", "circle")[0] == 0
    found = read_provenance(tmp_path / "beach_preview.png").provenance
    assert found is not None and found.settings["path"] == "circle" and found.depth == "depth.png"


BAD = [
    ("--quality lovely", "The quality is draft, good, best or a number"),
    ("--quality 99", "The quality of h264 goes from 0 to 51; got 99"),
    ("--quality ²", "The quality is draft, good, best or a number"),
    ("--stereo sbs -o x.jpg --quality lovely", "The quality is draft, good, best or a number"),
    ("--codec h264 -o x.webm", "into x.webm, not h264"),
    ("--stereo anaglyph --codec av1", "needs the colour of every pixel, which the av1 encoder doesn't keep"),
    ("--fps 60 -o x.gif", "A GIF shows at most 50 frames per second"),
    ("--fps 60 --save-mask m.gif", "A GIF shows at most 50 frames per second"),
    ("--save-scene a.obj", "a.obj ends in .obj; kinephoto writes a scene as"),
    ("--save-scene no/a.glb", "does not exist; make it first"),
    ("--save-scene a.glb --report a.glb", "Two outputs have the same name, a.glb"),
    ("--mode autoregressive --save-scene a.glb", "makes no scene to save"),
    ("--mode autoregressive --extend auto", "--extend needs --mode world"),
    ("--extend sideways", "--extend has 'sideways'"),
    ("--extend left=200%,right=200% --size 2000", "at most 4320 a side"),
    ("--depth gone.png", "There is no depth file gone.png"),
    ("--depth wide.png", "they must have the same aspect"),
    ("--depth hub:nobody/nothing --offline", "--offline forbids"),
    ("--device nowhere --painter classical", "There is no device 'nowhere'"),
    ("--credentials -o x.webm", "x.webm cannot hold Content Credentials"),
    ("--settings wrong.json", "There is no setting 'wobble'"),
    (f"--prompt {'x' * 10_000}", "The prompt has 10000 characters"),
]
BAD_SCENES = [
    ("--scene-size 12xx3", "it must be WIDTHxHEIGHT in px"),
    ("--scene-size 5", "its sides go from 64 to 4320"),
    ("--place nowhere", "it must be left, centre, right"),
    ("--depth embedded", "A scene that is painted brings no depth along"),
    ("--save-scene-picture s.gif", "writes a picture as .png"),
    ("--save-scene-picture d.png --save-depth d.png", "Two outputs have the same name, d.png"),
]


@pytest.mark.parametrize(
    ("words", "says"),
    [(f"{command} cup.png {words}", says) for command in ("animate", "out-animate") for words, says in BAD]
    + [(f"out-animate cup.png {words}", says) for words, says in BAD_SCENES],
    ids=lambda text: text[:60],
)
def test_what_can_be_refused_is_refused_before_anything_is_painted(
    words: str, says: str, run: Run, cup: Path, tmp_path: Path, monkeypatch
) -> None:
    for module in ("studio.animate", "studio.build", "studio.extension", "painter.scene_painting"):
        monkeypatch.setattr(
            f"kinephoto.{module}.paint_holes", lambda *_, **__: pytest.fail("it is being painted")
        )
    (tmp_path / "wrong.json").write_text('{"wobble": 1}')
    Image.new("L", (200, 20)).save(tmp_path / "wide.png")
    before = {path.name for path in tmp_path.iterdir()}
    code, said = run(*words.split(" "))
    (line,) = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert code == 2 and says in line and "Traceback" not in said
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_clip_that_a_camera_made_beside_the_photo_is_not_replaced(run: Run, cup: Path) -> None:
    clip = cup.with_suffix(".mp4")
    clip.write_bytes(b"a motion photo's clip")
    words = "--painter classical --seconds 0.1 --size 64 --depth builtin"
    code, said = run("animate", cup.name, *words.split())
    assert code == 2 and "cup.mp4" in said and clip.read_bytes() == b"a motion photo's clip"
    assert run("animate", cup.name, *words.split(), "-o", "cup.mp4")[0] == 0
    assert run("animate", cup.name, *words.split())[0] == 0, "what kinephoto made it makes again"


def test_a_film_that_no_file_can_hold_is_refused_before_the_work(
    run: Run, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(
        "kinephoto.studio.produce.build_world", lambda *_, **__: pytest.fail("the work has begun")
    )
    Image.new("RGB", (640, 64)).save(tmp_path / "roll.png")
    code, said = run("animate", "roll.png", "--size", "1080", "--stereo", "sbs")
    assert code == 2 and "The frames would be 21600 x 1080 px" in said
