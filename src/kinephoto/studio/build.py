"""From a photo to a world: few views are painted, once, and become layers (`build_world`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.painter import paint_holes
from kinephoto.scene.camera import Camera, Pose
from kinephoto.scene.depth import FLOOR, estimate_depth
from kinephoto.scene.fit import Trajectory, Viewers, alone, fitted
from kinephoto.scene.holes import far_rim, farther_disparity, grown_behind, without_near_bank
from kinephoto.scene.path import Path, as_path
from kinephoto.scene.path import View as Standpoint
from kinephoto.scene.photo import as_photo, resized
from kinephoto.scene.render import Renderer
from kinephoto.scene.values import (
    Layer,
    Photo,
    View,
    as_given,
    whole_number,
    whole_or_none,
)
from kinephoto.scene.world import KeyView, World, apron, hiding_nothing, lifted, photo_layer
from kinephoto.studio.extension import (
    Extend,
    as_painter,
    check_extend,
    checked_prompt,
    checked_seed,
    extended_world,
)
from kinephoto.studio.frame_size import SIZE_RANGE, hw_of
from kinephoto.studio.stages import Progress, Stages

if TYPE_CHECKING:
    from kinephoto.painter import Painter

SMALLEST_HOLE_SHARE = 0.0005
"""Views are painted until no frame has more hole than this."""

MOST_VIEWS = 6
APRON = 0.15
"""How far beyond the photo's border depth is continued, as a share of its longer side."""

PROBES = 17
"""Times of the move at which holes are looked for."""

EyesFor = Callable[[Layer], Viewers]
"""From the photo's layer to the cameras that film along its path."""


def build_world(
    photo: Photo | str | FilePath,
    path: Path | str | FilePath | None = None,
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
        photo: from ``read_photo``, or a picture file.
        path: from ``path``, or a name or file for it; a gentle swing when None.
        size: short side of the film to come, px; the photo's own, at most 720, when None.
        depth: a source for ``estimate_depth``, or what that returned.
        depth_floor: disparity of a relative depth's farthest part where the nearest is 1, in (0, 1).
        painter: a name for ``get_painter``, or a painter.
        prompt: what the photo shows, for painters that take text.
        seed: the same seed gives the same bytes; 0 to 2³² - 1.
        device: for networks and the renderer, such as "cuda"; None is the processor.
        offline: never touch the network.
        threads: for the renderer; all processors when None. Pictures don't depend on it.
        most_views: paint at most so many views, 1 or more.
        eyes: for films with two eyes, `kinephoto.studio.stereo.Stereo.eyes_for`; what either sees is painted.
        extend: continue the photo beyond its borders first: px by side such as ``{"left": 128}``, a list such as
            "left=128,right=20%", or "auto", as far as the path shows.
        progress: called as the stages "depth", "path" and "painting" go on.
        stages: to be told instead of ``progress``, by those who have further stages of their own.

    Raises:
        InputError: an argument that cannot be used.
    """
    photo, move = as_photo(photo), as_path(path)
    prompt, seed = checked_prompt(prompt), checked_seed(seed)
    most_views = whole_number("most_views", most_views, 1)
    if extend is not None:
        check_extend(extend)
    for name, called in (("eyes", eyes), ("progress", progress)):
        if called is not None and not callable(called):
            raise InputError(f"{name} is {as_given(called)}; it must be a function, or None.")
    size = whole_or_none("The size", size, *SIZE_RANGE)
    threads = whole_or_none("threads", threads, 1)
    stages = stages or Stages(progress)
    chosen = as_painter(painter, device=device, offline=offline, on_step=stages.again)
    start = start_world(
        photo,
        move,
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
    photo: Photo | str | FilePath,
    path: Path | str | FilePath | None = None,
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

    photo, move = as_photo(photo), as_path(path)
    size = whole_or_none("The size", size, *SIZE_RANGE)
    threads = whole_or_none("threads", threads, 1)
    stages = stages or Stages(None)
    with stages.stage("depth"):
        photo = _at_size(photo, size)
        found = estimate_depth(photo, depth, device=device, offline=offline, floor=depth_floor)
        steps = sharpen_edges(found.values)
        disparity = widen_near(steps, default_widening_px(photo.camera.hw))
        whole = photo_layer(photo.rgb, disparity, photo.camera)
        layer = replace(whole, invented=photo.invented, measured=found.measured)
    with stages.stage("path"):
        trajectory = fitted(move, layer, threads, eyes(layer) if eyes else alone)
    return World((layer,), trajectory, depth=found, seconds_by_stage=stages.seconds)


def _at_size(photo: Photo, size: int | None) -> Photo:
    hw = hw_of(photo.camera.hw, size)
    return photo if hw == photo.camera.hw else resized(photo, hw)


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
        made = lifted(painting, disparity, wanted, view, camera, pose)
        layers.append(hiding_nothing(made, layers[0]))
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
