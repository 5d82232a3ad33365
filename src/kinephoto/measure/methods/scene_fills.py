"""What can be measured as a way to paint a scene: a function from (rgb, known, prompt, seed) to rgb.

rgb is [3, H, W] in [0, 1] and 0 where not known, known [H, W] bool, the objects. What is known comes back bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.learn.objects import mean_fill
from kinephoto.measure.methods.hole_fills import SHORT
from kinephoto.painter import get_painter
from kinephoto.painter.scene_painting import paint_around

SceneFill = Callable[[Tensor, Tensor, str, int], Tensor]

DEFAULT = ("builtin", "classical", "mean")


def mean_colour(rgb: Tensor, known: Tensor, prompt: str, seed: int) -> Tensor:
    """Everything takes the objects' mean colour: nothing is painted at all."""
    return torch.where(known, rgb, mean_fill(rgb, known))


def painter(
    name: str, *, device: str | None = None, steps: int | None = None, guidance: float = 0.0
) -> SceneFill:
    """One of kinephoto's painters, asked for at the door and made to paint as ``outpaint`` does.

    Raises:
        InputError: there is no such painter.
    """
    chosen = get_painter(name, device=device, steps=steps, guidance=guidance)
    return lambda rgb, known, prompt, seed: paint_around(chosen, rgb, known, prompt=prompt, seed=seed)


PLAIN: dict[str, SceneFill] = {"mean": mean_colour}


def methods_named(
    names: Sequence[str], *, device: str | None = None, steps: int | None = None, guidance: float = 0.0
) -> dict[str, SceneFill]:
    """The ways of these names: ``mean``, and whatever the door knows.

    Args:
        names: such as "builtin", "builtin:FOLDER" for another painter of that kind, or "telea".
        device, steps, guidance: for ``get_painter``.

    Raises:
        InputError: an unknown name, the same one twice, or none at all.
    """
    if not names or len(set(names)) < len(names):
        raise InputError(f"The methods to measure are {', '.join(names) or 'none'}; name each of them once.")
    try:
        return {
            name: PLAIN.get(name)
            or painter(SHORT.get(name, name), device=device, steps=steps, guidance=guidance)
            for name in names
        }
    except InputError as error:
        raise InputError(f"{error} The method that is no painter: {', '.join(PLAIN)}.") from None
