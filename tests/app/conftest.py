"""The command line as a user calls it: in its own process where exit codes and files matter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinephoto.app import cli

RUN = "import sys; from kinephoto.app.cli import main; sys.argv[0] = 'kinephoto'; main()"
Call = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def kinephoto(tmp_path: Path) -> Call:
    """Run ``kinephoto`` with these words in an empty folder."""

    def call(*words: object, stdin: bytes | None = None, **more: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", RUN, *(str(word) for word in words)]
        environment = os.environ | {"COLUMNS": "120", "TERM": "dumb", "NO_COLOR": "1"} | more
        return subprocess.run(command, cwd=tmp_path, capture_output=True, input=stdin, env=environment)

    return call


@pytest.fixture
def small_photo(tmp_path: Path, example_photo: Path) -> Path:
    """The free photo of a person at 128×128 px, in the folder where the command runs."""
    place = tmp_path / "beach.jpg"
    with Image.open(example_photo) as picture:
        picture.resize((128, 128)).save(place, quality=92)
    return place


@pytest.fixture
def small_depth(tmp_path: Path) -> Path:
    """A near square before a far wall, 16 bit, in the folder where the command runs."""
    values = np.zeros((128, 128), np.uint16)
    values[40:, 40:90] = 65535
    place = tmp_path / "depth.png"
    Image.fromarray(values).save(place)
    return place


@pytest.fixture
def run(monkeypatch, capsys, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """A command line in this process: its exit code and what it said on standard error."""

    def call(*words: object) -> tuple[int, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["kinephoto", *(str(word) for word in words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), capsys.readouterr().err

    return call
