"""The folder of single photos: its manifest, the depth teacher's labels, masks of objects."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.learn.photos import split_of

# x0 y0 x1 y1 … of each ring of an object, px from the corner of the top-left pixel.
Rings = Sequence[Sequence[float]]


@dataclass(frozen=True)
class PhotoFiles:
    """A photo and what lies beside it.

    Attributes:
        folder: the folder of photos, which may hold ``manifest.csv``, ``disparity/`` and ``masks/``.
        path: the photo's file, relative to it, as the manifest writes it: ``photos/kodak/kodim01.webp``.
    """

    folder: Path
    path: str

    @property
    def name(self) -> str:
        """``kodak/kodim01``: the same photo is called so in every sub-folder."""
        return str(Path(self.path.removeprefix("photos/")).with_suffix(""))

    def rgb(self) -> Tensor:
        """[3, H, W] float32 in [0, 1]."""
        return read_rgb(self.folder / self.path)

    def label(self) -> np.ndarray | None:
        """The teacher's relative disparity [H, W] float32 in [0, 1], near is large, or None.

        Stored as 8-bit square roots: far things, whose disparities are small, keep more steps.

        Raises:
            InputError: the file is not a picture.
        """
        path = self._beside("disparity", ".avif")
        return (_pixels(path, "L").astype(np.float32) / 255) ** 2 if path.exists() else None

    def masks(self, polygons: Mapping[str, Sequence[Rings]]) -> list[np.ndarray]:
        """Where its objects are, each [H, W] bool; none where nobody drew them.

        Args:
            polygons: from ``read_polygons``; a file in ``masks/`` goes before them.

        Raises:
            InputError: the photo or its mask is not a picture, or a ring is not a list of points.
        """
        drawn = self._beside("masks", ".png")
        if drawn.exists():
            return [read_mask(drawn)]
        objects = polygons.get(self.path) or polygons.get(self.path.removeprefix("photos/")) or ()
        height, width = self.rgb().shape[1:] if objects else (0, 0)
        try:
            return [_filled(rings, (height, width)) for rings in objects]
        except (TypeError, ValueError):
            raise InputError(
                f"An object of {self.path} has an outline that is not a list of points."
            ) from None

    def _beside(self, folder: str, suffix: str) -> Path:
        # Not with_suffix: what follows a dot inside the name would be lost.
        return self.folder / folder / (self.name + suffix)


def photo_names(folder: Path, split: str = "test") -> list[str]:
    """The photos of a split. In a folder without manifest.csv ``test`` is all of them, as ``split_note`` says.

    Args:
        folder: of photos.
        split: ``test``, ``train`` or ``held-out``; the last two as training parts them.

    Raises:
        InputError: no such folder, a manifest that can't be read, or no picture of that split.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder of photos {folder}.")
    if split != "test":
        names = split_of(folder, split)
        if not names:
            raise InputError(f"{folder} holds no photo of the split {split}.")
        return names
    if not (folder / "manifest.csv").is_file():
        return sorted(split_of(folder, "train") + split_of(folder, "held-out"))
    try:
        return [photo.path for photo in read_manifest(folder, "test")]
    except (KeyError, UnicodeDecodeError, csv.Error):
        raise InputError(
            f"{folder / 'manifest.csv'} can't be read as a table with the columns path and split."
        ) from None


def split_note(folder: Path, split: str) -> str:
    """What is to be said where photos may be measured that networks were trained on; else nothing."""
    if split != "test" or (folder / "manifest.csv").is_file():
        return ""
    return (
        f"{folder} has no manifest.csv, so all its pictures are measured, also those that training on them may "
        "have seen; --split held-out leaves those out."
    )


def spread(names: Sequence[str], most: int | None) -> list[str]:
    """At most so many of the names, evenly spread over the list; all of them when None."""
    if most is None or len(names) <= most:
        return list(names)
    return [names[number * len(names) // most] for number in range(most)]


def read_manifest(folder: Path, split: str) -> list[PhotoFiles]:
    """The photos of one split, ``train`` or ``test``.

    Raises:
        InputError: there is no manifest, or no photo in that split.
    """
    path = folder / "manifest.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            found = [PhotoFiles(folder, row["path"]) for row in csv.DictReader(file) if row["split"] == split]
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from None
    if not found:
        raise InputError(f"{path} lists no photo of the split '{split}'.")
    return found


def read_rgb(path: Path) -> Tensor:
    """A picture as [3, H, W] float32 in [0, 1], pixels as they are stored.

    Raises:
        InputError: the file is missing or not a picture.
    """
    return torch.from_numpy(_pixels(path, "RGB").copy()).permute(2, 0, 1).float() / 255


def read_mask(path: Path) -> np.ndarray:
    """A picture's white pixels, [H, W] bool.

    Raises:
        InputError: the file is missing or not a picture.
    """
    return _pixels(path, "L") > 127


def _pixels(path: Path, mode: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as file:
            return np.asarray(file.convert(mode))
    except Exception:  # Pillow's decoders each raise kinds of their own
        raise InputError(f"{path} is not a picture that can be read.") from None


def read_polygons(folder: Path) -> dict[str, list[Rings]]:
    """The outlines of every object that is not a crowd, by its photo's file name.

    Args:
        folder: of photos; COCO's ``coco/instances.json`` in it may be missing.

    Raises:
        InputError: the file is something else.
    """
    path = folder / "coco" / "instances.json"
    if not path.exists():
        return {}
    found = defaultdict(list)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = {image["id"]: image["file_name"] for image in content["images"]}
        for thing in content["annotations"]:
            if isinstance(thing["segmentation"], list):
                found[names[thing["image_id"]]].append(thing["segmentation"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} is not a file of COCO's instances.") from None
    return dict(found)


def _filled(rings: Rings, hw: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres lie inside any of the rings."""
    import cv2

    # Filled finely and read at the pixels' centres: cv2 also paints every pixel that an outline touches.
    fine = 4
    canvas = np.zeros((hw[0] * fine, hw[1] * fine), np.uint8)
    for ring in rings:
        # Polygons count from the corner of the top-left pixel, cv2 from its centre.
        corners = np.asarray(ring).reshape(-1, 2) * fine - 0.5
        cv2.fillPoly(canvas, [np.round(corners).astype(np.int32)], 1)
    return canvas[fine // 2 :: fine, fine // 2 :: fine] > 0
