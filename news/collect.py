"""Move the news into CHANGELOG.md, under the version that pyproject.toml names and today's date.

python news/collect.py
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

TITLE = "# Changes\n"


def collect(repository: Path, day: date) -> list[Path]:
    """Write the news at the top of the changelog and delete their files.

    Returns:
        The files that were moved, in the order they now stand in.
    """
    moved = sorted(path for path in (repository / "news").glob("*.md") if path.name != "README.md")
    if not moved:
        return []
    project = (repository / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "(.+)"$', project, re.MULTILINE)
    entries = [" ".join(path.read_text(encoding="utf-8").split()) for path in moved]
    section = f"\n## {version} ({day.isoformat()})\n\n" + "".join(f"- {entry}\n" for entry in entries)
    changelog = repository / "CHANGELOG.md"
    older = changelog.read_text(encoding="utf-8") if changelog.exists() else TITLE
    if not older.startswith(TITLE):
        raise SystemExit(f"CHANGELOG.md begins with something else than {TITLE.strip()!r}.")
    changelog.write_text(TITLE + section + older.removeprefix(TITLE), encoding="utf-8")
    for path in moved:
        path.unlink()
    return moved


if __name__ == "__main__":
    names = [path.name for path in collect(Path(__file__).resolve().parents[1], date.today())]
    print(f"Moved into CHANGELOG.md: {', '.join(names) or 'nothing, there is no news'}.")
