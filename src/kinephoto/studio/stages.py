"""Which part of the work is on, told to whoever shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, float], None]
"""Called with a stage's name and how much of it is done, 0 to 1."""


class Stages:
    """Which stage is on, how far it is, and how long each took.

    Attributes:
        seconds: by name, of the stages that are over.
    """

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._name, self._share = "", 0.0
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """What happens in the block belongs to this stage."""
        self._name = name
        begin = time.perf_counter()
        self.done(0.0)
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin
        self.done(1.0)

    def done(self, share: float) -> None:
        """The stage has come so far."""
        self._share = share
        self.again()

    def again(self) -> None:
        """The stage is still as far: between steps, for those who may want to stop it."""
        if self._progress is not None:
            self._progress(self._name, self._share)
