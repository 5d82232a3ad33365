"""The values that pass between the parts: frozen, checked once, then trusted.

And how plain numbers that people give are checked, at the door of each public function.

Pictures are float32 in [0, 1], sRGB unless a name says linear, channels first.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from fractions import Fraction
from numbers import Number
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.scene.camera import Camera, Pose

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Capture:
    """What is known of how a photo was taken; nothing of it is needed.

    Attributes:
        name: the file's name, or "array".
        field_of_view: where the focal length came from, "exif" or "assumed".
        notes: sentences for the user, such as "animated GIF: the first frame is used".
        embedded_disparity: [H, W] float32 that came inside the file, near is large, or None.
        embedded_metric: whether its ratios are ratios of true inverse depths.
    """

    name: str = "array"
    field_of_view: str = "assumed"
    notes: tuple[str, ...] = ()
    embedded_disparity: Tensor | None = field(default=None, compare=False, repr=False)
    embedded_metric: bool = False


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture and the camera that took it.

    Attributes:
        rgb: [3, H, W] float32 in [0, 1], sRGB, upright.
        camera: its ``hw`` is (H, W).
        capture: where it came from.
        invented: [H, W] bool, the pixels that a painter made up; None: none, as no camera does.
    """

    rgb: Tensor = field(repr=False)
    camera: Camera
    capture: Capture = Capture()
    invented: Tensor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.rgb.ndim != 3 or self.rgb.shape[0] != 3:
            raise InputError(f"A photo is [3, H, W]; got {tuple(self.rgb.shape)}.")
        if tuple(self.rgb.shape[1:]) != tuple(self.camera.hw):
            raise InputError(f"The photo is {tuple(self.rgb.shape[1:])}, its camera {self.camera.hw}.")
        if self.invented is not None and tuple(self.invented.shape) != tuple(self.camera.hw):
            raise InputError(f"What is invented is {tuple(self.invented.shape)}, its photo {self.camera.hw}.")


@dataclass(frozen=True, eq=False)
class Disparity:
    """Inverse depth, near is large.

    Attributes:
        values: [H, W] float32, finite, >= 0.
        metric: True when ratios of values are ratios of true inverse depths (stereo, metric
            networks); False when known only up to scale *and* shift, as most networks give it.
        source: who made it, for reports: "builtin", a file's name, "hub:...".
        measured: True when every small step can be believed, as in stereo and laser depth at the photo's size;
            the surface is then torn at small steps, too (``mesh.corner_mesh``). A network's can't.
    """

    values: Tensor = field(repr=False)
    metric: bool = False
    source: str = "array"
    measured: bool = False

    def __post_init__(self) -> None:
        if self.values.ndim != 2:
            raise InputError(f"A disparity map is [H, W]; got {tuple(self.values.shape)}.")
        if not bool(torch.isfinite(self.values).all()):
            raise InputError("The disparity map holds values that are not finite.")

    def numpy(self) -> np.ndarray:
        """[H, W] float32, near is large."""
        return self.values.detach().cpu().numpy()


@dataclass(frozen=True, eq=False)
class View:
    """What a camera sees of the scene.

    Attributes:
        rgb: [3, H, W] float32 in [0, 1], not multiplied by ``coverage``; 0 where not known.
        disparity: [H, W] float32, > 0 where known, 0 elsewhere.
        known: [H, W] bool, True where a surface of the scene covers the pixel's centre (with
            supersampling: at least one of the points looked at inside the pixel).
        layer: [H, W] int16, index of the layer that is seen, -1 where not known.
        coverage: [H, W] float32 in [0, 1], share of the points inside the pixel that a surface
            covers; None without supersampling, when ``known`` says it all.
        beyond_first: [H, W] float32 in [0, 1], share of the points inside the pixel that show
            another layer than layer 0; None without supersampling, when ``layer`` says it all.
    """

    rgb: Tensor
    disparity: Tensor
    known: Tensor
    layer: Tensor
    coverage: Tensor | None = None
    beyond_first: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Hits:
    """Which point of which picture each pixel of a view shows: what a rasteriser finds.

    Attributes:
        u, v: [H, W] float32, column and row in the layer's picture (its pixel centres at +0.5);
            0 where nothing is hit.
        disparity: [H, W] float32 in the view's units, > 0 where hit, 0 elsewhere.
        layer: [H, W] int16, index of the layer that is hit, -1 where nothing is.
    """

    u: Tensor
    v: Tensor
    disparity: Tensor
    layer: Tensor


