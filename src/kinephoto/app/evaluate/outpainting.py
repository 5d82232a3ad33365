"""``kinephoto evaluate outpainting``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from kinephoto.app.evaluate.progress import listed, make_folder, shown
from kinephoto.app.flags import Quiet
from kinephoto.app.options import with_settings
from kinephoto.app.show import bar, say
from kinephoto.errors import InputError
from kinephoto.setting import setting


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
        "test", "Photos to measure on; test is all of a folder without manifest.csv.", "Data"
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


@with_settings(OutpaintingSettings)
def outpainting(
    *,
    settings: OutpaintingSettings,
    quiet: Quiet = False,
) -> None:
    """Paint scenes around the objects of photos, by every method, and print how real they look (docs/protocol.md)."""
    from kinephoto.learn.photos import Skipped
    from kinephoto.measure.methods.scene_fills import methods_named
    from kinephoto.measure.outpainting import PHOTO, evaluate_outpainting
    from kinephoto.measure.outpainting_judges import load_judges, look_beforehand, taught
    from kinephoto.measure.outpainting_photos import read_collection
    from kinephoto.measure.outpainting_report import results, sheet, tables
    from kinephoto.measure.photos import split_note
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
        listed(settings.methods),
        device=settings.device,
        steps=settings.steps,
        guidance=settings.guidance,
    )
    judges = load_judges(settings.inception, settings.clip, settings.device)
    make_folder(settings.out)
    with bar(quiet) as progress:
        beforehand = look_beforehand(collection, judges, settings.size)
        seen = list(shown(progress, "Looking at photos", beforehand, len(collection.captions)))
        judges, notes = taught(judges, [each for each in seen if not isinstance(each, Skipped)])
        notes = [*filter(None, [split_note(collection.folder, settings.split)]), *notes]
        run = evaluate_outpainting(collection, methods, judges, size_px=settings.size, seed=settings.seed)
        found = list(shown(progress, "Painting and measuring", run, len(collection.cases)))
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
