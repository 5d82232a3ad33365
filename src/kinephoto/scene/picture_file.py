"""From the bytes of a picture file to values, before any meaning: whatever Pillow and libheif read."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from kinephoto.errors import InputError
from kinephoto.scene.colour import BROKEN, on_white, to_srgb, to_srgb_deep
from kinephoto.scene.embedded import heic_disparity
from kinephoto.scene.values import Disparity

if TYPE_CHECKING:
    from PIL import Image

SMALLEST_SIDE = 16
"""px; the depth networks see patches of 14 or 16, and less than one patch has no depth."""

LARGEST_ASPECT = 20.0
"""Longer side by shorter side; what is longer is a line or a stitched roll, which no pinhole camera sees."""

LARGEST_FILE = 4 << 30
"""Bytes; an endless stream must not fill the memory."""

READS = "JPEG, PNG, WebP, HEIC, AVIF, TIFF, GIF, BMP and most of what Pillow reads"

# Formats that Pillow only knows by name, or draws by starting another program.
_NOT_FOR_PILLOW = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}

_ORIENTATION, _EXIF_IFD = 0x0112, 0x8769
_SUBFILE_TYPE, _DNG_VERSION = 254, 50706
_BITS, _PHOTOMETRIC, _PLANES = 258, 262, 284
_WHITE_IS_ZERO, _APART = 0, 2
_FRAMED = {"GIF": "GIF", "PNG": "PNG", "WEBP": "WebP", "AVIF": "AVIF", "FLI": "FLI"}
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # ITU-T H.273, table 3


@dataclass
class Decoded:
    """What came out of a file: values [H, W, 3] in sRGB as stored, uint8, or float32 in [0, 1]."""

    values: np.ndarray
    orientation: int = 1
    exif: Mapping[int, Any] = field(default_factory=dict)
    xmp: bytes = b""
    segments: list[bytes] = field(default_factory=list)
    depth: Disparity | None = None


@contextmanager
def opened(source: str | Path | BinaryIO) -> Iterator[tuple[BinaryIO, str]]:
    """A seekable file, and what to call it."""
    if not isinstance(source, (str, Path)):
        name = getattr(source, "name", None)
        named = isinstance(name, str) and not name.startswith("<")
        label = Path(name).name if named and name else "standard input"
        yield _whole(source, label), label
        return
    if os.path.isdir(source):
        raise InputError(f"{source} is a folder; name one photo in it.")
    try:
        file = open(source, "rb")  # noqa: SIM115  closed below; errors inside the block are not its own
    except FileNotFoundError:
        raise InputError(f"{source} does not exist; name a photo that is there.") from None
    except PermissionError:
        raise InputError(f"{source} may not be read: permission denied.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{source} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    with file:
        yield (file if file.seekable() else _whole(file, str(source))), str(source)


def _whole(stream: BinaryIO, name: str) -> BinaryIO:
    data = stream.read(LARGEST_FILE + 1)
    if not isinstance(data, bytes):
        raise InputError(f"{name} gives {type(data).__name__}; a photo must come from a binary stream.")
    if len(data) > LARGEST_FILE:
        raise InputError(f"{name} gives more than {LARGEST_FILE >> 30} GiB; no photo is that large.")
    return io.BytesIO(data)


def decoded(file: BinaryIO, name: str, max_megapixels: float, notes: list[str]) -> Decoded:
    """The picture in a file.

    Args:
        file: at its beginning.
        name: for messages.
        max_megapixels: a larger picture is refused as soon as its header is read.
        notes: what was left out or couldn't be used is added here.

    Raises:
        InputError: it is not a picture, is damaged, or is too large, small or long.
    """
    from PIL import Image

    head = file.read(64)
    if not head:
        raise InputError(f"{name} is empty; it must be a picture.")
    try:
        if _is_heic(head):
            return _read_heic(file, name, max_megapixels, notes)
        return _read_pillow(file, name, max_megapixels, notes)
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        # A GIF whose first frame is larger than the picture, which has passed the check above.
        raise InputError(f"{name} is damaged: a frame is larger than the whole picture.") from error
    except BROKEN as error:
        raise _damaged(name, error) from error


def is_picture(file: BinaryIO) -> bool:
    """Whether the file begins as a picture that Pillow knows; its pixels are not looked at."""
    try:
        _header(file, "the file")
    except InputError:
        return False
    return True


def alpha_of(file: BinaryIO, name: str, max_megapixels: float) -> tuple[np.ndarray, int] | None:
    """[H, W] uint8, how opaque each pixel is as stored, and EXIF's orientation; None where all are.

    Raises:
        InputError: as for ``decoded``.
    """
    try:
        if _is_heic(file.read(64)):
            stored, peak = _heic_values(_opened_heic(file, name, max_megapixels)[0])
            alpha = stored[..., -1] if stored.ndim == 3 and stored.shape[2] in (2, 4) else None
            # libheif has turned it.
            return None if alpha is None else (np.rint(alpha * (255 / peak)).astype(np.uint8), 1)
        image = _header(file, name)
        _check_size(image.size, name, max_megapixels)
        _check_planes(image, name)
        if not image.has_transparency_data:
            return None
        return np.asarray(image.convert("RGBA").getchannel("A")), orientation_of(_exif(image.getexif))
    except InputError:
        raise
    except BROKEN as error:
        raise _damaged(name, error) from error


def _is_heic(head: bytes) -> bool:
    """AVIF, which lies in the same boxes, is Pillow's."""
    return head[4:8] == b"ftyp" and not (head[8:12] in (b"avif", b"avis") or b"avif" in head)


