"""The command line does what its help says, and says in one sentence what it cannot do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from kinephoto.scene.path import PRESETS
from kinephoto.studio.settings import PATH_NAMES, AnimateSettings, checked, flag_of


def error_in(text: str) -> str:
    """The one sentence on standard error; fails if there is more, or a traceback."""
    assert "Traceback" not in text, text
    (line,) = [line for line in text.splitlines() if line.startswith("Error: ")]
    return line.removeprefix("Error: ")


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def frames_in(video: Path) -> tuple[int, int, int]:
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        return sum(1 for _ in container.decode(video=0)), stream.height, stream.width


def test_animate_makes_a_video_beside_the_photo_and_everything_else_asked_for(
    kinephoto, small_photo: Path, small_depth: Path, tmp_path: Path
) -> None:
    words = "animate beach.jpg --depth depth.png --seconds 0.5 --fps 12 --path circle --seed 3"
    more = "--save-depth d.png --save-mask mask.mp4 --report report.json"
    answer = kinephoto(*words.split(), *more.split())
    assert answer.returncode == 0, answer.stderr.decode()
    assert frames_in(tmp_path / "beach.mp4") == (6, 128, 128) and frames_in(tmp_path / "mask.mp4")[0] == 6
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["depth"] == "depth.png" and report["seed"] == 3 and report["painter"] == "builtin"
    assert set(report["seconds"]) == {"depth", "path", "painting", "frames"}
    assert 0 < report["path"]["amount"] <= report["path"]["safe_amount"] == report["path"]["amount"]
    assert (
        report["key_views"] and 0 < report["invented_share"]["mean"] <= report["invented_share"]["most"] < 0.2
    )
    assert report["versions"]["kinephoto"] and report["video"]["frame_count"] == 6
    depth = np.asarray(Image.open(tmp_path / "d.png"))
    assert depth.dtype == np.uint16 and depth[60, 60] > depth[10, 10]
    said = answer.stderr.decode()
    assert re.search(r"6 frames of 128×128: about \d+ s", said) and "Painting what comes into view" in said


def test_the_main_verb_comes_first_and_every_verb_is_listed(kinephoto) -> None:
    said = kinephoto("--help").stdout.decode()
    verbs = re.findall(r"^\W ([a-z][a-z-]+) ", said, re.MULTILINE)
    assert verbs[:3] == ["animate", "out-animate", "outpaint"]
    assert {"pack", "train", "evaluate", "batch", "doctor"} <= set(verbs)


def test_a_folder_is_no_photo(run, tmp_path: Path) -> None:
    code, said = run("animate", str(tmp_path))
    assert code == 2 and error_in(said).startswith(f"{tmp_path} is a folder; name a photo in it")
    assert files_in(tmp_path) == set()


def test_a_photo_comes_through_a_pipe_and_quiet_says_nothing(
    kinephoto, run, small_photo: Path, small_depth: Path, tmp_path: Path
) -> None:
    words = ("--depth", "depth.png", "--seconds", 0.25, "--path", "still", "-q")
    answer = kinephoto("animate", "-", "-o", "out.gif", *words, stdin=small_photo.read_bytes())
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, b"", b"")
    with Image.open(tmp_path / "out.gif") as picture:
        assert picture.n_frames >= 1 and picture.size == (128, 128)
    code, said = run("animate", "-", *words)
    assert code == 2 and "-o FILE" in error_in(said)


def test_a_metric_amount_above_the_safe_one_is_made_and_said(
    run, small_photo: Path, small_depth: Path
) -> None:
    words = "--depth depth.png --seconds 0.25 --amount 0.2 --max-hole 0.01 --painter classical"
    code, said = run("animate", "beach.jpg", *words.split())
    assert code == 0 and "--amount auto would take 0.0" in said and "stay under 1.0%" in said


def test_a_path_whose_turns_open_too_much_already_is_said(run, small_photo: Path, small_depth: Path) -> None:
    (small_photo.parent / "turn.json").write_text(
        '{"keyframes": [{"time": 0}, {"time": 1, "position": [1, 0, 0], "rotation": [0.95, 0, 0.31, 0]}]}'
    )
    words = "--depth depth.png --seconds 0.1 --painter classical --path turn.json -o t.gif"
    code, said = run("animate", "beach.jpg", *words.split())
    assert code == 0 and "This path's turns alone open" in said and "--amount 0.03" in said


def test_preview_shows_depth_views_and_holes_on_one_sheet(
    kinephoto, small_photo: Path, small_depth: Path
) -> None:
    answer = kinephoto("preview", "beach.jpg", "--depth", "depth.png", "--amount", "large")
    assert answer.returncode == 0, answer.stderr.decode()
    with Image.open(small_photo.with_name("beach_preview.png")) as picture:
        sheet = np.asarray(picture.convert("RGB")).astype(int)
    assert sheet.shape[0] > 600 and sheet.shape[1] > 1200
    pink = (np.abs(sheet - [255, 0, 204]).max(-1) < 30).mean()
    assert 0.001 < pink < 0.2


def test_depth_writes_what_animate_reads(
    kinephoto, small_photo: Path, tmp_path: Path, small_depth: Path
) -> None:
    answer = kinephoto("depth", "beach.jpg", "--depth", "depth.png", "-o", "copy.npy", "--colour", "look.png")
    assert answer.returncode == 0, answer.stderr.decode()
    values = np.load(tmp_path / "copy.npy")
    assert values.shape == (128, 128) and values[60, 60] > values[10, 10]
    assert np.asarray(Image.open(tmp_path / "look.png")).std() > 20


def test_doctor_names_versions_devices_and_weights(kinephoto) -> None:
    answer = kinephoto("doctor")
    said = answer.stdout.decode()
    for word in ("Python", "torch", "numba", "cores", "depth, built in", "Extra eval"):
        assert word in said


def test_it_runs_as_a_module_under_its_own_name() -> None:
    import subprocess
    import sys

    answer = subprocess.run([sys.executable, "-m", "kinephoto", "info", "-h"], capture_output=True, text=True)
    assert answer.returncode == 0 and "Usage: kinephoto info" in answer.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            "--painter classical --steps 30 --prompt dunes",
            "--prompt and --steps do nothing with --painter classical.",
        ),
        ("--painter classical --divergence 3", "--divergence does nothing without --stereo."),
        ("--painter classical --stereo sbs -o still.jpg --seconds 3", "--seconds does nothing for a photo."),
        ("--painter classical --stereo sbs --divergence 3 -o s.gif", None),
    ],
)
def test_flags_that_change_nothing_are_said(
    run, small_photo: Path, small_depth: Path, words: str, says: str | None
) -> None:
    film = [] if "--seconds" in words else ["--seconds", "0.1"]
    code, said = run("animate", "beach.jpg", "--depth", "depth.png", *film, *words.split())
    notes = [line.removeprefix("Note: ") for line in said.splitlines() if "nothing" in line]
    assert code == 0 and notes == ([] if says is None else [says])


def test_version_and_help_come_without_the_heavy_packages(kinephoto) -> None:
    assert kinephoto("--version").stdout.decode().startswith("kinephoto 0")
    import subprocess
    import sys

    code = (
        "import sys; sys.argv = ['kinephoto', 'animate', '--help']\n"
        "from kinephoto.app.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = ('torch', 'numba', 'cv2', 'av', 'scipy', 'transformers', 'diffusers', 'PIL')\n"
        "print('LOADED', [name for name in heavy if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert "LOADED []" in said and "--max-hole" in said


def test_the_help_lists_the_paths_that_exist() -> None:
    assert tuple(PATH_NAMES) == tuple(PRESETS)


def test_settings_are_the_defaults_of_the_functions() -> None:
    import inspect

    from kinephoto.scene.depth import FLOOR
    from kinephoto.scene.path import MAX_HOLE, path
    from kinephoto.studio.animate import film

    settings = AnimateSettings()
    assert (settings.depth_range, settings.max_hole) == (FLOOR, MAX_HOLE)
    of_path, of_film = (inspect.signature(function).parameters for function in (path, film))
    for name in ("amount", "ease", "loop", "hold", "focus"):
        assert getattr(settings, name) == of_path[name].default
    assert (settings.seconds, settings.fps) == (of_film["seconds"].default, of_film["fps"].default)


def test_every_setting_is_a_flag_with_a_sentence() -> None:
    for name, field in AnimateSettings.model_fields.items():
        assert field.description and field.description.endswith(".")
        assert flag_of(name, AnimateSettings).startswith("--")


BAD = [
    (("animate", "nowhere.jpg"), "nowhere.jpg"),
    (("animate", "."), "folder"),
    (("animate", "beach.jpg", "-o", "film.avi"), "film.avi ends in .avi; kinephoto writes a video as .mp4"),
    (("animate", "beach.jpg", "-o", "no/where/film.mp4"), "does not exist; make it first"),
    (("animate", "beach.jpg", "--path", "wobble"), "There is no path 'wobble'; there are swing"),
    (
        ("animate", "beach.jpg", "--painter", "rembrandt"),
        "There is no painter called 'rembrandt'; there are auto",
    ),
    (("animate", "beach.jpg", "--mode", "magic"), "--mode is 'magic'"),
    (("animate", "beach.jpg", "--size", "9"), "--size is 9; it must be from 64 to 4320"),
    (("animate", "beach.jpg", "--fps", "1000"), "--fps is 1000.0; it must be from 1 to 120"),
    (("animate", "beach.jpg", "--seconds", "0"), "--seconds is 0.0; it must be from 0.04 to 600"),
    (("animate", "beach.jpg", "--amount", "7"), "The amount is 7; it must be from 0 to 0.5"),
    (("animate", "beach.jpg", "--hold", "3"), "leaves nothing of a film"),
    (("animate", "beach.jpg", "--depth", "sonar"), "There is no depth source 'sonar'"),
    (("animate", "beach.jpg", "--depth", "gone.png"), "There is no depth file gone.png"),
    (("animate", "beach.jpg", "--depth", "empty"), "empty holds no depth network: there is no config.json"),
    (("depth", "beach.jpg", "-o", "d.png", "--max-megapixels", "0.01"), "the limit (max_megapixels) is 0.01"),
    (("depth", "beach.jpg", "-o", "d.png", "--max-megapixels", "0"), "--max-megapixels is 0.0; it must be"),
    (("animate", "beach.jpg", "--quality", "lovely"), "The quality is draft, good, best or a number"),
    (("animate", "beach.jpg", "--quality", "-3"), "or a number from 0 to 51 for h264; got '-3'"),
    (("animate", "https://example.com/a.jpg"), "https://example.com/a.jpg is an address"),
    (("depth", "s3://photos/a.jpg", "-o", "d.png"), "s3://photos/a.jpg is an address, and this reads files"),
    (("outpaint", "http://example.com/cup.png", "-o", "d.png"), "http://example.com/cup.png is an address"),
    (("animate", "beach.jpg", "--save-mask", "beach.mp4"), "Two outputs have the same name, beach.mp4"),
    (("animate", "beach.jpg", "--save-depth", "depth.tiff"), "writes a depth map as .png or .npy"),
    (("animate", "text.jpg"), "text.jpg"),
    (("depth", "beach.jpg", "-o", "depth.bmp"), "writes a depth map as .png, .npy, .jpg or .jpeg"),
    (("animate", "beach.jpg", "--stereo", "3d"), "--stereo is '3d'"),
    (("animate", "beach.jpg", "--stereo", "sbs", "-o", "a_TB.mp4"), "a_TB.mp4 tells players of half-tb"),
    (("animate", "beach.jpg", "--stereo", "sbs", "--convergence", "2"), "--convergence is 2.0; it must be"),
    (("animate", "beach.jpg", "--stereo", "sbs", "--mode", "autoregressive"), "needs --mode world"),
    (("preview", "beach.jpg", "-o", "sheet.pdf"), "writes a picture as .png"),
    (("preview", "beach.jpg", "-o", "beach.jpg"), "beach.jpg is what is read here, and would be lost"),
    (("depth", "beach.jpg", "-o", "beach.jpg"), "beach.jpg is what is read here, and would be lost"),
    (("outpaint", "beach.jpg", "--extend", "left=9", "-o", "beach.jpg"), "beach.jpg is what is read here"),
    (("animate", "beach.jpg", "--report", "beach.jpg"), "beach.jpg is what is read here, and would be lost"),
]


@pytest.mark.parametrize(("words", "says"), BAD, ids=lambda value: " ".join(value)[:50] if value else "")
def test_what_a_person_can_get_wrong_is_one_sentence_and_exit_code_2(
    words: tuple[str, ...], says: str, small_photo: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    """In this process, which saves two seconds for each; the exit code is what the process would end with."""
    from kinephoto.app import cli

    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty").mkdir()
    before = files_in(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["kinephoto", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert says in line
    assert files_in(tmp_path) == before


@pytest.mark.parametrize(
    "words",
    [
        ("--painter", "rembrandt"),
        ("--painter", "builtin:nowhere"),
        ("--depth", "sonar"),
        ("--depth", "empty"),
        ("--extend", "up"),
        ("--extend", "left=4000"),
    ],
    ids=" ".join,
)
def test_names_that_there_are_not_are_refused_before_anything_is_promised(
    words: tuple[str, ...], run, small_photo: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    code, said = run("animate", "beach.jpg", *words)
    assert code == 2 and said.startswith("Error: ") and said.count("\n") == 1
    assert words[1].removeprefix("builtin:") in said and files_in(tmp_path) == {"beach.jpg", "empty"}


def test_a_report_is_told_from_settings(run, small_photo: Path, small_depth: Path, tmp_path: Path) -> None:
    words = "animate beach.jpg --depth depth.png --seconds 0.1 --path still --painter opencv:telea -q"
    assert run(*words.split(), "--report", "report.json")[0] == 0
    code, said = run("animate", "beach.jpg", "--settings", "report.json")
    assert code == 2 and error_in(said).startswith("report.json is a film's report (--report), not settings;")
    report = json.loads((tmp_path / "report.json").read_text())
    (tmp_path / "settings.json").write_text(json.dumps(report["settings"]))
    first = (tmp_path / "beach.mp4").read_bytes()
    assert run("animate", "beach.jpg", "--settings", "settings.json", "-q") == (0, "")
    assert (tmp_path / "beach.mp4").read_bytes() == first


def test_a_fault_of_ours_is_no_traceback_and_exit_code_1(small_photo, tmp_path, monkeypatch, capsys) -> None:
    from kinephoto.app import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["kinephoto", "animate", "beach.jpg"])
    monkeypatch.setattr("kinephoto.studio.produce.animate", lambda *_: 1 / 0)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err
    assert ended.value.code == 1 and "ZeroDivisionError" in said and "Traceback" not in said


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_ctrl_c_leaves_nothing_behind(
    number: str, small_photo: Path, small_depth: Path, tmp_path: Path
) -> None:
    import signal
    import subprocess
    import sys
    import time

    before = files_in(tmp_path)
    code = "import sys; from kinephoto.app.cli import main; main()"
    words = "animate beach.jpg --depth depth.png --seconds 600 --size 512 --save-mask m.mp4"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words.split()], cwd=tmp_path, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".kinephoto-*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(getattr(signal, number))
    process.communicate(timeout=60)
    assert process.returncode not in (0, 1, 2)
    assert files_in(tmp_path) == before


def test_out_of_range_settings_name_their_flag() -> None:
    from kinephoto.errors import InputError

    for values, says in (
        ({"size": 10}, "--size is 10; it must be from 64 to 4320."),
        ({"seed": -1}, "--seed is -1; it must be from 0 to 4294967295"),
        ({"colour": "red"}, "There is no setting 'colour'"),
        ({"ease": "bouncy"}, "--ease is 'bouncy'"),
    ):
        with pytest.raises(InputError, match=says):
            checked(AnimateSettings, values)


def test_train_depth_says_what_is_missing(kinephoto, run, tmp_path: Path) -> None:
    answer = kinephoto("train", "depth", "--photos", tmp_path / "none")
    assert answer.returncode == 2 and "none" in error_in(answer.stderr.decode())
    for words, says in (("--tokens 900", "--tokens"), ("--steps 0", "--steps is 0")):
        code, said = run("train", "depth", "--photos", tmp_path, *words.split())
        assert code == 2 and says in error_in(said)
