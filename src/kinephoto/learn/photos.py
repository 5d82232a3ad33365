"""Photos to learn from: a folder with a manifest, its splits, and pictures held in memory as bytes."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from kinephoto.errors import InputError

HELD_OUT_ONE_IN = 24


@dataclass(frozen=True, eq=False)
class Labelled:
    """A photo and its teacher's disparity.

    Attributes:
        name: path relative to the folder.
        rgb: [H, W, 3] uint8.
        code: [H, W] uint8; the disparity is (code / 255)², near is large, up to scale and shift.
    """

    name: str
    rgb: np.ndarray
    code: np.ndarray


def split_of(folder: Path, split: str) -> list[str]:
    """Names of the photos of a split by the folder's ``manifest.csv``.

    ``train`` loses a twenty-fourth, chosen by a hash of the name, to ``held-out``: the slice by which
    checkpoints are chosen. ``test`` is only for reported numbers.

    Raises:
        InputError: no manifest, or an unknown split.
    """
    if split not in ("train", "held-out", "test"):
        raise InputError(f"{split!r} is not a split; there are train, held-out and test.")
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        raise InputError(f"{folder} holds no manifest.csv (columns path and split).")
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if split == "test":
        return [row["path"] for row in rows if row["split"] == "test"]
    held_out = split == "held-out"
    return [row["path"] for row in rows if row["split"] == "train" and _is_held_out(row["path"]) == held_out]


def _is_held_out(name: str) -> bool:
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % HELD_OUT_ONE_IN == 0


def read_labelled(folder: Path, name: str) -> Labelled:
    """One photo with the label that lies in ``disparity/`` under the same name.

    Raises:
        InputError: the label is missing or has another size than the photo.
    """
    label = (folder / "disparity" / Path(*Path(name).parts[1:])).with_suffix(".avif")
    if not label.is_file():
        raise InputError(f"{name} has no disparity label ({label.name} is missing).")
    rgb = np.asarray(Image.open(folder / name).convert("RGB"))
    code = np.asarray(Image.open(label).convert("L"))
    if rgb.shape[:2] != code.shape:
        raise InputError(f"{name} is {rgb.shape[:2]}, its disparity label {code.shape}.")
    return Labelled(name, rgb, code)
