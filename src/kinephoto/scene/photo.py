"""A picture file becomes a `Photo`: upright, sRGB, float, with the camera that took it."""

from __future__ import annotations

import io
import math
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.scene.camera import Camera
from kinephoto.scene.embedded import (
    gdepth_disparity,
    heic_disparity,
    sibling_depth_path,
    tells_of_gdepth,
    upright,
    xmp_packets,
)
from kinephoto.scene.values import Capture, Disparity, Photo

if TYPE_CHECKING:
    from PIL import Image

SMALLEST_SIDE = 16
"""px; the depth networks see patches of 14 or 16, and less than one patch has no depth."""

LARGEST_ASPECT = 20.0
"""Longer side by shorter side; what is longer is a line or a stitched roll, which no pinhole camera sees."""

FULL_FRAME_DIAGONAL_MM = 43.27
"""Of 36 × 24 mm, on which the 35 mm equivalent is defined."""

FOCAL_LENGTHS_MM = (6.0, 4000.0)
"""35 mm equivalents that lenses have, from the widest fisheye to the longest superzoom; others are nonsense."""

LARGEST_FILE = 4 << 30
"""Bytes; an endless stream must not fill the memory."""

READS = "JPEG, PNG, WebP, HEIC, AVIF, TIFF, GIF, BMP and most of what Pillow reads"

# Formats that Pillow only knows by name, or draws by starting another program.
_NOT_FOR_PILLOW = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}

# What Pillow's and libheif's decoders raise over broken files; each format has its own habits.
_BROKEN: tuple[type[Exception], ...] = (OSError, EOFError, SyntaxError, ValueError, IndexError, KeyError)
_BROKEN += (
    TypeError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    AssertionError,
    struct.error,
    zlib.error,
)

_ORIENTATION, _EXIF_IFD, _FOCAL_35MM, _PIXELS_WH = 0x0112, 0x8769, 0xA405, (0xA002, 0xA003)
_SUBFILE_TYPE, _DNG_VERSION = 254, 50706
_BAD_PROFILE = "the colour profile is broken or of another kind than the picture: it is ignored"
_FRAMED = {"GIF": "GIF", "PNG": "PNG", "WEBP": "WebP", "AVIF": "AVIF", "FLI": "FLI"}
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # ITU-T H.273, table 3


@dataclass
class _Read:
    """What came out of a file: values [H, W, 3] in sRGB as stored, uint8, or float32 in [0, 1]."""

    values: np.ndarray
    orientation: int = 1
    exif: Mapping[int, Any] = field(default_factory=dict)
    xmp: bytes = b""
    segments: list[bytes] = field(default_factory=list)
    depth: Disparity | None = None


def read_photo(
    source: str | Path | BinaryIO, *, max_megapixels: float = 200.0, embedded_depth: bool = True
) -> Photo:
    """Read a picture file.

    The picture is turned upright, laid on white where it is transparent, and taken from its colour
    profile to sRGB. Of several frames the first is used. PNG, TIFF and HEIC keep more than 8 bits.

    Args:
        source: a file, or a binary stream such as the standard input.
        max_megapixels: a larger picture is refused as soon as its header is read.
        embedded_depth: whether to look for depth that comes with the photo: a file ``NAME_depth.png`` (or
            jpg, webp, npy) beside it, GDepth in its XMP, or a HEIC's auxiliary depth image, in that order.

    Returns:
        The photo. Its camera sees what EXIF's ``FocalLengthIn35mmFilm`` says, else 55° across the longer
        side. ``capture.embedded_disparity`` has the photo's orientation and aspect, but its own
        resolution: who uses it resizes it. ``capture.notes`` says what was left out or couldn't be used.

    Raises:
        InputError: there is no such file, or it is not a picture, is damaged, or is too large, small or long.

    Example:
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (40, 30), "red").save(file, "PNG")
        >>> _ = file.seek(0)
        >>> tuple(read_photo(file).rgb.shape)
        (3, 30, 40)
    """
    notes: list[str] = []
    with _opened(source) as (file, name):
        found = _decoded(file, name, max_megapixels, notes)
    rgb = _tensor(upright(found.values, found.orientation))
    camera, field_of_view = _camera(found.exif, (rgb.shape[1], rgb.shape[2]))
    depth = _depth(source, found, camera, notes) if embedded_depth else None
    values, metric = (depth.values, depth.metric) if depth else (None, False)
    shown = Path(name).name if isinstance(source, (str, Path)) else name
    return Photo(rgb, camera, Capture(shown, field_of_view, tuple(notes), values, metric))


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
    _check_shape((width, height), name)
    if array.dtype != np.uint8:
        _check_range(array, name)
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
    return Photo(_tensor(values.clip(0, 1)), camera, photo.capture)


