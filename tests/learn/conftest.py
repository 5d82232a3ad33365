"""A network, a teacher and a folder of photos so small that a run takes a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kinephoto.learn.distill_settings import DistillSettings
from kinephoto.scene.depthnet import DepthNetConfig

HW = (60, 76)


@pytest.fixture(scope="session")
def tiny() -> DepthNetConfig:
    """Two blocks of 32 channels; the tiny teacher's shape, at full rank."""
    return DepthNetConfig(
        dim=32,
        blocks=2,
        heads=2,
        ranks=(32, 32, 32),
        grid=4,
        taps=(1, 2),
        width=16,
        token_short_side_px=56,
        input_short_side_px=56,
    )


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Depth Anything network with a DINOv2 of two blocks, as transformers saves it."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    torch.manual_seed(1)
    backbone = Dinov2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
        out_features=["stage1", "stage2"],
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=14,
        reassemble_hidden_size=32,
        reassemble_factors=[4, 2],
        neck_hidden_sizes=[8, 16],
        fusion_hidden_size=8,
        head_hidden_size=8,
    )
    model = DepthAnythingForDepthEstimation(config)
    with torch.no_grad():
        for parameter in model.parameters():
            # Fresh biases are 0 and fresh scales 1, which would hide a mistake about either.
            parameter.add_(0.1 * torch.randn(parameter.shape))
    folder = tmp_path_factory.mktemp("teacher")
    model.save_pretrained(folder)
    return folder


def _picture(number: int, hw: tuple[int, int] = HW) -> tuple[np.ndarray, np.ndarray]:
    """A photo [H, W, 3] of a bright disc before a slope, and its label [H, W]; both uint8, ``number`` varies it."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[: hw[0], : hw[1]]
    middle = rng.uniform(0.3, 0.7, 2) * hw
    disc = np.hypot(rows - middle[0], columns - middle[1]) < 0.25 * min(hw)
    code = np.where(disc, 230.0, 40 + 100 * rows / hw[0])
    colour = rng.uniform(0.5, 1, 3)
    rgb = np.where(disc, 220.0, 30 + 90 * rows / hw[0])[..., None] * colour
    return np.uint8(rgb.round()), np.uint8(code.round())


def _write_photos(folder: Path, count: int = 26, tests: int = 2) -> Path:
    """``count`` photos with labels, the last ``tests`` of them for tests."""
    names = [f"photos/free/{number:03d}.png" for number in range(count)]
    for number, name in enumerate(names):
        rgb, code = _picture(number)
        label = (folder / name.replace("photos", "disparity")).with_suffix(".avif")
        for path, values in ((folder / name, rgb), (label, code)):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(path, quality=90)
    splits = ["train"] * (count - tests) + ["test"] * tests
    lines = [f"{name},{split}" for name, split in zip(names, splits, strict=True)]
    (folder / "manifest.csv").write_text("\n".join(["path,split", *lines]) + "\n")
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 photos to train on, one or more of them held out, and 2 for tests; not to be changed."""
    return _write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def picture() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """``picture(number)``: the photo and the label of that number in these folders."""
    return _picture


@pytest.fixture
def own_photos(tmp_path: Path) -> Path:
    """The same in a folder that a test may spoil."""
    return _write_photos(tmp_path / "own")


@pytest.fixture
def settings(photos: Path, tmp_path: Path) -> Callable[..., DistillSettings]:
    """``settings(steps=3)``: a run from scratch on those photos, in a fresh folder, the rest as given."""

    def make(**changes: object) -> DistillSettings:
        values = {"photos": photos, "out": tmp_path / "out", "init": "scratch", "steps": 6, "batch": 2}
        values |= {"feature_steps": 0, "tokens": [2, 3], "check_every": 3, "half": False, "threads": 1}
        return DistillSettings(**(values | changes))

    return make
