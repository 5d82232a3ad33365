"""Painters by name and options in one word, so that an ablation is a list of words.

``builtin:FOLDER+steps=50+strength=1`` is a painter as the door names it, and after each ``+`` an option. Nothing in it
needs quotes in a shell, and a list of such words is parted by commas.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from kinephoto.errors import InputError
from kinephoto.painter.door import Painter, get_painter

OPTIONS = {"steps": int, "strength": float, "guidance": float}
"""steps of the scheduler; the share of timesteps from which the fill is repainted, 1 is no warm start; s of Eq. 12."""

TAKES = {
    "builtin": tuple(OPTIONS),
    "auto": tuple(OPTIONS),
    "sd": ("steps", "guidance"),
    "hub": ("steps", "guidance"),
}
"""By family of painters; those that are no networks take none."""

_OPTION = re.compile(r"^(.*)\+([a-z]+)=([^+=]*)$")


def parted(word: str) -> tuple[str, dict[str, str]]:
    """A name and its options.

    A folder may be called ``a+b``: only what ends in ``+option=value`` is an option.

    Raises:
        InputError: an option stands there twice.

    Example:
        >>> parted("builtin:runs/a+b+steps=8+strength=1")
        ('builtin:runs/a+b', {'steps': '8', 'strength': '1'})
    """
    name, options = word, {}
    while found := _OPTION.match(name):
        name, option, value = found.groups()
        if option in options:
            raise InputError(f"{word} says {option} twice.")
        options[option] = value
    return name, dict(reversed(options.items()))


def painter_named(word: str, *, device: str | None = None, offline: bool = False) -> Painter:
    """The painter of a name with options.

    Args:
        word: such as ``classical``, ``builtin+steps=50``, ``sd:FOLDER+guidance=2``.
        device, offline: see ``get_painter``.

    Raises:
        InputError: there is no such painter, it can't be loaded, or it doesn't take an option or its value.
    """
    name, texts = parted(word)
    family = name.partition(":")[0]
    takes = TAKES.get(family, ())
    for option in texts:
        if option not in takes:
            what = f"takes {', '.join(takes)}" if takes else "takes no options"
            raise InputError(f"{word}: the painter {family} {what}, not {option}.")
    options: dict[str, Any] = {option: _number(word, option, text) for option, text in texts.items()}
    if "strength" not in options:
        return get_painter(name, device=device, offline=offline, **options)
    from kinephoto.painter.builtin import BuiltinPainter

    folder = name.partition(":")[2]
    return BuiltinPainter(Path(folder) if folder else None, device=device, **options)


def _number(word: str, option: str, text: str) -> float:
    try:
        value = OPTIONS[option](text)
    except ValueError:
        raise InputError(f"{word}: {option} is {text!r}; it is a number.") from None
    low, high = {"steps": (1, 1000), "strength": (0.01, 1), "guidance": (0, 50)}[option]
    if not low <= value <= high:
        raise InputError(f"{word}: {option} is {text}; it goes from {low} to {high}.")
    return float(value) if option != "steps" else int(value)
