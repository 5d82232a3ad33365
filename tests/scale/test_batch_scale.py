"""A batch under rough treatment: killed drivers, killed nodes, tens of thousands of rows. `make test-scale` runs it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kinephoto.studio.batch import Machine, run
from kinephoto.studio.batch_plan import plan_of
from kinephoto.studio.outpaint_settings import OutAnimateSettings

pytestmark = pytest.mark.scale
RUN = "import sys; from kinephoto.app.cli import main; sys.argv[0] = 'kinephoto'; main()"
KILLS = 20
FILMS = ["--depth", "near.png", "--painter", "opencv:telea", "--seconds", "0.1", "--amount", "0.05"]


@pytest.fixture
def folder(tmp_path: Path, example_photos: list[Path]) -> Path:
    """Twelve photos of 64×48 px in a folder, and a depth map beside it."""
    (tmp_path / "photos").mkdir()
    generator = np.random.default_rng(0)
    for number in range(12):
        with Image.open(example_photos[number % len(example_photos)]) as picture:
            x, y = (int(generator.integers(0, 100)) for _ in range(2))
            crop = picture.convert("RGB").crop((x, y, x + 256, y + 192)).resize((64, 48))
        crop.save(tmp_path / "photos" / f"{number:02}.png")
    values = np.full((48, 64), 20, np.uint8)
    values[12:40, 20:48] = 255
    Image.fromarray(values).save(tmp_path / "near.png")
    return tmp_path


def started(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    command = [sys.executable, "-c", RUN, "batch", "photos", *words, "-q"]
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE)


def ended(process: subprocess.Popen[bytes]) -> None:
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 0, said.decode()


def films(out: Path) -> dict[str, str]:
    found = [path for path in out.rglob("*") if path.suffix == ".mp4" or ".kinephoto" in path.name]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found if path.is_file()}


def test_twenty_kills_of_the_driver_end_with_the_same_outputs(folder: Path) -> None:
    begin = time.monotonic()
    ended(started(folder, "-o", "whole", "--workers", "2", *FILMS))
    whole_s = time.monotonic() - begin
    moments = random.Random(0)
    for _ in range(KILLS):
        process = started(folder, "-o", "killed", "--workers", "2", *FILMS)
        try:
            process.wait(moments.uniform(0.3, 1.0) * whole_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.communicate()
    ended(started(folder, "-o", "killed", "--workers", "2", *FILMS))
    assert films(folder / "killed") == films(folder / "whole") and len(films(folder / "whole")) == 12
    told = [
        json.loads(line)["output"] for line in (folder / "killed" / "results.jsonl").read_text().splitlines()
    ]
    assert told == sorted(films(folder / "whole"))
    assert not list((folder / "killed").glob(".kinephoto*"))


def peak_of(rows: int, folder: Path) -> int:
    """The driver's largest memory, bytes, for a manifest of so many missing photos, the cheapest of all work."""
    manifest = folder / f"{rows}.txt"
    manifest.write_text("".join(f"no/photo-{number:06}.jpg\n" for number in range(rows)))
    code = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from kinephoto.studio.batch import Machine, run\n"
        "from kinephoto.studio.batch_plan import plan_of\n"
        "from kinephoto.studio.outpaint_settings import OutAnimateSettings\n"
        "plan = plan_of('depth', sys.argv[2], OutAnimateSettings())\n"
        "for tally in run([sys.argv[1]], plan, Machine(0)): pass\n"
        "assert tally.failed == tally.total\n"
        # Of this process alone; getrusage's figure begins with that of the process which started it.
        "print(int(re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1]) * 1024)\n"
    )
    command = [sys.executable, "-c", code, str(manifest), str(folder / f"out-{rows}")]
    return int(subprocess.run(command, check=True, capture_output=True, timeout=300).stdout)


@pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="the system doesn't tell a process's peak"
)
def test_the_drivers_memory_does_not_grow_with_the_rows(folder: Path) -> None:
    few, many = peak_of(1000, folder), peak_of(20_000, folder)
    # 19,000 further rows; were each kept, with its path and failure, they would be 10 MB and more.
    assert many - few < 5_000_000, (few, many)
    assert few < 600_000_000


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Three nodes of one processor each, on this machine; rows go to the two that are not the head."""
    pytest.importorskip("ray")
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    made.add_node(num_cpus=1)
    made.add_node(num_cpus=1)
    made.wait_for_nodes()
    ray.init(made.address, log_to_driver=False, logging_level="error")
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.mark.filterwarnings("default")  # Ray's own
def test_a_cluster_makes_the_same_bytes_and_loses_nothing_with_a_node(folder: Path, cluster: Any) -> None:
    settings = {"painter": "opencv:telea", "seconds": 0.1, "amount": "0.05"}
    chosen = OutAnimateSettings(depth=str(folder / "near.png"), **settings)
    here, there = (plan_of("animate", str(folder / name), chosen) for name in ("here", "there"))
    for _ in run([str(folder / "photos")], here, Machine(0)):
        pass
    node = sorted(cluster.worker_nodes, key=id)[0]
    for tally in run([str(folder / "photos")], there, Machine(workers=2, ray="auto")):
        if tally.finished == 3 and node is not None:
            cluster.remove_node(node, allow_graceful=False)
            node = None
    assert (tally.done, tally.failed) == (12, 0)
    assert films(folder / "there") == films(folder / "here")
    told = [
        json.loads(line)["output"] for line in (folder / "there" / "results.jsonl").read_text().splitlines()
    ]
    assert told == sorted(films(folder / "here"))
