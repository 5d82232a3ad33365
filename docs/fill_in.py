"""Fill in what would go out of date: the help of every command, the list of every room's modules.

mkdocs calls ``on_page_markdown`` for each page. ``<!-- commands -->`` becomes what ``--help`` prints,
``<!-- modules: ROOM -->`` the reference of each module of that room.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "kinephoto"
RUN = "import sys; from kinephoto.app.cli import main; sys.argv[0] = 'kinephoto'; main()"


def verbs(command: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words after ``kinephoto`` for it and everything below it, such as ("train", "depth")."""
    yield before
    for name, below in getattr(command, "commands", {}).items():
        if not below.hidden:
            yield from verbs(below, (*before, name))


def help_of(words: tuple[str, ...]) -> str:
    """What the user sees, 100 characters wide, without colours."""
    plain = os.environ | {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "TERM": "dumb", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-c", RUN, *words, "--help"], capture_output=True, text=True, check=True, env=plain
    ).stdout


def commands() -> str:
    """One section per command."""
    from typer.main import get_command

    from kinephoto.app.cli import app

    sections = []
    for words in verbs(get_command(app)):
        lines = [line.rstrip() for line in help_of(words).strip("\n").splitlines()]
        title = " ".join(("kinephoto", *words))
        sections.append(f"## {title}\n\n```text\n" + "\n".join(lines) + "\n```\n")
    return "\n".join(sections)


def modules(room: str) -> str:
    """One section per module whose name doesn't begin with an underscore."""
    names = [
        ".".join(("kinephoto", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in sorted((PACKAGE / room).rglob("*.py"))
        if not path.name.startswith("_")
    ]
    return "\n\n".join(f"::: {name}" for name in names)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by mkdocs with the text of each page."""
    if "<!-- commands -->" in markdown:
        markdown = markdown.replace("<!-- commands -->", commands())
    return re.sub(r"<!-- modules: (\w+) -->", lambda match: modules(match[1]), markdown)
