"""Real views with cameras: folders of pictures whose poses, and some of whose depths, are known.

A scene is one folder::

    images/      pictures, in the order of their names
    cameras.txt  RealEstate10K's format: the origin, then one line a picture: its stamp, fx fy cx cy
                 (in widths and heights), two zeros, the 3×4 world-to-camera matrix row by row
    points.npz   optional; xyz [N, 3] in the world, and who sees them: obs_image, obs_point, obs_uv
    depth.npz    optional; disparity [H, W] in px between pictures 0 and 1, rectified, NaN unknown

An original clip of RealEstate10K may have lost pictures: then they are named by their stamps, and cameras
without a picture are left out.

Axes are OpenCV's and the top-left pixel's centre is at (0.5, 0.5).
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.measure.photos import read_rgb

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
NUMBERS_PER_CAMERA = 19
# Poses are printed with nine digits; anything farther from a rotation than this was never one.
ROTATION_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class PosedCamera:
    """One line of ``cameras.txt``.

    Attributes:
        stamp: the frame's time or number, as the file gives it.
        focal: (fx, fy) in picture widths and heights.
        centre: (cx, cy) in picture widths and heights.
        R: [3, 3] float64, rotation of ``camera_from_world``.
        t: [3] float64, its translation, the scene's units.
    """

    stamp: int
    focal: tuple[float, float]
    centre: tuple[float, float]
    R: np.ndarray
    t: np.ndarray

    def matrix(self, hw: tuple[int, int]) -> np.ndarray:
        """K for a picture of ``hw``, [3, 3] float64; its pixels need not be square."""
        height, width = hw
        return np.array(
            [
                [self.focal[0] * width, 0.0, self.centre[0] * width],
                [0.0, self.focal[1] * height, self.centre[1] * height],
                [0.0, 0.0, 1.0],
            ]
        )


@dataclass(frozen=True, eq=False)
class SparsePoints:
    """Points of the scene and where they were seen.

    Attributes:
        xyz: [N, 3] float64, world.
        image: [M] int, observation k was made in this picture,
        point: [M] int, of this point,
        uv: [M, 2] float64, at this place, px.
    """

    xyz: np.ndarray
    image: np.ndarray
    point: np.ndarray
    uv: np.ndarray


@dataclass(frozen=True, eq=False)
class Scene:
    """A folder of posed pictures.

    Attributes:
        name: the folder's name; what stands before its first dash is the scene's ``kind``.
        images: the pictures' files, in order.
        cameras: one for each picture.
        points: sparse points, or None.
        stereo_disparity: [H, W] float32, px between pictures 0 and 1, NaN unknown, or None.
        frames: each picture's frame in the clip, from 0 on, by the stamps: see ``frame_numbers``.
    """

    name: str
    images: tuple[Path, ...]
    cameras: tuple[PosedCamera, ...]
    points: SparsePoints | None = None
    stereo_disparity: np.ndarray | None = None
    frames: tuple[int, ...] = ()

    @property
    def kind(self) -> str:
        """``re10k``, ``stereo``, ``llff`` and so on."""
        return self.name.split("-")[0]

    def rgb(self, image: int) -> Tensor:
        """[3, H, W] float32 in [0, 1] of picture number ``image``."""
        return read_rgb(self.images[image])


def read_scenes(folder: Path, names: Iterable[str] = ()) -> list[Scene]:
    """All scenes under ``folder`` in the order of their names, or those called ``names`` in theirs.

    Raises:
        InputError: there is none, or one cannot be read.
    """
    return [read_scene(path) for path in scene_folders(folder, names)]


def scene_folders(folder: Path, names: Iterable[str] = ()) -> list[Path]:
    """The folders of all scenes under ``folder``, by name, or of those called ``names``, in their order.

    Raises:
        InputError: there is none.
    """
    folders = [folder / name for name in names]
    folders = folders or sorted(path.parent for path in folder.glob("*/cameras.txt"))
    if not folders:
        raise InputError(f"{folder} holds no scene; a scene is a folder with images/ and cameras.txt.")
    return folders


def read_scene(folder: Path) -> Scene:
    """Read one scene.

    Raises:
        InputError: a file is missing or malformed, fewer than two pictures have cameras, or cameras and
            pictures differ in number and no stamps say which belong together.
    """
    files = (folder / "images").iterdir() if (folder / "images").is_dir() else ()
    images = sorted(path for path in files if path.suffix.lower() in PICTURE_SUFFIXES)
    cameras = read_cameras(folder / "cameras.txt")
    frames = frame_numbers([camera.stamp for camera in cameras], folder / "cameras.txt")
    kept = list(range(len(cameras)))
    if len(images) != len(cameras):
        images, kept = _matched(folder, images, cameras)
    if len(images) < 2:
        raise InputError(f"{folder} has {len(images)} picture; source and target are two.")
    points = _read_points(folder / "points.npz", kept, len(cameras))
    return Scene(
        folder.name,
        tuple(images),
        tuple(cameras[place] for place in kept),
        points,
        _read_disparity(folder / "depth.npz"),
        tuple(frames[place] for place in kept),
    )


def frame_numbers(stamps: Sequence[int], path: Path | str = "cameras.txt") -> list[int]:
    """Frames of a clip, from 0 on: a gap of k usual steps between stamps counts k.

    RealEstate10K's stamps are microseconds; steps below a thousand are frame numbers already.

    Raises:
        InputError: the stamps don't rise.

    Example:
        >>> frame_numbers([55822000, 55856000, 55889000, 55956000])
        [0, 1, 2, 4]
    """
    steps = np.diff(stamps)
    if (steps <= 0).any():
        raise InputError(
            f"{path}, line {int(np.argmax(steps <= 0)) + 3}: the stamps are not in rising order."
        )
    if not len(steps) or steps.min() < 1000:
        return [int(stamp - stamps[0]) for stamp in stamps]
    usual = np.median(steps[steps < 1.5 * steps.min()])
    return [0, *np.cumsum(np.maximum(1, np.round(steps / usual))).astype(int).tolist()]


def _matched(
    folder: Path, images: Sequence[Path], cameras: Sequence[PosedCamera]
) -> tuple[list[Path], list[int]]:
    """The pictures named by a camera's stamp, and those cameras' places."""
    by_stem = {path.stem: path for path in images}
    kept = [place for place, camera in enumerate(cameras) if str(camera.stamp) in by_stem]
    if not kept:
        raise InputError(
            f"{folder} has {len(images)} pictures and {len(cameras)} cameras, and no picture is named by a "
            "camera's stamp."
        )
    return [by_stem[str(cameras[place].stamp)] for place in kept], kept


def read_cameras(path: Path) -> tuple[PosedCamera, ...]:
    """The cameras of a file in RealEstate10K's format.

    Raises:
        InputError: the file is missing, a line has not 19 finite numbers, a matrix is no rotation, or
            the focal length is in pixels where picture widths belong.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()[1:]
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from None
    return tuple(
        _parse_camera(line, f"{path}, line {n}") for n, line in enumerate(lines, start=2) if line.strip()
    )


