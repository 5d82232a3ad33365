"""DepthFlow (https://github.com/BrokenSource/DepthFlow, AGPL-3.0), if the user has installed it: ``depthflow``.

It runs as a program, in an environment of its own; nothing of it is imported, and it learns of a picture and its depth
from files alone. Its camera shifts and zooms, so it answers pairs whose cameras differ by a shift to the side.

To be fair to it: version 1.0.1, without a window; ``isometric`` 1 and ``steady`` where nothing shifts (0 with parallel
axes), so that shifts are proportional to disparity; depth in 32 bits; Mesa's anisotropic filter off, which in software
costs it 0.4 dB; frames before any encoder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.measure.metrics import psnr
from kinephoto.measure.view_case import ViewCase, ViewMethod

VERSION = "1.0.1"
VARIABLE = "KINEPHOTO_DEPTHFLOW"
INSTALL = (
    f"python -m venv depthflow && depthflow/bin/pip install depthflow=={VERSION}, then set {VARIABLE} to "
    "depthflow/bin/depthflow"
)
DEFAULT_QUALITY, QUALITIES = 50.0, (0.0, 100.0)
HEIGHT = 0.2
"""DepthFlow's own default of how high the nearest lies above the background."""

COARSE, FINE = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3), (-0.06, -0.04, -0.02, 0.02, 0.04, 0.06)
"""Offsets that are tried when calibrating, times what geometry says; then around the best one."""

ENVIRONMENT = {
    "WINDOW_BACKEND": "headless",
    "MESA_EXTENSION_OVERRIDE": "-GL_EXT_texture_filter_anisotropic -GL_ARB_texture_filter_anisotropic",
}
LONGEST_S = 300.0
SHIFT_TOLERANCE_PX = 0.5
LAST_WORDS = 300

# DepthFlow sends raw frames to a program called ffmpeg, whose last words are its output and -y. This one keeps them
# as they are: an encoder would halve their colours.
KEEPER = '#!/bin/sh\nwhile [ $# -gt 2 ]; do shift; done\nexec cat > "$1"\n'


@dataclass(frozen=True, eq=False)
class SidewaysShift:
    """What a pair is to DepthFlow.

    Attributes:
        height_map: [H, W] float32 in [0, 1], near is large.
        steady: the height that does not move.
        offset: of its camera, by geometry.
    """

    height_map: np.ndarray
    steady: float
    offset: float


class DepthFlow:
    """A way to a new view; ``calibrated`` gives the one that is measured.

    Args:
        quality: 0 to 100; DepthFlow's default is 50.
        program: its executable; None: where ``program_path`` finds it.

    Raises:
        InputError: it is not installed, another version, or the quality is out of range.
    """

    def __init__(self, quality: float = DEFAULT_QUALITY, program: Path | None = None) -> None:
        if not QUALITIES[0] <= quality <= QUALITIES[1]:
            raise InputError(f"DepthFlow's quality is {quality:g}; it goes from 0 to 100.")
        self._quality, self._program = quality, program or program_path()
        version = _run([str(self._program), "--version"], {}).strip().split()
        if not version or version[-1] != VERSION:
            raise InputError(
                f"{self._program} is DepthFlow {version[-1] if version else '?'}; its options are those of {VERSION}: "
                f"{INSTALL}."
            )

    def __call__(self, case: ViewCase) -> Tensor:
        """[3, H, W] in [0, 1], with the offset that geometry gives.

        Raises:
            InputError: the cameras differ by more than a shift to the side, or DepthFlow fails.
        """
        shift = sideways_shift(case)
        return self.frames(case.source, shift, [shift.offset])[0]

    def calibrated(self, case: ViewCase, target: Tensor) -> ViewMethod:
        """The method with the offset that meets this target best, by PSNR where W sees the source.

        The one exception to the rule that a method doesn't see the target: no mistake in the meaning of DepthFlow's
        numbers may count against it.

        Args:
            case: of the pair.
            target: [3, H, W]; only its pixels at ``case.view.known`` are looked at.

        Raises:
            InputError: as for a call.
        """
        shift = sideways_shift(case)
        if not bool(case.view.known.any()):
            return self
        tried: dict[float, Tensor] = {}
        best = 1.0
        for around in (COARSE, FINE):
            factors = [factor if around is COARSE else best + factor for factor in around]
            frames = self.frames(case.source, shift, [factor * shift.offset for factor in factors])
            tried |= dict(zip(factors, frames, strict=True))
            best = max(tried, key=lambda factor: psnr(tried[factor], target, case.view.known))
        picture = tried[best]
        return lambda same: picture

    def frames(self, rgb: Tensor, shift: SidewaysShift, offsets: Sequence[float]) -> list[Tensor]:
        """[3, H, W] each: the picture as DepthFlow shows it from these places, in one process.

        Raises:
            InputError: DepthFlow fails.
        """
        from PIL import Image

        pixels = (rgb * 255).round().byte().permute(1, 2, 0).numpy()
        height, width = pixels.shape[:2]
        even = ((0, height % 2), (0, width % 2))  # DepthFlow's frames have even sides.
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            keeper = _keeper(folder)
            Image.fromarray(np.pad(pixels, (*even, (0, 0)), mode="edge")).save(folder / "image.png")
            Image.fromarray(np.pad(shift.height_map, even, mode="edge")).save(folder / "depth.tiff")
            hw = (height + even[0][1], width + even[1][1])
            words = [
                str(self._program),
                "input",
                "-i",
                str(folder / "image.png"),
                "-d",
                str(folder / "depth.tiff"),
            ]
            for number, offset in enumerate(offsets):
                words += self._frame(hw, shift.steady, offset, folder / f"{number}.raw")
            said = _run(words, {**ENVIRONMENT, "PATH": f"{keeper}{os.pathsep}{os.environ.get('PATH', '')}"})
            return [
                _read(folder / f"{number}.raw", hw, said)[:, :height, :width]
                for number in range(len(offsets))
            ]

    def _frame(self, hw: tuple[int, int], steady: float, offset: float, target: Path) -> list[str]:
        """The words that make one frame."""
        state = ["state", "--height", HEIGHT, "--isometric", 1, "--steady", steady, "--offset", offset, 0.0]
        main = ["main", "-w", hw[1], "-h", hw[0], "--fps", 1, "--time", 1, "-q", self._quality, "-o", target]
        return [f"{word:.9g}" if isinstance(word, float) else str(word) for word in (*state, *main)]


