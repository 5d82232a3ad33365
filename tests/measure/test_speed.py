from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from kinephoto.app.cli import app
from kinephoto.errors import InputError
from kinephoto.learn.photos import Skipped
from kinephoto.measure import speed_depthflow
from kinephoto.measure.speed import Contestant, Run, in_turns, run, run_process, summary, table
from kinephoto.measure.speed_contestants import (
    DEPTHFLOW_VARIABLE,
    KINEPHOTO,
    depthflow_contestants,
    depthflow_python,
    depthflow_version,
    film_hw,
    kinephoto_contestant,
    photo_of_size,
)


def python(program: str, name: str = "it", frames: int = 48, tells: Path | None = None) -> Contestant:
    return Contestant(name, (sys.executable, "-S", "-c", program), frames, tells)


def noting(name: str, file: Path) -> Contestant:
    """A program that leaves its name."""
    return python(f"open({str(file)!r}, 'a').write({name!r})", name)


def test_programs_run_in_turns_and_once_more_than_asked(tmp_path):
    found = list(in_turns([noting(name, tmp_path / "order") for name in "abc"], runs=2))
    assert (tmp_path / "order").read_text() == "abcabcabc"
    assert [name for name, _ in found] == list("abcabcabc")


def test_turns_are_lazy_so_that_their_progress_can_be_shown(tmp_path):
    turns = in_turns([noting("a", tmp_path / "order")], runs=1)
    assert not (tmp_path / "order").exists()
    next(turns)
    assert (tmp_path / "order").read_text() == "a"


def test_a_program_that_fails_is_named_once_and_the_others_go_on(tmp_path):
    broken = python("import sys; sys.exit('no film today')", "broken")
    found = list(in_turns([broken, noting("a", tmp_path / "order")], runs=2))
    (failed,) = [each for each in found if isinstance(each, Skipped)]
    assert failed.name == "broken" and "exit code 1: no film today" in failed.why
    assert (tmp_path / "order").read_text() == "aaa"


def test_seconds_and_memory_are_the_process_own():
    small = run_process([sys.executable, "-S", "-c", "import time; time.sleep(0.3)"])
    large = run_process([sys.executable, "-S", "-c", "x = bytearray(200 << 20); x[::4096] = x[::4096]"])
    again = run_process([sys.executable, "-S", "-c", "pass"])
    assert small.wall_s >= 0.3 > small.cpu_s
    assert large.peak_bytes > 200 << 20
    # Neither the largest so far nor this process's own, which has torch in it, counts as a later one's.
    assert again.peak_bytes < 50 << 20


def test_frames_a_second_are_what_the_program_tells_anew_each_time(tmp_path):
    tells = tmp_path / "told.json"
    telling = f"open({str(tells)!r}, 'w').write('{{\"seconds\": {{\"frames\": 3.0}}}}')"
    assert run(python(telling, tells=tells)).frames_per_s == pytest.approx(16)
    assert math.isnan(run(python("pass")).frames_per_s)
    # The second doesn't tell: the first one's answer is not its own.
    with pytest.raises(InputError, match="did not tell how long"):
        run(python("pass", tells=tells))
    tells.write_text('{"seconds": {"frames": 0}}')
    with pytest.raises(InputError, match="did not tell how long"):
        run(python("pass", tells=tells))


def test_a_program_that_is_not_there_is_told_in_one_sentence(tmp_path):
    with pytest.raises(InputError, match="absent cannot be run"):
        run_process([str(tmp_path / "absent")])


def test_the_first_run_is_told_apart_and_the_rest_summed_up_by_hand():
    walls = [9.0, 2.0, 1.0, 4.0]
    runs = [("a", Run(wall, wall / 2, int(wall * 2**30), 48 / wall)) for wall in walls]
    found = summary([*runs, ("b", Run(5.0, 1.0, 2**29))])
    assert found["a"]["first"]["wall_s"] == 9 and found["a"]["runs"] == 3
    assert found["a"]["wall_s"] == {"median": 2, "least": 1, "most": 4}
    assert found["a"]["frames_per_s"]["median"] == 24
    assert found["a"]["peak_bytes"] == 4 * 2**30
    lines = table(found).splitlines()
    assert lines[2] == "| a | 3 | 2.00 | 1.00 to 4.00 | 1.00 | 24.00 | 12.00 to 48.00 | 4.00 | 9.00 |"
    assert lines[3] == "| b | 0 | 5.00 | 5.00 to 5.00 | 1.00 | – | – | 0.50 | 5.00 |"


def test_the_film_is_16_to_9_and_even():
    assert film_hw(288) == (288, 512)
    assert film_hw(721) == (720, 1282)


def test_the_photo_is_the_middle_of_the_one_given(example_photo, tmp_path):
    made = photo_of_size(example_photo, (90, 160), tmp_path)
    with Image.open(made) as picture:
        assert picture.size == (160, 90) and picture.format == "JPEG"
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match="broken.jpg is not a picture"):
        photo_of_size(tmp_path / "broken.jpg", (90, 160), tmp_path)


