"""From a photo to frames: paint few views once, film many (`build_world`, then `film`).

``film_autoregressive`` is the paper's way (Fig. 3b): frame i + 1 is rendered from frame i, and each is painted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.painter import get_painter, paint_holes
from kinephoto.painter.diffuse import push_pull_holes
from kinephoto.scene.camera import Camera, Pose
from kinephoto.scene.depth import FLOOR, estimate_depth
from kinephoto.scene.fit import Trajectory, Viewers, alone, fitted
from kinephoto.scene.holes import far_rim, farther_disparity, grown_behind, without_near_bank
from kinephoto.scene.path import Path, path
from kinephoto.scene.path import View as Standpoint
from kinephoto.scene.render import Renderer
from kinephoto.scene.values import Frame, Layer, Photo, View
from kinephoto.scene.world import KeyView, World, apron, lifted, photo_layer
from kinephoto.studio.extension import Extend, extended_world

if TYPE_CHECKING:
    from kinephoto.painter import Painter
    from kinephoto.studio.formats import Packing

DEFAULT_SHORT_SIDE_PX = 720
SIZE_RANGE = (64, 4320)
SMALLEST_HOLE_SHARE = 0.0005
"""Views are painted until no frame has more hole than this."""

MOST_VIEWS = 6
APRON = 0.15
"""How far beyond the photo's border depth is continued, as a share of its longer side."""

PROBES = 17
"""Times of the move at which holes are looked for."""

SECONDS_RANGE = (0.04, 600.0)
FPS_RANGE = (1.0, 120.0)

Progress = Callable[[str, float], None]
"""Called with a stage's name and how much of it is done, 0 to 1."""

EyesFor = Callable[[Layer], Viewers]
"""From the photo's layer to the cameras that film along its path."""


