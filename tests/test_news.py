"""News become a changelog once."""

from __future__ import annotations

import importlib.util
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def script(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("collect", repository / "news" / "collect.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_newest_release_stands_on_top_and_nothing_is_told_twice(
    script: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "news").mkdir()
    (tmp_path / "news" / "README.md").write_text("how to write news", encoding="utf-8")
    for version, slug in (("1.0", "edges"), ("1.1", "stairs")):
        (tmp_path / "pyproject.toml").write_text(f'version = "{version}"\n', encoding="utf-8")
        (tmp_path / "news" / f"{slug}.md").write_text(f"No more\n{slug}.\n", encoding="utf-8")
        assert [path.stem for path in script.collect(tmp_path, date(2030, 1, 2))] == [slug]
    assert script.collect(tmp_path, date(2030, 1, 3)) == []
    assert (tmp_path / "news" / "README.md").exists()
    assert (tmp_path / "CHANGELOG.md").read_text(encoding="utf-8") == (
        "# Changes\n\n## 1.1 (2030-01-02)\n\n- No more stairs.\n\n## 1.0 (2030-01-02)\n\n- No more edges.\n"
    )


def test_every_change_tells_its_news_in_few_words(repository: Path) -> None:
    for path in (repository / "news").glob("*.md"):
        if path.name != "README.md":
            text = path.read_text(encoding="utf-8").strip()
            assert text and not text.startswith("#"), f"{path.name} is one to three sentences, no headings"
            assert len(text) < 1000, f"{path.name} says too much for a changelog"
