"""The app: one device shared in order, nothing of the server's given away, the page's functions for programs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from kinephoto.app.web import jobs
from kinephoto.app.web.guard import Guard
from kinephoto.app.web.jobs import Cancelled, Line
from kinephoto.app.web.limits import AppSettings, check_door, check_film
from kinephoto.app.web.results import Results
from kinephoto.app.web.work import Studio
from kinephoto.errors import InputError
from kinephoto.scene.values import Disparity
from kinephoto.studio.pace import Pace
from kinephoto.studio.settings import AnimateSettings, command_of, read_settings
from kinephoto.studio.strokes import box_of, drawn, mask_of, points_of, retouched

RUN = "import sys; from kinephoto.app.cli import main; sys.argv[0] = 'kinephoto'; main()"


# The line


class Steps:
    """Work that goes on a step at a time, when told to."""

    def __init__(self) -> None:
        self.begun, self.go, self.steps = threading.Event(), threading.Semaphore(0), 0

    def __call__(self, tell: Callable[[str, float], None]) -> str:
        self.begun.set()
        while self.go.acquire(timeout=10):
            self.steps += 1
            if self.steps == 3:
                return "done"
            tell("frames", self.steps / 3)
        raise TimeoutError


def test_one_job_at_a_time_and_everybody_sees_how_many_are_before() -> None:
    line, first, second = Line(5), Steps(), Steps()
    one = line.submit(first)
    assert first.begun.wait(5)
    two = line.submit(second)
    three = line.submit(lambda tell: "three")
    assert [job.state().ahead for job in (one, two, three)] == [0, 1, 2]
    assert one.state().running and not two.state().running and not second.begun.is_set()
    first.go.release(3)
    assert one.result() == "done" and second.begun.wait(5)
    assert three.state().ahead == 1 and not three.state().ended
    second.go.release(3)
    assert (two.result(), three.result()) == ("done", "three")


def test_a_running_film_steps_aside_for_a_quick_look_and_goes_on() -> None:
    line, film, said = Line(5), Steps(), []
    running = line.submit(film)
    assert film.begun.wait(5)
    waiting = line.submit(lambda tell: said.append("film"))
    quick = line.submit(lambda tell: said.append("look"), quick=True)
    assert (quick.state().ahead, waiting.state().ahead) == (1, 2)
    film.go.release(1)  # one step, at whose end it steps aside
    quick.result()
    assert said == ["look"] and not running.state().ended
    film.go.release(2)
    assert running.result() == "done"
    waiting.result()
    assert said == ["look", "film"]


def test_cancelling_stops_the_running_and_the_waiting_of_one_page_only() -> None:
    line, mine, theirs = Line(5), Steps(), Steps()
    running, waiting = line.submit(mine, owner="me"), line.submit(Steps(), owner="me")
    other = line.submit(theirs, owner="you")
    assert mine.begun.wait(5)
    line.cancel_all("me")
    mine.go.release(1)
    for job in (running, waiting):
        with pytest.raises(Cancelled):
            job.result()
    assert theirs.begun.wait(5)
    theirs.go.release(3)
    assert other.result() == "done"


def test_cancelling_a_film_lets_the_same_pages_quick_looks_go_on() -> None:
    line, film, look = Line(5), Steps(), Steps()
    running = line.submit(film, owner="me")
    assert film.begun.wait(5)
    waiting = line.submit(Steps(), owner="me")
    quick = line.submit(look, owner="me", quick=True)
    line.cancel_long("me")
    for job in (running, waiting):
        with pytest.raises(Cancelled):
            job.result()
    film.go.release(1)
    look.go.release(3)
    assert quick.result() == "done"


def test_cancelling_in_one_part_of_a_page_lets_its_other_parts_go_on() -> None:
    line, film, scene = Line(5), Steps(), Steps()
    running = line.submit(film, owner="me", part="film")
    waiting = line.submit(scene, owner="me", part="scene")
    assert film.begun.wait(5)
    line.cancel_long("me", "scene")
    with pytest.raises(Cancelled):
        waiting.result()
    film.go.release(3)
    assert running.result() == "done"
    left = [line.submit(Steps(), owner="me", part=part) for part in ("film", "scene")]
    line.cancel_all("me")  # the page was closed
    for job in left:
        with pytest.raises(Cancelled):
            job.result()


def test_who_cancels_is_answered_before_the_work_has_noticed() -> None:
    line, deaf, heard = Line(5), threading.Event(), threading.Event()

    def work(tell: Callable[[str, float], None]) -> str:
        heard.set()
        assert deaf.wait(30)  # as if a network were being loaded
        return "a film that nobody waits for"

    job = line.submit(work, owner="me")
    assert heard.wait(5)
    line.cancel_all("me")
    with pytest.raises(Cancelled):
        job.result()
    # It still has the device, and others wait for that.
    following = line.submit(lambda tell: "next")
    assert line.place_of(job) == (0, True) and following.state().ahead == 1
    deaf.set()
    assert following.result() == "next"


def test_a_job_that_nobody_asks_for_any_more_ends_and_frees_the_device(monkeypatch) -> None:
    monkeypatch.setattr(jobs, "LEFT_S", 0.05)
    line, left = Line(5), Steps()
    job = line.submit(left)
    assert left.begun.wait(5)
    time.sleep(0.1)
    left.go.release(1)
    # The place is looked up here, since asking for the state would say that somebody still waits.
    until = time.monotonic() + 10
    while line.place_of(job)[1] and time.monotonic() < until:
        time.sleep(0.01)
    monkeypatch.setattr(jobs, "LEFT_S", 20.0)
    assert line.submit(lambda tell: "next").result() == "next"
    assert left.steps == 1


def test_closing_the_watch_cancels() -> None:
    line, work = Line(5), Steps()
    job = line.submit(work)
    assert work.begun.wait(5)
    watch = job.watch(0.01)
    next(watch)
    watch.close()
    work.go.release(1)
    with pytest.raises(Cancelled):
        job.result()


def test_a_full_line_is_said_and_errors_reach_who_asks() -> None:
    line, busy = Line(1), Steps()
    running = line.submit(busy)
    assert busy.begun.wait(5)
    failing = line.submit(lambda tell: 1 / 0)
    with pytest.raises(InputError, match="1 jobs are waiting already; try again"):
        line.submit(lambda tell: None)
    busy.go.release(3)
    running.result()
    with pytest.raises(ZeroDivisionError):
        failing.result()


# The folder, the door, the limits, the guard


def test_only_files_of_the_folder_are_its_own(tmp_path: Path) -> None:
    with Results(None, 3600) as results:
        mine = results.new() / "beach.jpg"
        mine.write_bytes(b"x")
        assert results.own(mine) == mine
        link = mine.with_name("link.jpg")
        link.symlink_to("/etc/hostname")
        (tmp_path / "other.jpg").write_bytes(b"x")
        for stranger in (
            "/etc/hostname",
            link,
            tmp_path / "other.jpg",
            mine.parent / ".." / ".." / "x",
            mine.parent,
        ):
            with pytest.raises(InputError, match="was not uploaded here"):
                results.own(stranger)
    assert not results.folder.exists()


def test_old_things_are_removed_and_those_that_belong_to_the_page_stay(tmp_path: Path) -> None:
    results = Results(tmp_path / "results", 60)
    handed_out_again, of_a_run_before = results.new() / "example.jpg", results.new() / "before.mp4"
    for file in (handed_out_again, of_a_run_before):
        file.write_bytes(b"x")
        os.utime(file, (1, 1))
    with results.keeping_what_comes():
        example = results.new() / "example.jpg"
        example.write_bytes(b"x")
        os.utime(handed_out_again)
    old, young = results.new() / "old.mp4", results.new() / "young.mp4"
    for file in (old, young):
        file.write_bytes(b"x")
    for file in (example, handed_out_again, old):
        os.utime(file, (1, 1))
    os.utime(old.parent, (1, 1))
    assert results.sweep() == 2
    assert example.exists() and handed_out_again.exists() and young.exists()
    assert not old.exists() and not of_a_run_before.exists()


def test_another_host_needs_a_password_or_the_word_insecure() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.9.9.9"):
        assert check_door(AppSettings(host=host)) is None
    for host in ("0.0.0.0", "::", "192.168.0.7", "example.org"):
        with pytest.raises(InputError, match="--auth USER:PASSWORD, or --insecure"):
            check_door(AppSettings(host=host))
        assert check_door(AppSettings(host=host, insecure=True)) is None
        assert check_door(AppSettings(host=host, auth="ann:pass:word")) == ("ann", "pass:word")
    for auth in ("ann", "ann:", ":word", ""):
        with pytest.raises(InputError, match="--auth must be USER:PASSWORD"):
            check_door(AppSettings(auth=auth))


REFUSED = [
    ({"path": "/etc/hostname"}, "the path is one of swing"),
    ({"depth": "secret.png"}, "the depth is one of auto"),
    ({"depth": "hub:someone/model"}, "the depth is one of auto"),
    ({"painter": "sd:/models"}, "the painter is one of auto"),
    ({"device": "cuda"}, "device belongs to the server"),
    ({"max_megapixels": 1e6}, "max_megapixels belongs to the server"),
    ({"seconds": 21}, "at most 20 s long; got 21"),
    ({"size": 2160}, "at most 1080 px here; got 2160"),
    ({"seconds": 20, "fps": 120}, "frames per second are too many"),
    ({"prompt": "x" * 10_000}, "has 10000 characters; it may have 1000"),
    ({"prompt": "a\x00b"}, "control characters"),
    ({"prompt": "a\x1b[2J"}, "control characters"),
]


@pytest.mark.parametrize(("values", "says"), REFUSED, ids=lambda value: str(value)[:30])
def test_what_a_visitor_may_not_ask_for_is_one_sentence(values: dict, says: str) -> None:
    with pytest.raises(InputError, match=says) as refused:
        check_film(AnimateSettings(**values), AppSettings())
    assert len(str(refused.value)) < 250 and "\n" not in str(refused.value)


def test_what_a_visitor_may_ask_for_is_let_through() -> None:
    check_film(AnimateSettings(path="orbit", seconds=20, size=1080, prompt="ä beach\nat dusk"), AppSettings())


def answer_of(
    guard: Guard,
    body: object,
    host: str = "127.0.0.1:7860",
    kinds: tuple[str, ...] = ("application/json",),
    origin: str | None = None,
) -> tuple[int, dict, bytes]:
    sent: list[dict] = []
    raw = json.dumps(body).encode()
    headers = [(b"host", host.encode()), *((b"content-type", kind.encode()) for kind in kinds)]
    if origin is not None:
        headers.append((b"Origin", origin.encode()))

    async def receive() -> dict:
        return {"type": "http.request", "body": raw, "more_body": False}

    async def send(message: dict) -> None:
        sent.append(message)

    asyncio.run(guard({"type": "http", "method": "POST", "headers": headers}, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


async def echo(scope: dict, receive: Callable, send: Callable) -> None:
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def test_the_guard_lets_only_uploads_through_and_tells_browsers_to_load_nothing_else(tmp_path: Path) -> None:
    guard = Guard(echo, tmp_path, loopback=True)
    mine = {"path": str(tmp_path / "a" / "beach.jpg"), "meta": {"_type": "gradio.FileData"}}
    fine = {"data": [mine, {"path": "circle", "seconds": 2}, None]}
    status, headers, body = answer_of(guard, fine)
    assert status == 200 and json.loads(body) == fine
    assert b"default-src 'self'" in headers[b"content-security-policy"]
    assert b"http" not in headers[b"content-security-policy"]
    strangers = [
        "/etc/hostname",
        "README.md",
        f"{tmp_path}/../x",
        "http://example.org/x.jpg",
        "file:///etc/passwd",
    ]
    for path in strangers:
        for value in (
            {"path": path, "meta": {}},
            {"path": path, "url": None},
            {"path": path, "orig_name": "x"},
        ):
            status, _, body = answer_of(guard, {"data": [[{"deep": value}]]})
            assert status == 400 and "was not uploaded here" in json.loads(body)["error"]
    assert answer_of(guard, {"data": "x" * (1 << 20)})[0] == 413


def test_a_server_for_this_machine_answers_only_to_its_own_names(tmp_path: Path) -> None:
    guard = Guard(echo, tmp_path, loopback=True)
    for host in ("localhost:7860", "127.0.0.1", "[::1]:7860"):
        assert answer_of(guard, {}, host)[0] == 200
    for host in ("evil.example:7860", "127.0.0.1.evil.example", ""):
        assert answer_of(guard, {}, host)[0] == 403
    assert answer_of(Guard(echo, tmp_path, loopback=False), {}, "films.example")[0] == 200


def test_no_other_name_for_json_goes_round_the_guard(tmp_path: Path) -> None:
    guard, stranger = Guard(echo, tmp_path, loopback=True), {"path": "/etc/hostname", "meta": {}}
    form = "multipart/form-data; boundary=x"
    for kinds in (
        ("Application/JSON",),
        (" application/json",),
        ("application/vnd.x+json; charset=utf-8",),
        ("text/plain",),
        ("multipart/form-data+json",),
        ("application/json", form),
        (form, "application/json"),
        (),
    ):
        assert answer_of(guard, stranger, kinds=kinds)[0] == 400, kinds
        assert answer_of(guard, "x" * (1 << 20), kinds=kinds)[0] == 413, kinds
    assert answer_of(guard, "x" * (1 << 20), kinds=("Multipart/Form-Data; boundary=x",))[0] == 200


def test_a_server_for_this_machine_answers_no_other_sites_page(tmp_path: Path) -> None:
    guard, form = Guard(echo, tmp_path, loopback=True, names=("127.0.0.2",)), ("multipart/form-data",)
    for origin in (
        None,
        "http://localhost:7860",
        "http://127.0.0.1",
        "http://[::1]:7860",
        "http://127.0.0.2:1",
    ):
        assert answer_of(guard, {}, kinds=form, origin=origin)[0] == 200, origin
    for origin in (
        "http://evil.example",
        "https://localhost.evil.example:7860",
        "null",
        "",
        "http://[",
        "file://",
    ):
        status, _, body = answer_of(guard, {}, kinds=form, origin=origin)
        assert status == 403 and "its own page" in json.loads(body)["error"], origin
    served = Guard(echo, tmp_path, loopback=False)
    assert answer_of(served, {}, "films.example", origin="https://films.example")[0] == 200


def test_a_server_for_this_machine_answers_to_the_address_it_listens_on(tmp_path: Path) -> None:
    assert answer_of(Guard(echo, tmp_path, loopback=True), {}, "127.0.0.2:7860")[0] == 403
    assert (
        answer_of(Guard(echo, tmp_path, loopback=True, names=("127.0.0.2",)), {}, "127.0.0.2:7860")[0] == 200
    )


# What the page draws and tells


def test_the_time_left_follows_the_estimate_and_then_the_films_own_pace() -> None:
    now = [0.0]
    pace = Pace(30.0, lambda: now[0])
    shares = []
    for now[0], stage, share, left_s in (
        (0.0, "depth", 0.0, 30.0),
        (10.0, "painting", 0.5, 20.0),
        (20.0, "frames", 0.0, 10.0),
        (24.0, "frames", 0.25, 12.0),  # a quarter in 4 s
        (36.0, "frames", 1.0, 0.0),
    ):
        assert pace.left_s(stage, share) == pytest.approx(left_s)
        shares.append(pace.done(stage, share))
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 0.99
    late = Pace(1.0, lambda: now[0])
    now[0] += 100
    assert late.left_s("painting", 0.9) == pytest.approx(15.0)  # never "any moment now" for minutes


def layer(h: int, w: int, rows: slice, columns: slice, grey: int = 255) -> np.ndarray:
    picture = np.zeros((h, w, 4), np.uint8)
    picture[rows, columns] = (grey, grey, grey, 255)
    return picture


def test_strokes_become_a_mask_a_point_each_and_a_box() -> None:
    one = layer(50, 100, slice(10, 20), slice(20, 40))
    two = layer(50, 100, slice(30, 34), slice(80, 84))
    strokes = drawn([one, two])
    assert strokes.sum() == 200 + 16
    mask = mask_of(strokes, (100, 200))
    assert mask.shape == (100, 200) and bool(mask[20:40, 40:80].all()) and int(mask.sum()) == 4 * 216
    points = points_of(strokes, (100, 200))
    assert len(points) == 2 and all(bool(mask[int(y), int(x)]) for x, y in points)
    assert box_of(strokes, (100, 200)) == (40.0, 20.0, 168.0, 68.0)
    ring = layer(50, 50, slice(10, 40), slice(10, 40))
    ring[15:35, 15:35] = 0
    ((x, y),) = points_of(drawn([ring]), (50, 50))
    assert ring[int(y), int(x), 3] == 255
    for nothing in ([], [np.zeros((5, 5, 4), np.uint8)]):
        with pytest.raises(InputError, match="Nothing is drawn yet"):
            drawn(nothing)


@pytest.mark.parametrize("how", ["Brush", "Click", "Box"])
def test_what_is_drawn_shows_the_object_in_three_ways(how: str) -> None:
    from kinephoto.app.web.scenes import drawn_marks
    from kinephoto.scene.photo import photo_from_array

    rng = np.random.default_rng(0)
    rgb = np.tile(np.linspace(20, 90, 160, dtype=np.uint8)[None, :, None], (120, 1, 3))
    disc = np.hypot(*np.mgrid[-60:60, -80:80]) < 30
    rgb[disc] = np.array([210, 40, 30]) + rng.integers(-20, 20, (int(disc.sum()), 3))
    drawing = np.zeros((60, 80, 4), np.uint8)  # the editor's picture is half as large as the photo
    if how == "Brush":
        drawing[disc[::2, ::2]] = 255
    elif how == "Click":
        drawing[28:32, 38:42] = 255
    else:
        drawing[12:48, 22:58] = 255
        drawing[13:47, 23:57] = 0
    found = drawn_marks(how, {"layers": [drawing]}).cut_out(photo_from_array(rgb)).opaque.numpy()
    assert (found & disc).sum() / (found | disc).sum() > 0.9
    with pytest.raises(InputError, match="Nothing is drawn yet"):
        drawn_marks(how, {"layers": [np.zeros((60, 80, 4), np.uint8)]})


def test_painted_greys_replace_the_depth_between_its_nearest_and_farthest() -> None:
    values = torch.linspace(0.2, 1.0, 20)[None].repeat(10, 1)
    new = retouched(
        Disparity(values),
        [layer(10, 20, slice(0, 5), slice(0, 10), 0), layer(10, 20, slice(0, 2), slice(0, 2))],
    )
    assert new.values[3, 5] == pytest.approx(0.2) and new.values[1, 1] == pytest.approx(1.0)
    assert bool((new.values[5:] == values[5:]).all()) and bool((new.values[:, 10:] == values[:, 10:]).all())


def test_the_preview_is_small_short_and_begins_as_the_photo(example_photo: Path) -> None:
    import kinephoto as kp
    from kinephoto.scene.photo import resized
    from kinephoto.studio.preview import preview_film

    photo = resized(kp.read_photo(example_photo), (96, 96))
    depth = torch.full((96, 96), 0.1)
    depth[30:, 30:70] = 1.0
    settings = AnimateSettings(path="swing", hold=2.0)
    frames = preview_film(photo, settings, Disparity(depth), seconds=6.0)
    assert (frames.frame_count, frames.fps, frames.hw) == (36, 12.0, (96, 96))
    first, *others = list(frames)
    assert (first.rgb - photo.rgb).abs().max() < 0.02  # nothing but the rounding of the camera's numbers
    # Rests of 2 s in 6 s are a third of the 3 s shown: twelve frames in which nothing moves.
    assert all(torch.equal(frame.rgb, first.rgb) for frame in others[:11])
    assert (others[17].rgb - first.rgb).abs().max() > 0.1


# What the page and the interface ask the studio for


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """One that makes what it is asked for in this process."""
    return Studio(AppSettings(offline=True), Results(tmp_path / "results", 3600), Line(5))


@pytest.fixture
def uploaded(studio: Studio, example_photo: Path) -> str:
    """A photo of 96×80 px among the studio's files."""
    place = studio.results.new() / "beach.jpg"
    with Image.open(example_photo) as picture:
        picture.resize((96, 80)).save(place, quality=95)
    return str(place)


