"""What the pages show in Python runs as it stands, page by page."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DOCS = Path(__file__).resolve().parents[1] / "docs"
BLOCK = re.compile(r"^(<!-- not run: .+ -->\n)?```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
MOST_NOT_RUN = 1


def found_in(page: Path) -> list[tuple[str, str]]:
    """Of each block of Python: why it isn't run, or "", and its text."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


PAGES = [page for page in sorted(DOCS.rglob("*.md")) if found_in(page) and page.name != "index.md"]
PAGES.append(DOCS / "api" / "index.md")  # the other, as the README, has nothing but the first of its snippets


@pytest.fixture
def readers_folder(tmp_path: Path, example_photo: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the files that the pages speak of; all of them small, to be quick."""
    monkeypatch.chdir(tmp_path)
    with Image.open(example_photo) as photo:
        small = photo.resize((64, 64))
        photo.resize((256, 256)).save("photo.jpg")  # pages name places in it
    small.save("beach.jpg")
    Path("holiday").mkdir()
    small.save("holiday/beach.jpg")
    away = np.hypot(*(np.mgrid[:64, :64] - 31.5))
    small.putalpha(Image.fromarray(np.where(away < 20, 255, 0).astype(np.uint8)))
    small.save("cat.png")
    write_scene(Path("SCENES/re10k-610410f90fc1c4f6"))
    monkeypatch.setattr("kinephoto.studio.outpaint.DEFAULT_HW", (64, 64))
    return tmp_path


def write_scene(folder: Path) -> None:
    """Five grey pictures from a camera that goes to the right."""
    (folder / "images").mkdir(parents=True)
    lines = ["made by a test"]
    for image in range(5):
        Image.new("RGB", (32, 24), "grey").save(folder / "images" / f"{image:03d}.png")
        pose = np.column_stack([np.eye(3), [-0.1 * image, 0, 0]])
        numbers = [0.9, 1.2, 0.5, 0.5, 0, 0, *pose.ravel()]
        lines.append(f"{image} " + " ".join(f"{number:.9f}" for number in numbers))
    (folder / "cameras.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_the_python_of_a_page_runs_from_its_first_block_to_its_last(page: Path, readers_folder: Path) -> None:
    names = {"__name__": "__main__"}
    for number, (not_run, block) in enumerate(found_in(page), 1):
        if not not_run:
            exec(compile(block, f"{page.name}, block {number}", "exec"), names)


def test_hardly_a_block_is_left_out() -> None:
    left_out = [page.name for page in PAGES for not_run, _ in found_in(page) if not_run]
    assert len(left_out) <= MOST_NOT_RUN, left_out


def test_the_keyframes_that_are_shown_are_a_path(tmp_path: Path) -> None:
    import kinephoto as kp

    (keyframes,) = re.findall(r"^```json\n(.*?)^```", (DOCS / "paths.md").read_text("utf-8"), re.M | re.S)
    (tmp_path / "move.json").write_text(keyframes, encoding="utf-8")
    assert not kp.path(tmp_path / "move.json").closed


def test_the_table_of_moves_has_them_all() -> None:
    from kinephoto.scene.path import AMOUNTS, PRESETS

    page = (DOCS / "paths.md").read_text(encoding="utf-8")
    moves = page[page.index("## The moves") : page.index("## How far")]
    named = [
        name for row in re.findall(r"^\| (`.+?) \|", moves, re.M) for name in re.findall(r"`([\w-]+)`", row)
    ]
    assert sorted(named) == sorted({*PRESETS, "--path"})
    for word, amount in AMOUNTS.items():
        assert f"| `{word}` | {amount} |" in page
