"""Camera paths from files: RealEstate10K's text, nerfstudio's camera_path.json, and keyframes of our own.

Keyframes (all but ``time`` and one of the others may be left out):

    {"keyframes": [
        {"time": 0, "position": [0, 0, 0], "rotation": [1, 0, 0, 0], "zoom": 1},
        {"time": 1, "position": [1, 0, 0.5], "look_at": [0, 0, 3], "zoom": 1.2}
    ]}

``time`` is from 0 to 1, ``position`` the camera's place (x right, y down, z forward; the photo was taken at
[0, 0, 0]), ``rotation`` a quaternion w, x, y, z that turns camera axes to the scene's, ``look_at`` a point
to look at instead, ``zoom`` a factor of the focal length. Between keyframes the camera goes along the screw
motion that leads from one to the next: the shortest way on SE(3).

Whatever the file's unit of length, the way is scaled so that the camera's largest distance from its first
place is the move's amount, as with every other path; rotations and zooms stay as they are.
"""

from __future__ import annotations

import bisect
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinephoto.errors import InputError
from kinephoto.scene.camera import Pose
from kinephoto.scene.path import Move, Rig, View

MOST_CAMERAS = 100_000
_CLOSED = 1e-6  # relative to the way's length

# OpenGL's camera looks along -z with y up; ours along z with y down.
_OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def read_path_file(path: Path) -> tuple[Move, bool]:
    """The move that a file describes, and whether it ends where it begins.

    Raises:
        InputError: no such file, or not one of the three kinds.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; a path file is text or JSON.")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"There is no path file {path}.") from None
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path} is not a path file that can be read; it should be text or JSON.") from None
    if path.suffix.lower() == ".json" or text.lstrip().startswith("{"):
        times, cameras, zooms = _from_json(text, path.name)
    else:
        times, cameras, zooms = _from_realestate(text, path.name)
    return _move(times, cameras, zooms)


def _move(times: list[float], world_from_camera: list[np.ndarray], zooms: list[float]) -> tuple[Move, bool]:
    """Matrices [4, 4] at rising times become a move that begins at the photo's own place."""
    home = np.linalg.inv(world_from_camera[0])
    cameras = [home @ matrix for matrix in world_from_camera]
    reach = max(float(np.linalg.norm(matrix[:3, 3])) for matrix in cameras)
    if reach > 0:
        cameras = [_with_place(matrix, matrix[:3, 3] / reach) for matrix in cameras]
    zooms = [zoom / zooms[0] for zoom in zooms]
    screws = [_log(np.linalg.inv(a) @ b) for a, b in itertools.pairwise(cameras)]
    first, last = times[0], times[-1]

    def move(time: float, rig: Rig) -> View:
        at = first + time * (last - first)
        k = min(max(bisect.bisect_right(times, at) - 1, 0), max(len(screws) - 1, 0))
        matrix, zoom = cameras[k], zooms[k]
        if screws:
            share = min(max((at - times[k]) / (times[k + 1] - times[k]), 0.0), 1.0)
            matrix = cameras[k] @ _exp(share * screws[k])
            zoom = zooms[k] * (zooms[k + 1] / zooms[k]) ** share
        matrix = np.linalg.inv(_with_place(matrix, matrix[:3, 3] * rig.step))
        pose = Pose(torch.from_numpy(matrix[:3, :3].copy()), torch.from_numpy(matrix[:3, 3].copy()))
        return rig.camera.zoomed(zoom), pose

    closed = bool(np.allclose(cameras[0], cameras[-1], atol=_CLOSED)) and math.isclose(zooms[0], zooms[-1])
    return move, closed


def _with_place(matrix: np.ndarray, place: np.ndarray) -> np.ndarray:
    moved = matrix.copy()
    moved[:3, 3] = place
    return moved


def _log(matrix: np.ndarray) -> np.ndarray:
    """[4, 4] in se(3) whose exponential is the rigid motion ``matrix``."""
    from scipy.spatial.transform import Rotation

    rotation = Rotation.from_matrix(matrix[:3, :3])
    turn = _skew(rotation.as_rotvec())
    out = np.zeros((4, 4))
    out[:3, :3] = turn
    out[:3, 3] = np.linalg.solve(_left_jacobian(rotation.as_rotvec()), matrix[:3, 3])
    return out


def _exp(screw: np.ndarray) -> np.ndarray:
    """The rigid motion [4, 4] of an element of se(3)."""
    from scipy.spatial.transform import Rotation

    turn = np.array([screw[2, 1], screw[0, 2], screw[1, 0]])
    out = np.eye(4)
    out[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    out[:3, 3] = _left_jacobian(turn) @ screw[:3, 3]
    return out


def _left_jacobian(turn: np.ndarray) -> np.ndarray:
    """V in exp([ω, v]) = [R, V v] (Barfoot, State Estimation for Robotics, 2017, Eq. 7.37)."""
    angle = float(np.linalg.norm(turn))
    skew = _skew(turn)
    if angle < 1e-8:
        return np.eye(3) + skew / 2
    a = (1 - math.cos(angle)) / angle**2
    b = (angle - math.sin(angle)) / angle**3
    return np.eye(3) + a * skew + b * skew @ skew


def _skew(v: np.ndarray) -> np.ndarray:
    x, y, z = v
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=np.float64)


