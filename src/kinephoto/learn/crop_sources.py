"""Where a painter's crops come from: holes that a moving camera makes, objects without their scene, or both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from kinephoto.learn.bank import HoleBank
from kinephoto.learn.distill import PhotoSet
from kinephoto.learn.hole_crops import HoleBatch, hole_batch
from kinephoto.learn.objects import ObjectBank, object_batch, read_outlines
from kinephoto.learn.photos import Labelled, split_of


class CropSettings(Protocol):
    """What is read of a run's settings."""

    @property
    def photos(self) -> Path:
        """Folder or shards."""

    @property
    def out(self) -> Path:
        """The run's folder."""

    @property
    def holes(self) -> Path | None:
        """Where holes are kept; ``out/holes`` when None."""

    @property
    def objects(self) -> list[Path]:
        """For ``read_outlines``."""

    @property
    def object_share(self) -> float:
        """Of the crops."""

    @property
    def crop_px(self) -> int:
        """Side of the crops."""


class Crops:
    """The crops of a run, for training and for checks.

    Args:
        settings: of the run.
        photos: of the run.

    Attributes:
        checks: by the name of a check's loss, what its crops are drawn from.

    Raises:
        InputError: the objects can't be read, or the photos have none.
    """

    def __init__(self, settings: CropSettings, photos: PhotoSet) -> None:
        self._settings = settings
        self._bank = HoleBank(settings.holes or settings.out / "holes")
        self._photos: dict[str, Sequence[Labelled]] = {"train": photos.train, "held-out": photos.held_out}
        self._share = settings.object_share if settings.objects else 0.0
        self._objects: dict[str, ObjectBank] = {}
        if self._share:
            outlines = read_outlines(settings.objects, _names(settings, photos))
            self._objects["train"] = ObjectBank(photos.train, outlines)
            if any(outlines.get(photo.name) for photo in photos.held_out):
                self._objects["held-out"] = ObjectBank(photos.held_out, outlines)
        self.checks = {"held_out": "held-out"} if self._share < 1 else {}
        if "held-out" in self._objects:
            self.checks["held_out_objects"] = "held-out objects"

    def batch(self, source: str, keys: Sequence[tuple[int, ...]]) -> HoleBatch:
        """One crop for each key, which depends on the key alone.

        Args:
            source: "train", a mixture, or one of ``checks``.
            keys: of the crops' randomness.
        """
        side = self._settings.crop_px
        if source == "held-out objects":
            return object_batch(self._objects["held-out"], side, keys)
        if source != "train" or not self._share:
            return hole_batch(self._photos[source], self._bank.holes, side, keys)
        return joined([self._one(side, key) for key in keys])

    def _one(self, side: int, key: tuple[int, ...]) -> HoleBatch:
        if np.random.default_rng((*key, 2)).random() < self._share:
            return object_batch(self._objects["train"], side, [key])
        return hole_batch(self._photos["train"], self._bank.holes, side, [key])


def joined(batches: Sequence[HoleBatch]) -> HoleBatch:
    """One batch of all."""
    rgb, known, filled = (
        torch.cat([getattr(batch, part) for batch in batches]) for part in ("rgb", "known", "filled")
    )
    return HoleBatch(rgb, known, filled, [name for batch in batches for name in batch.names])


def _names(settings: CropSettings, photos: PhotoSet) -> list[str]:
    """All photos that a file of objects may speak of."""
    if not settings.photos.is_dir():
        return [photo.name for photo in [*photos.train, *photos.held_out]]
    splits = ("train", "held-out", "test")
    return [name for split in splits for name in split_of(settings.photos, split, settings.out)]
