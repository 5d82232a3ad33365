"""Requests to end (Ctrl-C, SIGTERM, SIGHUP): held back where they would do harm, and turned into a clean end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_back(*names: str) -> Iterator[None]:
    """The first of these signals takes effect at the end of the block; what is inside is done wholly or not begun.

    Only the main thread is told of signals; elsewhere nothing changes, and neither does it for a signal that
    isn't known here or that something other than Python listens to.

    Args:
        names: such as ``"SIGINT"``, which Ctrl-C sends.
    """
    before = {}
    came: list[int] = []
    if threading.current_thread() is threading.main_thread():
        for name in names:
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and callable(signal.getsignal(number)):
                before[number] = signal.signal(number, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


@contextmanager
def ending_cleanly() -> Iterator[None]:
    """Let a request to end (SIGTERM, SIGHUP) unwind the program as Ctrl-C does, so that files are removed.

    By default these signals end a Python program on the spot. Inside the block the first one raises
    ``SystemExit(128 + number)`` and further ones are ignored while things are put away. Signals that
    somebody else handles already are left alone, and so is everything outside the main thread, where
    Python has no signals.
    """
    before = {}

    def leave(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise SystemExit(128 + number)

    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
