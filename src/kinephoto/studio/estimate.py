"""How long a film will take, told before the work starts.

The costs are those that ``--report`` gave for four films of 0.26 to 0.69 megapixels on two cores of a cloud
machine (a scene's: of single paintings there), and are scaled by a short sum that this machine does now. For
these the estimate is within a third; expect half to twice, since photos differ in how much has to be painted.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from kinephoto.machine import usable_cores

# Seconds of one core of that machine: per megapixel and frame, per megapixel and painting, and once.
FILM_S = 0.30
PAINT_S = {"builtin": 3.4, "classical": 2.5, "opencv:telea": 1.1, "opencv:ns": 1.1}
SCENE_S = {"builtin": 8.0, "classical": 7.0, "opencv:telea": 3.0, "opencv:ns": 3.0}
"""Per megapixel of a scene around an object: all of it is one hole."""

LOAD_S = {"builtin": 3.5}
"""What reading the network takes, and what it is built from."""

PAINTED_VIEWS = 3.0
DEPTH_S = 2.2
COMPILING_S = 15.0  # once on a machine
FIXED_S = 2.9  # Python, torch and the renderer's compiled code starting, and ending
PROBE_S = 0.0053
"""What ``_probe`` takes there."""


def estimate_seconds(
    hw: tuple[int, int],
    frame_count: int,
    painter: str,
    mode: str,
    threads: int | None = None,
    eyes: int = 1,
    scene_hw: tuple[int, int] | None = None,
) -> float:
    """Seconds for a film of that size and length.

    Args:
        hw: height and width of the frames.
        painter: its name; unknown ones count as the built-in.
        mode: "world" or "autoregressive".
        eyes: 2 for a stereo film.
        scene_hw: height and width of a scene that is painted around an object first; None for a photo.
    """
    megapixels = hw[0] * hw[1] / 1e6
    workers = min(threads or usable_cores(), usable_cores())
    known = painter if painter in PAINT_S else "builtin"
    paint = PAINT_S[known] * megapixels
    paintings = PAINTED_VIEWS if mode == "world" else float(frame_count)
    scene = SCENE_S[known] * scene_hw[0] * scene_hw[1] / 1e6 if scene_hw else 0.0
    shared = DEPTH_S + frame_count * eyes * FILM_S * megapixels
    return FIXED_S + _slowness() * (LOAD_S.get(known, 0.0) + scene + paintings * paint + shared / workers)


def renderer_is_compiled() -> bool:
    """Whether Numba's cache holds the renderer, so that it needn't be compiled again."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    scene = Path(__file__).resolve().parents[1] / "scene"
    if not given and not os.access(scene, os.W_OK):
        return True  # it lies somewhere in the user's own cache; better too little said than wrong each time
    place = Path(given) if given else scene / "__pycache__"
    return place.is_dir() and next(place.rglob("raster*.nbi"), None) is not None


def _slowness() -> float:
    """How many times as long as there this machine takes."""
    return min(max(min(_probe() for _ in range(3)) / PROBE_S, 0.2), 10.0)


def _probe() -> float:
    values = np.linspace(0, 1, 1 << 20, dtype=np.float32)
    begin = time.perf_counter()
    for _ in range(4):
        values = np.sqrt(values * 0.5 + 0.25)
        values = values[::-1].copy()
    return time.perf_counter() - begin