def no_tell(_stage: str, _share: float) -> None:
    """Nobody listens."""


@pytest.fixture
def painted_scene(studio: Studio, uploaded: str, monkeypatch) -> Any:
    """A scene around a part of the photo, by the quickest of all painters."""
    from kinephoto import painter
    from kinephoto.app.web.scenes import Marks, candidates

    quickest = painter.get_painter("opencv:telea")
    monkeypatch.setattr(painter, "get_painter", lambda *_, **__: quickest)
    where = np.zeros((80, 96), bool)
    where[20:60, 30:70] = True
    (scene,) = candidates(studio, uploaded, Marks(where), "a beach", 1, "left", 7, no_tell)
    monkeypatch.undo()
    return scene


SMALL_FILM = {"seconds": 0.5, "fps": 8, "size": 64, "depth": "builtin", "painter": "opencv:telea"}


def invented_of(film: Path) -> float:
    from kinephoto.studio.provenance import read_provenance

    told = read_provenance(film).provenance
    assert told is not None and told.invented_share is not None
    return told.invented_share


def test_the_film_of_a_painted_scene_says_that_the_scene_is_invented_and_how_to_make_it_again(
    studio: Studio, painted_scene: Any, tmp_path: Path
) -> None:
    from kinephoto.studio.out_animate import produce_out_animation
    from kinephoto.studio.outpaint_settings import OutAnimateSettings
    from kinephoto.studio.outputs import Outputs

    made = studio.film_scene(painted_scene, studio.settings(SMALL_FILM), no_tell)
    # 40 × 40 px of 512 × 512 are the photo's, 0.6 %.
    assert invented_of(made.files[0]) > 0.98 and "at most 9" in made.says
    assert made.command.startswith("kinephoto out-animate beach_object.png -o beach_scene_7.mp4 ")
    for words in ("--prompt 'a beach'", "--place left", "--seed 7"):
        assert words in made.command
    settings = OutAnimateSettings(**read_settings(OutAnimateSettings, made.files[1]))
    produce_out_animation(painted_scene.cutout, Outputs(tmp_path / "again.mp4"), settings)
    assert (tmp_path / "again.mp4").read_bytes() == made.files[0].read_bytes()