@contextmanager
def _opened(source: str | Path | BinaryIO) -> Iterator[tuple[BinaryIO, str]]:
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


def _decoded(file: BinaryIO, name: str, max_megapixels: float, notes: list[str]) -> _Read:
    from PIL import Image

    head = file.read(64)
    if not head:
        raise InputError(f"{name} is empty; it must be a picture.")
    try:
        if head[4:8] == b"ftyp" and not (head[8:12] in (b"avif", b"avis") or b"avif" in head):
            return _read_heic(file, name, max_megapixels, notes)
        return _read_pillow(file, name, max_megapixels, notes)
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        # A GIF whose first frame is larger than the picture, which has passed the check above.
        raise InputError(f"{name} is damaged: a frame is larger than the whole picture.") from error
    except _BROKEN as error:
        raise _damaged(name, error) from error


def _read_heic(file: BinaryIO, name: str, max_megapixels: float, notes: list[str]) -> _Read:
    """libheif turns and mirrors the picture itself."""
    import pillow_heif
    from PIL import Image

    file.seek(0)
    data = file.read()
    if not pillow_heif.is_supported(data):
        raise _not_a_picture(name)
    heif = pillow_heif.open_heif(data, convert_hdr_to_8bit=False)
    _check_size(heif.size, name, max_megapixels)
    stored, mode, info = np.asarray(heif), heif.mode, heif.info
    profile = info.get("icc_profile")
    if len(heif) > 1:
        notes.append(f"HEIC with {len(heif)} pictures: the main one is used")
    hdr = _HDR_TRANSFERS.get(info.get("nclx_profile", {}).get("transfer_characteristics", 0))
    if hdr:
        notes.append(f"HDR picture ({hdr}): it is read as if it were sRGB and looks pale")
    if stored.dtype == np.uint8:
        values = _to_srgb(Image.fromarray(stored, mode), profile, notes)
    else:
        peak = 65536 - (1 << (16 - info["bit_depth"]))  # pillow-heif moves 10 and 12 bits to the top of 16
        values = _to_srgb_deep(_on_white(stored / np.float32(peak), "a" in mode), profile, notes)
    found = _Read(values, exif=_exif(Image.Exif, info.get("exif") or b""), xmp=info.get("xmp") or b"")
    try:
        found.depth = heic_disparity(heif, data, _orientation(found.exif))
    except InputError as error:
        notes.append(f"the depth that comes with the photo could not be used: {error}")
    return found


def _read_pillow(file: BinaryIO, name: str, max_megapixels: float, notes: list[str]) -> _Read:
    from PIL import Image

    image = _header(file, name)
    _check_size(image.size, name, max_megapixels)
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    if tags.get(_SUBFILE_TYPE) == 1 or _DNG_VERSION in tags:
        raise InputError(f"{name} is a camera's raw file; develop it to JPEG, PNG or TIFF first.")
    raw_mode = str(image.tile[0][3]) if image.tile else ""
    deep = ";16" in raw_mode and image.mode in ("RGB", "RGBA", "RGBX") and image.format in ("PNG", "TIFF")
    # Pillow holds TIFF, alone of all, to its own limit once more while it decodes.
    beyond = bool(tags) and math.prod(image.size) > (Image.MAX_IMAGE_PIXELS or math.inf)
    if not beyond:
        image.load()
    profile = image.info.get("icc_profile") if image.mode != "LAB" else None
    if deep or beyond:
        stored = _from_opencv(file, name, image)
        peak = np.float32(np.iinfo(stored.dtype).max)
        values = _to_srgb_deep(_on_white(stored / peak, "RGBa" in raw_mode), profile, notes)
    elif image.mode.startswith(("I", "F")):
        values = _to_srgb_deep(_single_plane(image, raw_mode, name), profile, notes)
    else:
        values = _to_srgb(image, profile, notes)
    exif = _exif(image.getexif)
    # Pillow and OpenCV have turned a TIFF while decoding it.
    orientation = 1 if image.format == "TIFF" else _orientation(exif)
    xmp = image.info.get("xmp") or b""
    segments = [body for marker, body in getattr(image, "applist", ()) if marker == "APP1"]
    _note_frames(image, notes)
    return _Read(values, orientation, exif, xmp, segments)


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
        except _BROKEN as error:
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
    _check_range(stored, name)
    return stored[..., None].astype(np.float32)


