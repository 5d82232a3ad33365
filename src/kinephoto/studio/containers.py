"""Where each kind of file keeps an XMP packet, and Matroska, which has only tags, its texts.

Places: ISO 16684-3 (XMP in files). None of this touches a picture: an mp4 gets one more box behind its
last, so that no offset in it changes; a GIF an application extension before its end; a WebP one more chunk;
a PNG an iTXt chunk behind its header; a JPEG a segment behind its first. Nothing is held in memory but the packet.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from kinephoto.studio.xmp import MOST_BYTES

XMP_BOX = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")
"""The type of the uuid box that holds XMP in ISO base media files."""

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_KEY = b"XML:com.adobe.xmp\0\0\0\0\0"  # keyword, not compressed, no language, no translation
_JPEG_KEY = b"http://ns.adobe.com/xap/1.0/\0"
_GIF_KEY = b"\x21\xff\x0bXMP DataXMP"
# Read as GIF's length-prefixed blocks, the packet and these bytes end at the last: whatever byte of the packet
# a reader takes for a length, it comes down in this ramp and slides to the end.
_GIF_END = b"\x01" + bytes(range(0xFF, -1, -1)) + b"\0"
_WEBP_HAS_ALPHA = 0x10
_WEBP_HAS_XMP = 0x04  # in the first byte of VP8X
_SEARCHED_BYTES = 1 << 20  # Matroska's tags come before its first frame


def put_xmp(path: Path, packet: bytes) -> bool:
    """Add a packet to a finished file that has none yet.

    Args:
        path: its suffix says which kind it is.
        packet: from `kinephoto.studio.xmp`.

    Returns:
        Whether this kind of file has a place for it.
    """
    put = _PUT.get(path.suffix.lower())
    if put is not None:
        put(path, packet)
    return put is not None


def xmp_in(path: Path) -> bytes | None:
    """The packet in a file of any of these kinds, told by its first bytes; None if there is none.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(12)
        file.seek(0)
        if start.startswith(_PNG_START):
            return _from_png(file)
        if start.startswith(b"\xff\xd8"):
            return _from_jpeg(file)
        if start.startswith(b"GIF8"):
            return _from_gif(file)
        if start[:4] == b"RIFF" and start[8:] == b"WEBP":
            return _from_webp(file)
        return _from_boxes(file) if start[4:8] == b"ftyp" else None


def replace_text(path: Path, before: str, after: str) -> None:
    """Replace a tag's text near the beginning of a Matroska file by another one, padded to the same length.

    Args:
        path: written without checksums.
        before: as it was written, long enough to be found only once.
        after: not longer.
    """
    old, new = before.encode(), after.encode()
    new = new.ljust(len(old))
    with path.open("r+b") as file:
        at = file.read(_SEARCHED_BYTES).find(old)
        assert at >= 0 and len(new) == len(old)  # the encoder has just written it
        file.seek(at)
        file.write(new)


def _to_boxes(path: Path, packet: bytes) -> None:
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 24 + len(packet), b"uuid") + XMP_BOX + packet)


def _from_boxes(file: BinaryIO) -> bytes | None:
    """Box by box, ISO/IEC 14496-12, 4.2: length 1 means 64 bits follow, 0 to the file's end."""
    end, at = file.seek(0, os.SEEK_END), 0
    while at + 8 <= end:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        header = 8
        if length == 1:
            long = file.read(8)
            length, header = (int.from_bytes(long, "big"), 16) if len(long) == 8 else (0, 8)
        length = length or end - at
        if length < header:
            return None
        if kind == b"uuid" and file.read(16) == XMP_BOX:
            return _limited(file, length - header - 16)
        at += length
    return None


