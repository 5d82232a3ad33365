"""A scene small enough to check by hand, written in the format that ``measure.scenes`` reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HW = (24, 32)
FOCAL_PX = 30.0


def _write_tiny_scene(folder: Path, stereo: bool = False) -> np.ndarray:
    """Two pictures of random points, the second camera one unit to the right of the first.

    Unless it is a stereo pair, the second camera is also turned by 0.1 about its vertical axis.

    Returns:
        [N, 3] the points in the world, which is the first camera's frame.
    """
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    picture = rng.integers(0, 255, (*HW, 3), dtype=np.uint8)
    lines = ["made by a test"]
    cos, sin = (1.0, 0.0) if stereo else (np.cos(0.1), np.sin(0.1))
    turned = np.stack([np.eye(3), [[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]])
    for image in range(2):
        Image.fromarray(picture).save(folder / "images" / f"{image:03d}.png")
        pose = np.column_stack([turned[image], [-image, 0, 0]])
        numbers = [FOCAL_PX / HW[1], FOCAL_PX / HW[0], 0.5, 0.5, 0, 0, *pose.ravel()]
        lines.append(f"{image} " + " ".join(f"{number:.9f}" for number in numbers))
    (folder / "cameras.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    xyz = np.stack([rng.uniform(-1, 1, 40), rng.uniform(-1, 1, 40), rng.uniform(4, 9, 40)], axis=1)
    image, point = np.repeat([0, 1], 40), np.tile(np.arange(40), 2)
    moved = np.einsum("nij,nj->ni", turned[image], xyz[point])
    moved[:, 0] -= image
    uv = FOCAL_PX * moved[:, :2] / moved[:, 2:] + np.array([HW[1], HW[0]]) / 2
    np.savez(folder / "points.npz", xyz=xyz, obs_image=image, obs_point=point, obs_uv=uv)
    if stereo:
        depth = np.linspace(3, 8, HW[0] * HW[1], dtype=np.float32).reshape(HW)
        np.savez(folder / "depth.npz", disparity=FOCAL_PX / depth)
    return xyz


@pytest.fixture
def write_tiny_scene() -> Callable[..., np.ndarray]:
    """``write(folder, stereo=False)`` makes a scene of 24×32 px, focal length 30 px; gives its points."""
    return _write_tiny_scene