def program_path() -> Path:
    """DepthFlow's executable: what ``KINEPHOTO_DEPTHFLOW`` names, its Python or its environment, else on the PATH.

    Raises:
        InputError: there is none.
    """
    variable = os.environ.get(VARIABLE)
    named = variable or shutil.which("depthflow")
    if named is None:
        raise InputError(f"DepthFlow is not installed; it wants an environment of its own: {INSTALL}.")
    # Not resolved: an environment's Python is a link to another folder.
    path = Path(named).absolute()
    if path.is_dir():
        path = path / "bin" / "depthflow"
    elif path.name.startswith("python"):
        path = path.with_name("depthflow")
    if not path.is_file():
        raise InputError(f"{VARIABLE} names {named}, where there is no DepthFlow; install it: {INSTALL}.")
    return path


def sideways_shift(case: ViewCase) -> SidewaysShift:
    """The pair in DepthFlow's terms.

    Its rays are parallel and end on a plane, at heights v in [0, 1] above it. Moved by ``offset`` (in half picture
    heights), what lies at v shifts to the left by offset · h (v - steady) / (1 - h · steady) half picture heights,
    h = ``HEIGHT``. Here pixels shift by f b / z minus the difference of the principal points.

    Raises:
        InputError: the cameras differ by more than a shift to the side.
    """
    source, target = case.source_camera, case.target_camera
    height, width = case.disparity.shape
    shift = target.t - target.R @ source.R.T @ source.t
    nearest = float(case.disparity.max())
    turned = np.abs(target.R @ source.R.T - np.eye(3)).max() * max(source.focal) * width
    upright = (
        abs(source.focal[1] * height * shift[1]) * nearest + abs(target.centre[1] - source.centre[1]) * height
    )
    forward = abs(shift[2]) * nearest * width
    zoomed = max(abs(a / b - 1) for a, b in zip(source.focal, target.focal, strict=True)) * width
    if max(turned, upright, forward, zoomed) > SHIFT_TOLERANCE_PX or shift[0] == 0:
        raise InputError(
            f"{case.pair.scene}, {case.pair.name}: the cameras differ by more than a shift to the side, the only move "
            "of DepthFlow's camera that can be matched."
        )
    to_left = -source.focal[0] * width * float(shift[0]) * case.disparity.numpy()
    to_left = to_left - (target.centre[0] - source.centre[0]) * width
    side = 1.0 if shift[0] < 0 else -1.0
    moved = side * to_left
    low, high = min(0.0, float(moved.min())), max(0.0, float(moved.max()))
    steady = -low / (high - low)
    offset = 2 * (high - low) * (1 - HEIGHT * steady) / (HEIGHT * height)
    return SidewaysShift(((moved - low) / (high - low)).astype(np.float32), steady, side * offset)


def _keeper(folder: Path) -> Path:
    """A folder with programs that stand where ffmpeg and ffprobe would."""
    if os.name != "posix":
        raise InputError("DepthFlow's frames can't be kept on this system; Linux and macOS can.")
    programs = folder / "programs"
    programs.mkdir()
    for name in ("ffmpeg", "ffprobe"):
        (programs / name).write_text(KEEPER, encoding="utf-8")
        (programs / name).chmod(0o755)
    return programs


def _run(words: Sequence[str], environment: dict[str, str]) -> str:
    """What a program says.

    Raises:
        InputError: it can't be run, fails, or takes too long.
    """
    try:
        done = subprocess.run(
            words,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LONGEST_S,
            check=False,
        )
    except OSError as error:
        raise InputError(f"{words[0]} cannot be run ({error.strerror}).") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"DepthFlow had not finished after {LONGEST_S:g} s.") from None
    said = done.stdout.decode(errors="replace")
    if done.returncode:
        raise InputError(f"DepthFlow failed with exit code {done.returncode}: {_last(said)}")
    return said


def _read(path: Path, hw: tuple[int, int], said: str) -> Tensor:
    """[3, H, W] of a raw frame, whose rows go upwards."""
    frame = np.fromfile(path, np.uint8) if path.is_file() else np.zeros(0, np.uint8)
    if frame.size != hw[0] * hw[1] * 3:
        raise InputError(
            f"DepthFlow made {frame.size} bytes of a frame of {hw[1]} x {hw[0]} px: {_last(said)}"
        )
    return torch.from_numpy(frame.reshape(*hw, 3)[::-1].copy()).permute(2, 0, 1).float() / 255


def _last(said: str) -> str:
    return " ".join(said.split())[-LAST_WORDS:]
