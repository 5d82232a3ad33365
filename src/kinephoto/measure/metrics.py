"""How close a picture or a depth map is to the true one.

Pictures are [3, H, W] in [0, 1], sRGB, and are rounded to 8 bits first: a video shows no more. Depths and
disparities are arrays of any shape, compared where both are given; choose the pixels before calling.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kinephoto.errors import InputError

# Wang et al., Image quality assessment: from error visibility to structural similarity, 2004.
SSIM_WINDOW_PX = 11
SSIM_SIGMA_PX = 1.5
SSIM_K1, SSIM_K2 = 0.01, 0.03


def to_8bit(rgb: Tensor) -> Tensor:
    """The values that an 8-bit file would keep, as float64 in [0, 1]."""
    return (rgb.double().clamp(0, 1) * 255).round() / 255


def psnr(predicted: Tensor, true: Tensor, mask: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio, dB, of the 8-bit pictures.

    Args:
        predicted: [3, H, W] in [0, 1].
        true: the same.
        mask: [H, W] bool, the pixels that count; all of them if absent.

    Returns:
        10 · log10(1 / mean squared error); infinite for equal pictures, NaN where no pixel counts.
    """
    _check_pictures(predicted, true)
    squares = ((to_8bit(predicted) - to_8bit(true)) ** 2).mean(0)
    error = float((squares if mask is None else squares[mask]).mean())
    return math.inf if error == 0 else -10 * math.log10(error)


def ssim(predicted: Tensor, true: Tensor, mask: Tensor | None = None) -> float:
    """Structural similarity of the 8-bit pictures, mean over the three channels.

    Args:
        predicted: [3, H, W] in [0, 1].
        true: the same.
        mask: [H, W] bool, the pixels that count; if absent, all whose window lies inside the picture
            (as scikit-image has it).

    Returns:
        1 for equal pictures, NaN where no pixel counts.
    """
    margin = SSIM_WINDOW_PX // 2
    similarity = ssim_map(predicted, true)
    if mask is None:
        return float(similarity[margin:-margin, margin:-margin].mean())
    return float(similarity[mask].mean())


def ssim_map(predicted: Tensor, true: Tensor) -> Tensor:
    """Structural similarity around each pixel (Wang et al. 2004, eq. 13), mean over channels.

    Returns:
        [H, W] float64; beyond the border the picture is continued by mirroring.

    Raises:
        InputError: the pictures differ in size or are smaller than the 11×11 window.
    """
    _check_pictures(predicted, true)
    if min(predicted.shape[1:]) < SSIM_WINDOW_PX:
        raise InputError(f"SSIM needs pictures of 11 px or more; got {tuple(predicted.shape[1:])}.")
    x, y = to_8bit(predicted), to_8bit(true)
    mean_x, mean_y, xx, yy, xy = _blurred(torch.stack([x, y, x * x, y * y, x * y]))
    variance_x, variance_y, covariance = xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    below = (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return (above / below).mean(0)


def _blurred(stack: Tensor) -> Tensor:
    """[N, 3, H, W] weighted by the Gaussian window around each pixel."""
    margin = SSIM_WINDOW_PX // 2
    at = torch.arange(-margin, margin + 1, dtype=stack.dtype)
    window = torch.exp(-0.5 * (at / SSIM_SIGMA_PX) ** 2)
    window = window / window.sum()
    flat = F.pad(stack.flatten(0, 1)[:, None], (margin,) * 4, mode="reflect")
    flat = F.conv2d(F.conv2d(flat, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
    return flat[:, 0].unflatten(0, stack.shape[:2])


def _check_pictures(predicted: Tensor, true: Tensor) -> None:
    if predicted.shape != true.shape or predicted.ndim != 3:
        raise InputError(
            f"Two pictures of one size are needed; got {tuple(predicted.shape)} and {tuple(true.shape)}."
        )


def abs_rel(predicted_depth: np.ndarray, true_depth: np.ndarray) -> float:
    """Mean of |predicted − true| / true; depths > 0, of one shape."""
    return float(np.mean(np.abs(predicted_depth - true_depth) / true_depth))


def delta_share(predicted_depth: np.ndarray, true_depth: np.ndarray, ratio: float = 1.25) -> float:
    """Share of values where the larger depth is less than ``ratio`` times the smaller."""
    larger = np.maximum(predicted_depth / true_depth, true_depth / predicted_depth)
    return float(np.mean(larger < ratio))


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation in [-1, 1]; 0 where either side is constant (it then explains nothing)."""
    x, y = np.asarray(x, np.float64).ravel(), np.asarray(y, np.float64).ravel()
    x, y = x - x.mean(), y - y.mean()
    norm = math.sqrt((x @ x) * (y @ y))
    # A constant array minus its mean is only rounding, whose direction means nothing.
    return float((x @ y) / norm) if norm > 1e-12 * len(x) else 0.0


def depth_from_disparity(disparity: np.ndarray, nearest: float, farthest: float) -> np.ndarray:
    """1 / disparity, kept between two depths.

    An aligned disparity can fall to zero or below; without a limit one such pixel decides a mean.

    Args:
        disparity: any shape.
        nearest: least depth, > 0.
        farthest: greatest depth.
    """
    return 1 / np.clip(disparity, 1 / farthest, 1 / nearest)
