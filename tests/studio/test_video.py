"""What was sent is what others read: PyAV, OpenCV and Pillow open what kinephoto has written."""

from __future__ import annotations

import ctypes
import gc
import itertools
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from kinephoto.errors import InputError
from kinephoto.scene.values import Frame
from kinephoto.studio.encoders import GifEncoder
from kinephoto.studio.formats import FORMATS, frame_rate
from kinephoto.studio.pictures import to_uint8
from kinephoto.studio.video import VideoSink, check_target, mask_frame, mask_frames, write_video

HW = (48, 64)
# Each way to write a video: target and codec, with the error allowed on smooth frames, of 255 per channel at the
# 99th percentile: what "good" quantises away, plus two for limited range and halved chroma.
WAYS = [
    ("film.mp4", "h264", 8),
    ("film.mov", "h264", 8),
    ("film.mkv", "h264", 8),
    ("film.webm", "vp9", 7),
    ("film.webm", "av1", 6),
    ("film.mp4", "av1", 6),
    ("film.mkv", "vp9", 7),
    ("film.mkv", "av1", 6),
    ("film.webp", "webp", 7),
    ("film.gif", "gif", 16),  # 256 colours
    ("film/", "png", 0),
]
TARGETS = ["film.mp4", "film.webm", "film.gif", "film.webp", "film/"]
FLATS = {
    "red": (1.0, 0.0, 0.0),
    "blue": (0.0, 0.0, 1.0),
    "green": (0.0, 1.0, 0.0),
    "white": (1.0, 1.0, 1.0),
    "black": (0.0, 0.0, 0.0),
    "skin": (0.87, 0.67, 0.55),
}


def smooth_film(frame_count: int, hw: tuple[int, int] = HW) -> Iterator[Frame]:
    """A soft wave of colour that wanders to the right."""
    height, width = hw
    y = torch.linspace(0, 1, height)[:, None].expand(height, width)
    x = torch.linspace(0, 1, width)[None, :].expand(height, width)
    for index in range(frame_count):
        wave = 0.5 + 0.3 * torch.sin(3 * (x - index / 24))
        yield Frame(torch.stack([wave, 0.3 + 0.4 * y, 0.8 - 0.5 * wave]), index, x)


def flat_film(rgb: tuple[float, ...], frame_count: int = 5, hw: tuple[int, int] = HW) -> Iterator[Frame]:
    for index in range(frame_count):
        yield Frame(torch.tensor(rgb)[:, None, None].expand(3, *hw), index, torch.zeros(hw))


def noise_film(frame_count: int, hw: tuple[int, int]) -> Iterator[Frame]:
    """Nothing compresses it."""
    generator = torch.Generator().manual_seed(7)
    for index in range(frame_count):
        yield Frame(torch.rand(3, *hw, generator=generator), index, torch.zeros(hw))


def read(path: Path) -> list[np.ndarray]:
    """All frames as [H, W, 3] uint8, by programs that trust the file's own tags."""
    if path.is_dir():
        return [np.asarray(Image.open(file).convert("RGB")) for file in sorted(path.iterdir())]
    if path.suffix in (".gif", ".webp"):
        with Image.open(path) as image:
            return [_seek(image, index) for index in range(image.n_frames)]
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def _seek(image: Image.Image, index: int) -> np.ndarray:
    image.seek(index)
    return np.asarray(image.convert("RGB"))


def target_in(folder: Path, name: str) -> str:
    """As text, since a path forgets the slash that asks for a folder."""
    return f"{folder}/{name}"


@pytest.mark.parametrize(("name", "codec", "tolerance"), WAYS)
def test_the_file_decodes_to_what_was_sent(tmp_path: Path, name: str, codec: str, tolerance: int) -> None:
    report = write_video(smooth_film(8), target_in(tmp_path, name), codec=codec)
    got = read(report.path)
    assert len(got) == report.frame_count == 8
    assert report.hw == HW and report.codec == codec
    for picture, frame in zip(got, smooth_film(8), strict=True):
        error = np.abs(picture.astype(int) - to_uint8(frame.rgb))
        assert np.percentile(error, 99) <= tolerance


