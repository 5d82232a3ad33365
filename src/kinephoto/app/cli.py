"""The command line: parse, call, show. Heavy packages are imported by the commands that use them."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from kinephoto.app.batch import EXAMPLES as BATCH_EXAMPLES
from kinephoto.app.batch import batch
from kinephoto.app.evaluate import evaluate
from kinephoto.app.filming import Subject, beside, make_film
from kinephoto.app.flags import FilmFlags, Quiet, no_address
from kinephoto.app.info import info
from kinephoto.app.models import models
from kinephoto.app.options import with_flags, with_settings
from kinephoto.app.outpaint import OUT_ANIMATE_EXAMPLES, OUTPAINT_EXAMPLES, out_animate, outpaint
from kinephoto.app.pack import EXAMPLES as PACK_EXAMPLES
from kinephoto.app.pack import pack
from kinephoto.app.show import leave, say
from kinephoto.app.train import train
from kinephoto.app.web.limits import AppSettings
from kinephoto.errors import InputError
from kinephoto.studio.settings import AnimateSettings, MoveSettings

EXAMPLES = """
Examples:

  kinephoto animate beach.jpg

  kinephoto animate beach.jpg -o beach.webm --path dolly-zoom-in --seconds 6 --size 1080

  kinephoto animate beach.jpg --amount large --focus 0.3,0.6 --save-mask mask.mp4

  kinephoto animate beach.jpg --stereo sbs

  cat beach.jpg | kinephoto animate - -o beach.mp4
"""

ORDER = ("animate", "out-animate", "outpaint", "depth", "preview", "batch", "app", "info", "doctor", "models")
"""What people look for first comes first in the help; the rest follows."""


class _InOrder(typer.core.TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=lambda name: (*ORDER, name).index(name))


app = typer.Typer(
    name="kinephoto",
    cls=_InOrder,
    help="One photo becomes a video in which the camera really moves.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("outpaint", epilog=OUTPAINT_EXAMPLES)(outpaint)
app.command("out-animate", epilog=OUT_ANIMATE_EXAMPLES)(out_animate)
app.command("batch", epilog=BATCH_EXAMPLES)(batch)
app.command("pack", epilog=PACK_EXAMPLES)(pack)
app.add_typer(train, name="train")
app.add_typer(models, name="models")
app.add_typer(evaluate, name="evaluate")
app.command()(info)

PhotoArgument = Annotated[
    Path,
    typer.Argument(metavar="PHOTO", help="The photo, or - for standard input.", callback=no_address),
]


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Say which version this is, and stop.")] = False,
) -> None:
    if version:
        import kinephoto

        print(f"kinephoto {kinephoto.__version__}")
        raise typer.Exit


@app.command(epilog=EXAMPLES)
@with_flags(FilmFlags)
@with_settings(AnimateSettings, from_file=True)
def animate(photo: PhotoArgument, *, settings: AnimateSettings, asked: FilmFlags) -> None:
    """Turn a photo into a video with a moving camera."""

    def opened() -> Subject:
        from kinephoto.studio import produce

        picture = _read(photo, settings)
        return Subject(picture.camera.hw, partial(produce.animate, picture), picture.capture.notes)

    make_film(photo, asked, settings, opened)


@app.command()
@with_settings(MoveSettings, only=("depth", "max_megapixels", "device", "offline"))
def depth(
    photo: PhotoArgument,
    *,
    settings: MoveSettings,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="png (16 bit, near is white), npy (values as they are), or jpg: the photo with its depth inside.",
        ),
    ],
    colour: Annotated[Path | None, typer.Option(help="Write a coloured picture as well, to look at.")] = None,
    quiet: Quiet = False,
) -> None:
    """Write a photo's depth map: edit it, and give it back with animate --depth."""
    from kinephoto.scene.depth import estimate_depth
    from kinephoto.studio.files import check_file, check_spared, check_suffix
    from kinephoto.studio.gdepth import GDEPTH_SUFFIXES, write_gdepth
    from kinephoto.studio.pictures import (
        DEPTH_SUFFIXES,
        PICTURE_SUFFIXES,
        colour_depth,
        origin_of_depth,
        write_depth,
        write_picture,
    )

    inside = check_suffix(output, (*DEPTH_SUFFIXES, *GDEPTH_SUFFIXES), "depth map") in GDEPTH_SUFFIXES
    check_file(output)
    if colour is not None:
        check_suffix(colour, PICTURE_SUFFIXES, "picture")
        check_file(colour)
    check_spared((output, colour), (photo, settings.depth))
    picture = _read(photo, settings)
    _tell_notes(picture, quiet)
    found = estimate_depth(picture, settings.depth, device=settings.device, offline=settings.offline)
    origin = origin_of_depth(found)
    if inside:
        write_gdepth(picture, found, output)
    else:
        write_depth(found, output, provenance=origin)
    if colour is not None:
        write_picture(colour_depth(found), colour, provenance=origin)
    height, width = found.values.shape
    say(f"{output}: {width}×{height}, depth: {found.source}.", quiet)


