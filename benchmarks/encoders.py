"""Speed, size and loss of every way to write a video; prints the table of docs/results.md.

    python benchmarks/encoders.py --photo examples/SOME.jpg --out encoders.json

The film is the photo, panned by two pixels a frame: every frame is new, as with a moving camera.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image, ImageOps

from kinephoto.measure.report import markdown_table, write_results
from kinephoto.scene.values import Frame
from kinephoto.studio.pictures import to_uint8
from kinephoto.studio.video import write_video

WAYS = (
    ("film.mp4", "h264"),
    ("film.webm", "vp9"),
    ("film.webm", "av1"),
    ("film.webp", "webp"),
    ("film.gif", "gif"),
)
QUALITIES = ("draft", "good", "best")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--hw", type=int, nargs=2, default=(512, 768))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON with everything")
    options = parser.parse_args()
    frames = list(panned(options.photo, tuple(options.hw), options.frames))
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name, codec in WAYS:
            for quality in QUALITIES if codec != "gif" else ("good",):
                results.append(measured(frames, Path(folder) / name, codec, quality, options.runs))
    rows = [
        [r["codec"], r["quality"], r["fps"], r["fps_spread"], r["kib_per_frame"], r["psnr"]] for r in results
    ]
    print(
        markdown_table(
            ["codec", "quality", "frames/s", "least to most", "KiB a frame", "PSNR dB"], rows, digits=1
        )
    )
    if options.out:
        write_results(options.out, {"frames": options.frames, "hw": options.hw, "results": results})


def panned(photo: Path, hw: tuple[int, int], count: int) -> Iterator[Frame]:
    """Windows of the photo, each two pixels further right."""
    with Image.open(photo) as file:
        wide = ImageOps.fit(file.convert("RGB"), (hw[1] + 2 * count, hw[0]), Image.Resampling.LANCZOS)
    rgb = torch.from_numpy(np.asarray(wide).copy()).permute(2, 0, 1).float() / 255
    for index in range(count):
        yield Frame(rgb[:, :, 2 * index : 2 * index + hw[1]].contiguous(), index, torch.zeros(hw))


def measured(frames: list[Frame], target: Path, codec: str, quality: str, runs: int) -> dict[str, object]:
    """Frames per second over the runs, bytes, and the loss of what is read back."""
    speeds = []
    for _ in range(runs):
        begin = time.perf_counter()
        report = write_video(frames, target, codec=codec, quality=quality)
        speeds.append(len(frames) / (time.perf_counter() - begin))
    return {
        "codec": codec,
        "quality": quality,
        "fps": statistics.median(speeds),
        "fps_spread": f"{min(speeds):.0f} to {max(speeds):.0f}",
        "kib_per_frame": report.bytes / 1024 / len(frames),
        "psnr": psnr_of_file(target, frames),
    }


def psnr_of_file(path: Path, frames: list[Frame]) -> float:
    """Over all pixels of all frames, as players show them."""
    if path.suffix in (".gif", ".webp"):
        with Image.open(path) as image:
            got = []
            for index in range(min(image.n_frames, len(frames))):
                image.seek(index)
                got.append(np.asarray(image.convert("RGB")))
    else:
        with av.open(str(path)) as container:
            got = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    errors = [
        np.square(a.astype(np.float64) - to_uint8(b.rgb)).mean() for a, b in zip(got, frames, strict=False)
    ]
    return float(10 * np.log10(255**2 / np.mean(errors)))


if __name__ == "__main__":
    main()