@pytest.mark.parametrize("colour", FLATS)
@pytest.mark.parametrize("name", ["film.mp4", "film.webm", "film.webp", "film.gif"])
def test_saturated_colours_come_back(tmp_path: Path, name: str, colour: str) -> None:
    """Another matrix (BT.601) or range moves red, green or blue by 15 to 30, full range black by 16."""
    report = write_video(flat_film(FLATS[colour]), target_in(tmp_path, name))
    sent = np.round(np.array(FLATS[colour]) * 255)
    for picture in read(report.path):
        # One step of limited-range chroma is worth up to 2 of 255; the codecs add one or two.
        assert np.abs(picture.reshape(-1, 3) - sent).max() <= 4


def test_convention_video_is_bt709_limited_range(tmp_path: Path) -> None:
    """Pure red in BT.709 is Y 62.6, Cb 102.3, Cr 240 (ITU-R BT.709-6, items 3.2 to 3.5)."""
    report = write_video(flat_film(FLATS["red"]), tmp_path / "red.mp4", quality="best")
    with av.open(str(report.path)) as container:
        context = container.streams.video[0].codec_context
        tags = (context.color_primaries, context.color_trc, context.colorspace, context.color_range)
        assert context.pix_fmt == "yuv420p" and tags == (1, 1, 1, 1)
        planes = [np.frombuffer(plane, np.uint8) for plane in next(container.decode(video=0)).planes]
    assert [plane[0] for plane in planes] == pytest.approx([63, 102, 240], abs=1)


