"""Where the parts of each photo lie in WebDataset shards: the tar files' headers, read once."""

from __future__ import annotations

import glob
import json
import re
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from enum import IntEnum
from pathlib import Path, PurePosixPath
from tarfile import TarInfo
from typing import BinaryIO

import numpy as np

from kinephoto.errors import InputError
from kinephoto.tar_members import tar_members

INDEX = "index.json"
"""Lists the shards beside it."""

_BRACES = re.compile(r"\{([^{}]*)\}")
_ENDED = re.compile(r"-(\w+)$")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")

MOST_NOTES_BYTES = 65536


def is_shards(photos: Path) -> bool:
    """Whether ``--photos`` names tar files, such as ``shards-{000..127}.tar``, or the index of some."""
    return photos.suffix == ".tar" or photos.name == INDEX


class Part(IntEnum):
    """What there is of a photo."""

    PICTURE, LABEL, TEXT, OBJECTS = range(4)


ENDINGS = {
    **dict.fromkeys(("jpg", "jpeg", "png", "webp", "avif"), Part.PICTURE),
    **dict.fromkeys(("disparity.png", "disparity.avif", "disparity.webp"), Part.LABEL),
    "txt": Part.TEXT,
    "objects.png": Part.OBJECTS,
}
"""What stands after the first dot of a file's name in a shard, in small letters."""


class TarPlaces:
    """All photos of some shards: their names, and where to read what.

    Args:
        files: the shards.

    Attributes:
        files: as given.
        names: of the photos, in the order of the shards; with the shard's before it where another has the same.

    Raises:
        InputError: a shard isn't there, or is no tar file that can be read to its end.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(files)
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._originals: dict[int, str] = {}  # where it isn't what `_guessed` makes of the key
        self._firsts: list[int] = []
        self._places = array("q")  # offset and size of each part, -1 where there is none
        for file in self.files:
            self._firsts.append(len(self.names))
            if not file.is_file():
                raise InputError(f"There is no shard {file}.")
            try:
                self._scan(file)
            except (OSError, tarfile.TarError, EOFError) as error:
                raise InputError(f"{file} is not a tar file that can be read to its end ({error}).") from None

    def number_of(self, name: str) -> int:
        """A photo's number by its name.

        Raises:
            KeyError: there is none of that name.
        """
        return self._numbers[name]

    def original(self, number: int) -> str:
        """A photo's name before it was packed, as `kinephoto pack` notes it in the shard; else its name here."""
        return self._originals.get(number, _guessed(self.names[number]))

    def has(self, number: int, part: Part) -> bool:
        """Whether there is this part of a photo."""
        return self._places[8 * number + 2 * part] >= 0

    def read(self, number: int, part: Part) -> bytes | None:
        """The bytes of a part of a photo, None where there is none.

        Raises:
            InputError: the shard can't be read any more.
        """
        offset, size = self._places[8 * number + 2 * part : 8 * number + 2 * part + 2]
        if offset < 0:
            return None
        file = self.files[int(np.searchsorted(self._firsts, number, side="right")) - 1]
        try:
            with file.open("rb") as opened:
                opened.seek(offset)
                content = opened.read(size)
        except OSError as error:
            raise InputError(f"The shard {file} can't be read ({error.strerror}).") from None
        if len(content) < size:
            raise InputError(f"The shard {file} is cut off; {self.names[number]} is not whole.")
        return content

    def in_shards_order(self, shards: Sequence[int] | np.ndarray) -> np.ndarray:
        """The numbers of all photos, shard by shard in that order."""
        ends = [*self._firsts[1:], len(self.names)]
        parts = [np.arange(self._firsts[shard], ends[shard]) for shard in map(int, shards)]
        return np.concatenate(parts) if parts else np.zeros(0, int)

    def _scan(self, file: Path) -> None:
        before = None
        for key, ending, offset, size, noted in _members(file):
            if key != before:
                name = f"{file.stem}/{key}" if key in self._numbers else key
                number = self._numbers[name] = len(self.names)
                self.names.append(name)
                if _guessed(name) != name:
                    self._originals[number] = name
                self._places.extend([-1] * 8)
                before = key
            if noted == _guessed(self.names[-1]):
                self._originals.pop(len(self.names) - 1, None)
            elif noted:
                self._originals[len(self.names) - 1] = noted
            part = ENDINGS.get(ending)
            if part is not None and not self.has(len(self.names) - 1, part):
                at = len(self._places) - 8 + 2 * part
                self._places[at], self._places[at + 1] = offset, size


def _guessed(key: str) -> str:
    """The name from which `kinephoto pack` makes this key, if it has no other dot."""
    return _ENDED.sub(r".\1", key)


def _members(file: Path) -> Iterator[tuple[str, str, int, int, str]]:
    """Key, ending, offset, size and the original name of each file in a shard; "" where none is noted.

    WebDataset parts names at the first dot.
    """
    with file.open("rb") as opened:
        for member in tar_members(opened):
            path = PurePosixPath(member.name)
            stem, _, ending = path.name.partition(".")
            if stem and ending:
                noted = _noted(opened, member) if ending == "json" else ""
                yield str(path.with_name(stem)), ending.lower(), member.offset_data, member.size, noted


def _noted(opened: BinaryIO, member: TarInfo) -> str:
    """The name that a photo's notes give."""
    opened.seek(member.offset_data)
    try:
        name = json.loads(opened.read(min(member.size, MOST_NOTES_BYTES)))["name"]
    except (ValueError, KeyError, TypeError):
        return ""
    return name if isinstance(name, str) else ""


def expanded(urls: Path) -> list[Path]:
    """The shards that a name with {000..127}, {a,b} or a pattern means, or that an ``index.json`` lists.

    Raises:
        InputError: an index that can't be read, or whose shards are not as large as it says; no shard at all.

    Example:
        >>> [str(path) for path in expanded(Path("{a,b}-{09..10}.tar"))]
        ['a-09.tar', 'a-10.tar', 'b-09.tar', 'b-10.tar']
    """
    if urls.name == INDEX:
        return _listed(urls)
    found: list[Path] = []
    for name in _without_braces(str(urls)):
        has_pattern = not Path(name).exists() and any(sign in name for sign in "*?[")
        found += map(Path, sorted(glob.glob(name))) if has_pattern else [Path(name)]
    if not found:
        raise InputError(f"There is no shard {urls}.")
    return found


def _without_braces(name: str) -> list[str]:
    first = _BRACES.search(name)
    if first is None:
        return [name]
    inside = first[1]
    ends = _RANGE.fullmatch(inside)
    if ends:
        low, high = ends.groups()
        words = [str(number).zfill(len(low)) for number in range(int(low), int(high) + 1)]
    else:
        words = inside.split(",")
    rest = _without_braces(name[first.end() :])
    return [name[: first.start()] + word + after for word in words for after in rest]


def _listed(index: Path) -> list[Path]:
    try:
        shards = json.loads(index.read_text(encoding="utf-8"))["shardlist"]
        listed = [(index.parent / shard["url"], shard.get("filesize")) for shard in shards]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index} is not an index of shards that can be read ({error}).") from None
    for file, size in listed:
        if size is not None and file.is_file() and file.stat().st_size != size:
            raise InputError(f"{file} has {file.stat().st_size} bytes, by {index.name} it had {size}.")
    return [file for file, _ in listed]
