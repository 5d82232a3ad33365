"""``kinephoto evaluate depth``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from kinephoto.app.evaluate.progress import left_out, listed, make_folder, shown
from kinephoto.app.flags import Quiet
from kinephoto.app.options import with_settings
from kinephoto.app.show import bar, say
from kinephoto.errors import InputError
from kinephoto.setting import setting


class DepthSettings(BaseModel):
    """What a run of ``kinephoto evaluate depth`` measures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    photos: Path | None = setting(
        None,
        "Folder of pictures; disparity/ in it holds depth labels, masks/ and coco/ outlines, manifest.csv splits.",
        "Data",
    )
    scenes: Path | None = setting(
        None,
        "Folder with a folder for each posed scene: images/, cameras.txt, points.npz or depth.npz.",
        "Data",
    )
    split: Literal["test", "train", "held-out"] = setting(
        "test", "Photos to measure on; test is all of a folder without manifest.csv.", "Data"
    )
    most_photos: int | None = setting(
        None, "Use so many photos, evenly spread over the folder.", "Data", ge=1, le=1_000_000
    )
    depth: str = setting(
        "plane,builtin",
        "What to measure, with commas between: plane (knows nothing), builtin, auto, hub:ID, a network's folder, "
        "or a .safetensors file of kinephoto's depth network.",
        "Methods",
    )
    short_side_px: int | None = setting(
        None,
        "What networks of transformers see of a picture: its short side in px; as for a film otherwise.",
        "Methods",
        ge=56,
        le=4096,
    )
    device: str | None = setting(None, "Where to compute, such as cuda; the processor otherwise.", "Methods")
    offline: bool = setting(False, "Never touch the network.", "Methods")
    out: Path | None = setting(None, "Folder for results.json and results.md.", "Output")


@with_settings(DepthSettings)
def depth(
    *,
    settings: DepthSettings,
    quiet: Quiet = False,
) -> None:
    """Compare depth with labels, true depth and the outlines of things: exit code 1 if anything could not be used."""
    from kinephoto.learn.photos import Skipped
    from kinephoto.measure.depth_report import results, summary, tables
    from kinephoto.measure.depth_run import Finished, evaluate_depth
    from kinephoto.measure.methods.depth_sources import methods_named
    from kinephoto.measure.photos import PhotoFiles, photo_names, split_note, spread
    from kinephoto.measure.report import write_results
    from kinephoto.measure.scenes import scene_folders
    from kinephoto.scene.edges import sharpen

    if settings.photos is None and settings.scenes is None:
        raise InputError("There is nothing to measure on; name --photos DIR or --scenes DIR.")
    photos, scenes, note = [], [], ""
    if settings.photos is not None:
        names = spread(photo_names(settings.photos, settings.split), settings.most_photos)
        photos = [PhotoFiles(settings.photos, name) for name in names]
        note = split_note(settings.photos, settings.split)
    if settings.scenes is not None:
        scenes = scene_folders(settings.scenes)
    methods = methods_named(
        listed(settings.depth),
        device=settings.device,
        offline=settings.offline,
        short_side_px=settings.short_side_px,
    )
    make_folder(settings.out)
    if note:
        say(f"Note: {note}", quiet)
    finished: list[Finished] = []
    skipped: list[Skipped] = []
    run = evaluate_depth({each.name: each.disparity_of for each in methods}, photos, scenes, sharpen)
    with bar(quiet) as progress:
        for found in shown(progress, "Estimating and measuring", run, len(photos) + len(scenes)):
            (skipped if isinstance(found, Skipped) else finished).append(found)
    measured = [each for each in finished if any(each.scores.values())]
    if not measured:
        why = skipped[0].why if skipped else "there are no labels, masks, points or disparities."
        raise InputError(f"Nothing could be measured on {len(photos)} photos and {len(scenes)} scenes: {why}")
    text = tables(summary(measured))
    print(text)
    if settings.out is not None:
        weights = {each.name: each.weights for each in methods}
        more = {"weights_sha256": weights, "settings": settings.model_dump(mode="json")}
        write_results(settings.out / "results.json", results(measured, skipped) | more)
        (settings.out / "results.md").write_text(text + "\n", encoding="utf-8")
    unknown = len(finished) - len(measured)
    say(f"{len(measured)} photos and scenes measured, {unknown} without truth.", quiet)
    left_out(skipped)