def test_every_contestant_has_files_of_its_own(tmp_path):
    photo, depth = tmp_path / "p.jpg", tmp_path / "depth.png"
    found = [kinephoto_contestant(name, photo, 288, 48) for name in ("classical", "sd:a/b")]
    found += [kinephoto_contestant("classical", photo, 288, 48, depth)]
    found += depthflow_contestants(Path(sys.executable), photo, depth, (288, 512), 48)
    assert len({each.name for each in found}) == len({each.tells for each in found}) == 5
    assert all(each.tells.parent == tmp_path for each in found)
    given, estimated = found[2].words, found[0].words
    assert given[given.index("--depth") + 1] == str(depth)
    assert estimated[estimated.index("--depth") + 1] == "builtin"


def test_depthflows_driver_imports_nothing_of_kinephotos_and_kinephoto_nothing_of_depthflow():
    driver = Path(speed_depthflow.__file__).read_text(encoding="utf-8")
    assert "kinephoto" not in driver.split('"""', 2)[2]
    assert "depthflow" not in sys.modules


@pytest.fixture
def stand_in(tmp_path) -> Path:
    """The Python of an environment in which something calls itself DepthFlow: it writes an empty film."""
    packages = tmp_path / "packages"
    (packages / "depthflow").mkdir(parents=True)
    (packages / "depthflow-1.0.1.dist-info").mkdir()
    (packages / "depthflow-1.0.1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: depthflow\nVersion: 1.0.1\n"
    )
    (packages / "depthflow" / "__init__.py").write_text("")
    (packages / "depthflow" / "scene.py").write_text(
        "class DepthScene:\n"
        "    tau = 0.25\n"
        "    def __init__(self, backend):\n"
        "        self.image, self.state = type('I', (), {})(), type('S', (), {})()\n"
        "        assert backend == 'headless'\n"
        "    def build(self): pass\n"
        "    def input(self, image, depth): self.build()\n"
        "    def main(self, width, height, fps, time, quality, output):\n"
        "        self.update()\n"
        "        assert self.image.anisotropy == 1 and self.state.isometric == 1 and self.state.steady == 0\n"
        "        said = f'{width} {height} {round(time * fps)} {quality} {self.state.offset[0]:.1f}'\n"
        "        open(output, 'w').write(said)\n"
    )
    program = tmp_path / "bin" / "python"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={packages} exec {sys.executable} "$@"\n')
    program.chmod(0o755)
    return program


@pytest.mark.skipif(os.name != "posix", reason="the stand-in is a shell script")
def test_depthflow_runs_as_a_process_of_its_own(stand_in, tmp_path):
    assert depthflow_version(stand_in) == "1.0.1"
    stand_in.with_name("depthflow").touch()
    for given in (stand_in, stand_in.with_name("depthflow"), stand_in.parents[1]):
        assert depthflow_python(given) == stand_in
    default, lowest = depthflow_contestants(stand_in, tmp_path / "p.jpg", tmp_path / "d.png", (288, 512), 48)
    assert run(default).frames_per_s > 0 and run(lowest).frames_per_s > 0
    assert (tmp_path / "DepthFlow.mp4").read_text() == "512 288 48 50.0 0.3"
    assert (tmp_path / "DepthFlow-lowest-quality.mp4").read_text() == "512 288 48 0.0 0.3"


def test_depthflow_is_only_looked_for_where_somebody_says_it_is(monkeypatch, tmp_path):
    monkeypatch.delenv(DEPTHFLOW_VARIABLE, raising=False)
    assert depthflow_python(None) is None
    monkeypatch.setenv(DEPTHFLOW_VARIABLE, sys.executable)
    with pytest.raises(InputError, match="has no DepthFlow; make it an environment of its own"):
        depthflow_python(None)
    with pytest.raises(InputError, match="There is no .*absent/python; --depthflow takes"):
        depthflow_python(tmp_path / "absent" / "python")
    (tmp_path / "python").write_text("nothing that runs")
    with pytest.raises(InputError, match="is not a Python that can be run"):
        depthflow_python(tmp_path / "python")


def test_kinephotos_report_has_what_is_read_from_it(example_photo, tmp_path):
    """The command once, in this process, small: 4 frames of 64 px before a slope."""
    photo, depth = photo_of_size(example_photo, (64, 114), tmp_path), tmp_path / "depth.png"
    Image.linear_gradient("L").resize((114, 64)).save(depth)
    contestant = kinephoto_contestant("opencv:telea", photo, 64, 4, depth)
    assert contestant.words[: len(KINEPHOTO)] == KINEPHOTO
    app(list(contestant.words[len(KINEPHOTO) :]), standalone_mode=False)
    told = json.loads(contestant.tells.read_text(encoding="utf-8"))
    assert told["seconds"]["frames"] > 0 and told["video"]["frame_count"] == 4


def test_who_is_interrupted_leaves_nothing_running(tmp_path):
    file = tmp_path / "pid"
    sleeping = f"import os, time; open({str(file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"

    def interrupt(*_):
        if file.exists() and file.read_text():
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_process([sys.executable, "-S", "-c", sleeping])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    # What was killed may still be on its way out.
    stat, until = Path(f"/proc/{file.read_text()}/stat"), time.monotonic() + 10
    while running(stat) and time.monotonic() < until:
        time.sleep(0.05)
    assert not running(stat)


def running(stat: Path) -> bool:
    """Whether the process of that file in /proc is there and no zombie."""
    try:
        return stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
