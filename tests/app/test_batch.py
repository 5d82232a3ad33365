"""``kinephoto batch`` as a user calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from PIL import Image
from typer.main import get_command

from kinephoto.app import cli
from kinephoto.studio.settings import AnimateSettings

DEPTH = ("--depth", "depth.png")


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def photos(small_photo: Path, small_depth: Path) -> Path:
    """Two photos and a file that is none, in a folder where the command runs."""
    folder = small_photo.parent / "photos"
    folder.mkdir()
    with Image.open(small_photo) as picture:
        picture.save(folder / "a.jpg")
        picture.rotate(180).save(folder / "b.png")
    return folder


def test_all_that_can_be_set_for_films_can_be_set_for_batches() -> None:
    flags = {
        name: {flag for one in command.params for flag in one.opts if flag.startswith("-")}
        for name, command in get_command(cli.app).commands.items()
    }
    # The scene around an object is what outpaint makes, as a verb of its own.
    assert flags["out-animate"] - flags["batch"] == {"--save-scene-picture"}


def test_a_folder_becomes_films_failures_are_told_and_a_second_call_goes_on(
    kinephoto, run: Run, photos: Path, tmp_path: Path
) -> None:
    (photos / "c.jpg").write_bytes(b"no picture")
    (tmp_path / "s.json").write_text(json.dumps({"painter": "opencv:telea", "seconds": 0.2}))
    words = ("batch", "photos", "-o", "films", "--settings", "s.json", *DEPTH)
    answer = kinephoto(*words, "--workers", 1)
    said = answer.stderr.decode()
    assert answer.returncode == 1, said
    assert "3 photos …" in said and "Failed: photos/c.jpg is not a picture" in said
    assert "films: 2 photos done, 1 failed, see films/failures.jsonl;" in said and "Traceback" not in said
    for name in ("a", "b"):
        with av.open(str(tmp_path / "films" / f"{name}.mp4")) as film:
            assert sum(1 for _ in film.decode(video=0)) == 5
    (photos / "c.jpg").unlink()
    assert run(*words, "--workers", 0, "-q") == (0, "")
    assert (tmp_path / "films" / "failures.jsonl").read_text() == ""


def test_ctrl_c_says_what_is_done_and_a_second_call_goes_on(
    run: Run, photos: Path, tmp_path: Path, monkeypatch
) -> None:
    from kinephoto.studio import produce

    words = ("batch", "photos", "-o", "films", "--painter", "opencv:telea", "--seconds", 0.2, *DEPTH)
    make = produce.animate
    calls = []

    def interrupted(*arguments: object, **options: object) -> object:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return make(*arguments, **options)

    monkeypatch.setattr(produce, "animate", interrupted)
    code, said = run(*words, "--workers", 0)
    assert code == 130
    assert "Stopped; films: 1 photo done" in said and "The same command goes on from here." in said
    monkeypatch.undo()
    code, said = run(*words, "--workers", 0)
    assert code == 0 and "films: 1 photo done, 1 done already" in said


def test_each_verb_writes_what_it_writes(run: Run, photos: Path, tmp_path: Path) -> None:
    assert (
        run("batch", "photos/*", "-o", "d", "--verb", "depth", "--format", "npy", "--workers", 0, *DEPTH)[0]
        == 0
    )
    assert {path.name for path in (tmp_path / "d").glob("*.npy")} == {"a.npy", "b.npy"}
    words = "--verb outpaint --mask depth.png --scene-size 96 --painter opencv:telea --workers 0"
    assert run("batch", "photos/a.jpg", "-o", "s", *words.split())[0] == 0
    with Image.open(tmp_path / "s" / "a.png") as scene:
        assert scene.size == (96, 96)
    words = words.replace("outpaint", "out-animate") + " --seconds 0.1 --path still"
    depth = Image.new("L", (96, 96), 128)
    depth.putpixel((0, 0), 255)
    depth.save(tmp_path / "flat.png")
    assert run("batch", "photos/a.jpg", "-o", "o", "--depth", "flat.png", *words.split())[0] == 0
    assert (tmp_path / "o" / "a.mp4").stat().st_size > 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("gone.jpg", "There is no photo, folder or manifest gone.jpg"),
        ("photos --verb wobble", "--verb is wobble; it must be animate, out-animate, depth or outpaint"),
        ("photos --format obj", "--format is obj; animate writes mp4, webm"),
        ("photos --format png", "--format png is for stereo photos, which --stereo asks for; a film is mp4"),
        ("photos --box 1,2,3,4", "--box is for objects; animate has none"),
        ("photos --painter rembrandt", "There is no painter called 'rembrandt'"),
        ("photos --verb depth --depth sonar", "There is no depth source 'sonar'"),
        ("photos --extend up", "--extend has 'up'; it must be a list such as left=128"),
        ("rows.csv", "rows.csv, line 3: There is no path 'swign'; there are swing"),
        ("photos --verb depth --report", "--verb depth writes one file a photo"),
        ("photos --save-scene obj", "ends in .obj; kinephoto writes a scene as"),
        ("photos --fps 60 --format gif", "A GIF shows at most 50 frames per second"),
        ("photos --workers -1", "--workers is -1; it must be from 0 to 4096"),
        ("photos photos/a.jpg", "would both become a.mp4; give each its own name"),
        ("list.csv", "has the column 'colour'; the columns are path, output"),
        ("photos --seconds 0", "--seconds is 0.0; it must be from 0.04 to 600"),
        ("photos --ray nowhere", "--ray is nowhere; it must be local, auto or HOST:PORT"),
    ],
)
def test_what_can_be_refused_is_refused_before_anything_is_made(
    words: str, says: str, run: Run, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_text("path,colour\na.jpg,red\n")
    (tmp_path / "rows.csv").write_text(
        'path,settings\nphotos/a.jpg,"{""path"": ""rise""}"\nphotos/b.png,"{""path"": ""swign""}"\n'
    )
    code, said = run("batch", *DEPTH, *words.split(), "-o", "out")
    (line,) = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert code == 2 and says in line and "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_a_flag_that_the_verb_does_not_use_is_named_and_harmless(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    words = ("batch", "photos/a.jpg", *DEPTH, "--verb", "depth", "--workers", 0)
    code, said = run(*words, "-o", "d", "--seconds", 3, "--path", "circle")
    assert code == 0 and "--verb depth doesn't use --path, --seconds." in said
    code, said = run(*words, "-o", "e")
    assert code == 0 and "doesn't use" not in said
    same = [(tmp_path / folder / "a.png").read_bytes() for folder in ("d", "e")]
    assert same[0] == same[1]


def test_what_a_settings_file_leaves_as_it_is_by_default_asks_for_nothing(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    """As kinephoto app writes it: all settings of a film, of which a depth map uses a few."""
    (tmp_path / "all.json").write_text(AnimateSettings(depth="depth.png").model_dump_json())
    words = ("--verb", "depth", "--settings", "all.json", "--workers", 0, "-q")
    assert run("batch", "photos/a.jpg", "-o", "d", *words) == (0, "")
    assert json.loads((tmp_path / "d" / "results.jsonl").read_text())["depth"] == "depth.png"


def test_a_place_that_can_not_be_written_to_is_refused(run: Run, photos: Path, tmp_path: Path) -> None:
    before = (photos / "a.jpg").read_bytes()
    code, said = run("batch", "photos", "-o", "photos/a.jpg", *DEPTH)
    assert code == 2 and "photos/a.jpg is a file; -o names the folder into which a batch writes" in said
    assert (photos / "a.jpg").read_bytes() == before
    code, said = run("batch", "photos", "-o", "photos/a.jpg/films", *DEPTH)
    assert code == 2 and "The folder photos/a.jpg/films can't be made" in said


def test_a_batch_into_the_photos_own_folder_spares_them(run: Run, photos: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    code, said = run("batch", "photos", "-o", "photos", *DEPTH, "--verb", "depth", "--workers", 0)
    assert code == 1 and "b.png is what is read here, and would be lost" in said
    assert {name: (photos / name).read_bytes() for name in before} == before
    assert (photos / "a.png").is_file()
