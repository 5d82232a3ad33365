"""A painted world is the same from frame to frame; the photo's own pixels stay as they are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.painter import get_painter
from kinephoto.scene.camera import Camera, Pose
from kinephoto.scene.path import path
from kinephoto.scene.render import Renderer
from kinephoto.scene.values import Disparity, Photo
from kinephoto.scene.world import World
from kinephoto.studio.animate import film, film_autoregressive
from kinephoto.studio.build import SMALLEST_HOLE_SHARE, build_world, start_world
from kinephoto.studio.frame_size import hw_of
from kinephoto.studio.stages import Stages

HW = (96, 128)


class Counting:
    """The classical painter, and how often it was asked."""

    name = "counting"

    def __init__(self) -> None:
        self.count = 0
        self._painter = get_painter("classical")

    def paint(self, rgb: Tensor, known: Tensor, disparity: Tensor, *, prompt=None, seed: int = 0) -> Tensor:
        self.count += 1
        return self._painter.paint(rgb, known, disparity, prompt=prompt, seed=seed)


def photo(hw: tuple[int, int] = HW) -> Photo:
    """Coloured noise, smooth enough to look at."""
    rough = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(5))
    rgb = torch.nn.functional.interpolate(rough, hw, mode="bilinear")[0].contiguous()
    return Photo(rgb, Camera.from_field_of_view(hw))


def two_planes(hw: tuple[int, int] = HW) -> Disparity:
    """A near square before a far wall."""
    values = torch.full(hw, 0.1)
    values[hw[0] // 4 : -hw[0] // 4, hw[1] // 3 : -hw[1] // 3] = 1.0
    return Disparity(values, metric=True)


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(photo(), path("swing", amount=0.05), depth=two_planes())


def test_the_photo_itself_comes_back_bit_for_bit(world: World) -> None:
    frame = next(iter(film(world, 1, 8)))  # a swing begins at rest
    assert torch.equal(frame.rgb, world.layers[0].rgb)
    assert float(frame.invented.max()) == 0


def test_what_was_painted_of_the_background_does_not_show_through_it() -> None:
    """A rough slope behind thin posts, painted from many sides: at rest the photo is seen all the same."""
    generator = torch.Generator().manual_seed(1)
    slope = 0.2 + 0.3 * torch.linspace(0, 1, HW[0])[:, None] + 0.004 * torch.rand(HW, generator=generator)
    slope[20:80, 20::24] = 1.0
    painted = build_world(
        photo(), path("circle", amount=0.06), depth=Disparity(slope, metric=True), painter="classical"
    )
    assert len(painted.layers) > 2
    home = Renderer(painted.layers).render(painted.camera, Pose.identity(), supersample=2)
    assert home.beyond_first is not None
    assert float(home.beyond_first.mean()) < 0.004


def test_frames_are_seconds_times_fps(world: World) -> None:
    frames = film(world, 0.5, 12)
    assert len(frames) == frames.frame_count == 6 and frames.fps == 12
    assert [frame.index for frame in frames] == list(range(6))
    assert all(frame.rgb.shape == (3, *HW) for frame in film(world, 0.25, 8))


def test_no_frame_has_a_hole_and_what_was_painted_is_marked(world: World) -> None:
    shares = [float(frame.invented.mean()) for frame in film(world, 1, 8)]
    assert shares[0] == 0 and max(shares) > 0.01
    again = start_world(photo(), path("swing", amount=0.05), depth=two_planes())
    from kinephoto.scene.render import Renderer

    bare, painted = Renderer(again.layers), Renderer(world.layers)
    for time in (0.1, 0.25, 0.4, 0.6, 0.75, 0.9):
        view = world.trajectory.view(time)
        assert float((~painted.coverage(*view)).float().mean()) <= 2 * SMALLEST_HOLE_SHARE
        known = bare.render(*view)
        # Nothing of what the photo shows is covered by what was painted.
        assert torch.equal(painted.render(*view).rgb[:, known.known], known.rgb[:, known.known])


def test_every_frame_comes_from_the_same_layers() -> None:
    """What two frames both show of a painted layer has one colour: nothing flickers."""
    world = build_world(photo(), path("slide-left", amount=0.05, ease="linear"), depth=two_planes())
    from kinephoto.scene.render import Renderer

    renderer = Renderer(world.layers)
    first, second = (renderer.locate(*world.trajectory.view(time)) for time in (0.9, 1.0))
    colours = [renderer.render(*world.trajectory.view(time), sampling="nearest").rgb for time in (0.9, 1.0)]
    seen = {}
    for hits, rgb in ((first, colours[0]), (second, colours[1])):
        for y, x in (hits.layer > 0).nonzero().tolist():
            key = (int(hits.layer[y, x]), int(hits.u[y, x]), int(hits.v[y, x]))
            seen.setdefault(key, []).append(rgb[:, y, x])
    both = [torch.stack(colour) for colour in seen.values() if len(colour) > 1]
    assert len(both) > 50
    spreads = torch.stack([(colour.max(0).values - colour.min(0).values).max() for colour in both])
    assert float(spreads.max()) == 0


def test_a_longer_film_needs_no_more_paintings() -> None:
    painter = Counting()
    built = build_world(photo(), path("circle", amount=0.04), depth=two_planes(), painter=painter)
    after_building = painter.count
    assert after_building == len(built.key_views) == len(built.layers) - 1 > 0
    for seconds in (0.25, 2):
        assert sum(1 for _ in film(built, seconds, 12)) == seconds * 12
    assert painter.count == after_building


def test_the_same_seed_gives_the_same_bytes_whatever_the_threads(world: World) -> None:
    again = build_world(photo(), path("swing", amount=0.05), depth=two_planes(), threads=1)
    for one, other in zip(film(world, 0.5, 8, threads=2), film(again, 0.5, 8, threads=1), strict=True):
        assert torch.equal(one.rgb, other.rgb) and torch.equal(one.invented, other.invented)


def test_a_loop_closes(world: World) -> None:
    looped = build_world(photo(), path("circle", amount=0.04, loop=True), depth=two_planes())
    frames = [frame.rgb for frame in film(looped, 1, 24)]
    steps = [float((a - b).abs().mean()) for a, b in zip(frames, frames[1:] + frames[:1], strict=True)]
    assert steps[-1] < 1.5 * max(steps[:-1])


def test_closing_a_film_cancels_it(world: World) -> None:
    frames = film(world, 10, 24)
    next(frames)
    frames.close()
    with pytest.raises(StopIteration):
        next(frames)


def test_a_film_of_another_size_shows_the_same(world: World) -> None:
    small = [frame.rgb for frame in film(world, 0.5, 4, size=64)]
    full = [frame.rgb for frame in film(world, 0.5, 4)]
    assert small[0].shape == (3, 64, 86)
    for a, b in zip(small, full, strict=True):
        reduced = torch.nn.functional.interpolate(b[None], (64, 86), mode="area")[0]
        assert float((a - reduced).abs().mean()) < 0.02


def test_a_film_has_the_worlds_size_however_large() -> None:
    large = start_world(photo(), path("still"), size=800, depth=two_planes())
    assert (
        large.camera.hw
        == film(large, 0.25, 8).hw
        == next(iter(film(large, 0.25, 8))).rgb.shape[1:]
        == (800, 1066)
    )


def test_autoregressive_paints_every_frame_that_moves() -> None:
    painter = Counting()
    start = start_world(photo(), path("slide-left", amount=0.04, ease="linear"), depth=two_planes())
    frames = list(film_autoregressive(start, 0.5, 12, painter=painter))
    assert len(frames) == 6 and painter.count >= 5
    shares = [float(frame.invented.mean()) for frame in frames]
    assert shares[-1] > 0.01  # carried on from frame to frame
    still = list(film_autoregressive(start_world(photo(), path("still"), depth=two_planes()), 0.5, 4))
    assert all(torch.equal(frame.rgb, photo().rgb) for frame in still)


def test_stages_are_told_in_order() -> None:
    told: list[tuple[str, float]] = []
    build_world(
        photo(), path("swing", amount=0.03), depth=two_planes(), progress=lambda *what: told.append(what)
    )
    names = list(dict.fromkeys(name for name, _ in told))
    assert names == ["depth", "path", "painting"]
    assert all(0 <= share <= 1 for _, share in told) and told[-1] == ("painting", 1.0)
    stages = Stages(None)
    with stages.stage("depth"):
        pass
    assert stages.seconds["depth"] >= 0


def test_sizes_are_even_and_keep_the_aspect() -> None:
    assert hw_of((768, 1024), 512) == (512, 682) and hw_of((1024, 768), 512) == (682, 512)
    assert hw_of((500, 8000), None) == (256, 4096) and hw_of((500, 8000), 500) == (500, 8000)
    assert hw_of((3000, 4000), None) == (720, 960) and hw_of((301, 401), None) == (300, 400)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"seconds": 0}, "The film's length in seconds is 0; it must be a number from 0.04 to 600"),
        ({"seconds": 1e6}, "must be a number from 0.04 to 600"),
        ({"fps": 0.5}, "The number of frames per second is 0.5; it must be a number from 1 to 120"),
        ({"size": 10}, "The size is 10; it must be a whole number from 64 to 4320"),
        ({"supersample": 9}, "Supersampling is 9"),
    ],
)
def test_numbers_out_of_range_are_refused(world: World, arguments: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        film(world, **arguments)


def test_a_post_that_the_border_cuts_goes_on_beyond_it() -> None:
    """Near beam from the middle to the right border; the camera goes right, so a strip opens beside its end."""
    values = torch.full(HW, 0.1)
    values[40:60, 64:] = 1.0
    rgb = torch.full((3, *HW), 0.3)
    rgb[0, 40:60, 64:] = 0.9
    built = build_world(
        Photo(rgb, Camera.from_field_of_view(HW)),
        path("slide-right", amount=0.06, focus="middle"),
        depth=Disparity(values, metric=True),
    )
    last = list(film(built, 0.5, 4))[-1]
    strip = last.invented[46:54, -3:]
    assert float(strip.mean()) > 0.9  # it was painted
    assert float(last.rgb[0, 46:54, -4:].min()) > 0.6  # as beam
    assert float(last.rgb[0, 20:34, -4:].max()) < 0.5  # and only there
