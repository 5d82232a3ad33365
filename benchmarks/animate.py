"""Wall time and peak memory of whole `kinephoto animate` processes.

    python benchmarks/animate.py --photo examples/SOME.jpg --runs 5 --out animate.json

Cases: a 1024×768 JPEG at --size 512 with 48 frames (2 s at 24 frames/s) and with 480 (20 s); a 24-megapixel
JPEG at --size 2160 with 48 frames. Both JPEGs are made from the photo by cropping and resizing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from kinephoto.measure.report import markdown_table, write_results

FPS = 24
# ru_maxrss counts KiB on Linux and bytes on macOS.
RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Case:
    """One command to measure: the photo's size, the video's short or long side and its length."""

    name: str
    photo_wh: tuple[int, int]
    video_size: int
    frames: int


CASES = (
    Case("1024×768, size 512, 48 frames", (1024, 768), 512, 48),
    Case("1024×768, size 512, 480 frames", (1024, 768), 512, 480),
    Case("24 megapixels, size 2160, 48 frames", (6000, 4000), 2160, 48),
)


@dataclass(frozen=True)
class Run:
    """One process: wall and CPU seconds, and the largest resident memory of it or a child, bytes."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def main() -> None:
    options = parsed()
    chosen = [CASES[index] for index in options.cases]
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for case in chosen:
            photo = photo_of_size(options.photo, case.photo_wh, Path(folder))
            command = animate_command(photo, Path(folder) / "out.mp4", case, options.extra)
            runs = [measured(command) for _ in range(options.runs + 1)]
            # The first run compiles the renderer where nothing is cached; it is told apart.
            results.append(
                {"case": case.name, "first": asdict(runs[0]), "runs": [asdict(run) for run in runs[1:]]}
            )
            print(f"{case.name}: {', '.join(f'{run.wall_s:.2f}' for run in runs)} s", flush=True)
    print("\n" + as_markdown(results))
    if options.out:
        write_results(options.out, {"extra": options.extra, "results": results})


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=5, help="after a first one that is told apart")
    parser.add_argument("--cases", type=int, nargs="+", default=range(len(CASES)), help="by number, from 0")
    parser.add_argument("--extra", nargs=argparse.REMAINDER, default=[], help="more flags for animate; last")
    parser.add_argument("--out", type=Path, help="JSON with everything")
    return parser.parse_args()


def photo_of_size(path: Path, wh: tuple[int, int], folder: Path) -> Path:
    """A JPEG of ``wh``: the photo's middle in that aspect, resized."""
    from PIL import Image, ImageOps

    made = folder / f"{wh[0]}x{wh[1]}.jpg"
    with Image.open(path) as file:
        ImageOps.fit(file.convert("RGB"), wh, Image.Resampling.LANCZOS).save(made, quality=92)
    return made


def animate_command(photo: Path, video: Path, case: Case, extra: list[str]) -> list[str]:
    program = Path(sys.executable).with_name("kinephoto")
    numbers = {
        "--size": case.video_size,
        "--seconds": case.frames / FPS,
        "--fps": FPS,
    }
    flags = [text for flag, value in numbers.items() for text in (flag, f"{value:g}")]
    return [str(program), "animate", str(photo), "-o", str(video), "--quiet", *flags, *extra]


def measured(command: list[str]) -> Run:
    """Run a command to its end, by itself.

    Raises:
        SystemExit: it failed; its own words are shown.
    """
    start = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        # wait4 tells this child's own usage; getrusage(RUSAGE_CHILDREN) keeps the maximum of all so far.
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            output.seek(0)
            sys.exit(f"{' '.join(command)}\nfailed with {child.returncode}:\n{output.read().decode()}")
    wall_s = time.perf_counter() - start
    return Run(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * RSS_UNIT_BYTES)


def as_markdown(results: list[dict]) -> str:
    rows = []
    for result in results:
        seconds = [run["wall_s"] for run in result["runs"]] or [result["first"]["wall_s"]]
        peaks = [run["peak_bytes"] for run in result["runs"]] or [result["first"]["peak_bytes"]]
        median = statistics.median(seconds)
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        rows.append([result["case"], median, spread, result["first"]["wall_s"], max(peaks) / 2**30])
    return markdown_table(["case", "median s", "least to most", "first run s", "peak GiB"], rows, digits=2)


if __name__ == "__main__":
    main()
