"""Files that appear whole or not at all.

What is written goes to a hidden name beside the target and takes the target's name at the very end, in
one step. Whatever happens before that step (an error, Ctrl-C, a closed generator, a full disk) removes
the hidden file and leaves the target as it was, the older file of that name included. Only a process
killed outright (SIGKILL, a power cut) leaves a ``.kinephoto-….part`` behind; the target is still untouched.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from kinephoto.errors import InputError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def check_suffix(target: str | Path, known: Iterable[str], what: str, *, also: str = "") -> str:
    """The target's suffix in small letters, one of ``known``.

    Args:
        target: the file to be written.
        known: the suffixes that can be written, in the order in which the message lists them.
        what: what is to be written, such as "video", for the message.
        also: another way to write it, for the end of the list in the message.

    Raises:
        InputError: another suffix, none, or "-" for the standard output.
    """
    known = list(known)
    ways = [*known, also] if also else known
    if str(target) == "-":
        raise InputError(f"A {what} cannot go to standard output (-); name a file that ends in {known[0]}.")
    suffix = Path(target).suffix.lower()
    if suffix not in known:
        found = f"ends in {suffix}" if suffix else "has no suffix"
        raise InputError(f"{target} {found}; kinephoto writes a {what} as {_listed(ways)}.")
    return suffix


def check_file(target: str | Path, *, overwrite: bool = True) -> Path:
    """The file's real place (symbolic links followed), when a file can be written there.

    Cheap, so that a command can ask before the work starts.

    Raises:
        InputError: the folder is missing or may not be written to, the target is a folder, a device or
            write-protected, its name is too long, or it exists and ``overwrite`` is False.
    """
    with _told(target):
        place = Path(os.path.realpath(target))
        _check_parent(place, target)
        mode = _mode(place)
        if mode is None:
            return place
        if stat.S_ISDIR(mode):
            raise InputError(f"{target} is a folder; the output must be the name of a file.")
        if not stat.S_ISREG(mode):
            raise InputError(f"{target} is not an ordinary file; the output must be one.")
        if not overwrite:
            raise InputError(f"{target} exists already; choose another name or allow overwriting.")
        if not os.access(place, os.W_OK):
            raise InputError(f"{target} is write-protected; choose another name.")
    return place


def check_spared(outputs: Iterable[str | Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Refuse to write over what is read.

    Args:
        outputs: files to be written; None is none.
        inputs: what the user named to be read; words that are no file are no matter.

    Raises:
        InputError: an output is one of the inputs, by whatever name.
    """
    read = [os.path.realpath(place) for place in inputs if place is not None and os.path.isfile(place)]
    for output in outputs:
        if output is None:
            continue
        place = os.path.realpath(output)
        if any(
            place == other or (os.path.exists(place) and os.path.samefile(place, other)) for other in read
        ):
            raise InputError(
                f"{output} is what is read here, and would be lost; give the output another name."
            )


_HEAD_BYTES = 1 << 16
_TEXTS_OURS = {
    **dict.fromkeys((".glb", ".ply", ".html", ".json"), b"kinephoto"),
    **dict.fromkeys((".jpg", ".jpeg"), b'GDepth:Software="kinephoto"'),
}
"""What the beginning of a file holds that kinephoto made, where there is no provenance."""


def can_say_whose(name: str) -> bool:
    """Whether a file of that name, if kinephoto made it, says so; arrays of numbers have no place for it."""
    return not name.lower().endswith((".npy", ".splat.ply"))


def is_ours(file: str | Path) -> bool:
    """Whether an existing file says that kinephoto made it."""
    from kinephoto.studio.provenance import read_provenance

    place = Path(file)
    text = _TEXTS_OURS.get(place.suffix.lower())
    try:
        if text is not None:
            with place.open("rb") as begun:
                if text in begun.read(_HEAD_BYTES):
                    return True
        return read_provenance(place).provenance is not None
    except (InputError, OSError):
        return False


def check_ours_or_new(target: str | Path) -> None:
    """Refuse to write over a file that kinephoto didn't make, as where the user has named no output.

    Raises:
        InputError: there is such a file.
    """
    if os.path.lexists(target) and not is_ours(target):
        raise InputError(
            f"{target} is there already and doesn't say that kinephoto made it; name the output with -o."
        )


def check_folder(target: str | Path, ours: Callable[[str], bool], *, overwrite: bool = True) -> Path:
    """The folder's real place, when a folder can be put there without loss of anything of the user's.

    Args:
        target: the folder to be written, made if it does not exist.
        ours: tells by its name whether a file in an existing folder is ours to replace.
        overwrite: whether a folder that holds nothing but our files may be replaced.

    Raises:
        InputError: the place cannot be written to, is a file, or is a folder that holds other things.
    """
    with _told(target):
        place = Path(os.path.realpath(target))
        if not os.path.isdir(place):
            _check_parent(place, target)
            if _mode(place) is None:
                return place
            raise InputError(f"{target} is a file; a folder is to be written there.")
        if not os.access(place, os.W_OK | os.X_OK):
            raise InputError(f"The folder {target} may not be written to; name another.")
        with os.scandir(place) as entries:
            # What a killed process has left half written, or another is writing now, is in nobody's way.
            found = sorted(
                (entry for entry in entries if not fnmatch(entry.name, HALF_WRITTEN)),
                key=lambda entry: entry.name,
            )
        strange = [entry.name for entry in found if not (ours(entry.name) and entry.is_file())]
        if strange:
            raise InputError(
                f"The folder {target} holds other things ({strange[0]}); choose an empty or a new one."
            )
        if found and not overwrite:
            raise InputError(f"The folder {target} is not empty; choose another or allow overwriting.")
    return place


