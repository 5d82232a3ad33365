"""Two eyes instead of one: how far apart they stand, what lies in the screen, and their frames in one picture.

The eyes stand to the left and right of where the path leads the camera, both look straight ahead, and the
principal point of each is shifted (an off-axis frustum): there is no vertical parallax, as there would be if
they were toed in. A point of disparity d in the camera's frame is seen ``focal · baseline · (d - screen)`` px
farther left by the right eye than by the left.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.scene.camera import Camera, Pose
from kinephoto.scene.fit import Trajectory, Viewers, alone
from kinephoto.scene.path import View as Standpoint
from kinephoto.scene.render import Renderer
from kinephoto.scene.values import Frame, Layer, View
from kinephoto.scene.world import World
from kinephoto.studio.animate import Film, checked_times, closed, frame_of, seen
from kinephoto.studio.frame_size import hw_of
from kinephoto.studio.stereo_layout import LAYOUTS, composed, composed_hw

DIVERGENCE = 2.0
CONVERGENCE = 0.5

MOST_DIVERGENCE = 100 / 30
"""What near and far may differ between the eyes, as a percentage of the width: the 1/30 rule of stereo
photographers (J. Bercovitz, Image-side perspective and stereoscopy, SPIE 3295, 1998)."""

NEAR_PERCENTILE, FAR_PERCENTILE = 99.0, 1.0
LEAST_DISTANCE = 0.05
"""Of a thing's distance: no eye is taken to be closer."""

FLATTEST = 0.5
"""The range of disparities counts as at least this share of the nearest, lest the eyes of a flat scene stand
so far apart that its few steps tear open."""


@dataclass(frozen=True)
class Eyes:
    """Two cameras beside the one on the path.

    Attributes:
        baseline: from eye to eye at the photo's place, scene units; less where the camera has come closer or its
            lens has become longer, so that near and far never differ more than there.
        screen_disparity: what lies in the plane of the screen, where both eyes see it in one place, at the photo's
            place; the plane stays where it is in the scene.
        near, far: the scene's range of disparities at the photo's place.
        focal_share: the photo's focal length as a share of its width.
    """

    baseline: float
    screen_disparity: float
    near: float
    far: float
    focal_share: float

    def __call__(self, middle: Standpoint) -> tuple[Standpoint, Standpoint]:
        """The left and the right eye of a camera and its pose ``view_from_world``."""
        camera, pose = middle
        backwards = float(pose.t[2])

        def seen_from_here(disparity: float) -> float:
            return disparity / max(1 + backwards * disparity, LEAST_DISTANCE)

        longer = camera.focal_px / camera.hw[1] / self.focal_share
        span = longer * span_of(seen_from_here(self.near), seen_from_here(self.far))
        aside = self.baseline / 2 * min(1.0, span_of(self.near, self.far) / span)
        screen = seen_from_here(self.screen_disparity)
        return self._eye(middle, -aside, screen), self._eye(middle, aside, screen)

    def _eye(self, middle: Standpoint, aside: float, screen: float) -> Standpoint:
        """The camera ``aside`` to the right, in its own x, its lens shifted against it."""
        camera, pose = middle
        cx, cy = camera.centre_px
        shifted = Camera(camera.focal_px, (cx + camera.focal_px * aside * screen, cy), camera.hw)
        eye_from_view = Pose(torch.eye(3), torch.tensor([-aside, 0.0, 0.0], dtype=torch.float64))
        return shifted, eye_from_view @ pose


