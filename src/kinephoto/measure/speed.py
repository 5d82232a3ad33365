"""How long whole processes take, how much memory, and how many frames a second the film alone.

Programs are compared as they are used: each run is a process of its own, from start to exit. They run in turns
(A, B, C, A, B, C, …), so that whatever else the machine does meets all of them alike.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kinephoto.errors import InputError
from kinephoto.learn.photos import Skipped
from kinephoto.measure import speed_launcher
from kinephoto.measure.report import markdown_table

# ru_maxrss counts KiB on Linux and bytes on macOS.
RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024
LAST_WORDS = 400


@dataclass(frozen=True)
class Contestant:
    """A program to measure.

    Attributes:
        name: in the tables.
        words: its command.
        frames: of the film that it makes.
        tells: a JSON file that it writes, {"seconds": {"frames": how long the film alone took}}; None: it tells
            nothing.
    """

    name: str
    words: tuple[str, ...]
    frames: int
    tells: Path | None = None


@dataclass(frozen=True)
class Run:
    """One process.

    Attributes:
        wall_s: from start to exit.
        cpu_s: of all cores together, of it and its children.
        peak_bytes: the largest resident memory of it or of one child, whichever is larger.
        frames_per_s: of the film alone; NaN where it doesn't tell.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    frames_per_s: float = float("nan")


def in_turns(contestants: Sequence[Contestant], runs: int) -> Iterator[tuple[str, Run] | Skipped]:
    """Every contestant once, then again, ``runs`` + 1 times; the first may compile something and is told apart.

    Yields:
        A name and its run; or who failed, and why, whose turn it then isn't any more.
    """
    racing = list(contestants)
    for _ in range(runs + 1):
        for each in list(racing):
            try:
                yield each.name, run(each)
            except InputError as error:
                racing.remove(each)
                yield Skipped(each.name, str(error))


def run(contestant: Contestant) -> Run:
    """Run one to its end.

    Raises:
        InputError: it failed, with its last words, or did not tell what it should.
    """
    measured = run_process(contestant.words)
    if contestant.tells is None:
        return measured
    try:
        told = json.loads(contestant.tells.read_text(encoding="utf-8"))
        frames_per_s = contestant.frames / float(told["seconds"]["frames"])
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        raise InputError(f"{contestant.name} did not tell how long the film alone took.") from None
    # An old answer must not be taken for the next run's.
    contestant.tells.unlink()
    return Run(measured.wall_s, measured.cpu_s, measured.peak_bytes, frames_per_s)


def run_process(words: Sequence[str]) -> Run:
    """Run a command to its end, by itself.

    Raises:
        InputError: there is no such program, or it failed; with its last words.
    """
    if not hasattr(os, "wait4"):
        raise InputError("Memory of other processes can't be measured on this system; Linux and macOS can.")
    with tempfile.TemporaryDirectory() as folder:
        tells, said = Path(folder) / "told.json", Path(folder) / "said.txt"
        launcher = [sys.executable, "-I", "-S", speed_launcher.__file__, str(tells), *words]
        with said.open("wb") as output:
            # A session of its own, so that all of it can be ended.
            child = subprocess.Popen(
                launcher, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                child.wait()
            except BaseException:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                raise
        told = json.loads(tells.read_text(encoding="utf-8"))
        if "error" in told:
            raise InputError(f"{words[0]} cannot be run ({told['error']}).")
        if told["exit_code"]:
            last = said.read_text(encoding="utf-8", errors="replace").strip()[-LAST_WORDS:]
            raise InputError(f"{words[0]} failed with exit code {told['exit_code']}: {last}")
    return Run(told["wall_s"], told["cpu_s"], told["maxrss"] * RSS_UNIT_BYTES)


def summary(found: Sequence[tuple[str, Run]]) -> dict[str, dict[str, Any]]:
    """What each contestant's runs were like.

    Returns:
        {name: {"first": its first run, "runs": how many followed, and of those "wall_s", "cpu_s",
        "frames_per_s": {"median", "least", "most"} and "peak_bytes", their largest}}; a contestant with no
        run but the first has its numbers.
    """
    by_name: dict[str, list[Run]] = {}
    for name, each in found:
        by_name.setdefault(name, []).append(each)
    return {name: _of_runs(runs) for name, runs in by_name.items()}


def _of_runs(runs: Sequence[Run]) -> dict[str, Any]:
    later = runs[1:] or runs
    numbers = {
        name: _spread([getattr(each, name) for each in later]) for name in ("wall_s", "cpu_s", "frames_per_s")
    }
    peak = max(each.peak_bytes for each in later)
    return {"first": asdict(runs[0]), "runs": len(runs) - 1, **numbers, "peak_bytes": peak}


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """One line a contestant, in Markdown.

    Args:
        found: from ``summary``.
    """
    header = ["program", "runs", "whole process, s", "least to most", "of all cores, s"]
    header += ["film alone, frames/s", "least to most", "peak memory, GiB", "first run, s"]
    rows = []
    for name, row in found.items():
        wall, speed = row["wall_s"], row["frames_per_s"]
        rows.append(
            [
                *(name, row["runs"], wall["median"], _range(wall), row["cpu_s"]["median"]),
                *(speed["median"], _range(speed), row["peak_bytes"] / 2**30, row["first"]["wall_s"]),
            ]
        )
    return markdown_table(header, rows, digits=2)


def _range(numbers: Mapping[str, float]) -> str | None:
    told = numbers["least"] == numbers["least"]  # NaN is not
    return f"{numbers['least']:.2f} to {numbers['most']:.2f}" if told else None
