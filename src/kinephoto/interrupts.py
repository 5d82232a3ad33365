"""Requests to end (Ctrl-C, SIGTERM, SIGHUP): held back where they would do harm, and turned into a clean end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def held_back(*names: str) -> Iterator[None]:
    """The first of these signals takes effect at the end of the block; what is inside is done wholly or not begun.

    Nothing changes for a signal that isn't known here or that something other than Python listens to.

    Args:
        names: such as ``"SIGINT"``, which Ctrl-C sends.
    """
    came: list[int] = []
    with _answered(names, callable, lambda number, _frame: came.append(number)):
        yield
    if came:
        signal.raise_signal(came[0])


@contextmanager
def ending_cleanly() -> Iterator[None]:
    """Let a request to end (SIGTERM, SIGHUP) unwind the program as Ctrl-C does, so that files are removed.

    By default these signals end a Python program on the spot. Inside the block the first one raises
    ``SystemExit(128 + number)`` and further ones are ignored while things are put away. Signals that
    somebody else handles already are left alone.
    """

    def leave(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise SystemExit(128 + number)

    with _answered(("SIGTERM", "SIGHUP"), lambda before: before is signal.SIG_DFL, leave):
        yield


@contextmanager
def _answered(
    names: Sequence[str], where: Callable[[Any], bool], handler: Callable[[int, Any], Any]
) -> Iterator[None]:
    """Within the block ``handler`` answers those signals whose handler before is one ``where`` it may.

    Nothing changes outside the main thread, where Python has no signals.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in names:
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and where(signal.getsignal(number)):
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
