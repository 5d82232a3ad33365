"""World mode against autoregressive mode on the same move: paintings, seconds, flicker.

    python benchmarks/flicker.py --photo examples/SOME.jpg --size 320 --seconds 2 --out flicker.json

Flicker is the mean absolute change, in 8-bit steps, of pixels that the painter made up in two neighbouring frames,
after the first frame has been warped onto the second by dense optical flow (OpenCV's DIS). The same number of the
pixels that the photo shows stands beside it: what warping itself leaves over.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

import kinephoto as kp
from kinephoto.measure.report import markdown_table, write_results
from kinephoto.painter import get_painter
from kinephoto.studio.animate import film_autoregressive
from kinephoto.studio.build import start_world

SURE = 0.99
"""Pixels made up, or shown by the photo, at least to this share."""


class Counter:
    """A painter that counts how often it is asked."""

    def __init__(self, name: str) -> None:
        self._painter = get_painter(name)
        self.name = self._painter.name
        self.count = 0

    def paint(
        self, rgb: Tensor, known: Tensor, disparity: Tensor, *, prompt: str | None = None, seed: int = 0
    ) -> Tensor:
        """As the painter does."""
        self.count += 1
        return self._painter.paint(rgb, known, disparity, prompt=prompt, seed=seed)


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    photo = kp.read_photo(options.photo)
    results = {}
    for mode in ("world", "autoregressive"):
        painter = Counter(options.painter)
        began = time.perf_counter()
        if mode == "world":
            world = kp.build_world(photo, kp.path(options.move), size=options.size, painter=painter)
            frames = kp.film(world, seconds=options.seconds, fps=24)
        else:
            world = start_world(photo, kp.path(options.move), size=options.size)
            frames = film_autoregressive(world, seconds=options.seconds, fps=24, painter=painter)
        kept = [(to_8bit(frame.rgb), frame.invented.numpy()) for frame in frames]
        seconds = time.perf_counter() - began
        made_up, shown = flicker(kept)
        results[mode] = {"paintings": painter.count, "seconds": seconds, "flicker": made_up, "photo": shown}
        print(mode, results[mode], flush=True)
    rows = [[mode, *row.values()] for mode, row in results.items()]
    print(markdown_table(["mode", "paintings", "seconds", "flicker, made up", "the photo's own"], rows, 2))
    if options.out:
        settings = {key: str(value) for key, value in vars(options).items()}
        write_results(options.out, {"settings": settings, "results": results})


def to_8bit(rgb: Tensor) -> np.ndarray:
    """[H, W, 3] uint8."""
    return (rgb.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()


def flicker(frames: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """Mean change of pixels that are made up, and of those that aren't, between neighbouring frames."""
    flow_of = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    made_up: list[np.ndarray] = []
    shown: list[np.ndarray] = []
    for (before, was), (after, now) in itertools.pairwise(frames):
        grey = [cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (after, before)]
        flow = flow_of.calc(*grey, None)
        rows, columns = np.indices(grey[0].shape, np.float32)
        at = (columns + flow[..., 0], rows + flow[..., 1])
        moved = cv2.remap(before, *at, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        change = np.abs(moved.astype(np.float32) - after).mean(2)
        # Beyond the picture's border there is nothing to compare with.
        inside = (at[0] >= 0) & (at[0] < change.shape[1]) & (at[1] >= 0) & (at[1] < change.shape[0])
        was_made_up = cv2.remap(
            was.astype(np.float32), *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        made_up.append(change[inside & (now >= SURE) & (was_made_up >= SURE)])
        shown.append(change[inside & (now <= 1 - SURE) & (was_made_up <= 1 - SURE)])
    return tuple(float(np.concatenate(each).mean()) for each in (made_up, shown))  # type: ignore[return-value]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--move", default="circle")
    parser.add_argument("--painter", default="builtin")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON with everything")
    return parser.parse_args()


if __name__ == "__main__":
    main()
