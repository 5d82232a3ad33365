"""``kinephoto models``: which models are known, which are here, and whether they are whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from kinephoto.app.show import say
from kinephoto.errors import InputError

if TYPE_CHECKING:
    from kinephoto.painter.catalogue import Model

models = typer.Typer(help="List, fetch and verify the models that kinephoto knows.", no_args_is_help=True)


@models.command("list")
def list_models() -> None:
    """Say which models there are, under which licence, how large, and whether they are on this machine."""
    from kinephoto.painter.catalogue import CATALOGUE, state

    rows = [("MODEL", "SIZE, ABOUT", "HERE", "LICENCE", "FOR")]
    rows += [
        (f"{model.flag} {model.name}", _size(model), state(model), model.licence, model.purpose)
        for model in CATALOGUE
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@models.command()
def fetch(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A name that models list shows, such as hub:ID.")
    ],
    *,
    offline: Annotated[bool, typer.Option("--offline", help="Never touch the network.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but the licence unless something is wrong.")
    ] = False,
) -> None:
    """Download a model into the Hugging Face cache, once; --painter and --depth find it there."""
    from huggingface_hub.utils import disable_progress_bars

    from kinephoto.painter.catalogue import fetch as fetch_model
    from kinephoto.painter.catalogue import named

    wanted = [model for model in named(name) if model.hub_id is not None]
    if not wanted:
        say(f"{name} comes with kinephoto; there is nothing to fetch.", quiet)
        return
    if offline:
        raise InputError(f"Fetching {name} needs the network, which --offline forbids.")
    if quiet:
        disable_progress_bars()
    for model in wanted:
        say(f"{model.hub_id} is licensed under {model.licence}; read it at {model.page}.")
        say(f"Fetching {_size(model)}, about.", quiet)
        place = fetch_model(model)
        say(f"{place}: use it with {model.flag} {model.name}.", quiet)


@models.command()
def verify(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A name that models list shows; all that are here.")
    ] = None,
) -> None:
    """Check that the models on this machine are whole: exit code 1 if one is not."""
    from kinephoto.painter.catalogue import CATALOGUE, named, problems, state

    here = [model for model in (CATALOGUE if name is None else named(name)) if state(model) != "no"]
    if not here:
        raise InputError(f"{name} is not on this machine; kinephoto models fetch {name} brings it.")
    broken = False
    for model in here:
        found = problems(model)
        broken = broken or bool(found)
        print(f"{model.flag} {model.name}: {'; '.join(found) or 'whole'}")
    if broken:
        raise typer.Exit(1)


def _size(model: Model) -> str:
    """Such as "12 MB" or "4.3 GB"."""
    return f"{model.megabytes} MB" if model.megabytes < 1000 else f"{model.megabytes / 1000:.1f} GB"
