"""One sheet that shows, before anybody waits: the depth, the key views and their holes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from kinephoto.scene.render import Renderer
from kinephoto.scene.values import Disparity, Photo, View
from kinephoto.scene.world import World
from kinephoto.studio.animate import Film, film
from kinephoto.studio.build import build_world, start_world
from kinephoto.studio.outputs import move_of
from kinephoto.studio.pictures import colour_depth, contact_sheet
from kinephoto.studio.settings import MoveSettings
from kinephoto.studio.stages import Stages

SHORT_SIDE_PX = 320
HOLE_COLOUR = (1.0, 0.0, 0.8)
TIMES = (0.0, 0.25, 0.5, 0.75)

FILM_SHORT_SIDE_PX = 256
FILM_FPS = 12.0
FILM_MOST_S = 3.0
"""So many frames of that size take about two seconds on two cores; a longer move is shown faster."""


def preview(photo: Photo, settings: MoveSettings, stages: Stages | None = None) -> tuple[Tensor, World]:
    """The sheet, and the world that it shows, nothing painted.

    Args:
        photo: from ``read_photo``.
        settings: the move and the depth.

    Returns:
        [3, H, W] in [0, 1]: the photo, its depth, and the move's view at four times with the holes in pink.
    """
    world = start_world(
        photo,
        move_of(settings),
        size=min(SHORT_SIDE_PX, max(64, min(photo.camera.hw))),
        depth=settings.depth,
        depth_floor=settings.depth_range,
        device=settings.device,
        offline=settings.offline,
        threads=settings.threads,
        stages=stages,
    )
    renderer = Renderer(world.layers, threads=settings.threads)
    layer = world.layers[0]
    pictures = [layer.rgb, colour_depth(Disparity(layer.disparity))]
    labels = [
        f"photo ({photo.camera.hw[1]} x {photo.camera.hw[0]})",
        f"depth: {world.depth_name}, near is bright",
    ]
    moving = replace(world.trajectory.path, hold_s=0.0)
    for time in TIMES:
        view = renderer.render(*world.trajectory.view(moving.time_of(time, 1.0)), supersample=2)
        pictures.append(_marked(view))
        labels.append(f"{time:.0%} of the move, hole {1 - float(view.known.float().mean()):.1%}")
    return contact_sheet(pictures, columns=3, labels=labels), world


def preview_film(photo: Photo, settings: MoveSettings, depth: Disparity, seconds: float = 4.0) -> Film:
    """The move as a small quick film, its largest hole filled from around it, the others smeared shut.

    Args:
        photo: from ``read_photo``; a reduced one will do.
        settings: the move.
        depth: the photo's, from ``estimate_depth``.
        seconds: length of the film that it stands for.

    Raises:
        InputError: a setting that cannot be used.
    """
    shown_s = min(seconds, FILM_MOST_S)
    asked = move_of(settings)
    asked.frame_times(seconds, FILM_FPS)  # rests that fill the whole film are refused
    world = build_world(
        photo,
        replace(asked, hold_s=asked.hold_s * shown_s / seconds),
        size=min(FILM_SHORT_SIDE_PX, max(64, min(photo.camera.hw))),
        depth=depth,
        depth_floor=settings.depth_range,
        painter="opencv:telea",
        most_views=1,
        device=settings.device,
        threads=settings.threads,
    )
    return film(world, shown_s, FILM_FPS, supersample=1, threads=settings.threads, device=settings.device)


def _marked(view: View) -> Tensor:
    pink = torch.tensor(HOLE_COLOUR)[:, None, None]
    return torch.where(view.known, view.rgb, pink).clamp(0, 1)
