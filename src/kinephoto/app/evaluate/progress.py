"""What the commands under ``kinephoto evaluate`` share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from kinephoto.app.show import say
from kinephoto.errors import InputError


def shown(progress: Any, stage: str, items: Iterable[Any], count: int) -> Iterator[Any]:
    """The items as they come, of which there are so many, and the bar with them."""
    for number, item in enumerate(items):
        if progress is not None:
            progress(stage, (number + 1) / count)
        yield item


def listed(text: str) -> list[str]:
    """What stands between commas."""
    return [name for name in (part.strip() for part in text.split(",")) if name]


def make_folder(out: Path | None, inside: str = "") -> None:
    """Make the folder for the output, and one in it, before an hour's work, or raise InputError."""
    if out is None:
        return
    try:
        (out / inside).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be made a folder ({error.strerror}).") from None


def left_out(skipped: Sequence[Any]) -> None:
    """Say what could not be used, and why, also when quiet; then end with exit code 1 if there was anything.

    Args:
        skipped: ``learn.photos.Skipped`` each.
    """
    for each in skipped:
        say(f"Left out: {each.name}: {each.why}")
    if skipped:
        say(f"{len(skipped)} could not be used.")
        raise typer.Exit(1)
