"""Parts of ``docs/results.md`` that a tool writes from committed JSON.

A part stands between two comments, the first of which names its file::

    <!-- views: data/views-re10k.json -->
    …
    <!-- end -->
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from kinephoto.errors import InputError
from kinephoto.measure.view_report import markdown

PART = re.compile(r"(<!-- views: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str, folder: Path) -> str:
    """The page with every such part written anew.

    Args:
        page: Markdown.
        folder: that the named files are relative to.

    Raises:
        InputError: a file is missing or is no result of ``evaluate views``.
    """
    return PART.sub(lambda part: part[1] + "\n" + views_part(folder / part[2]) + "\n\n" + part[3], page)


def views_part(path: Path) -> str:
    """What stands in the page for one run of ``evaluate views``."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        machine, versions = found["machine"], found["versions"]
        told = (
            f"{found['date']}, commit {found['commit']}, {machine['cores']} cores of {machine['cpu']}, "
            f"torch {versions['torch']}; scale: {found['protocol']['scale']}, edges: {found['edges']}, "
            f"seeds: {len(found['seeds'])}."
        )
        return f"{found['protocol']['title']} {told}\n\n{markdown(found)}"
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is no result of kinephoto evaluate views ({error!r}).") from None