@dataclass(frozen=True)
class Stereo:
    """What kind of stereo is wanted.

    Attributes:
        layout: one of ``LAYOUTS``.
        divergence: what near and far differ between the eyes, percent of the width; from 0.
        convergence: what lies in the screen: 0 the farthest, so that all comes out of it, to 1, the nearest, so
            that all lies behind it.
    """

    layout: str
    divergence: float = DIVERGENCE
    convergence: float = CONVERGENCE

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise InputError(f"There is no stereo layout {self.layout!r}; there are {', '.join(LAYOUTS)}.")
        if not self.divergence >= 0:
            raise InputError(f"The divergence is {self.divergence}; it must be at least 0.")
        if not 0 <= self.convergence <= 1:
            raise InputError(f"The convergence is {self.convergence}; it must be from 0 to 1.")

    @property
    def comfortable(self) -> float:
        """The divergence that is used, percent: no more than ``MOST_DIVERGENCE``."""
        return min(self.divergence, MOST_DIVERGENCE)

    @property
    def note(self) -> str | None:
        """A sentence for the user where less is used than was asked for."""
        if self.divergence <= MOST_DIVERGENCE or self.layout == "rgbd":
            return None
        return (
            f"--divergence {self.divergence:g} would strain the eyes; "
            f"{MOST_DIVERGENCE:.1f} % of the width is used, a thirtieth."
        )

    def eyes(self, layer: Layer) -> Eyes:
        """The eyes for a photo, from its layer: as far apart as its depth allows."""
        near, far = range_of(layer)
        focal_share = layer.camera.focal_px / layer.camera.hw[1]
        baseline = self.comfortable / 100 / (focal_share * span_of(near, far))
        return Eyes(baseline, far + self.convergence * (near - far), near, far, focal_share)

    def eyes_for(self, layer: Layer) -> Viewers:
        """Who films along the path: `eyes`, or for "rgbd" the path's camera alone."""
        return alone if self.layout == "rgbd" else self.eyes(layer)


def span_of(near: float, far: float) -> float:
    """What counts as the range of these disparities."""
    return max(near - far, FLATTEST * near)


def range_of(layer: Layer) -> tuple[float, float]:
    """The nearest and the farthest disparity of a layer, but for a few pixels."""
    near, far = np.percentile(layer.disparity.numpy(), (NEAR_PERCENTILE, FAR_PERCENTILE))
    return float(near), float(far)


def stereo_film(
    world: World,
    stereo: Stereo,
    seconds: float = 4.0,
    fps: float = 24.0,
    *,
    size: int | None = None,
    supersample: int = 2,
    threads: int | None = None,
    device: str | None = None,
) -> Film:
    """All frames, both eyes in each, made one by one.

    Args:
        world: from ``build_world(…, eyes=stereo.eyes_for)``.
        stereo: the same.
        seconds, fps, supersample, threads, device: as for ``film``.
        size: short side of one eye, px; the world's own when None.

    Returns:
        A generator of round(seconds · fps) frames. ``write_video`` tells players how the eyes lie in them. Those of
        "pair" lie side by side; `kinephoto.studio.sinks.open_sink` parts them.

    Raises:
        InputError: an argument out of range, or a world that was painted for one eye.
    """
    two = stereo.layout != "rgbd"
    if two and not isinstance(world.trajectory.viewers, Eyes):
        raise InputError(
            "This world was painted for one eye; build_world(…, eyes=stereo.eyes_for) paints it for two."
        )
    times = checked_times(world.trajectory.path, seconds, fps)
    hw = world.camera.hw if size is None else hw_of(world.camera.hw, size)
    renderer = Renderer(world.layers, threads=threads, device=device)
    if two:
        frames = _both_eyes(renderer, world.trajectory, times, hw, supersample, stereo.layout)
    else:
        frames = _with_depth(renderer, world, times, hw, supersample)
    return Film(
        frames, len(times), fps, composed_hw(hw, stereo.layout), LAYOUTS[stereo.layout].packing, world
    )


def _both_eyes(
    renderer: Renderer,
    trajectory: Trajectory,
    times: list[float],
    hw: tuple[int, int],
    supersample: int,
    layout: str,
) -> Generator[Frame, None, None]:
    for index, moment in enumerate(times):
        left, right = (
            frame_of(seen(renderer, eye, hw, supersample), index) for eye in trajectory.views(moment)
        )
        rgb = composed(left.rgb, right.rgb, layout)
        yield Frame(rgb, index, composed(left.invented[None], right.invented[None], layout)[0])


def _with_depth(
    renderer: Renderer, world: World, times: list[float], hw: tuple[int, int], supersample: int
) -> Generator[Frame, None, None]:
    span = range_of(world.layers[0])
    for index, moment in enumerate(times):
        view = seen(renderer, world.trajectory.view(moment), hw, supersample)
        frame = frame_of(view, index)
        depth = _grey_depth(view, span).expand(3, -1, -1)
        invented = composed(frame.invented[None], frame.invented[None], "rgbd")[0]
        yield Frame(composed(frame.rgb, depth, "rgbd"), index, invented)


def _grey_depth(view: View, span: tuple[float, float]) -> Tensor:
    """[1, H, W]: white is the nearest of the photo, black its farthest, in every frame."""
    near, far = span
    disparity = closed(view.disparity[None], view.known)
    return ((disparity - far) / max(near - far, 1e-6)).clamp(0, 1)