def _on_white(values: np.ndarray, premultiplied: bool = False) -> np.ndarray:
    """[H, W, 1 or 3] from [H, W, 1 to 4] floats, of which the second or fourth channel is alpha."""
    values = values if values.ndim == 3 else values[..., None]
    if values.shape[2] in (1, 3):
        return values
    colour, alpha = values[..., :-1], values[..., -1:]
    return (colour if premultiplied else colour * alpha) + (1 - alpha)


def _to_srgb(image: Image.Image, profile: bytes | None, notes: list[str]) -> np.ndarray:
    """[H, W, 3] uint8, on white, of a picture with 8 bits."""
    from PIL import Image, ImageCms

    if image.has_transparency_data:
        grey = image.mode in ("L", "LA", "La")
        if image.mode in ("La", "RGBa"):
            image = image.convert(image.mode.upper())
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white.convert("L" if grey else "RGB")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    if profile:
        try:
            return np.asarray(_through_profile(image, profile))
        except (ImageCms.PyCMSError, *_BROKEN):
            notes.append(_BAD_PROFILE)
    return np.asarray(image.convert("RGB"))


def _through_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """A picture L, RGB or CMYK as RGB in sRGB; ValueError for a profile of another kind of picture."""
    from PIL import ImageCms

    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(source.profile.xcolor_space.strip())
    if mode == "RGB" and image.mode == "L":
        image = image.convert("RGB")
    if mode is None or mode != image.mode:
        raise ValueError(f"a profile for {source.profile.xcolor_space} on a picture {image.mode}")
    # As image editors do it by default: white stays white and black stays black.
    transform = ImageCms.buildTransform(
        source,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if mode != "CMYK":
        # Most profiles are sRGB under one name or another; those pictures are left bit for bit.
        probe = _probe(mode)
        changed = np.asarray(ImageCms.applyTransform(probe, transform), np.int16)
        if np.abs(changed - np.asarray(probe.convert("RGB"), np.int16)).max() <= 1:
            return image.convert("RGB")
    return ImageCms.applyTransform(image, transform)


def _probe(mode: str) -> Image.Image:
    """All greys, or a cube of colours."""
    from PIL import Image

    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(levels.size, -1, 3))


def _to_srgb_deep(values: np.ndarray, profile: bytes | None, notes: list[str]) -> np.ndarray:
    """[H, W, 3] float32 from [H, W, 1 or 3] in [0, 1]."""
    from PIL import Image, ImageCms

    if profile:
        try:
            same = _probe("RGB" if values.shape[2] == 3 or profile[16:20] == b"RGB " else "L")
            if np.array_equal(_through_profile(same, profile), same.convert("RGB")):
                profile = None
            elif (exact := _by_curves(values, profile)) is not None:
                values, profile = exact, None
            else:
                eight = np.rint(values * 255).astype(np.uint8)
                image = Image.fromarray(eight[..., 0] if values.shape[2] == 1 else eight)
                values = np.asarray(_through_profile(image, profile)) / np.float32(255)
        except (ImageCms.PyCMSError, *_BROKEN):
            notes.append(_BAD_PROFILE)
    return np.broadcast_to(values, (*values.shape[:2], 3))


def _by_curves(values: np.ndarray, profile: bytes) -> np.ndarray | None:
    """[H, W, C] in sRGB through a profile of curves and a matrix (the ICC's matrix/TRC model), None for tables.

    ImageCms knows 8 bits only, which is too coarse for the wide spaces that 16 bits are used with.
    """
    from PIL import ImageCms

    tags = _icc_tags(profile)
    names = [b"kTRC"] if profile[16:20] == b"GRAY" else [b"rTRC", b"gTRC", b"bTRC"]
    if b"A2B0" in tags or profile[20:24] != b"XYZ " or not all(name in tags for name in names):
        return None
    if len(names) == 3 and values.shape[2] == 1:
        values = np.repeat(values, 3, axis=2)
    linear = np.empty_like(values)
    for channel, name in enumerate(names):
        curve = _icc_curve(tags[name])
        linear[..., channel] = curve[np.rint(values[..., channel] * (curve.size - 1)).astype(np.int32)]
    if len(names) == 3:
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        matrix = np.linalg.inv(_colorants(_icc_tags(srgb))) @ _colorants(tags)
        linear = linear @ matrix.T.astype(np.float32)
    linear = linear.clip(0, 1)
    # IEC 61966-2-1
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** np.float32(1 / 2.4) - 0.055)


def _icc_tags(profile: bytes) -> dict[bytes, bytes]:
    tags = {}
    for index in range(int.from_bytes(profile[128:132], "big")):
        name, offset, length = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        tags[name] = profile[offset : offset + length]
    return tags


