"""The one folder with everything that visitors gave and got; old things in it are removed."""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kinephoto.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self

SWEEP_S = 600.0
LAST_TRIES = 30
"""Each a tenth of a second apart, to empty a temporary folder at the end."""
_UNFIT = re.compile(r"[^\w.-]+")


class Results:
    """The folder; everything under it is the app's. Used as a context, which removes a temporary one.

    Args:
        folder: where; a new temporary one, removed when the program ends, when None.
        keep_s: what is older is removed.

    Raises:
        InputError: there can't be a folder there.
    """

    def __init__(self, folder: Path | None, keep_s: float) -> None:
        if folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="kinephoto-app-")).resolve()
        else:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"{folder} cannot be made a folder ({error.strerror}).") from None
            self.folder = folder.resolve()
        self._temporary = folder is None
        self._keep_s = keep_s
        self._kept: set[Path] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._temporary:
            return
        # A thread that still works may put something into the folder while it is emptied.
        for _try in range(LAST_TRIES):
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                return
            time.sleep(0.1)

    def new(self) -> Path:
        """A new empty folder whose name nobody can guess."""
        place = self.folder / f"result-{secrets.token_hex(16)}"
        place.mkdir()
        return place

    def own(self, path: str | Path) -> Path:
        """The path, when it leads to a file in this folder.

        Raises:
            InputError: it leads elsewhere, or nowhere.
        """
        place = Path(path).resolve()
        if not (place.is_relative_to(self.folder) and place.is_file()):
            raise InputError(f"{Path(path).name} was not uploaded here, or is gone by now; upload it again.")
        return place

    @contextmanager
    def keeping_what_comes(self) -> Iterator[None]:
        """Never remove what is put into the folder inside the block; what was there before gets old as usual.

        A file that is there already and is touched counts as put: so Gradio does with the examples of a run before.
        """
        before = self._files()
        yield
        self._kept |= {path for path, touched in self._files().items() if before.get(path) != touched}

    def _files(self) -> dict[Path, int]:
        """All files, and when each was last touched, ns."""
        return {path: path.lstat().st_mtime_ns for path in self.folder.rglob("*") if path.is_file()}

    def sweep(self) -> int:
        """Remove what is too old; the number of files removed."""
        oldest, removed = time.time() - self._keep_s, 0
        for path in sorted(self.folder.rglob("*"), reverse=True):  # what is in a folder comes before it
            try:
                if path.is_dir() and not path.is_symlink():
                    if path.stat().st_mtime < oldest and not any(path.iterdir()):
                        path.rmdir()
                elif path not in self._kept and path.lstat().st_mtime < oldest:
                    path.unlink()
                    removed += 1
            except OSError:  # somebody else was faster
                continue
        return removed

    def sweep_for_ever(self) -> None:
        """Sweep now and every ten minutes, in the background, until the program ends."""

        def run() -> None:
            while True:
                self.sweep()
                time.sleep(min(SWEEP_S, self._keep_s))

        threading.Thread(target=run, name="sweep", daemon=True).start()


def stem_of(path: str | Path) -> str:
    """A photo's name without its suffix, fit for a file's name anywhere.

    Example:
        >>> stem_of("photos/My beach (1).jpg"), stem_of("...jpg")
        ('My-beach-1', 'photo')
    """
    return _UNFIT.sub("-", Path(path).stem).strip("-.")[:60] or "photo"
