"""How well holes are painted whose truth is known: cycle pairs of photos, every method on the same holes.

A camera moves away from a photo and back; what is lost on the way is the hole, and the photo itself the
truth below it. ``docs/protocol.md`` says why it is done so and what each number means.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.learn.pairs import Pair, cycle_pair, hole_widths, index_of
from kinephoto.learn.photos import Skipped, label_path, read_labelled
from kinephoto.measure.methods.hole_fills import HoleFill
from kinephoto.measure.metrics import psnr
from kinephoto.measure.stlpips import LEAST_SIDE_PX, StLpips
from kinephoto.scene.values import Disparity, Photo

# A pair with a smaller hole says little, and its PSNR inside the hole is noise.
LEAST_HOLE_SHARE = 0.001
ATTEMPTS = 8
# A hole painted to within one 8-bit step is painted perfectly. Without this limit one photo with a few such
# pixels would make every mean infinite.
BEST_PSNR_DB = 48.13
# Kinds of holes by their width, px: from … to below.
WIDTHS_PX = {"thin": (0.0, 8.0), "medium": (8.0, 24.0), "large": (24.0, np.inf)}
KINDS = (*WIDTHS_PX, "inside")
WINDOW_PX = 64


@dataclass(frozen=True, eq=False)
class Painted:
    """A pair and what each method made of it; ``pictures`` are [3, H, W]."""

    rgb: Tensor
    known: Tensor
    pictures: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Finished:
    """One photo's numbers.

    Attributes:
        name: of the photo, relative to its folder.
        hole_share: mean over its pairs.
        values: by method and number, means over its pairs; NaN where there is nothing to measure, such as
            ``psnr_hole_large`` where no hole is large.
        example: its first pair, to look at; None when it has been put away.
    """

    name: str
    hole_share: float
    values: Mapping[str, Mapping[str, float]]
    example: Painted | None

    def without_pictures(self) -> Finished:
        """The numbers alone, to keep while further photos are measured."""
        return replace(self, example=None)


def evaluate_inpainting(
    folder: Path,
    names: Sequence[str],
    methods: Mapping[str, HoleFill],
    distances: Mapping[str, StLpips],
    *,
    pairs: int = 1,
    seed: int = 0,
    most_px: int = 320,
    device: str | None = None,
) -> Iterator[Finished | Skipped]:
    """Measure every method on every photo, one photo at a time.

    Args:
        folder: of photos.
        names: from ``kinephoto.measure.photos.photo_names``.
        methods: by the name they get in the tables.
        distances: by the name they get behind ``st_lpips_``, such as "alex".
        pairs: of each photo.
        seed: of poses and painters. A photo's holes depend on it and on the photo's name alone, not on
            which others are measured.
        most_px: longer short sides are reduced to so many.
        device: for the depth network of photos without a label; None is the processor.

    Yields:
        For each name in order its numbers, or why it can't be used.
    """
    for fill in methods.values():
        _warm_up(fill)
    for name in names:
        try:
            rgb, disparity = photo_with_depth(folder, name, most_px, device)
            found = [holes(rgb, disparity, seed, name, number) for number in range(pairs)]
        except InputError as error:
            yield Skipped(name, str(error))
            continue
        yield measured(name, found, methods, distances, seed)


def photo_with_depth(
    folder: Path, name: str, most_px: int, device: str | None = None
) -> tuple[Tensor, Tensor]:
    """A photo and its disparity, as the renderer is given them: from its label, or by the built-in network.

    Returns:
        [3, H, W] in [0, 1], and [H, W] float32 > 0, the nearest about 1, edges sharp.

    Raises:
        InputError: either can't be read, or the photo is smaller than 64 px.
    """
    from kinephoto.scene.depth import estimate_depth
    from kinephoto.scene.edges import default_widening_px, widen_near
    from kinephoto.scene.mesh import sharpen_edges
    from kinephoto.scene.photo import photo_from_array, read_photo

    source: Any = "builtin"
    if label_path(folder, name).is_file():
        labelled = read_labelled(folder, name)
        photo = photo_from_array(labelled.rgb, name=name)
        source = _Label((labelled.code.astype(np.float32) / 255) ** 2)
    else:
        photo = read_photo(folder / name, embedded_depth=False)
    photo = _reduced(photo, most_px)
    depth = estimate_depth(photo, source, device=device)
    disparity = widen_near(sharpen_edges(depth.values), default_widening_px(photo.camera.hw))
    return photo.rgb, disparity


class _Label:
    """A teacher's disparity as a source of depth: its edges are as soft as any network's."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def disparity(self, rgb: Tensor) -> Disparity:
        wh = (int(rgb.shape[2]), int(rgb.shape[1]))
        small = cv2.resize(self._values, wh, interpolation=cv2.INTER_AREA)
        return Disparity(torch.from_numpy(small), source="label")