def _colorants(tags: Mapping[bytes, bytes]) -> np.ndarray:
    """[3, 3]: XYZ under D50 from linear RGB."""
    return np.stack(
        [np.frombuffer(tags[name], ">i4", 3, 8) / 65536 for name in (b"rXYZ", b"gXYZ", b"bXYZ")], axis=1
    )


def _icc_curve(tag: bytes) -> np.ndarray:
    """[65536] float32, the linear value of each level: ICC.1, curveType and parametricCurveType."""
    x = np.linspace(0, 1, 65536)
    count = int.from_bytes(tag[8:12], "big")
    if tag[:4] == b"curv" and count > 1:
        table = np.frombuffer(tag, ">u2", count, 12) / 65535
        return np.interp(x, np.linspace(0, 1, count), table).astype(np.float32)
    if tag[:4] == b"curv":
        return (x ** (int.from_bytes(tag[12:14], "big") / 256 if count else 1)).astype(np.float32)
    kind = int.from_bytes(tag[8:10], "big")
    g, *rest = (np.frombuffer(tag, ">i4", (1, 3, 4, 5, 7)[kind], 12) / 65536).tolist()
    a, b, c, d, e, f = (rest + [0.0] * 6)[:6]
    if kind == 0:
        a = 1.0
    elif kind in (1, 2):
        # (a x + b)^g + c above -b/a, and c below it.
        c, d, e, f = 0.0, -b / a, c, c
    above = np.maximum(a * x + b, 0) ** g + e
    return np.where(x >= d, above, c * x + f).astype(np.float32)


def _exif(give: Callable[[], Image.Exif], data: bytes = b"") -> dict[int, Any]:
    """Both of EXIF's lists; empty where they are broken, for a photo is one without them, too."""
    try:
        block = give()
        if data:
            block.load(data)
        return {**block, **block.get_ifd(_EXIF_IFD)}
    except _BROKEN:
        return {}


def _orientation(exif: Mapping[int, Any]) -> int:
    value = exif.get(_ORIENTATION, 1)
    return int(value) if value in range(1, 9) else 1


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
            frame_width, frame_height = frame_wh[::-1] if _orientation(exif) >= 5 else frame_wh
            scale = max(width / frame_width, height / frame_height)
            diagonal_px = scale * math.hypot(frame_width, frame_height)
    focal_px = diagonal_px * focal_mm / FULL_FRAME_DIAGONAL_MM
    return Camera(focal_px, (width / 2, height / 2), hw), "exif"


def _depth(source: str | Path | BinaryIO, found: _Read, camera: Camera, notes: list[str]) -> Disparity | None:
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


def _note_frames(image: Image.Image, notes: list[str]) -> None:
    try:
        count = getattr(image, "n_frames", 1)
    except _BROKEN:
        return  # A later frame is broken; it isn't needed.
    if count > 1 and image.format in _FRAMED:
        notes.append(f"animated {_FRAMED[image.format]}: the first of {count} frames is used")
    elif count > 1 and image.format == "TIFF":
        notes.append(f"TIFF with {count} pages: the first is used")


def _check_size(size: tuple[int, int], name: str, max_megapixels: float) -> None:
    _check_shape(size, name)
    megapixels = math.prod(size) / 1e6
    if megapixels > max_megapixels:
        raise InputError(
            f"{name} is {size[0]}×{size[1]} px, {megapixels:.0f} megapixels; the limit (max_megapixels) is "
            f"{max_megapixels:g}."
        )


def _check_shape(size: tuple[int, int], name: str) -> None:
    width, height = size
    if min(size) < SMALLEST_SIDE:
        raise InputError(f"{name} is {width}×{height} px; both sides must be at least {SMALLEST_SIDE} px.")
    if max(size) > LARGEST_ASPECT * min(size):
        raise InputError(
            f"{name} is {width}×{height} px; one side may be at most {LARGEST_ASPECT:g} times the other."
        )


def _check_range(values: np.ndarray, name: str) -> None:
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = int((~np.isfinite(values)).sum())
        raise InputError(f"{name} holds {bad} values that are not finite numbers; mend them first.")
    if low < 0 or high > 1:
        raise InputError(
            f"{name} holds values from {low:.9g} to {high:.9g}; floats must lie between 0 and 1."
        )


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


def _damaged(name: str, error: Exception) -> InputError:
    return InputError(f"{name} is damaged: {_reason(error)}.")


def _reason(error: Exception) -> str:
    """What a decoder said, to end a sentence with."""
    words = (str(error) or type(error).__name__).strip().rstrip(".")
    return words[:1].lower() + words[1:] if words[1:2].islower() else words


def _not_a_picture(name: str) -> InputError:
    return InputError(f"{name} is not a picture kinephoto can read; it reads {READS}.")