def test_a_painted_scene_that_comes_back_as_a_photo_is_known_as_invented(
    studio: Studio, painted_scene: Any, uploaded: str
) -> None:
    again = studio.results.new() / "mine.png"
    again.write_bytes(painted_scene.file.read_bytes())
    film = studio.film(str(again), studio.settings(SMALL_FILM), None, no_tell).files[0]
    assert invented_of(film) > 0.98
    assert invented_of(studio.film(uploaded, studio.settings(SMALL_FILM), None, no_tell).files[0]) < 0.5


def test_a_scene_is_made_with_the_settings_that_are_given_or_says_which_it_does_not_take(
    studio: Studio, uploaded: str, monkeypatch
) -> None:
    asked: list[Mapping[str, Any]] = []

    def stop(*_: object, **given: Any) -> None:
        asked.append(given)
        raise InputError("seen")

    monkeypatch.setattr("kinephoto.studio.build.build_world", stop)
    monkeypatch.setattr("kinephoto.studio.produce.get_painter", lambda *_, **given: given)
    for extend, px in (("auto", "auto"), ("left=25%,top=8", {"left": 24, "top": 8}), (None, None)):
        with pytest.raises(InputError, match="seen"):
            studio.scene(uploaded, {"extend": extend, "steps": 3, "guidance": 2.0}, None, no_tell)
        assert asked[-1]["extend"] == px
        assert (asked[-1]["painter"]["steps"], asked[-1]["painter"]["guidance"]) == (3, 2.0)
    refused = {"mode": "autoregressive", "stereo": "sbs", "seconds": 2}
    with pytest.raises(InputError, match="A scene takes no mode, stereo; that is for films"):
        studio.scene(uploaded, refused, None, no_tell)
    with pytest.raises(InputError, match="--extend has 'left=900%'"):
        studio.scene(uploaded, {"extend": "left=900%"}, None, no_tell)


