"""Labels that are not there yet: the teacher makes each once, and a folder keeps it under the picture's hash."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from kinephoto.scene.depthnet import DepthNet, builtin_weights, load_depthnet
from kinephoto.whole_file import written_whole

QUALITY = 95
"""Of the AVIF file."""


class Labeller(Protocol):
    """Whoever can say how near things are: the teacher, or the built-in network.

    Attributes:
        fingerprint: of its weights; another one has another.
    """

    @property
    def fingerprint(self) -> bytes: ...

    def disparity(self, rgb: torch.Tensor) -> torch.Tensor:
        """[3, H, W] in [0, 1] to [H, W] float32, near is large, up to scale and shift."""
        ...


class BuiltinDepth:
    """The built-in depth network as a labeller."""

    @cached_property
    def fingerprint(self) -> bytes:
        """Of the weights' file."""
        return hashlib.sha256(builtin_weights().read_bytes()).digest()

    def disparity(self, rgb: torch.Tensor) -> torch.Tensor:
        """[3, H, W] in [0, 1] to [H, W] float32, near is large."""
        return self._net.disparity(rgb)

    @cached_property
    def _net(self) -> DepthNet:
        return load_depthnet(builtin_weights())


class TeacherLabels:
    """The teacher's disparities of pictures, each computed once.

    Args:
        teacher: who makes them.
        folder: made when the first label is; None keeps nothing.
    """

    def __init__(self, teacher: Labeller, folder: Path | None) -> None:
        self._teacher = teacher
        self._folder = folder
        self._one_at_a_time = Lock()

    def code(self, rgb: np.ndarray) -> np.ndarray:
        """The label of a picture [H, W, 3] uint8: see ``kinephoto.learn.photos.Labelled.code``."""
        if self._folder is None:
            return self._made(rgb)
        path = self._folder / f"{key_of(self._teacher.fingerprint, rgb)}.avif"
        # The network takes all threads anyway, and the same picture may come twice.
        with self._one_at_a_time:
            if not path.is_file():
                self._keep(self._made(rgb), path)
        # Also the first time from the file: coding changes it a little.
        return read_code(path)

    def _made(self, rgb: np.ndarray) -> np.ndarray:
        picture = torch.from_numpy(rgb.copy()).permute(2, 0, 1).float() / 255
        return code_of(self._teacher.disparity(picture).numpy())

    def _keep(self, code: np.ndarray, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as beside:
            Image.fromarray(code).save(beside, format="AVIF", quality=QUALITY)


def key_of(fingerprint: bytes, pictures: np.ndarray) -> str:
    """A name for what these weights see in these pictures, of any shape."""
    said = f"{pictures.shape}".encode()
    return hashlib.sha256(fingerprint + said + pictures.tobytes()).hexdigest()[:32]


def code_of(disparity: np.ndarray) -> np.ndarray:
    """[H, W] of any scale and shift to uint8 square roots: far things, whose disparities are small, keep more steps."""
    low, high = float(disparity.min()), float(disparity.max())
    share = (disparity - low) / max(high - low, 1e-9)
    return np.round(np.sqrt(share) * 255).astype(np.uint8)


def read_code(path: Path) -> np.ndarray:
    """A label file as [H, W] uint8."""
    with Image.open(path) as file:
        return np.asarray(file.convert("L"))
