"""Camera paths from files: RealEstate10K's text, nerfstudio's camera_path.json, and keyframes of our own.

Keyframes (all but ``time`` and one of the others may be left out):

    {"keyframes": [
        {"time": 0, "position": [0, 0, 0], "rotation": [1, 0, 0, 0], "zoom": 1},
        {"time": 1, "position": [1, 0, 0.5], "look_at": [0, 0, 3], "zoom": 1.2}
    ]}

``time`` is from 0 to 1, ``position`` the camera's place (x right, y down, z forward; the photo was taken at
[0, 0, 0], at rest), ``rotation`` a quaternion w, x, y, z that turns camera axes to the scene's, ``look_at`` a
point to look at instead, ``zoom`` a factor of the photo's focal length. Between keyframes the camera goes along
the screw motion that leads from one to the next: the shortest way on SE(3).

Whatever the file's unit of length, the way is scaled so that the camera's largest distance from the photo's
place is the move's amount, as with every other path; rotations and zooms stay as they are. The other two kinds of
files know no photo: their first camera is taken for the photo's own.

A ``look_at`` is a thing in the photo, so it isn't scaled with the way: its unit is the distance of the nearest
things (z = 1), as for all the scene, and [0, 0, 3] is straight ahead, three times as far as these. The camera is
turned to it from where it stands after scaling, so that this point is in the middle of the frame at every such
keyframe, however large the amount, and next to it between two of them.
"""

from __future__ import annotations

import bisect
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinephoto.errors import InputError
from kinephoto.scene.camera import Pose
from kinephoto.scene.path import Move, Rig, View

MOST_CAMERAS = 100_000
LARGEST_NUMBER = 1e9
"""Of a length or of a rotation's parts; beyond it nothing is meant, and squares begin to overflow."""

ZOOMS = (0.01, 100.0)
"""Focal lengths, as factors of the photo's, or as shares of a side or of half of one."""

_CLOSED = 1e-6  # relative to the way's length
_SMALL_STEP = 0.01  # of which size doesn't matter: where the ends of a way are compared

# OpenGL's camera looks along -z with y up; ours along z with y down.
_OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class _Cameras:
    """What a file holds.

    Attributes:
        times: rising.
        poses: [4, 4] each, ``photo_from_camera``, in the file's unit of length.
        zooms: factors of the photo's focal length.
        targets: [3] each, the point to look at in the scene's unit, or None where the pose says it all.
    """

    times: list[float]
    poses: list[np.ndarray]
    zooms: list[float]
    targets: list[np.ndarray | None]


