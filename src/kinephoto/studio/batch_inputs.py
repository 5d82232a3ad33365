"""Which photos a batch takes: files, folders, patterns, manifests and shards become rows, one after the other."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from kinephoto.errors import InputError
from kinephoto.studio.batch_fetch import fetched, opened_shard
from kinephoto.studio.batch_storage import is_url, opened

PHOTO_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".webp",
    ".avif",
    ".heic",
    ".heif",
    ".tif",
    ".tiff",
    ".bmp",
    ".gif",
)
MANIFEST_SUFFIXES = (".txt", ".csv", ".jsonl")
SHARD_SUFFIX = ".tar"
COLUMNS = ("path", "output", "prompt", "seed", "settings")
"""Of a manifest; only ``path`` must be there."""

_PATTERN = frozenset("*?[")


@dataclass(frozen=True)
class Row:
    """One photo of a batch.

    Attributes:
        path: a file, or a URL.
        output: the output's name within the folder of outputs, "/" between its parts, without an ending.
        settings: what is set for this photo alone.
        where: the place in a manifest that says so, such as "photos.csv, line 3", for messages.
    """

    path: str
    output: str
    settings: dict[str, Any] = field(default_factory=dict)
    where: str = field(default="", compare=False)


def rows_of(inputs: Sequence[str], recursive: bool = False) -> Iterator[Row]:
    """The rows of all inputs, in their order; folders by name.

    What is named itself must be there. A missing file in a manifest is found when its turn comes, and is then
    one failure, not the end of the batch.

    Args:
        inputs: photos, folders, patterns such as "holiday/*.jpg", manifests, WebDataset shards; or URLs of such.
        recursive: whether folders of folders are looked into; outputs keep their places.

    Raises:
        InputError: an input that isn't there or can't be read, or one without photos.
    """
    for each in inputs:
        count = 0
        for row in _rows_of(each, recursive):
            count += 1
            yield row
        if not count:
            is_folder = not recursive and os.path.isdir(each)
            hint = " (--recursive looks into folders of folders)" if is_folder else ""
            raise InputError(f"{each} holds no photos{hint}.")


def _rows_of(source: str, recursive: bool) -> Iterator[Row]:
    if PurePosixPath(source).suffix.lower() in MANIFEST_SUFFIXES:
        yield from _from_manifest(source)
    elif source.lower().endswith(SHARD_SUFFIX) and not os.path.isdir(source):
        for shard in _shards_of(source):
            yield from _from_shard(shard)
    elif is_url(source):
        yield from _from_url(source, recursive)
    elif os.path.isdir(source):
        yield from _from_folder(source, recursive)
    elif os.path.exists(source):
        yield Row(source, Path(source).stem)
    elif _PATTERN & set(source):
        import glob

        matches = sorted(glob.glob(source, recursive=recursive))
        yield from (
            Row(path, Path(path).stem) for path in matches if _is_photo(path) and os.path.isfile(path)
        )
    else:
        raise InputError(f"There is no photo, folder or manifest {source}.")


def _from_folder(folder: str, recursive: bool) -> Iterator[Row]:
    """The folder's photos without hidden files and depth maps; only one folder's names are held at a time."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if recursive else []
        for name in sorted(filter(_is_photo, names)):
            path = os.path.join(place, name)
            yield Row(path, Path(path).relative_to(folder).with_suffix("").as_posix())


def _from_url(url: str, recursive: bool) -> Iterator[Row]:
    files, inside = opened(url)
    kind = url.partition("://")[0]
    with _looking_into(url):
        if _PATTERN & set(inside):
            names, root = sorted(files.glob(inside)), ""
        elif files.isfile(inside):
            yield Row(url, PurePosixPath(inside).stem)
            return
        elif files.isdir(inside):
            names, root = sorted(files.find(inside, maxdepth=None if recursive else 1)), inside
        else:
            raise InputError(f"There is no photo, folder or manifest {url}.")
    for name in filter(_is_photo, names):
        own = name.removeprefix(root).lstrip("/") if root else PurePosixPath(name).name
        yield Row(f"{kind}://{name.lstrip('/')}", str(PurePosixPath(own).with_suffix("")))


def _shards_of(source: str) -> list[str]:
    """The shards that a pattern means, or the one that it names."""
    if not _PATTERN & set(source) or os.path.exists(source):
        return [source]
    if not is_url(source):
        import glob

        return sorted(glob.glob(source))
    files, inside = opened(source)
    kind = source.partition("://")[0]
    with _looking_into(source):
        return [f"{kind}://{name.lstrip('/')}" for name in sorted(files.glob(inside))]