def _opened_heic(file: BinaryIO, name: str, max_megapixels: float) -> tuple[Any, bytes]:
    """A ``pillow_heif.HeifFile``, not yet decoded, and the file's bytes."""
    import pillow_heif

    file.seek(0)
    data = file.read()
    if not pillow_heif.is_supported(data):
        raise _not_a_picture(name)
    heif = pillow_heif.open_heif(data, convert_hdr_to_8bit=False)
    _check_size(heif.size, name, max_megapixels)
    return heif, data


def _heic_values(heif: Any) -> tuple[np.ndarray, int]:
    """The pixels, uint8 or uint16, and the largest value that they may have."""
    stored = np.asarray(heif)
    if stored.dtype == np.uint8:
        return stored, 255
    # pillow-heif moves 10 and 12 bits to the top of 16.
    return stored, 65536 - (1 << (16 - heif.info["bit_depth"]))


def _read_heic(file: BinaryIO, name: str, max_megapixels: float, notes: list[str]) -> Decoded:
    """libheif turns and mirrors the picture itself."""
    from PIL import Image

    heif, data = _opened_heic(file, name, max_megapixels)
    stored, peak = _heic_values(heif)
    mode, info = heif.mode, heif.info
    profile = info.get("icc_profile")
    if len(heif) > 1:
        notes.append(f"HEIC with {len(heif)} pictures: the main one is used")
    hdr = _HDR_TRANSFERS.get(info.get("nclx_profile", {}).get("transfer_characteristics", 0))
    if hdr:
        notes.append(f"HDR picture ({hdr}): it is read as if it were sRGB and looks pale")
    if stored.dtype == np.uint8:
        values = to_srgb(Image.fromarray(stored, mode), profile, notes)
    else:
        values = to_srgb_deep(on_white(stored / np.float32(peak), "a" in mode), profile, notes)
    found = Decoded(values, exif=_exif(Image.Exif, info.get("exif") or b""), xmp=info.get("xmp") or b"")
    try:
        found.depth = heic_disparity(heif, data, orientation_of(found.exif))
    except InputError as error:
        notes.append(f"the depth that comes with the photo could not be used: {error}")
    return found


