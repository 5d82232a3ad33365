"""Photos per second of `kinephoto batch` with one worker and with two, what batch adds to the bare function, memory.

    python benchmarks/batch.py --photos 40 --size 384 --out runs/batch.json

The photos are crops of examples/*.jpg, each from another place. Whole processes are timed, from the command's start
to its end. The bare function is a loop over ``produce.animate`` with one painter, in a process of its own, with one
thread as a worker has, and must give the same bytes. Memory is the largest of each process: of the driver, and of
the worker that took most. At last, the driver's memory for manifests of 1,000 and of 20,000 rows, whose photos are
missing, which is the cheapest of all work.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kinephoto.measure.report import write_results

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
BARE = """
import json, resource, sys
from pathlib import Path
import cv2, torch
torch.set_num_threads(1)
cv2.setNumThreads(1)
from kinephoto.studio.outputs import Outputs
from kinephoto.studio.produce import animate, painter_of, read
from kinephoto.studio.settings import AnimateSettings
settings = AnimateSettings(**json.loads(sys.argv[3]), threads=1)
painter = painter_of(settings)
for file in sorted(Path(sys.argv[1]).iterdir()):
    animate(read(file, settings), Outputs(Path(sys.argv[2]) / f"{file.stem}.mp4"), settings, painter=painter)
"""
BATCH = """
import sys
from kinephoto.app.cli import main
sys.argv[0] = "kinephoto"
main()
"""
TELLS = """
import resource
for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
    print("peak", resource.getrusage(who).ru_maxrss * 1024)
"""


def main() -> None:
    options = parsed()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_photos(folder / "photos", options.photos, options.size)
        found = pace(folder, options) | rows_in_memory(folder, options.rows)
    print(json.dumps(found, indent=2))
    if options.out:
        write_results(options.out, {"photos": options.photos, "size": options.size, "results": found})


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--size", type=int, default=384, help="short side of photos and films, px")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each film")
    parser.add_argument("--painter", default="builtin")
    parser.add_argument("--rows", type=int, nargs="*", default=[1000, 20_000], help="of the manifests")
    parser.add_argument("--out", type=Path, help="JSON with everything")
    return parser.parse_args()


def make_photos(folder: Path, count: int, size: int) -> None:
    """Crops of 4:3, all different."""
    folder.mkdir()
    generator, files = np.random.default_rng(0), sorted(EXAMPLES.glob("*.jpg"))
    for number in range(count):
        with Image.open(files[number % len(files)]) as picture:
            share = generator.uniform(0.6, 0.9)
            width = min(share * picture.width, share * picture.height * 4 / 3)
            left = generator.uniform(0, picture.width - width)
            top = generator.uniform(0, picture.height - width * 3 / 4)
            crop = picture.convert("RGB").resize(
                (size * 4 // 3, size), box=(left, top, left + width, top + width * 3 / 4)
            )
        crop.save(folder / f"{number:04}.jpg", quality=92)


def pace(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The bare function, one worker and two, one after the other."""
    settings = {
        "size": options.size,
        "seconds": options.seconds,
        "painter": options.painter,
        "depth": "builtin",
    }
    flags = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    (folder / "bare").mkdir()
    bare = timed(BARE, [str(folder / "photos"), str(folder / "bare"), json.dumps(settings)])
    found = {"bare": bare}
    for workers in (1, 2):
        out = folder / f"workers-{workers}"
        words = ["batch", str(folder / "photos"), "-o", str(out), "--workers", str(workers), "--threads", "1"]
        found[f"workers_{workers}"] = timed(BATCH, [*words, *flags, "-q"])
        for film in (folder / "bare").iterdir():
            assert film.read_bytes() == (out / film.name).read_bytes(), f"{film.name} differs"
    for each in found.values():
        each["photos_per_s"] = options.photos / each["wall_s"]
    return found | {
        "two_over_one": found["workers_1"]["wall_s"] / found["workers_2"]["wall_s"],
        "overhead_share": found["workers_1"]["wall_s"] / found["bare"]["wall_s"] - 1,
    }


def rows_in_memory(folder: Path, counts: list[int]) -> dict[str, Any]:
    """The driver's largest memory, by rows."""
    found = {}
    for count in counts:
        manifest = folder / f"{count}.txt"
        manifest.write_text("".join(f"no/photo-{number:06}.jpg\n" for number in range(count)))
        out = folder / f"rows-{count}"
        words = ["batch", str(manifest), "-o", str(out), "--verb", "depth", "--workers", "0", "-q"]
        found[str(count)] = timed(BATCH, words, code=1)
    return {"driver_by_rows": found}


def timed(program: str, words: list[str], code: int = 0) -> dict[str, Any]:
    """Wall time of a Python process, and the largest memory of itself and of its largest child."""
    tells = f"import atexit\natexit.register(lambda: exec({TELLS!r}, {{}}))\n"
    begin = time.perf_counter()
    command = [sys.executable, "-c", tells + program, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    wall_s = time.perf_counter() - begin
    assert done.returncode == code, done.stderr
    own, largest = (int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("peak "))
    return {"wall_s": wall_s, "own_bytes": own, "largest_child_bytes": largest}


if __name__ == "__main__":
    main()
