"""Two eyes: where they stand, that both see a whole world, and what the file tells others of it."""

from __future__ import annotations

import struct
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from kinephoto.errors import InputError
from kinephoto.scene.camera import Camera, Pose, projection
from kinephoto.scene.fit import alone, fitted
from kinephoto.scene.path import path
from kinephoto.scene.render import Renderer
from kinephoto.scene.values import Disparity, Frame, Layer, Photo
from kinephoto.scene.world import World, photo_layer
from kinephoto.studio.animate import film
from kinephoto.studio.build import SMALLEST_HOLE_SHARE, build_world
from kinephoto.studio.sinks import open_sink
from kinephoto.studio.stereo import MOST_DIVERGENCE, Stereo, range_of, stereo_film
from kinephoto.studio.stereo_layout import LAYOUTS, anaglyph, composed, composed_hw, layout_of, named, pair_of
from kinephoto.studio.stereo_tags import insert_st3d
from kinephoto.studio.video import VideoSink, write_video

HW = (72, 96)
NEAR, FAR = 1.0, 0.1
PACKED = [name for name, layout in LAYOUTS.items() if layout.packing]


def photo(hw: tuple[int, int] = HW) -> Photo:
    """Coloured noise, smooth enough to look at."""
    rough = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(5))
    rgb = torch.nn.functional.interpolate(rough, hw, mode="bilinear")[0].contiguous()
    return Photo(rgb, Camera.from_field_of_view(hw))