@dataclass(frozen=True, eq=False)
class Layer:
    """A picture with depth, placed in the scene.

    Attributes:
        rgb: [3, H, W] float32 in [0, 1].
        disparity: [H, W] float32, > 0 wherever ``alpha`` is.
        alpha: [H, W] bool, the pixels that exist.
        camera: its ``hw`` is (H, W).
        pose: ``layer_from_world``; the world's frame is the photo's camera.
        invented: [H, W] bool, the pixels of layer 0 that were painted before it became a photo; None: none.
            Other layers are invented as a whole.
        measured: the disparity's, see ``Disparity``.
    """

    rgb: Tensor = field(repr=False)
    disparity: Tensor = field(repr=False)
    alpha: Tensor = field(repr=False)
    camera: Camera
    pose: Pose = field(repr=False)
    invented: Tensor | None = field(default=None, repr=False)
    measured: bool = False

    def __post_init__(self) -> None:
        hw = tuple(self.camera.hw)
        if tuple(self.rgb.shape) != (3, *hw):
            raise InputError(f"A layer's picture is [3, H, W], its camera {hw}; got {tuple(self.rgb.shape)}.")
        shapes = tuple(self.disparity.shape), tuple(self.alpha.shape)
        if shapes != (hw, hw):
            raise InputError(f"A layer's disparity and alpha are as large as its camera, {hw}; got {shapes}.")


@dataclass(frozen=True, eq=False)
class Frame:
    """One finished picture of a film.

    Attributes:
        rgb: [3, H, W] float32 in [0, 1], sRGB.
        index: its number, from 0.
        invented: [H, W] float32 in [0, 1], share of the pixel that the painter made up.
        fps: frames per second of its film; None where nobody knows.
    """

    rgb: Tensor = field(repr=False)
    index: int
    invented: Tensor = field(repr=False)
    fps: float | Fraction | None = None


def as_given(value: Any) -> str:
    """What somebody gave, as a message shows it: its kind where it is long.

    Example:
        >>> as_given("4"), as_given(1.5), as_given(torch.zeros(2))
        ("'4'", '1.5', 'an object of type Tensor')
    """
    plain = ""
    if value is None or isinstance(value, (str, bytes, tuple, list, dict, PurePath)):
        plain = repr(value)
    elif isinstance(value, Number):
        plain = str(value)
    short = 0 < len(plain) <= 80 and "\n" not in plain
    return plain if short else f"an object of type {type(value).__name__}"


def real_number(value: Any) -> float:
    """A number as a float; what is none, a word such as "4" too, becomes one that lies in no range (nan)."""
    if isinstance(value, (str, bytes, bool)):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last is torch's
        return math.nan


def whole_number(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """A whole number, NumPy's or torch's too, as Python's own.

    Args:
        name: of the argument, at the beginning of the sentence.
        value: what was given.
        least, most: the range; None is no limit.

    Raises:
        InputError: another kind of thing, or out of range.

    Example:
        >>> whole_number("The seed", 7, 0, 9)
        7
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least) or (most is not None and number > most):
        limits = (
            "" if least is None else f", at least {least}" if most is None else f" from {least} to {most}"
        )
        raise InputError(f"{name} is {as_given(value)}; it must be a whole number{limits}.")
    return number


def whole_or_none(name: str, value: Any, least: int | None = None, most: int | None = None) -> int | None:
    """``whole_number``, or None where None was given."""
    return None if value is None else whole_number(name, value, least, most)
