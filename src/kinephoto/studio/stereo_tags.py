"""How a finished file says that two eyes share its pictures, where PyAV has no way to ask FFmpeg for it.

MP4 and MOV get the box st3d (Google, Spherical Video V2 RFC; boxes: ISO/IEC 14496-12, section 4.2). In
Matroska and WebM FFmpeg writes StereoMode itself; only the shape of squeezed eyes is mended there
(RFC 9559, section 5.1.4.1.28; elements: RFC 8794, section 6).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from kinephoto.errors import InputError
from kinephoto.studio.formats import Packing

ST3D_BYTES = 13
_HEAD = struct.Struct(">I4s")
_FULL_BOX = 4  # version and flags
_SAMPLE_ENTRY = _HEAD.size + 78  # fields of a VisualSampleEntry before its boxes
_BLOCK = 1 << 20
_AFTER_ST3D = {b"pasp", b"clap"}
_TO_SAMPLES = (b"trak", b"mdia", b"minf", b"stbl")

_SEGMENT, _TRACKS, _TRACK, _VIDEO, _CLUSTER = 0x18538067, 0x1654AE6B, 0xAE, 0xE0, 0x1F43B675
_DISPLAY_WIDTH, _DISPLAY_HEIGHT = 0x54B0, 0x54BA
_LONGEST_INDEX = 1 << 16  # a Matroska file's tracks come first


def tag(path: Path, container: str, packing: Packing) -> None:
    """Put into a finished file what FFmpeg has not written of the packing.

    Args:
        path: the file.
        container: FFmpeg's name of its format.
        packing: how two eyes share each picture.
    """
    if container in ("mp4", "mov") and packing.mp4 is not None:
        insert_st3d(path, packing.mp4)
    if container in ("matroska", "webm") and packing.squeezed:
        restore_shape(path, _DISPLAY_HEIGHT if packing.matroska == "left_right" else _DISPLAY_WIDTH)


def insert_st3d(path: Path, stereo_mode: int) -> None:
    """Put the box into the first video track of a finished MP4 or MOV, in place.

    Memory doesn't grow with the file; pictures after the index move by ``ST3D_BYTES``.

    Args:
        path: a file as FFmpeg writes it: one ``moov``, each box shorter than 4 GiB but for ``mdat``.
        stereo_mode: 0 mono, 1 top and bottom, 2 left and right, 4 right and left.

    Raises:
        InputError: a picture would lie past what its index can count.
    """
    box = _HEAD.pack(ST3D_BYTES, b"st3d") + bytes(_FULL_BOX) + bytes([stereo_mode])
    with path.open("r+b") as file:
        begin, index = _moov(file)
        parents, place = _sample_entry(index)
        for table in _chunk_tables(index):
            _shift(index, table, after=begin + place, path=path)
        for parent in parents:
            _add(index, parent, ST3D_BYTES)
        index[place:place] = box
        _make_room(file, begin + len(index) - ST3D_BYTES)
        file.seek(begin)
        file.write(index)


def _moov(file: BinaryIO) -> tuple[int, bytearray]:
    """Where the index begins in the file, and the index."""
    at = 0
    while head := file.read(_HEAD.size):
        length, kind = _HEAD.unpack(head)
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
        if kind == b"moov":
            file.seek(at)
            return at, bytearray(file.read(length))
        at += length
        file.seek(at)
    raise AssertionError("FFmpeg writes no MP4 without moov")


def _boxes(data: bytearray, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of each box in a stretch of bytes."""
    while begin + _HEAD.size <= end:
        length, kind = _HEAD.unpack_from(data, begin)
        yield kind, begin, begin + length
        begin += length


def _inside(
    data: bytearray, box: tuple[int, int], kinds: tuple[bytes, ...]
) -> Iterator[list[tuple[int, int]]]:
    """Every chain of boxes of these kinds, each inside the one before it."""
    if not kinds:
        yield []
        return
    for kind, begin, end in _boxes(data, box[0] + _HEAD.size, box[1]):
        if kind == kinds[0]:
            for rest in _inside(data, (begin, end), kinds[1:]):
                yield [(begin, end), *rest]


def _sample_entry(index: bytearray) -> tuple[list[int], int]:
    """Where the boxes begin that hold the new one, and where that goes: after what is mandatory."""
    (chain, *_) = _inside(index, (0, len(index)), (*_TO_SAMPLES, b"stsd"))
    entry = chain[-1][0] + _HEAD.size + _FULL_BOX + 4
    end = entry + _HEAD.unpack_from(index, entry)[0]
    later = [begin for kind, begin, _ in _boxes(index, entry + _SAMPLE_ENTRY, end) if kind in _AFTER_ST3D]
    return [0, *(begin for begin, _ in chain), entry], min(later, default=end)


def _chunk_tables(index: bytearray) -> Iterator[tuple[int, struct.Struct]]:
    """Where each table of chunk offsets begins, and how it writes one."""
    for kind, number in ((b"stco", struct.Struct(">I")), (b"co64", struct.Struct(">Q"))):
        for chain in _inside(index, (0, len(index)), (*_TO_SAMPLES, kind)):
            yield chain[-1][0], number


def _shift(index: bytearray, table: tuple[int, struct.Struct], after: int, path: Path) -> None:
    """Move the offsets that lie behind the new box."""
    begin, number = table
    first = begin + _HEAD.size + _FULL_BOX + 4
    (count,) = struct.unpack_from(">I", index, first - 4)
    for at in range(first, first + count * number.size, number.size):
        (offset,) = number.unpack_from(index, at)
        moved = offset + ST3D_BYTES * (offset > after)
        if moved >= 1 << 8 * number.size:
            raise InputError(f"{path.name} is too long for an MP4's stereo tag; write it as .mkv.")
        number.pack_into(index, at, moved)


def _add(index: bytearray, begin: int, count: int) -> None:
    (length,) = struct.unpack_from(">I", index, begin)
    struct.pack_into(">I", index, begin, length + count)


def _make_room(file: BinaryIO, begin: int) -> None:
    """Move everything from there on by ``ST3D_BYTES``, the last block first."""
    end = file.seek(0, 2)
    while end > begin:
        first = max(begin, end - _BLOCK)
        file.seek(first)
        block = file.read(end - first)
        file.seek(first + ST3D_BYTES)
        file.write(block)
        end = first


def restore_shape(path: Path, element: int) -> None:
    """Halve DisplayWidth or DisplayHeight, in place.

    FFmpeg takes every eye for unsqueezed: of two eyes side by side it gives the picture's half width as the
    width to show one at. With the height halved as well, the eye has its own shape again.
    """
    with path.open("r+b") as file:
        data = file.read(_LONGEST_INDEX)
        begin, end = _element(data, element)
        value = int.from_bytes(data[begin:end], "big") // 2
        file.seek(begin)
        file.write(value.to_bytes(end - begin, "big"))


def _element(data: bytes, wanted: int) -> tuple[int, int]:
    """Where the content of an element of the video track begins and ends."""
    at = 0
    while at < len(data):
        name, at = _number(data, at, whole=True)
        length, at = _number(data, at, whole=False)
        if name == wanted:
            return at, at + length
        if name == _CLUSTER:
            break
        if name not in (_SEGMENT, _TRACKS, _TRACK, _VIDEO):
            at += length
    raise AssertionError("FFmpeg writes both for a stereo track")


def _number(data: bytes, at: int, whole: bool) -> tuple[int, int]:
    """An EBML number and where it ends; ``whole`` keeps the bit that tells its length, as names do."""
    count = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + count], "big")
    return value if whole else value & ((1 << 7 * count) - 1), at + count
