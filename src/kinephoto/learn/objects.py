"""Object pairs: objects of a photo at pixel level, and the photo (Sec. 3.3): what outpainting learns from.

Objects come from annotations in COCO's format, of which things count, no crowds and nothing tiny, or from a
folder of masks. A crop holds one to several objects; all around them is the hole. Of two kinds:

- ``scene``: nothing but the objects is known, and the hole is filled with their mean colour;
- ``finer``: the hole is filled with the photo itself, but blurred, as a smaller painting is when it is enlarged.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.learn.hole_crops import HoleBatch
from kinephoto.learn.photos import Labelled, reason
from kinephoto.painter.scene_painting import mean_fill

MOST_OBJECTS = 3
LEAST_AREA = 0.01
"""Share of the photo; smaller objects are left out."""

LEAST_KNOWN, MOST_KNOWN = 0.02, 0.7
"""Share of a crop that its objects may cover."""

FINER_SHARE = 0.5
BLURRED_BY = (1.5, 4.0)
"""How many times smaller the painting was that a ``finer`` hole is filled with."""

TRIES = 20


@dataclass(frozen=True, eq=False)
class Outline:
    """An object of a photo.

    Attributes:
        polygons: of its outline, [N, 2] float32 px each, x before y; empty with a mask.
        hw: of the photo that they were drawn on.
        mask: a file, white where the object is, None with polygons.
    """

    polygons: tuple[np.ndarray, ...] = ()
    hw: tuple[int, int] = (0, 0)
    mask: Path | None = None

    def drawn(self, hw: tuple[int, int]) -> np.ndarray:
        """[H, W] bool, at a photo's size.

        Raises:
            InputError: the mask can't be read.
        """
        if self.mask is not None:
            found = cv2.imread(str(self.mask), cv2.IMREAD_GRAYSCALE)
            if found is None:
                raise InputError(f"{self.mask} is not a mask that can be read.")
            return cv2.resize(found, hw[::-1], interpolation=cv2.INTER_AREA) > 127
        scale = np.array([hw[1] / self.hw[1], hw[0] / self.hw[0]])
        drawn = np.zeros(hw, np.uint8)
        # fillPoly means pixel centres by whole numbers; the file means corners.
        corners = [np.round((polygon * scale - 0.5) * 256).astype(np.int32) for polygon in self.polygons]
        cv2.fillPoly(drawn, corners, 1, shift=8)
        return drawn > 0


def read_outlines(sources: Sequence[Path], names: Iterable[str]) -> dict[str, list[Outline]]:
    """The objects of each photo by its name; photos without any are left out.

    Args:
        sources: files in COCO's format (instances.json), and folders of masks, one under each photo's name.
        names: of all photos there are, relative to their folder.

    Raises:
        InputError: a source can't be read, names photos that there aren't, or holds no object of any of them.
    """
    names = list(names)
    found: dict[str, list[Outline]] = defaultdict(list)
    for source in sources:
        read = _masks_of(source, names) if source.is_dir() else _instances_of(source, names)
        if not read:
            raise InputError(f"{source} has no object of any of the {len(names)} photos.")
        for name, outlines in read.items():
            found[name] += outlines
    return dict(found)


def _instances_of(file: Path, names: Sequence[str]) -> dict[str, list[Outline]]:
    by_short = {name.removeprefix("photos/"): name for name in names}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        images = {image["id"]: image for image in content["images"]}
        wanted = [(images[each["image_id"]], each) for each in content["annotations"] if _counts(each)]
        found: dict[str, list[Outline]] = defaultdict(list)
        for image, each in wanted:
            name, hw = by_short.get(str(image["file_name"])), (int(image["height"]), int(image["width"]))
            if name is not None and float(each["area"]) >= LEAST_AREA * hw[0] * hw[1]:
                corners = (np.array(part, np.float32).reshape(-1, 2) for part in each["segmentation"])
                found[name].append(Outline(tuple(part for part in corners if len(part) > 2), hw))
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} is not a file of objects in COCO's format ({reason(error)}).") from None
    return found


def _counts(annotation: Mapping[str, Any]) -> bool:
    """Whether it is an object with polygons; crowds have none."""
    return not annotation.get("iscrowd", 0) and isinstance(annotation["segmentation"], list)


def _masks_of(folder: Path, names: Sequence[str]) -> dict[str, list[Outline]]:
    """Photos ``SET/NAME.webp`` and masks ``NAME.png`` in a folder SET, or wherever the names agree."""
    masks = {path.stem: path for path in sorted(folder.glob("*.png"))}
    stems = [(name, Path(name)) for name in names]
    inside = [(name, path) for name, path in stems if path.parent.name == folder.name] or stems
    return {name: [Outline(mask=masks[path.stem])] for name, path in inside if path.stem in masks}


class ObjectBank:
    """Photos with the objects in them.

    Args:
        photos: to draw from; those without objects are left out.
        outlines: from ``read_outlines``.

    Raises:
        InputError: no photo has an object.
    """

    def __init__(self, photos: Sequence[Labelled], outlines: Mapping[str, Sequence[Outline]]) -> None:
        self._outlines = outlines
        self._photos: Sequence[Labelled] = [photo for photo in photos if outlines.get(photo.name)]
        if not self._photos:
            raise InputError(f"None of the {len(photos)} photos has an object to paint a scene around.")

    def __len__(self) -> int:
        return len(self._photos)

    def crop(self, side_px: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, str]:
        """A square of a photo around objects, scaled to ``side_px``.

        Returns:
            rgb, known and filled as in ``HoleBatch``, and the photo's name.
        """
        photo: Labelled | None = None
        for _ in range(TRIES):
            tried = self._photos[int(rng.integers(len(self._photos)))]
            drawn = self._drawn(tried, rng)
            if not drawn.any():
                continue
            photo, window = tried, _window(drawn, side_px, rng)
            inside = cv2.resize(
                drawn[window].astype(np.float32), (side_px, side_px), interpolation=cv2.INTER_AREA
            )
            if LEAST_KNOWN <= (inside > 0.999).mean() <= MOST_KNOWN:
                break
        if photo is None:
            raise InputError(f"{TRIES} photos were drawn, and none of them shows an object.")
        rgb = cv2.resize(photo.rgb[window], (side_px, side_px), interpolation=cv2.INTER_AREA)
        # Partly covered pixels show the scene already.
        known = inside > 0.999
        if not known.any():
            known[np.unravel_index(int(inside.argmax()), known.shape)] = True
        if rng.random() < 0.5:
            rgb, known = rgb[:, ::-1], known[:, ::-1]
        picture = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1).float() / 255
        is_known = torch.from_numpy(np.ascontiguousarray(known))
        finer = rng.random() < FINER_SHARE
        fill = blurred(picture, float(rng.uniform(*BLURRED_BY))) if finer else mean_fill(picture, is_known)
        return picture, is_known, torch.where(is_known, picture, fill), photo.name

    def _drawn(self, photo: Labelled, rng: np.random.Generator) -> np.ndarray:
        """[H, W] bool, one to several of the photo's objects."""
        outlines = self._outlines[photo.name]
        count = int(rng.integers(1, min(MOST_OBJECTS, len(outlines)) + 1))
        chosen = rng.choice(len(outlines), count, replace=False)
        masks = [outlines[int(each)].drawn(photo.code.shape) for each in chosen]
        return np.logical_or.reduce(masks)