def _read_pillow(file: BinaryIO, name: str, max_megapixels: float, notes: list[str]) -> Decoded:
    from PIL import Image

    image = _header(file, name)
    _check_size(image.size, name, max_megapixels)
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    if tags.get(_SUBFILE_TYPE) == 1 or _DNG_VERSION in tags:
        raise InputError(f"{name} is a camera's raw file; develop it to JPEG, PNG or TIFF first.")
    _check_planes(image, name)
    raw_mode = str(image.tile[0][3]) if image.tile else ""
    deep = ";16" in raw_mode and image.mode in ("RGB", "RGBA", "RGBX") and image.format in ("PNG", "TIFF")
    # Pillow holds TIFF, alone of all, to its own limit once more while it decodes.
    beyond = bool(tags) and math.prod(image.size) > (Image.MAX_IMAGE_PIXELS or math.inf)
    if not beyond:
        image.load()
    profile = image.info.get("icc_profile") if image.mode != "LAB" else None
    if deep or beyond:
        stored = _from_opencv(file, name, image)
        # OpenCV, too, turns them around in 8 bits only.
        negative = stored.dtype == np.uint16 and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
        peak = np.float32(np.iinfo(stored.dtype).max)
        shares = (peak - stored if negative else stored) / peak
        values = to_srgb_deep(on_white(shares, "RGBa" in raw_mode), profile, notes)
    elif image.mode.startswith(("I", "F")):
        grey = _single_plane(image, raw_mode, name)
        # Pillow turns them around in 8 bits only.
        values = to_srgb_deep(1 - grey if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else grey, profile, notes)
    else:
        values = to_srgb(image, profile, notes)
    exif = _exif(image.getexif)
    # Pillow and OpenCV have turned a TIFF while decoding it.
    orientation = 1 if image.format == "TIFF" else orientation_of(exif)
    xmp = image.info.get("xmp") or b""
    segments = [body for marker, body in getattr(image, "applist", ()) if marker == "APP1"]
    _note_frames(image, notes)
    return Decoded(values, orientation, exif, xmp, segments)


def _header(file: BinaryIO, name: str) -> Image.Image:
    """The picture with its pixels not yet decoded.

    ``Image.open`` would do, but for its limit on pixels, which is one for the whole process.
    """
    from PIL import Image

    Image.init()
    file.seek(0)
    head, failure = file.read(16), None
    for kind in Image.ID:
        factory, accept = Image.OPEN[kind]
        claimed = False
        try:
            verdict = accept is not None and accept(head)
            claimed = bool(verdict) and not isinstance(verdict, str)  # a text says why it can't be read
            if kind not in _NOT_FOR_PILLOW and (claimed or accept is None):
                file.seek(0)
                return factory(file, "")
        except BROKEN as error:
            failure = failure or (error if claimed else None)
    if failure:
        raise InputError(f"{name} is damaged or of a rare kind: {_reason(failure)}.") from failure
    raise _not_a_picture(name)


def _from_opencv(file: BinaryIO, name: str, image: Image.Image) -> np.ndarray:
    """[H, W, C] with 1, 3 or 4 channels, uint8 or uint16: what Pillow would cut to 8 bits or not open."""
    import cv2

    file.seek(0)
    stored = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    known = image.mode in ("L", "I;16", "RGB", "RGBX", "RGBA")
    if stored is None or not known or stored.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{name} is a {image.format} of a kind kinephoto can't read; save it as RGB.")
    if stored.ndim == 2:
        return stored[..., None]
    transparent = image.mode == "RGBA" or "transparency" in image.info
    return stored[..., [2, 1, 0, 3] if transparent and stored.shape[2] == 4 else [2, 1, 0]]


def _check_planes(image: Image.Image, name: str) -> None:
    """Refuse colours that lie apart in more than 8 bits each: Pillow and OpenCV make noise of them."""
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    bits = tags.get(_BITS, (1,))
    if tags.get(_PLANES) == _APART and len(bits) > 1 and max(bits) > 8:
        raise InputError(
            f"{name} is a TIFF of {max(bits)} bits whose colours lie apart (planar); save it with its colours "
            "side by side (chunky, interleaved)."
        )


