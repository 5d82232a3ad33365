"""Photos from WebDataset shards: tar files of NAME.jpg, with NAME.disparity.png, NAME.txt, NAME.objects.png if any.

A line of NAME.txt is a caption, a label is made where it is missing. Only where each photo lies is held in memory,
about 0.35 KB a photo; the photo is read when it is drawn, and those drawn last are kept for a while.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import overload

import numpy as np
from PIL import Image

from kinephoto.errors import InputError
from kinephoto.learn.labels import TeacherLabels
from kinephoto.learn.photos import (
    Labelled,
    PhotoSet,
    Progress,
    Skipped,
    check_few_bad,
    is_held_out,
    upright,
)
from kinephoto.learn.recent import Recent
from kinephoto.learn.tar_places import Part, TarPlaces, expanded

MEMORY_MB = 2048
"""What photos that were drawn last may take."""

LOOKED_AT = 1000
"""Photos that are read before a run begins, all of them or evenly spread, to see whether they can be."""

MOST_HELD_OUT = 256
"""A check takes as long with a million photos as with ten thousand; the others held out are not used at all."""

STEPS_PER_SHARD = 100
"""After which a crop's photos are drawn from the next shard."""


class ShardPhotos(Sequence[Labelled]):
    """Photos of shards, read when asked for; one that can't be used is counted, and the next one stands for it.

    Args:
        places: where they lie.
        numbers: of the photos, in order.
        count: how many are drawn from at a time, about those of a shard.
        read: a photo by its number.
    """

    def __init__(
        self, places: TarPlaces, numbers: np.ndarray, count: int, read: Callable[[int], Labelled | None]
    ) -> None:
        self._places, self._numbers, self._read = places, numbers, read
        self._count = min(count, len(numbers))

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> Labelled: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Labelled]: ...
    def __getitem__(self, place: int | slice) -> Labelled | Sequence[Labelled]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        for further in range(len(self)):
            found = self._read(int(self._numbers[(place + further) % len(self)]))
            if found is not None:
                return found
        raise InputError("None of the photos in the shards can be used.")

    def part(self, key: tuple[int, ...]) -> Sequence[Labelled]:
        """The photos that a crop is drawn from, as many as a shard holds.

        A step's crops are drawn from one shard after the other, by their numbers among those of all processes;
        so each process reads its own shards where there are more than crops in a step. They move on together.

        Args:
            key: seed, step and number of the crop; nothing else decides.
        """
        _, step, number = key
        return _Turned(self, (number + step // STEPS_PER_SHARD) * self._count % len(self), self._count)

    def with_objects(self) -> ShardPhotos:
        """Those that have objects."""
        has = [self._places.has(int(number), Part.OBJECTS) for number in self._numbers]
        return ShardPhotos(self._places, self._numbers[np.array(has, bool)], self._count, self._read)


class _Turned(Sequence[Labelled]):
    """``count`` photos from ``first`` on, the first after the last."""

    def __init__(self, photos: Sequence[Labelled], first: int, count: int) -> None:
        self._photos, self._first, self._count = photos, first, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place):  # type: ignore[no-untyped-def]
        if not 0 <= place < self._count:
            raise IndexError(place)
        return self._photos[(self._first + place) % len(self._photos)]


class ShardCaptions(Mapping[str, Sequence[str]]):
    """The captions of photos in shards, by name, read when asked for.

    Args:
        places: where they lie.
        numbers: of the photos whose captions count.
    """

    def __init__(self, places: TarPlaces, numbers: np.ndarray) -> None:
        self._places, self._numbers = places, numbers

    def __getitem__(self, name: str) -> Sequence[str]:
        text = self._places.read(self._places.number_of(name), Part.TEXT) or b""
        return [line.strip() for line in text.decode("utf-8", "replace").splitlines() if line.strip()]

    def __iter__(self) -> Iterator[str]:
        return (
            self._places.names[number]
            for number in map(int, self._numbers)
            if self._places.has(number, Part.TEXT)
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)


def read_shards(
    urls: Path, labels: TeacherLabels | None, seed: int, memory_mb: int = MEMORY_MB
) -> Generator[Progress, None, tuple[PhotoSet, ShardCaptions]]:
    """Look into the shards; yields for each photo read and returns photos and captions, which are read when drawn.

    A twenty-fourth is held out, by a hash of the name that the photo had in its folder; 256 of them are used.

    Args:
        urls: tar files, with {000..127}, {a,b} or patterns in the name; or the ``index.json`` of some.
        labels: who labels photos without a label; None: they can't be used.
        seed: of the shards' order.
        memory_mb: what photos that were drawn last may take.

    Raises:
        InputError: no such shard, none of its photos can be used, or too many can't.
    """
    began = time.perf_counter()
    places = TarPlaces(expanded(urls))
    skipped: list[Skipped] = []
    reader = _Reader(places, labels, skipped, memory_mb)
    total = len(places.names)
    looked_at = np.unique(np.linspace(0, total - 1, min(total, LOOKED_AT)).round().astype(int))
    for done, number in enumerate(looked_at if total else (), 1):
        bad = len(skipped)
        reader(int(number))
        note = f"Skipped: {skipped[bad].why}" if len(skipped) > bad else ""
        seconds = time.perf_counter() - began
        yield Progress(done, len(looked_at), math.nan, None, seconds, "photos", note, len(skipped))
    check_few_bad(urls, skipped, len(looked_at))
    reader.most_bad_of = (urls, total)

    order = places.in_shards_order(np.random.default_rng(seed).permutation(len(places.files)))
    held = np.array([is_held_out(places.original(number)) for number in order], bool)
    if not held.any() and total > 1:
        held[-1] = True
    train, held_out = order[~held], order[held]
    held_out = held_out[
        np.linspace(0, len(held_out) - 1, min(len(held_out), MOST_HELD_OUT)).round().astype(int)
    ]
    if not len(train) or not len(held_out):
        raise InputError(f"{urls} holds {total - len(skipped)} photos that can be used; two are needed.")
    count = math.ceil(len(train) / len(places.files))
    learnt, checked = (ShardPhotos(places, numbers, count, reader) for numbers in (train, held_out))
    return PhotoSet(learnt, checked, skipped), ShardCaptions(places, train)


def some_captions(captions: Mapping[str, Sequence[str]], most: int = 50_000) -> list[str]:
    """Of the first so many photos: enough to learn from which pieces words are made of."""
    return [text for texts in islice(captions.values(), most) for text in texts]


class _Reader:
    """Reads photos by their numbers; None for one that can't be used, which is told once."""

    def __init__(
        self, places: TarPlaces, labels: TeacherLabels | None, skipped: list[Skipped], memory_mb: int
    ) -> None:
        self._places, self._labels, self._skipped = places, labels, skipped
        self._recent: Recent[int, Labelled] = Recent(memory_mb << 20, _size_of)
        self._bad: set[int] = set()
        self.most_bad_of: tuple[Path, int] | None = None

    def __call__(self, number: int) -> Labelled | None:
        if number in self._bad:
            return None
        try:
            return self._recent.get(number, self._read)
        except InputError as error:
            self._bad.add(number)
            self._skipped.append(Skipped(self._places.names[number], str(error)))
            if self.most_bad_of is not None:
                check_few_bad(self.most_bad_of[0], self._skipped, self.most_bad_of[1])
            return None

    def _read(self, number: int) -> Labelled:
        name, read = self._places.names[number], self._places.read
        picture = read(number, Part.PICTURE)
        if picture is None:
            raise InputError(f"{name} has no picture; shards hold NAME.jpg, .png, .webp or .avif.")
        rgb = upright(io.BytesIO(picture))
        label, objects = read(number, Part.LABEL), read(number, Part.OBJECTS)
        if label is not None:
            code = _map(label, rgb, Image.Resampling.BILINEAR, f"The label of {name}")
        elif self._labels is not None:
            code = self._labels.code(rgb)
        else:
            raise InputError(
                f"{name} has no disparity label in its shard and there is no --teacher to make one."
            )
        return Labelled(
            name,
            rgb,
            code,
            None
            if objects is None
            else _map(objects, rgb, Image.Resampling.NEAREST, f"The map of objects of {name}"),
        )


def _map(content: bytes, rgb: np.ndarray, by: Image.Resampling, what: str) -> np.ndarray:
    """[H, W] uint8, at the photo's size."""
    try:
        with Image.open(io.BytesIO(content)) as file:
            return np.asarray(file.convert("L").resize((rgb.shape[1], rgb.shape[0]), by))
    except Exception as error:  # Pillow's decoders each raise kinds of their own
        raise InputError(f"{what} is not a picture that can be read ({error}).") from None


def _size_of(photo: Labelled) -> int:
    return photo.rgb.nbytes + photo.code.nbytes + (0 if photo.objects is None else photo.objects.nbytes)
