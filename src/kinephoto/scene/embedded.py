"""Depth that comes with a photo: GDepth in its XMP, a HEIC's auxiliary image, a file beside it.

Whatever the encoding, the result is disparity, 1/z: near is large. It keeps its own resolution and takes
the photo's orientation.
"""

from __future__ import annotations

import base64
import io
import math
import os
import re
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kinephoto.errors import InputError
from kinephoto.scene.values import Disparity

if TYPE_CHECKING:
    from kinephoto.scene.camera import Camera

SIBLING_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".npy")

LARGEST_DEPTH_PIXELS = 50_000_000
"""More than any camera's depth map has; a file that claims more is broken or means harm."""

_GDEPTH = "{http://ns.google.com/photos/1.0/depthmap/}"
_XMP_NOTE = "{http://ns.adobe.com/xmp/note/}"
_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_GUID_BYTES = 32

# HEIF takes them from HEVC's depth representation information (H.265, SEI message 177).
_UNIFORM_INVERSE_Z, _UNIFORM_Z, _NONUNIFORM_DISPARITY = 0, 2, 3

# What decoders of a broken picture raise, beyond OSError.
_BROKEN = (OSError, EOFError, SyntaxError, ValueError, IndexError, KeyError, TypeError, RuntimeError)


def sibling_depth_path(path: str | Path) -> Path | None:
    """The depth map beside a photo: ``beach_depth.png`` for ``beach.jpg``, as Facebook's 3D photos had it.

    Returns:
        The first that exists of the suffixes png, jpg, jpeg, webp and npy, or None.
    """
    path = Path(path)
    for suffix in SIBLING_SUFFIXES:
        sibling = path.with_name(f"{path.stem}_depth{suffix}")
        if os.path.isfile(sibling):  # unlike Path.is_file, not put out by a name that is too long
            return sibling
    return None


def upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """A picture [H, W, ...] turned as EXIF's orientation, 1 to 8, asks for; a view of it."""
    turns = {3: 2, 6: -1, 8: 1}.get(orientation, 0)
    if turns:
        return np.rot90(values, turns)
    if orientation == 2:
        return values[:, ::-1]
    if orientation == 4:
        return values[::-1]
    if orientation == 5:
        return values.swapaxes(0, 1)
    return np.rot90(values, 2).swapaxes(0, 1) if orientation == 7 else values


def xmp_packets(standard: bytes, segments: Iterable[bytes] = ()) -> list[bytes]:
    """A file's XMP, each packet an XML document.

    What is too long for one JPEG segment, as a depth map is, lies in an extended packet: pieces of
    up to 64 kB, each with the packet's GUID, its length and the piece's place in it
    (XMP specification part 3, "Extended XMP in JPEG").

    Args:
        standard: the standard packet, or nothing.
        segments: contents of the JPEG's APP1 segments.

    Raises:
        InputError: the standard packet is not XML, or pieces of the extended one are missing.
    """
    packets = [standard.strip(b"\0 \n")] if standard.strip(b"\0 \n") else []
    pieces: dict[bytes, dict[int, bytes]] = defaultdict(dict)
    lengths: dict[bytes, int] = {}
    for segment in segments:
        head, body = (
            segment[len(_EXTENSION) :][: _GUID_BYTES + 8],
            segment[len(_EXTENSION) + _GUID_BYTES + 8 :],
        )
        if not segment.startswith(_EXTENSION) or len(head) < _GUID_BYTES + 8:
            continue
        guid = head[:_GUID_BYTES]
        lengths[guid] = int.from_bytes(head[_GUID_BYTES : _GUID_BYTES + 4], "big")
        pieces[guid][int.from_bytes(head[_GUID_BYTES + 4 :], "big")] = body
    if not pieces or not packets:
        return packets
    guid = _properties(packets[0], _XMP_NOTE).get("HasExtendedXMP", "").encode()
    if guid not in pieces:
        # It belongs to an older version of the file, and readers shall leave it alone.
        return packets
    joined = b"".join(body for _, body in sorted(pieces[guid].items()))
    if len(joined) != lengths[guid]:
        raise InputError(f"The extended XMP has {len(joined)} of {lengths[guid]} bytes.")
    return [*packets, joined]


