"""``kinephoto batch``: many photos, on this machine or on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kinephoto.app.flags import OUTPUT, Credentials, Quiet, SignWith
from kinephoto.app.options import with_settings
from kinephoto.app.show import leave, say
from kinephoto.studio.outpaint_settings import OutAnimateSettings
from kinephoto.wording import counted

if TYPE_CHECKING:
    from kinephoto.studio.batch import Tally

BATCH = "Batch"
EXAMPLES = """
Examples:

  kinephoto batch holiday/ -o films --recursive --seconds 3

  kinephoto batch photos.csv -o films --path circle --update

  kinephoto batch "s3://bucket/photos/*.jpg" -o s3://bucket/depth --verb depth

  kinephoto batch photos.jsonl -o films --ray head:6379 --gpus-per-worker 0.25
"""


@with_settings(OutAnimateSettings, from_file=True)
def batch(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Photos, folders, patterns, manifests (txt, csv, jsonl) or shards (tar); local, or s3:// "
            "and the like.",
        ),
    ],
    *,
    settings: OutAnimateSettings,
    output: Annotated[str, typer.Option("--output", "-o", metavar="OUTDIR", help="A folder, or a URL.")],
    verb: Annotated[
        str, typer.Option(help="animate, out-animate, depth or outpaint.", rich_help_panel=BATCH)
    ] = "animate",
    format_: Annotated[
        str | None,
        typer.Option(
            "--format", help="How the outputs end: mp4 for films, png for pictures.", rich_help_panel=BATCH
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Look into folders of folders.", rich_help_panel=BATCH)
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes; as many as cores and memory allow otherwise.", rich_help_panel=BATCH),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(help="Skip what an earlier run made of the same photo.", rich_help_panel=BATCH),
    ] = True,
    update: Annotated[
        bool,
        typer.Option("--update", help="Make anew what changed since.", rich_help_panel=BATCH),
    ] = False,
    skip_errors: Annotated[
        bool,
        typer.Option(help="Go on after a photo that can't be done.", rich_help_panel=BATCH),
    ] = True,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Work on a Ray cluster: HOST:PORT, auto, or local for this machine.",
            rich_help_panel=BATCH,
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float, typer.Option(help="A worker's share of a GPU, on Ray.", rich_help_panel=BATCH)
    ] = 0.0,
    save_depth: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="Write NAME_depth.png or npy.", rich_help_panel=OUTPUT),
    ] = None,
    save_mask: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="Write NAME_mask, such as mp4.", rich_help_panel=OUTPUT),
    ] = None,
    save_scene: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help="Write the scene, glb, ply, splat.ply or html; can be repeated.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Write NAME.json for each film.", rich_help_panel=OUTPUT)
    ] = False,
    credentials: Credentials = False,
    sign_with: SignWith = None,
    quiet: Quiet = False,
) -> None:
    """Do the same with many photos; what is done is skipped when it is called again."""
    from kinephoto.interrupts import ending_cleanly
    from kinephoto.studio.batch import Machine, Tally, closing_sentence, run
    from kinephoto.studio.batch_plan import Extras, plan_of, unused

    extras = Extras(
        save_depth,
        save_mask,
        tuple(save_scene or ()),
        report,
        credentials,
        (str(sign_with[0]), str(sign_with[1])) if sign_with else None,
    )
    plan = plan_of(verb, output, settings, ending=format_, extras=extras, renew=update)
    idle = unused(plan.verb, settings)
    if idle:
        say(f"--verb {verb} doesn't use {', '.join(idle)}.", quiet)
    work = run(
        inputs,
        plan,
        Machine(workers, ray, gpus_per_worker),
        recursive=recursive,
        anew=not resume,
        stop_at_error=not skip_errors,
    )
    tally = Tally(0)
    try:
        with ending_cleanly(), closing(work), _bar(quiet) as show:
            for tally in work:
                show(tally)
    except KeyboardInterrupt:
        made = f"; {closing_sentence(tally, output).removesuffix('.')}" if tally.total else ""
        leave(f"Stopped{made}. The same command goes on from here.", 130)
    say(closing_sentence(tally, output), quiet)
    if tally.failed:
        raise typer.Exit(1)


@contextmanager
def _bar(quiet: bool) -> Iterator[Any]:
    """A function to be told every tally: on a terminal it draws a bar, elsewhere it says what failed."""
    import sys

    if quiet or not sys.stderr.isatty():

        def tell(tally: Tally) -> None:
            if tally.error:
                say(_failure(tally), quiet)
            elif not tally.finished:
                say(f"{counted(tally.total, 'photo')} …", quiet)

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=False) as progress:
        task = progress.add_task("", total=None, pace="", left="")

        def update(tally: Tally) -> None:
            if tally.error:
                progress.console.print(_failure(tally), markup=False, highlight=False)
            pace, left = _words(tally)
            progress.update(task, total=tally.total, completed=tally.finished, pace=pace, left=left)

        yield update


def _failure(tally: Tally) -> str:
    """The sentence about a photo; most name it themselves."""
    return f"Failed: {tally.error}" if tally.path in tally.error else f"Failed: {tally.path}: {tally.error}"


def _words(tally: Tally) -> tuple[str, str]:
    """Photos a second; what is left, and failures."""
    from kinephoto.wording import in_words

    pace = f"{tally.photos_per_s:.2f} photos/s" if tally.photos_per_s else ""
    failures = f", {tally.failed} failed" if tally.failed else ""
    return pace, (f"left {in_words(tally.left_s)}" if tally.left_s else "") + failures
