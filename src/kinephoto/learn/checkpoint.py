"""The whole state of a run in one file that is always whole, and only goes on with the network it began with."""

from __future__ import annotations

import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from kinephoto.errors import InputError
from kinephoto.scene.depthnet import DepthNet, DepthNetConfig
from kinephoto.whole_file import written_whole


def sweep(folder: Path) -> None:
    """Remove what runs that were killed outright left half-written in this folder."""
    for left in folder.glob(".*.part"):
        if left.is_file():
            left.unlink(missing_ok=True)


def save_state(
    path: Path, net: DepthNet, average: DepthNet, optimiser: Any, step: int, seconds: float
) -> None:
    """Write the state after ``step`` steps; a kill in the middle leaves the one before."""
    state = {
        "config": asdict(net.config),
        "net": net.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
        "seconds": seconds,
    }
    with written_whole(path) as beside:
        torch.save(state, beside)


def read_state(
    path: Path, config: DepthNetConfig, device: torch.device | str = "cpu"
) -> dict[str, Any] | None:
    """What ``save_state`` wrote, or None where there is no file.

    Raises:
        InputError: the file can't be read, or belongs to another network than ``config``.
    """
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError):
        raise InputError(
            f"{path} is not the state of a run that can be read; give another --out, or move it away."
        ) from None
    parts = {"net", "average", "optimiser", "step", "seconds"}
    if not isinstance(state, dict) or not parts <= set(state):
        raise InputError(f"{path} is not the state of a run; give another --out, or move it away.")
    difference = _difference(state, config)
    if difference:
        raise InputError(
            f"{path} is the state of another network ({difference}); give another --out, or move it away."
        )
    return state


def _difference(state: dict[str, Any], config: DepthNetConfig) -> str:
    """What tells the state's network from that of ``config``, in words; nothing where they are one."""
    ours = asdict(config)
    theirs = {key: tuple(v) if isinstance(v, list) else v for key, v in state.get("config", ours).items()}
    for key in sorted({*ours, *theirs}):
        if ours.get(key) != theirs.get(key):
            return f"{key} {theirs.get(key)}, here {ours.get(key)}"
    with torch.device("meta"):
        wanted = {name: tuple(value.shape) for name, value in DepthNet(config).state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state["net"].items()}
    odd = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
    return f"{odd[0]} {found.get(odd[0])}, here {wanted.get(odd[0])}" if odd else ""
