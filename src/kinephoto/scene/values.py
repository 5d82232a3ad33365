"""The values that pass between the parts: frozen, checked once, then trusted.

Pictures are float32 in [0, 1], sRGB unless a name says linear, channels first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
    embedded_disparity: Tensor | None = field(default=None, compare=False)
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

    rgb: Tensor
    camera: Camera
    capture: Capture = Capture()
    invented: Tensor | None = None

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

    values: Tensor
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

    rgb: Tensor
    disparity: Tensor
    alpha: Tensor
    camera: Camera
    pose: Pose
    invented: Tensor | None = None
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
    """

    rgb: Tensor
    index: int
    invented: Tensor
