"""A picture file becomes a `Photo`: upright, sRGB, float, with the camera that took it."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.scene.camera import Camera
from kinephoto.scene.embedded import (
    gdepth_disparity,
    sibling_depth_path,
    tells_of_gdepth,
    upright,
    xmp_packets,
)
from kinephoto.scene.picture_file import (
    LARGEST_ASPECT,
    SMALLEST_SIDE,
    Decoded,
    alpha_of,
    check_range,
    check_shape,
    decoded,
    opened,
    orientation_of,
)
from kinephoto.scene.values import Capture, Disparity, Photo, as_given, real_number

FULL_FRAME_DIAGONAL_MM = 43.27
"""Of 36 × 24 mm, on which the 35 mm equivalent is defined."""

FOCAL_LENGTHS_MM = (6.0, 4000.0)
"""35 mm equivalents that lenses have, from the widest fisheye to the longest superzoom; others are nonsense."""

_FOCAL_35MM, _PIXELS_WH = 0xA405, (0xA002, 0xA003)


def read_photo(
    source: str | Path | BinaryIO | bytes, *, max_megapixels: float = 200.0, embedded_depth: bool = True
) -> Photo:
    """Read a picture file.

    The picture is turned upright, laid on white where it is transparent, and taken from its colour
    profile to sRGB. Of several frames the first is used. PNG, TIFF and HEIC keep more than 8 bits.

    Args:
        source: a file, a binary stream such as the standard input, or a file's bytes. An array becomes a photo by
            ``photo_from_array``.
        max_megapixels: a larger picture is refused as soon as its header is read.
        embedded_depth: whether to look for depth that comes with the photo: a file ``NAME_depth.png`` (or
            jpg, webp, npy) beside it, GDepth in its XMP, or a HEIC's auxiliary depth image, in that order.

    Returns:
        The photo. Its camera sees what EXIF's ``FocalLengthIn35mmFilm`` says, else 55° across the longer
        side. ``capture.embedded_disparity`` has the photo's orientation and aspect, but its own
        resolution: who uses it resizes it. ``capture.notes`` says what was left out or couldn't be used.

    Raises:
        InputError: there is no such file, or it is not a picture, is damaged, or is too large, small or long; or
            an argument that cannot be used.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (40, 30), "red").save(file, "PNG")
        >>> _ = file.seek(0)
        >>> tuple(read_photo(file).rgb.shape)
        (3, 30, 40)
    """
    in_memory = isinstance(source, (bytes, bytearray))
    if isinstance(source, (bytes, bytearray)):
        source = io.BytesIO(source)
    if not isinstance(source, (str, Path)) and not hasattr(source, "read"):
        raise InputError(
            f"A photo is read from a file, a binary stream or bytes, not from {as_given(source)}; "
            "kinephoto.scene.photo.photo_from_array makes one of an array [H, W, 3]."
        )
    if not real_number(max_megapixels) > 0:
        raise InputError(f"max_megapixels is {as_given(max_megapixels)}; it must be a number above 0.")
    notes: list[str] = []
    with opened(source) as (file, label):
        name = "the picture" if in_memory else label
        found = decoded(file, name, max_megapixels, notes)
    rgb = _tensor(upright(found.values, found.orientation))
    camera, field_of_view = _camera(found.exif, (rgb.shape[1], rgb.shape[2]))
    depth = _depth(source, found, camera, notes) if embedded_depth else None
    values, metric = (depth.values, depth.metric) if depth else (None, False)
    shown = Path(name).name if isinstance(source, (str, Path)) else name
    return Photo(rgb, camera, Capture(shown, field_of_view, tuple(notes), values, metric))


def as_photo(photo: Photo | str | Path) -> Photo:
    """A photo as it is, or read from its file.

    Raises:
        InputError: neither, or a file that ``read_photo`` refuses.
    """
    if isinstance(photo, Photo):
        return photo
    if isinstance(photo, (str, Path)):
        return read_photo(photo)
    raise InputError(
        f"The photo is {as_given(photo)}; it must be a Photo from kinephoto.read_photo, a picture file, or what "
        "kinephoto.scene.photo.photo_from_array makes of an array."
    )


def read_alpha(source: str | Path, *, max_megapixels: float = 200.0) -> Tensor | None:
    """How opaque each pixel of a picture file is, [H, W] float32 in [0, 1], upright; None where all are.

    Raises:
        InputError: as for ``read_photo``.
    """
    with opened(source) as (file, name):
        found = alpha_of(file, name, max_megapixels)
    if found is None:
        return None
    values, orientation = found
    return torch.from_numpy(np.array(upright(values, orientation), order="C")).float().div_(255)


def photo_from_array(rgb: np.ndarray | Tensor, camera: Camera | None = None, name: str = "array") -> Photo:
    """A photo from memory; the values are copied.

    Args:
        rgb: an array [H, W, 3], uint8, uint16 or float in [0, 1], or a tensor [3, H, W], float in [0, 1]; sRGB.
        camera: what took it; None is 55° across the longer side.
        name: what messages and reports call it.

    Raises:
        InputError: another shape, type or range, or values that are not finite.
    """
    if isinstance(rgb, Tensor):
        if rgb.ndim != 3 or rgb.shape[0] != 3 or not rgb.is_floating_point():
            raise InputError(
                f"{name} is {tuple(rgb.shape)} {rgb.dtype}; a tensor must be [3, H, W] of floats."
            )
        array = rgb.detach().cpu().float().numpy().transpose(1, 2, 0)
    else:
        array = np.asarray(rgb)
        if array.ndim != 3 or array.shape[2] != 3:
            raise InputError(f"{name} is {array.shape}; an array must be [H, W, 3].")
        if array.dtype not in (np.uint8, np.uint16) and not np.issubdtype(array.dtype, np.floating):
            raise InputError(f"{name} holds {array.dtype}; it must hold uint8, uint16 or floats in 0 to 1.")
        if array.dtype == np.uint16:
            array = array.astype(np.float32) / 65535
    height, width = array.shape[:2]
    check_shape((width, height), name)
    if array.dtype != np.uint8:
        check_range(array, name)
    camera = camera or Camera.from_field_of_view((height, width))
    return Photo(_tensor(array), camera, Capture(name))


def resized(photo: Photo, hw: tuple[int, int]) -> Photo:
    """The photo on ``hw`` pixels, with its camera; what is known of the capture is kept.

    Smaller: each pixel is the mean of the area it covers. Larger: bicubic, clipped to [0, 1].

    Raises:
        InputError: a side below one pixel.
    """
    import cv2

    height, width = (int(side) for side in hw)
    camera = photo.camera.resized((height, width))
    values = photo.rgb.permute(1, 2, 0).numpy()
    # One axis may shrink while the other grows: area first, since enlarging first would only cost time.
    smaller = (min(width, values.shape[1]), min(height, values.shape[0]))
    if smaller != values.shape[1::-1]:
        values = cv2.resize(values, smaller, interpolation=cv2.INTER_AREA)
    if smaller != (width, height):
        values = cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC)
    invented = photo.invented
    if invented is not None:
        shrunk = cv2.resize(
            invented.numpy().astype(np.float32), (width, height), interpolation=cv2.INTER_AREA
        )
        invented = torch.from_numpy(shrunk > 0)
    return Photo(_tensor(values.clip(0, 1)), camera, photo.capture, invented)


def _camera(exif: Mapping[int, Any], hw: tuple[int, int]) -> tuple[Camera, str]:
    """The camera, and whether EXIF knew its focal length.

    The 35 mm equivalent tells of the whole frame, whose size EXIF keeps when others crop the picture.
    How much was cut can be told only up to a later scaling, so the largest crop of that aspect is taken.
    """
    height, width = hw
    focal_mm = _positive(exif.get(_FOCAL_35MM))
    if not FOCAL_LENGTHS_MM[0] <= focal_mm <= FOCAL_LENGTHS_MM[1]:
        return Camera.from_field_of_view(hw), "assumed"
    diagonal_px = math.hypot(width, height)
    frame_wh = [_positive(exif.get(tag)) for tag in _PIXELS_WH]
    if min(frame_wh) >= SMALLEST_SIDE and max(frame_wh) <= LARGEST_ASPECT * min(frame_wh):
        frame_aspect, aspect = max(frame_wh) / min(frame_wh), max(hw) / min(hw)
        if abs(math.log(frame_aspect / aspect)) > 0.02:
            frame_width, frame_height = frame_wh[::-1] if orientation_of(exif) >= 5 else frame_wh
            scale = max(width / frame_width, height / frame_height)
            diagonal_px = scale * math.hypot(frame_width, frame_height)
    focal_px = diagonal_px * focal_mm / FULL_FRAME_DIAGONAL_MM
    return Camera(focal_px, (width / 2, height / 2), hw), "exif"


def _depth(
    source: str | Path | BinaryIO, found: Decoded, camera: Camera, notes: list[str]
) -> Disparity | None:
    sibling = sibling_depth_path(source) if isinstance(source, (str, Path)) else None
    try:
        if sibling:
            from kinephoto.scene.depth import read_disparity

            return read_disparity(sibling)
        if tells_of_gdepth([found.xmp, *found.segments]):
            packets = xmp_packets(found.xmp, found.segments)
            return gdepth_disparity(packets, found.orientation, camera) or found.depth
    except InputError as error:
        notes.append(f"the depth that comes with the photo could not be used: {error}")
    return found.depth


def _tensor(values: np.ndarray) -> Tensor:
    """[3, H, W] float32 in [0, 1], contiguous, a copy; from [H, W, 3], uint8 or float."""
    rgb = torch.from_numpy(np.array(values.transpose(2, 0, 1), order="C")).float()
    return rgb.div_(255) if values.dtype == np.uint8 else rgb


def _positive(value: Any) -> float:
    """A number, or 0 for what is none: EXIF holds all kinds of things."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
    return number if math.isfinite(number) else 0.0
