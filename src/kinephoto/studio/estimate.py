"""How long a film will take, told before the work starts.

The costs were measured on two cores of a cloud machine (`benchmarks/animate.py`) and are scaled by a short
sum that this machine does now. Expect half to twice: photos differ in how much has to be painted.
"""

from __future__ import annotations

import time

import numpy as np

from kinephoto.scene.machine import usable_cores

# Seconds per megapixel, one thread of the machine of the measurements.
DEPTH_S = 0.6
RENDER_S = 0.11
ENCODE_S = 0.035
PAINT_S = {"classical": 4.5, "opencv:telea": 0.4, "opencv:ns": 0.4}
PAINTED_VIEWS = 3.0
FIXED_S = 2.0
PROBE_S = 0.0145
"""What ``_probe`` takes there."""


def estimate_seconds(
    hw: tuple[int, int], frame_count: int, painter: str, mode: str, threads: int | None = None
) -> float:
    """Seconds for a film of that size and length.

    Args:
        hw: height and width of the frames.
        painter: its name; unknown ones count as the classical.
        mode: "world" or "autoregressive".
    """
    megapixels = hw[0] * hw[1] / 1e6
    workers = min(threads or usable_cores(), usable_cores())
    paint = PAINT_S.get(painter, PAINT_S["classical"]) * megapixels
    paintings = PAINTED_VIEWS if mode == "world" else float(frame_count)
    shared = DEPTH_S + frame_count * (RENDER_S * megapixels + ENCODE_S * megapixels)
    return FIXED_S + _slowness() * (paintings * paint + shared / workers)


def in_words(seconds: float) -> str:
    """Roughly, as a person would say it.

    Example:
        >>> in_words(7.3), in_words(95), in_words(4000)
        ('about 7 s', 'about 2 min', 'about 1.1 h')
    """
    if seconds < 60:
        return f"about {max(1, round(seconds))} s"
    if seconds < 3600:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"


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
