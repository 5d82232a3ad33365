"""Wall time and peak memory of whole `kinephoto animate` processes, at sizes from small to large.

    python benchmarks/animate.py --photo examples/SOME.jpg --runs 5 --out animate.json

Cases: a 1024×768 JPEG at --size 512 with 48 frames (2 s at 24 frames/s) and with 480 (20 s); a 24-megapixel
JPEG at --size 2160 with 48 frames. Both JPEGs are made from the photo by cropping and resizing.
`kinephoto evaluate speed` compares painters and programs at one size.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kinephoto.errors import InputError
from kinephoto.learn.photos import Skipped
from kinephoto.measure.report import write_results
from kinephoto.measure.speed import Contestant, in_turns, summary, table
from kinephoto.measure.speed_contestants import FPS, KINEPHOTO, photo_of_size


@dataclass(frozen=True)
class Case:
    """One command to measure: the photo's size, the video's short side and its length."""

    name: str
    photo_hw: tuple[int, int]
    video_size: int
    frames: int


CASES = (
    Case("1024×768, size 512, 48 frames", (768, 1024), 512, 48),
    Case("1024×768, size 512, 480 frames", (768, 1024), 512, 480),
    Case("24 megapixels, size 2160, 48 frames", (4000, 6000), 2160, 48),
)


def main() -> None:
    options = parsed()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for index in options.cases:
            contestant = contestant_of(CASES[index], options.photo, Path(folder), options.extra)
            # One case after the other: they are of different sizes, not rivals.
            for each in in_turns([contestant], options.runs):
                if isinstance(each, Skipped):
                    raise InputError(each.why)
                found.append(each)
                print(f"{each[0]}: {each[1].wall_s:.2f} s", flush=True)
    print("\n" + table(summary(found)))
    if options.out:
        write_results(options.out, {"extra": options.extra, "results": summary(found)})


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


def contestant_of(case: Case, photo: Path, folder: Path, extra: list[str]) -> Contestant:
    tells = folder / "report.json"
    flags = {
        "-o": folder / "out.mp4",
        "--report": tells,
        "--size": case.video_size,
        "--seconds": f"{case.frames / FPS:g}",
        "--fps": FPS,
    }
    words = [str(word) for pair in flags.items() for word in pair]
    made = photo_of_size(photo, case.photo_hw, folder)
    return Contestant(
        case.name, (*KINEPHOTO, "animate", str(made), *words, "--quiet", *extra), case.frames, tells
    )


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"Error: {error}")
