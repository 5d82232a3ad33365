"""``kinephoto outpaint`` and ``kinephoto out-animate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kinephoto.app.flags import Quiet, ReportFile, SaveDepth, SaveMask
from kinephoto.app.options import with_settings
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
"""

ObjectArgument = Annotated[
    Path,
    typer.Argument(
        metavar="OBJECT", help="A picture with transparency, or a photo with --mask, --select or --box."
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
    from kinephoto.studio.files import check_file, check_suffix
    from kinephoto.studio.out_animate import candidates, origin_of, whole_scene
    from kinephoto.studio.outpaint import seam
    from kinephoto.studio.pictures import PICTURE_SUFFIXES, write_picture

    check_suffix(output, PICTURE_SUFFIXES, "picture")
    check_file(output)
    scenes = []
    with bar(quiet) as progress:
        for scene in candidates(subject, settings):
            scenes.append(scene)
            if progress is not None:
                progress("scene", len(scenes) / settings.candidates)
    write_picture(whole_scene(scenes), output, provenance=origin_of(scenes[0], settings))
    first = scenes[0]
    height, width = first.photo.camera.hw
    say(
        f"{output}: {width}×{height}, {1 - float(first.object_mask.float().mean()):.0%} of it painted by "
        f"{first.painter}; seam {seam(first.photo.rgb, first.object_mask):.2f} (1 is invisible).",
        quiet,
    )


@with_settings(OutAnimateSettings)
def out_animate(
    subject: ObjectArgument,
    *,
    settings: OutAnimateSettings,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", help="mp4, webm, gif, webp, mov, mkv, or folder/ for png; OBJECT.mp4 otherwise."
        ),
    ] = None,
    save_depth: SaveDepth = None,
    save_mask: SaveMask = None,
    report: ReportFile = None,
    quiet: Quiet = False,
) -> None:
    """Paint a scene around an object, and turn it into a video with a moving camera."""
    from kinephoto.studio.out_animate import produce_out_animation
    from kinephoto.studio.produce import Outputs

    target = output or str(subject.with_suffix(".mp4"))
    outputs = Outputs(target, save_depth, save_mask, report, settings.stereo)
    with bar(quiet) as progress:
        made = produce_out_animation(subject, outputs, settings, progress)
    say(
        f"{target}: {made.video.seconds:g} s, {made.video.hw[1]}×{made.video.hw[0]}, {made.video.bytes / 1e6:.1f} MB; "
        f"depth: {made.world.depth_name}; at least {1 - made.invented_most:.1%} of a frame is the object's own.",
        quiet,
    )