def _to_gif(path: Path, packet: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        assert file.read(1) == b";"  # GIF's trailer
        file.seek(-1, os.SEEK_END)
        file.write(_GIF_KEY + packet + _GIF_END + b";")


def _from_gif(file: BinaryIO) -> bytes | None:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        begin = data.rfind(_GIF_KEY)
        end = data.find(_GIF_END, begin, begin + MOST_BYTES) if begin >= 0 else -1
        return data[begin + len(_GIF_KEY) : end] if end >= 0 else None


def _to_webp(path: Path, packet: bytes) -> None:
    """The file begins with VP8X, whose first byte says what else there is; a still picture may lack it."""
    _extend_webp(path)
    with path.open("r+b") as file:
        start = file.read(21)
        file.seek(20)
        file.write(bytes([start[20] | _WEBP_HAS_XMP]))
        file.seek(0, os.SEEK_END)
        file.write(struct.pack("<4sI", b"XMP ", len(packet)) + packet + b"\0" * (len(packet) % 2))
        length = file.tell() - 8
        file.seek(4)
        file.write(struct.pack("<I", length))


def _extend_webp(path: Path) -> None:
    """Put VP8X in front where it is missing: an encoder makes a plain still of an animation that stands still."""
    from PIL import Image

    with path.open("rb") as file:
        if file.read(16)[12:] == b"VP8X":
            return
    content = path.read_bytes()
    with Image.open(path) as picture:
        (width, height), alpha = picture.size, _WEBP_HAS_ALPHA * (picture.mode == "RGBA")
    canvas = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
    body = b"WEBP" + struct.pack("<4sI4B", b"VP8X", 10, alpha, 0, 0, 0) + canvas + content[12:]
    path.write_bytes(struct.pack("<4sI", b"RIFF", len(body)) + body)


def _from_webp(file: BinaryIO) -> bytes | None:
    file.seek(12)
    while len(header := file.read(8)) == 8:
        kind, length = struct.unpack("<4sI", header)
        if kind == b"XMP ":
            return _limited(file, length)
        file.seek(length + length % 2, os.SEEK_CUR)
    return None


def _to_png(path: Path, packet: bytes) -> None:
    body = b"iTXt" + _PNG_KEY + packet
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    _insert(path, 33, chunk)  # behind the signature and IHDR, which must come first


def _from_png(file: BinaryIO) -> bytes | None:
    file.seek(8)
    while len(header := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        if kind == b"iTXt" and file.read(min(length, len(_PNG_KEY))) == _PNG_KEY:
            return _limited(file, length - len(_PNG_KEY))
        if kind == b"iTXt":
            length -= min(length, len(_PNG_KEY))
        file.seek(length + 4, os.SEEK_CUR)
    return None


def _to_jpeg(path: Path, packet: bytes) -> None:
    """Behind APP0, which JFIF wants first."""
    body = _JPEG_KEY + packet
    with path.open("rb") as file:
        start = file.read(6)
    place = 4 + int.from_bytes(start[4:], "big") if start[2:4] == b"\xff\xe0" else 2
    _insert(path, place, b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body)


def _from_jpeg(file: BinaryIO) -> bytes | None:
    file.seek(2)
    for kind, length in _jpeg_segments(file):
        body_at = file.tell()
        if kind == 0xE1 and file.read(min(length, len(_JPEG_KEY))) == _JPEG_KEY:
            return file.read(length - len(_JPEG_KEY))
        file.seek(body_at + length)
    return None


def _jpeg_segments(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Kind and length of each segment before the pictures' data; the file stands at its body."""
    while len(header := file.read(4)) == 4 and header[0] == 0xFF and header[1] != 0xDA:
        yield header[1], max(0, int.from_bytes(header[2:], "big") - 2)


def _insert(path: Path, place: int, chunk: bytes) -> None:
    """Write the file anew, with a chunk more."""
    beside = path.with_name(path.name + ".xmp")
    try:
        with path.open("rb") as source, beside.open("wb") as target:
            target.write(source.read(place) + chunk)
            shutil.copyfileobj(source, target)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _limited(file: BinaryIO, length: int) -> bytes | None:
    return file.read(length) if 0 <= length <= MOST_BYTES else None


_PUT: dict[str, Callable[[Path, bytes], None]] = {
    **dict.fromkeys((".mp4", ".mov"), _to_boxes),
    ".gif": _to_gif,
    ".webp": _to_webp,
    ".png": _to_png,
    **dict.fromkeys((".jpg", ".jpeg"), _to_jpeg),
}
