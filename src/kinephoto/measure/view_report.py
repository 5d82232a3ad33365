"""What a run of ``evaluate views`` found: means over clips with their intervals, as JSON, Markdown and LaTeX."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from kinephoto.measure.report import half_interval, markdown_table, weights_hashes
from kinephoto.measure.view_run import ViewRun
from kinephoto.measure.views import ViewFailure

COLUMNS = ("psnr", "ssim", "st_lpips_alex", "st_lpips_vgg", "psnr_visible", "psnr_hole", "st_lpips_alex_hole")
"""Of the Markdown table; LPIPS joins them where it was measured."""

Records = Sequence[Mapping[str, Any]]
Means = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]


def summary(records: Records) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """Means over clips, each the mean of its pairs, with 95 % intervals (Student's t).

    Args:
        records: of pairs, from ``view_run``.

    Returns:
        {method: {target: {metric: {"mean": …, "ci95": [low, high], "clips": …}}}}; a single clip has no interval
        (None), and what no pair has is left out.
    """
    grouped: dict[str, dict[str, dict[str, dict[str, list[float]]]]] = {}
    for record in records:
        for method, values in record["methods"].items():
            by_metric = grouped.setdefault(method, {}).setdefault(record["pair"]["name"], {})
            for metric, value in {**values, "hole_share": record["hole_share"]}.items():
                if value is not None and np.isfinite(value):
                    by_metric.setdefault(metric, {}).setdefault(record["pair"]["scene"], []).append(value)
    return {
        method: {
            target: {metric: mean_over_clips(clips) for metric, clips in metrics.items()}
            for target, metrics in targets.items()
        }
        for method, targets in grouped.items()
    }


def mean_over_clips(clips: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Mean of the clips' means and its 95 % interval."""
    means = np.array([np.mean(values) for values in clips.values()])
    mean, half = float(means.mean()), half_interval(means)
    return {"mean": mean, "ci95": [mean - half, mean + half] if len(means) > 1 else None, "clips": len(means)}


def results(run: ViewRun, records: Records, failures: Iterable[ViewFailure]) -> dict[str, Any]:
    """Everything, ready for ``write_results``."""
    told = [_told(failure) for failure in failures]
    for record in records:
        for method, why in record["failures"].items():
            told.append({**record["pair"], "method": method, "why": why})
    ordered = sorted(records, key=lambda record: (record["pair"]["scene"], *_places(record)))
    return {
        "protocol": run.protocol.model_dump(mode="json"),
        "depth": Path(run.depth).name if Path(run.depth).exists() else run.depth,
        "edges": run.edges,
        "seeds": list(run.seeds),
        "weights": weights_hashes(),
        "methods": summary(ordered),
        "published": published(run),
        "failures": told,
        "pairs": [
            {key: value for key, value in record.items() if key not in ("run", "folders")}
            for record in ordered
        ],
    }


def _places(record: Mapping[str, Any]) -> tuple[int, int]:
    return record["pair"]["source"], record["pair"]["target"]


def _told(failure: ViewFailure) -> dict[str, Any]:
    pair = asdict(failure.pair) if failure.pair else {"scene": failure.scene}
    return {**pair, "method": failure.method, "why": failure.why}


def published(run: ViewRun) -> dict[str, Any]:
    """The paper's rows that belong to the protocol, and what differs; empty where there are none."""
    if run.protocol.published is None:
        return {}
    stored = json.loads((resources.files("kinephoto.measure") / "published.json").read_text(encoding="utf-8"))
    if run.protocol.published not in stored:
        return {}
    return {
        "source": stored["source"],
        "differences": run.protocol.differences,
        "rows": stored[run.protocol.published],
    }


def markdown(found: Mapping[str, Any]) -> str:
    """A table for each target, the paper's rows below them; see ``results``."""
    methods: Means = found["methods"]
    names = [name for target in methods.values() for name in target]
    blocks = []
    for target in dict.fromkeys(names):
        having = {name: targets[target] for name, targets in methods.items() if target in targets}
        extra = [
            name
            for name in ("lpips_alex", "lpips_vgg", "dists")
            if any(name in table for table in having.values())
        ]
        columns = (*COLUMNS, *extra, "seconds")
        rows = [[name, *(cell(table, column) for column in columns)] for name, table in having.items()]
        first = next(iter(having.values()))
        title = (
            f"**{target}** ({first['psnr']['clips']} clips; holes {first['hole_share']['mean']:.1%} of the frame; "
            f"depth {found['depth']})"
        )
        blocks.append(title + "\n\n" + markdown_table(["method", *columns], rows))
    if found.get("published"):
        blocks.append(_published_table(found["published"]))
    if found["failures"]:
        lines = [f"- {_where(failure)}: {failure['why']}" for failure in found["failures"]]
        blocks.append(f"**Not measured** ({len(lines)})\n\n" + "\n".join(lines))
    return "\n\n".join(blocks)


def cell(table: Mapping[str, Mapping[str, Any]], metric: str) -> str | None:
    """The mean, in as many places as can be told apart: decibels and seconds two, perceptual distances four."""
    if metric not in table:
        return None
    places = 4 if "lpips" in metric else 3 if "ssim" in metric or "dists" in metric else 2
    return f"{table[metric]['mean']:.{places}f}"


def _where(failure: Mapping[str, Any]) -> str:
    pair = f" {failure['name']} ({failure['source']} to {failure['target']})" if "name" in failure else ""
    method = f", {failure['method']}" if failure.get("method") else ""
    return f"{failure['scene']}{pair}{method}"


def _published_table(told: Mapping[str, Any]) -> str:
    """The paper's rows, marked as such."""
    targets = list(next(iter(told["rows"].values())))
    header = [
        "published",
        *(f"{metric} {target}" for target in targets for metric in ("psnr", "ssim", "lpips")),
    ]
    rows = [
        [name, *(values[target][metric] for target in targets for metric in ("psnr", "ssim", "lpips"))]
        for name, values in told["rows"].items()
    ]
    return f"{told['source']}. {told['differences']}\n\n" + markdown_table(header, rows)


def latex(found: Mapping[str, Any]) -> str:
    """The paper's Table 1 or 2 with our rows: published ones first, with a dagger; needs the package booktabs."""
    methods: Means = found["methods"]
    targets = list(dict.fromkeys(target for table in methods.values() for target in table))
    has_lpips = any("lpips_alex" in values for table in methods.values() for values in table.values())
    ours = "lpips_alex" if has_lpips else "st_lpips_alex"
    metrics = ((ours, "LPIPS"), ("psnr", "PSNR"), ("ssim", "SSIM"))
    arrows = {"LPIPS": "$\\downarrow$", "PSNR": "$\\uparrow$", "SSIM": "$\\uparrow$"}
    lines = [
        "\\begin{tabular}{l" + "c" * (len(metrics) * len(targets)) + "}",
        "\\toprule",
        "Method"
        + "".join(f" & \\multicolumn{{{len(targets)}}}{{c}}{{{name}{arrows[name]}}}" for _, name in metrics)
        + " \\\\",
        "".join(f" & {_escaped(target)}" for _ in metrics for target in targets) + " \\\\",
        "\\midrule",
    ]
    for name, row in (found.get("published") or {}).get("rows", {}).items():
        cells = [row.get(target, {}).get(_name_of(metric)) for metric, _ in metrics for target in targets]
        lines.append(_row(f"{_escaped(name)}$^\\dagger$", cells))
    if found.get("published"):
        lines.append("\\midrule")
    for name, table in methods.items():
        cells = [
            table.get(target, {}).get(metric, {}).get("mean") for metric, _ in metrics for target in targets
        ]
        lines.append(_row(_escaped(name), cells))
    lines += ["\\bottomrule", "\\end{tabular}"]
    notes = (
        []
        if has_lpips
        else ["% LPIPS of our rows is ST-LPIPS with AlexNet; the published rows are plain LPIPS."]
    )
    if found.get("published"):
        notes.append(f"% Daggers: {found['published']['source']}. {found['published']['differences']}")
    return "\n".join([*notes, *lines]) + "\n"


def _name_of(metric: str) -> str:
    return "lpips" if "lpips" in metric else metric


def _row(name: str, cells: Sequence[float | None]) -> str:
    told = ("--" if cell is None else f"{cell:.2f}" if cell >= 2 else f"{cell:.3f}" for cell in cells)
    return f"{name} & " + " & ".join(told) + " \\\\"


def _escaped(text: str) -> str:
    for letter in "&%$#_{}":
        text = text.replace(letter, "\\" + letter)
    return text
