"""All ways to a new view by name, for ``kinephoto evaluate views --methods``.

| name | what it is |
| --- | --- |
| ``copy`` | the source itself |
| ``w-nearest``, ``w-far``, ``w-push-pull``, ``w-telea``, ``w-ns`` | W, its holes filled in a plain way (``fills``) |
| any painter, with options: ``builtin``, ``builtin:FOLDER+steps=50+strength=1`` | W, its holes painted |
| ``world:PAINTER``, ``autoregressive:PAINTER`` | a film from the source to the target (``film_modes``) |
| ``depthflow``, ``depthflow+quality=0`` | another program (``depthflow``) |
| ``predictions:FOLDER`` | pictures of anybody's code (``predictions``) |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.measure.methods import fills
from kinephoto.measure.methods.film_modes import MODES
from kinephoto.measure.methods.painter_names import painter_named, parted
from kinephoto.measure.view_case import ViewCase, ViewMethod
from kinephoto.painter.door import Painter

PainterOf = Callable[[str], Painter]

PLAIN: dict[str, fills.Fill] = {
    "copy": fills.source_copied,
    "w-nearest": fills.nearest,
    "w-far": fills.farther_side,
    "w-push-pull": fills.push_pull,
    "w-telea": fills.telea,
    "w-ns": fills.navier_stokes,
}
DEFAULT = (*PLAIN, "classical", "builtin", "world:builtin", "autoregressive:builtin")
SIDEWAYS = ("depthflow", "depthflow+quality=0")
"""Beside ``DEFAULT`` where all pairs differ by a shift to the side."""

WORDS = f"{', '.join(PLAIN)}, {', '.join(f'{mode}:PAINTER' for mode in MODES)}, depthflow, predictions:FOLDER"


def view_methods_named(
    names: Sequence[str], *, device: str | None = None, offline: bool = False
) -> dict[str, ViewMethod]:
    """The methods of these names, by these names.

    Args:
        names: see the module.
        device: where painters' networks run; None is the processor.
        offline: take networks of the hub from the cache only.

    Raises:
        InputError: an unknown name, the same one twice, none at all, or what cannot be had here.
    """
    if not names or len(set(names)) < len(names):
        raise InputError(f"The methods to measure are {', '.join(names) or 'none'}; name each of them once.")
    painter_of = _painters(device, offline)
    return {name: _method(name, painter_of) for name in names}


def default_names(sideways: bool = False) -> tuple[list[str], list[str]]:
    """All of ``DEFAULT`` that this installation has, and a sentence for each that it has not.

    Args:
        sideways: whether all pairs differ by a shift to the side, as stereo pairs do; then ``SIDEWAYS`` as well.
    """
    names, left_out = [], []
    painter_of = _painters(None, offline=True)
    for name in (*DEFAULT, *SIDEWAYS) if sideways else DEFAULT:
        try:
            _method(name, painter_of)
            names.append(name)
        except InputError as error:
            left_out.append(f"{name} is left out: {error}")
    return names, left_out


def _painters(device: str | None, offline: bool) -> PainterOf:
    """Painters by name, each loaded once however many methods paint with it."""
    return cache(partial(painter_named, device=device or "cpu", offline=offline))


def _method(name: str, painter_of: PainterOf) -> ViewMethod:
    kind, _, rest = name.partition(":")
    if name in PLAIN:
        return _filled(PLAIN[name])
    if kind in MODES:
        return MODES[kind](painter_of(rest or "builtin"))
    if kind == "predictions":
        from kinephoto.measure.methods.predictions import Predictions

        if not rest:
            raise InputError("predictions needs the folder of the pictures: predictions:FOLDER.")
        return Predictions(Path(rest))
    if parted(name)[0] == "depthflow":
        return _depthflow(name)
    try:
        return _painted(painter_of(name))
    except InputError as error:
        if "no painter called" not in str(error):
            raise
        raise InputError(f"{error} Methods that are no painters: {WORDS}.") from None


def _filled(fill: fills.Fill) -> ViewMethod:
    return lambda case: fill(case.source, case.view)


def _painted(painter: Painter) -> ViewMethod:
    def method(case: ViewCase) -> Tensor:
        return fills.painter(painter, case.seed)(case.source, case.view)

    return method


def _depthflow(name: str) -> ViewMethod:
    from kinephoto.measure.methods.depthflow import DEFAULT_QUALITY, DepthFlow

    _, options = parted(name)
    text = options.pop("quality", str(DEFAULT_QUALITY))
    if options:
        raise InputError(f"{name}: depthflow takes quality, not {', '.join(options)}.")
    try:
        quality = float(text)
    except ValueError:
        raise InputError(f"{name}: quality is {text!r}; it is a number from 0 to 100.") from None
    return DepthFlow(quality)
