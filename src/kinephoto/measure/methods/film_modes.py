"""A new view as a film gets there: the camera travels from the source to the target (``world:``, ``autoregressive:``).

The way is straight and even: centres, focal lengths and principal points are interpolated linearly, rotations about
one axis (slerp). Disparity, edges and the renderer are those of W.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from torch import Tensor

from kinephoto.measure.scenes import PosedCamera
from kinephoto.measure.view_case import ViewCase, ViewMethod
from kinephoto.measure.view_warp import lifted, standpoint
from kinephoto.painter.door import Painter
from kinephoto.scene.fit import Trajectory
from kinephoto.scene.path import Path, Rig
from kinephoto.scene.path import View as Standpoint
from kinephoto.scene.world import World
from kinephoto.studio import animate
from kinephoto.studio.build import MOST_VIEWS, paint_views
from kinephoto.studio.stages import Stages

FPS = 24.0
"""Frames are counted, not timed; a film asks for a rate."""


def between(source: PosedCamera, target: PosedCamera, share: float) -> PosedCamera:
    """The camera so far on its way; at 0 and 1 exactly the two themselves."""
    if share in (0, 1):
        return target if share else source
    from scipy.spatial.transform import Rotation

    def mixed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (1 - share) * a + share * b

    turn = Rotation.from_matrix(target.R @ source.R.T).as_rotvec()
    R = Rotation.from_rotvec(share * turn).as_matrix() @ source.R
    centre = mixed(-source.R.T @ source.t, -target.R.T @ target.t)
    focal = mixed(np.array(source.focal), np.array(target.focal)).tolist()
    middle = mixed(np.array(source.centre), np.array(target.centre)).tolist()
    return PosedCamera(target.stamp, tuple(focal), tuple(middle), R, -R @ centre)


def frame_count(case: ViewCase) -> int:
    """Frames from the source to the target, both counted: 5 from t = 1 to t = 5.

    As in the paper there is a frame for each of the clip's own; where pictures of the clip are missing, for each
    that was. Of pictures that are no clip, one for each place in the scene.
    """
    pair, frames = case.pair, case.scene.frames
    if frames:
        return max(2, abs(frames[pair.target] - frames[pair.source]) + 1)
    return max(2, abs(pair.target - pair.source) + 1)


def travel(case: ViewCase) -> World:
    """The source as a photo's layer and the way to the target as its path; nothing is painted yet."""
    layer, unit = lifted(case.source, case.disparity, case.source_camera, measured=case.measured)
    hw = layer.camera.hw

    def move(time: float, rig: Rig) -> Standpoint:
        here = between(case.source_camera, case.target_camera, time)
        return standpoint(case.source_camera, here, hw, unit)

    path = Path(f"to {case.pair.name}", move, closed=False, ease="linear")
    rig = Rig(layer.camera, 0.0, (hw[1] / 2, hw[0] / 2), 1.0)
    return World((layer,), Trajectory(path, rig, 0.0, 0.0))


def world(painter: Painter) -> ViewMethod:
    """Key views on the way are painted until no frame has a hole, then the target is rendered from fixed layers.

    Key views are chosen, painted and lifted as ``build_world`` does. The target is rendered without supersampling,
    as W renders it, so that what the photo shows is the same to the bit.
    """

    def method(case: ViewCase) -> Tensor:
        start = travel(case)
        layers, key_views = paint_views(start, painter, None, case.seed, MOST_VIEWS, None, None, Stages(None))
        finished = replace(start, layers=tuple(layers), key_views=tuple(key_views))
        return _last_rgb(animate.film(finished, 2 / FPS, FPS, supersample=1))

    return _unless_nothing_is_known(method)


def autoregressive(painter: Painter) -> ViewMethod:
    """Each frame is rendered from the one before and painted (Fig. 3b); ``frame_count`` says how many.

    The known is rendered anew in each frame as well, and softens: unlike every other method's, its known pixels are
    not those of W to the bit, and the less so the more frames there are.
    """

    def method(case: ViewCase) -> Tensor:
        count = frame_count(case)
        film = animate.film_autoregressive(travel(case), count / FPS, FPS, painter=painter, seed=case.seed)
        return _last_rgb(film)

    return _unless_nothing_is_known(method)


MODES: dict[str, Callable[[Painter], ViewMethod]] = {"world": world, "autoregressive": autoregressive}


def _last_rgb(film: animate.Film) -> Tensor:
    *_, last = film
    return last.rgb.clamp(0, 1)


def _unless_nothing_is_known(method: ViewMethod) -> ViewMethod:
    """The source itself, as with every fill, where the target's camera sees nothing of it."""
    return lambda case: method(case) if bool(case.view.known.any()) else case.source
