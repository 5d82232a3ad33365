"""Photos to measure outpainting on: those with objects and captions, and which of both count in each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.learn.captions import read_captions
from kinephoto.learn.objects import MOST_KNOWN, MOST_OBJECTS, Outline, read_outlines
from kinephoto.learn.pairs import index_of
from kinephoto.learn.photos import Skipped, reason, split_of
from kinephoto.measure.photos import photo_names, read_manifest, spread
from kinephoto.measure.stlpips import LEAST_SIDE_PX

ATTEMPTS = 20


@dataclass(frozen=True, eq=False)
class Case:
    """A photo and what is asked of it.

    Attributes:
        name: of the photo, relative to its folder.
        outlines: of all its objects.
        prompt: one of its captions.
        other_prompt: another photo's caption; None where there is no other photo.
    """

    name: str
    outlines: tuple[Outline, ...]
    prompt: str
    other_prompt: str | None


@dataclass(frozen=True, eq=False)
class Collection:
    """What is measured, and what is learnt from.

    Attributes:
        folder: of the photos.
        cases: of the split that is measured, in the order of names.
        captions: of the photos of the split train, by name; nothing of it is measured.
    """

    folder: Path
    cases: tuple[Case, ...]
    captions: Mapping[str, Sequence[str]]


def read_collection(
    coco: Path,
    photos: Path | None = None,
    *,
    split: str = "test",
    most: int | None = None,
    most_learnt: int = 0,
    seed: int = 0,
) -> Collection:
    """The photos of a split that have objects and captions.

    Args:
        coco: a folder with instances.json and captions.json, whose file_name is relative to the photos' folder, or
            to ``photos/`` in it.
        photos: their folder; None: ``coco`` or the folder that it lies in, whichever has a manifest.csv, else
            ``coco``. Without a manifest all its pictures are of the split ``test``.
        split: ``test``, ``train`` or ``held-out``.
        most: so many photos at most, evenly spread.
        most_learnt: so many photos with captions of the split train, evenly spread.
        seed: chooses the captions.

    Raises:
        InputError: a file or folder is missing or is something else, or no photo has both.
    """
    if not coco.is_dir():
        raise InputError(f"There is no folder {coco} with instances.json and captions.json.")
    for file in ("instances.json", "captions.json"):
        if not (coco / file).is_file():
            raise InputError(
                f"{coco} has no {file}; it must hold instances.json and captions.json, as COCO has."
            )
    folder = photos or next((each for each in (coco, coco.parent) if _has_manifest(each)), coco)
    measured = photo_names(folder, split)
    if _has_manifest(folder):
        trained = _listed(folder, "train")
        others = trained + _listed(folder, "test")
    else:
        trained, others = split_of(folder, "train"), photo_names(folder)
    everything = list(dict.fromkeys(measured + others))
    captions = read_captions(coco / "captions.json", everything)
    outlines = read_outlines([coco / "instances.json"], everything)
    names = spread([name for name in measured if name in captions and name in outlines], most)
    if not names:
        raise InputError(
            f"Of the {len(measured)} photos to measure in {folder} none has both objects of 1 % of it or more in "
            f"{coco / 'instances.json'} and a caption in {coco / 'captions.json'}."
        )
    apart = set(measured)
    learnable = [name for name in trained if name in captions and name not in apart]
    learnt = {name: captions[name] for name in spread(learnable, most_learnt)}
    return Collection(folder, tuple(_cases(names, outlines, captions, seed)), learnt)


def _cases(
    names: Sequence[str],
    outlines: Mapping[str, Sequence[Outline]],
    captions: Mapping[str, Sequence[str]],
    seed: int,
) -> Iterator[Case]:
    prompts = {name: captions[name][(seed + index_of(name, 0)) % len(captions[name])] for name in names}
    order = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    following = dict(zip(order, order[1:] + order[:1], strict=True))
    for name in names:
        other = following[name]
        yield Case(name, tuple(outlines[name]), prompts[name], prompts[other] if other != name else None)


def _has_manifest(folder: Path) -> bool:
    return (folder / "manifest.csv").is_file()


def _listed(folder: Path, split: str) -> list[str]:
    """The manifest's photos of a split. That there are none is no error here."""
    try:
        return [photo.path for photo in read_manifest(folder, split)]
    except InputError:
        return []


def read_scene(folder: Path, case: Case, size_px: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A photo and its objects, one to three of them: what is known.

    Which ones depends on the seed and on the photo's name alone.

    Args:
        folder: of the photos.
        case: one of the collection's.
        size_px: longer short sides are reduced to so many.
        seed: of the choice.

    Returns:
        rgb [3, H, W] in [0, 1], and known [H, W] bool; pixels of a reduced photo that an object covers in part
        are not known.

    Raises:
        InputError: the photo can't be read or is too small, or its objects leave no scene to paint.
    """
    full, rgb = _read(folder, case.name, size_px)
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng((seed, index_of(case.name, attempt)))
        count = int(rng.integers(1, min(MOST_OBJECTS, len(case.outlines)) + 1))
        chosen = rng.choice(len(case.outlines), count, replace=False)
        drawn = np.logical_or.reduce([case.outlines[int(each)].drawn(full) for each in chosen])
        share = cv2.resize(drawn.astype(np.float32), rgb.shape[:0:-1], interpolation=cv2.INTER_AREA)
        known = share > 0.999
        if known.any() and known.mean() <= MOST_KNOWN:
            return rgb, torch.from_numpy(known)
    raise InputError(
        f"The objects of {case.name} leave no scene to paint: they cover more than {MOST_KNOWN:.0%}."
    )


def read_whole(folder: Path, names: Sequence[str], size_px: int) -> Iterator[tuple[str, Tensor] | Skipped]:
    """Each photo at that size with its name, or why it can't be used."""
    for name in names:
        try:
            yield name, _read(folder, name, size_px)[1]
        except InputError as error:
            yield Skipped(name, str(error))


def _read(folder: Path, name: str, size_px: int) -> tuple[tuple[int, int], Tensor]:
    """A photo's height and width as it is stored, and the photo at a short side of ``size_px`` at most."""
    from kinephoto.scene.photo import read_photo, resized

    try:
        photo = read_photo(folder / name, embedded_depth=False)
    except OSError as error:
        raise InputError(f"{name} can't be read ({reason(error)}).") from None
    full = photo.camera.hw
    if min(full) < LEAST_SIDE_PX:
        raise InputError(f"{name} has a side of {min(full)} px; {LEAST_SIDE_PX} are needed.")
    if min(full) > size_px:
        scale = size_px / min(full)
        photo = resized(photo, (max(size_px, round(full[0] * scale)), max(size_px, round(full[1] * scale))))
    return full, photo.rgb
