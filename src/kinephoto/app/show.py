"""What the user sees while it works: one line of estimate, a bar with named stages, one line at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

STAGES = {
    "scene": "Painting the scene",
    "depth": "Looking at depth",
    "path": "Planning the move",
    "painting": "Painting what comes into view",
    "frames": "Filming",
    "photos": "Reading photos",
    "packing": "Packing photos",
    "training": "Training",
}


def say(text: str, quiet: bool = False) -> None:
    """A line for people: to standard error, since standard output may be a pipe."""
    if not quiet:
        print(text, file=sys.stderr, flush=True)


@contextmanager
def bar(quiet: bool) -> Iterator[Callable[[str, float], None] | None]:
    """A progress bar on a terminal; the callback takes a stage's name and its share done.

    Where there is no terminal each stage is named once, when it begins.
    """
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        named: set[str] = set()

        def tell(stage: str, share: float) -> None:
            if stage not in named:
                named.add(stage)
                say(f"{STAGES.get(stage, stage)} …")

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<30}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=False) as progress:
        tasks: dict[str, int] = {}

        def update(stage: str, share: float) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(STAGES.get(stage, stage), total=1.0)
            progress.update(tasks[stage], completed=share)  # type: ignore[arg-type]

        yield update


def leave(text: str, code: int) -> NoReturn:
    """Say why, and end the program."""
    say(text)
    sys.exit(code)
