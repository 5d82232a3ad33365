"""Training on several processes, as `accelerate launch` starts them. `make test-scale` runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kinephoto.learn.autoencoder import fit_components, save_autoencoder
from kinephoto.learn.pack import pack
from kinephoto.learn.pack_settings import PackSettings
from kinephoto.learn.photos import read_labelled, split_of
from kinephoto.painter.autoencoder import PatchAutoencoder

pytestmark = pytest.mark.scale

RUN = """
import json, os, signal, sys
from kinephoto.learn import train
from kinephoto.learn.painter_settings import PainterSettings

train.CHECK_CROPS = 4
rank, dies_after = int(os.environ.get("RANK", 0)), int(sys.argv[2])
for state in train.train_painter(PainterSettings(**json.loads(sys.argv[1]))):
    if state.stage == "training" and rank == 0:
        print("loss", state.step, repr(state.loss), flush=True)
    if state.stage == "training" and rank == 1 and state.step == dies_after:
        os.kill(os.getpid(), signal.SIGKILL)
"""
# By --cpu it starts a single process; by --multi_gpu two, which find no GPU here and talk through gloo.
LAUNCH = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
LAUNCH += ["--mixed_precision", "no", "--dynamo_backend", "no"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four shards of 24 photos, and a tiny autoencoder."""
    folder = tmp_path_factory.mktemp("training")
    rows, columns = np.mgrid[:60, :76]
    for number in range(24):
        rng = np.random.default_rng(number)
        middle = rng.uniform(0.3, 0.7, 2) * (60, 76)
        disc = np.hypot(rows - middle[0], columns - middle[1]) < 15
        code = np.uint8(np.where(disc, 230, 40 + rows))
        rgb = np.uint8(np.where(disc, 220, 30 + 1.5 * rows)[..., None] * rng.uniform(0.5, 1, 3))
        for place, values in ((f"{number:02}.png", rgb), (f"disparity/{number:02}.avif", code)):
            (folder / "photos" / place).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(folder / "photos" / place)
    for _ in pack(folder / "photos", folder / "shards", PackSettings(depth="none", photo_format="as-is")):
        pass
    names = split_of(folder / "photos", "train")
    net = PatchAutoencoder(latent_channels=8, widths=(8, 8, 8), blocks=1)
    fit_components(net, [read_labelled(folder / "photos", name) for name in names], 0)
    (folder / "vae").mkdir()
    save_autoencoder(net, folder / "vae")
    (folder / "run.py").write_text(RUN)
    return folder


def started(
    folder: Path, out: str, processes: int, dies_after: int = 0, **changes: Any
) -> tuple[int, list[float], str]:
    """Exit code, losses and what was said of a run."""
    settings = {"photos": folder / "shards" / "index.json", "out": folder / out, "init": "scratch"}
    settings |= {"autoencoder": folder / "vae", "holes": folder / "holes" / out, "widths": [16, 32]}
    settings |= {"steps": 6, "batch": 4 // processes, "crop_px": 32, "check_every": 2, "threads": 1}
    settings |= {"device": "cpu", "precision": "no"} | changes
    words = [str(folder / "run.py"), json.dumps(settings, default=str), str(dies_after)]
    command = [sys.executable, *(LAUNCH if processes == 2 else []), *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    said = [line.split() for line in done.stdout.splitlines() if line.startswith("loss ")]
    return done.returncode, [float(loss) for _, _, loss in said], done.stderr


def weights_in(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "last.pt", weights_only=True)["net"]


def test_two_processes_learn_what_one_does_with_twice_the_batch_and_go_on_when_one_was_killed(
    folder: Path,
) -> None:
    code, one, said = started(folder, "one", 1)
    assert code == 0, said
    code, two, said = started(folder, "two", 2)
    assert code == 0, said
    assert len(one) == len(two) == 6
    # The same crops; sums of gradients in another order, which Adam's first steps enlarge.
    assert two == pytest.approx(one, rel=1e-3)

    code, before, _ = started(folder, "killed", 2, dies_after=3)
    assert code != 0 and before[:3] == two[:3]
    code, after, said = started(folder, "killed", 2)
    assert code == 0, said
    assert after == two[2:]  # from the last check on
    assert all(
        torch.equal(value, weights_in(folder / "killed")[name])
        for name, value in weights_in(folder / "two").items()
    )
    assert not list((folder / "killed").glob(".*.part"))
