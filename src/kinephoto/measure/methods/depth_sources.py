"""What can be measured as a depth estimator: a function from rgb [3, H, W] to disparity [h, w]."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError

# Near is large, any size with the photo's aspect, known up to scale and shift.
DisparityOf = Callable[[Tensor], Tensor]

PLANE = "plane"
WORDS = (
    f"{PLANE}, builtin, auto, hub:ID, the folder of a depth network, or a .safetensors file of kinephoto's"
)


@dataclass(frozen=True)
class DepthMethod:
    """A depth estimator to measure.

    Attributes:
        name: in the tables.
        disparity_of: the estimator.
        weights: SHA-256 of the file of its weights; None where there is no such file, or the hub has it.
    """

    name: str
    disparity_of: DisparityOf
    weights: str | None = None


def methods_named(
    names: Sequence[str],
    *,
    device: str | None = None,
    offline: bool = False,
    short_side_px: int | None = None,
) -> list[DepthMethod]:
    """The estimators of these names, as ``kinephoto animate --depth`` takes them; ``plane`` knows nothing.

    Args:
        names: ``plane``, ``builtin``, ``auto`` (what a film would take here), ``hub:ID``, the folder of a network
            for transformers, or a .safetensors file of the built-in network's kind.
        device: where networks run; None is the processor.
        offline: take the hub's from the cache only.
        short_side_px: what networks of transformers see of a picture; None: what they see of a film's photo.

    Raises:
        InputError: no names, a name that is none of these or stands there twice, or a network that can't be read.
    """
    if not names:
        raise InputError(f"There is no depth to measure; name one or more of {WORDS}.")
    methods = [_named(name, device or "cpu", offline, short_side_px) for name in names]
    found = [method.name for method in methods]
    twice = [name for name in found if found.count(name) > 1]
    if twice:
        raise InputError(f"The depth {twice[0]!r} is to be measured twice; each name may stand there once.")
    return methods


def _named(name: str, device: str, offline: bool, short_side_px: int | None) -> DepthMethod:
    from kinephoto.painter.catalogue import checksum
    from kinephoto.scene.depth_networks import best_cached
    from kinephoto.scene.depthnet import builtin_weights

    if name == PLANE:
        return DepthMethod(name, constant_plane)
    if name == "auto":
        cached_id = best_cached()
        name, offline = (f"hub:{cached_id}", True) if cached_id else ("builtin", offline)
    if name == "builtin":
        return DepthMethod(name, builtin(device), checksum(builtin_weights()))
    if name.startswith("hub:"):
        return DepthMethod(name, _transformers(name.removeprefix("hub:"), device, offline, short_side_px))
    path = Path(name)
    if path.is_dir():
        network = _transformers(path, device, True, short_side_px)
        weights = path / "model.safetensors"
        return DepthMethod(path.resolve().name, network, checksum(weights) if weights.is_file() else None)
    if path.suffix == ".safetensors":
        return DepthMethod(path.stem, weights_file(path, device), checksum(path))
    raise InputError(f"There is no depth {name!r} to measure; there are {WORDS}.")


def _transformers(name: str | Path, device: str, offline: bool, short_side_px: int | None) -> DisparityOf:
    from kinephoto.scene.depth_networks import SHORT_SIDE_PX, TransformersDepth

    network = TransformersDepth(
        name, device=device, offline=offline, short_side_px=short_side_px or SHORT_SIDE_PX
    )
    return lambda rgb: network.disparity(rgb).values


def constant_plane(rgb: Tensor) -> Tensor:
    """The baseline that knows nothing: everything is equally far."""
    return torch.ones(rgb.shape[1:])


def builtin(device: str = "cpu") -> DisparityOf:
    """The network inside the package."""
    from kinephoto.scene.depthnet import load_builtin

    return load_builtin(device).disparity


def weights_file(path: Path, device: str = "cpu") -> DisparityOf:
    """The built-in network's architecture with other weights, such as a training run's checkpoint."""
    from kinephoto.scene.depthnet import load_depthnet

    return load_depthnet(path, device).disparity


def transformers_folder(folder: Path, short_side_px: int) -> DisparityOf:
    """A depth network saved for transformers, which sees photos at ``short_side_px``.

    Raises:
        InputError: the folder holds no such network.
    """
    return _transformers(folder, "cpu", True, short_side_px)


def cached(disparity_of: DisparityOf, folder: Path) -> DisparityOf:
    """The same source, each picture's answer kept as a file; a slow network is run once per picture.

    Args:
        folder: made if absent; one folder for one source and setting.
    """

    def disparity(rgb: Tensor) -> Tensor:
        pixels = (rgb * 255).round().byte().contiguous().numpy()
        path = (
            folder / f"{hashlib.sha256(pixels.tobytes() + str(pixels.shape).encode()).hexdigest()[:24]}.npy"
        )
        if path.exists():
            return torch.from_numpy(np.load(path))
        found = disparity_of(rgb).cpu()
        folder.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part.npy")
        np.save(beside, found.numpy())
        beside.replace(path)
        return found

    return disparity
