"""The command line: parse, call, show. Heavy packages are imported by the commands that use them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kinephoto.app.evaluate import evaluate
from kinephoto.app.flags import Quiet, ReportFile, SaveDepth, SaveMask
from kinephoto.app.info import info
from kinephoto.app.models import models
from kinephoto.app.options import with_settings
from kinephoto.app.outpaint import OUT_ANIMATE_EXAMPLES, OUTPAINT_EXAMPLES, out_animate, outpaint
from kinephoto.app.show import bar, leave, say
from kinephoto.app.train import train
from kinephoto.app.web.limits import AppSettings
from kinephoto.errors import InputError
from kinephoto.studio.settings import AnimateSettings, MoveSettings

if TYPE_CHECKING:
    from kinephoto.studio.certificates import Signer

EXAMPLES = """
Examples:

  kinephoto animate beach.jpg

  kinephoto animate beach.jpg -o beach.webm --path dolly-zoom-in --seconds 6 --size 1080

  kinephoto animate beach.jpg --amount large --focus 0.3,0.6 --save-mask mask.mp4

  kinephoto animate beach.jpg --stereo sbs

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
app.command("outpaint", epilog=OUTPAINT_EXAMPLES)(outpaint)
app.command("out-animate", epilog=OUT_ANIMATE_EXAMPLES)(out_animate)
app.add_typer(train, name="train")
app.add_typer(models, name="models")
app.add_typer(evaluate, name="evaluate")
app.command()(info)

PhotoArgument = Annotated[Path, typer.Argument(metavar="PHOTO", help="The photo, or - for standard input.")]

Credentials = Annotated[
    bool,
    typer.Option(
        "--credentials",
        help="Sign with Content Credentials (C2PA), by a certificate for development.",
        rich_help_panel="Output",
    ),
]
SignWith = Annotated[
    tuple[Path, Path] | None,
    typer.Option(
        metavar="CERT KEY",
        help="Sign with Content Credentials (C2PA), by your certificates and key, both PEM.",
        rich_help_panel="Output",
    ),
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
@with_settings(AnimateSettings, from_file=True)
def animate(
    photo: PhotoArgument,
    *,
    settings: AnimateSettings,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="mp4, webm, gif, webp, mov, mkv, or folder/ for png; in stereo a jpg or png, too; beside the photo.",
        ),
    ] = None,
    save_depth: SaveDepth = None,
    save_mask: SaveMask = None,
    save_scene: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Write the scene, glb, ply, splat.ply, or html to look around in; can be repeated.",
            rich_help_panel="Output",
        ),
    ] = None,
    report: ReportFile = None,
    credentials: Credentials = False,
    sign_with: SignWith = None,
    quiet: Quiet = False,
) -> None:
    """Turn a photo into a video with a moving camera."""
    from kinephoto.studio import estimate, produce

    target, notes = produce.target_of(output or _beside(photo, ".mp4"), settings)
    scenes = tuple(save_scene or ())
    outputs = produce.Outputs(target, save_depth, save_mask, report, settings.stereo, scenes)
    picture = _read(photo, settings)
    outputs.check()
    signer = _signer(credentials, sign_with, photo, outputs.videos)
    settings = produce.for_outputs(settings, outputs)
    _tell_notes(picture, quiet)
    for note in notes:
        say(f"Note: {note}", quiet)
    if not quiet:
        count, whole = round(settings.seconds * settings.fps), produce.whole_hw(picture, settings)
        seconds = estimate.estimate_seconds(
            produce.frame_hw(picture, settings),
            count,
            settings.painter,
            settings.mode,
            settings.threads,
            eyes=1 if settings.stereo in ("mono", "rgbd") else 2,
        )
        frames = "1 frame" if count == 1 else f"{count} frames"
        say(f"{frames} of {whole[1]}×{whole[0]}: {estimate.in_words(seconds)}.")
    with bar(quiet) as progress:
        made = produce.animate(picture, outputs, settings, progress, signer)
    world = made.world
    trajectory = world.trajectory
    if trajectory.hole_share > trajectory.path.max_hole and trajectory.path.amount is not None:
        say(
            f"This move opens holes of {trajectory.hole_share:.0%} of a frame; --amount {trajectory.safe_amount:.3f} "
            f"would stay under {trajectory.path.max_hole:.0%}.",
            quiet,
        )
    length = "" if outputs.still else f"{made.video.seconds:g} s, "
    say(
        f"{' and '.join(outputs.videos)}: {length}{made.video.hw[1]}×{made.video.hw[0]}, "
        f"{made.video.bytes / 1e6:.1f} MB; depth: {world.depth_name}; "
        f"at most {made.invented_most:.1%} of a frame is invented.",
        quiet,
    )


@app.command()
def depth(
    photo: PhotoArgument,
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="png (16 bit, near is white), npy (values as they are), or jpg: the photo with its depth inside.",
        ),
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
    from kinephoto.studio.gdepth import GDEPTH_SUFFIXES, write_gdepth
    from kinephoto.studio.pictures import (
        DEPTH_SUFFIXES,
        PICTURE_SUFFIXES,
        colour_depth,
        write_depth,
        write_picture,
    )

    inside = check_suffix(output, (*DEPTH_SUFFIXES, *GDEPTH_SUFFIXES), "depth map") in GDEPTH_SUFFIXES
    check_file(output)
    if colour is not None:
        check_suffix(colour, PICTURE_SUFFIXES, "picture")
        check_file(colour)
    picture = _read(photo, MoveSettings())
    _tell_notes(picture, quiet)
    found = estimate_depth(picture, source, device=device, offline=offline)
    write_gdepth(picture, found, output) if inside else write_depth(found, output)
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


def _signer(
    credentials: bool, sign_with: tuple[Path, Path] | None, photo: Path, targets: list[str]
) -> Signer | None:
    """Who signs, if anybody; what could not be signed is refused before the work."""
    if not credentials and sign_with is None:
        return None
    from kinephoto.studio.certificates import development_signer, signer_from
    from kinephoto.studio.content_credentials import check_holds_credentials, ready

    for target in targets:
        check_holds_credentials(target)
    signer = signer_from(*sign_with) if sign_with else development_signer()
    return ready(signer, None if str(photo) == "-" else photo)


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
