"""Out-animation (Sec. 3.3, Fig. 5): a scene is painted around an object, and the camera moves through it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.painter import Painter, get_painter
from kinephoto.scene.camera import Camera
from kinephoto.scene.depth import estimate_depth
from kinephoto.scene.path import Path as CameraPath
from kinephoto.scene.path import as_path
from kinephoto.scene.photo import read_photo
from kinephoto.scene.values import Capture, Photo
from kinephoto.studio.animate import Film, checked_times, film
from kinephoto.studio.build import build_world
from kinephoto.studio.certificates import Signer
from kinephoto.studio.cutout import Box, Cutout, Mask, Point, Subject, as_cutout
from kinephoto.studio.extension import (
    Outpainted,
    as_painter,
    check_margins,
    checked_prompt,
    checked_seed,
    extended,
    parsed_margins,
)
from kinephoto.studio.outpaint import DEFAULT_HW, checked_hw, outpaint
from kinephoto.studio.outpaint_settings import (
    ObjectSettings,
    OutAnimateSettings,
    OutpaintSettings,
    numbers,
    scene_hw,
)
from kinephoto.studio.outputs import Outputs, check, check_painter
from kinephoto.studio.pictures import contact_sheet, exif_of, write_picture
from kinephoto.studio.produce import Report, animate, painter_of
from kinephoto.studio.provenance import Provenance, provenance_of_picture
from kinephoto.studio.settings import is_default
from kinephoto.studio.stages import Progress, Stages


def out_animate(
    subject: Subject,
    path: CameraPath | str | Path | None = None,
    *,
    mask: Mask | str | Path | None = None,
    points: Sequence[Point] = (),
    box: Box | None = None,
    prompt: str | None = None,
    place: str | tuple[float, float] = "centre",
    scale: float | None = None,
    hw: int | tuple[int, int] | None = None,
    seed: int = 0,
    painter: str | Painter = "auto",
    seconds: float = 4.0,
    fps: float = 24.0,
    device: str | None = None,
    offline: bool = False,
    **scene: Any,
) -> Film:
    """Both stages: paint a scene around an object, then film it.

    Args:
        subject: a ``Cutout``, an RGBA picture's file, or a photo (or its file) with a mask, points or a box.
        path: from ``path``, or a name or file for it; a gentle swing when None.
        mask: [H, W] as large as the photo, the object where above a half; or a picture's file.
        points: on the object, px.
        box: around it, px.
        prompt, place, scale, hw, seed: as for ``outpaint``.
        painter: paints the scene, and what comes into view in it.
        seconds, fps: as for ``film``.
        device, offline: as for ``build_world``.
        scene: further arguments of ``build_world``.

    Returns:
        The frames; ``Frame.invented`` is 1 on all but the object.

    Raises:
        InputError: an argument that can't be used.

    Example:
        >>> frames = out_animate("cat.png", prompt="a cat on a beach")  # doctest: +SKIP
    """
    move = as_path(path)
    checked_times(move, seconds, fps)
    cutout = as_cutout(subject, mask=mask, points=points, box=box)
    chosen = as_painter(painter, device=device, offline=offline)
    made = outpaint(cutout, prompt=prompt, place=place, scale=scale, hw=hw, seed=seed, painter=chosen)
    world = build_world(
        made.photo, move, painter=chosen, prompt=prompt, seed=seed, device=device, offline=offline, **scene
    )
    return film(world, seconds, fps, device=device)


def settled_cutout(source: Cutout | str | Path, settings: ObjectSettings, **limits: Any) -> Cutout:
    """The object that settings of the command line speak of.

    Args:
        source: the picture's file, or the object, which is given back.
        settings: checked ones.
        limits: ``max_megapixels``, ``device`` and ``offline`` of ``as_cutout``.

    Raises:
        InputError: see ``as_cutout``.
    """
    flat = numbers(settings.select, "--select") if settings.select else []
    corners = numbers(settings.box, "--box", 4) if settings.box else None
    return as_cutout(
        source,
        mask=settings.mask,
        points=list(zip(flat[::2], flat[1::2], strict=True)),
        box=(corners[0], corners[1], corners[2], corners[3]) if corners else None,
        segmenter=settings.segmenter,
        **limits,
    )


def settled_hw(settings: OutAnimateSettings) -> tuple[int, int]:
    """Height and width of the scene that the settings ask for.

    Raises:
        InputError: they are no size, or out of range.
    """
    return checked_hw(scene_hw(settings.scene_size) or DEFAULT_HW)


def check_outpaint(settings: OutpaintSettings) -> None:
    """Refuse what no photo could be painted with, before a file is read or a network loaded.

    Raises:
        InputError: a painter, prompt, margin or size that can't be used.
    """
    check_painter(settings.painter)
    checked_prompt(settings.prompt)
    checked_seed(settings.seed + settings.candidates - 1)
    if settings.extend is not None:
        check_margins(settings.extend)
        idle = [name for name in (*ObjectSettings.model_fields, "size") if not is_default(settings, name)]
        if idle:
            flags = " and no ".join(f"--{name}" for name in idle)
            raise InputError(f"--extend continues a whole photo as it is; it goes with no {flags}.")
    checked_hw(scene_hw(settings.size) or DEFAULT_HW)


def candidates(
    source: str | Path, settings: OutpaintSettings, painter: Painter | None = None
) -> Iterator[Outpainted]:
    """The scenes that the settings ask for, one for each seed, as they are finished.

    Args:
        source: the picture's file.
        settings: checked ones.
        painter: that of the settings, where it is loaded already.

    Raises:
        InputError: what can't be used.
    """
    check_outpaint(settings)
    machine: dict[str, Any] = {"device": settings.device, "offline": settings.offline}
    if settings.extend is not None:
        photo = read_photo(source, max_megapixels=settings.max_megapixels, embedded_depth=False)
        margins = parsed_margins(settings.extend, photo.camera.hw)
    else:
        cutout = settled_cutout(source, settings, max_megapixels=settings.max_megapixels, **machine)
        hw = scene_hw(settings.size)
    painter = painter or get_painter(
        settings.painter, steps=settings.steps, guidance=settings.guidance, **machine
    )
    for seed in range(settings.seed, settings.seed + settings.candidates):
        if settings.extend is not None:
            yield extended(photo, margins, prompt=settings.prompt, seed=seed, painter=painter)
        else:
            yield outpaint(
                cutout,
                prompt=settings.prompt,
                place=settings.place,
                scale=settings.scale,
                hw=hw,
                seed=seed,
                painter=painter,
            )


def sheet(scenes: Sequence[Outpainted]) -> Tensor:
    """[3, H, W], the scenes side by side, each under its seed."""
    columns = max(1, round(len(scenes) ** 0.5 + 0.49))
    return contact_sheet(
        [scene.photo.rgb for scene in scenes],
        columns=columns,
        labels=[f"--seed {scene.seed}" for scene in scenes],
    )


def whole_scene(scenes: Sequence[Outpainted]) -> Tensor:
    """What is written: the scene, or a sheet of several."""
    return scenes[0].photo.rgb if len(scenes) == 1 else sheet(scenes)


def origin_of(made: Outpainted, settings: BaseModel | None = None) -> Provenance:
    """What a scene's file says of how it was made."""
    return provenance_of_picture(made.painter, made.seed, ~made.object_mask, settings)


