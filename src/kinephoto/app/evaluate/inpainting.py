"""``kinephoto evaluate inpainting``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from kinephoto.app.evaluate.progress import listed, make_folder
from kinephoto.app.flags import Quiet
from kinephoto.app.options import with_settings
from kinephoto.app.show import bar, say
from kinephoto.errors import InputError
from kinephoto.setting import setting


class InpaintingSettings(BaseModel):
    """What a run of ``kinephoto evaluate inpainting`` measures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    photos: Path = setting(
        ..., "Folder of pictures; with manifest.csv its splits count, disparity/ holds depth labels.", "Data"
    )
    split: Literal["test", "train", "held-out"] = setting(
        "test", "Photos to measure on; test is all of a folder without manifest.csv.", "Data"
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


@with_settings(InpaintingSettings)
def inpainting(
    *,
    settings: InpaintingSettings,
    quiet: Quiet = False,
) -> None:
    """Paint holes whose truth is known, by every method, and print how close each comes (docs/protocol.md)."""
    from kinephoto.measure.inpainting import Finished, evaluate_inpainting
    from kinephoto.measure.inpainting_report import results, sheet, summary, tables
    from kinephoto.measure.photos import photo_names, split_note, spread
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
    make_folder(settings.out, "sheets" if settings.sheets else "")
    notes = list(filter(None, [split_note(settings.photos, settings.split), *notes]))
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


def _methods(settings: InpaintingSettings) -> tuple[dict[str, Any], list[str]]:
    """The methods to measure, and what is to be said of those left out."""
    from kinephoto.measure.methods.hole_fills import default_methods, methods_named

    if settings.methods is None:
        return default_methods(settings.device)
    return methods_named(listed(settings.methods), settings.device), []
