"""The command line: parse, call, show. Heavy packages are imported by the commands that use them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from kinephoto.app.evaluate import evaluate
from kinephoto.app.models import models
from kinephoto.app.options import with_settings
from kinephoto.app.show import bar, leave, say
from kinephoto.app.train import train
from kinephoto.errors import InputError
from kinephoto.studio.settings import AnimateSettings, MoveSettings

EXAMPLES = """
Examples:

  kinephoto animate beach.jpg

  kinephoto animate beach.jpg -o beach.webm --path dolly-zoom-in --seconds 6 --size 1080

  kinephoto animate beach.jpg --amount large --focus 0.3,0.6 --save-mask mask.mp4

  cat beach.jpg | kinephoto animate - -o beach.mp4
"""

app = typer.Typer(
    name="kinephoto",
    help="One photo becomes a video in which the camera really moves.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(train, name="train")
app.add_typer(models, name="models")
app.add_typer(evaluate, name="evaluate")

PhotoArgument = Annotated[Path, typer.Argument(metavar="PHOTO", help="The photo, or - for standard input.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing unless something is wrong.")]


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Say which version this is, and stop.")] = False,
) -> None:
    if version:
        import kinephoto

        print(f"kinephoto {kinephoto.__version__}")
        raise typer.Exit


@app.command(epilog=EXAMPLES)
@with_settings(AnimateSettings)
def animate(
    photo: PhotoArgument,
    *,
    settings: AnimateSettings,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", help="mp4, webm, gif, webp, mov, mkv, or folder/ for png; beside the photo."
        ),
    ] = None,
    save_depth: Annotated[
        Path | None, typer.Option(help="Write the depth map, png or npy.", rich_help_panel="Output")
    ] = None,
    save_mask: Annotated[
        str | None, typer.Option(help="Write a video of what was invented.", rich_help_panel="Output")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write timings, holes, seeds and versions as JSON.", rich_help_panel="Output"),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Turn a photo into a video with a moving camera."""
    from kinephoto.studio import estimate, produce

    outputs = produce.Outputs(output or _beside(photo, ".mp4"), save_depth, save_mask, report)
    picture = _read(photo, settings)
    outputs.check()
    _tell_notes(picture, quiet)
    if not quiet:
        hw, count = produce.frame_hw(picture, settings), round(settings.seconds * settings.fps)
        seconds = estimate.estimate_seconds(hw, count, settings.painter, settings.mode, settings.threads)
        say(f"{count} frames of {hw[1]}×{hw[0]}: {estimate.in_words(seconds)}.")
    with bar(quiet) as progress:
        made = produce.animate(picture, outputs, settings, progress)
    world = made.world
    trajectory = world.trajectory
    if trajectory.hole_share > trajectory.path.max_hole and trajectory.path.amount is not None:
        say(
            f"This move opens holes of {trajectory.hole_share:.0%} of a frame; --amount {trajectory.safe_amount:.3f} "
            f"would stay under {trajectory.path.max_hole:.0%}.",
            quiet,
        )
    say(
        f"{made.video.path}: {made.video.seconds:g} s, {made.video.hw[1]}×{made.video.hw[0]}, "
        f"{made.video.bytes / 1e6:.1f} MB; depth: {world.depth_name}; "
        f"at most {made.invented_most:.1%} of a frame is invented.",
        quiet,
    )


@app.command()
def depth(
    photo: PhotoArgument,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="png (16 bit, near is white) or npy (values as they are).")
    ],
    source: Annotated[
        str, typer.Option("--depth", help="auto, builtin, embedded, hub:ID, a network's folder, or a file.")
    ] = "auto",
    colour: Annotated[Path | None, typer.Option(help="Write a coloured picture as well, to look at.")] = None,
    device: Annotated[str | None, typer.Option(help="Where to compute, such as cuda.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False,
    quiet: Quiet = False,
) -> None:
    """Write a photo's depth map: edit it, and give it back with animate --depth."""
    from kinephoto.scene.depth import estimate_depth
    from kinephoto.studio.files import check_file, check_suffix
    from kinephoto.studio.pictures import (
        DEPTH_SUFFIXES,
        PICTURE_SUFFIXES,
        colour_depth,
        write_depth,
        write_picture,
    )

    check_suffix(output, DEPTH_SUFFIXES, "depth map")
    check_file(output)
    if colour is not None:
        check_suffix(colour, PICTURE_SUFFIXES, "picture")
        check_file(colour)
    picture = _read(photo, MoveSettings())
    _tell_notes(picture, quiet)
    found = estimate_depth(picture, source, device=device, offline=offline)
    write_depth(found, output)
    if colour is not None:
        write_picture(colour_depth(found), colour)
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
    from kinephoto.studio.files import check_file, check_suffix
    from kinephoto.studio.pictures import PICTURE_SUFFIXES, write_picture
    from kinephoto.studio.preview import preview as sheet_of

    target = output or Path(_beside(photo, "_preview.png"))
    picture = _read(photo, settings)
    check_suffix(target, PICTURE_SUFFIXES, "picture")
    check_file(target)
    _tell_notes(picture, quiet)
    sheet, world = sheet_of(picture, settings)
    write_picture(sheet, target)
    trajectory = world.trajectory
    say(
        f"{target}: amount {trajectory.rig.amount:.3f}, safe up to {trajectory.safe_amount:.3f}, "
        f"largest hole {trajectory.hole_share:.1%}; depth: {world.depth_name}.",
        quiet,
    )


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
        app()
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


def _beside(photo: Path, suffix: str) -> str:
    """The output's name when none is given."""
    if str(photo) == "-":
        raise InputError("A photo from standard input needs a name for the output: -o FILE.")
    return str(photo.parent / (photo.stem + suffix))


def _tell_notes(photo: Any, quiet: bool) -> None:
    for note in photo.capture.notes:
        say(f"Note: {note}", quiet)


if __name__ == "__main__":
    main()
