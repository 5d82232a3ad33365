"""Camera paths: a camera move is a function of time, a few lines long.

Lengths are given by one number, the *amount*: how far the nearest things (z = 1) move against infinity, as
a share of the picture's longer side. It means the same for every photo, size and focal length.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path as FilePath

import numpy as np
import torch

from kinephoto.errors import InputError
from kinephoto.scene.camera import Camera, Pose
from kinephoto.scene.values import as_given, real_number

AMOUNTS = {"small": 0.02, "medium": 0.04, "large": 0.08}
AMOUNT_RANGE = (0.0, 0.5)
EASES = ("linear", "smooth")
FOCUSES = {"near": 90.0, "middle": 50.0, "far": 10.0}
"""Percentiles of the disparity that stay put; the middle lies halfway between the other two."""

MAX_HOLE = 0.06
FORWARD = 3.0
"""Units of the amount that the camera goes forward where it would go one to the side: the picture's outer
parts then move about as much, its middle not at all."""

CLOSEST = 0.8
"""Of the way to what is in focus: no move goes farther forward, however large its amount."""


@dataclass(frozen=True)
class Rig:
    """What a move needs to know of the photo it moves through.

    Attributes:
        camera: the photo's.
        amount: see the module.
        focus_px: (u, v) of the point that stays put, px.
        focus_disparity: the disparity there, 1 is nearest.
    """

    camera: Camera
    amount: float
    focus_px: tuple[float, float]
    focus_disparity: float

    @property
    def step(self) -> float:
        """The way to the side in scene units: f · step · 1 = amount · longer side."""
        return self.amount * max(self.camera.hw) / self.camera.focal_px

    @property
    def ray(self) -> np.ndarray:
        """[3], where ``focus_px`` looks, z = 1."""
        (u, v), (cx, cy), f = self.focus_px, self.camera.centre_px, self.camera.focal_px
        return np.array([(u - cx) / f, (v - cy) / f, 1.0])


View = tuple[Camera, Pose]
Move = Callable[[float, Rig], View]
"""The camera and its pose ``view_from_world`` at a time in [0, 1]."""


def _aside(rig: Rig, x: float, y: float, forward: float = 0.0) -> View:
    """To the side and forward, the lens shifting against it.

    x to the right and y down, in steps; ``forward`` towards the focus, in units of the amount. The shift
    keeps the focus where it is and upright lines upright.
    """
    x, y, z = x * rig.step, y * rig.step, _before_focus(forward * rig.amount, rig)
    camera = rig.camera
    shift = camera.focal_px * rig.focus_disparity / (1 - z * rig.focus_disparity)
    cx, cy = camera.centre_px
    camera = Camera(camera.focal_px, (cx + shift * x, cy + shift * y), camera.hw)
    centre = np.array([x, y, 0.0]) + z * rig.ray
    return camera, Pose(torch.eye(3), torch.from_numpy(-centre))


def _before_focus(forward: float, rig: Rig) -> float:
    """A way forward that stops before what is in focus: beyond it the picture would be turned round."""
    return min(forward, CLOSEST / rig.focus_disparity)


def _around(rig: Rig, x: float, y: float) -> View:
    """Around the focus, looking at it; the camera goes about x and y steps to the right and down."""
    focus = rig.ray / rig.focus_disparity
    distance = float(focus[2])
    a, b = x * rig.step / distance, y * rig.step / distance
    yaw = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    pitch = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    # Camera to the right means that the scene turns right end away: x' = R (x - focus) + focus.
    rotation = pitch.T @ yaw
    return rig.camera, Pose(torch.from_numpy(rotation), torch.from_numpy(focus - rotation @ focus))


def _dolly_zoom(rig: Rig, backwards: float) -> View:
    """Back along the axis while the lens gets longer, so that what is at the focus keeps its size."""
    back = -_before_focus(-2 * FORWARD * rig.amount * backwards, rig)
    longer = 1 + back * rig.focus_disparity
    return rig.camera.zoomed(longer), Pose(torch.eye(3), torch.tensor([0.0, 0.0, back]))


def _wave(time: float, turns: float = 1) -> tuple[float, float]:
    return math.sin(2 * math.pi * turns * time), math.cos(2 * math.pi * turns * time)


def _still(time: float, rig: Rig) -> View:
    return _aside(rig, 0, 0)


def _swing(time: float, rig: Rig) -> View:
    return _aside(rig, _wave(time)[0], 0)


def _circle(time: float, rig: Rig) -> View:
    x, y = _wave(time)
    return _aside(rig, x, -0.6 * y)


def _orbit(time: float, rig: Rig) -> View:
    return _around(rig, _wave(time)[0], 0)


def _spiral(time: float, rig: Rig) -> View:
    x, y = _wave(time, 2)
    wide = math.sin(math.pi * time)
    return _aside(rig, wide * x, -0.6 * wide * y, FORWARD * wide * wide)


def _lemniscate(time: float, rig: Rig) -> View:
    return _aside(rig, _wave(time)[0], -0.5 * _wave(time, 2)[0])


def _slide(x: float, y: float) -> Move:
    return lambda time, rig: _aside(rig, x * (2 * time - 1), y * (2 * time - 1))


def _rise(time: float, rig: Rig) -> View:
    return _around(rig, 0, 1 - 2 * time)


def _zoom_in(time: float, rig: Rig) -> View:
    return _aside(rig, 0, 0, FORWARD * time)


def _zoom_out(time: float, rig: Rig) -> View:
    return _aside(rig, 0, 0, FORWARD * (1 - time))


def _dolly_zoom_in(time: float, rig: Rig) -> View:
    return _dolly_zoom(rig, 1 - time)


def _dolly_zoom_out(time: float, rig: Rig) -> View:
    return _dolly_zoom(rig, time)


@dataclass(frozen=True)
class Preset:
    """A named move.

    Attributes:
        move: the function of time.
        closed: True when it ends where it begins.
        says: one line for the help.
    """

    move: Move
    closed: bool
    says: str


PRESETS: dict[str, Preset] = {
    "swing": Preset(_swing, True, "gently to the right, to the left and back; begins with the photo itself"),
    "circle": Preset(_circle, True, "a flat circle around the photo's place"),
    "zoom-in": Preset(_zoom_in, False, "forward, towards the focus"),
    "zoom-out": Preset(_zoom_out, False, "back, ending with the photo itself"),
    "dolly-zoom-in": Preset(_dolly_zoom_in, False, "forward while the lens widens: the background recedes"),
    "dolly-zoom-out": Preset(
        _dolly_zoom_out, False, "back while the lens lengthens: the background comes closer"
    ),
    "orbit": Preset(_orbit, True, "around the focus, looking at it"),
    "spiral": Preset(_spiral, True, "forward in circles and out again"),
    "lemniscate": Preset(_lemniscate, True, "a lying figure of eight"),
    "slide-left": Preset(_slide(-1, 0), False, "straight to the left"),
    "slide-right": Preset(_slide(1, 0), False, "straight to the right"),
    "slide-up": Preset(_slide(0, -1), False, "straight up"),
    "slide-down": Preset(_slide(0, 1), False, "straight down"),
    "rise": Preset(_rise, False, "from below to above, looking at the focus"),
    "still": Preset(_still, True, "no move at all"),
}


@dataclass(frozen=True)
class Path:
    """A camera move that has not met its photo yet.

    Attributes:
        name: of the preset, or of the file.
        move: the function of time.
        closed: True when the move ends where it begins.
        amount: see the module; None is "auto", the largest that keeps the holes under ``max_hole``.
        ease: "linear", or "smooth": an open move starts and stops gently.
        loop: an open move goes there and back; the film's last frame is followed by its first.
        hold_s: seconds of rest at the beginning and at the end.
        focus: "near", "middle", "far", or (u, v) in [0, 1]: what stays put, as shares of width and height.
        max_hole: the largest share of a frame that may have to be painted with "auto", in (0, 1).
    """

    name: str
    move: Move
    closed: bool
    amount: float | None = None
    ease: str = "smooth"
    loop: bool = False
    hold_s: float = 0.0
    focus: str | tuple[float, float] = "middle"
    max_hole: float = MAX_HOLE

    def time_of(self, second: float, seconds: float) -> float:
        """The move's own time in [0, 1] at a moment of a film of that length."""
        room = seconds - 2 * self.hold_s
        share = 0.5 if room <= 0 else min(max((second - self.hold_s) / room, 0.0), 1.0)
        if self.closed:
            return share
        if self.loop:
            share = 1 - abs(2 * share - 1)
        return share * share * (3 - 2 * share) if self.ease == "smooth" else share

    def frame_times(self, seconds: float, fps: float) -> list[float]:
        """The move's time at each of the round(seconds · fps) frames of a film.

        Raises:
            InputError: no frame at all, or the rests fill the whole film.
        """
        count = round(seconds * fps)
        if count < 1:
            raise InputError(f"A film of {seconds:g} s at {fps:g} frames/s has no frames; make it longer.")
        if 2 * self.hold_s >= seconds:
            raise InputError(
                f"Holding {self.hold_s:g} s at both ends leaves nothing of a film of {seconds:g} s; hold less."
            )
        last = count if self.loop else max(1, count - 1)
        return [self.time_of(index / last * seconds, seconds) for index in range(count)]