@pytest.fixture
def blocks(studio: Studio) -> Any:
    """The page as it is built, before it is served."""

    async def built() -> Any:  # without a running loop Gradio makes some of its own, and never closes them
        pytest.importorskip("gradio")
        from kinephoto.app.web.page import page

        return page(studio)

    return asyncio.run(built())


def function_of(blocks: Any, name: str) -> Any:
    return next(function for function in blocks.fns.values() if function.api_name == name)


def clicked(blocks: Any, button: str) -> Any:
    return next(
        function
        for function in blocks.fns.values()
        for place, event in function.targets
        if event == "click" and getattr(blocks.blocks[place], "elem_id", None) == button
    )


VISITOR = SimpleNamespace(session_hash="me")


def test_the_interfaces_preview_uses_the_depth_that_its_settings_name(
    blocks: Any, studio: Studio, monkeypatch
) -> None:
    import gradio as gr

    looked: list[tuple] = []

    def look(*asked: object) -> None:
        looked.append(asked)
        raise InputError("seen")

    monkeypatch.setattr(studio, "look", look)
    with pytest.raises(gr.Error, match="seen"):
        function_of(blocks, "preview").fn(
            VISITOR, "beach.jpg", {"depth": "builtin"}, None, lambda *_, **__: None
        )
    assert looked == [("beach.jpg", "builtin", None)]


