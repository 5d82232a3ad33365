"""What kinds of video there are, and what may be asked of each.

Every ``checked_…`` returns what it was given in the form the encoders take, or raises `InputError`.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from kinephoto.errors import InputError
from kinephoto.studio.files import check_suffix

# Suffix -> FFmpeg's name of the container, and the codecs it may hold, the usual one first.
FORMATS: dict[str, tuple[str, tuple[str, ...]]] = {
    ".mp4": ("mp4", ("h264", "av1")),
    ".webm": ("webm", ("vp9", "av1")),
    ".gif": ("gif", ("gif",)),
    ".webp": ("webp", ("webp",)),
    ".mov": ("mov", ("h264",)),
    ".mkv": ("matroska", ("h264", "vp9", "av1")),
}
FOLDER = ("folder", ("png",))
QUALITIES = ("draft", "good", "best")
METADATA_NAMES = ("title", "artist", "comment", "copyright", "description", "date")

FPS_RANGE = (1, 120)
GIF_MOST_FPS = 50  # GIF counts in 1/100 s, and browsers slow down anything shown for less than 2/100
LONGEST_SIDE_PX = 16383  # WebP's limit; those of the other codecs are no lower
MOST_PLAYS = 65535  # 16 bits in GIF and WebP


@dataclass(frozen=True)
class Codec:
    """How one codec is asked to work.

    Attributes:
        encoder: FFmpeg's name of the encoder.
        pixels: FFmpeg's name of the pixel format that it is fed.
        quality_option: the encoder's option that the quality goes into, or None.
        quality: the value for "draft", "good" and "best"; steps look alike from codec to codec.
        quality_range: the least and the largest value the option takes.
        options: the encoder's other options.
        even: True when sides must be even (4:2:0 colour, no cropping finer than two pixels).
    """

    encoder: str
    pixels: str
    quality_option: str | None = None
    quality: Mapping[str, int] = field(default_factory=dict)
    quality_range: tuple[int, int] = (0, 0)
    options: Mapping[str, str] = field(default_factory=dict)
    even: bool = False


@dataclass(frozen=True)
class Packing:
    """How two eyes share a picture, as a film's file says it to players.

    Attributes:
        matroska: FFmpeg's name of a Matroska StereoMode; WebM has those that MP4 has, too.
        mp4: stereo_mode of the box st3d (spherical-video-v2-rfc: 1 top and bottom, 2 left and right, 4 right and
            left); None where there is no number for it.
        squeezed: True where each eye has half its width or height; Matroska tells its shape.
        full_chroma: True where colour must be stored for every pixel, since it tells the eyes apart.
    """

    matroska: str
    mp4: int | None = None
    squeezed: bool = False
    full_chroma: bool = False


# Speed settings chosen by `benchmarks/encoders.py`: frames per second and bytes at equal PSNR.
CODECS = {
    "h264": Codec(
        "libx264",
        "yuv420p",
        "crf",
        {"draft": 24, "good": 17, "best": 11},
        (0, 51),
        # Swscale averages chroma in the middle of each 2 x 2 block; say so.
        {"preset": "veryfast", "chroma_sample_location": "center"},
        even=True,
    ),
    "vp9": Codec(
        "libvpx-vp9",
        "yuv420p",
        "crf",
        {"draft": 34, "good": 24, "best": 12},
        (0, 63),
        {"b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"},
    ),
    "av1": Codec(
        "libsvtav1", "yuv420p", "crf", {"draft": 40, "good": 28, "best": 16}, (1, 63), {"preset": "9"}
    ),
    "webp": Codec(
        "libwebp_anim",
        "bgra",
        "quality",
        {"draft": 60, "good": 85, "best": 95},
        (0, 100),
        {"compression_level": "2"},
    ),
    "gif": Codec("gif", "pal8"),
    "png": Codec("png", "rgb24"),
}


# What makes each codec keep the colour of every pixel; SVT-AV1 can't.
_FULL_CHROMA: dict[str, tuple[str, dict[str, str]]] = {
    "h264": ("yuv444p", {"preset": "veryfast"}),
    "vp9": ("yuv444p", dict(CODECS["vp9"].options)),
    "webp": ("bgra", {"lossless": "1", "compression_level": "2"}),
    "gif": ("pal8", {}),
    "png": ("rgb24", {}),
}


def with_full_chroma(codec: str) -> Codec:
    """The codec, keeping the colour of every pixel.

    Raises:
        InputError: its encoder can't.
    """
    if codec not in _FULL_CHROMA:
        raise InputError(
            f"An anaglyph needs the colour of every pixel, which the {codec} encoder doesn't keep; use h264 or vp9."
        )
    pixels, options = _FULL_CHROMA[codec]
    return replace(CODECS[codec], pixels=pixels, options=options)


def format_of(target: str | Path) -> tuple[str, tuple[str, ...]]:
    """The entry of `FORMATS`, or `FOLDER` for an existing folder or a name that ends with a slash.

    Raises:
        InputError: a suffix kinephoto doesn't write, none, or "-".
    """
    if str(target).endswith(("/", os.sep)) or Path(target).is_dir():
        return FOLDER
    folder = 'a folder of PNG pictures (a name that ends with "/")'
    return FORMATS[check_suffix(target, FORMATS, "video", also=folder)]


def is_frame_name(name: str) -> bool:
    """Whether a file of a folder of PNG pictures is one of ours, by its name."""
    return re.fullmatch(r"frame_\d{5,}\.png", name) is not None


def frame_rate(fps: float | Fraction) -> Fraction:
    """Frames per second as a ratio of small numbers; 23.976, 29.97 and 59.94 mean n * 1000 / 1001.

    Raises:
        InputError: not a number from 1 to 120.

    Example:
        >>> frame_rate(29.97), frame_rate(12.5)
        (Fraction(30000, 1001), Fraction(25, 2))
    """
    least, most = FPS_RANGE
    if not (isinstance(fps, (int, float, Fraction)) and math.isfinite(fps) and least <= fps <= most):
        raise InputError(f"Frames per second go from {least} to {most}; got {fps}.")
    if isinstance(fps, Fraction):
        return fps.limit_denominator(1001)
    broadcast = Fraction(round(fps) * 1000, 1001)
    # Those rates are written with two or three decimals.
    written_so = fps != round(fps) and abs(float(broadcast) - fps) < 1e-3
    return broadcast if written_so else Fraction(fps).limit_denominator(1001)


def checked_codec(codec: str | None, codecs: tuple[str, ...], target: str | Path) -> str:
    """The codec asked for, else the target's usual one."""
    if codec is None:
        return codecs[0]
    if codec not in codecs:
        raise InputError(f"kinephoto writes {' or '.join(codecs)} into {target}, not {codec}.")
    return codec