@app.command()
@with_settings(MoveSettings)
def preview(
    photo: PhotoArgument,
    *,
    settings: MoveSettings,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="png, jpg or webp; NAME_preview.png beside the photo."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Show depth, key views and holes on one sheet, before you wait for a video."""
    from kinephoto.studio.files import check_file, check_spared, check_suffix
    from kinephoto.studio.outputs import files_read
    from kinephoto.studio.pictures import PICTURE_SUFFIXES, write_picture
    from kinephoto.studio.preview import preview as sheet_of
    from kinephoto.studio.provenance import provenance_of

    target = output or Path(beside(photo, "_preview.png"))
    picture = _read(photo, settings)
    check_suffix(target, PICTURE_SUFFIXES, "picture")
    check_file(target)
    check_spared((target,), (photo, *files_read(settings)))
    _tell_notes(picture, quiet)
    sheet, world = sheet_of(picture, settings)
    write_picture(sheet, target, provenance=provenance_of(world, settings))
    trajectory = world.trajectory
    say(
        f"{target}: amount {trajectory.rig.amount:.3f}, safe up to {trajectory.safe_amount:.3f}, "
        f"largest hole {trajectory.hole_share:.1%}; depth: {world.depth_name}.",
        quiet,
    )


@app.command("app")
@with_settings(AppSettings)
def app_(*, settings: AppSettings, quiet: Quiet = False) -> None:
    """Serve a web page for all this, and the same as an HTTP interface, to this machine alone."""
    from kinephoto.app.web.server import serve

    serve(settings, lambda text: say(text, quiet))


@app.command()
def doctor() -> None:
    """Say what is installed, on what it can compute, and what will be slow here and why."""
    from kinephoto.app.doctor import report

    lines, complete = report()
    print("\n".join(lines))
    if not complete:
        raise typer.Exit(1)


def main() -> None:
    """Run the command line: exit code 0 done, 1 failed, 2 misused, 130 cancelled."""
    try:
        app(prog_name="kinephoto")
    except InputError as error:
        leave(f"Error: {error}", 2)
    except KeyboardInterrupt:
        leave("Cancelled; nothing was written.", 130)
    except MemoryError:
        leave("Error: there is not enough memory; a smaller --size needs less.", 1)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        if os.environ.get("KINEPHOTO_TRACEBACK"):
            raise
        leave(
            f"Error: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}\nThis is a fault of "
            "kinephoto; KINEPHOTO_TRACEBACK=1 shows where. Please report it.",
            1,
        )


def _read(photo: Path, settings: MoveSettings) -> Any:
    from kinephoto.studio.produce import read

    return read(sys.stdin.buffer if str(photo) == "-" else photo, settings)


def _tell_notes(photo: Any, quiet: bool) -> None:
    for note in photo.capture.notes:
        say(f"Note: {note}", quiet)


if __name__ == "__main__":
    main()
