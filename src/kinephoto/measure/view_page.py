"""A page to look at: source, target, every method, difference and holes of each pair, the worst first."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kinephoto.measure.view_case import ViewPair
from kinephoto.measure.view_report import cell
from kinephoto.measure.view_run import picture_file

DIFFERENCE_GAIN = 4.0
"""Differences are shown so many times as strong."""

STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 16px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 1500px; padding: 0 1rem; }
table { border-collapse: collapse; }
td, th { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--line); }
td:first-child, th:first-child { text-align: left; }
section { border-top: 1px solid var(--line); margin-top: 1.5rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(190px, 1fr)); gap: .6rem; }
figure { margin: 0; } img { width: 100%; image-rendering: auto; display: block; } figcaption { font-size: .85rem; }
.scroll { overflow-x: auto; }
"""


def chief_method(found: Mapping[str, Any]) -> str:
    """The method whose failures come first: ours, where it is there."""
    names = list(found["methods"])
    ours = [name for name in names if not name.startswith(("copy", "w-"))]
    return "builtin" if "builtin" in names else (ours or names)[0]


def write_page(found: Mapping[str, Any], out: Path) -> Path:
    """Write ``OUT/index.html``, beside the pictures that a run has kept there.

    Args:
        found: from ``view_report.results``.
        out: the run's folder.

    Returns:
        The page.
    """
    from kinephoto.studio.files import whole

    chief = chief_method(found)
    pairs = [record for record in found["pairs"] if chief in record["methods"]]
    pairs.sort(key=lambda record: -_badness(record["methods"][chief]))
    sections = "\n".join(_section(record, list(found["methods"]), chief, out) for record in pairs)
    failures = "".join(f"<li>{html.escape(str(failure))}</li>" for failure in found["failures"])
    text = f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>New views: {html.escape(found["protocol"]["name"])}</title><style>{STYLE}</style>
<h1>New views: {html.escape(found["protocol"]["name"])}</h1>
<p>{html.escape(found["protocol"]["title"])} Depth: {html.escape(found["depth"])}. The worst of
<b>{html.escape(chief)}</b> first, by ST-LPIPS (AlexNet).</p>
<div class="scroll">{_table(found)}</div>
{f"<h2>Not measured</h2><ul>{failures}</ul>" if failures else ""}
<p>{"".join(f'<img src="{name}" alt="{alt}" style="max-width:700px">' for name, alt in _plots(out))}</p>
{sections}
</html>
"""
    target = out / "index.html"
    with whole(target) as beside:
        beside.write_text(text, encoding="utf-8")
    return target


def _badness(values: Mapping[str, Any]) -> float:
    distance = values.get("st_lpips_alex")
    return float(distance) if distance is not None else -float(values["psnr"])


def _table(found: Mapping[str, Any]) -> str:
    metrics = ("psnr", "ssim", "st_lpips_alex", "st_lpips_vgg", "psnr_hole")
    rows = []
    for method, targets in found["methods"].items():
        for target, table in targets.items():
            cells = "".join(f"<td>{cell(table, metric) or '–'}</td>" for metric in metrics)
            rows.append(f"<tr><td>{html.escape(method)}</td><td>{html.escape(target)}</td>{cells}</tr>")
    head = "".join(f"<th>{metric}</th>" for metric in ("method", "target", *metrics))
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _plots(out: Path) -> list[tuple[str, str]]:
    named = (
        ("distance.svg", "quality against camera distance"),
        ("clips.svg", "quality of each clip"),
        ("time.svg", "quality against time"),
    )
    return [(name, alt) for name, alt in named if (out / name).is_file()]


def _section(record: Mapping[str, Any], methods: list[str], chief: str, out: Path) -> str:
    pair = ViewPair(**record["pair"])
    difference = _difference(out, pair, chief)
    names = ["source", "target", chief, *([difference] if difference else []), "holes"]
    names += [name for name in methods if name != chief and name in record["methods"]]
    figures = "".join(_figure(out, pair, name, record) for name in names)
    values = record["methods"][chief]
    told = ", ".join(
        f"{metric} {values[metric]:.3f}"
        for metric in ("psnr", "st_lpips_alex")
        if values.get(metric) is not None
    )
    return (
        f"<section><h2>{html.escape(pair.scene)}, {html.escape(pair.name)}</h2><p>{told}; camera moved by "
        f"{record['distance']:.2f} of the middle depth; holes {record['hole_share']:.1%}.</p>"
        f'<div class="pictures">{figures}</div></section>'
    )


def _figure(out: Path, pair: ViewPair, name: str, record: Mapping[str, Any]) -> str:
    file = picture_file(out, pair, name)
    if not file.is_file():
        return ""
    values = record["methods"].get(name, {})
    number = f", {values['psnr']:.2f} dB" if values.get("psnr") is not None else ""
    source = html.escape(file.relative_to(out).as_posix(), quote=True)
    told = html.escape(name.replace("_", " "))
    return f'<figure><img loading="lazy" src="{source}" alt="{told}"><figcaption>{told}{number}</figcaption></figure>'


def _difference(out: Path, pair: ViewPair, chief: str) -> str | None:
    """Write the absolute difference of the chief method's picture and the target; its name, or None without them."""
    from PIL import Image

    from kinephoto.studio.files import whole

    files = [picture_file(out, pair, name) for name in (chief, "target")]
    if not all(file.is_file() for file in files):
        return None
    ours, true = (np.asarray(Image.open(file).convert("RGB"), np.float32) for file in files)
    apart = np.clip(DIFFERENCE_GAIN * np.abs(ours - true), 0, 255).astype(np.uint8)
    with whole(picture_file(out, pair, "difference")) as beside:
        Image.fromarray(apart).save(beside, format="PNG")
    return "difference"