def _reduced(photo: Photo, most_px: int) -> Photo:
    from kinephoto.scene.photo import resized

    short = min(photo.camera.hw)
    if short < LEAST_SIDE_PX:
        raise InputError(f"{photo.capture.name} has a side of {short} px; {LEAST_SIDE_PX} are needed.")
    if short <= most_px:
        return photo
    height, width = (max(most_px, round(side * most_px / short)) for side in photo.camera.hw)
    return resized(photo, (height, width))


def holes(rgb: Tensor, disparity: Tensor, seed: int, name: str, number: int) -> Pair:
    """A photo's cycle pair of that number, the first of eight tries whose hole is large enough.

    Raises:
        InputError: none of them has such a hole and anything left around it.
    """
    for attempt in range(ATTEMPTS):
        pair = cycle_pair(rgb, disparity, seed, index_of(name, ATTEMPTS * number + attempt), kinds=("cycle",))
        if LEAST_HOLE_SHARE <= _hole_share(pair) < 1:
            return pair
    raise InputError(f"In {name} {ATTEMPTS} moves of the camera opened no hole worth measuring.")


def measured(
    name: str,
    pairs: Sequence[Pair],
    methods: Mapping[str, HoleFill],
    distances: Mapping[str, StLpips],
    seed: int = 0,
) -> Finished:
    """A photo's numbers from its pairs, one or more."""
    values: dict[str, list[dict[str, float]]] = {method: [] for method in methods}
    example = None
    for number, pair in enumerate(pairs):
        painted, seconds = paint(pair, methods, seed + number)
        example = example or painted
        for method, found in scores(painted, distances).items():
            values[method].append(found | {"seconds": seconds[method]})
    means = {
        method: {key: mean_of([row[key] for row in rows]) for key in rows[0]}
        for method, rows in values.items()
    }
    return Finished(name, mean_of([_hole_share(pair) for pair in pairs]), means, example)


def paint(pair: Pair, methods: Mapping[str, HoleFill], seed: int) -> tuple[Painted, dict[str, float]]:
    """Every method on the same hole, and how long each took, s.

    The methods see the photo itself around the hole, not what two renderings left of it, and a disparity that
    goes on behind the hole's bank: the true one in the hole is not told.
    """
    from kinephoto.scene.holes import farther_disparity

    masked = torch.where(pair.known, pair.rgb, 0.0)
    complete = farther_disparity(torch.where(pair.known, pair.disparity, 0.0), pair.known)
    pictures, seconds = {}, {}
    for method, fill in methods.items():
        start = time.perf_counter()
        # Each gets copies: one that writes into its input must not help or harm the next.
        picture = fill(masked.clone(), pair.known.clone(), complete.clone(), seed)
        seconds[method] = time.perf_counter() - start
        pictures[method] = torch.where(pair.known, pair.rgb, picture.clamp(0, 1))
    return Painted(pair.rgb, pair.known, pictures), seconds


