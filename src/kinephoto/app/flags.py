"""Flags that several commands have, each said once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from kinephoto.errors import InputError

OUTPUT = "Output"
"""The group in which help shows them."""

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing unless something is wrong.")]


def no_address(source: Path) -> Path:
    """The file that a command reads.

    Raises:
        InputError: it is an address in the web.
    """
    # A path has lost one of the two slashes.
    address = re.match(r"([a-z][a-z0-9+.-]+):/(?!/)(.*)", str(source))
    if address and not source.exists():
        raise InputError(
            f"{address[1]}://{address[2]} is an address, and this reads files: fetch it first, or take kinephoto "
            "batch, which reads addresses as well."
        )
    return source


Credentials = Annotated[
    bool,
    typer.Option(
        "--credentials",
        help="Sign with Content Credentials (C2PA), by a certificate for development.",
        rich_help_panel=OUTPUT,
    ),
]
SignWith = Annotated[
    tuple[Path, Path] | None,
    typer.Option(
        metavar="CERT KEY",
        help="Sign with Content Credentials (C2PA), by your certificates and key, both PEM.",
        rich_help_panel=OUTPUT,
    ),
]


@dataclass(frozen=True)
class FilmFlags:
    """What a command that films may be asked to write, beside its settings; see ``with_flags``."""

    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="mp4, webm, gif, webp, mov, mkv, or folder/ for png; in stereo a jpg or png, too; an mp4 beside "
            "what is read otherwise.",
        ),
    ] = None
    save_depth: Annotated[
        Path | None, typer.Option(help="Write the depth map, png or npy.", rich_help_panel=OUTPUT)
    ] = None
    save_mask: Annotated[
        str | None,
        typer.Option(help="Write what was invented, as the output is written.", rich_help_panel=OUTPUT),
    ] = None
    save_scene: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Write the scene, glb, ply, splat.ply, or html to look around in; can be repeated.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    report: Annotated[
        Path | None,
        typer.Option(help="Write timings, holes, seeds and versions as JSON.", rich_help_panel=OUTPUT),
    ] = None
    credentials: Credentials = False
    sign_with: SignWith = None
    quiet: Quiet = False
