"""What can be measured as a way to fill a hole: a function from (rgb, known, disparity, seed) to rgb.

rgb is [3, H, W] in [0, 1] and 0 in the holes, known [H, W] bool, disparity [H, W] > 0 and complete. What is
known comes back bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.measure.methods import fills
from kinephoto.painter import get_painter, paint_holes
from kinephoto.painter.diffuse import continue_from_farther_side, push_pull
from kinephoto.scene.values import View

HoleFill = Callable[[Tensor, Tensor, Tensor, int], Tensor]

# How much nearer than the hole a pixel may be and still be continued into it, as a ratio of disparities.
FARTHER_TOLERANCE = 1.2


def nearest(rgb: Tensor, known: Tensor, disparity: Tensor, seed: int) -> Tensor:
    """Each hole pixel takes the colour of the known pixel that is nearest in the picture."""
    return fills.nearest(rgb, _view(rgb, known, disparity))


def farther_side(rgb: Tensor, known: Tensor, disparity: Tensor, seed: int) -> Tensor:
    """Each hole pixel takes the farthest of the known pixels that lie nearest in its row and column."""
    return fills.farther_side(rgb, _view(rgb, known, disparity))


def smooth(rgb: Tensor, known: Tensor, disparity: Tensor, seed: int) -> Tensor:
    """Push-pull: averages of ever wider neighbourhoods, near things and far ones alike."""
    return _composited(rgb, known, push_pull(_hwc(rgb), known.numpy().astype(np.float32)))


def smooth_from_farther_side(rgb: Tensor, known: Tensor, disparity: Tensor, seed: int) -> Tensor:
    """Push-pull of what is not nearer than the hole."""
    is_known = known.numpy()
    filled = continue_from_farther_side(_hwc(rgb), disparity.numpy(), ~is_known, is_known, FARTHER_TOLERANCE)
    return _composited(rgb, known, filled)


def painter(name: str, device: str | None = None) -> HoleFill:
    """One of kinephoto's painters, asked for at the door and composited as every caller does it.

    Raises:
        InputError: there is no such painter.
    """
    chosen = get_painter(name, device=device)
    return lambda rgb, known, disparity, seed: paint_holes(chosen, rgb, known, disparity, seed=seed)


PLAIN: dict[str, HoleFill] = {
    "nearest": nearest,
    "far": farther_side,
    "push-pull": smooth,
    "push-pull-far": smooth_from_farther_side,
}
# Short names for painters that the door knows by longer ones.
SHORT = {"telea": "opencv:telea", "ns": "opencv:ns"}
DEFAULT = ("builtin", "classical", *PLAIN, *SHORT)


def methods_named(names: Sequence[str], device: str | None = None) -> dict[str, HoleFill]:
    """The ways of these names: those above, and whatever else the door knows.

    Raises:
        InputError: an unknown name, the same one twice, or none at all.
    """
    if not names or len(set(names)) < len(names):
        raise InputError(f"The methods to measure are {', '.join(names) or 'none'}; name each of them once.")
    try:
        return {name: _method(name, device) for name in names}
    except InputError as error:
        raise InputError(f"{error} Methods that are no painters: {', '.join(PLAIN)}.") from None


def default_methods(device: str | None = None) -> tuple[dict[str, HoleFill], list[str]]:
    """All of ``DEFAULT`` that this installation has, and a sentence for each that it has not."""
    found: dict[str, HoleFill] = {}
    left_out = []
    for name in DEFAULT:
        try:
            found[name] = _method(name, device)
        except InputError as error:
            left_out.append(f"{name} is left out: {error}")
    return found, left_out


def _method(name: str, device: str | None) -> HoleFill:
    return PLAIN[name] if name in PLAIN else painter(SHORT.get(name, name), device)


def _view(rgb: Tensor, known: Tensor, disparity: Tensor) -> View:
    """The picture as a view whose holes are not known; their disparity is not told."""
    layer = torch.where(known, 0, -1).to(torch.int16)
    return View(rgb, torch.where(known, disparity, 0.0), known, layer)


def _hwc(rgb: Tensor) -> np.ndarray:
    return np.ascontiguousarray(rgb.permute(1, 2, 0).numpy())


def _composited(rgb: Tensor, known: Tensor, filled: np.ndarray) -> Tensor:
    return torch.where(known, rgb, torch.from_numpy(filled).permute(2, 0, 1))
