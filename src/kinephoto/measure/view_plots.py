"""Plots of a run: quality against the camera's distance, clip by clip, and against time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kinephoto.errors import InputError

METRICS = (("psnr", "PSNR, dB"), ("st_lpips_alex", "ST-LPIPS, AlexNet"))


def write_plots(found: Mapping[str, Any], out: Path) -> list[Path]:
    """Write ``distance.svg``, ``clips.svg`` and ``time.svg``; see ``view_report.results``.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise InputError("Plots need matplotlib; install it by: pip install 'kinephoto[eval]'") from None
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "kinephoto"
    return [
        _against_distance(found, out / "distance.svg"),
        _by_clip(found, out / "clips.svg"),
        _against_time(found, out / "time.svg"),
    ]


def _against_distance(found: Mapping[str, Any], target: Path) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (metric, label) in zip(figure.subplots(1, 2), METRICS, strict=True):
        for method in found["methods"]:
            places = sorted(
                (record["distance"], record["methods"][method][metric])
                for record in found["pairs"]
                if record["methods"].get(method, {}).get(metric) is not None
            )
            if places:
                axes.plot(*zip(*places, strict=True), ".", label=method)
        axes.set(xlabel="distance of the cameras, in middle depths", ylabel=label)
    figure.axes[0].legend(fontsize="x-small")
    figure.savefig(target, metadata={"Date": None})
    return target


def _against_time(found: Mapping[str, Any], target: Path) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    for axes, (metric, label) in zip(figure.subplots(1, 2), METRICS, strict=True):
        for number, method in enumerate(found["methods"]):
            seconds, quality = (_mean_of(found, method, name) for name in ("seconds", metric))
            if seconds > 1e-3 and quality == quality:  # a mere copy would squash the scale; NaN: not one view
                marker = "os^v"[number // 10 % 4]  # there are ten colours
                axes.plot(seconds, quality, marker, markersize=4, label=method)
        axes.set(xscale="log", xlabel="seconds a view", ylabel=label)
        axes.grid(linewidth=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize="x-small")
    figure.savefig(target, metadata={"Date": None})
    return target


def _by_clip(found: Mapping[str, Any], target: Path) -> Path:
    from matplotlib.figure import Figure

    clips = sorted({record["pair"]["scene"] for record in found["pairs"]})
    figure = Figure(figsize=(9, 0.8 + 0.28 * len(clips)), layout="constrained")
    for axes, (metric, label) in zip(figure.subplots(1, 2, sharey=True), METRICS, strict=True):
        for method in found["methods"]:
            means = [_mean_of(found, method, metric, clip) for clip in clips]
            axes.plot(means, range(len(clips)), "o", markersize=4, label=method)
        axes.set(xlabel=label, yticks=range(len(clips)), yticklabels=clips)
        axes.grid(axis="x", linewidth=0.3)
    figure.axes[0].legend(fontsize="x-small")
    figure.savefig(target, metadata={"Date": None})
    return target


def _mean_of(found: Mapping[str, Any], method: str, metric: str, clip: str | None = None) -> float:
    """Over all pairs, or those of one clip; NaN where there is none."""
    values = [
        record["methods"][method][metric]
        for record in found["pairs"]
        if clip in (None, record["pair"]["scene"])
        and record["methods"].get(method, {}).get(metric) is not None
    ]
    return sum(values) / len(values) if values else float("nan")