class Film:
    """The frames of a film, one after the other: a generator that knows its length.

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
        return next(self._frames)

    def __len__(self) -> int:
        return self.frame_count

    def close(self) -> None:
        """Stop, and let go of what the frames were made from."""
        self._frames.close()


def build_world(
    photo: Photo,
    path: Path | None = None,
    *,
    size: int | None = None,
    depth: Any = "auto",
    depth_floor: float = FLOOR,
    painter: str | Painter = "auto",
    prompt: str | None = None,
    seed: int = 0,
    device: str | None = None,
    offline: bool = False,
    threads: int | None = None,
    most_views: int = MOST_VIEWS,
    eyes: EyesFor | None = None,
    extend: Extend | None = None,
    progress: Progress | None = None,
    stages: Stages | None = None,
) -> World:
    """Photo and path become layers, with everything painted that the path uncovers.

    Args:
        photo: from ``read_photo``.
        path: from ``path``; a gentle swing when None.
        size: short side of the film to come, px; the photo's own, at most 720, when None.
        depth: a source for ``estimate_depth``, or what that returned.
        depth_floor: disparity of a relative depth's farthest part where the nearest is 1, in (0, 1).
        painter: a name for ``get_painter``, or a painter.
        prompt: what the photo shows, for painters that take text.
        seed: the same seed gives the same bytes.
        device: for networks and the renderer, such as "cuda"; None is the processor.
        offline: never touch the network.
        threads: for the renderer; all processors when None. Pictures don't depend on it.
        most_views: paint at most so many views.
        eyes: for films with two eyes, `kinephoto.studio.stereo.Stereo.eyes_for`; what either sees is painted.
        extend: continue the photo beyond its borders first: px on each side, or "auto", as far as the path shows.
        progress: called as the stages "depth", "path" and "painting" go on.
        stages: to be told instead of ``progress``, by those who have further stages of their own.

    Raises:
        InputError: an argument that cannot be used.
    """
    stages = stages or Stages(progress)
    chosen = (
        get_painter(painter, device=device, offline=offline, on_step=stages.again)
        if isinstance(painter, str)
        else painter
    )
    start = start_world(
        photo,
        path,
        size=size,
        depth=depth,
        depth_floor=depth_floor,
        device=device,
        offline=offline,
        threads=threads,
        eyes=eyes,
        stages=stages,
    )
    with stages.stage("painting"):
        if extend is not None:
            start = extended_world(start, extend, chosen, prompt=prompt, seed=seed, threads=threads)
        layers, key_views = paint_views(start, chosen, prompt, seed, most_views, threads, device, stages)
    return World(
        tuple(layers), start.trajectory, tuple(key_views), start.depth, chosen.name, seed, stages.seconds
    )


def start_world(
    photo: Photo,
    path: Path | None = None,
    *,
    size: int | None = None,
    depth: Any = "auto",
    depth_floor: float = FLOOR,
    device: str | None = None,
    offline: bool = False,
    threads: int | None = None,
    eyes: EyesFor | None = None,
    stages: Stages | None = None,
) -> World:
    """The photo's layer and the fitted path, nothing painted yet; the arguments are ``build_world``'s."""
    from kinephoto.scene.edges import default_widening_px, widen_near
    from kinephoto.scene.mesh import sharpen_edges

    stages = stages or Stages(None)
    wanted = path or _swing()
    with stages.stage("depth"):
        photo = _at_size(photo, size)
        found = estimate_depth(photo, depth, device=device, offline=offline, floor=depth_floor)
        steps = sharpen_edges(found.values)
        disparity = widen_near(steps, default_widening_px(photo.camera.hw))
        whole = photo_layer(photo.rgb, disparity, photo.camera)
        layer = replace(whole, invented=photo.invented, measured=found.measured)
    with stages.stage("path"):
        trajectory = fitted(wanted, layer, threads, eyes(layer) if eyes else alone)
    return World((layer,), trajectory, depth=found, seconds_by_stage=stages.seconds)


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
        InputError: an argument out of range.
    """
    times = checked_times(world.trajectory.path, seconds, fps)
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
    """
    times = checked_times(world.trajectory.path, seconds, fps)
    chosen = get_painter(painter, device=device, offline=offline) if isinstance(painter, str) else painter
    frames = _frames_from_frames(world, times, chosen, prompt, seed, threads)
    world = replace(world, painter=chosen.name, seed=seed)
    return Film(frames, len(times), fps, world.camera.hw, world=world)


class Stages:
    """Which stage is on, how far it is, and how long each took.

    Attributes:
        seconds: by name, of the stages that are over.
    """

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._name, self._share = "", 0.0
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """What happens in the block belongs to this stage."""
        self._name = name
        begin = time.perf_counter()
        self.done(0.0)
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin
        self.done(1.0)

    def done(self, share: float) -> None:
        """The stage has come so far."""
        self._share = share
        self.again()

    def again(self) -> None:
        """The stage is still as far: between steps, for those who may want to stop it."""
        if self._progress is not None:
            self._progress(self._name, self._share)


def hw_of(hw: tuple[int, int], size: int | None) -> tuple[int, int]:
    """Height and width with the short side ``size``, both even, since most video has half as much colour.

    Raises:
        InputError: the size is out of range.
    """
    if size is not None and not SIZE_RANGE[0] <= size <= SIZE_RANGE[1]:
        raise InputError(
            f"The size is {size} px; the short side goes from {SIZE_RANGE[0]} to {SIZE_RANGE[1]}."
        )
    short = size or min(*hw, DEFAULT_SHORT_SIDE_PX)
    scale = short / min(hw)
    height, width = (max(2, 2 * round(side * scale / 2)) for side in hw)
    return height, width


def _swing() -> Path:
    return path("swing")


def _at_size(photo: Photo, size: int | None) -> Photo:
    from kinephoto.scene.photo import resized

    hw = hw_of(photo.camera.hw, size)
    return photo if hw == photo.camera.hw else resized(photo, hw)


def checked_times(chosen: Path, seconds: float, fps: float) -> list[float]:
    """The move's time at each frame of a film.

    Raises:
        InputError: a number out of range.
    """
    for name, value, (low, high) in (("seconds", seconds, SECONDS_RANGE), ("fps", fps, FPS_RANGE)):
        if not low <= value <= high:
            what = "The film's length in seconds" if name == "seconds" else "The number of frames per second"
            raise InputError(f"{what} is {value:g}; it must be from {low:g} to {high:g}.")
    return chosen.frame_times(seconds, fps)


def paint_views(
    start: World,
    painter: Painter,
    prompt: str | None,
    seed: int,
    most_views: int,
    threads: int | None,
    device: str | None,
    stages: Stages,
) -> tuple[list[Layer], list[KeyView]]:
    """Paint the view with the largest hole, make it a layer, and again until no hole is worth mentioning."""
    trajectory, layers, key_views = start.trajectory, list(start.layers), []
    renderer = Renderer(layers, threads=threads, device=device)
    beyond = apron(layers[0], round(APRON * max(layers[0].camera.hw)))
    first_share = 0.0
    for _ in range(most_views):
        share, moment, (camera, pose) = _largest_hole(renderer, trajectory)
        if share <= SMALLEST_HOLE_SHARE:
            break
        first_share = first_share or share
        stages.done(min(0.95, 1 - share / first_share))
        view, border = _with_apron(renderer, beyond, camera, pose)
        painting, disparity, wanted = paint_view(view, painter, prompt, seed, border)
        layers.append(lifted(painting, disparity, wanted, view, camera, pose))
        key_views.append(KeyView(moment, share))
        renderer = renderer.with_layer(layers[-1])
    return layers, key_views


def _with_apron(renderer: Renderer, beyond: Layer, camera: Camera, pose: Pose) -> tuple[View, Tensor]:
    """What a camera sees, and the disparity [H, W] of what lies beyond the photo's border, 0 elsewhere.

    What the apron covers counts as not known, even where something farther was seen: it would be hidden.
    """
    view = renderer.with_layer(beyond).render(camera, pose)
    outside = view.layer == len(renderer.layers)
    border = torch.where(outside, view.disparity, torch.zeros(()))
    known = view.known & ~outside
    rgb = torch.where(known, view.rgb, torch.zeros(()))
    layer = torch.where(known, view.layer, torch.full_like(view.layer, -1))
    return View(rgb, torch.where(known, view.disparity, torch.zeros(())), known, layer), border


def paint_view(
    view: View, painter: Painter, prompt: str | None = None, seed: int = 0, border: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Paint a view's holes and a little of the background under their near banks.

    Args:
        view: with holes.
        painter, prompt, seed: as for ``build_world``.
        border: [H, W], disparity of holes whose depth is known because they lie beyond the photo's border;
            0 elsewhere.

    Returns:
        rgb [3, H, W], disparity [H, W] of the background, and [H, W] bool, what was made up.
    """
    border = torch.zeros_like(view.disparity) if border is None else border
    certain = border > 0
    complete = farther_disparity(torch.where(certain, border, view.disparity), view.known | certain)
    under_px = max(2, round(min(view.known.shape) / 200))
    wanted = grown_behind(view, complete, under_px)
    if bool(wanted.all()):
        wanted = ~view.known
    background = without_near_bank(view, complete, wanted, certain)
    believed = ~(wanted | far_rim(view, certain, under_px))
    if not bool(believed.any()):
        believed = ~wanted
    painting = paint_holes(painter, view.rgb, believed, background, prompt=prompt, seed=seed)
    return torch.where(wanted, painting, view.rgb), background, wanted


def _largest_hole(renderer: Renderer, trajectory: Trajectory) -> tuple[float, float, Standpoint]:
    """The largest share of a frame without any layer, when, and seen from where."""
    worst = (0.0, 0.0, trajectory.view(0.0))
    for moment in np.linspace(0, 1, PROBES):
        for standpoint in trajectory.views(float(moment)):
            share = 1 - float(renderer.coverage(*standpoint).float().mean())
            worst = max(worst, (share, float(moment), standpoint), key=lambda found: found[:2])
    return worst


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