def path(
    name: str | FilePath = "swing",
    amount: str | float = "auto",
    *,
    ease: str = "smooth",
    loop: bool = False,
    hold: float = 0.0,
    focus: str | tuple[float, float] = "middle",
    max_hole: float = MAX_HOLE,
) -> Path:
    """A camera move by name, or from a file.

    Args:
        name: one of ``PRESETS``, or a file: RealEstate10K camera text (.txt), nerfstudio's camera_path.json,
            or keyframes (see ``kinephoto.scene.path_files``).
        amount: "auto", "small", "medium", "large", or how far near things move against infinity as a share of
            the picture's longer side, 0 to 0.5.
        ease: "smooth" or "linear".
        loop: there and back, so that the film can be repeated without a jump.
        hold: seconds of rest at the beginning and at the end.
        focus: what stays put: "near", "middle", "far", or shares of width and height such as (0.3, 0.6).
        max_hole: with "auto", the largest share of a frame that may have to be painted.

    Raises:
        InputError: a name, file or number that cannot be used.

    Example:
        >>> path("circle", amount="small").amount
        0.02
    """
    if isinstance(name, str) and name in PRESETS:
        preset = PRESETS[name]
        label, move, closed = name, preset.move, preset.closed
    else:
        from kinephoto.scene.path_files import read_path_file

        if not isinstance(name, (str, FilePath)):
            raise InputError(
                f"The path is {as_given(name)}; it must be one of {', '.join(PRESETS)}, or a path file."
            )
        file = FilePath(name)
        if not file.suffix and not file.exists():
            raise InputError(
                f"There is no path {str(name)!r}; there are {', '.join(PRESETS)}, or a path file."
            )
        label, move, closed = file.name, *read_path_file(file)
    if ease not in EASES:
        raise InputError(f"There is no ease {ease!r}; there are {', '.join(EASES)}.")
    hold_s, largest = real_number(hold), real_number(max_hole)
    if not 0 <= hold_s < math.inf:
        raise InputError(f"Holding takes {as_given(hold)} s; it must be a number, 0 or more.")
    if not 0 < largest < 1:
        raise InputError(
            f"The largest hole is {as_given(max_hole)}; it must be a number between 0 and 1 (0.06 is 6 % of a frame)."
        )
    return Path(
        label, move, closed, checked_amount(amount), ease, loop, hold_s, checked_focus(focus), largest
    )