def test_each_cancel_button_cancels_what_the_button_beside_it_started(
    blocks: Any, studio: Studio, painted_scene: Any, uploaded: str, monkeypatch
) -> None:
    started: list[str] = []
    cancelled: list[str] = []

    def submit(_work: object, *, owner: str, part: str) -> None:
        assert owner == "me"
        started.append(part)
        raise InputError("seen")

    monkeypatch.setattr(studio.line, "submit", submit)
    monkeypatch.setattr(studio.line, "cancel_long", lambda _owner, part: cancelled.append(part))
    monkeypatch.setattr("kinephoto.app.web.out_animate_tab.drawn_marks", lambda *_: None)
    for start, stop, given in (
        ("make", "cancel", (uploaded, None)),
        ("paint", "cancel-scenes", (uploaded, "Brush", None, "", 1, "centre", 0)),
        ("make-out", "cancel-out", (painted_scene,)),
        ("make-scene", "cancel-scene", (uploaded, None)),
    ):
        function = clicked(blocks, start)
        settings = [component.value for component in function.inputs[len(given) :]]
        list(function.fn(VISITOR, *given, *settings))
        clicked(blocks, stop).fn(VISITOR)
    assert started == cancelled and len(set(started)) == 4, (started, cancelled)


def test_why_a_depth_was_not_changed_still_stands_there_after_the_look_that_follows(
    blocks: Any, studio: Studio, uploaded: str
) -> None:
    paint = function_of(blocks, "painted")
    studio.look(uploaded)
    why, chosen = paint.fn(uploaded, None, {"layers": []})
    assert "Nothing is drawn yet" in why and chosen is None
    gone, place = function_of(blocks, "own_depth").fn("/etc/hostname")
    assert "was not uploaded here" in gone and place is None
    look = function_of(blocks, "look")
    for said in (why, gone, ""):
        last: dict = list(look.fn(VISITOR, uploaded, None, said))[-1]
        shown = {getattr(component, "elem_id", None): value for component, value in last.items()}
        assert shown["depth-status"] == said
    assert paint.outputs[0] is look.inputs[2] is function_of(blocks, "own_depth").outputs[0]


