"""Camera files of others, read back against what they say."""

from __future__ import annotations

import itertools
import json
from pathlib import Path as FilePath

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from kinephoto.errors import InputError
from kinephoto.scene.camera import Camera
from kinephoto.scene.path import Rig, path

CAMERA = Camera.from_field_of_view((120, 160))
RIG = Rig(CAMERA, 0.05, CAMERA.centre_px, 0.5)
PLACES = np.array([[0, 0, 0], [0.5, -0.25, 1.0], [2.0, 0, 0]])
TURNS = Rotation.from_euler("xyz", [[0, 0, 0], [5, -10, 3], [0, 20, 0]], degrees=True)


def world_from_camera(k: int) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = TURNS[k].as_matrix(), PLACES[k]
    return matrix


def realestate(folder: FilePath) -> FilePath:
    lines = ["https://example.org/clip"]
    for k in range(3):
        numbers = np.linalg.inv(world_from_camera(k))[:3].reshape(-1)
        focal = (0.9, 1.6, 0.5, 0.5, 0, 0)
        lines.append(" ".join(f"{value:.9f}" for value in (1000 * k, *focal, *numbers)))
    file = folder / "clip.txt"
    file.write_text("\n".join(lines))
    return file


def nerfstudio(folder: FilePath) -> FilePath:
    flip = np.diag([1.0, -1, -1, 1])
    entries = [
        {"camera_to_world": (flip @ world_from_camera(k) @ flip).reshape(-1).tolist(), "fov": 50, "aspect": 1}
        for k in range(3)
    ]
    file = folder / "camera_path.json"
    file.write_text(json.dumps({"camera_path": entries, "fps": 24, "seconds": 4}))
    return file


def keyframes(folder: FilePath) -> FilePath:
    entries = [
        {"time": k / 2, "position": PLACES[k].tolist(), "rotation": np.roll(TURNS[k].as_quat(), 1).tolist()}
        for k in range(3)
    ]
    file = folder / "move.json"
    file.write_text(json.dumps({"keyframes": entries}))
    return file


@pytest.mark.parametrize("write", [realestate, nerfstudio, keyframes])
def test_every_kind_of_file_gives_the_cameras_it_holds(tmp_path: FilePath, write) -> None:
    move = path(write(tmp_path)).move
    for k in range(3):
        camera, pose = move(k / 2, RIG)
        expected = world_from_camera(k)
        place = expected[:3, 3] / 2.0 * RIG.step  # the farthest is 2 units off and becomes one step
        assert pose.R.numpy() == pytest.approx(expected[:3, :3].T, abs=1e-6)
        assert (-pose.R.T @ pose.t).numpy() == pytest.approx(place, abs=1e-6)
        assert camera.focal_px == pytest.approx(CAMERA.focal_px)


def test_between_keyframes_the_camera_goes_on_one_screw(tmp_path: FilePath) -> None:
    """Equal times are equal motions: the step from 0 to 1/4 repeated leads to 1/2."""
    move = path(keyframes(tmp_path)).move
    poses = [move(time, RIG)[1] for time in (0.0, 0.125, 0.25, 0.375, 0.5)]
    steps = [b @ a.inverse() for a, b in itertools.pairwise(poses)]
    for step in steps[1:]:
        assert torch.allclose(step.R, steps[0].R, atol=1e-9) and torch.allclose(step.t, steps[0].t, atol=1e-9)


def test_look_at_looks_at_it(tmp_path: FilePath) -> None:
    file = tmp_path / "look.json"
    entries = [{"time": 0}, {"time": 1, "position": [1, 0, 0], "look_at": [0, 0, 4], "zoom": 2}]
    file.write_text(json.dumps({"keyframes": entries}))
    camera, pose = path(file).move(1.0, RIG)
    seen = pose.R.numpy() @ (np.array([0, 0, 4.0]) * 1 - np.array([1, 0, 0]))
    assert seen[:2] == pytest.approx([0, 0], abs=1e-9) and seen[2] > 0
    assert camera.focal_px == pytest.approx(2 * CAMERA.focal_px)


def test_a_file_that_comes_back_is_closed(tmp_path: FilePath) -> None:
    file = tmp_path / "round.json"
    entries = [{"time": 0}, {"time": 1, "position": [1, 0, 0]}, {"time": 2, "position": [0, 0, 0]}]
    file.write_text(json.dumps({"keyframes": entries}))
    assert path(file).closed and not path(keyframes(tmp_path)).closed


BAD = {
    "empty.txt": ("", "holds no cameras"),
    "words.txt": ("a clip\n1 2 three\n", "line 2 is not RealEstate10K's 19 numbers"),
    "broken.json": ("{", "is not valid JSON"),
    "other.json": ('{"frames": []}', 'neither "keyframes" nor'),
    "none.json": ('{"keyframes": []}', "holds no keyframes"),
    "late.json": ('{"keyframes": [{"time": 1}, {"time": 0}]}', "times must be rising"),
    "timeless.json": ('{"keyframes": [{"position": [0, 0, 0]}]}', "keyframe 0 should have a time"),
    "short.json": ('{"keyframes": [{"time": 0, "position": [0, 0]}]}', "keyframe 0 should have a time"),
    "zoomless.json": ('{"keyframes": [{"time": 0, "zoom": 0}]}', "zoom must be positive"),
    "skewed.json": (
        '{"camera_path": [{"camera_to_world": [2,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0,1]}]}',
        "is not one",
    ),
    "few.json": ('{"camera_path": [{"camera_to_world": [1, 2, 3]}]}', "no camera_to_world of 16 numbers"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_none_of_them_is_refused_in_one_sentence(tmp_path: FilePath, name: str) -> None:
    text, says = BAD[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=says):
        path(tmp_path / name)


def test_a_binary_file_and_a_folder_are_refused(tmp_path: FilePath) -> None:
    (tmp_path / "film.bin").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="is not a path file that can be read"):
        path(tmp_path / "film.bin")
    with pytest.raises(InputError, match="is a folder"):
        path(tmp_path)
