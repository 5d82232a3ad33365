"""What ``measure.depth_run`` found: means with their intervals, and tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from kinephoto.learn.photos import Skipped
from kinephoto.measure.depth import DepthScore
from kinephoto.measure.depth_run import Finished
from kinephoto.measure.inpainting import mean_of
from kinephoto.measure.report import half_interval, markdown_table

# The paper's clips apart: a teacher may have seen the other scenes.
PARTS = {
    "teacher": "against the teacher's labels",
    "dense": "dense truth",
    "sparse re10k": "sparse points, RealEstate10K",
    "sparse other": "sparse points, other scenes",
    "outline": "outlines of objects",
}
COLUMNS = {
    "teacher": ("correlation", "relative_error"),
    "dense": ("abs_rel", "delta_1.25", "correlation", "boundary_f1", "boundary_f1_sharpened"),
    "sparse": ("abs_rel", "delta_1.25", "correlation"),
    "outline": ("edge_width_px", "edge_width_px_sharpened", "edge_kept", "edge_kept_sharpened"),
}
# One picture of a hundred can double these means.
WITH_MEDIAN = ("correlation", "abs_rel")


def summary(finished: Sequence[Finished]) -> dict[str, dict[str, dict[str, Any]]]:
    """Means by method and part: of photos over pictures, of scenes over a scene's pictures and then over scenes.

    Returns:
        {method: {part: {number: {"mean", "median", "ci95": [low, high]}, "pictures": count, "groups": count}}},
        with ``sparse`` in two parts, ``sparse re10k`` and ``sparse other``, and {"seconds": {"median"}} as a part.
        The median is over pictures or scenes, as is the interval; NaN with fewer than two.
    """
    methods = finished[0].scores if finished else {}
    return {method: _of_method(method, finished) for method in methods}


def _of_method(method: str, finished: Sequence[Finished]) -> dict[str, dict[str, Any]]:
    parts = defaultdict(list)
    for score in (score for each in finished for score in each.scores[method]):
        kind = "" if score.part != "sparse" else " re10k" if score.group.startswith("re10k-") else " other"
        parts[score.part + kind].append(score)
    seconds = [each.seconds[method] for each in finished if np.isfinite(each.seconds[method])]
    found = {part: _of_part(parts[part]) for part in PARTS if part in parts}
    return found | {"seconds": {"median": float(np.median(seconds)) if seconds else float("nan")}}


def _of_part(scores: Sequence[DepthScore]) -> dict[str, Any]:
    """The numbers of one part; a scene's pictures are one group, a photo is one of its own."""
    groups = defaultdict(list)
    by_scene = scores[0].part in ("dense", "sparse")
    for score in scores:
        groups[score.group if by_scene else score.picture].append(score.values)
    names = sorted({name for score in scores for name in score.values})
    found: dict[str, Any] = {"pictures": len(scores), "groups": len(groups)}
    for name in names:
        means = [mean_of([values.get(name, float("nan")) for values in group]) for group in groups.values()]
        found[name] = with_interval(means)
    return found


def with_interval(values: Iterable[float]) -> dict[str, Any]:
    """Mean, median, and the mean's 95 % interval by Student's t; values that are not finite are left out."""
    kept = np.array([value for value in values if np.isfinite(value)])
    nothing = float("nan")
    if not len(kept):
        return {"mean": nothing, "median": nothing, "ci95": [nothing] * 2}
    half, mean = half_interval(kept), float(kept.mean())
    return {"mean": mean, "median": float(np.median(kept)), "ci95": [mean - half, mean + half]}


def tables(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """A table in Markdown for each part that was measured, and one of seconds.

    Args:
        found: from ``summary``, with at least one method.
    """
    blocks = [_table(part, found) for part in PARTS if any(part in row for row in found.values())]
    rows = [[method, row["seconds"]["median"]] for method, row in found.items()]
    return "\n\n".join([*blocks, markdown_table(["method", "seconds a picture (median)"], rows)])


def _table(part: str, found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    having = {method: row[part] for method, row in found.items() if part in row}
    columns = [
        name for name in COLUMNS[part.split()[0]] if any(name in numbers for numbers in having.values())
    ]
    counts = next(iter(having.values()))
    header: list[str] = ["method"]
    rows: list[list[str | float | None]] = [[method] for method in having]
    for name in columns:
        cells = [numbers.get(name, {}) for numbers in having.values()]
        header += [name, "median"] if name in WITH_MEDIAN else [name]
        for row, cell in zip(rows, cells, strict=True):
            row.append(_mean_cell(cell))
            if name in WITH_MEDIAN:
                row.append(cell.get("median"))
    of_what = "photos" if part in ("teacher", "outline") else "scenes"
    title = f"**{part}**: {PARTS[part]} ({counts['groups']} {of_what}, {counts['pictures']} pictures)"
    return title + "\n\n" + markdown_table(header, rows)


def _mean_cell(number: Mapping[str, Any]) -> str | None:
    """``0.839 (0.821 to 0.857)``, the mean alone where there is no interval, None where there is no mean."""
    if not np.isfinite(number.get("mean", float("nan"))):
        return None
    low, high = number["ci95"]
    between = f" ({low:.3f} to {high:.3f})" if np.isfinite(low) else ""
    return f"{number['mean']:.3f}{between}"


def results(finished: Sequence[Finished], skipped: Sequence[Skipped]) -> dict[str, Any]:
    """What ``write_results`` is given: the summary, every picture's own numbers, and what was left out."""
    return {
        "methods": summary(finished),
        "skipped": [vars(each) for each in skipped],
        "by_name": {
            each.name: {
                method: {"seconds": each.seconds[method], "scores": [asdict(score) for score in scores]}
                for method, scores in each.scores.items()
            }
            for each in finished
        },
    }
