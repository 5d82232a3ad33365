"""How the compiled parts are compiled: once, kept on disk, announced while it happens.

Numba keeps what it compiled in ``__pycache__`` beside the source or, when that folder cannot be
written (a system-wide installation), in the user's own cache folder; the environment variable
``NUMBA_CACHE_DIR`` names another place. Nothing is lost without any of them but the time to compile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numba
from numba.core import event

from kinephoto.interrupts import held_back

# error_model="numpy": a division never raises, so a loop with one in it can still use SIMD.
# No fastmath: it would fuse and reorder, and then two machines would not agree on every pixel.
_OPTIONS = {"nogil": True, "error_model": "numpy"}


def kernel(function: Callable) -> Callable:
    """Compile a function on its first call; it runs without holding Python's global lock.

    Ctrl-C and SIGTERM wait while it is compiled, a second or a few: an exception inside LLVM's callbacks is lost
    and leaves LLVM locked, so that the next thread that compiles would wait for ever.
    """
    try:
        dispatcher = numba.njit(function, cache=True, **_OPTIONS)
    except RuntimeError:
        # Numba finds no folder that it may write to, as in a container without a home.
        dispatcher = numba.njit(function, **_OPTIONS)
    compile_for = dispatcher.compile

    @wraps(compile_for)
    def in_peace(*signature: Any) -> Any:
        with held_back("SIGINT", "SIGTERM", "SIGHUP"):
            return compile_for(*signature)

    dispatcher.compile = in_peace
    return dispatcher


def inlined(function: Callable) -> Callable:
    """Compile a function into its callers, where their loops can use SIMD across it."""
    return numba.njit(function, inline="always", **_OPTIONS)


class _Announcer(event.Listener):  # type: ignore[misc]  # Numba has no types
    """Calls back once, at the first compilation it sees."""

    def __init__(self, announce: Callable[[], None]) -> None:
        self._announce: Callable[[], None] | None = announce

    def on_start(self, event: event.Event) -> None:
        if self._announce is not None:
            announce, self._announce = self._announce, None
            announce()

    def on_end(self, event: event.Event) -> None:
        pass


@contextmanager
def announcing(on_compile: Callable[[], None] | None) -> Iterator[None]:
    """Within this block, call ``on_compile`` once if anything has to be compiled.

    Code that was compiled before and comes from the disk does not count.
    """
    if on_compile is None:
        yield
        return
    with event.install_listener("numba:compile", _Announcer(on_compile)):
        yield
