"""What ``measure.inpainting`` found: means with their intervals, tables, and sheets of pictures to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from kinephoto.learn.photos import Skipped
from kinephoto.measure.inpainting import KINDS, Finished, Painted, inside_picture, mean_of
from kinephoto.measure.report import markdown_table

RESAMPLES = 2000
HOLE_COLOUR = (1.0, 0.0, 0.8)
ENLARGED = 3
SHEET_COLUMNS = 5
# Decibels and seconds are read to two places, ST-LPIPS, which is below 2, to four.
FOUR_PLACES_BELOW = 2.0


def summary(finished: Sequence[Finished]) -> dict[str, dict[str, dict[str, Any]]]:
    """Means over photos with 95 % intervals: percentiles of 2000 bootstrap resamples of the photos.

    Returns:
        {method: {number: {"mean", "median", "ci95": [low, high], "photos": how many had it}}}; the interval
        is NaN with fewer than two photos.
    """
    methods = finished[0].values if finished else {}
    return {
        method: {
            number: _interval(np.array([photo.values[method][number] for photo in finished]))
            for number in numbers
        }
        for method, numbers in methods.items()
    }


def _interval(values: np.ndarray) -> dict[str, Any]:
    values = values[np.isfinite(values)]
    found = {"mean": float("nan"), "median": float("nan"), "ci95": [float("nan")] * 2, "photos": len(values)}
    if len(values):
        found |= {"mean": float(values.mean()), "median": float(np.median(values))}
    if len(values) > 1:
        # The same resamples for all methods: they are compared on the same photos.
        drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
        found["ci95"] = [float(limit) for limit in np.percentile(values[drawn].mean(1), (2.5, 97.5))]
    return found


def tables(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Two tables in Markdown: all holes with intervals, and the kinds of holes.

    Args:
        found: from ``summary``, with at least one method.
    """
    names = [name for name in next(iter(found.values())) if name != "seconds"]
    by_kind = [name for name in names if name.endswith(tuple("_" + kind for kind in KINDS))]
    of_all = [name for name in names if name not in by_kind]
    first = [
        [method, *(_with_interval(row[name]) for name in of_all), row["seconds"]["median"]]
        for method, row in found.items()
    ]
    second = [[method, *(row[name]["mean"] for name in by_kind)] for method, row in found.items()]
    return "\n\n".join(
        (
            markdown_table(["method", *of_all, "seconds (median)"], first),
            markdown_table(["method", *by_kind], second),
        )
    )


def _with_interval(number: Mapping[str, Any]) -> str | None:
    """``23.10 (22.00 to 24.20)``, the mean alone where there is no interval, None where there is no mean."""
    if not np.isfinite(number["mean"]):
        return None
    places = 4 if number["mean"] < FOUR_PLACES_BELOW else 2
    low, high = number["ci95"]
    between = f" ({low:.{places}f} to {high:.{places}f})" if np.isfinite(low) else ""
    return f"{number['mean']:.{places}f}{between}"


def results(finished: Sequence[Finished], skipped: Sequence[Skipped]) -> dict[str, Any]:
    """What ``write_results`` is given: the summary, each photo's own numbers, and the photos left out."""
    return {
        "methods": summary(finished),
        "photos": len(finished),
        "hole_share": mean_of([photo.hole_share for photo in finished]),
        "skipped": [{"photo": photo.name, "why": photo.why} for photo in skipped],
        "by_photo": {
            photo.name: {"hole_share": photo.hole_share, "methods": photo.values} for photo in finished
        },
    }


def sheet(painted: Painted) -> Tensor:
    """Photo, holes and what each method made of them, each above a part of it three times as large.

    Returns:
        [3, H', W'] in [0, 1].
    """
    from kinephoto.studio.pictures import contact_sheet

    marked = torch.where(painted.known, painted.rgb, torch.tensor(HOLE_COLOUR)[:, None, None])
    pictures = {"photo": painted.rgb, "holes": marked, **painted.pictures}
    rows, columns = _around_most(~painted.known)
    cells = []
    for picture in pictures.values():
        crop = picture[:, rows, columns].repeat_interleave(ENLARGED, 1).repeat_interleave(ENLARGED, 2)
        # A third is rounded down, so the crop may be a pixel or two narrower.
        cells.append(torch.cat([picture[:, :, : crop.shape[2]], crop], 1))
    width = int(cells[0].shape[2])
    return contact_sheet(cells, columns=SHEET_COLUMNS, labels=list(pictures), cell_width_px=width)


def _around_most(hole: Tensor) -> tuple[slice, slice]:
    """Rows and columns, a third of the picture's, that show most of the holes; silhouettes before borders."""
    inside = inside_picture(hole)
    shown = (inside if bool(inside.any()) else hole).float().numpy()
    height, width = (side // ENLARGED for side in hole.shape)
    # sums[y, x]: hole pixels above and to the left of the pixel's corner.
    sums = cv2.integral(shown)
    found = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    # Many places show equally many; the one in the middle of them stands best.
    best = np.argwhere(found == found.max())
    top, left = (int(at) for at in best[len(best) // 2])
    return slice(top, top + height), slice(left, left + width)