def scores(painted: Painted, distances: Mapping[str, StLpips]) -> dict[str, dict[str, float]]:
    """The numbers of each method on one pair, by name; NaN where there are no such holes."""
    hole = ~painted.known
    kinds = kinds_of_holes(hole)
    found = {
        method: _psnrs(picture, painted.rgb, hole, kinds) for method, picture in painted.pictures.items()
    }
    around = {"": windows(hole)} | {"_" + name: windows(region) for name, region in kinds.items()}
    for network, measure in distances.items():
        true = measure.features(painted.rgb)
        for method, picture in painted.pictures.items():
            distance = measure.distance(picture, true)
            found[method][f"st_lpips_{network}"] = distance.mean
            for suffix, window in around.items():
                # The mean of nothing is NaN.
                found[method][f"st_lpips_{network}_windows{suffix}"] = float(distance.map[window].mean())
    return found


def _psnrs(picture: Tensor, true: Tensor, hole: Tensor, kinds: Mapping[str, Tensor]) -> dict[str, float]:
    """In the holes, on the whole picture, and in each kind of holes."""
    # Outside the holes nothing is wrong, so the whole picture's limit follows from the holes'.
    best_whole = BEST_PSNR_DB - 10 * float(torch.log10(hole.float().mean()))
    found = {
        "psnr_hole": min(psnr(picture, true, hole), BEST_PSNR_DB),
        "psnr": min(psnr(picture, true), best_whole),
    }
    for name, region in kinds.items():
        found[f"psnr_hole_{name}"] = float(np.minimum(psnr(picture, true, region), BEST_PSNR_DB))
    return found


def kinds_of_holes(hole: Tensor) -> dict[str, Tensor]:
    """The hole pixels [H, W] of each kind: by their hole's width, and those inside the picture."""
    widths = torch.zeros(hole.shape)
    widths[hole] = torch.from_numpy(hole_widths(~hole)).float()
    kinds = {name: hole & (widths >= low) & (widths < high) for name, (low, high) in WIDTHS_PX.items()}
    return kinds | {"inside": inside_picture(hole)}


def windows(hole: Tensor) -> Tensor:
    """Windows around the holes, as one region: [H, W] bool, False without holes.

    The picture is cut into squares of 64 px; around the hole pixels of each stands a window of that size, moved
    inside the picture. Windows around whole holes would not do: a camera that moves back and turns loses a
    frame all around, and the frame's window is the picture.
    """
    height, width = hole.shape
    region = torch.zeros(height, width, dtype=torch.bool)
    for top in range(0, height, WINDOW_PX):
        for left in range(0, width, WINDOW_PX):
            at = torch.nonzero(hole[top : top + WINDOW_PX, left : left + WINDOW_PX])
            if len(at):
                (first_row, first_column), (last_row, last_column) = at.amin(0).tolist(), at.amax(0).tolist()
                rows = _window(top + (first_row + last_row) // 2, height)
                region[rows, _window(left + (first_column + last_column) // 2, width)] = True
    return region


def _window(middle: int, limit: int) -> slice:
    """The range of a window's length about a place, moved inside 0 … limit."""
    first = max(0, min(middle - WINDOW_PX // 2, limit - WINDOW_PX))
    return slice(first, min(limit, first + WINDOW_PX))


def inside_picture(hole: Tensor) -> Tensor:
    """The holes that do not touch the picture's border, those at silhouettes: [H, W] bool."""
    _, labels = cv2.connectedComponents(hole.byte().numpy())
    at_border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return hole & torch.from_numpy(~np.isin(labels, at_border))


def _warm_up(fill: HoleFill) -> None:
    """Paint something small once, so that compiling is not measured."""
    generator = torch.Generator().manual_seed(0)
    rgb, disparity = (
        torch.rand(3, WINDOW_PX, WINDOW_PX, generator=generator),
        torch.full((WINDOW_PX,) * 2, 0.3),
    )
    disparity[:, :20] = 1.0
    known = torch.ones(WINDOW_PX, WINDOW_PX, dtype=torch.bool)
    known[16:48, 20:32] = False
    fill(rgb * known, known, disparity, 0)


def _hole_share(pair: Pair) -> float:
    return float((~pair.known).float().mean())


def mean_of(values: Sequence[float]) -> float:
    """Of those that are numbers; NaN if none is."""
    kept = [value for value in values if np.isfinite(value)]
    return float(np.mean(kept)) if kept else float("nan")
