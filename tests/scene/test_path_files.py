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
from kinephoto.scene.path import Path, Rig, View, path

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


def move_of(folder: FilePath, *entries: dict) -> Path:
    file = folder / "own.json"
    file.write_text(json.dumps({"keyframes": entries}))
    return path(file)


def place_of(view: View) -> np.ndarray:
    return (-view[1].R.T @ view[1].t).numpy()


def test_look_at_looks_at_it(tmp_path: FilePath) -> None:
    """The point stays in the middle of the frame, for any amount, and the camera upright."""
    entries = [{"time": t, "position": [t, 0.4 * t, 0], "look_at": [0, 0, 3], "zoom": 1 + t} for t in (0, 1)]
    move = move_of(tmp_path, *entries).move
    for amount in (0.01, 0.06, 0.3):
        for time in (0.0, 0.5, 1.0):
            camera, pose = move(time, Rig(CAMERA, amount, CAMERA.centre_px, 0.5))
            x, y, z = pose.R.numpy() @ np.array([0, 0, 3.0]) + pose.t.numpy()
            # Between keyframes the screw is off by a third power of the amount.
            within_px = 0.02 if time in (0, 1) else 20 * amount**3
            assert z > 0 and np.hypot(x, y) / z * camera.focal_px < within_px
            assert time == 0.5 or pose.R.numpy()[0, 1] == pytest.approx(0, abs=1e-9)
    assert move(1.0, RIG)[0].focal_px == pytest.approx(2 * CAMERA.focal_px)


def test_keyframes_know_where_the_photo_was_taken(tmp_path: FilePath) -> None:
    """The first need not be there: from one side to the other, past the photo itself."""
    move = move_of(tmp_path, *({"time": t, "position": [2 * t, 0, 0], "zoom": 1.5} for t in (-1, 0, 1))).move
    for time, aside in ((0.0, -1), (0.5, 0), (1.0, 1)):
        view = move(time, RIG)
        assert place_of(view) == pytest.approx([aside * RIG.step, 0, 0], abs=1e-9)
        assert view[0].focal_px == pytest.approx(1.5 * CAMERA.focal_px)
    turned = move_of(tmp_path, {"time": 0, "rotation": [0.9, 0, 0.1, 0]}, {"time": 1}).move
    assert turned(0.0, RIG)[1].R[0, 0] < 0.99 and torch.allclose(turned(1.0, RIG)[1].R, torch.eye(3).double())


@pytest.mark.parametrize("write", [realestate, nerfstudio])
def test_other_files_begin_at_the_photo_wherever_their_world_does(
    tmp_path: FilePath, write, monkeypatch
) -> None:
    """And as near as it: only what changes after the first camera counts."""
    home = np.eye(4)
    home[:3, :3], home[:3, 3] = Rotation.from_euler("y", 40, degrees=True).as_matrix(), [7, 8, 9]
    before = path(write(tmp_path)).move(0.7, RIG)
    own = world_from_camera
    monkeypatch.setitem(globals(), "world_from_camera", lambda k: home @ own(k))
    camera, pose = path(write(tmp_path)).move(0.7, RIG)
    assert torch.allclose(pose.R, before[1].R, atol=1e-6) and torch.allclose(pose.t, before[1].t, atol=1e-6)
    assert camera.focal_px == before[0].focal_px


def test_a_mark_of_windows_editors_is_left_out(tmp_path: FilePath) -> None:
    for write in (realestate, keyframes):
        file = write(tmp_path)
        before = path(file).move(0.7, RIG)[1]
        file.write_text(file.read_text(), encoding="utf-8-sig")
        assert torch.equal(path(file).move(0.7, RIG)[1].t, before.t)


def test_a_file_that_comes_back_is_closed(tmp_path: FilePath) -> None:
    file = tmp_path / "round.json"
    entries = [{"time": 0}, {"time": 1, "position": [1, 0, 0]}, {"time": 2, "position": [0, 0, 0]}]
    file.write_text(json.dumps({"keyframes": entries}))
    assert path(file).closed and not path(keyframes(tmp_path)).closed
    again = {"position": [1, 0, 0], "look_at": [0, 0, 3]}
    assert move_of(tmp_path, {"time": 0} | again, {"time": 1}, {"time": 2} | again).closed
    assert not move_of(tmp_path, {"time": 0} | again, {"time": 1} | again | {"look_at": [0, 0, 4]}).closed


