"""How fast weights learn, and how fast their running average follows: shared by all runs."""

from __future__ import annotations

import math

import torch


def warm_cosine(step: int, steps: int, warm_up: int, floor: float) -> float:
    """Share of the peak learning rate: a linear warm-up, then half a cosine to ``floor``.

    Args:
        step: from 0.
        steps: of the whole run.
        warm_up: steps of the warm-up, at most ``steps``.
        floor: share at the end, in [0, 1].
    """
    warm = min(1.0, (step + 1) / min(warm_up, steps))
    return warm * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * step / steps)))


@torch.no_grad()
def follow(average: torch.nn.Module, net: torch.nn.Module, decay: float) -> None:
    """Move the averaged weights towards those of ``net`` that learn, keeping ``decay`` of themselves."""
    for mean, value in zip(average.parameters(), net.parameters(), strict=True):
        if value.requires_grad:
            mean.lerp_(value.to(mean), 1 - decay)