# Settings files


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ("[1]", "must hold one object"),
        ("\x00", "is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"wobble": 1}', "There is no setting 'wobble'"),
        ('{"seconds": "long"}', "--seconds is long; it must be from 0.04 to 600"),
        ('{"fps": 1e99}', "--fps is 1e[+]99; it must be from 1 to 120"),
        ('{"loop": 7}', "--loop is 7"),
        ('{"path": null}', "--path is None"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_settings_file_that_cannot_be_used_is_one_sentence(
    text: str | None, says: str, tmp_path: Path
) -> None:
    file = tmp_path / "s.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match=says) as refused:
        read_settings(AnimateSettings, file)
    assert "\n" not in str(refused.value)


@pytest.fixture
def settings_of(monkeypatch, small_photo: Path, tmp_path: Path) -> Callable[[list[str]], AnimateSettings]:
    """The settings with which a command line would film."""

    def parse(words: list[str]) -> AnimateSettings:
        from kinephoto.app import cli

        seen: list[AnimateSettings] = []

        def stop(_photo: object, _outputs: object, settings: AnimateSettings, *_: object) -> None:
            seen.append(settings)
            raise InputError("seen")

        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", words)
        monkeypatch.setattr("kinephoto.studio.produce.animate", stop)
        with pytest.raises(SystemExit):
            cli.main()
        return seen[0]

    return parse


def test_flags_win_over_the_settings_file_which_wins_over_the_defaults(settings_of, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"path": "circle", "fps": 12, "loop": true}')
    got = settings_of(["kinephoto", "animate", "beach.jpg", "--settings", "s.json", "--fps", "24"])
    assert (got.path, got.fps, got.loop, got.seconds) == ("circle", 24, True, 4)


@pytest.mark.parametrize(
    "settings",
    [
        AnimateSettings(),
        AnimateSettings(path="zoom-in", seconds=0.1 + 0.2, loop=True, prompt='it\'s a "beach" $HOME', seed=7),
        AnimateSettings(amount="0.03", focus="0.3,0.6", size=64, hold=0.01, painter="classical"),
    ],
)
def test_the_command_line_that_is_shown_says_the_same_settings(
    settings: AnimateSettings, settings_of
) -> None:
    assert settings_of(shlex.split(command_of(settings, "kinephoto", "animate", "beach.jpg"))) == settings


# The server itself


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """The app's address and results folder; it takes little and short things."""
    pytest.importorskip("gradio")
    folder, port = tmp_path_factory.mktemp("app"), free_port()
    limits = ["--max-seconds", "2", "--max-upload-mb", "0.5", "--max-megapixels", "0.3", "--offline"]
    words = ["app", "--port", str(port), "--results", str(folder / "results"), *limits]
    log = folder / "log.txt"
    with log.open("w") as said:
        process = subprocess.Popen([sys.executable, "-c", RUN, *words], stderr=said, stdout=said, cwd=folder)
    try:
        deadline = time.monotonic() + 120
        while "kinephoto is at" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}", folder / "results"
        assert process.poll() is None, "the server died"
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def client(server: tuple[str, Path]) -> object:
    from gradio_client import Client

    return Client(server[0], verbose=False)


@pytest.fixture(scope="module")
def tiny_photo(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("tiny") / "beach.jpg"
    repository = Path(__file__).resolve().parents[2]
    with Image.open(repository / "examples" / "astronaut.jpg") as picture:
        picture.resize((96, 80)).save(place, quality=95)
    return place


def test_no_two_jobs_of_the_page_say_where_they_are_in_one_place(client) -> None:
    """A preview that begins after a film was cancelled would draw its bar over the sentence that says so."""
    places = {
        one["id"]: one["props"]["elem_id"]
        for one in client.config["components"]
        if "status" in (one["props"].get("elem_classes") or ())
    }
    assert {"preview-status", "film-status", "scenes-status", "out-status", "scene-status"} <= {
        *places.values()
    }
    said_in: dict[str, set[str]] = {name: set() for name in places.values()}
    for event in client.config["dependencies"]:
        if event["types"]["generator"]:  # it follows a job; the same function may answer several events
            for place in places.keys() & event["outputs"]:
                said_in[places[place]].add(event["api_name"].rstrip("_0123456789"))
    assert all(len(jobs_there) == 1 for jobs_there in said_in.values()), said_in


QUICK = {"path": "circle", "seconds": 0.5, "fps": 8, "size": 64, "painter": "opencv:telea", "seed": 5}


def test_the_same_film_comes_from_the_interface_and_from_its_settings_file(
    client, tiny_photo: Path, kinephoto, tmp_path: Path
) -> None:
    from gradio_client import handle_file

    films, settings, depth, command = client.predict(
        handle_file(tiny_photo), QUICK, None, api_name="/animate"
    )
    assert Path(films[0]).name == "beach.mp4" and Path(depth).name == "beach_depth.png"
    assert json.loads(Path(settings).read_text())["seed"] == 5
    assert command.startswith("kinephoto animate beach.jpg -o beach.mp4 --path circle")
    (tmp_path / "beach.jpg").write_bytes(tiny_photo.read_bytes())
    answer = kinephoto("animate", "beach.jpg", "-o", "again.mp4", "--settings", settings)
    assert answer.returncode == 0, answer.stderr.decode()
    assert (tmp_path / "again.mp4").read_bytes() == Path(films[0]).read_bytes()


def test_depth_preview_and_scene_come_as_files(client, tiny_photo: Path, tmp_path: Path) -> None:
    from gradio_client import handle_file

    photo = handle_file(tiny_photo)
    coloured, exact = client.predict(photo, api_name="/depth")
    with Image.open(exact) as picture:
        assert picture.size == (96, 80) and np.asarray(picture).dtype == np.uint16
    with Image.open(coloured) as picture:
        assert picture.mode == "RGB"
    own = tmp_path / "own.png"
    Image.fromarray(np.tile(np.arange(96, dtype=np.uint8) * 2, (80, 1))).save(own)
    film = client.predict(photo, QUICK, handle_file(own), api_name="/preview")
    assert Path(film).read_bytes()[4:8] == b"ftyp"
    scene = {"size": 64, "painter": "opencv:telea"}
    files = client.predict(photo, scene, handle_file(own), api_name="/scene")
    assert [Path(file).name for file in files] == [
        f"beach{end}" for end in (".html", ".glb", ".ply", ".splat.ply")
    ]
    assert "<canvas" in Path(files[0]).read_text() and Path(files[1]).read_bytes()[:4] == b"glTF"


def sentence(client, *values: object, api_name: str = "/animate") -> str:
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError) as refused:
        client.predict(*values, api_name=api_name)
    text = str(refused.value)
    assert "Traceback" not in text and "\n" not in text.strip()
    return text


def test_what_cannot_be_used_is_answered_by_one_sentence(client, tiny_photo: Path, tmp_path: Path) -> None:
    from gradio_client import handle_file

    photo = handle_file(tiny_photo)
    assert "10000 characters" in sentence(client, photo, QUICK | {"prompt": "x" * 10_000}, None)
    assert "control characters" in sentence(client, photo, QUICK | {"prompt": "a\x07"}, None)
    assert "There is no setting 'wobble'" in sentence(client, photo, {"wobble": 1}, None)
    assert "must be a JSON object" in sentence(client, photo, [1, 2], None)
    assert "at most 2 s long" in sentence(client, photo, {"seconds": 3}, None)
    assert "the path is one of" in sentence(client, photo, {"path": "moves.json"}, None)
    assert "no photo yet" in sentence(client, None, {}, None)
    (tmp_path / "text.jpg").write_text("not a picture")
    said = sentence(client, handle_file(tmp_path / "text.jpg"), {}, None)
    assert "text.jpg" in said and "/" not in said
    Image.new("RGB", (1000, 400)).save(tmp_path / "large.png")
    assert "megapixels" in sentence(client, handle_file(tmp_path / "large.png"), {}, None)
    wide = tmp_path / "wide.png"
    Image.new("L", (200, 20)).save(wide)
    assert "same aspect" in sentence(client, photo, QUICK, handle_file(wide))
    assert "Where is the object?" in sentence(
        client, photo, None, {}, "a beach", 1, "centre", 0, api_name="/scenes"
    )
    assert "in px" in sentence(client, photo, None, {"box": "x"}, "", 1, "centre", 0, api_name="/scenes")


def test_no_path_of_a_request_opens_a_file_of_the_servers(server: tuple[str, Path], repository: Path) -> None:
    url, _ = server
    names = [str(repository / "examples" / "coffee.jpg"), "/etc/hostname", str(repository / "pyproject.toml")]
    for path in names:
        for meta in ({"meta": {"_type": "gradio.FileData"}}, {"orig_name": "x.jpg"}):
            answer = httpx.post(f"{url}/gradio_api/call/depth", json={"data": [{"path": path, **meta}]})
            assert answer.status_code == 400 and "was not uploaded here" in answer.json()["error"]
        assert httpx.get(f"{url}/gradio_api/file={path}").status_code in (403, 404)
        answer = httpx.post(f"{url}/gradio_api/call/animate", json={"data": [None, {"path": path}, None]})
        assert answer.status_code == 400


def test_another_sites_page_can_not_upload(server: tuple[str, Path]) -> None:
    url, _ = server
    for origin, status in (("http://evil.example", 403), ("null", 403), (url, 200)):
        upload = {"files": ("beach.jpg", b"x")}
        answer = httpx.post(f"{url}/gradio_api/upload", files=upload, headers={"Origin": origin}, timeout=60)
        assert answer.status_code == status, origin


def test_an_upload_that_is_too_large_is_refused(server: tuple[str, Path]) -> None:
    url, _ = server
    answer = httpx.post(
        f"{url}/gradio_api/upload", files={"files": ("large.jpg", b"x" * 600_000)}, timeout=60
    )
    assert answer.status_code == 413


def test_a_visitor_who_goes_away_in_the_middle_leaves_the_server_at_work(
    server: tuple[str, Path], client, tiny_photo: Path
) -> None:
    from gradio_client import handle_file

    url, _ = server
    upload = {"files": ("beach.jpg", tiny_photo.read_bytes())}
    (path,) = httpx.post(f"{url}/gradio_api/upload", files=upload, timeout=60).json()
    data = [{"path": path, "meta": {"_type": "gradio.FileData"}}, QUICK | {"seconds": 2, "fps": 30}, None]
    answer = httpx.post(f"{url}/gradio_api/call/animate", json={"data": data}, timeout=60)
    event = answer.json()["event_id"]
    with (
        contextlib.suppress(httpx.ReadTimeout),
        httpx.stream("GET", f"{url}/gradio_api/call/animate/{event}", timeout=1) as stream,
    ):
        next(stream.iter_lines(), None)
    assert Path(client.predict(handle_file(tiny_photo), api_name="/depth")[1]).is_file()


def test_what_keeps_the_server_from_starting_is_one_sentence(server: tuple[str, Path], run) -> None:
    port = server[0].rsplit(":", 1)[1]
    for words, says in (
        (("--port", port), f"Port {port} of 127.0.0.1 can't be used"),
        (("--port", port, "--host", "127.0.0.2"), f"Port {port} of 127.0.0.1 can't be used"),
        (("--host", "0.0.0.0"), "--auth USER:PASSWORD, or --insecure"),
        (("--port", "0"), "--port is 0; it must be from 1 to 65535"),
        (("--host", "no.such.host.invalid", "--insecure"), "There is no address no.such.host.invalid here"),
    ):
        code, said = run("app", *words)
        assert code == 2 and says in said and "Traceback" not in said


@pytest.mark.slow
def test_with_auth_nothing_is_given_away_before_the_login(monkeypatch, tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    port = free_port()
    words = [
        "app",
        "--port",
        str(port),
        "--auth",
        "ann:pass:word",
        "--results",
        str(tmp_path / "r"),
        "--offline",
    ]
    log = tmp_path / "log.txt"
    with log.open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, *words], stderr=said, stdout=said, cwd=tmp_path
        )
    try:
        deadline = time.monotonic() + 120
        while "kinephoto is at" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as visitor:
            upload = {"files": ("beach.jpg", b"x")}
            asked = [
                lambda: visitor.get("/config"),
                lambda: visitor.get("/gradio_api/info"),
                lambda: visitor.post("/gradio_api/upload", files=upload),
                lambda: visitor.post("/gradio_api/call/depth", json={"data": [None]}),
            ]
            assert [ask().status_code for ask in asked] == [401] * 4
            for user, password in (("ann", "word"), ("bob", "pass:word"), ("", "")):
                form = {"username": user, "password": password}
                assert visitor.post("/login", data=form).status_code in (400, 422)
            assert [ask().status_code for ask in asked] == [401] * 4
            assert (
                visitor.post("/login", data={"username": "ann", "password": "pass:word"}).status_code == 200
            )
            assert [ask().status_code for ask in asked] == [200] * 4
        assert "pass:word" not in log.read_text()
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("host", ["127.0.0.2", "::1"])
def test_any_address_of_this_machine_serves_and_sigterm_leaves_no_folder(host: str, tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as trial:
        try:
            trial.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine has no {host}")
    port, log = free_port(), tmp_path / "log.txt"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    words = ["app", "--host", host, "--port", str(port), "--offline"]
    with log.open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, *words],
            stderr=said,
            stdout=said,
            cwd=tmp_path,
            env=os.environ | {"TMPDIR": str(temporary)},
        )
    try:
        deadline = time.monotonic() + 120
        while "kinephoto is at" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        assert url in log.read_text()
        assert httpx.get(f"{url}/config", timeout=60).status_code == 200
        assert httpx.get(f"{url}/config", headers={"Host": "evil.example"}, timeout=60).status_code == 403
        assert len(list(temporary.glob("kinephoto-app-*"))) == 1
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
        assert not list(temporary.glob("kinephoto-app-*")), log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
        process.wait(20)


def test_without_gradio_the_sentence_names_what_to_install(monkeypatch, tmp_path: Path) -> None:
    from kinephoto.app.web.server import serve

    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "")  # put back in the end
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(InputError, match=r"pip install 'kinephoto\[app\]'"):
        serve(AppSettings(port=free_port(), results=tmp_path / "r"), print)


def test_a_browser_that_goes_away_in_an_upload_is_no_fault_of_the_server(tmp_path: Path) -> None:
    requests = pytest.importorskip("starlette.requests")
    from kinephoto.app.web.guard import Guard

    async def gone(scope: Any, receive: Any, send: Any) -> None:
        raise requests.ClientDisconnect

    async def nothing(*_: Any) -> Any:
        return {"type": "http.disconnect"}

    headers = [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=x")]
    scope = {"type": "http", "method": "POST", "headers": headers}
    asyncio.run(Guard(gone, tmp_path, True)(scope, nothing, nothing))
