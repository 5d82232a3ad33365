"""What this machine computes on: its processors, and the devices that torch finds here."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

from kinephoto.errors import InputError

if TYPE_CHECKING:
    import torch


def usable_cores() -> int:
    """The processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_device(name: str | torch.device | None) -> torch.device:
    """A device of torch's, tried out; the processor when None.

    Raises:
        InputError: torch does not know it, or this machine does not have it.
    """
    import torch

    try:
        device = torch.device(name or "cpu")
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        # torch raises the first for names and devices it has not, the others where it was built without them.
        raise InputError(f"There is no device {str(name)!r} here; 'cpu' always works.") from error
    return device


def bfloat16_helps(device: str | torch.device | None = None) -> bool:
    """Whether bfloat16 is faster than float32 there.

    A processor without instructions for it takes ten times as long, measured on one with AVX2 alone.
    """
    import torch

    place = torch.device(device or "cpu")
    if place.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if place.type != "cpu":
        return False
    # oneDNN, which computes torch's convolutions and products on processors, does it without these too, slowly.
    if platform.machine().lower() in ("x86_64", "amd64"):
        return bool(torch.cpu._is_avx512_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
