"""Where photos come from and outputs go: folders of this machine, or whatever fsspec opens by its URL."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from kinephoto.errors import InputError
from kinephoto.studio.files import HALF_WRITTEN, whole

ANSWER_WITHIN_S = 20.0
"""How long a storage may take for its first answer."""

STAGING = ".kinephoto-batch-"
"""How the folders begin in which outputs are made, before they take their names."""

# Storages of objects have no folders to make; making one there would make a bucket of a slip of the pen.
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
_Value = TypeVar("_Value")


def is_url(path: str) -> bool:
    """Whether it is of the kind s3://bucket/name."""
    return "://" in path


def opened(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path within it.

    Raises:
        InputError: no such kind, or its package is not installed.
    """
    import fsspec

    kind = url.partition("://")[0]
    try:
        return fsspec.core.url_to_fs(url)
    except ImportError:
        package = _PACKAGES.get(kind, f"fsspec's package for {kind}://")
        raise InputError(f"{url} needs {package}: pip install {package}") from None
    except ValueError as error:
        raise InputError(f"{url} can't be opened: {error}.") from None


class Target:
    """The folder into which a batch writes; every file appears in it whole or not at all.

    Args:
        url: a folder, made if need be, or a URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._files: Any = None
        self._made = False
        self._root = os.path.realpath(url)
        if is_url(url):
            self._files, self._root = opened(url)

    @property
    def folder(self) -> Path | None:
        """The folder, if it is one of this machine."""
        return Path(self._root) if self._files is None else None

    def check(self) -> None:
        """Refuse a place that can't be written to, or doesn't answer.

        Raises:
            InputError: that, in one sentence.
        """
        if self._files is None:
            if os.path.isfile(self._root):
                raise InputError(f"{self.url} is a file; -o names the folder into which a batch writes.")
            try:
                self._made = not os.path.exists(self._root)
                Path(self._root).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"The folder {self.url} can't be made: {error.strerror}.") from None
            if not os.access(self._root, os.W_OK | os.X_OK):
                raise InputError(f"The folder {self.url} may not be written to; name another.")
            self._sweep()
            return
        probe = f"{self._root}/.kinephoto-probe"

        def tried() -> None:
            if self.url.partition("://")[0] not in _PACKAGES:
                self._files.makedirs(self._root, exist_ok=True)
            self._files.pipe_file(probe, b"kinephoto")
            self._files.rm_file(probe)

        _within(ANSWER_WITHIN_S, tried, f"{self.url} can't be written to")

    def leave(self) -> None:
        """Take away a folder that ``check`` made, if nothing has been written to it."""
        if self._made and self.folder is not None:
            with suppress(OSError):
                self.folder.rmdir()

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        if self._files is None:
            return (Path(self._root) / name).exists()
        return bool(self._files.exists(f"{self._root}/{name}"))

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None if there is none."""
        if not self.exists(name):
            return None
        if self._files is None:
            return (Path(self._root) / name).read_bytes()
        return bytes(self._files.cat_file(f"{self._root}/{name}"))

    def get(self, name: str, file: Path) -> None:
        """Copy a file, if there is one, to this machine."""
        if self._files is not None and self.exists(name):
            self._files.get_file(f"{self._root}/{name}", str(file))

    @contextmanager
    def here(self, name: str) -> Iterator[Path]:
        """A file as one of this machine; what is fetched for it goes when the block ends."""
        if self._files is None:
            yield Path(self._root) / name
            return
        with tempfile.TemporaryDirectory(prefix="kinephoto-") as folder:
            kept = Path(folder) / PurePosixPath(name).name
            self.get(name, kept)
            yield kept

    def put(self, file: Path, name: str) -> None:
        """Let a finished file appear under that name.

        Raises:
            InputError: the disk is full, or the storage refuses.
        """
        if self._files is None:
            place = Path(self._root) / name
            place.parent.mkdir(parents=True, exist_ok=True)
            with whole(place) as part:
                shutil.copyfile(file, part)
            return
        try:
            self._files.put_file(str(file), f"{self._root}/{name}")
        except Exception as error:  # each storage has its own
            raise InputError(f"{self.url}/{name} can't be written: {first_line(error)}.") from error

    def take(self, folder: Path, names: list[str]) -> None:
        """Let a photo's finished files, which lie in its staging folder, appear under their names."""
        for name in names:
            file = folder / name
            if self._files is None:
                place = Path(self._root) / name
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, place)  # one step: staging is on the same disk
            else:
                self.put(file, name)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """An empty folder for the files of one photo, on the disk of the outputs where that is here."""
        if self._files is not None:
            with tempfile.TemporaryDirectory(prefix="kinephoto-") as folder:
                yield Path(folder)
            return
        home = Path(self._root) / f"{STAGING}{socket.gethostname()}-{os.getpid()}"
        home.mkdir(exist_ok=True)
        try:
            yield home
        finally:
            shutil.rmtree(home, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what drivers and workers of this machine left that were killed outright."""
        for kind in (".json", ".jsonl", ".parquet"):
            for part in Path(self._root).glob(f"{HALF_WRITTEN}{kind}"):
                part.unlink(missing_ok=True)
        before = f"{STAGING}{socket.gethostname()}-"
        for folder in Path(self._root).glob(f"{STAGING}*"):
            number = folder.name.removeprefix(before)
            if number.isdigit() and not _is_alive(int(number)):
                shutil.rmtree(folder, ignore_errors=True)


def _is_alive(process: int) -> bool:
    if os.name != "posix":
        return True  # asking there would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _within(seconds: float, work: Callable[[], _Value], what: str) -> _Value:
    """The work's result, or one sentence if it fails or takes too long."""
    found: list[_Value] = []
    failed: list[Exception] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:  # told below, in the caller's thread
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if found:
        return found[0]
    why = first_line(failed[0]) if failed else f"there is no answer within {seconds:g} s"
    raise InputError(f"{what}: {why}.")


def first_line(error: Exception) -> str:
    """What a storage says of an error, as part of a sentence."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