def _parse_camera(line: str, where: str) -> PosedCamera:
    words = line.split()
    if len(words) != NUMBERS_PER_CAMERA:
        raise InputError(f"{where} has {len(words)} numbers; a camera has {NUMBERS_PER_CAMERA}.")
    try:
        stamp, values = int(float(words[0])), np.array([float(word) for word in words[1:]])
    except (ValueError, OverflowError):
        raise InputError(f"{where} holds something that is not a finite number.") from None
    if not np.isfinite(values).all():
        raise InputError(f"{where} holds something that is not a finite number.")
    pose = values[6:].reshape(3, 4)
    rotation = pose[:, :3]
    astray = max(np.abs(rotation @ rotation.T - np.eye(3)).max(), abs(np.linalg.det(rotation) - 1))
    if astray > ROTATION_TOLERANCE:
        raise InputError(f"{where}: the matrix is no rotation (off by {astray:.2g}).")
    if values[:2].max() > 50:
        raise InputError(
            f"{where}: the focal length {values[0]:g} looks like pixels; it must be in picture widths."
        )
    return PosedCamera(stamp, tuple(values[:2].tolist()), tuple(values[2:4].tolist()), rotation, pose[:, 3])


def _read_points(path: Path, kept: Sequence[int], camera_count: int) -> SparsePoints | None:
    if not path.exists():
        return None
    stored = _read_arrays(path, ("xyz", "obs_image", "obs_point", "obs_uv"))
    image, point = stored["obs_image"].astype(np.int64), stored["obs_point"].astype(np.int64)
    xyz = stored["xyz"].astype(np.float64)
    for numbers, count in ((image, camera_count), (point, len(xyz))):
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < count:
            raise InputError(f"{path} speaks of pictures or points that do not exist.")
    place = np.full(camera_count, -1)
    place[list(kept)] = np.arange(len(kept))
    seen = place[image] >= 0
    return SparsePoints(xyz, place[image][seen], point[seen], stored["obs_uv"].astype(np.float64)[seen])


def _read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as file:
            missing = set(names) - set(file.files)
            if missing:
                raise InputError(f"{path} lacks {', '.join(sorted(missing))}.")
            return {name: file[name] for name in names}
    except (OSError, ValueError, zipfile.BadZipFile):
        raise InputError(f"{path} can't be read as an npz file.") from None


def _read_disparity(path: Path) -> np.ndarray | None:
    return _read_arrays(path, ("disparity",))["disparity"].astype(np.float32) if path.exists() else None


def visible_points(scene: Scene, image: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the points seen in a picture lie in it, and how far they are.

    Points whose stored place and geometry disagree in sign (behind the camera) are left out.

    Args:
        scene: any scene; without points the answer is empty.
        image: the picture's number.

    Returns:
        uv [N, 2] float64, px as observed, and z [N] float64 > 0, along the optical axis, scene units.
    """
    if scene.points is None:
        return np.zeros((0, 2)), np.zeros(0)
    seen = scene.points.image == image
    camera = scene.cameras[image]
    z = scene.points.xyz[scene.points.point[seen]] @ camera.R[2] + camera.t[2]
    return scene.points.uv[seen][z > 0], z[z > 0]


def project(scene: Scene, image: int, xyz: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """Where world points land in a picture of ``hw``.

    Args:
        xyz: [N, 3], world; in front of the camera.

    Returns:
        [N, 2] float64, px.
    """
    camera = scene.cameras[image]
    homogeneous = (xyz @ camera.R.T + camera.t) @ camera.matrix(hw).T
    return homogeneous[:, :2] / homogeneous[:, 2:]


def true_disparity(scene: Scene) -> np.ndarray | None:
    """Inverse depth of a stereo scene's first picture, up to scale, or None.

    The two cameras' centres differ in cx where the pair was cropped, so infinity does not lie at
    zero: f·b / z = d + (cx₁ − cx₀).

    Returns:
        [H, W] float32, > 0, NaN unknown.
    """
    if scene.stereo_disparity is None:
        return None
    width = scene.stereo_disparity.shape[1]
    infinity_px = (scene.cameras[1].centre[0] - scene.cameras[0].centre[0]) * width
    found = scene.stereo_disparity + np.float32(infinity_px)
    return np.where(found > 0, found, np.float32("nan"))
