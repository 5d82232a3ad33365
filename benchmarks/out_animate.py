"""Wall time and peak memory of whole `kinephoto out-animate` processes.

    python benchmarks/out_animate.py --photo examples/rocket.jpg --box 250,20,400,420 --runs 3

A scene of 512² px, 48 frames, the built-in painter.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# ru_maxrss counts KiB on Linux and bytes on macOS.
RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--box", required=True, help="around the object, px")
    parser.add_argument("--runs", type=int, default=3, help="after a first one that is told apart")
    parser.add_argument("--extra", nargs=argparse.REMAINDER, default=[], help="more flags; last")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "from kinephoto.app.cli import main; main()", "out-animate"]
        command += [str(options.photo), "--box", options.box, "-o", str(Path(folder) / "out.mp4"), "--quiet"]
        command += ["--scene-size", "512", "--size", "512", "--seconds", "2", "--fps", "24", *options.extra]
        runs = [measured(command) for _ in range(options.runs + 1)]
    seconds = [wall for wall, _ in runs]
    print(f"first {seconds[0]:.2f} s; then {', '.join(f'{each:.2f}' for each in seconds[1:])} s")
    print(f"median {statistics.median(seconds[1:]):.2f} s, peak {max(peak for _, peak in runs) / 1e9:.2f} GB")


def measured(command: list[str]) -> tuple[float, int]:
    """Wall seconds and peak resident memory, bytes, of a process."""
    begin = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return time.perf_counter() - begin, usage.ru_maxrss * RSS_UNIT_BYTES


if __name__ == "__main__":
    main()