@contextmanager
def whole(target: str | Path, *, overwrite: bool = True) -> Iterator[Path]:
    """A temporary file beside the target, which becomes the target when the block ends well.

    The file exists, empty, when the block begins. It keeps the target's suffix, and takes over the
    access rights of a file that it replaces.

    Raises:
        InputError: the target cannot be written (see `check_file`), or the disk is full.

    Example:
        >>> import tempfile
        >>> letter = Path(tempfile.mkdtemp()) / "letter.txt"
        >>> with whole(letter) as part:
        ...     _ = part.write_text("all of it")
        >>> letter.read_text()
        'all of it'
    """
    place = check_file(target, overwrite=overwrite)
    part = _beside(place)
    try:
        with _told(target):
            part.touch(exist_ok=False)
        with _told(target, only=_FULL):
            yield part
        with _told(target):
            if place.exists():
                shutil.copymode(place, part)
            os.replace(part, place)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(
    target: str | Path, ours: Callable[[str], bool], *, overwrite: bool = True
) -> Iterator[Path]:
    """A temporary folder that becomes the target when the block ends well.

    A folder that stands there already stays the same one, with its access rights, be it the current one or a
    mount point: its files of ours are exchanged at the very end. See `check_folder` for the arguments and for
    what is refused. A process killed outright just then leaves the older files in a hidden folder within.
    """
    place = check_folder(target, ours, overwrite=overwrite)
    part = _beside((place if place.exists() else place.parent) / "folder")
    try:
        with _told(target):
            part.mkdir()
        with _told(target, only=_FULL):
            yield part
        # Asked again, since the user may have put something there while the frames were made.
        check_folder(target, ours, overwrite=overwrite)
        with _told(target):
            if place.exists():
                _exchange(place, part, ours)
            else:
                os.rename(part, place)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _exchange(place: Path, part: Path, ours: Callable[[str], bool]) -> None:
    """Put a folder's new files in place of the older ones; if that fails, all is as it was."""
    old = _beside(place / "older")
    away = [(file, old / file.name) for file in place.iterdir() if ours(file.name)]
    moves = [*away, *((file, place / file.name) for file in part.iterdir())]
    old.mkdir()
    try:
        for source, goal in moves:
            os.rename(source, goal)
    except BaseException:
        for source, goal in reversed(moves):
            if goal.exists() and not source.exists():
                os.rename(goal, source)
        old.rmdir()
        raise
    shutil.rmtree(old, ignore_errors=True)


def _check_parent(place: Path, target: str | Path) -> None:
    parent = place.parent
    if not parent.exists():
        raise InputError(f"The folder {parent} does not exist; make it first or name another for {target}.")
    if not parent.is_dir():
        raise InputError(f"{parent} is not a folder, so {target} cannot be written into it.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"The folder {parent} may not be written to; name another for {target}.")


def _mode(place: Path) -> int | None:
    """What stands there, None if nothing; unlike ``Path.exists``, a name that cannot be is an error."""
    try:
        return os.stat(place).st_mode
    except FileNotFoundError:
        return None


HALF_WRITTEN = ".kinephoto-*.part"
"""What the hidden names of files look like while they are written; their suffix follows."""


def _beside(place: Path) -> Path:
    """A new hidden name in the same folder: renaming is one step only within one file system."""
    return place.with_name(f".kinephoto-{secrets.token_hex(6)}.part{place.suffix}")


@contextmanager
def _told(target: str | Path, *, only: set[int] | None = None) -> Iterator[None]:
    """Turn what the system says of the target into one sentence; with ``only``, just these errors."""
    try:
        yield
    except OSError as error:
        if only is not None and error.errno not in only:
            raise
        raise InputError(_sentence(error, target)) from error


def _sentence(error: OSError, target: str | Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full, so {target} could not be written; nothing of it was kept."
    if error.errno == errno.EFBIG:
        return f"{target} grew larger than a file may be here; nothing of it was kept."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{target} may not be written: permission denied; name another folder."
    if error.errno == errno.EROFS:
        return f"{target} may not be written: the disk is read-only; name another folder."
    if error.errno == errno.ENAMETOOLONG:
        return f"The name {Path(target).name[:40]}… is too long for this disk; choose a shorter one."
    return f"{target} cannot be written: {error.strerror or error}."


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
