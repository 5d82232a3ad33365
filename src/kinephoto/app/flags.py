"""Flags that several commands have, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing unless something is wrong.")]
SaveDepth = Annotated[
    Path | None, typer.Option(help="Write the depth map, png or npy.", rich_help_panel="Output")
]
SaveMask = Annotated[
    str | None,
    typer.Option(help="Write what was invented, as the output is written.", rich_help_panel="Output"),
]
ReportFile = Annotated[
    Path | None,
    typer.Option(help="Write timings, holes, seeds and versions as JSON.", rich_help_panel="Output"),
]
