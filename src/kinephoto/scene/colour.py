"""A picture's own colours become sRGB: profiles, CMYK, palettes, transparency, more than eight bits."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

# What Pillow's and libheif's decoders raise over broken files; each format has its own habits.
BROKEN: tuple[type[Exception], ...] = (OSError, EOFError, SyntaxError, ValueError, IndexError, KeyError)
BROKEN += (
    TypeError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    AssertionError,
    struct.error,
    zlib.error,
)

_BAD_PROFILE = "the colour profile is broken or of another kind than the picture: it is ignored"


def on_white(values: np.ndarray, premultiplied: bool = False) -> np.ndarray:
    """[H, W, 1 or 3] from [H, W, 1 to 4] floats, of which the second or fourth channel is alpha."""
    values = values if values.ndim == 3 else values[..., None]
    if values.shape[2] in (1, 3):
        return values
    colour, alpha = values[..., :-1], values[..., -1:]
    return (colour if premultiplied else colour * alpha) + (1 - alpha)


def to_srgb(image: Image.Image, profile: bytes | None, notes: list[str]) -> np.ndarray:
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
        except (ImageCms.PyCMSError, *BROKEN):
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


def to_srgb_deep(values: np.ndarray, profile: bytes | None, notes: list[str]) -> np.ndarray:
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
        except (ImageCms.PyCMSError, *BROKEN):
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