def _from_realestate(text: str, name: str) -> tuple[list[float], list[np.ndarray], list[float]]:
    """Lines of 19 numbers: a stamp, fx fy cx cy k1 k2 as shares, world-to-camera [3, 4]."""
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or (number == 1 and len(words) != 19):
            continue  # the first line names the clip
        try:
            values = [float(word) for word in words]
        except ValueError:
            values = []
        if len(values) != 19 or not np.isfinite(values).all():
            raise InputError(f"{name} line {number} is not RealEstate10K's 19 numbers.")
        rows.append(values)
    if not rows:
        raise InputError(f"{name} holds no cameras; RealEstate10K's lines have 19 numbers each.")
    rows.sort(key=lambda values: values[0])
    cameras = [_rigid(np.array(values[7:]).reshape(3, 4), name) for values in rows]
    stamps = [values[0] for values in rows]
    return (
        _rising(stamps, name),
        [np.linalg.inv(camera) for camera in cameras],
        [values[1] for values in rows],
    )


def _from_json(text: str, name: str) -> tuple[list[float], list[np.ndarray], list[float]]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{name} is not valid JSON (line {error.lineno}: {error.msg}).") from None
    if isinstance(content, dict) and isinstance(content.get("camera_path"), list):
        return _from_nerfstudio(content["camera_path"], name)
    if isinstance(content, dict) and isinstance(content.get("keyframes"), list):
        return _from_keyframes(content["keyframes"], name)
    raise InputError(f'{name} holds neither "keyframes" nor nerfstudio\'s "camera_path".')


def _from_nerfstudio(entries: list[Any], name: str) -> tuple[list[float], list[np.ndarray], list[float]]:
    cameras, zooms = [], []
    for number, entry in enumerate(entries[:MOST_CAMERAS]):
        try:
            values = np.array(entry["camera_to_world"], dtype=np.float64).reshape(-1)
            matrix = np.vstack([values.reshape(-1, 4)[:3], [0, 0, 0, 1]])
            tangent = math.tan(math.radians(float(entry.get("fov", 50.0))) / 2)
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{name}: camera {number} has no camera_to_world of 16 numbers.") from None
        if not tangent > 0:
            raise InputError(
                f"{name}: camera {number} has a field of view that is not between 0 and 180 degrees."
            )
        cameras.append(_OPENCV_FROM_OPENGL @ _rigid(matrix[:3], name) @ _OPENCV_FROM_OPENGL)
        zooms.append(1 / tangent)
    if not cameras:
        raise InputError(f"{name} holds no cameras.")
    return [float(k) for k in range(len(cameras))], cameras, zooms


def _from_keyframes(entries: list[Any], name: str) -> tuple[list[float], list[np.ndarray], list[float]]:
    times, cameras, zooms = [], [], []
    for number, entry in enumerate(entries[:MOST_CAMERAS]):
        try:
            times.append(float(entry["time"]))
            place = np.array(entry.get("position", [0, 0, 0]), dtype=np.float64).reshape(3)
            zooms.append(float(entry.get("zoom", 1.0)))
            cameras.append(_with_place(_turned(entry, place), place))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError(
                f"{name}: keyframe {number} should have a time, and position, rotation, look_at or zoom as numbers."
            ) from None
        if not (np.isfinite(cameras[-1]).all() and math.isfinite(zooms[-1]) and zooms[-1] > 0):
            raise InputError(
                f"{name}: keyframe {number} holds numbers that cannot be used; zoom must be positive."
            )
    if not cameras:
        raise InputError(f"{name} holds no keyframes.")
    return _rising(times, name), cameras, zooms


def _turned(entry: dict[str, Any], place: np.ndarray) -> np.ndarray:
    """[4, 4] rotation of a keyframe, ``world_from_camera``."""
    from scipy.spatial.transform import Rotation

    out = np.eye(4)
    if "look_at" in entry:
        forward = np.array(entry["look_at"], dtype=np.float64).reshape(3) - place
        forward = forward / np.linalg.norm(forward)
        right = np.cross([0.0, 1.0, 0.0], forward)
        right = right / np.linalg.norm(right)
        out[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    elif "rotation" in entry:
        w, x, y, z = (float(value) for value in entry["rotation"])
        out[:3, :3] = Rotation.from_quat([x, y, z, w]).as_matrix()
    return out


def _rigid(matrix: np.ndarray, name: str) -> np.ndarray:
    """[4, 4] of a [3, 4] whose left part must be a rotation, to the digits that files have."""
    rotation = matrix[:, :3]
    if not np.isfinite(matrix).all() or not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-2):
        raise InputError(f"{name} holds a camera whose rotation is not one.")
    u, _, vt = np.linalg.svd(rotation)
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = u @ vt, matrix[:, 3]
    return out


def _rising(times: list[float], name: str) -> list[float]:
    if any(b <= a for a, b in itertools.pairwise(times)) or not np.isfinite(times).all():
        raise InputError(f"{name}: the cameras' times must be rising.")
    return times
