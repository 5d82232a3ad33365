"""The programs whose speed is compared, each as the command that makes one film of one photo."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from kinephoto.errors import InputError
from kinephoto.measure import speed_depthflow
from kinephoto.measure.speed import Contestant

KINEPHOTO = (sys.executable, "-m", "kinephoto")
FPS = 24
# A film's width, times its height.
ASPECT = 16 / 9

DEPTHFLOW_VARIABLE = "KINEPHOTO_DEPTHFLOW"
DEPTHFLOW_QUALITIES = {"DepthFlow": 50, "DepthFlow, lowest quality": 0}
"""Its default, and the least that it takes, both of 100."""


def film_hw(short_side_px: int) -> tuple[int, int]:
    """A 16:9 film's height and width, both even.

    Example:
        >>> film_hw(288)
        (288, 512)
    """
    return 2 * round(short_side_px / 2), 2 * round(short_side_px * ASPECT / 2)


def photo_of_size(path: Path, hw: tuple[int, int], folder: Path) -> Path:
    """A JPEG of ``hw`` in the folder: the photo's middle in that aspect, resized.

    Raises:
        InputError: the photo can't be read.
    """
    from PIL import Image, ImageOps

    height, width = hw
    made = folder / f"{width}x{height}.jpg"
    try:
        with Image.open(path) as file:
            photo = ImageOps.fit(file.convert("RGB"), (width, height), Image.Resampling.LANCZOS)
    except Exception:  # Pillow's decoders each raise kinds of their own
        raise InputError(f"{path} is not a picture that can be read.") from None
    photo.save(made, quality=92)
    return made


def kinephoto_contestant(
    painter: str, photo: Path, short_side_px: int, frames: int, depth: Path | None = None
) -> Contestant:
    """``kinephoto animate`` with a painter; with ``depth`` the depth map is given, else estimated as well.

    What it writes lies beside the photo.
    """
    name = painter + (", depth given" if depth else "")
    film, tells = _files(photo, name)
    flags = {
        "-o": film,
        "--report": tells,
        "--depth": depth or "builtin",
        "--painter": painter,
        "--size": short_side_px,
        "--seconds": frames / FPS,
        "--fps": FPS,
    }
    words = [str(word) for pair in flags.items() for word in pair]
    return Contestant(name, (*KINEPHOTO, "animate", str(photo), *words, "--quiet"), frames, tells)


def given_depth(photo: Path) -> Path:
    """The depth map, near is white, that programs are given; in the photo's folder.

    8 bit: DepthFlow 1.0.1 reads 16-bit PNG as zero, and nothing moves.
    """
    from kinephoto.scene.depth import estimate_depth
    from kinephoto.scene.photo import read_photo
    from kinephoto.studio.pictures import write_picture

    made = photo.with_name("depth.png")
    values = estimate_depth(read_photo(photo), "builtin").values
    write_picture((values / values.max()).expand(3, -1, -1), made)
    return made


def depthflow_contestants(
    python: Path, photo: Path, depth: Path, hw: tuple[int, int], frames: int
) -> list[Contestant]:
    """DepthFlow at its default and at its lowest quality, given a depth map.

    Args:
        python: from ``depthflow_python``.
        photo: what is filmed; the films lie beside it.
        depth: its depth map, near is white.
        hw: the film's height and width.
        frames: of the film.
    """
    found = []
    for name, quality in DEPTHFLOW_QUALITIES.items():
        film, tells = _files(photo, name)
        words = [
            python,
            speed_depthflow.__file__,
            photo,
            depth,
            film,
            tells,
            hw[1],
            hw[0],
            frames,
            FPS,
            quality,
        ]
        found.append(Contestant(name, tuple(map(str, words)), frames, tells))
    return found


def depthflow_python(given: Path | None) -> Path | None:
    """The Python that DepthFlow is installed for.

    Args:
        given: that Python, the program ``depthflow`` beside it, or their environment's folder; None: whatever the
            variable KINEPHOTO_DEPTHFLOW names.

    Returns:
        None where neither names anything.

    Raises:
        InputError: DepthFlow is not there.
    """
    variable = os.environ.get(DEPTHFLOW_VARIABLE)
    named = given or (Path(variable) if variable else None)
    if named is None:
        return None
    if not named.exists():
        raise InputError(
            f"There is no {named}; --depthflow takes the Python that DepthFlow is installed for."
        )
    # Not resolved: an environment's Python is a link, and would lose its packages.
    named = named.absolute()
    if named.is_dir():
        python = named / "bin" / "python"
    else:
        python = named if named.name.startswith("python") else named.with_name("python")
    depthflow_version(python)
    return python


def depthflow_version(python: Path) -> str:
    """The version of DepthFlow that a Python has; it is asked in a process of its own.

    Raises:
        InputError: it has none, or is no Python.
    """
    question = "from importlib.metadata import version; print(version('depthflow'))"
    try:
        answer = subprocess.run([str(python), "-c", question], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        raise InputError(
            f"{python} is not a Python that can be run; --depthflow takes DepthFlow's."
        ) from None
    if answer.returncode:
        raise InputError(
            f"{python} has no DepthFlow; make it an environment of its own: python -m venv DIR, then "
            "DIR/bin/pip install depthflow==1.0.1, and give DIR/bin/python."
        )
    return answer.stdout.strip()


def _files(photo: Path, name: str) -> tuple[Path, Path]:
    """Where a contestant's film goes, and what it tells: beside the photo, under its name without odd letters."""
    stem = re.sub(r"[^a-zA-Z0-9]+", "-", name)
    return photo.with_name(f"{stem}.mp4"), photo.with_name(f"{stem}.json")
