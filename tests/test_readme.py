"""What the README shows a reader does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FLAG = re.compile(r"(?<!\S)--?[a-z][a-z-]*")


def blocks(text: str, language: str) -> list[str]:
    return [block for named, block in BLOCK.findall(text) if named == language]


def commands(text: str) -> list[list[str]]:
    """The words of each line that calls kinephoto, comments left out."""
    lines = "\n".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()
    return [line.split("#")[0].split() for line in lines if line.startswith("kinephoto ")]


def pages(repository: Path) -> list[Path]:
    docs = repository / "docs"
    return [repository / "README.md", docs / "api" / "index.md", *sorted(docs.glob("*.md"))]


def test_the_snippet_runs_as_it_stands(
    repository: Path, example_photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (snippet,) = blocks((repository / "README.md").read_text(encoding="utf-8"), "python")
    monkeypatch.chdir(tmp_path)
    with Image.open(example_photo) as photo:
        photo.resize((192, 192)).save("beach.jpg")  # the reader's own photo; small, to be quick
    exec(compile(snippet, "README.md", "exec"), {})

    import av

    with av.open("beach.mp4") as video:
        assert sum(1 for _ in video.decode(video=0)) == 4 * 24


def test_the_snippet_is_the_same_everywhere(repository: Path) -> None:
    docs = repository / "docs"
    snippet = blocks((repository / "README.md").read_text(encoding="utf-8"), "python")
    assert blocks((docs / "index.md").read_text(encoding="utf-8"), "python") == snippet
    # Further blocks of the page build on it.
    assert blocks((docs / "api" / "index.md").read_text(encoding="utf-8"), "python")[:1] == snippet


def test_every_command_and_flag_that_is_shown_exists(repository: Path) -> None:
    from typer.testing import CliRunner

    from kinephoto.app.cli import app

    wide = {"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}
    shown: dict[tuple[str, ...], set[str]] = {}
    for page in pages(repository):
        for words in commands(page.read_text(encoding="utf-8")):
            verbs = tuple(words[1:3] if words[1] in ("train", "evaluate", "models") else words[1:2])
            shown.setdefault(verbs, set()).update(FLAG.findall(" ".join(words)))
    assert ("animate",) in shown
    for verbs, flags in shown.items():
        answer = CliRunner().invoke(app, [*verbs, "--help"], prog_name="kinephoto", env=wide)
        assert answer.exit_code == 0, f"kinephoto {' '.join(verbs)}: {answer.output}"
        missing = flags - set(FLAG.findall(re.sub(r"[^\w\s-]", " ", answer.stdout)))
        assert not missing, f"kinephoto {' '.join(verbs)} knows no {missing}"


def test_every_make_target_that_is_shown_exists(repository: Path) -> None:
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    shown = set()
    for page in [*pages(repository), repository / "CONTRIBUTING.md", repository / ".ci" / "run"]:
        shown |= set(
            re.findall(r"(?:^|`)make ([a-z][a-z-]*)", page.read_text(encoding="utf-8"), re.MULTILINE)
        )
    assert {"demo", "test", "docs"} <= shown <= targets


def test_every_file_that_is_linked_exists(repository: Path) -> None:
    for page in [*pages(repository), repository / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_example_has_its_credits(repository: Path, example_photos: list[Path]) -> None:
    credits = (repository / "examples" / "CREDITS.md").read_text(encoding="utf-8")
    assert len(example_photos) >= 4
    for photo in example_photos:
        assert f"`{photo.name}`" in credits
        assert photo.stat().st_size < 300_000, f"{photo.name} is larger than a clone should carry"


def test_convention_every_line_names_a_test_that_exists(repository: Path) -> None:
    page = (repository / "docs" / "conventions.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    assert len(named) >= 10
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (repository / file).exists()
        or f"def {name}(" not in (repository / file).read_text(encoding="utf-8")
    ]
    assert not missing
