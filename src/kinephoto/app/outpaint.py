"""``kinephoto outpaint`` and ``kinephoto out-animate``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from kinephoto.app.filming import Subject, as_file, make_film
from kinephoto.app.flags import OUTPUT, FilmFlags, Quiet, no_address
from kinephoto.app.options import with_flags, with_settings
from kinephoto.app.show import bar, say
from kinephoto.studio.outpaint_settings import OutAnimateSettings, OutpaintSettings

OUTPAINT_EXAMPLES = """
Examples:

  kinephoto outpaint cat.png --prompt "a cat on a beach" -o scene.png

  kinephoto outpaint photo.jpg --box 40,60,300,380 --place left --candidates 4 -o sheet.jpg

  kinephoto outpaint photo.jpg --extend left=128,right=20% -o wider.png
"""

OUT_ANIMATE_EXAMPLES = """
Examples:

  kinephoto out-animate cat.png --prompt "a cat on a beach" -o cat.mp4

  kinephoto out-animate photo.jpg --select 210,180 --path orbit --seconds 6 -o orbit.webm

  kinephoto out-animate cat.png --stereo sbs --save-scene cat.html --save-scene-picture cat_scene.png
"""

ObjectArgument = Annotated[
    Path,
    typer.Argument(
        metavar="OBJECT",
        help="A picture with transparency, or a photo with --mask, --select or --box; - for standard input.",
        callback=no_address,
    ),
]


@with_settings(OutpaintSettings)
def outpaint(
    subject: ObjectArgument,
    *,
    settings: OutpaintSettings,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="png keeps every pixel of the object; or jpg, webp.")
    ],
    quiet: Quiet = False,
) -> None:
    """Paint a whole scene around an object, or continue a photo beyond its borders."""
    from kinephoto.studio.files import check_file, check_spared, check_suffix
    from kinephoto.studio.out_animate import candidates, origin_of, whole_scene
    from kinephoto.studio.outpaint import seam
    from kinephoto.studio.pictures import PICTURE_SUFFIXES, exif_of, write_picture

    check_suffix(output, PICTURE_SUFFIXES, "picture")
    check_file(output)
    check_spared((output,), (subject, settings.mask))
    scenes = []
    with as_file(subject) as file, bar(quiet) as progress:
        for scene in candidates(file, settings):
            scenes.append(scene)
            if progress is not None:
                progress("scene", len(scenes) / settings.candidates)
    first = scenes[0]
    write_picture(
        whole_scene(scenes),
        output,
        provenance=origin_of(first, settings),
        exif=exif_of(first.photo) if len(scenes) == 1 else b"",  # a sheet is no photo
    )
    height, width = first.photo.camera.hw
    say(
        f"{output}: {width}×{height}, {1 - float(first.object_mask.float().mean()):.0%} of it painted by "
        f"{first.painter}; seam {seam(first.photo.rgb, first.object_mask):.2f} (1 is invisible).",
        quiet,
    )


@with_flags(FilmFlags)
@with_settings(OutAnimateSettings, from_file=True)
def out_animate(
    subject: ObjectArgument,
    *,
    settings: OutAnimateSettings,
    save_scene_picture: Annotated[
        Path | None,
        typer.Option(help="Write the painted scene, a png for exact pixels.", rich_help_panel=OUTPUT),
    ] = None,
    asked: FilmFlags,
) -> None:
    """Paint a scene around an object, and turn it into a video with a moving camera."""

    def opened() -> Subject:
        from kinephoto.studio.out_animate import produce_out_animation, settled_cutout, settled_hw

        machine: dict[str, Any] = {"device": settings.device, "offline": settings.offline}
        hw = settled_hw(settings)
        with as_file(subject) as file:
            cutout = settled_cutout(file, settings, max_megapixels=settings.max_megapixels, **machine)
        return Subject(hw, partial(produce_out_animation, cutout), is_painted=True)

    make_film(subject, asked, settings, opened, save_scene_picture)
