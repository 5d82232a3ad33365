"""``kinephoto evaluate``: measure what comes with kinephoto, or is to come, on one's own photos."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import BaseModel, ConfigDict

from kinephoto.app.options import with_settings
from kinephoto.app.show import bar, say
from kinephoto.errors import InputError
from kinephoto.studio.settings import setting

evaluate = typer.Typer(help="Measure painters on photos.", no_args_is_help=True)


class InpaintingSettings(BaseModel):
    """What a run of ``kinephoto evaluate inpainting`` measures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    photos: Path = setting(
        ..., "Folder of pictures; with manifest.csv its splits count, disparity/ holds depth labels.", "Data"
    )
    split: Literal["test", "train", "held-out"] = setting(
        "test", "Photos of a folder with manifest.csv to measure on.", "Data"
    )
    most_photos: int | None = setting(
        None, "Use so many photos, evenly spread over the folder.", "Data", ge=1, le=1_000_000
    )
    most_px: int = setting(320, "Reduce photos to a short side of so many px.", "Data", ge=64, le=4096)
    pairs: int = setting(1, "Moves of the camera for each photo.", "Data", ge=1, le=1000)
    methods: str | None = setting(
        None,
        "What to measure, with commas between: nearest, far, push-pull, push-pull-far, telea, ns and any painter; "
        "these, builtin and classical otherwise.",
        "Methods",
    )
    seed: int = setting(0, "The same seed gives the same holes and numbers.", "Methods", ge=0, lt=2**32)
    device: str | None = setting(None, "Where to compute, such as cuda; the processor otherwise.", "Methods")
    out: Path | None = setting(None, "Folder for results.json, results.md and sheets/.", "Output")
    sheets: int = setting(
        0,
        "Draw sheets of so many photos, in --out: the holes and every method.",
        "Output",
        ge=0,
        le=1_000_000,
    )


@evaluate.command("inpainting")
@with_settings(InpaintingSettings)
def inpainting(
    *,
    settings: InpaintingSettings,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing unless something is wrong.")
    ] = False,
) -> None:
    """Paint holes whose truth is known, by every method, and print how close each comes (docs/protocol.md)."""
    from kinephoto.measure.inpainting import Finished, evaluate_inpainting, photo_names, spread
    from kinephoto.measure.inpainting_report import results, sheet, summary, tables
    from kinephoto.measure.report import write_results
    from kinephoto.measure.stlpips import StLpips
    from kinephoto.studio.pictures import write_picture

    if settings.sheets and settings.out is None:
        raise InputError("--sheets needs a folder to draw them in: --out DIR.")
    names = spread(photo_names(settings.photos, settings.split), settings.most_photos)
    methods, notes = _methods(settings)
    distances = {
        "alex": StLpips("alex", settings.device),
        "vgg": StLpips("vgg", settings.device),
    }
    _make_folder(settings.out, "sheets" if settings.sheets else "")
    for note in notes:
        say(f"Note: {note}", quiet)
    finished: list[Any] = []
    skipped: list[Any] = []
    run = evaluate_inpainting(
        settings.photos,
        names,
        methods,
        distances,
        pairs=settings.pairs,
        seed=settings.seed,
        most_px=settings.most_px,
        device=settings.device,
    )
    with bar(quiet) as progress:
        for number, found in enumerate(run):
            if progress is not None:
                progress("Painting and measuring", (number + 1) / len(names))
            if not isinstance(found, Finished):
                skipped.append(found)
                say(f"Note: skipped: {found.why}", quiet)
                continue
            if settings.out and found.example and len(finished) < settings.sheets:
                target = settings.out / "sheets" / f"{len(finished):03d}.png"
                write_picture(sheet(found.example), target, metadata={"Title": found.name})
            finished.append(found.without_pictures())
    if not finished:
        raise InputError(f"None of the {len(names)} photos could be measured; the first: {skipped[0].why}")
    text = tables(summary(finished))
    print(text)
    if settings.out is not None:
        content = results(finished, skipped) | {"settings": settings.model_dump(mode="json"), "notes": notes}
        write_results(settings.out / "results.json", content)
        (settings.out / "results.md").write_text(text + "\n", encoding="utf-8")
    say(f"{len(finished)} photos measured, {len(skipped)} skipped.", quiet)