@contextmanager
def _looking_into(url: str) -> Iterator[None]:
    """What a storage says is told in one sentence."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # each storage has its own
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{url} can't be looked into: {said.rstrip('.')}.") from error


def _from_shard(shard: str) -> Iterator[Row]:
    """The photos of a WebDataset shard, ``NAME.jpg`` or the like, not its labels; each is read when its turn comes.

    Outputs lie in a folder of the shard's name. Only the tar file's headers are read here, one at a time.
    """
    from tarfile import TarError

    from kinephoto.tar_members import tar_members

    home = PurePosixPath(shard.replace(os.sep, "/")).stem
    place = shard if is_url(shard) else os.path.abspath(shard)
    try:
        with opened_shard(shard) as file:
            for member in tar_members(file):
                path = PurePosixPath(member.name)
                stem, dot, ending = path.name.partition(".")
                if not stem or f"{dot}{ending}".lower() not in PHOTO_SUFFIXES:
                    continue
                if path.is_absolute() or ".." in path.parts:
                    raise InputError(f"{shard} has a file {member.name}, which would lie outside of it.")
                yield Row(f"tar://{member.name}::{place}", f"{home}/{path.with_name(stem)}")
    except (TarError, EOFError):
        raise InputError(f"{shard} is not a tar file that can be read to its end.") from None


def _is_photo(path: str) -> bool:
    name = PurePosixPath(path)
    hidden, depth = name.name.startswith("."), name.stem.endswith("_depth")
    return name.suffix.lower() in PHOTO_SUFFIXES and not hidden and not depth


def _from_manifest(source: str) -> Iterator[Row]:
    """The manifest's rows; its relative paths begin in its own folder."""
    suffix = PurePosixPath(source).suffix.lower()
    home = source.rpartition("/")[0] if is_url(source) else str(Path(source).parent)
    try:
        with fetched(source) as file, file.open(encoding="utf-8-sig", newline="") as text:
            reader = {".txt": _of_text, ".csv": _of_csv, ".jsonl": _of_jsonl}[suffix]
            for number, cells in reader(text, source):
                yield _row(cells, home, f"{PurePosixPath(source).name}, line {number}")
    except UnicodeDecodeError:
        raise InputError(f"The manifest {source} is not UTF-8 text.") from None
    except InputError as error:
        if str(error).startswith("There is no photo "):
            raise InputError(f"There is no manifest {source}.") from None
        raise


def _of_text(text: io.TextIOBase, source: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text, 1):
        if line.strip() and not line.startswith("#"):
            yield number, {"path": line.strip()}


def _of_csv(text: io.TextIOBase, source: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(text)
    try:
        _check_columns(reader.fieldnames or (), source)
        for cells in reader:
            if None in cells or None in cells.values():
                raise InputError(
                    f"{source}, line {reader.line_num} has not as many cells as there are columns."
                )
            yield reader.line_num, {name: value for name, value in cells.items() if value != ""}
    except csv.Error as error:
        raise InputError(f"{source}, line {reader.line_num + 1} can't be read: {error}.") from None


def _of_jsonl(text: io.TextIOBase, source: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{source}, line {number} is not JSON: {_why(error)}.") from None
        if not isinstance(cells, dict):
            raise InputError(f'{source}, line {number} must be an object, such as {{"path": "beach.jpg"}}.')
        _check_columns([*cells, *(() if "path" in cells else ("",))], f"{source}, line {number}")
        yield number, {name: value for name, value in cells.items() if value is not None}


def _check_columns(names: Sequence[str], where: str) -> None:
    unknown = [name for name in names if name and name not in COLUMNS]
    if unknown:
        raise InputError(f"{where} has the column {unknown[0]!r}; the columns are {', '.join(COLUMNS)}.")
    if "path" not in names:
        raise InputError(f"{where} has no column path, which says where the photo is.")


def _row(cells: Mapping[str, Any], home: str, where: str) -> Row:
    path = cells.get("path")
    if not isinstance(path, str) or not path:
        raise InputError(f"{where} names no path.")
    if not is_url(path) and not os.path.isabs(path):
        path = f"{home}/{path}" if is_url(home) else os.path.join(home, path)
    output = str(cells.get("output") or PurePosixPath(path.replace(os.sep, "/")).with_suffix("").name)
    parts = PurePosixPath(output.replace("\\", "/")).parts
    if not parts or output.startswith(("/", ".")) or ".." in parts or ":" in parts[0]:
        raise InputError(
            f"{where} names the output {output!r}; it must be a name within the folder of outputs."
        )
    return Row(path, output, _own_settings(cells, where), where)


def _own_settings(cells: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What the row sets: its column ``settings``, an object, and prompt and seed on top."""
    found = cells.get("settings", {})
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where} has settings that are not JSON: {_why(error)}.") from None
    if not isinstance(found, dict):
        raise InputError(f'{where} has settings that are not an object, such as {{"path": "circle"}}.')
    own = dict(found)
    if "prompt" in cells:
        own["prompt"] = str(cells["prompt"])
    if "seed" in cells:
        seed = str(cells["seed"])
        if not seed.isdecimal() or not seed.isascii():
            raise InputError(f"{where} has the seed {cells['seed']!r}; it must be a whole number.")
        own["seed"] = int(seed)
    return own


def _why(error: Exception) -> str:
    """What is wrong with JSON, as part of a sentence."""
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)