class MappedObjects(ObjectBank):
    """Photos that bring a map of their objects along.

    Args:
        photos: each with ``Labelled.objects``; they are read when drawn.

    Raises:
        InputError: there are none.
    """

    def __init__(self, photos: Sequence[Labelled]) -> None:
        if not len(photos):
            raise InputError("No photo has objects to paint a scene around (NAME.objects.png in its shard).")
        self._photos = photos

    def _drawn(self, photo: Labelled, rng: np.random.Generator) -> np.ndarray:
        if photo.objects is None:
            return np.zeros(photo.code.shape, bool)
        numbers = np.unique(photo.objects)
        numbers = numbers[numbers > 0]
        if not len(numbers):
            return np.zeros(photo.code.shape, bool)
        count = int(rng.integers(1, min(MOST_OBJECTS, len(numbers)) + 1))
        return np.isin(photo.objects, rng.choice(numbers, count, replace=False))


def object_map(outlines: Sequence[Outline], hw: tuple[int, int]) -> np.ndarray:
    """[H, W] uint8, k where the k-th object is, 0 elsewhere: where objects overlap, the smallest; 255 at most.

    Raises:
        InputError: a mask can't be read.
    """
    drawn = sorted((outline.drawn(hw) for outline in outlines), key=np.count_nonzero, reverse=True)
    found = np.zeros(hw, np.uint8)
    for number, each in enumerate(drawn[:255], 1):
        found[each] = number
    return found


def _window(drawn: np.ndarray, least_px: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """A square, from ``least_px`` or less to the photo's short side, that holds a random object pixel."""
    short = min(drawn.shape)
    side = round(np.exp(rng.uniform(np.log(min(least_px, short)), np.log(short))))
    side = short if rng.random() < 0.5 else side
    ys, xs = np.nonzero(drawn)
    at = rng.integers(len(ys))
    first = [
        int(np.clip(middle - rng.integers(side // 4, side - side // 4 + 1), 0, whole - side))
        for middle, whole in zip((ys[at], xs[at]), drawn.shape, strict=True)
    ]
    return slice(first[0], first[0] + side), slice(first[1], first[1] + side)


def blurred(rgb: Tensor, factor: float) -> Tensor:
    """[3, H, W], made so many times smaller and large again."""
    hw = tuple(rgb.shape[1:])
    small = [max(1, round(side / factor)) for side in hw]
    shrunk = torch.nn.functional.interpolate(rgb[None], small, mode="area")
    large = torch.nn.functional.interpolate(shrunk, hw, mode="bicubic", align_corners=False)
    return large[0].clamp(0, 1)


def object_batch(bank: ObjectBank, side_px: int, keys: Sequence[tuple[int, ...]]) -> HoleBatch:
    """One crop for each key, which depends on the key alone."""
    rgb, known, filled, names = zip(
        *(bank.crop(side_px, np.random.default_rng(key)) for key in keys), strict=True
    )
    return HoleBatch(torch.stack(rgb), torch.stack(known), torch.stack(filled), list(names))
