"""Requests to end: held back, or turned into a clean end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kinephoto.interrupts import ending_cleanly, held_back
from kinephoto.studio.files import whole

COMPILES = """
import os, signal, sys
from kinephoto.compiled import kernel

@kernel
def total(values):
    sum = 0.0
    for value in values:
        sum += value
    return sum

import numpy as np
from numba.core import event

class Presses(event.Listener):
    def on_start(self, happened):
        os.kill(os.getpid(), signal.SIGINT)

    def on_end(self, happened):
        pass

signal.signal(signal.SIGINT, signal.default_int_handler)  # where Ctrl-C was ignored at the start, as under nohup
with event.install_listener("numba:compile", Presses()):
    try:
        total(np.ones(3))
    except KeyboardInterrupt:
        print("interrupted with", len(total.signatures), "compiled")
print(total(np.ones(3)))
"""


def test_ctrl_c_waits_for_the_end_of_the_block() -> None:
    inside = []
    with pytest.raises(KeyboardInterrupt), held_back("SIGINT"):
        signal.raise_signal(signal.SIGINT)
        inside.append("to the end")
    assert inside == ["to the end"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)  # and is heard again


def test_of_nested_blocks_the_outer_one_ends_first() -> None:
    inside = []
    with pytest.raises(KeyboardInterrupt), held_back("SIGINT"):
        with held_back("SIGINT"):
            signal.raise_signal(signal.SIGINT)
        inside.append("to the end")
    assert inside == ["to the end"]


def test_ctrl_c_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held_back("SIGINT"):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_waits_for_the_compiler(tmp_path: Path) -> None:
    (tmp_path / "compiles.py").write_text(COMPILES)
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, str(tmp_path / "compiles.py")]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert told.stdout.splitlines() == ["interrupted with 1 compiled", "3.0"], told.stderr


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_request_to_end_unwinds_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    number = getattr(signal, name)
    # Whoever runs the tests under nohup has SIGHUP ignored.
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as ending, ending_cleanly(), whole(tmp_path / "film.mp4"):
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert ending.value.code == 128 + number
    assert os.listdir(tmp_path) == []


def test_somebody_elses_signal_handler_is_left_alone() -> None:
    def theirs(*_: object) -> None:
        return None

    signal.signal(signal.SIGTERM, theirs)
    try:
        with ending_cleanly():
            assert signal.getsignal(signal.SIGTERM) is theirs
        assert signal.getsignal(signal.SIGTERM) is theirs
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_outside_the_main_thread_signals_are_no_business_of_ours() -> None:
    failures = []

    def run() -> None:
        try:
            with ending_cleanly(), held_back("SIGINT"):
                pass
        except ValueError as error:  # what signal.signal raises in a thread
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert failures == []
