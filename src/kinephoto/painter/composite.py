"""Put a painting into a picture: known pixels stay bit for bit, the seam fades inside the hole."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.painter.door import Painter

# What a painter gets wrong about the bank fades into the hole over about so many pixels.
FEATHER_PX = 4.0
# A painter further off than this repaints rather than renders the bank; more would tinge the hole.
MOST_MISMATCH = 0.25
# Known pixels so far from a hole still say what the painter gets wrong at its bank.
BANK_PX = 2


def paint_holes(
    painter: Painter,
    rgb: Tensor,
    known: Tensor,
    disparity: Tensor,
    *,
    prompt: str | None = None,
    seed: int = 0,
) -> Tensor:
    """The picture with its holes painted; every caller paints through here.

    Args:
        painter: from ``get_painter``.
        rgb: [3, H, W] float in [0, 1], sRGB; what it holds where not known is never seen.
        known: [H, W] bool, at least one True.
        disparity: [H, W] float32 >= 0, near is large, complete: the holes' own has been continued from
            the farther side.
        prompt: what the picture shows, for painters that take text.
        seed: the same seed gives the same bytes.

    Returns:
        [3, H, W] in [0, 1], dtype and device of ``rgb``; equal to ``rgb`` bit for bit where known.

    Raises:
        InputError: shapes that disagree, a disparity that is not finite, or nothing known.
    """
    _check(rgb, known, disparity)
    if bool(known.all()):
        return rgb.clone()
    masked = torch.where(known, rgb, torch.zeros_like(rgb))
    disparity = disparity.float().clamp_min(1e-6)
    painted = painter.paint(masked, known, disparity, prompt=prompt, seed=seed)
    if painted.shape != rgb.shape or not bool(torch.isfinite(painted).all()):
        raise RuntimeError(f"The painter {painter.name} gave {tuple(painted.shape)} or values not finite.")
    painted = painted.to(rgb.device, rgb.dtype)
    painted = (painted + _feather(masked, painted, known, disparity)).clamp(0, 1)
    return torch.where(known, rgb, painted)


def _check(rgb: Tensor, known: Tensor, disparity: Tensor) -> None:
    """Raise InputError unless the three fit together and something is known."""
    if rgb.ndim != 3 or rgb.shape[0] != 3:
        raise InputError(f"A picture to paint is [3, H, W]; got {tuple(rgb.shape)}.")
    for name, values in (("mask of known pixels", known), ("disparity map", disparity)):
        if values.shape != rgb.shape[1:]:
            raise InputError(f"The picture is {tuple(rgb.shape[1:])}, its {name} {tuple(values.shape)}.")
    if known.dtype != torch.bool:
        raise InputError(f"The mask of known pixels is {known.dtype}; it must be torch.bool.")
    if not bool(torch.isfinite(disparity).all()):
        raise InputError("The disparity map holds values that are not finite.")
    if not bool(known.any()):
        raise InputError("The picture has no known pixel at all; a painter needs at least one.")


def _feather(rgb: Tensor, painted: Tensor, known: Tensor, disparity: Tensor) -> Tensor:
    """[3, H, W]: what the painter misses at the holes' farther bank, fading into the holes."""
    if torch.equal(torch.where(known, painted, rgb), rgb):
        return torch.zeros_like(rgb)
    import cv2

    from kinephoto.painter.seam import TOLERANCE, fade_into_hole, tinged

    is_known, depth = known.cpu().numpy(), disparity.cpu().numpy()
    believed = is_known & ~tinged(is_known, depth)
    grown = cv2.dilate((~believed).astype(np.uint8), np.ones((2 * BANK_PX + 1, 2 * BANK_PX + 1), np.uint8))
    missed = (rgb - painted).float().permute(1, 2, 0).cpu().numpy().clip(-MOST_MISMATCH, MOST_MISMATCH)
    fade = fade_into_hole(
        missed, believed & (grown > 0), ~believed, depth, (TOLERANCE * depth).astype(np.float32), FEATHER_PX
    )
    return torch.from_numpy(fade).permute(2, 0, 1).to(rgb.device, rgb.dtype)
