"""The bytes of a batch's inputs, wherever they are: a file, a URL, a member of a tar file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from kinephoto.errors import InputError
from kinephoto.studio.batch_storage import first_line, is_url, opened
from kinephoto.tar_members import tar_members


@contextmanager
def fetched(path: str) -> Iterator[Path]:
    """A file of this machine with the input's bytes; what is fetched for it goes when the block ends.

    Args:
        path: of a file, a URL, or ``tar://NAME::SHARD``, as fsspec writes a member of a tar file.

    Raises:
        InputError: there is no such file, or its storage doesn't give it.
    """
    if not is_url(path):
        if not Path(path).is_file():
            raise InputError(f"There is no photo {path}.")
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="kinephoto-") as folder:
        kept = Path(folder) / PurePosixPath(path.partition("::")[0]).name
        try:
            _fetch(path, kept)
        except FileNotFoundError:
            raise InputError(f"There is no photo {path}.") from None
        except InputError:
            raise
        except Exception as error:  # each storage has its own
            raise InputError(f"{path} can't be fetched: {first_line(error)}.") from error
        yield kept


def _fetch(url: str, target: Path) -> None:
    if url.startswith("tar://") and "::" in url:
        name, _, shard = url.removeprefix("tar://").partition("::")
        target.write_bytes(_member(name, shard))
        return
    files, inside = opened(url)
    files.get_file(inside, str(target))


def _member(name: str, shard: str) -> bytes:
    """A file of a shard; the shard's headers are read once, not again for each of its photos."""
    place = _places(shard, _version(shard)).get(name)
    if place is None:
        raise FileNotFoundError(name)
    offset, size = place
    with opened_shard(shard) as file:
        file.seek(offset)
        content: bytes = file.read(size)
    if len(content) < size:
        raise EOFError(f"{name} is cut off in {shard}")
    return content


def _version(shard: str) -> Any:
    """Something else once the shard is another one."""
    if is_url(shard):
        files, inside = opened(shard)
        return files.ukey(inside)
    stat = Path(shard).stat()
    return stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=4)
def _places(shard: str, version: Any) -> Mapping[str, tuple[int, int]]:
    """Offset and size of each file in a shard, by name; the last of those with one name, as tar has it."""
    with opened_shard(shard) as file:
        return {member.name: (member.offset_data, member.size) for member in tar_members(file)}


@contextmanager
def opened_shard(shard: str) -> Iterator[Any]:
    """A shard, opened for seeking; of a URL, what is read of it is fetched.

    Raises:
        InputError: it isn't there, or can't be read.
    """
    try:
        if is_url(shard):
            files, inside = opened(shard)
            opening = files.open(inside, "rb")
        else:
            opening = open(shard, "rb")  # noqa: SIM115  closed below
    except FileNotFoundError:
        raise InputError(f"There is no shard {shard}.") from None
    except OSError as error:
        raise InputError(f"The shard {shard} can't be read: {error}.") from None
    with opening as file:
        yield file