def checked_quality(quality: str | int, codec: str) -> int:
    """The value for the codec's quality option; 0 where it has none."""
    least, most = CODECS[codec].quality_range
    if isinstance(quality, str):
        if quality not in QUALITIES:
            own = f" from {least} to {most} for {codec}" if CODECS[codec].quality else ""
            raise InputError(f"The quality is {', '.join(QUALITIES)} or a number{own}; got {quality!r}.")
        return CODECS[codec].quality.get(quality, 0)
    if not CODECS[codec].quality:
        raise InputError(f"{codec} has no quality to set as a number; got {quality}.")
    if not least <= quality <= most:
        raise InputError(f"The quality of {codec} goes from {least} to {most}; got {quality}.")
    return quality


def checked_loop_count(loop_count: int) -> int:
    """How often a GIF or WebP plays; 0 is for ever."""
    if not 0 <= loop_count <= MOST_PLAYS:
        raise InputError(f"A GIF or WebP plays 0 (for ever) to {MOST_PLAYS} times; got {loop_count}.")
    return loop_count


def checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """The texts, when a video has a place for each."""
    for name in metadata:
        if name not in METADATA_NAMES:
            raise InputError(f"A video has no place for {name!r}; it takes {', '.join(METADATA_NAMES)}.")
    return dict(metadata)