class OutpaintingSettings(BaseModel):
    """What a run of ``kinephoto evaluate outpainting`` measures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    coco: Path = setting(..., "Folder with instances.json and captions.json, as COCO has them.", "Data")
    photos: Path | None = setting(
        None,
        "Folder of the photos; with manifest.csv its splits count. --coco or the folder above it otherwise.",
        "Data",
    )
    split: Literal["test", "train", "held-out"] = setting(
        "test", "Photos of a folder with manifest.csv to measure on.", "Data"
    )
    most_photos: int | None = setting(
        None, "Use so many photos, evenly spread over the folder.", "Data", ge=1, le=1_000_000
    )
    learn_photos: int = setting(
        400,
        "Look at so many photos of the split train, for the stand-in for prompt fit and the kinds of photos.",
        "Data",
        ge=0,
        le=1_000_000,
    )
    size: int = setting(256, "Reduce photos to a short side of so many px.", "Data", ge=128, le=4096)
    methods: str = setting(
        "builtin,classical,mean",
        "What to measure, with commas between: mean (the objects' mean colour) and any painter, such as "
        "builtin:FOLDER.",
        "Methods",
    )
    steps: int | None = setting(
        None, "Steps of a diffusion painter; its own default otherwise.", "Methods", ge=1, le=1000
    )
    guidance: float = setting(
        0.0, "How much further than usual a diffusion painter follows the prompt.", "Methods", ge=0, le=50
    )
    seed: int = setting(
        0, "The same seed gives the same objects, prompts and numbers.", "Methods", ge=0, lt=2**32
    )
    device: str | None = setting(None, "Where to compute, such as cuda; the processor otherwise.", "Methods")
    inception: Path | None = setting(
        None, "Weights of Inception v3, .pth or .safetensors: FID and IS as well.", "Judges"
    )
    clip: str | None = setting(None, "Folder of a CLIP, or its ID on the hub: CLIP-SIM as well.", "Judges")
    out: Path | None = setting(None, "Folder for results.json, results.md and sheet.png.", "Output")


@evaluate.command("outpainting")
@with_settings(OutpaintingSettings)
def outpainting(
    *,
    settings: OutpaintingSettings,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing unless something is wrong.")
    ] = False,
) -> None:
    """Paint scenes around the objects of photos, by every method, and print how real they look (docs/protocol.md)."""
    from kinephoto.learn.photos import Skipped
    from kinephoto.measure.methods.scene_fills import methods_named
    from kinephoto.measure.outpainting import PHOTO, evaluate_outpainting
    from kinephoto.measure.outpainting_judges import load_judges, look_beforehand, taught
    from kinephoto.measure.outpainting_photos import read_collection
    from kinephoto.measure.outpainting_report import results, sheet, tables
    from kinephoto.measure.report import write_results
    from kinephoto.studio.pictures import write_picture

    collection = read_collection(
        settings.coco,
        settings.photos,
        split=settings.split,
        most=settings.most_photos,
        most_learnt=settings.learn_photos,
        seed=settings.seed,
    )
    methods = methods_named(
        _listed(settings.methods),
        device=settings.device,
        steps=settings.steps,
        guidance=settings.guidance,
    )
    judges = load_judges(settings.inception, settings.clip, settings.device)
    _make_folder(settings.out)
    with bar(quiet) as progress:
        beforehand = look_beforehand(collection, judges, settings.size)
        seen = list(_shown(progress, "Looking at photos", beforehand, len(collection.captions)))
        judges, notes = taught(judges, [each for each in seen if not isinstance(each, Skipped)])
        run = evaluate_outpainting(collection, methods, judges, size_px=settings.size, seed=settings.seed)
        found = list(_shown(progress, "Painting and measuring", run, len(collection.cases)))
    scenes = [each for each in found if not isinstance(each, Skipped)]
    skipped = [each for each in found if isinstance(each, Skipped)]
    unseen = [each for each in seen if isinstance(each, Skipped)]
    for note in (*notes, *(f"skipped: {each.why}" for each in (*unseen, *skipped))):
        say(f"Note: {note}", quiet)
    if not scenes:
        raise InputError(f"None of the {len(skipped)} photos could be measured; the first: {skipped[0].why}")
    content = results(scenes, skipped, judges, settings.seed)
    text = tables({PHOTO: content["real"], **content["methods"]})
    print(text)
    if settings.out is not None:
        learnt = {"photos": len(seen) - len(unseen), "skipped": [vars(each) for each in unseen]}
        more = {"learnt_from": learnt, "settings": settings.model_dump(mode="json"), "notes": notes}
        write_results(settings.out / "results.json", content | more)
        (settings.out / "results.md").write_text(text + "\n", encoding="utf-8")
        write_picture(sheet(scenes), settings.out / "sheet.png")
    say(f"{len(scenes)} photos measured, {len(skipped)} skipped.", quiet)


def _shown(progress: Any, stage: str, items: Iterable[Any], count: int) -> Iterator[Any]:
    """The items as they come, of which there are so many, and the bar with them."""
    for number, item in enumerate(items):
        if progress is not None:
            progress(stage, (number + 1) / count)
        yield item


def _methods(settings: InpaintingSettings) -> tuple[dict[str, Any], list[str]]:
    """The methods to measure, and what is to be said of those left out."""
    from kinephoto.measure.methods.hole_fills import default_methods, methods_named

    if settings.methods is None:
        return default_methods(settings.device)
    return methods_named(_listed(settings.methods), settings.device), []


def _listed(text: str) -> list[str]:
    """What stands between commas."""
    return [name for name in (part.strip() for part in text.split(",")) if name]


def _make_folder(out: Path | None, inside: str = "") -> None:
    """Make the folder for the output, and one in it, before an hour's work, or raise InputError."""
    if out is None:
        return
    try:
        (out / inside).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be made a folder ({error.strerror}).") from None