def read_path_file(path: Path) -> tuple[Move, bool]:
    """The move that a file describes, and whether it ends where it begins.

    Raises:
        InputError: no such file, not one of the three kinds, or numbers that no camera has.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; a path file is text or JSON.")
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors of Windows begin with a mark
    except FileNotFoundError:
        raise InputError(f"There is no path file {path}.") from None
    except (OSError, ValueError):
        raise InputError(f"{path} is not a path file that can be read; it should be text or JSON.") from None
    is_json = path.suffix.lower() == ".json" or text.lstrip().startswith("{")
    return _move(_from_json(text, path.name) if is_json else _from_realestate(text, path.name))


def _move(found: _Cameras) -> tuple[Move, bool]:
    times, zooms = found.times, found.zooms
    reach = max(float(np.linalg.norm(matrix[:3, 3])) for matrix in found.poses) or 1.0
    poses = [_with_place(matrix, matrix[:3, 3] / reach) for matrix in found.poses]
    first, last = times[0], times[-1]

    def camera_at(k: int, step: float) -> np.ndarray:
        matrix, target = _with_place(poses[k], poses[k][:3, 3] * step), found.targets[k]
        return matrix if target is None else _looking(matrix, target)

    def move(time: float, rig: Rig) -> View:
        at = first + time * (last - first)
        k = min(max(bisect.bisect_right(times, at) - 1, 0), max(len(times) - 2, 0))
        matrix, zoom = camera_at(k, rig.step), zooms[k]
        if len(times) > 1:
            share = min(max((at - times[k]) / (times[k + 1] - times[k]), 0.0), 1.0)
            screw = _log(np.linalg.inv(matrix) @ camera_at(k + 1, rig.step))
            matrix = matrix @ _exp(share * screw)
            zoom = zooms[k] * (zooms[k + 1] / zooms[k]) ** share
        matrix = np.linalg.inv(matrix)
        pose = Pose(torch.from_numpy(matrix[:3, :3].copy()), torch.from_numpy(matrix[:3, 3].copy()))
        return rig.camera.zoomed(zoom), pose

    begin, end = camera_at(0, _SMALL_STEP), camera_at(-1, _SMALL_STEP)
    return move, bool(np.allclose(begin, end, atol=_CLOSED)) and math.isclose(zooms[0], zooms[-1])


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


def _from_realestate(text: str, name: str) -> _Cameras:
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
    _check_count(rows, name)
    rows.sort(key=lambda values: values[0])
    cameras = [_rigid(np.array(values[7:]).reshape(3, 4), name) for values in rows]
    zooms = [_checked_zoom(values[1], f"{name}: a camera's focal length") for values in rows]
    times = _rising([values[0] for values in rows], name)
    return _from_the_first(times, [np.linalg.inv(camera) for camera in cameras], zooms)


def _from_json(text: str, name: str) -> _Cameras:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{name} is not valid JSON (line {error.lineno}: {error.msg}).") from None
    except ValueError:
        raise InputError(f"{name} holds a number with thousands of digits.") from None
    except RecursionError:
        raise InputError(f"{name} is nested too deeply for a path file.") from None
    kinds: dict[str, Callable[[list[Any], str], _Cameras]]
    kinds = {"camera_path": _from_nerfstudio, "keyframes": _from_keyframes}
    for kind, read in kinds.items():
        if isinstance(content, dict) and isinstance(content.get(kind), list):
            _check_count(content[kind], name)
            return read(content[kind], name)
    raise InputError(f'{name} holds neither "keyframes" nor nerfstudio\'s "camera_path".')


def _from_nerfstudio(entries: list[Any], name: str) -> _Cameras:
    cameras, zooms = [], []
    for number, entry in enumerate(entries):
        try:
            values = np.array(entry["camera_to_world"], dtype=np.float64).reshape(-1)
            matrix = values.reshape(values.size // 4, 4)[:3].reshape(3, 4)
            fov_deg = float(entry.get("fov", 50.0))
        except (KeyError, TypeError, ValueError, OverflowError):
            raise InputError(f"{name}: camera {number} has no camera_to_world of 16 numbers.") from None
        if not 0 < fov_deg < 180:
            raise InputError(
                f"{name}: camera {number} has a field of view that is not between 0 and 180 degrees."
            )
        cameras.append(_OPENCV_FROM_OPENGL @ _rigid(matrix, name) @ _OPENCV_FROM_OPENGL)
        longer = 1 / max(math.tan(math.radians(fov_deg) / 2), 1e-9)
        zooms.append(_checked_zoom(longer, f"{name}: camera {number}'s focal length"))
    if not cameras:
        raise InputError(f"{name} holds no cameras.")
    return _from_the_first([float(k) for k in range(len(cameras))], cameras, zooms)


def _from_the_first(times: list[float], cameras: list[np.ndarray], zooms: list[float]) -> _Cameras:
    """Cameras of a world without a photo, ``world_from_camera``: the first is taken for the photo's."""
    home = np.linalg.inv(cameras[0])
    poses, longer = [home @ camera for camera in cameras], [zoom / zooms[0] for zoom in zooms]
    return _Cameras(times, poses, longer, [None] * len(times))