def produce_out_animation(
    source: Cutout | str | Path,
    outputs: Outputs,
    settings: OutAnimateSettings,
    progress: Progress | None = None,
    signer: Signer | None = None,
    painter: Painter | None = None,
) -> Report:
    """Paint a scene around an object in a file, make a film of it and write it.

    Args:
        source: the object, or its picture's file.
        outputs: where to.
        settings: checked ones.
        progress: called as the stages "scene", "depth", "path", "painting" and "frames" go on.
        signer: signs the film, not its mask; from `kinephoto.studio.content_credentials.ready`.
        painter: that of the settings, where it is loaded already.

    Raises:
        InputError: what cannot be used, or a full disk. Then nothing of the outputs is there.
    """
    outputs = replace(outputs, layout=settings.stereo)
    hw = settled_hw(settings)
    check(outputs, settings, hw)
    _check_depth(settings, hw)
    stages = Stages(progress)
    painter = painter or painter_of(settings, stages.again)
    machine: dict[str, Any] = {"device": settings.device, "offline": settings.offline}
    cutout = settled_cutout(source, settings, max_megapixels=settings.max_megapixels, **machine)
    with stages.stage("scene"):
        made = outpaint(
            cutout,
            prompt=settings.prompt,
            place=settings.place,
            scale=settings.scale,
            hw=hw,
            seed=settings.seed,
            painter=painter,
        )
    report = animate(made.photo, outputs, settings, signer=signer, painter=painter, stages=stages)
    if outputs.picture is not None:
        write_picture(
            made.photo.rgb, outputs.picture, provenance=origin_of(made, settings), exif=exif_of(made.photo)
        )
    return report


def _check_depth(settings: OutAnimateSettings, hw: tuple[int, int]) -> None:
    """Refuse a depth that there isn't, or that doesn't fit, before the scene is painted.

    A network other than the built-in one is loaded for that and let go again: painting takes longer.
    """
    asked = settings.depth
    if asked == "embedded":
        raise InputError("A scene that is painted brings no depth along; --depth auto estimates it.")
    if asked in ("auto", "builtin"):
        return
    if asked.startswith("hub:") or Path(asked).is_dir():
        from kinephoto.scene.depth_networks import TransformersDepth

        TransformersDepth(asked.removeprefix("hub:"), device=settings.device, offline=settings.offline)
        return
    nothing = Photo(torch.zeros(3, *hw), Camera.from_field_of_view(hw), Capture("the painted scene"))
    estimate_depth(nothing, asked, floor=settings.depth_range)
