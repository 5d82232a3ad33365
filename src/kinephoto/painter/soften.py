"""Take from a network's painting what nobody asked for: speckles of colour, and a fine weave of brightness."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor


def softened(
    rgb: Tensor, known: Tensor, *, colour_px: float, detail_px: float = 1.0, detail_share: float = 1.0
) -> Tensor:
    """The painting with its colours smoothed, and so much of its fine detail; only what is painted is mixed.

    Args:
        rgb: [3, H, W] in [0, 1].
        known: [H, W] bool, stays as it is and bleeds into nothing.
        colour_px: deviation of the blur of the two colour channels (YCrCb).
        detail_px: deviation of the blur below which brightness is detail.
        detail_share: in [0, 1], what is kept of that; 1: all.

    Returns:
        [3, H, W] in [0, 1].
    """
    painted = (~known).cpu().numpy().astype(np.float32)
    picture = np.ascontiguousarray(rgb.detach().cpu().float().permute(1, 2, 0).numpy())
    brightness, *colours = cv2.split(cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb))
    if detail_share < 1:
        coarse = _blurred(brightness, painted, detail_px)
        brightness = coarse + np.float32(detail_share) * (brightness - coarse)
    colours = [_blurred(colour, painted, colour_px) for colour in colours]
    whole = cv2.cvtColor(cv2.merge([brightness, *colours]), cv2.COLOR_YCrCb2RGB)
    return torch.where(known, rgb, torch.from_numpy(whole).permute(2, 0, 1).clamp(0, 1).to(rgb))


def _blurred(values: np.ndarray, weights: np.ndarray, deviation_px: float) -> np.ndarray:
    """Means over neighbours that have a weight."""
    blurred = cv2.GaussianBlur(values * weights, (0, 0), deviation_px)
    return blurred / np.maximum(cv2.GaussianBlur(weights, (0, 0), deviation_px), np.float32(1e-6))
