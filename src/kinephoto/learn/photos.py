"""Photos to learn from: a folder, its splits, and pictures held in memory as bytes.

A folder with ``manifest.csv`` (columns path and split) is taken as that says; in a folder without, every
picture is for training. A photo's label lies in ``disparity/`` under the same name, or the teacher makes it.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import cv2
import numpy as np
from PIL import Image

from kinephoto.errors import InputError
from kinephoto.learn.labels import TeacherLabels, read_code
from kinephoto.learn.tar_places import INDEX

HELD_OUT_ONE_IN = 24

SPLITS = ("train", "held-out", "test")

MOST_BAD = 0.05
"""Share of the photos that may be unusable; with more, the folder is not what it was taken for."""

SHORT_SIDE_PX = 384
"""Of pictures without a ready label: the network's convolutions see no more."""

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif", ".tif", ".tiff", ".bmp", ".gif"}


@dataclass(frozen=True, eq=False)
class Labelled:
    """A photo and its teacher's disparity.

    Attributes:
        name: path relative to the folder.
        rgb: [H, W, 3] uint8.
        code: [H, W] uint8; the disparity is (code / 255)², near is large, up to scale and shift.
        objects: [H, W] uint8, k where the k-th object is and 0 elsewhere; None where none are known.
    """

    name: str
    rgb: np.ndarray
    code: np.ndarray
    objects: np.ndarray | None = None


@dataclass(frozen=True)
class Skipped:
    """A photo that can't be used, and a sentence that says why."""

    name: str
    why: str


@dataclass(frozen=True)
class Progress:
    """Where a run stands: after a photo has been read, or after a step.

    Attributes:
        step: steps done, or photos read, of ``steps``.
        loss: of the step, NaN while photos are read.
        held_out: mean correlation with the teacher on the held-out photos, after a check.
        seconds: spent reading photos in this run, or training in all runs that went before it too.
        stage: what is counted.
        note: a sentence for the user, or nothing.
        skipped: photos that could not be used so far.
    """

    step: int
    steps: int
    loss: float
    held_out: float | None
    seconds: float
    stage: Literal["photos", "training"] = "training"
    note: str = ""
    skipped: int = 0


@dataclass(frozen=True, eq=False)
class PhotoSet:
    """The photos of a run: in memory those of a folder, read when asked for those of shards.

    Attributes:
        train: to learn from.
        held_out: to check on.
        skipped: that can't be used; it grows where photos are read when asked for.
    """

    train: Sequence[Labelled]
    held_out: Sequence[Labelled]
    skipped: list[Skipped]


def split_of(folder: Path, split: str, without: Path | None = None) -> list[str]:
    """Names of the photos of a split, relative to the folder.

    ``train`` loses a twenty-fourth, chosen by a hash of the name, to ``held-out``: the slice by which
    checkpoints are chosen. ``test`` is only for reported numbers.

    Args:
        folder: of photos.
        split: ``train``, ``held-out`` or ``test``.
        without: a folder whose pictures are no photos, such as that of a run's own labels.

    Raises:
        InputError: no such folder, nothing in it to learn from, or an unknown split.
    """
    if split not in SPLITS:
        raise InputError(f"{split!r} is not a split; there are {', '.join(SPLITS[:-1])} and {SPLITS[-1]}.")
    if not folder.is_dir():
        raise InputError(f"There is no folder of photos {folder}.")
    manifest = folder / "manifest.csv"
    train, test = _listed(manifest) if manifest.is_file() else (_found(folder, without), [])
    if split == "test":
        return test
    held_out = {name for name in train if is_held_out(name)}
    if not held_out and train:
        # Few photos: one must be kept all the same.
        held_out = {min(train, key=_hash)}
    return [name for name in train if (name in held_out) == (split == "held-out")]


