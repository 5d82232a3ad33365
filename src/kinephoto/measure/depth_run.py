"""Every depth method on every photo and scene, one after the other: what is broken is named, and the run goes on."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.learn.photos import Skipped
from kinephoto.measure.depth import DepthScore, KnownPhoto, Sharpen, of_photo, of_scene
from kinephoto.measure.methods.depth_sources import DisparityOf
from kinephoto.measure.photos import PhotoFiles, Rings, read_polygons
from kinephoto.measure.scenes import read_scene


@dataclass(frozen=True)
class Finished:
    """A photo's or a scene's numbers.

    Attributes:
        name: of the photo or the scene.
        scores: by method; a method has a score for each part and picture that there is a truth for.
        seconds: by method, the median over its pictures, of the network alone.
    """

    name: str
    scores: Mapping[str, Sequence[DepthScore]]
    seconds: Mapping[str, float]


def evaluate_depth(
    methods: Mapping[str, DisparityOf],
    photos: Sequence[PhotoFiles] = (),
    scenes: Sequence[Path] = (),
    sharpen: Sharpen | None = None,
) -> Iterator[Finished | Skipped]:
    """Measure every method on everything that is given, one photo or scene at a time.

    Args:
        methods: by the name they get in the tables.
        photos: of one folder; those with labels are compared with them, those with masks measured at their
            outlines.
        scenes: folders; those with stereo disparity are compared with it, the others with their points.
        sharpen: if given, edges are measured after it too (names ending in ``_sharpened``).

    Yields:
        For each photo, then for each scene, its numbers, or why it can't be used: what one method can't be
        measured on, none is. A photo or scene without any truth has no scores.

    Raises:
        InputError: the file with the photos' outlines can't be read.
    """
    polygons = read_polygons(photos[0].folder) if photos else {}
    for files in photos:
        try:
            photo = read_known(files, polygons)
            yield _finished(photo.name, methods, partial(of_photo, photo=photo, sharpen=sharpen))
        except InputError as error:
            yield Skipped(files.path, str(error))
    for folder in scenes:
        try:
            scene = read_scene(folder)
            yield _finished(scene.name, methods, partial(of_scene, scene=scene, sharpen=sharpen))
        except InputError as error:
            yield Skipped(folder.name, str(error))


def read_known(files: PhotoFiles, polygons: Mapping[str, Sequence[Rings]]) -> KnownPhoto:
    """Read a photo, its label and its masks.

    Raises:
        InputError: one of them can't be read, or they differ in size.
    """
    return KnownPhoto(files.name, files.rgb(), files.label(), files.masks(polygons))


def _finished(
    name: str, methods: Mapping[str, DisparityOf], measured: Callable[[DisparityOf], list[DepthScore]]
) -> Finished:
    watches = {method: _Stopwatch(disparity_of) for method, disparity_of in methods.items()}
    scores = {method: measured(watch) for method, watch in watches.items()}
    return Finished(name, scores, {method: watch.median_s for method, watch in watches.items()})


class _Stopwatch:
    """The same source of depth, and how long it took for each picture."""

    def __init__(self, disparity_of: DisparityOf) -> None:
        self._disparity_of = disparity_of
        self._seconds: list[float] = []

    def __call__(self, rgb: Tensor) -> Tensor:
        start = time.perf_counter()
        # Back on the processor the device is done.
        found = self._disparity_of(rgb).cpu()
        self._seconds.append(time.perf_counter() - start)
        return found

    @property
    def median_s(self) -> float:
        return statistics.median(self._seconds) if self._seconds else float("nan")
