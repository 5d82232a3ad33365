"""One sheet that shows, before anybody waits: the depth, the key views and their holes."""

from __future__ import annotations

import torch
from torch import Tensor

from kinephoto.scene.render import Renderer
from kinephoto.scene.values import Disparity, Photo, View
from kinephoto.scene.world import World
from kinephoto.studio.animate import Stages, start_world
from kinephoto.studio.pictures import colour_depth, contact_sheet
from kinephoto.studio.produce import move_of
from kinephoto.studio.settings import MoveSettings

SHORT_SIDE_PX = 320
HOLE_COLOUR = (1.0, 0.0, 0.8)
TIMES = (0.0, 0.25, 0.5, 0.75)


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
    for time in TIMES:
        view = renderer.render(
            *world.trajectory.view(world.trajectory.path.time_of(time, 1.0)), supersample=2
        )
        pictures.append(_marked(view))
        labels.append(f"{time:.0%} of the move, hole {1 - float(view.known.float().mean()):.1%}")
    return contact_sheet(pictures, columns=3, labels=labels), world


def _marked(view: View) -> Tensor:
    pink = torch.tensor(HOLE_COLOUR)[:, None, None]
    return torch.where(view.known, view.rgb, pink).clamp(0, 1)