def tells_of_gdepth(parts: Iterable[bytes]) -> bool:
    """Whether GDepth is named in any of the packets or segments: without it, they need no reading."""
    return any(_GDEPTH.strip("{}").encode() in part for part in parts)


def gdepth_disparity(packets: Iterable[bytes], orientation: int, camera: Camera) -> Disparity | None:
    """What GDepth says of a photo, if there is any (developers.google.com/depthmap-metadata).

    With d the stored grey value in [0, 1], 0 at the nearest, RangeLinear means z = near + d (far - near)
    and RangeInverse 1/z = 1/near - d (1/near - 1/far). Where near or far are missing, 1 - d is taken, known
    up to scale and shift. So is what kinephoto wrote without a unit: its near and far are the relative map's own.

    Args:
        packets: from `xmp_packets`.
        orientation: EXIF's, of the file; the map is stored as the photo is, and a map that is upright
            already is left so.
        camera: the upright photo's, for maps that hold the distance along the ray.

    Returns:
        The map's own size, or None where there is none.

    Raises:
        InputError: the depth map is there and cannot be read.
    """
    found: dict[str, str] = {}
    for packet in packets:
        found.update(_properties(packet, _GDEPTH))
    if not found.get("Data"):
        return None
    share = _grey(_decoded(found["Data"]))
    near, far = (_number(found.get(name)) for name in ("Near", "Far"))
    ranged = near > 0 and 0 < far < math.inf and near != far
    metric = ranged and (found.get("Software") != "kinephoto" or found.get("Units") == "m")
    if not ranged:
        values = 1 - share
    elif found.get("Format") == "RangeLinear":
        values = 1 / (near + share * (far - near))
    else:
        values = 1 / near - share * (1 / near - 1 / far)
    # A square map, or a square photo, tells nothing; then the file is taken at its word.
    stored_height, stored_width = camera.hw if orientation < 5 else camera.hw[::-1]
    height, width = values.shape
    if (height - width) * (stored_height - stored_width) >= 0:
        values = upright(values, orientation)
    if ranged and found.get("MeasureType") == "OpticRay":
        values = values * _ray_lengths(camera.resized(values.shape))
    return _disparity(values, metric, "GDepth")


def heic_disparity(heif: Any, data: bytes = b"", orientation: int = 1) -> Disparity | None:
    """What a HEIC's auxiliary depth image says, if there is one.

    Args:
        heif: a ``pillow_heif.HeifFile``, or its like.
        data: the whole file. Apple writes "relative" into it where an unknown offset was added to
            the disparity, as with two lenses that shift to steady the picture.
        orientation: EXIF's, which was the photo's before libheif turned it; of use where an older
            pillow-heif doesn't say which picture has been turned.

    Returns:
        The depth image's own size, turned and mirrored like the photo, or None where there is none.

    Raises:
        InputError: the depth image is there and cannot be read.
    """
    images = [image for image in heif.info.get("depth_images") or () if image is not None]
    if not images:
        return None
    width, height = images[0].size
    if width * height > LARGEST_DEPTH_PIXELS:
        raise InputError(f"The depth image is {width}×{height}, more than a depth map has.")
    try:
        stored = np.asarray(images[0])
    except _BROKEN as error:
        raise InputError(f"The depth image is damaged ({error}).") from error
    stored = stored[..., 0] if stored.ndim == 3 else stored
    share = stored.astype(np.float32) / np.iinfo(stored.dtype).max
    values, metric = represented(share, images[0].info.get("metadata") or {})
    metric = metric and not re.search(rb"depthData:Accuracy(=\"|>)\s*relative", data)
    return _disparity(_turned_like(heif, images[0], values, orientation), metric, "HEIC depth image")


