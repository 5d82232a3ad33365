"""``kinephoto train``: the networks that come with kinephoto, made again or made better."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from kinephoto.app.options import with_settings
from kinephoto.app.show import bar, leave, say
from kinephoto.interrupts import ending_cleanly
from kinephoto.learn.autoencoder_settings import AutoencoderSettings
from kinephoto.learn.distill_settings import DistillSettings
from kinephoto.learn.painter_settings import OutpainterSettings, PainterSettings

train = typer.Typer(help="Train the networks that come with kinephoto.", no_args_is_help=True)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and how long; do nothing.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing unless something is wrong.")]


@train.command("depth")
@with_settings(DistillSettings)
def train_depth(*, settings: DistillSettings, dry_run: DryRun = False, quiet: Quiet = False) -> None:
    """Distil the built-in depth network from a teacher's disparities; the same command goes on where it stopped."""
    if dry_run:
        from kinephoto.learn.plan import plan

        print(plan(settings))
        return
    from kinephoto.learn.distill import distill

    skipped = _followed(distill(settings), quiet, lambda score: f"held-out correlation {score:.4f}")
    say(
        f"{settings.out / 'depth.safetensors'}: {settings.steps} steps; {skipped} photos could not be used.",
        quiet,
    )


@train.command("painter")
@with_settings(PainterSettings)
def train_painter(*, settings: PainterSettings, dry_run: DryRun = False, quiet: Quiet = False) -> None:
    """Train the painter on cycle-rendered photos; the same command goes on where it stopped."""
    _train_painter(settings, dry_run, quiet)


@train.command("outpainter")
@with_settings(OutpainterSettings)
def train_outpainter(*, settings: OutpainterSettings, dry_run: DryRun = False, quiet: Quiet = False) -> None:
    """Train the painter on objects without their scene as well; the same command goes on where it stopped."""
    _train_painter(settings, dry_run, quiet)


def _train_painter(settings: PainterSettings, dry_run: bool, quiet: bool) -> None:
    if dry_run:
        from kinephoto.learn.painter_plan import plan

        print(plan(settings))
        return
    from kinephoto.learn.train import train_painter as run

    skipped = _followed(run(settings), quiet, lambda score: f"held-out loss {score:.4f}")
    say(f"{settings.out / 'painter'}: {settings.steps} steps; {skipped} photos could not be used.", quiet)


@train.command("autoencoder")
@with_settings(AutoencoderSettings)
def train_autoencoder(*, settings: AutoencoderSettings, quiet: Quiet = False) -> None:
    """Train the built-in painter's autoencoder, from scratch or on what a painter paints."""
    from kinephoto.learn.autoencoder import train_autoencoder as run

    skipped = _followed(
        run(settings),
        quiet,
        lambda score: f"held-out perceptual distance {score:.4f}",
        kept=settings.out / "vae",
    )
    say(f"{settings.out / 'vae'}: {settings.steps} steps; {skipped} photos could not be used.", quiet)


def _followed(
    run: Iterator[Any], quiet: bool, in_words: Callable[[float], str], kept: Path | None = None
) -> int:
    """Run to the end with a bar, notes and checks; the number of photos that could not be used.

    Args:
        run: yields ``Progress``.
        quiet: say nothing but that it was stopped.
        in_words: what a check found.
        kept: where the weights of each check lie, of a run that keeps no state to go on from.
    """
    skipped, checked = 0, False
    quiet = quiet or os.environ.get("RANK", "0") != "0"  # one bar for all processes of accelerate
    try:
        with ending_cleanly(), bar(quiet) as progress:
            for state in run:
                skipped = state.skipped
                if progress is not None:
                    progress(state.stage, state.step / state.steps)
                if state.note:
                    say(f"Note: {state.note}", quiet)
                if state.held_out is not None:
                    checked = True
                    say(f"step {state.step}: loss {state.loss:.3f}, {in_words(state.held_out)}", quiet)
    except KeyboardInterrupt:
        del run  # which keeps its state where it stands
        leave(_stopped(kept, checked), 130)
    return skipped


def _stopped(kept: Path | None, checked: bool) -> str:
    """How to go on after Ctrl-C."""
    if kept is None:
        return "Stopped; the same command goes on from here."
    if not checked:
        return "Stopped before the first check, so nothing of this run is kept; the same command begins anew."
    return f"Stopped; the weights of the last check lie in {kept}, and --init {kept} goes on from them."
