"""From a world to frames (`film`): each is rendered from the same fixed layers.

``film_autoregressive`` is the paper's way (Fig. 3b): frame i + 1 is rendered from frame i, and each is painted.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from inspect import GEN_CLOSED, getgeneratorstate
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.painter import paint_holes
from kinephoto.painter.diffuse import push_pull_holes
from kinephoto.scene.fit import Trajectory
from kinephoto.scene.holes import farther_disparity
from kinephoto.scene.path import Path
from kinephoto.scene.path import View as Standpoint
from kinephoto.scene.render import MOST_SUPERSAMPLING, Renderer
from kinephoto.scene.values import (
    Frame,
    Layer,
    View,
    as_given,
    real_number,
    whole_number,
    whole_or_none,
)
from kinephoto.scene.world import World
from kinephoto.studio.extension import as_painter, checked_prompt, checked_seed
from kinephoto.studio.frame_size import SIZE_RANGE, hw_of

if TYPE_CHECKING:
    from kinephoto.painter import Painter
    from kinephoto.studio.formats import Packing

SECONDS_RANGE = (0.04, 600.0)
FPS_RANGE = (1.0, 120.0)


class Film:
    """The frames of a film, one after the other: a generator that knows its length; each frame knows ``fps``, too.

    Attributes:
        fps: frames per second.
        frame_count: how many there will be.
        hw: height and width of each, px.
        packing: how two eyes share each frame; None for films with one eye.
        world: what is filmed, so that a file can say how it was made.
    """

    def __init__(
        self,
        frames: Generator[Frame, None, None],
        frame_count: int,
        fps: float,
        hw: tuple[int, int],
        packing: Packing | None = None,
        world: World | None = None,
    ) -> None:
        self._frames, self.frame_count, self.fps, self.hw = frames, frame_count, fps, hw
        self.packing, self.world = packing, world

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        return replace(next(self._frames), fps=self.fps)

    def __len__(self) -> int:
        return self.frame_count

    @property
    def is_over(self) -> bool:
        """Whether no frame will come any more: all have been taken, or it was closed."""
        return getgeneratorstate(self._frames) == GEN_CLOSED

    def close(self) -> None:
        """Stop, and let go of what the frames were made from."""
        self._frames.close()


def film(
    world: World,
    seconds: float = 4.0,
    fps: float = 24.0,
    *,
    size: int | None = None,
    supersample: int = 2,
    threads: int | None = None,
    device: str | None = None,
) -> Film:
    """All frames, each rendered from the world's fixed layers: nothing flickers.

    Args:
        world: from ``build_world``.
        seconds: length, 0.04 to 600.
        fps: frames per second, 1 to 120.
        size: short side of the frames, px; the world's own when None.
        supersample: 1 to 4; points looked at in each direction inside a pixel, for soft silhouettes.
        threads: for the renderer; all processors when None. Frames don't depend on it.
        device: for the renderer; None is the processor.

    Returns:
        A generator of round(seconds · fps) frames; closing it cancels.

    Raises:
        InputError: no world, or an argument out of range.
    """
    check_world(world)
    times = checked_times(world.trajectory.path, seconds, fps)
    size = whole_or_none("The size", size, *SIZE_RANGE)
    threads = whole_or_none("threads", threads, 1)
    supersample = whole_number("Supersampling", supersample, 1, MOST_SUPERSAMPLING)
    hw = world.camera.hw if size is None else hw_of(world.camera.hw, size)
    renderer = Renderer(world.layers, threads=threads, device=device)
    frames = _frames(renderer, world.trajectory, times, hw, supersample)
    return Film(frames, len(times), fps, hw, world=world)


def film_autoregressive(
    world: World,
    seconds: float = 4.0,
    fps: float = 24.0,
    *,
    painter: str | Painter = "auto",
    prompt: str | None = None,
    seed: int = 0,
    threads: int | None = None,
    device: str | None = None,
    offline: bool = False,
) -> Film:
    """Each frame rendered from the one before, and painted (the paper's Fig. 3b and Eq. 9).

    Args:
        world: only its photo's layer and path are used; ``start_world`` makes such a one.
        painter, prompt, seed: as for ``build_world``.
        seconds, fps, threads, device, offline: as for ``film``.

    Raises:
        InputError: an argument that can't be used.
    """
    check_world(world)
    times = checked_times(world.trajectory.path, seconds, fps)
    prompt, seed = checked_prompt(prompt), checked_seed(seed)
    threads = whole_or_none("threads", threads, 1)
    chosen = as_painter(painter, device=device, offline=offline)
    frames = _frames_from_frames(world, times, chosen, prompt, seed, threads)
    world = replace(world, painter=chosen.name, seed=seed)
    return Film(frames, len(times), fps, world.camera.hw, world=world)


def check_world(world: World) -> None:
    """Refuse what is none.

    Raises:
        InputError: another kind of thing, such as a photo.
    """
    if not isinstance(world, World):
        raise InputError(f"The world is {as_given(world)}; it must be a World, from kinephoto.build_world.")


def checked_times(chosen: Path, seconds: float, fps: float) -> list[float]:
    """The move's time at each frame of a film.

    Raises:
        InputError: no number, or one out of range.
    """
    for what, value, (low, high) in (
        ("The film's length in seconds", seconds, SECONDS_RANGE),
        ("The number of frames per second", fps, FPS_RANGE),
    ):
        if not low <= real_number(value) <= high:
            raise InputError(f"{what} is {as_given(value)}; it must be a number from {low:g} to {high:g}.")
    return chosen.frame_times(real_number(seconds), real_number(fps))


def _frames(
    renderer: Renderer, trajectory: Trajectory, times: list[float], hw: tuple[int, int], supersample: int
) -> Generator[Frame, None, None]:
    for index, moment in enumerate(times):
        yield frame_of(seen(renderer, trajectory.view(moment), hw, supersample), index)


def seen(renderer: Renderer, standpoint: Standpoint, hw: tuple[int, int], supersample: int) -> View:
    """What a camera sees, on ``hw`` pixels."""
    camera, pose = standpoint
    camera = camera if camera.hw == hw else camera.resized(hw)
    view = renderer.render(camera, pose, supersample=supersample)
    first = renderer.layers[0]
    if first.invented is None:
        return view
    real = [torch.zeros(1, *layer.camera.hw) for layer in renderer.layers]
    real[0] = (~first.invented)[None].float()
    made_up = 1 - renderer.sample(real, renderer.locate(camera, pose), "bilinear")[0].clamp(0, 1)
    beyond = (view.layer > 0).float() if view.beyond_first is None else view.beyond_first
    coverage = view.known.float() if view.coverage is None else view.coverage
    return replace(view, beyond_first=torch.maximum(beyond, made_up), coverage=coverage)


def frame_of(view: View, index: int) -> Frame:
    """The finished frame that a view of a painted world becomes."""
    return Frame(closed(view.rgb, view.known).clamp(0, 1), index, _invented(view))


def _invented(view: View) -> Tensor:
    """[H, W]: what shows a painted layer or nothing at all."""
    if view.coverage is None or view.beyond_first is None:
        return (view.layer != 0).float()
    return (view.beyond_first + (1 - view.coverage)).clamp(0, 1)


def closed(planes: Tensor, known: Tensor) -> Tensor:
    """A view's [C, H, W]; the few pixels that no layer covers continue what is around them."""
    if bool(known.all()):
        return planes
    values = planes.permute(1, 2, 0).cpu().numpy()
    filled = push_pull_holes(values, known.cpu().numpy())
    return torch.from_numpy(filled).permute(2, 0, 1).contiguous()


def _frames_from_frames(
    world: World, times: list[float], painter: Painter, prompt: str | None, seed: int, threads: int | None
) -> Generator[Frame, None, None]:
    last = world.layers[0]
    invented = torch.zeros(1, *last.camera.hw) if last.invented is None else last.invented[None].float()
    for index, moment in enumerate(times):
        camera, pose = world.trajectory.view(moment)
        renderer = Renderer([last], threads=threads)
        view = renderer.render(camera, pose)
        carried = renderer.sample([invented], renderer.locate(camera, pose), "bilinear")
        hole = ~view.known
        rgb, disparity = view.rgb, farther_disparity(view.disparity, view.known)
        if bool(hole.any()):
            rgb = paint_holes(painter, view.rgb, view.known, disparity, prompt=prompt, seed=seed)
        invented = torch.where(hole[None], torch.ones(()), carried.clamp(0, 1))
        yield Frame(rgb, index, invented[0])
        everywhere = torch.ones(camera.hw, dtype=torch.bool)
        last = Layer(rgb, disparity, everywhere, camera, pose)
