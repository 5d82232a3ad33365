"""The folder of single photos: its manifest, the depth teacher's labels, masks of objects."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError


@dataclass(frozen=True)
class PhotoFiles:
    """One line of the manifest.

    Attributes:
        folder: the folder that holds ``manifest.csv``.
        path: the photo's file, relative to it, as the manifest writes it: ``photos/kodak/kodim01.webp``.
    """

    folder: Path
    path: str

    @property
    def name(self) -> str:
        """``kodak/kodim01``: the same photo is called so in every sub-folder."""
        return str(Path(self.path).relative_to("photos").with_suffix(""))

    def rgb(self) -> Tensor:
        """[3, H, W] float32 in [0, 1]."""
        return read_rgb(self.folder / self.path)

    def label(self) -> np.ndarray | None:
        """The teacher's relative disparity [H, W] float32 in [0, 1], near is large, or None.

        Stored as 8-bit square roots: far things, whose disparities are small, keep more steps.
        """
        from PIL import Image

        path = (self.folder / "disparity" / self.name).with_suffix(".avif")
        if not path.exists():
            return None
        with Image.open(path) as file:
            return (np.asarray(file.convert("L"), dtype=np.float32) / 255) ** 2


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
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            pixels = np.asarray(file.convert("RGB"))
    except (OSError, UnidentifiedImageError):
        raise InputError(f"{path} is not a picture that can be read.") from None
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


def object_masks(photos: list[PhotoFiles]) -> Iterator[tuple[PhotoFiles, list[np.ndarray]]]:
    """The photos that have masks of objects, with these masks.

    Yields:
        The photo and its masks, each [H, W] bool of the photo's size; salient objects of PASCAL-S,
        things of COCO (crowds left out).
    """
    folder = photos[0].folder if photos else Path()
    by_file = _coco_polygons(folder / "coco" / "instances.json")
    for photo in photos:
        drawn = (folder / "masks" / photo.name).with_suffix(".png")
        polygons = by_file.get(photo.path) or by_file.get(photo.path.removeprefix("photos/"))
        if drawn.exists():
            yield photo, [read_mask(drawn)]
        elif polygons:
            height, width = photo.rgb().shape[1:]
            yield photo, [_filled(rings, (height, width)) for rings in polygons]


def read_mask(path: Path) -> np.ndarray:
    """A picture's white pixels, [H, W] bool."""
    from PIL import Image

    with Image.open(path) as file:
        return np.asarray(file.convert("L")) > 127


def _coco_polygons(path: Path) -> dict[str, list[list[list[float]]]]:
    """Polygons of each object that is not a crowd, by file name."""
    if not path.exists():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    names = {image["id"]: image["file_name"] for image in content["images"]}
    found = defaultdict(list)
    for thing in content["annotations"]:
        if isinstance(thing["segmentation"], list):
            found[names[thing["image_id"]]].append(thing["segmentation"])
    return dict(found)


def _filled(rings: list[list[float]], hw: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres lie inside any of the polygons x0 y0 x1 y1 ..."""
    import cv2

    # Filled finely and read at the pixels' centres: cv2 also paints every pixel that an outline touches.
    fine = 4
    canvas = np.zeros((hw[0] * fine, hw[1] * fine), np.uint8)
    for ring in rings:
        # Polygons count from the corner of the top-left pixel, cv2 from its centre.
        corners = np.asarray(ring).reshape(-1, 2) * fine - 0.5
        cv2.fillPoly(canvas, [np.round(corners).astype(np.int32)], 1)
    return canvas[fine // 2 :: fine, fine // 2 :: fine] > 0