def _listed(manifest: Path) -> tuple[list[str], list[str]]:
    """The manifest's photos for training and for tests."""
    try:
        with manifest.open(newline="", encoding="utf-8") as file:
            rows = [(row["path"], row["split"]) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise InputError(
            f"{manifest} can't be read as a table with the columns path and split ({error})."
        ) from None
    train, test = ([path for path, split in rows if path and split == name] for name in ("train", "test"))
    both = set(train) & set(test)
    if both:
        raise InputError(f"{manifest} lists {min(both)} both for train and for test.")
    if not train:
        raise InputError(f"{manifest} lists no photo of the split train.")
    return list(dict.fromkeys(train)), test


def _found(folder: Path, without: Path | None) -> list[str]:
    """All pictures of a folder without a manifest, but for labels, masks, depth maps and hidden files."""
    names = []
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        apart = inside.parts[0] in ("disparity", "masks") or any(
            part.startswith(".") for part in inside.parts
        )
        apart = apart or (without is not None and path.resolve().is_relative_to(without.resolve()))
        if path.suffix.lower() in SUFFIXES and not path.stem.endswith("_depth") and not apart:
            names.append(inside.as_posix())
    if not names:
        if (folder / INDEX).is_file():
            raise InputError(f"{folder} holds shards; name their index: {folder / INDEX}.")
        raise InputError(f"{folder} holds no pictures and no manifest.csv that lists any.")
    return sorted(names)


def is_held_out(name: str) -> bool:
    """Whether a photo of the split ``train`` is kept for checks."""
    return _hash(name) % HELD_OUT_ONE_IN == 0


def _hash(name: str) -> int:
    return int(hashlib.sha256(name.encode()).hexdigest(), 16)


def label_path(folder: Path, name: str) -> Path:
    """Where a photo's ready label lies, if there is one."""
    return (folder / "disparity" / name.removeprefix("photos/")).with_suffix(".avif")


def read_labelled(folder: Path, name: str, labels: TeacherLabels | None = None) -> Labelled:
    """One photo with its label: the ready one, at the photo's size, or one that the teacher makes.

    A picture without a ready label is read upright, in sRGB, and at a short side of 384 px at most.

    Raises:
        InputError: the photo or the label can't be read, they differ in size, or there is no label.
    """
    label = label_path(folder, name)
    if not label.is_file():
        if labels is None:
            raise InputError(
                f"{name} has no disparity label ({label.name} is missing) and there is no --teacher to make one."
            )
        rgb = upright(folder / name)
        return Labelled(name, rgb, labels.code(rgb))
    try:
        with Image.open(folder / name) as file:
            rgb = np.asarray(file.convert("RGB"))
    except Exception as error:  # Pillow's decoders each raise kinds of their own
        raise InputError(f"{name} is not a picture that can be read ({reason(error)}).") from None
    try:
        code = read_code(label)
    except Exception as error:
        raise InputError(
            f"The label of {name} is not a picture that can be read ({reason(error)})."
        ) from None
    if rgb.shape[:2] != code.shape:
        raise InputError(f"{name} is {rgb.shape[:2]}, its disparity label {code.shape}.")
    return Labelled(name, rgb, code)


def read_all(folder: Path, names: list[str], labels: TeacherLabels | None) -> Iterator[Labelled | Skipped]:
    """Every photo in the order of names, or why it can't be used; about 0.6 MB each."""

    def read(name: str) -> Labelled | Skipped:
        try:
            return read_labelled(folder, name, labels)
        except InputError as error:
            return Skipped(name, str(error))

    pool = ThreadPoolExecutor(2)
    try:
        yield from pool.map(read, names)
    finally:
        pool.shutdown(cancel_futures=True)


def check_few_bad(folder: Path, skipped: list[Skipped], total: int) -> None:
    """Raise InputError when more than a twentieth of ``total`` photos can't be used."""
    if len(skipped) > MOST_BAD * total:
        raise InputError(
            f"More than {MOST_BAD:.0%} of the {total} photos in {folder} can't be used, {len(skipped)} so far; "
            f"the first: {skipped[0].why}"
        )


def upright(path: Path | BinaryIO, short_side_px: int = SHORT_SIDE_PX) -> np.ndarray:
    """A picture of any kind as [H, W, 3] uint8, sRGB, its short side ``short_side_px`` at most."""
    from kinephoto.scene.photo import read_photo

    rgb = read_photo(path, embedded_depth=False).rgb.permute(1, 2, 0).numpy()
    scale = short_side_px / min(rgb.shape[:2])
    if scale < 1:
        wh = (round(rgb.shape[1] * scale), round(rgb.shape[0] * scale))
        rgb = cv2.resize(rgb, wh, interpolation=cv2.INTER_AREA)
    return np.round(rgb * 255).clip(0, 255).astype(np.uint8)


def reason(error: Exception) -> str:
    """The first line of what others raised, or its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
