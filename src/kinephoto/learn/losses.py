"""What the depth network is told about its answer.

A disparity is known up to scale and shift. The label is normalised by its median and mean deviation; the
answer is compared with it directly, after the best scale and shift, and in its gradients, where edges are
(Ranftl et al., Towards Robust Monocular Depth Estimation, 2020, Eq. 6-11).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LABEL_LIMIT = 6.0
"""Very near things have a long tail; a bounded label keeps them from ruling the mean. In mean deviations."""


def normalised(disparity: Tensor) -> Tensor:
    """[B, H, W] with median 0 and mean absolute deviation 1 (MiDaS, Eq. 6)."""
    flat = disparity.flatten(1)
    shift = flat.median(dim=1, keepdim=True).values
    scale = (flat - shift).abs().mean(dim=1, keepdim=True).clamp_min(1e-3)
    return ((flat - shift) / scale).view_as(disparity)


def aligned(found: Tensor, truth: Tensor) -> Tensor:
    """``found`` scaled and shifted to ``truth`` by least squares, each picture by itself; both [B, H, W]."""
    x, y = found.flatten(1), truth.flatten(1)
    mean_x, mean_y = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
    covariance = ((x - mean_x) * (y - mean_y)).mean(1, keepdim=True)
    slope = covariance / ((x - mean_x).square().mean(1, keepdim=True) + 1e-4)
    return (mean_y + slope * (x - mean_x)).view_as(found)


def gradient_loss(found: Tensor, truth: Tensor, scales: int = 4) -> Tensor:
    """Mean absolute difference of the gradients at 1, 1/2, 1/4, 1/8 of the size (MiDaS, Eq. 11)."""
    error = found - truth
    total = error.new_zeros(())
    for scale in range(scales):
        part = error[:, :: 2**scale, :: 2**scale]
        total = total + part.diff(dim=1).abs().mean() + part.diff(dim=2).abs().mean()
    return total


def loss_parts(found: Tensor, disparity: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The direct, the scale-and-shift-invariant and the gradient part; both [B, H, W].

    The first is zero for the normalised label, the other two for any multiple of it with any shift.
    """
    truth = normalised(disparity).clamp(-LABEL_LIMIT, LABEL_LIMIT)
    fitted = aligned(found, truth)
    return (found - truth).abs().mean(), (fitted - truth).abs().mean(), gradient_loss(fitted, truth)


def distill_loss(found: Tensor, disparity: Tensor) -> Tensor:
    """Zero for a perfect answer, the normalised label; both [B, H, W]."""
    direct, invariant, gradient = loss_parts(found, disparity)
    return direct + 0.5 * invariant + 0.5 * gradient


def feature_loss(found: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """Mean squared difference of normalised token features, the average over taps."""
    return torch.stack([F.mse_loss(a.float(), b.float()) for a, b in zip(found, wanted, strict=True)]).mean()