def as_path(move: Path | str | FilePath | None) -> Path:
    """A move as it is, or what ``path`` makes of its name or file; a gentle swing when None.

    Raises:
        InputError: as for ``path``.
    """
    if isinstance(move, Path):
        return move
    return path("swing" if move is None else move)


def checked_amount(amount: str | float) -> float | None:
    """The number behind "small", "medium", "large" or a number; None for "auto".

    Raises:
        InputError: another word, or a number out of range.
    """
    if amount == "auto":
        return None
    if isinstance(amount, str) and amount in AMOUNTS:
        return AMOUNTS[amount]
    low, high = AMOUNT_RANGE
    try:
        number = float(amount)
    except (TypeError, ValueError):
        raise InputError(
            f"There is no amount {as_given(amount)}; there are auto, {', '.join(AMOUNTS)}, or a number "
            f"from {low:g} to {high:g}."
        ) from None
    if not low <= number <= high:
        raise InputError(f"The amount is {amount}; it must be from {low:g} to {high:g}.")
    return number


def checked_focus(focus: str | tuple[float, float]) -> str | tuple[float, float]:
    """The focus as "near", "middle", "far", or a pair; "0.3,0.6" is a pair, too.

    Raises:
        InputError: another word, or a point outside the picture.
    """
    if isinstance(focus, str) and focus in FOCUSES:
        return focus
    try:
        u, v = (float(part) for part in (focus.split(",") if isinstance(focus, str) else focus))
    except (TypeError, ValueError):
        raise InputError(
            f"There is no focus {as_given(focus)}; there are {', '.join(FOCUSES)}, or X,Y as shares of width and "
            "height."
        ) from None
    if not (0 <= u <= 1 and 0 <= v <= 1):
        raise InputError(f"The focus {u:g},{v:g} lies outside the picture; both go from 0 to 1.")
    return u, v


def rig_for(camera: Camera, disparity: np.ndarray, focus: str | tuple[float, float], amount: float) -> Rig:
    """The rig for a photo.

    Args:
        camera: the photo's.
        disparity: [H, W] > 0, the scene's; any size.
    """
    if isinstance(focus, str):
        near, far = np.percentile(disparity, [FOCUSES["near"], FOCUSES["far"]])
        value = {"near": near, "far": far, "middle": (near + far) / 2}[focus]
        return Rig(camera, amount, camera.centre_px, float(value))
    u, v = focus
    rows, columns = disparity.shape
    j, i = min(int(v * rows), rows - 1), min(int(u * columns), columns - 1)
    around = disparity[max(0, j - 2) : j + 3, max(0, i - 2) : i + 3]
    return Rig(camera, amount, (u * camera.hw[1], v * camera.hw[0]), float(np.median(around)))
