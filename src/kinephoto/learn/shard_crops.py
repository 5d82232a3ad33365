"""The painter's crops where photos lie in shards: memory doesn't grow with their number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kinephoto.learn.bank import HoleBank, Holes
from kinephoto.learn.crop_sources import joined
from kinephoto.learn.hole_crops import HoleBatch, hole_batch
from kinephoto.learn.objects import MappedObjects, object_batch
from kinephoto.learn.painter_settings import OutpainterSettings, PainterSettings
from kinephoto.learn.photos import Labelled, PhotoSet
from kinephoto.learn.recent import Recent
from kinephoto.learn.shards import ShardPhotos


class RecentHoles(HoleBank):
    """A bank of holes that holds only those in memory that were asked for last.

    Args:
        folder: that keeps them all.
        memory_mb: what may be held.
    """

    def __init__(self, folder: Path | None, memory_mb: int) -> None:
        super().__init__(folder)
        self._recent: Recent[str, Holes] = Recent(memory_mb << 20, _size_of)

    def holes(self, photo: Labelled) -> Holes:
        """The holes of a photo, from memory or from the folder if they are there."""
        return self._recent.get(photo.name, lambda _: self._found(photo))


class ShardCrops:
    """As ``kinephoto.learn.crop_sources.Crops``, of photos in shards, which bring their objects along.

    Args:
        settings: of the run.
        photos: from ``kinephoto.learn.shards.read_shards``.

    Attributes:
        checks: by the name of a check's loss, what its crops are drawn from.

    Raises:
        InputError: objects are to be learnt from, and no photo has any.
    """

    def __init__(self, settings: PainterSettings, photos: PhotoSet) -> None:
        self._side = settings.crop_px
        self._bank = RecentHoles(settings.holes or settings.out / "holes", settings.memory_mb // 2)
        self._photos: dict[str, Sequence[Labelled]] = {"train": photos.train, "held-out": photos.held_out}
        self._share = settings.object_share if isinstance(settings, OutpainterSettings) else 0.0
        self.checks = {"held_out": "held-out"} if self._share < 1 else {}
        if self._share and isinstance(photos.train, ShardPhotos) and isinstance(photos.held_out, ShardPhotos):
            self._photos["train objects"] = photos.train.with_objects()
            MappedObjects(self._photos["train objects"])  # which refuses none
            self._photos["held-out objects"] = photos.held_out.with_objects()
            if len(self._photos["held-out objects"]):
                self.checks["held_out_objects"] = "held-out objects"

    def batch(self, source: str, keys: Sequence[tuple[int, ...]]) -> HoleBatch:
        """One crop for each key, which depends on the key alone.

        Args:
            source: "train", a mixture, or one of ``checks``.
            keys: seed, step and number of each crop.
        """
        return joined([self._one(source, key) for key in keys])

    def _one(self, source: str, key: tuple[int, ...]) -> HoleBatch:
        if source == "train" and self._share and np.random.default_rng((*key, 2)).random() < self._share:
            source = "train objects"
        photos = self._photos[source]
        if source.startswith("train") and isinstance(photos, ShardPhotos):
            photos = photos.part(key)
        if source.endswith("objects"):
            return object_batch(MappedObjects(photos), self._side, [key])
        return hole_batch(photos, self._bank.holes, self._side, [key])


def _size_of(holes: Holes) -> int:
    return holes.known.nbytes + holes.kinds.nbytes + holes.disparity.nbytes