def _single_plane(image: Image.Image, raw_mode: str, name: str) -> np.ndarray:
    """[H, W, 1] float32 in [0, 1] of a grey picture with more than 8 bits."""
    stored = np.asarray(image)
    if image.mode.startswith("I"):
        peak = 4095 if "I;12" in raw_mode else 65535
        low, high = int(stored.min()), int(stored.max())
        if low < 0 or high > peak:
            raise InputError(f"{name} holds whole numbers from {low} to {high}; a photo has 8 or 16 bits.")
        # PNG may name one grey that means nothing is there.
        nothing = stored == image.info.get("transparency", -1)
        stored = np.where(nothing, np.float32(1), stored / np.float32(peak))
    check_range(stored, name)
    return stored[..., None].astype(np.float32)


def _exif(give: Callable[[], Image.Exif], data: bytes = b"") -> dict[int, Any]:
    """Both of EXIF's lists; empty where they are broken, for a photo is one without them, too."""
    try:
        block = give()
        if data:
            block.load(data)
        return {**block, **block.get_ifd(_EXIF_IFD)}
    except BROKEN:
        return {}


def orientation_of(exif: Mapping[int, Any]) -> int:
    """EXIF's number for how the stored picture is turned and mirrored, 1 (not at all) to 8."""
    value = exif.get(_ORIENTATION, 1)
    return int(value) if value in range(1, 9) else 1


def _note_frames(image: Image.Image, notes: list[str]) -> None:
    try:
        count = getattr(image, "n_frames", 1)
    except BROKEN:
        return  # A later frame is broken; it isn't needed.
    if count > 1 and image.format in _FRAMED:
        notes.append(f"animated {_FRAMED[image.format]}: the first of {count} frames is used")
    elif count > 1 and image.format == "TIFF":
        notes.append(f"TIFF with {count} pages: the first is used")


def _check_size(size: tuple[int, int], name: str, max_megapixels: float) -> None:
    check_shape(size, name)
    megapixels = math.prod(size) / 1e6
    if megapixels > max_megapixels:
        raise InputError(
            f"{name} is {size[0]}×{size[1]} px, {megapixels:.0f} megapixels; the limit (max_megapixels) is "
            f"{max_megapixels:g}."
        )


def check_shape(size: tuple[int, int], name: str) -> None:
    """Refuse what is smaller or longer than any photo; ``size`` is (width, height)."""
    width, height = size
    if min(size) < SMALLEST_SIDE:
        raise InputError(f"{name} is {width}×{height} px; both sides must be at least {SMALLEST_SIDE} px.")
    if max(size) > LARGEST_ASPECT * min(size):
        raise InputError(
            f"{name} is {width}×{height} px; one side may be at most {LARGEST_ASPECT:g} times the other."
        )


def _damaged(name: str, error: Exception) -> InputError:
    return InputError(f"{name} is damaged: {_reason(error)}.")


def _reason(error: Exception) -> str:
    """What a decoder said, to end a sentence with."""
    words = (str(error) or type(error).__name__).strip().rstrip(".")
    return words[:1].lower() + words[1:] if words[1:2].islower() else words


def _not_a_picture(name: str) -> InputError:
    return InputError(f"{name} is not a picture kinephoto can read; it reads {READS}.")


def check_range(values: np.ndarray, name: str) -> None:
    """Refuse values that are not finite or go far beyond [0, 1]."""
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = int((~np.isfinite(values)).sum())
        raise InputError(f"{name} holds {bad} values that are not finite numbers; mend them first.")
    if low < 0 or high > 1:
        raise InputError(
            f"{name} holds values from {low:.9g} to {high:.9g}; floats must lie between 0 and 1."
        )
