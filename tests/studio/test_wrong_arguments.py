"""What the public functions can't use is one sentence, said at once; NumPy's numbers are as good as Python's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import kinephoto as kp
from kinephoto.scene.values import Disparity, Frame, Photo
from kinephoto.scene.world import World
from kinephoto.studio.animate import film_autoregressive
from kinephoto.studio.cutout import Cutout, cut_out
from kinephoto.studio.extension import extended
from kinephoto.studio.video import VideoSink

HW = (96, 128)
SQUARE = (slice(30, 60), slice(40, 80))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """beach.jpg, a photo, and cat.png, whose square alone is opaque."""
    place = tmp_path_factory.mktemp("pictures")
    rgb = np.random.default_rng(0).integers(0, 256, (*HW, 3)).astype(np.uint8)
    alpha = np.zeros(HW, np.uint8)
    alpha[SQUARE] = 255
    Image.fromarray(rgb).save(place / "beach.jpg")
    Image.fromarray(np.dstack([rgb, alpha])).save(place / "cat.png")
    return place


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.fixture(scope="module")
def photo(folder: Path) -> Photo:
    return kp.read_photo(folder / "beach.jpg")


def depth() -> Disparity:
    values = torch.full(HW, 0.1)
    values[24:72, 40:88] = 1.0
    return Disparity(values, metric=True)


@pytest.fixture(scope="module")
def world(photo: Photo) -> World:
    return built(photo)


def built(photo: Any, path: Any = None, **change: Any) -> World:
    return kp.build_world(photo, path, **({"depth": depth(), "painter": "classical"} | change))


def said(call: Callable[[], object]) -> str:
    """The one sentence with which a call is refused."""
    with pytest.raises(kp.InputError) as caught:
        call()
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence and ". " not in sentence
    return sentence


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"path": 3}, "The path is 3; it must be one of swing, circle"),
        ({"seed": 1.5}, "The seed is 1.5; it must be a whole number from 0 to 4294967295"),
        ({"seed": -1}, "The seed is -1; it must be"),
        ({"seed": None}, "The seed is None; it must be"),
        ({"size": 96.5}, "The size is 96.5; it must be a whole number from 64 to 4320"),
        ({"size": "96"}, "The size is '96'; it must be"),
        ({"most_views": 0}, "most_views is 0; it must be a whole number, at least 1"),
        ({"threads": 1.5}, "threads is 1.5; it must be a whole number, at least 1"),
        ({"extend": 10}, "extend is 10; it must be 'auto', a list such as 'left=128,right=20%'"),
        ({"extend": "up=3"}, "extend or --extend has 'up=3'; it must be a list such as left=128"),
        ({"extend": {"up": 3}}, "The margins are {'up': 3}; they must be px by side"),
        ({"extend": {"left": 1.5}}, "The margin left is 1.5; it must be a whole number, at least 0"),
        ({"painter": 3}, "The painter is 3; it must be one of auto, builtin"),
        ({"prompt": 3}, "The prompt is 3; it must be text, or None"),
        ({"depth_floor": "x"}, "The depth range's floor is 'x'; it must be a number between 0 and 1"),
        ({"progress": True}, "progress is True; it must be a function, or None"),
        ({"eyes": 2}, "eyes is 2; it must be a function, or None"),
    ],
)
def test_build_world_says_what_it_can_not_use(photo: Photo, change: dict, words: str) -> None:
    assert words in said(lambda: built(photo, **change))


def test_what_is_no_photo_is_sent_to_where_photos_come_from() -> None:
    array = np.zeros((*HW, 3), np.uint8)
    for call in (
        lambda: built(array),
        lambda: kp.estimate_depth(array),
        lambda: cut_out(array, box=(0, 0, 9, 9)),
    ):
        sentence = said(call)
        assert (
            "The photo is an object of type ndarray; it must be a Photo from kinephoto.read_photo" in sentence
        )
        assert "photo_from_array" in sentence


def test_a_file_will_do_for_a_photo_and_a_name_for_a_path(photo: Photo, folder: Path) -> None:
    by_name = built("beach.jpg", "circle")
    given = built(photo, kp.path("circle"))
    assert by_name.trajectory.path == given.trajectory.path
    for one, other in zip(by_name.layers, given.layers, strict=True):
        assert torch.equal(one.rgb, other.rgb)
    assert torch.equal(kp.estimate_depth(folder / "beach.jpg", depth()).values, depth().values)


def test_margins_are_words_as_on_the_command_line(photo: Photo) -> None:
    for margins in ("left=10,top=25%", {"left": np.int64(10), "top": 24}):
        assert built(photo, "still", extend=margins).layers[0].camera.hw == (120, 138)
    assert extended("beach.jpg", {"left": 10}, painter="classical").photo.camera.hw == (96, 138)
    assert "The margins are 'left=3'; they must be" in said(lambda: extended(photo, "left=3"))
    assert "The margin left is -3" in said(lambda: extended(photo, {"left": -3}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seconds": "4"}, "The film's length in seconds is '4'; it must be a number from 0.04 to 600"),
        ({"fps": None}, "The number of frames per second is None; it must be a number from 1 to 120"),
        ({"supersample": 1.5}, "Supersampling is 1.5; it must be a whole number from 1 to 4"),
        ({"supersample": 0}, "Supersampling is 0; it must be a whole number from 1 to 4"),
        ({"size": 64.5}, "The size is 64.5; it must be a whole number from 64 to 4320"),
        ({"threads": "2"}, "threads is '2'; it must be a whole number, at least 1"),
    ],
)
def test_film_says_what_it_can_not_use_before_the_first_frame(world: World, change: dict, words: str) -> None:
    assert words in said(lambda: kp.film(world, **change))


def test_what_is_no_world_is_said(photo: Photo, tmp_path: Path) -> None:
    words = "The world is an object of type Photo; it must be a World, from kinephoto.build_world"
    for call in (
        lambda: kp.film(photo),
        lambda: film_autoregressive(photo, painter="classical"),
        lambda: kp.save_scene(photo, tmp_path / "scene.ply"),
    ):
        assert words in said(call)


def test_numbers_of_numpy_are_numbers(photo: Photo, tmp_path: Path) -> None:
    whole, real = np.int64, np.float32
    move = kp.path("circle", amount=real(0.05), hold=whole(0), max_hole=real(0.1), focus=np.array([0.5, 0.5]))
    made = built(photo, move, seed=whole(3), size=np.int32(64), most_views=np.int8(2), depth_floor=real(0.1))
    assert made.seed == 3 and type(made.seed) is int
    frames = kp.film(made, real(0.5), whole(8), size=whole(64), supersample=np.uint8(1))
    assert kp.write_video(frames, tmp_path / "a.mp4", quality=whole(20), loop_count=whole(0)).seconds == 0.5
    report = kp.write_video(kp.film(made, real(0.5), real(8)), tmp_path / "a.mp4", fps=real(23.976))
    assert report.seconds == pytest.approx(4 * 1001 / 24000)
    scene = kp.outpaint("cat.png", hw=whole(64), scale=real(0.5), seed=whole(1), painter="classical")
    assert scene.photo.camera.hw == (64, 64)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hw": "big"}, "hw is 'big'; it must be height and width in px, such as (512, 768), or one number"),
        ({"hw": (96,)}, "hw is (96,); it must be height and width in px"),
        ({"hw": 64.0}, "hw is 64.0; it must be"),
        ({"hw": 0}, "The scene is 0 x 0 px; its sides go from 64"),
        ({"scale": "2"}, "The scale is '2'; it must be a number from 0.01 to 100"),
        ({"place": None}, "The place is None; it must be left, centre, right"),
        ({"place": 3}, "The place is 3; it must be left, centre, right"),
        ({"seed": 1.5}, "The seed is 1.5; it must be a whole number"),
        ({"prompt": 3}, "The prompt is 3; it must be text"),
        ({"painter": 3}, "The painter is 3; it must be one of auto, builtin"),
    ],
)
def test_outpaint_and_out_animate_say_what_they_can_not_use(change: dict, words: str) -> None:
    for call in (kp.outpaint, kp.out_animate):
        assert words in said(lambda call=call: call("cat.png", **change))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"points": (60, 45)}, "The points are (60, 45); they must be pairs x, y in px"),
        ({"points": 5}, "The points are 5; they must be pairs x, y in px"),
        ({"box": (1, 2, 3)}, "The box is (1, 2, 3); it must be x0, y0, x1, y1 in px"),
        ({"box": 5}, "The box is 5; it must be x0, y0, x1, y1 in px"),
        ({"mask": 3}, "The mask is 3; it must be an array or a tensor [H, W]"),
        ({"mask": np.zeros((3, 4, 5))}, "The mask is [3, 4, 5], its photo [96, 128]; they must agree"),
    ],
)
def test_what_marks_no_object_is_said(photo: Photo, change: dict, words: str) -> None:
    for call in (kp.out_animate, kp.outpaint, cut_out):
        assert words in said(lambda call=call: call(photo, **change))


def test_arrays_mark_an_object_as_well(photo: Photo) -> None:
    mask = np.zeros(HW, bool)
    mask[SQUARE] = True
    assert torch.equal(cut_out(photo, mask=mask).opaque, torch.from_numpy(mask))
    by_points = cut_out(photo, points=np.array([[60, 45]]), box=np.array([35, 25, 85, 65]))
    assert torch.equal(by_points.alpha, cut_out(photo, points=[(60, 45)], box=(35, 25, 85, 65)).alpha)
    assert "The segmenter is 3; it must be" in said(lambda: cut_out(photo, points=[(60, 45)], segmenter=3))


def test_outpaint_takes_what_out_animate_takes(photo: Photo) -> None:
    mask = np.zeros(HW, bool)
    mask[SQUARE] = True
    how = {"hw": HW, "painter": "classical"}
    for subject, marks in (("cat.png", {}), ("beach.jpg", {"mask": mask}), (photo, {"mask": mask})):
        assert int(kp.outpaint(subject, **marks, **how).object_mask.sum()) == mask.sum()
    frames = kp.out_animate("cat.png", "circle", hw=64, seconds=0.2, painter="classical", depth=depth64())
    assert frames.hw == (64, 64) and frames.world is not None
    assert frames.world.trajectory.path.name == "circle"


def depth64() -> Disparity:
    return Disparity(torch.linspace(0.1, 1, 64)[:, None].expand(64, 64).contiguous())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": "4"}, "steps is '4'; it must be a whole number, at least 1"),
        ({"guidance": "x"}, "guidance is 'x'; it must be a number, 0 or more"),
    ],
)
def test_outpaint_says_what_its_painter_can_not_use(change: dict, words: str) -> None:
    assert words in said(lambda: kp.outpaint("cat.png", **change))


def test_out_animate_refuses_a_film_before_it_paints_the_scene() -> None:
    class Untouched:
        name = "untouched"

        def paint(self, *args: Any, **more: Any) -> torch.Tensor:
            pytest.fail("nothing may be painted")

    for change, words in (
        ({"seconds": "4"}, "seconds is '4'; it must be"),
        ({"seconds": 1000}, "seconds is 1000; it must be"),
        ({"path": "wobble"}, "There is no path 'wobble'"),
    ):
        assert words in said(lambda change=change: kp.out_animate("cat.png", painter=Untouched(), **change))


def test_those_who_call_are_served_as_well_as_those_who_type() -> None:
    for call in (kp.out_animate, kp.outpaint):
        assert said(lambda call=call: call("beach.jpg")).endswith(
            "give a mask, points or a box: --mask, --select or --box."
        )
        assert "The object is 3; it must be a Cutout, an RGBA picture's file" in said(
            lambda call=call: call(3)
        )


def frame() -> Frame:
    return Frame(torch.zeros(3, 48, 64), 0, torch.zeros(48, 64))


@pytest.mark.parametrize(
    ("frames", "change", "words"),
    [
        ([np.zeros((3, 48, 64))], {}, "Frame 0 is an object of type ndarray; it must be a Frame"),
        (torch.zeros(2, 3, 48, 64), {}, "Frame 0 is an object of type Tensor; it must be a Frame"),
        (frame(), {}, "The frames are an object of type Frame; they must be Frames, as kinephoto.film"),
        (None, {}, "The frames are None; they must be Frames"),
        ("film.mp4", {}, "The frames are 'film.mp4'; they must be Frames"),
        ([frame()], {"target": None}, "The target is None; it must be the name of a video"),
        ([frame()], {"quality": None}, "The quality is None; it must be draft, good, best or a whole number"),
        ([frame()], {"quality": 17.5}, "The quality is 17.5; it must be draft, good, best or a whole number"),
        ([frame()], {"loop_count": None}, "loop_count is None; it must be a whole number"),
        ([frame()], {"metadata": ["title"]}, "The metadata are ['title']; they must be texts by name"),
        ([frame()], {"metadata": {"title": 3}}, "The metadata are {'title': 3}; they must be texts by name"),
    ],
)
def test_write_video_says_what_it_can_not_use(tmp_path: Path, frames: Any, change: dict, words: str) -> None:
    assert words in said(lambda: kp.write_video(frames, **({"target": tmp_path / "film.mp4"} | change)))
    assert list(tmp_path.iterdir()) == []


def test_frames_in_a_list_play_as_fast_as_their_film(world: World, tmp_path: Path) -> None:
    frames = list(kp.film(world, 0.5, 10))
    assert frames[0].fps == 10
    assert kp.write_video(frames, tmp_path / "film.mp4").seconds == 0.5
    assert kp.write_video((one for one in frames), tmp_path / "film.mp4").seconds == 0.5
    assert kp.write_video(frames, tmp_path / "film.mp4", fps=5).seconds == 1
    assert kp.write_video([frame()] * 12, tmp_path / "film.mp4").seconds == 0.5
    with VideoSink(tmp_path / "film.mp4") as sink:
        sink.write(frames[0])
    assert sink.report.seconds == 0.1
    fast = list(kp.film(world, 0.05, 60))
    assert "at most 50 frames per second; got 60" in said(lambda: kp.write_video(fast, tmp_path / "a.gif"))


def test_a_film_that_is_over_says_so(world: World, tmp_path: Path) -> None:
    closed, taken = kp.film(world, 0.2, 10), kp.film(world, 0.2, 10)
    closed.close()
    list(taken)
    for frames in (closed, taken):
        words = "This film is over: its frames have all been taken, or it was closed"
        assert words in said(lambda frames=frames: kp.write_video(frames, tmp_path / "film.mp4"))
    begun = kp.film(world, 0.2, 10)
    next(begun)
    assert kp.write_video(begun, tmp_path / "film.mp4").frame_count == 1


def test_what_is_printed_is_short(photo: Photo, world: World) -> None:
    made = Cutout(photo.rgb, (torch.rand(HW) > 0.5).float())
    scene = kp.outpaint("cat.png", hw=64, painter="classical")
    for value in (photo, depth(), world, world.layers[0], next(kp.film(world, 0.2, 10)), made, scene):
        assert "tensor(" not in repr(value) and len(repr(value)) < 1500
    assert "hw=(96, 128)" in repr(photo) and repr(frame()) == "Frame(index=0, fps=None)"


def test_save_scene_says_what_is_no_target(world: World) -> None:
    assert "The target is None; it must be the name of a file" in said(lambda: kp.save_scene(world, None))