def _from_keyframes(entries: list[Any], name: str) -> _Cameras:
    times, poses, zooms, targets = [], [], [], []
    for number, entry in enumerate(entries):
        try:
            time, zoom = float(entry["time"]), float(entry.get("zoom", 1.0))
            place = np.array(entry.get("position", [0, 0, 0]), dtype=np.float64).reshape(3)
            target = np.array(entry["look_at"], dtype=np.float64).reshape(3) if "look_at" in entry else None
            turn = np.array(entry.get("rotation", [1, 0, 0, 0]), dtype=np.float64).reshape(4)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            raise InputError(
                f"{name}: keyframe {number} should have a time, and position, rotation, look_at or zoom as numbers."
            ) from None
        _check_numbers(np.concatenate([place, turn, place if target is None else target]), name)
        if target is not None and (target[2] <= 0 or np.array_equal(target, place)):
            raise InputError(
                f"{name}: keyframe {number} should look at a point in front of the photo (z above 0), other than its "
                "own position."
            )
        if not np.linalg.norm(turn) > 0:
            raise InputError(
                f"{name}: keyframe {number} has a rotation of zeros; none at all is [1, 0, 0, 0]."
            )
        times.append(time)
        zooms.append(_checked_zoom(zoom, f"{name}: keyframe {number}'s zoom"))
        poses.append(_with_place(np.eye(4) if target is not None else _turned(turn), place))
        targets.append(target)
    if not poses:
        raise InputError(f"{name} holds no keyframes.")
    return _Cameras(_rising(times, name), poses, zooms, targets)


def _turned(quaternion: np.ndarray) -> np.ndarray:
    """[4, 4], the rotation of a quaternion w, x, y, z of any length."""
    from scipy.spatial.transform import Rotation

    out = np.eye(4)
    out[:3, :3] = Rotation.from_quat(np.roll(quaternion, -1)).as_matrix()
    return out


def _looking(matrix: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The camera [4, 4], upright where it stands, turned to a point."""
    forward = target - matrix[:3, 3]
    right = np.cross([0.0, 1.0, 0.0], forward)
    distance, aside = float(np.linalg.norm(forward)), float(np.linalg.norm(right))
    if not aside > 1e-9 * distance:
        raise InputError(
            "With this amount, a keyframe's camera is at its look_at, straight above or straight below it; take "
            "a smaller amount."
        )
    forward, right = forward / distance, right / aside
    out = matrix.copy()
    out[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    return out


def _rigid(matrix: np.ndarray, name: str) -> np.ndarray:
    """[4, 4] of a [3, 4] whose left part must be a rotation, to the digits that files have."""
    _check_numbers(matrix, name)
    rotation = matrix[:, :3]
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-2) or np.linalg.det(rotation) < 0:
        raise InputError(f"{name} holds a camera whose rotation is not one.")
    u, _, vt = np.linalg.svd(rotation)
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = u @ vt, matrix[:, 3]
    return out


def _check_count(cameras: list[Any], name: str) -> None:
    if len(cameras) > MOST_CAMERAS:
        raise InputError(f"{name} holds {len(cameras)} cameras; at most {MOST_CAMERAS} make a path.")


def _check_numbers(values: np.ndarray, name: str) -> None:
    if not (np.abs(values) <= LARGEST_NUMBER).all():
        raise InputError(f"{name} holds numbers that cannot be used; none may go beyond {LARGEST_NUMBER:g}.")


def _checked_zoom(zoom: float, what: str) -> float:
    if not ZOOMS[0] <= zoom <= ZOOMS[1]:
        raise InputError(f"{what} is {zoom:g}; it must be positive, from {ZOOMS[0]:g} to {ZOOMS[1]:g}.")
    return zoom


def _rising(times: list[float], name: str) -> list[float]:
    if any(not a < b for a, b in itertools.pairwise(times)) or not math.isfinite(times[-1] - times[0]):
        raise InputError(f"{name}: the cameras' times must be rising.")
    return times
