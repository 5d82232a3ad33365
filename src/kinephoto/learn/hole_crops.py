"""Crops of photos around their holes; a step's batch depends on the seed and the step's number alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.learn.bank import Holes
from kinephoto.learn.photos import Labelled
from kinephoto.painter.farther import nearest_from_farther_side
from kinephoto.scene.holes import farther_disparity

Drawn = TypeVar("Drawn")

AHEAD = 3
"""Batches drawn before they are asked for."""

TRIES = 50
"""Photos without holes in a row after which a batch is given up."""


@dataclass(frozen=True, eq=False)
class HoleBatch:
    """Crops with holes and their truth.

    Attributes:
        rgb: [B, 3, H, W] float32 in [0, 1], the truth.
        known: [B, H, W] bool.
        filled: [B, 3, H, W], ``rgb`` where known, filled from the farther side elsewhere.
        names: of the photos.
    """

    rgb: Tensor
    known: Tensor
    filled: Tensor
    names: list[str]

    def to(self, device: torch.device | str) -> HoleBatch:
        """The same on a device."""
        return HoleBatch(self.rgb.to(device), self.known.to(device), self.filled.to(device), self.names)


def hole_crop(
    photo: Labelled, holes: Holes, side_px: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """A square around a random hole pixel, perhaps mirrored: rgb, known and filled as in ``HoleBatch``.

    A photo smaller than the square is continued by mirroring.
    """
    height, width = photo.code.shape
    known = holes.known[rng.integers(len(holes.known))]
    ys, xs = np.nonzero(~known)
    at = rng.integers(len(ys))
    jitter = rng.integers(-side_px // 4, side_px // 4 + 1, 2)
    top = int(np.clip(ys[at] - side_px // 2 + jitter[0], 0, max(0, height - side_px)))
    left = int(np.clip(xs[at] - side_px // 2 + jitter[1], 0, max(0, width - side_px)))
    window = np.s_[top : top + side_px, left : left + side_px]
    short = [(0, side_px - part) for part in photo.code[window].shape]
    rgb = np.pad(photo.rgb[window], [*short, (0, 0)], mode="symmetric")
    known = np.pad(known[window], short, mode="symmetric")
    disparity = np.pad(holes.disparity[window].astype(np.float32), short, mode="symmetric")
    if rng.random() < 0.5:
        rgb, known, disparity = rgb[:, ::-1], known[:, ::-1], disparity[:, ::-1]
    if not known.any():
        known = known.copy()
        known[0] = True
    picture = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1).float() / 255
    is_known = torch.from_numpy(np.ascontiguousarray(known))
    complete = farther_disparity(torch.from_numpy(np.ascontiguousarray(disparity)) * is_known, is_known)
    return picture, is_known, nearest_from_farther_side(picture * is_known, is_known, complete)


def hole_batch(
    photos: Sequence[Labelled],
    holes_of: Callable[[Labelled], Holes],
    side_px: int,
    keys: Sequence[tuple[int, ...]],
) -> HoleBatch:
    """One crop for each key, of a photo that has holes, each photo as likely as another.

    A crop depends on its key alone, not on the batch that it is part of.
    """
    crops, names = [], []
    for key in keys:
        rng = np.random.default_rng(key)
        photo = photos[int(rng.integers(len(photos)))]
        for _ in range(TRIES):
            if len(holes_of(photo).known):
                break
            photo = photos[int(rng.integers(len(photos)))]
        else:
            raise InputError(
                f"{TRIES} photos in a row have no depth edges that a moving camera could uncover."
            )
        crops.append(hole_crop(photo, holes_of(photo), side_px, rng))
        names.append(photo.name)
    rgb, known, filled = (torch.stack(part) for part in zip(*crops, strict=True))
    return HoleBatch(rgb, known, filled, names)


def drawn_ahead(draw: Callable[[int], Drawn], first: int, last: int) -> Iterator[Drawn]:
    """``draw(first)`` to ``draw(last - 1)`` in order, drawn in a thread a few ahead."""
    pool = ThreadPoolExecutor(1)
    try:
        ahead = [pool.submit(draw, step) for step in range(first, min(first + AHEAD, last))]
        for step in range(first, last):
            drawn = ahead.pop(0).result()
            if step + AHEAD < last:
                ahead.append(pool.submit(draw, step + AHEAD))
            yield drawn
    finally:
        pool.shutdown(cancel_futures=True)