def two_planes(hw: tuple[int, int] = HW) -> Disparity:
    """A near square before a far wall."""
    values = torch.full(hw, FAR)
    values[hw[0] // 4 : -hw[0] // 4, hw[1] // 3 : -hw[1] // 3] = NEAR
    return Disparity(values, metric=True)


def layer() -> Layer:
    return photo_layer(photo().rgb, two_planes().values, photo().camera)


@pytest.fixture(scope="module")
def stereo() -> Stereo:
    return Stereo("sbs", divergence=3.0)


@pytest.fixture(scope="module")
def world(stereo: Stereo) -> World:
    move = path("circle", amount=0.03)
    return build_world(
        photo(), move, depth=two_planes(), painter="classical", threads=1, eyes=stereo.eyes_for
    )


def home(camera: Camera) -> tuple[Camera, Pose]:
    """The photo's own place."""
    return camera, Pose.identity()


def landing(standpoint: tuple, source: Camera, u: float, v: float, disparity: float) -> np.ndarray:
    """Where a camera sees a point of the photo, px."""
    camera, pose = standpoint
    x, y, w = projection(camera, pose, source) @ [u, v, 1, disparity]
    return np.array([x / w, y / w])


# Geometry


@pytest.mark.parametrize("name", ["still", "circle", "orbit", "spiral", "dolly-zoom-in", "rise"])
def test_there_is_no_vertical_parallax(name: str) -> None:
    from kinephoto.scene.path import rig_for

    source = photo().camera
    eyes = Stereo("sbs", 3.0).eyes(layer())
    rig = rig_for(source, two_planes().numpy(), "middle", 0.06)
    for time in (0.0, 0.3, 0.9):
        left, right = eyes(path(name).move(time, rig))
        for u, v, disparity in ((3, 5, 1.0), (120, 90, 0.1), (64, 10, 0.4)):
            ends = [landing(eye, source, u, v, disparity) for eye in (left, right)]
            assert ends[0][1] == pytest.approx(ends[1][1], abs=1e-9)


@pytest.mark.parametrize("divergence", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("convergence", [0.0, 0.5, 1.0])
def test_near_and_far_differ_by_the_divergence_and_the_screen_not_at_all(
    divergence: float, convergence: float
) -> None:
    source = photo().camera
    eyes = Stereo("sbs", divergence, convergence).eyes(layer())
    both = eyes(home(source))

    def shift(disparity: float) -> float:
        left, right = (landing(eye, source, 40, 50, disparity)[0] for eye in both)
        return left - right

    assert shift(NEAR) - shift(FAR) == pytest.approx(divergence / 100 * HW[1])
    # Disparity maps are float32.
    assert shift(FAR + convergence * (NEAR - FAR)) == pytest.approx(0, abs=1e-6)
    assert (
        shift(NEAR) >= -1e-6 and shift(FAR) <= 1e-6
    )  # what is near comes out of the screen: the left eye sees it farther right


@pytest.mark.parametrize("name", ["zoom-in", "zoom-out", "dolly-zoom-in", "dolly-zoom-out", "spiral"])
def test_the_divergence_and_the_screen_stay_when_the_camera_comes_closer(name: str) -> None:
    from kinephoto.scene.path import rig_for

    source = photo().camera
    eyes = Stereo("sbs", 2.0, 1.0).eyes(layer())
    rig = rig_for(source, two_planes().numpy(), "middle", 0.06)
    for time in np.linspace(0, 1, 9):
        both = eyes(path(name).move(float(time), rig))
        near, far = (
            landing(both[0], source, 64, 48, d)[0] - landing(both[1], source, 64, 48, d)[0]
            for d in (NEAR, FAR)
        )
        assert near - far <= 2.0 / 100 * HW[1] + 1e-6
        assert near == pytest.approx(0, abs=1e-4)


def test_the_eyes_look_straight_ahead_and_stand_level() -> None:
    camera = photo().camera
    left, right = Stereo("sbs").eyes(layer())(home(camera))
    for seen_by, _ in (left, right):
        assert seen_by.focal_px == camera.focal_px and seen_by.centre_px[1] == camera.centre_px[1]
    step = left[1].t - right[1].t
    assert torch.equal(left[1].R, right[1].R) and step[0] > 0 and float(step[1:].abs().max()) == 0


def test_comfort_has_a_limit_and_says_so() -> None:
    much, most = Stereo("sbs", 9.0), Stereo("sbs", MOST_DIVERGENCE)
    assert much.eyes(layer()) == most.eyes(layer())
    assert most.note is None and "--divergence 9 would strain the eyes; 3.3 %" in (much.note or "")


def test_a_flat_photo_isnt_torn_apart() -> None:
    source = photo().camera
    flat = photo_layer(photo().rgb, torch.ones(HW) + 1e-4 * torch.rand(HW), source)
    left, right = Stereo("sbs", 2.0).eyes(flat)(home(source))
    infinite, near = (
        landing(left, source, 40, 50, d)[0] - landing(right, source, 40, 50, d)[0] for d in (0, 1)
    )
    assert near - infinite == pytest.approx(2 * 0.02 * HW[1], rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("sidebyside",), "There is no stereo layout 'sidebyside'; there are sbs, half-sbs"),
        (("sbs", -1.0), "divergence is -1"),
        (("sbs", 2.0, 1.5), "convergence is 1.5; it must be from 0 to 1"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Stereo(*arguments)


# Worlds and frames


def test_neither_eye_sees_a_hole(world: World) -> None:
    """Painted for the middle alone, the eyes see holes that this test would find."""
    for_one = build_world(
        photo(), path("circle", amount=0.03), depth=two_planes(), painter="classical", threads=1
    )

    def largest_hole(layers: tuple[Layer, ...]) -> float:
        renderer = Renderer(layers, threads=1)
        eyes = [eye for time in np.linspace(0, 1, 12) for eye in world.trajectory.views(float(time))]
        return max(float((~renderer.coverage(*eye)).float().mean()) for eye in eyes)

    # Twice, since these views lie between those that were looked at.
    assert largest_hole(world.layers) <= 2 * SMALLEST_HOLE_SHARE
    assert largest_hole(for_one.layers) > 10 * SMALLEST_HOLE_SHARE


def test_the_move_keeps_both_eyes_under_the_largest_hole(stereo: Stereo) -> None:
    move = path("swing", max_hole=0.02)
    one, two = (fitted(move, layer(), 1, viewers) for viewers in (alone, stereo.eyes_for(layer())))
    assert one.hole_share <= 0.02 and two.hole_share <= 0.02
    assert 0 < two.safe_amount < one.safe_amount


def test_a_frame_holds_what_each_eye_sees(world: World, stereo: Stereo) -> None:
    frames = list(stereo_film(world, stereo, 0.5, 8))
    assert len(frames) == 4 and all(frame.rgb.shape == (3, HW[0], 2 * HW[1]) for frame in frames)
    renderer = Renderer(world.layers)
    last = world.trajectory.views(world.trajectory.path.frame_times(0.5, 8)[-1])
    for eye, part in zip(last, frames[-1].rgb.chunk(2, dim=2), strict=True):
        view = renderer.render(*eye, supersample=2)
        assert torch.equal(part[:, view.known], view.rgb.clamp(0, 1)[:, view.known])
    left, right = frames[-1].invented.chunk(2, dim=1)
    assert 0 < float(left.mean()) < 0.1 and 0 < float(right.mean()) < 0.1 and not torch.equal(left, right)


def test_the_same_bytes_whatever_the_threads(world: World, stereo: Stereo) -> None:
    one, two = (list(stereo_film(world, stereo, 0.25, 8, threads=count)) for count in (1, 2))
    assert all(torch.equal(a.rgb, b.rgb) for a, b in zip(one, two, strict=True))


def test_frames_are_let_go_as_they_come(world: World, stereo: Stereo) -> None:
    alive: weakref.WeakSet = weakref.WeakSet()
    most = 0
    for frame in stereo_film(world, stereo, 1.0, 12):
        alive.add(frame.rgb)
        most = max(most, len(alive))
    assert most <= 2


def test_a_world_for_one_eye_is_refused() -> None:
    single = build_world(photo(), path("still"), depth=two_planes(), painter="classical")
    with pytest.raises(InputError, match="painted for one eye"):
        stereo_film(single, Stereo("tb"))


def test_rgbd_is_the_film_with_its_depth_at_the_right() -> None:
    rgbd = Stereo("rgbd")
    built = build_world(
        photo(),
        path("swing", amount=0.02),
        depth=two_planes(),
        painter="classical",
        eyes=rgbd.eyes_for,
    )
    for wide, plain in zip(stereo_film(built, rgbd, 0.5, 8), film(built, 0.5, 8), strict=True):
        colour, depth = wide.rgb.chunk(2, dim=2)
        assert torch.equal(colour, plain.rgb)
        assert float(depth[:, HW[0] // 2, HW[1] // 2].min()) == pytest.approx(1, abs=0.01)  # near is white
        assert float(depth[:, 5, 5].max()) == pytest.approx(0, abs=0.01)
        assert torch.equal(depth[0], depth[1])
    assert range_of(built.layers[0]) == pytest.approx((NEAR, FAR), abs=1e-3)


# Layouts


def test_each_eye_is_where_its_layout_says() -> None:
    left, right = torch.zeros(3, 4, 6), torch.ones(3, 4, 6)
    whole = {name: composed(left, right, name) for name in LAYOUTS}
    for name in ("sbs", "pair", "half-sbs", "rgbd"):
        first, second = whole[name].chunk(2, dim=2)
        assert float(first.max()) == 0 and float(second.min()) == 1
    for name in ("tb", "half-tb"):
        first, second = whole[name].chunk(2, dim=1)
        assert float(first.max()) == 0 and float(second.min()) == 1
    first, second = whole["cross"].chunk(2, dim=2)
    assert float(first.min()) == 1 and float(second.max()) == 0
    for name, picture in whole.items():
        shape = (4, 12) if name == "pair" else composed_hw((4, 6), name)
        assert tuple(picture.shape[1:]) == shape


def test_half_layouts_average_areas() -> None:
    left, right = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(3))
    across, down = composed(left, right, "half-sbs"), composed(left, right, "half-tb")
    assert torch.allclose(across[:, :, :6], (left[:, :, 0::2] + left[:, :, 1::2]) / 2)
    assert torch.allclose(down[:, 4:], (right[:, 0::2] + right[:, 1::2]) / 2)


def test_an_anaglyph_keeps_greys_and_parts_the_eyes() -> None:
    grey = torch.linspace(0, 1, 9)[None, None].expand(3, 2, 9)
    assert torch.allclose(anaglyph(grey, grey), grey, atol=2e-3)  # Dubois's numbers have three to six digits
    black = torch.zeros_like(grey)
    left, right = anaglyph(grey, black), anaglyph(black, grey)
    assert float(left[1:].max()) == 0 and float(left[0].max()) > 0.95  # through red glass
    assert float(right[0].max()) == 0 and float(right[1:, :, -1].min()) > 0.95  # through cyan glass


def test_masks_have_the_layout_of_the_film() -> None:
    left, right = torch.zeros(1, 4, 6), torch.ones(1, 4, 6)
    assert float(composed(left, right, "anaglyph").min()) == 1
    assert composed(left, right, "half-tb")[0, :, 0].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("target", "layout", "name"),
    [
        ("beach.mp4", "sbs", "beach_LRF_Full_SBS.mp4"),
        ("beach.mp4", "half-sbs", "beach_LR.mp4"),
        ("beach.mkv", "tb", "beach_TBF_fulltb.mkv"),
        ("beach.mkv", "half-tb", "beach_TB.mkv"),
        ("beach.jpg", "cross", "beach_RLF_cross.jpg"),
        ("beach.png", "anaglyph", "beach_redcyan.png"),
        ("out/beach.webm", "rgbd", "out/beach_RGBD.webm"),
        ("frames/", "sbs", "frames_LRF_Full_SBS/"),
        ("beach_sbs.mp4", "sbs", "beach_sbs.mp4"),
        ("beach_3DH.mp4", "half-sbs", "beach_3DH.mp4"),
        ("beach_R.png", "pair", "beach_R.png"),
    ],
)
def test_the_name_tells_players_the_layout(target: str, layout: str, name: str) -> None:
    assert named(target, layout) == name


def test_a_name_that_tells_of_another_layout_is_refused() -> None:
    with pytest.raises(InputError, match="beach_TB.mp4 tells players of half-tb, but --stereo is sbs"):
        named("beach_TB.mp4", "sbs")


def test_every_layout_knows_its_own_name_and_its_others() -> None:
    for name, layout in LAYOUTS.items():
        for ending in (layout.suffix, *layout.also):
            assert layout_of(f"beach{ending}") == name == layout_of(f"beach{ending}".upper())
    assert layout_of("beach") is None
    for target in ("a.png", "a_L.png", "a_R.png"):
        assert pair_of(target) == ("a_L.png", "a_R.png")
    assert pair_of("frames/") == ("frames_L/", "frames_R/")


def test_a_folder_that_is_there_is_named_like_one_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("frames.d").mkdir()
    assert named("frames.d", "sbs") == named("frames.d/", "sbs") == "frames.d_LRF_Full_SBS/"
    assert pair_of("frames.d") == ("frames.d_L/", "frames.d_R/")
    for target in (".", "./", "..", "/", "frames.d/.."):
        with pytest.raises(
            InputError, match="has no name that --stereo pair could add _L to; name the folder"
        ):
            named(target, "pair")


# Files


class Reel(list):
    """Frames and what a film knows of itself."""

    fps = 12

    def __init__(self, frames: Iterator[Frame], layout: str) -> None:
        super().__init__(frames)
        self.packing = LAYOUTS[layout].packing


def reel(layout: str, count: int = 4, hw: tuple[int, int] = (48, 64)) -> Reel:
    """Soft colours; every column differs from its neighbour in hue, as in an anaglyph."""
    y, x = torch.meshgrid(torch.linspace(0, 1, hw[0]), torch.linspace(0, 1, hw[1]), indexing="ij")
    return Reel((Frame(torch.stack([x, y, 1 - x * (i + 1) / count]), i, x) for i in range(count)), layout)


def boxes(data: bytes, begin: int, end: int) -> Iterator[tuple[str, int, int]]:
    """ISO/IEC 14496-12, 4.2: kind, first byte of the content, end."""
    while begin < end:
        length, kind = struct.unpack_from(">I4s", data, begin)
        assert 8 <= length <= end - begin, kind
        yield kind.decode("latin1"), begin + 8, begin + length
        begin += length
    assert begin == end


def sample_entry_boxes(path: Path) -> dict[str, bytes]:
    """Content of each box in the VisualSampleEntry, in order; all the way down, every size must fit."""
    data = path.read_bytes()
    begin, end = 0, len(data)
    for wanted in ("moov", "trak", "mdia", "minf", "stbl", "stsd"):
        found = {kind: span for kind, *span in boxes(data, begin, end)}
        begin, end = found[wanted]
    assert struct.unpack_from(">II", data, begin) == (0, 1)
    ((_, entry, entry_end),) = boxes(data, begin + 8, end)
    return {kind: data[first:last] for kind, first, last in boxes(data, entry + 78, entry_end)}


EBML = {0x18538067: None, 0x1654AE6B: None, 0xAE: None, 0xE0: None}
FIELDS = {0xB0: "PixelWidth", 0xBA: "PixelHeight", 0x54B0: "DisplayWidth", 0x54BA: "DisplayHeight"}
FIELDS |= {0x53B8: "StereoMode"}


def matroska_video(path: Path) -> dict[str, int]:
    """RFC 8794 and RFC 9559: the numbers of the video track."""
    data, found = path.read_bytes(), {}

    def number(at: int, keep_marker: bool) -> tuple[int, int]:
        length = 1
        while not data[at] & 0x80 >> (length - 1):
            length += 1
        value = int.from_bytes(data[at : at + length], "big")
        return (value if keep_marker else value & ((1 << 7 * length) - 1)), at + length

    def walk(at: int, end: int) -> None:
        while at < end:
            name, at = number(at, True)
            length, at = number(at, False)
            if name in EBML:
                walk(at, min(at + length, end))
            elif name in FIELDS:
                found[FIELDS[name]] = int.from_bytes(data[at : at + length], "big")
            at += length

    walk(0, len(data))
    return found


def stereo3d(path: Path) -> tuple[int, int] | None:
    """FFmpeg's own AVStereo3D of the first frame: type (1 side by side, 2 top and bottom), flags (1 inverted)."""
    from av.sidedata.sidedata import Type

    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        sides = [bytes(side) for side in frame.side_data if side.type == Type.STEREO3D]
    return struct.unpack_from("=ii", sides[0]) if sides else None


def frames_in(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("name", ["film.mp4", "film.mov", "av1.mp4"])
@pytest.mark.parametrize(
    ("layout", "mode"), [("sbs", 2), ("half-sbs", 2), ("tb", 1), ("half-tb", 1), ("cross", 4)]
)
def test_an_mp4_tells_its_layout_and_decodes_as_before(
    tmp_path: Path, name: str, layout: str, mode: int
) -> None:
    codec = "av1" if name.startswith("av1") else None
    tagged = write_video(reel(layout), tmp_path / name, codec=codec).path
    found = sample_entry_boxes(tagged)
    assert found["st3d"] == bytes([0, 0, 0, 0, mode])
    assert list(found).index("av1C" if codec else "avcC") < list(found).index("st3d")
    if mode != 4:  # FFmpeg doesn't know that one yet
        assert stereo3d(tagged) == ({1: 2, 2: 1}[mode], 0)
    plain = write_video(list(reel(layout)), tmp_path / f"plain_{name}", codec=codec, fps=12).path
    assert "st3d" not in sample_entry_boxes(plain)
    assert tagged.stat().st_size == plain.stat().st_size + 13
    for got, sent in zip(frames_in(tagged), frames_in(plain), strict=True):
        assert np.array_equal(got, sent)


def test_the_box_comes_before_the_shape_of_pixels(tmp_path: Path) -> None:
    """As the RFC wants it; kinephoto's own films have square pixels and say nothing of them."""
    place = tmp_path / "a.mp4"
    with av.open(str(place), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2)
        for packet in stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")):
            container.mux(packet)
        container.mux(stream.encode(None))
    insert_st3d(place, 2)  # moov comes last here
    kinds = list(sample_entry_boxes(place))
    assert kinds.index("avcC") < kinds.index("st3d") < kinds.index("pasp")
    assert stereo3d(place) == (1, 0)


def test_the_same_stereo_film_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv"):
        one, two = (
            write_video(reel("half-sbs"), tmp_path / f"{number}{name}").path.read_bytes() for number in (1, 2)
        )
        assert one == two


def test_a_long_index_moves_with_its_pictures(tmp_path: Path) -> None:
    """More than one chunk, and pictures longer than a block of the copy."""
    frames = Reel(
        (
            Frame(
                torch.rand(3, 240, 320, generator=torch.Generator().manual_seed(i)), i, torch.zeros(240, 320)
            )
            for i in range(30)
        ),
        "sbs",
    )
    tagged = write_video(frames, tmp_path / "a.mp4", quality=1).path
    assert tagged.stat().st_size > 3 << 20
    plain = write_video(list(frames), tmp_path / "b.mp4", quality=1, fps=12).path
    assert tagged.read_bytes()[-100_000:] == plain.read_bytes()[-100_000:]
    assert all(np.array_equal(a, b) for a, b in zip(frames_in(tagged), frames_in(plain), strict=True))


@pytest.mark.parametrize("suffix", ["mkv", "webm"])
@pytest.mark.parametrize(
    ("layout", "mode", "flags", "eye"),
    [
        ("sbs", 1, (1, 0), (32, 48)),
        ("half-sbs", 1, (1, 0), (64, 48)),
        ("tb", 3, (2, 0), (64, 24)),
        ("half-tb", 3, (2, 0), (64, 48)),
        ("cross", 11, (1, 1), (32, 48)),
    ],
)
def test_matroska_tells_the_layout_and_the_shape_of_one_eye(
    tmp_path: Path, suffix: str, layout: str, mode: int, flags: tuple[int, int], eye: tuple[int, int]
) -> None:
    """``eye``: width and height at which players show one of the two, at 64 x 48 for both; its ratio is told."""
    file = write_video(reel(layout), tmp_path / f"film.{suffix}").path
    told = matroska_video(file)
    assert told["StereoMode"] == mode and (told["PixelWidth"], told["PixelHeight"]) == (64, 48)
    assert Fraction(told["DisplayWidth"], told["DisplayHeight"]) == Fraction(*eye)
    assert stereo3d(file) == flags
    assert len(frames_in(file)) == 4


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.webm"])
def test_an_anaglyph_keeps_the_colour_of_every_pixel(tmp_path: Path, name: str) -> None:
    """Red and cyan columns, one pixel wide: with halved chroma they become grey."""
    stripes = torch.zeros(3, 32, 64)
    stripes[0, :, 0::2], stripes[1:, :, 1::2] = 0.8, 0.8
    frames = Reel((Frame(stripes, i, stripes[0]) for i in range(3)), "anaglyph")
    file = write_video(frames, tmp_path / name, quality="best").path
    with av.open(str(file)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv444p"
    got = frames_in(file)[0][:, :, 0].astype(int)
    assert (got[:, 0::2] - got[:, 1::2]).mean() > 150  # of 204
    assert stereo3d(file) is None
    if name != "film.mp4":  # WebM has no number for it
        assert matroska_video(file).get("StereoMode") == (10 if "mkv" in name else None)


def test_an_anaglyph_in_av1_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="which the av1 encoder doesn't keep; use h264 or vp9"):
        VideoSink(tmp_path / "a.mp4", codec="av1", packing=LAYOUTS["anaglyph"].packing)


def test_an_anaglyph_as_webp_loses_nothing(tmp_path: Path) -> None:
    noise = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(1))
    write_video(Reel([Frame(noise, 0, noise[0])], "anaglyph"), tmp_path / "a.webp")
    with Image.open(tmp_path / "a.webp") as picture:
        got = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(got, np.rint(noise.numpy() * 255).astype(np.uint8))


def test_films_with_one_eye_say_nothing(tmp_path: Path) -> None:
    for layout in (None, "rgbd"):
        frames = list(reel("sbs")) if layout is None else reel("rgbd")
        assert "st3d" not in sample_entry_boxes(write_video(frames, tmp_path / "a.mp4", fps=12).path)
        assert "StereoMode" not in matroska_video(write_video(frames, tmp_path / "a.mkv", fps=12).path)


@pytest.mark.parametrize("target", ["a.mp4", "a.png", "frames/"])
def test_a_pair_is_two_files(tmp_path: Path, target: str) -> None:
    wide = torch.cat([torch.full((3, 32, 48), 0.2), torch.full((3, 32, 48), 0.7)], dim=2)
    with open_sink(f"{tmp_path}/{target}", "pair", fps=12) as sink:
        for index in range(2):
            sink.write(Frame(wide, index, wide[0]))
    names = pair_of(target)
    assert {file.name for file in tmp_path.iterdir()} == {name.rstrip("/") for name in names}
    for name, level in zip(names, (51, 178), strict=True):
        place = tmp_path / name
        if place.suffix == ".mp4":
            picture = frames_in(place)[0]
        else:
            picture = np.asarray(Image.open(place / "frame_00001.png" if place.is_dir() else place))
        assert picture.shape == (32, 48, 3) and abs(int(picture[16, 24, 0]) - level) <= 2
    assert sink.report.hw == (32, 48)


def test_when_a_pair_fails_neither_file_appears(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    with pytest.raises(Stop), open_sink(tmp_path / "a.mp4", "pair", fps=12) as sink:
        sink.write(next(iter(reel("pair"))))
        raise Stop
    assert list(tmp_path.iterdir()) == []


def test_a_still_jpeg_keeps_the_colour_of_every_pixel(tmp_path: Path) -> None:
    with open_sink(tmp_path / "a.jpg", "anaglyph") as sink:
        sink.write(reel("anaglyph")[0])
    with Image.open(tmp_path / "a.jpg") as picture:
        assert [component[1:3] for component in picture.layer] == [(1, 1)] * 3
    assert sink.report.codec == "jpeg" and sink.report.frame_count == 1


# The command


def settings(**values: object):
    from kinephoto.studio.settings import AnimateSettings

    return AnimateSettings(painter="classical", depth="depth.npy", size=64, threads=1, **values)


@pytest.fixture
def beach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Photo:
    monkeypatch.chdir(tmp_path)
    np.save("depth.npy", two_planes().numpy())
    return photo()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_stereo_photo_is_taken_from_the_photos_own_place(beach: Photo, tmp_path: Path, layout: str) -> None:
    from kinephoto.studio.produce import Outputs, animate

    asked = settings(stereo=layout, path="zoom-in", seconds=4)
    outputs = Outputs(named("a.png", layout), mask="mask.png", layout=layout)
    report = animate(beach, outputs, asked)
    assert report.video.frame_count == 1 and report.settings.path == "still"
    height, width = composed_hw((64, 86), layout)
    for file in (*outputs.videos, *(("mask_L.png", "mask_R.png") if layout == "pair" else ("mask.png",))):
        with Image.open(file) as picture:
            assert picture.size == (width, height) and picture.format == "PNG"
    if layout == "rgbd":
        with Image.open(outputs.videos[0]) as picture:
            colour = np.asarray(picture)[:, :86].astype(float) / 255
        from kinephoto.scene.photo import resized

        assert np.abs(colour.transpose(2, 0, 1) - resized(beach, (64, 86)).rgb.numpy()).max() < 0.004


@pytest.mark.parametrize(("layout", "target"), [("half-sbs", "a.mp4"), ("pair", "a.mkv"), ("tb", "frames/")])
def test_the_mask_has_the_films_layout(beach: Photo, tmp_path: Path, layout: str, target: str) -> None:
    from kinephoto.studio.produce import Outputs, animate

    asked = settings(stereo=layout, seconds=0.25, fps=12, amount="small")
    outputs = Outputs(named(target, layout), mask=f"mask_{target}", layout=layout)
    report = animate(beach, outputs, asked)
    masks = [f"mask_a_{eye}.mkv" for eye in "LR"] if layout == "pair" else [f"mask_{target}"]
    for film_name, mask_name in zip(outputs.videos, masks, strict=True):
        pairs = [read_all(Path(name)) for name in (film_name, mask_name)]
        assert [len(pictures) for pictures in pairs] == [report.video.frame_count] * 2
        assert pairs[0][0].shape == pairs[1][0].shape
        assert pairs[1][-1].max() > 100 and np.ptp(pairs[1][-1].astype(int), axis=2).max() <= 4  # grey
    assert 0 < report.invented_mean < 0.2


def read_all(place: Path) -> list[np.ndarray]:
    if place.is_dir():
        return [np.asarray(Image.open(file)) for file in sorted(place.iterdir())]
    return frames_in(place)


def test_the_report_and_the_photo_tell_how_it_was_made(beach: Photo) -> None:
    import json

    from kinephoto.studio.produce import Outputs, animate
    from kinephoto.studio.provenance import read_provenance

    animate(beach, Outputs("a_LR.jpg", report="r.json", layout="half-sbs"), settings(stereo="half-sbs"))
    told = json.loads(Path("r.json").read_text())["stereo"]
    assert told["baseline"] > 0 and 0.1 < told["screen_disparity"] < 1
    found = read_provenance("a_LR.jpg").provenance
    assert found is not None and found.settings["stereo"] == "half-sbs" and found.invented_share > 0


def test_wrong_company_is_refused_before_the_work(beach: Photo, tmp_path: Path) -> None:
    from kinephoto.studio.produce import Outputs, animate

    for outputs, asked, says in (
        (Outputs("a_LR.jpg", mask="m.mp4"), settings(stereo="half-sbs"), "The mask is m.mp4; a photo's is"),
        (Outputs("a_LR.mp4", mask="m.png"), settings(stereo="half-sbs"), "The mask is m.png; a film's is"),
        (Outputs("a.jpg"), settings(), "a.jpg ends in .jpg; kinephoto writes a video as"),
        (
            Outputs("a_LR.mp4"),
            settings(stereo="half-sbs", mode="autoregressive"),
            "--stereo half-sbs needs --mode world",
        ),
        (Outputs("a.png", mask="a_R.png"), settings(stereo="pair"), "Two outputs have the same name, a_"),
    ):
        with pytest.raises(InputError, match=says):
            animate(beach, outputs, asked)
    assert {file.name for file in tmp_path.iterdir()} == {"depth.npy"}


def test_a_folder_of_frames_takes_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kinephoto.studio.outputs import Outputs

    monkeypatch.chdir(tmp_path)
    Path("frames").mkdir()
    for inner in ({"mask": "frames/mask.mp4"}, {"depth": "frames/d.png"}, {"mask": "frames/mask/"}):
        with pytest.raises(InputError, match="would lie in the folder frames, which is for frames alone"):
            Outputs("frames", **inner).check()
    Outputs("frames/", mask="mask/", depth="d.png").check()
    Outputs("film.mp4", depth="frames/d.png").check()


def test_the_command_says_the_name_it_gives(beach: Photo) -> None:
    from kinephoto.studio.produce import target_of

    name, notes = target_of("beach.mp4", settings(stereo="sbs", divergence=8))
    assert name == "beach_LRF_Full_SBS.mp4"
    assert [note[:24] for note in notes] == ["--divergence 8 would str", "The output is named beac"]
    assert target_of("beach_SBS.mp4", settings(stereo="sbs")) == ("beach_SBS.mp4", [])
    assert target_of("beach.mp4", settings()) == ("beach.mp4", [])
    assert "beach_L.mp4 and beach_R.mp4" in target_of("beach.mp4", settings(stereo="pair"))[1][0]


def test_settings_are_the_defaults_of_the_class_and_the_layouts_those_that_exist() -> None:
    from typing import get_args

    from kinephoto.studio.settings import AnimateSettings, StereoWord

    assert get_args(StereoWord) == ("mono", *LAYOUTS)
    plain = Stereo("sbs")
    assert (AnimateSettings().divergence, AnimateSettings().convergence) == (
        plain.divergence,
        plain.convergence,
    )