BAD = {
    "empty.txt": ("", "holds no cameras"),
    "words.txt": ("a clip\n1 2 three\n", "line 2 is not RealEstate10K's 19 numbers"),
    "broken.json": ("{", "is not valid JSON"),
    "other.json": ('{"frames": []}', 'neither "keyframes" nor'),
    "none.json": ('{"keyframes": []}', "holds no keyframes"),
    "late.json": ('{"keyframes": [{"time": 1}, {"time": 0}]}', "times must be rising"),
    "timeless.json": ('{"keyframes": [{"position": [0, 0, 0]}]}', "keyframe 0 should have a time"),
    "short.json": ('{"keyframes": [{"time": 0, "position": [0, 0]}]}', "keyframe 0 should have a time"),
    "zoomless.json": ('{"keyframes": [{"time": 0, "zoom": 0}]}', "zoom is 0; it must be positive"),
    "zoomed.json": ('{"keyframes": [{"time": 0, "zoom": 1e308}]}', "zoom is 1e.308; it must be positive"),
    "deep.json": ("[" * 100_000, "nested too deeply"),
    "digits.json": ("[" + "9" * 5000 + "]", "thousands of digits"),
    "endless.json": ('{"keyframes": [{"time": -1e308}, {"time": 1e308}]}', "times must be rising"),
    "long.json": ('{"keyframes": [{"time": 1' + "0" * 400 + "}]}", "keyframe 0 should have a time"),
    "far.json": (
        '{"keyframes": [{"time": 0, "position": [1e308, 0, 0]}]}',
        "cannot be used; none may go beyond",
    ),
    "nan.json": ('{"keyframes": [{"time": 0, "position": [NaN, 0, 0]}]}', "numbers that cannot be used"),
    "turn.json": ('{"keyframes": [{"time": 0, "rotation": [0, 0, 0, 0]}]}', "a rotation of zeros"),
    "itself.json": (
        '{"keyframes": [{"time": 0, "position": [0, 0, 3], "look_at": [0, 0, 3]}]}',
        "keyframe 0 should look at a point in front of the photo",
    ),
    "behind.json": ('{"keyframes": [{"time": 0, "look_at": [0, 1, 0]}]}', "a point in front of the photo"),
    "dark.txt": ("clip\n" + "0 " * 7 + "1 0 0 0  0 1 0 0  0 0 1 0", "focal length is 0; it must be positive"),
    "inside.txt": (
        "0 -1 0 0 0 0 0 1 0 0 0  0 1 0 0  0 0 1 0\n1 1 0 0 0 0 0 1 0 0 0  0 1 0 0  0 0 1 0",
        "focal length is -1; it must be positive",
    ),
    "apart.txt": ("0 1 0 0 0 0 0 1 0 0 1e308  0 1 0 0  0 0 1 0", "none may go beyond 1e.09"),
    "mirror.txt": ("0 1 0 0 0 0 0 1 0 0 0  0 1 0 0  0 0 -1 0", "is not one"),
    "wide.json": (
        '{"camera_path": [{"camera_to_world": [1,0,0,0, 0,1,0,0, 0,0,1,0], "fov": 180}]}',
        "not between 0 and 180 degrees",
    ),
    "narrow.json": (
        '{"camera_path": [{"camera_to_world": [1,0,0,0, 0,1,0,0, 0,0,1,0], "fov": 5e-324}]}',
        "focal length is 1e.09; it must be positive",
    ),
    "row.json": ('{"camera_path": [{"camera_to_world": [1, 0, 0, 0]}]}', "no camera_to_world of 16 numbers"),
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


@pytest.mark.parametrize("write", [realestate, nerfstudio, keyframes])
def test_more_cameras_than_a_path_takes_are_refused(tmp_path: FilePath, write, monkeypatch) -> None:
    file = write(tmp_path)
    monkeypatch.setattr("kinephoto.scene.path_files.MOST_CAMERAS", 2)
    with pytest.raises(InputError, match="holds 3 cameras; at most 2 make a path"):
        path(file)


def test_a_camera_that_comes_to_stand_at_its_look_at_is_refused(tmp_path: FilePath) -> None:
    move = move_of(tmp_path, {"time": 0}, {"time": 1, "position": [0, 0, 1], "look_at": [0, 0, 1 / 8]}).move
    with pytest.raises(InputError, match="take a smaller amount"):
        move(1.0, Rig(CAMERA, CAMERA.focal_px / 160 / 8, CAMERA.centre_px, 0.5))