def represented(share: np.ndarray, metadata: Mapping[str, Any]) -> tuple[np.ndarray, bool]:
    """Disparity from the samples of a depth image, by H.265's depth representation information.

    Types 0 and 1 are inverse depth and disparity in equal steps, the largest sample at the nearest; type 2
    is depth in equal steps, 0 at the nearest; type 3 is disparity in steps of its own, of which only the
    order is used.

    Args:
        share: [H, W] float in [0, 1], samples divided by the largest possible.
        metadata: "representation_type", and of "z_near", "z_far", "d_min", "d_max" what is known.

    Returns:
        [H, W], near is large, and whether ratios in it are true.
    """
    kind = metadata.get("representation_type", _NONUNIFORM_DISPARITY)
    near, far = _number(metadata.get("z_near")), _number(metadata.get("z_far"))
    low, high = _number(metadata.get("d_min")), _number(metadata.get("d_max"))
    by_distance = 0 < near < far < math.inf
    by_disparity = 0 <= low < high < math.inf
    if kind == _UNIFORM_Z:
        return (1 / (near + share * (far - near)), True) if by_distance else (1 - share, False)
    if kind == _NONUNIFORM_DISPARITY or not (by_distance or by_disparity):
        return share, False
    if by_distance and (kind == _UNIFORM_INVERSE_Z or not by_disparity):
        low, high = 1 / far, 1 / near
    return low + share * (high - low), True


def _turned_like(heif: Any, image: Any, values: np.ndarray, orientation: int) -> np.ndarray:
    """Carry out the photo's rotation where the depth image has none of its own; libheif does the latter."""
    photo, own = _turns(heif[heif.primary_index]), _turns(image)
    if photo is None or own is None:
        # Only a quarter turn shows in the shapes.
        width, height = heif.size
        crosswise = (values.shape[0] - values.shape[1]) * (height - width) < 0
        return upright(values, orientation) if crosswise and orientation >= 5 else values
    for kind, amount in [] if own else photo:
        # irot turns anticlockwise by degrees; imir's 1 swaps left and right, 0 top and bottom.
        values = np.rot90(values, amount // 90) if kind == "irot" else np.flip(values, axis=amount)
    return values


def _turns(image: Any) -> list[tuple[str, int]] | None:
    done = getattr(image._c_image, "transformations", None)
    return None if done is None else [(item[0], item[1]) for item in done if item[0] in ("irot", "imir")]


def _properties(packet: bytes, namespace: str) -> dict[str, str]:
    """The simple properties of one namespace, whether written as attributes or as elements."""
    try:
        root = ET.fromstring(packet)
    except ET.ParseError as error:
        raise InputError(f"The XMP is not well-formed XML ({error}).") from error
    found: dict[str, str] = {}
    for element in root.iter():
        found.update({key: value for key, value in element.attrib.items() if key.startswith(namespace)})
        if element.tag.startswith(namespace) and element.text:
            found[element.tag] = element.text
    return {key.removeprefix(namespace): value.strip() for key, value in found.items()}


def _decoded(text: str) -> bytes:
    packed = "".join(text.split()).rstrip("=")
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except ValueError as error:
        raise InputError(f"The GDepth data is not base64 ({error}).") from error


def _grey(data: bytes) -> np.ndarray:
    """[H, W] float32 in [0, 1] of a PNG or JPEG, of 8 or 16 bits."""
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    # Not Image.open: its limit on pixels is one for the whole process.
    kind = PngImageFile if data.startswith(b"\x89PNG") else JpegImageFile
    try:
        image = kind(io.BytesIO(data))
        if math.prod(image.size) > LARGEST_DEPTH_PIXELS:
            raise InputError(f"The depth map is {image.size[0]}×{image.size[1]}, more than a depth map has.")
        deep = image.mode.startswith("I")
        stored = np.asarray(image if deep else image.convert("L"))
    except InputError:
        raise
    except _BROKEN as error:
        raise InputError(f"The GDepth picture is damaged ({error}).") from error
    return stored.astype(np.float32) / (65535 if deep else 255)


def _ray_lengths(camera: Camera) -> np.ndarray:
    """[H, W], length of each pixel's ray up to z = 1."""
    height, width = camera.hw
    x = (np.arange(width, dtype=np.float32) + 0.5 - camera.centre_px[0]) / camera.focal_px
    y = (np.arange(height, dtype=np.float32) + 0.5 - camera.centre_px[1]) / camera.focal_px
    return np.sqrt(1 + x[None] ** 2 + y[:, None] ** 2)


def _disparity(values: np.ndarray, metric: bool, source: str) -> Disparity:
    """Checked and contiguous."""
    return Disparity(torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)), metric, source)


def _number(value: Any) -> float:
    """A finite number or infinity; NaN, which is neither larger nor smaller than anything, for all else."""
    try:
        return float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return math.nan
