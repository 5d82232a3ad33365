"""``kinephoto evaluate views``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer
from pydantic import BaseModel, ConfigDict

from kinephoto.app.evaluate.progress import listed, make_folder
from kinephoto.app.flags import Quiet
from kinephoto.app.options import with_settings
from kinephoto.app.show import bar, say
from kinephoto.errors import InputError
from kinephoto.setting import setting

if TYPE_CHECKING:
    from kinephoto.measure.view_run import ViewRun


class ViewsSettings(BaseModel):
    """What a run of ``kinephoto evaluate views`` measures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scenes: Path = setting(
        ..., "Folder with a folder for each scene: images/, cameras.txt, points.npz or depth.npz.", "Data"
    )
    protocol: str = setting(
        "re10k",
        "Which views: re10k, re10k-offsets, mannequin, stereo, a JSON file of one, or a CSV file of pairs.",
        "Data",
    )
    clips: Path | None = setting(None, "File with the names of the scenes to take, one in a line.", "Data")
    size: str | None = setting(
        None, "native, or WIDTHxHEIGHT that pictures are squashed to; the protocol's otherwise.", "Data"
    )
    border_crop: float | None = setting(
        None,
        "Leave out so much along each border, such as 0.05; the protocol's otherwise.",
        "Data",
        ge=0,
        lt=0.5,
    )
    scale: Literal["affine", "scale", "best-of-20", "none"] | None = setting(
        None, "How depth gets the scene's scale (docs/protocol.md); the protocol's otherwise.", "Depth"
    )
    depth: str = setting(
        "builtin", "Whose depth: builtin, truth (stereo), hub:ID, a folder or a .safetensors.", "Depth"
    )
    edges: Literal["film", "none"] = setting(
        "film", "Make depth edges steps as a film does, or leave them.", "Depth"
    )
    methods: str = setting(
        "copy,w-nearest,w-far,w-telea,classical,builtin", "What to measure, with commas between.", "Methods"
    )
    seed: int = setting(0, "Of methods that draw something.", "Methods", ge=0, lt=2**32)
    seeds: int = setting(1, "So many successive seeds; their mean counts.", "Methods", ge=1, le=100)
    lpips_alex: Path | None = setting(None, "torchvision's weights of AlexNet: LPIPS as well.", "Judges")
    lpips_vgg: Path | None = setting(
        None, "torchvision's weights of VGG16: LPIPS and DISTS as well.", "Judges"
    )
    device: str | None = setting(None, "Where to compute, such as cuda; the processor otherwise.", "Machine")
    workers: int = setting(1, "Processes, each with its share of the cores.", "Machine", ge=1, le=256)
    offline: bool = setting(False, "Never touch the network.", "Machine")
    out: Path | None = setting(
        None,
        "Folder for results.json, results.md, results.tex, index.html and pictures; a run there goes on.",
        "Output",
    )


@with_settings(ViewsSettings)
def views(*, settings: ViewsSettings, quiet: Quiet = False) -> None:
    """Make new views of posed photos, by every method, and compare them with the real ones (docs/protocol.md)."""
    from kinephoto.measure.report import write_results
    from kinephoto.measure.view_report import latex, markdown, results
    from kinephoto.measure.view_run import plan_views, run_views
    from kinephoto.measure.views import ViewFailure

    run = run_of(settings)
    plan = plan_views(run)
    make_folder(settings.out)
    for failure in plan.broken:
        say(f"Note: {failure.why}", quiet)
    records, failures = [], list(plan.broken)
    with bar(quiet) as progress:
        for number, found in enumerate(run_views(run, plan, settings.workers)):
            if progress is not None:
                progress("Warping and measuring", (number + 1) / plan.count)
            if isinstance(found, ViewFailure):
                failures.append(found)
                say(f"Note: {found.why}", quiet)
            else:
                records.append(found)
    if not records:
        raise InputError(f"None of the {plan.count} pairs could be measured; the first: {failures[0].why}")
    found = results(run, records, failures)
    print(markdown(found))
    if settings.out is not None:
        write_results(settings.out / "results.json", found | {"settings": settings.model_dump(mode="json")})
        (settings.out / "results.md").write_text(markdown(found) + "\n", encoding="utf-8")
        (settings.out / "results.tex").write_text(latex(found), encoding="utf-8")
        _draw(found, settings.out, quiet)
    say(f"{len(records)} of {plan.count} pairs measured.", quiet)
    if found["failures"]:
        say(f"{len(found['failures'])} could not be, the first: {found['failures'][0]['why']}")
        raise typer.Exit(1)


def run_of(settings: ViewsSettings) -> ViewRun:
    """The run that the settings ask for.

    Raises:
        InputError: no such protocol, or a size or a list of clips that can't be read.
    """
    from kinephoto.measure.view_protocol import read_protocol
    from kinephoto.measure.view_run import ViewRun
    from kinephoto.studio.outpaint_settings import scene_hw

    changed: dict[str, object] = {}
    if settings.size is not None:
        changed["size"] = None if settings.size == "native" else scene_hw(settings.size)
    if settings.border_crop is not None:
        changed["border_crop"] = settings.border_crop
    if settings.scale is not None:
        changed["scale"] = settings.scale
    weights: dict[Any, Path | None] = {"alex": settings.lpips_alex, "vgg": settings.lpips_vgg}
    return ViewRun(
        settings.scenes,
        read_protocol(settings.protocol).model_copy(update=changed),
        _clips(settings.clips),
        settings.depth,
        tuple(listed(settings.methods)),
        settings.edges,
        tuple(range(settings.seed, settings.seed + settings.seeds)),
        {name: path for name, path in weights.items() if path is not None},
        settings.device,
        settings.offline,
        settings.out,
    )


def _clips(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path} can't be read as a list of clips.") from None
    names = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not names:
        raise InputError(f"{path} names no clip.")
    return names


def _draw(found: dict[str, Any], out: Path, quiet: bool) -> None:
    """The plots, where they can be drawn, and the page."""
    from kinephoto.measure.view_page import write_page
    from kinephoto.measure.view_plots import write_plots

    try:
        write_plots(found, out)
    except InputError as error:
        say(f"Note: {error}", quiet)
    say(f"Look at {write_page(found, out)}", quiet)