def test_opencv_reads_the_same_colours(tmp_path: Path) -> None:
    report = write_video(smooth_film(6), tmp_path / "film.mp4")
    capture = cv2.VideoCapture(str(report.path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 6 and capture.get(cv2.CAP_PROP_FPS) == 24
    for frame in smooth_film(6):
        found, bgr = capture.read()
        assert found
        assert np.abs(bgr[:, :, ::-1].astype(int) - to_uint8(frame.rgb)).mean() < 3
    capture.release()


@pytest.mark.parametrize("fps", [24, 12.5, 60, Fraction(24000, 1001), 23.976, 1, 120])
@pytest.mark.parametrize("name", ["film.mp4", "film.webm"])
def test_frames_are_fps_times_seconds(tmp_path: Path, fps: float, name: str) -> None:
    report = write_video(smooth_film(10), tmp_path / name, fps=fps)
    with av.open(str(report.path)) as container:
        assert container.streams.video[0].average_rate == frame_rate(fps)
        assert container.duration / av.time_base == pytest.approx(report.seconds, abs=0.002)  # webm counts ms
    assert report.seconds == pytest.approx(10 / fps, rel=1e-4)


@pytest.mark.parametrize("name", ["film.gif", "film.webp"])
def test_animations_last_as_long_as_the_film(tmp_path: Path, name: str) -> None:
    report = write_video(smooth_film(12), tmp_path / name, fps=24)
    with Image.open(report.path) as image:
        lengths_ms = []
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            lengths_ms.append(image.info["duration"])
    assert sum(lengths_ms) == pytest.approx(500, abs=10)  # GIF counts in 1/100 s


@pytest.mark.parametrize(("loop_count", "gif"), [(0, 0), (1, None), (3, 2)])
def test_loop_count_is_how_often_it_plays(tmp_path: Path, loop_count: int, gif: int | None) -> None:
    """WebP stores the number of plays; GIF that of the repetitions, and nothing at all for one play."""
    for name, stored in (("film.webp", loop_count), ("film.gif", gif)):
        write_video(smooth_film(3), tmp_path / name, loop_count=loop_count)
        with Image.open(tmp_path / name) as image:
            assert image.info.get("loop") == stored


def test_the_index_of_an_mp4_comes_before_its_frames(tmp_path: Path) -> None:
    for name in ("film.mp4", "film.mov"):
        data = write_video(smooth_film(10), tmp_path / name).path.read_bytes()
        boxes, at = [], 0
        while at < len(data):
            length, kind = struct.unpack(">I4s", data[at : at + 8])
            boxes.append(kind)
            at += length
        assert boxes.index(b"moov") < boxes.index(b"mdat")


@pytest.mark.parametrize(("name", "hw"), [("a.mp4", (46, 62)), ("a.webm", (47, 63)), ("a.gif", (47, 63))])
def test_an_odd_last_row_and_column_is_cut_where_the_codec_needs_it(
    tmp_path: Path, name: str, hw: tuple[int, int]
) -> None:
    report = write_video(smooth_film(3, hw=(47, 63)), tmp_path / name, quality="good")
    picture = read(report.path)[0]
    assert report.hw == hw == picture.shape[:2]
    sent = to_uint8(next(smooth_film(1, hw=(47, 63))).rgb)[: hw[0], : hw[1]]
    assert np.abs(picture.astype(int) - sent).mean() < 4


@pytest.mark.parametrize("name", [*TARGETS, "film.mkv"])
def test_the_same_film_is_the_same_bytes(tmp_path: Path, name: str) -> None:
    contents = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        path = write_video(smooth_film(5), target_in(tmp_path / folder, name)).path
        contents.append([file.read_bytes() for file in (sorted(path.iterdir()) if path.is_dir() else [path])])
    assert contents[0] == contents[1]


@pytest.mark.parametrize("name", ["film.mp4", "film.mov", "film.webm"])
def test_metadata_is_read_back(tmp_path: Path, name: str) -> None:
    told = {"title": "Füße am Strand", "comment": "made from one photo"}
    write_video(smooth_film(3), tmp_path / name, metadata=told)
    with av.open(str(tmp_path / name)) as container:
        found = {key.lower(): value for key, value in container.metadata.items()}
    assert {key: found[key] for key in told} == told


def test_metadata_of_png_frames_is_read_back(tmp_path: Path) -> None:
    write_video(smooth_film(1), f"{tmp_path}/film/", metadata={"title": "Füße"})
    with Image.open(tmp_path / "film" / "frame_00000.png") as image:
        assert image.text == {"title": "Füße"}


def test_better_quality_is_nearer_and_larger(tmp_path: Path) -> None:
    sizes, errors = [], []
    for quality in ("draft", "good", "best"):
        report = write_video(noise_film(4, HW), tmp_path / "film.mp4", quality=quality)
        sent = np.stack([to_uint8(frame.rgb) for frame in noise_film(4, HW)]).astype(float)
        sizes.append(report.bytes)
        errors.append(np.abs(np.stack(read(report.path)) - sent).mean())
    assert sizes == sorted(sizes) and errors == sorted(errors, reverse=True)
    assert report.bytes == (tmp_path / "film.mp4").stat().st_size


@pytest.mark.parametrize("name", TARGETS)
def test_frames_are_let_go_as_they_are_written(tmp_path: Path, name: str) -> None:
    alive: weakref.WeakSet = weakref.WeakSet()
    most = 0

    def counted() -> Iterator[Frame]:
        nonlocal most
        for frame in smooth_film(40):
            alive.add(frame.rgb)
            most = max(most, len(alive))
            yield frame

    gc.collect()
    write_video(counted(), target_in(tmp_path, name))
    assert most <= 3  # the one being written, the one being made, and the loop's own


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads memory from /proc")
@pytest.mark.parametrize("name", ["film.mp4", "film.webm", "film.gif", "film.webp"])
def test_memory_is_flat_in_the_number_of_frames(tmp_path: Path, name: str) -> None:
    """66 more frames of 360 KiB would be 23 MiB if anything kept them; once the heap may grow for other reasons."""
    hw, resident = (240, 512), []
    # What is free, but kept by the C library in a heap with holes, is not kept by us.
    give_back = partial(getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None), 0)

    def watched() -> Iterator[Frame]:
        for frame in smooth_film(260, hw):
            if frame.index in (60, 126, 192, 258):  # encoders look up to 50 frames ahead
                give_back()
                with open("/proc/self/statm") as file:
                    resident.append(int(file.read().split()[1]) * resource.getpagesize() / 2**20)
            yield frame

    write_video(watched(), tmp_path / name, quality="draft")
    grown = sorted(after - before for before, after in itertools.pairwise(resident))
    assert grown[1] < 10, grown


class Stop(Exception):
    pass


@pytest.mark.parametrize("ending", [Stop, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("name", TARGETS)
def test_an_interruption_leaves_nothing_and_closes_the_film(tmp_path: Path, name: str, ending: type) -> None:
    closed = []

    def interrupted() -> Iterator[Frame]:
        try:
            for frame in noise_film(20, HW):
                if frame.index == 15:
                    raise ending
                yield frame
        finally:
            closed.append(True)

    with pytest.raises(ending):
        write_video(interrupted(), target_in(tmp_path, name))
    assert os.listdir(tmp_path) == [] and closed == [True]


@pytest.mark.parametrize("name", TARGETS)
def test_an_error_of_the_sink_closes_the_film(tmp_path: Path, name: str) -> None:
    closed = []

    def film() -> Iterator[Frame]:
        try:
            yield from smooth_film(2)
            yield from smooth_film(2, hw=(32, 32))
        finally:
            closed.append(True)

    with pytest.raises(InputError, match="frame 2 is 32 x 32, those before it 64 x 48"):
        write_video(film(), target_in(tmp_path, name))
    assert os.listdir(tmp_path) == [] and closed == [True]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_leaves_nothing(tmp_path: Path, number: int) -> None:
    def signalled() -> Iterator[Frame]:
        for frame in smooth_film(20):
            if frame.index == 10:
                os.kill(os.getpid(), number)
            yield frame

    with pytest.raises((SystemExit, KeyboardInterrupt)):
        write_video(signalled(), tmp_path / "film.mp4")
    assert os.listdir(tmp_path) == []


def test_a_killed_process_leaves_the_older_file(tmp_path: Path) -> None:
    target = tmp_path / "film.mp4"
    target.write_bytes(b"older")
    program = f"""
import itertools, torch
from kinephoto.scene.values import Frame
from kinephoto.studio.video import write_video
def film():
    for index in itertools.count():
        if index == 100:
            print("busy", flush=True)
        yield Frame(torch.rand(3, 64, 64), index, torch.zeros(64, 64))
write_video(film(), {str(target)!r})
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"busy\n"
        process.kill()
    assert target.read_bytes() == b"older"


@pytest.mark.parametrize("name", ["film.mp4", "film.webm", "film.gif", "film.webp", "film/"])
def test_no_space_left_is_one_sentence_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    """A limit on the size of files stops the encoder where a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(InputError, match="grew larger than a file may be here"):
            write_video(noise_film(8, (128, 128)), target_in(tmp_path, name))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == []


def test_an_older_video_is_replaced_only_where_allowed(tmp_path: Path) -> None:
    for name in ("film.mp4", "film/"):
        target = target_in(tmp_path, name)
        write_video(smooth_film(4), target)
        assert write_video(smooth_film(2), target).frame_count == len(read(Path(target))) == 2
        with pytest.raises(InputError, match="allow overwriting"):
            write_video(smooth_film(2), target, overwrite=False)


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(InputError, match="holiday.jpg"):
        write_video(smooth_film(2), tmp_path)
    assert os.listdir(tmp_path) == ["holiday.jpg"]


def test_no_frames_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no frames"):
        write_video([], tmp_path / "film.mp4")
    assert os.listdir(tmp_path) == []


def test_a_single_frame_is_a_video(tmp_path: Path) -> None:
    for name in TARGETS:
        report = write_video(smooth_film(1), target_in(tmp_path, name))
        assert len(read(report.path)) == 1


def test_bad_arguments_are_said_before_the_first_frame(tmp_path: Path) -> None:
    def untouched() -> Iterator[Frame]:
        pytest.fail("no frame may be asked for")
        yield

    bad = [
        ("film.bmp", {}, r"film\.bmp ends in \.bmp; kinephoto writes a video as \.mp4"),
        ("film", {}, "has no suffix"),
        ("none/film.mp4", {}, "does not exist"),
        ("film.mp4", {"fps": 0}, "1 to 120; got 0"),
        ("film.mp4", {"fps": float("nan")}, "1 to 120; got nan"),
        ("film.gif", {"fps": 60}, "at most 50 frames per second; got 60"),
        (
            "film.mp4",
            {"quality": "superb"},
            "draft, good, best or a number from 0 to 51 for h264; got 'superb'",
        ),
        ("film.mp4", {"quality": 52}, "0 to 51; got 52"),
        ("film.gif", {"quality": 20}, "gif has no quality"),
        ("film.webm", {"codec": "h264"}, "kinephoto writes vp9 or av1 into"),
        ("film.gif", {"loop_count": -1}, "0 .* to 65535 times; got -1"),
        ("film.mp4", {"metadata": {"mood": "fine"}}, "no place for 'mood'; it takes title"),
    ]
    for name, arguments, words in bad:
        with pytest.raises(InputError, match=words):
            write_video(untouched(), tmp_path / name, **arguments)
    with pytest.raises(InputError, match="standard output"):
        write_video(untouched(), "-")
    with pytest.raises(InputError, match=r"\.mp4"):
        check_target(tmp_path / "film.avi")
    assert os.listdir(tmp_path) == []


def test_frames_that_are_no_pictures_are_refused(tmp_path: Path) -> None:
    for shape, words in [
        ((48, 64), r"\[3, H, W\]"),
        ((3, 1, 64), "sides go from 2"),
        ((3, 2, 17000), "16383"),
    ]:
        frame = Frame(torch.zeros(shape), 0, torch.zeros(1, 1))
        with pytest.raises(InputError, match=words):
            write_video([frame], tmp_path / "film.mp4")
    assert os.listdir(tmp_path) == []


def test_one_film_feeds_two_files_at_once(tmp_path: Path) -> None:
    with (
        VideoSink(tmp_path / "film.mp4") as colours,
        VideoSink(tmp_path / "mask.mp4", quality="best") as mask,
    ):
        for frame in smooth_film(5):
            colours.write(frame)
            mask.write(mask_frame(frame))
    assert colours.report.frame_count == mask.report.frame_count == 5
    sent = to_uint8(next(smooth_film(1)).invented)
    for picture in read(mask.report.path):
        assert np.abs(picture.astype(int) - sent[:, :, None]).max() <= 3


def test_when_one_of_two_files_fails_neither_appears(tmp_path: Path) -> None:
    with (
        pytest.raises(Stop),
        VideoSink(tmp_path / "film.mp4") as colours,
        VideoSink(tmp_path / "mask.webm") as mask,
    ):
        for frame in smooth_film(3):
            colours.write(frame)
            mask.write(mask_frame(frame))
        raise Stop
    assert os.listdir(tmp_path) == []


def test_mask_frames_shows_what_was_invented_and_closes_the_film() -> None:
    film = smooth_film(3)
    masks = mask_frames(film)
    frame = next(masks)
    assert frame.rgb.shape == (3, *HW) and torch.equal(frame.rgb[1], frame.invented)
    masks.close()
    assert list(film) == []


def test_a_film_that_knows_its_frame_rate_is_believed(tmp_path: Path) -> None:
    class Film(list):
        fps = 30

    film = Film(smooth_film(6))
    assert write_video(film, tmp_path / "film.mp4").seconds == pytest.approx(0.2)
    assert write_video(film, tmp_path / "film.mp4", fps=24).seconds == pytest.approx(0.25)


def test_every_suffix_has_a_way_tested_here() -> None:
    assert {Path(name).suffix for name, _, _ in WAYS} - {""} == set(FORMATS)
    assert {(Path(n).suffix, c) for n, c, _ in WAYS if Path(n).suffix} == {
        (suffix, codec) for suffix, (_, codecs) in FORMATS.items() for codec in codecs
    }


@pytest.mark.parametrize("after_s", [0.03, 0.05, 0.08, 0.11, 0.15])
def test_ctrl_c_is_heard_while_a_gif_is_written(tmp_path: Path, after_s: float) -> None:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (96, 128, 3), dtype=np.uint8) for _ in range(8)]
    (tmp_path / "film.gif").touch()
    encoder = GifEncoder(tmp_path / "film.gif", (96, 128), Fraction(24))
    timer = threading.Timer(after_s, os.kill, (os.getpid(), signal.SIGINT))
    try:
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            for number in range(2000):
                encoder.write(pictures[number % 8])
    finally:
        timer.cancel()
        encoder.close()
