"""The state of a painter's run in one file, and its weights as a folder that diffusers loads."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from kinephoto.errors import InputError
from kinephoto.learn.photos import reason
from kinephoto.learn.trainee import Trainee
from kinephoto.painter.networks import quiet
from kinephoto.painter.pipeline import MUNetPipeline
from kinephoto.whole_file import written_whole


def save_painter_state(
    path: Path,
    trainee: Trainee,
    average: Trainee,
    optimiser: Any,
    step: int,
    seconds: float,
    kind: Mapping[str, Any],
    scaler: Any = None,
) -> None:
    """Write the state after ``step`` steps; a kill or a full disk in the middle leaves the one before.

    ``scaler`` is what accelerate multiplies losses by in half precision, None in any other.
    """
    state = {
        "net": trainee.learnt(),
        "average": average.learnt(),
        "optimiser": optimiser.state_dict(),
        "step": step,
        "seconds": seconds,
        "kind": dict(kind),
        "scaler": None if scaler is None else scaler.state_dict(),
    }
    try:
        with written_whole(path) as beside:
            torch.save(state, beside)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"The state can't be written to {path} ({reason(error)}); the one before is still there."
        ) from None


def read_painter_state(path: Path, trainee: Trainee, kind: Mapping[str, Any]) -> dict[str, Any] | None:
    """What ``save_painter_state`` wrote, or None where there is no file.

    Raises:
        InputError: it can't be read, or belongs to a run with other settings or another network.
    """
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError):
        state = None
    parts = {"net", "average", "optimiser", "step", "seconds", "kind"}
    if not isinstance(state, dict) or not parts <= set(state):
        raise InputError(
            f"{path} is not the state of a run that can be read; give another --out, or move it away."
        )
    for name, ours in kind.items():
        theirs = state["kind"].get(name)
        if theirs != ours:
            called = name if " " in name else f"--{name.replace('_', '-')}"
            raise InputError(
                f"{path} is the state of a run with {called} {theirs}, here {ours}; give another --out, or move it "
                "away."
            )
    wanted = {name: tuple(value.shape) for name, value in trainee.learnt().items()}
    found = {name: tuple(value.shape) for name, value in state["net"].items()}
    odd = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
    if odd:
        raise InputError(
            f"{path} is the state of another network ({odd[0]} is {found.get(odd[0])}, here {wanted.get(odd[0])}); "
            "give another --out, or move it away."
        )
    return state


def save_painter(pipeline: MUNetPipeline, folder: Path, whole: bool) -> None:
    """Write the weights in half precision, as safetensors; the folder changes in one move.

    Args:
        pipeline: with the weights.
        folder: replaced if it is there.
        whole: the whole pipeline; else only what a Stable Diffusion UNet lacks, as ``masking.safetensors``.
    """
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        if whole:
            _save_whole(pipeline, beside)
        else:
            beside.mkdir(parents=True)
            weights = {k: v.half().contiguous() for k, v in pipeline.unet.masking_weights().items()}
            save_file(
                weights, beside / "masking.safetensors", {"variant": pipeline.unet.config["mask_variant"]}
            )
        for path in beside.rglob("*.safetensors"):
            path.chmod(0o644)  # safetensors writes for the owner alone
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise InputError(f"The weights can't be written to {folder} ({reason(error)}).") from None


def _save_whole(pipeline: MUNetPipeline, folder: Path) -> None:
    halved: dict[str, Any] = {
        name: copy.deepcopy(part).half() if isinstance(part, torch.nn.Module) else part
        for name, part in pipeline.components.items()
    }
    config = pipeline.config
    with quiet():
        type(pipeline)(
            **halved, condition=config["condition"], residual_scale=config["residual_scale"]
        ).save_pretrained(folder, safe_serialization=True)
    for path in folder.glob("*/config.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        # Where the start lay on this machine is nobody's business.
        content.pop("_name_or_path", None)
        path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
