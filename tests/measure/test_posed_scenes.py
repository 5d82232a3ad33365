from __future__ import annotations

import numpy as np
import pytest

from kinephoto.errors import InputError
from kinephoto.measure.scenes import (
    project,
    read_scene,
    read_scenes,
    true_disparity,
    visible_points,
)

HW, FOCAL_PX = (24, 32), 30.0


def test_visible_points_have_the_depth_they_were_made_with(write_tiny_scene, tmp_path):
    xyz = write_tiny_scene(tmp_path / "posed-tiny")
    scene = read_scene(tmp_path / "posed-tiny")
    uv, z = visible_points(scene, 1)
    np.testing.assert_allclose(z, np.cos(0.1) * xyz[:, 2] - np.sin(0.1) * xyz[:, 0], rtol=1e-6)
    np.testing.assert_allclose(visible_points(scene, 0)[1], xyz[:, 2])
    # Nine printed digits and float64 in between: a thousandth of a pixel is far above rounding.
    np.testing.assert_allclose(project(scene, 1, xyz, HW), uv, atol=1e-3)


def test_a_point_behind_the_camera_is_not_visible(write_tiny_scene, tmp_path):
    folder = tmp_path / "posed-tiny"
    write_tiny_scene(folder)
    with np.load(folder / "points.npz") as file:
        stored = dict(file)
    stored["xyz"][3, 2] = -5.0
    np.savez(folder / "points.npz", **stored)
    uv, z = visible_points(read_scene(folder), 0)
    assert len(uv) == len(z) == 39
    assert (z > 0).all()


def test_stereo_disparity_is_focal_times_baseline_over_depth(write_tiny_scene, tmp_path):
    write_tiny_scene(tmp_path / "stereo-tiny", stereo=True)
    found = true_disparity(read_scene(tmp_path / "stereo-tiny"))
    np.testing.assert_allclose(FOCAL_PX / found.ravel()[[0, -1]], [3, 8], rtol=1e-6)


def test_a_folder_of_scenes_is_read_in_the_order_of_names(write_tiny_scene, tmp_path):
    for name in ("b-2", "a-1"):
        write_tiny_scene(tmp_path / name)
    assert [scene.name for scene in read_scenes(tmp_path)] == ["a-1", "b-2"]
    assert [scene.kind for scene in read_scenes(tmp_path, ["b-2"])] == ["b"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("0.500000000 0.500000000 0.000000000", "0.5 0.5", "18 numbers"),
        ("0.937500000", "nan", "not a finite number"),
        ("0.937500000", "600.0", "looks like pixels"),
        ("0.995004165 0.000000000 0.099833417", "2.0 0.0 0.1", "no rotation"),
    ],
)
def test_a_wrong_camera_is_refused_in_one_sentence(write_tiny_scene, tmp_path, old, new, says):
    folder = tmp_path / "posed-tiny"
    write_tiny_scene(folder)
    text = (folder / "cameras.txt").read_text()
    assert old in text
    (folder / "cameras.txt").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=says) as error:
        read_scene(folder)
    assert "cameras.txt" in str(error.value)


def test_a_missing_picture_is_counted(write_tiny_scene, tmp_path):
    write_tiny_scene(tmp_path / "posed-tiny")
    (tmp_path / "posed-tiny" / "images" / "001.png").unlink()
    with pytest.raises(InputError, match="1 pictures and 2 cameras, and no picture is named"):
        read_scene(tmp_path / "posed-tiny")


def test_pictures_named_by_stamps_find_their_cameras(write_tiny_scene, tmp_path):
    folder = tmp_path / "re10k-tiny"
    write_tiny_scene(folder)
    lines = (folder / "cameras.txt").read_text().splitlines()
    moved = [
        line.replace("0 ", "33000 ", 1) if line.startswith("0 ") else "66000 " + line[2:]
        for line in lines[1:]
    ]
    lost = "99000 " + lines[2][2:]
    (folder / "cameras.txt").write_text("\n".join([lines[0], *moved, lost]) + "\n")
    for old, new in (("000", "33000"), ("001", "99000")):
        (folder / "images" / f"{old}.png").rename(folder / "images" / f"{new}.png")
    scene = read_scene(folder)
    assert [path.stem for path in scene.images] == ["33000", "99000"]
    assert [camera.stamp for camera in scene.cameras] == [33000, 99000]
    assert scene.frames == (0, 2)
    # Points seen in the lost picture (the second camera) are forgotten, the others keep their picture.
    assert set(scene.points.image.tolist()) == {0}


def test_stamps_that_fall_are_refused(write_tiny_scene, tmp_path):
    write_tiny_scene(tmp_path / "posed-tiny")
    path = tmp_path / "posed-tiny" / "cameras.txt"
    first, *cameras = path.read_text().splitlines()
    path.write_text("\n".join([first, *reversed(cameras)]) + "\n")
    with pytest.raises(InputError, match=r"line 3: the stamps are not in rising order"):
        read_scene(tmp_path / "posed-tiny")


def test_a_single_picture_is_no_scene(write_tiny_scene, tmp_path):
    folder = tmp_path / "posed-tiny"
    write_tiny_scene(folder)
    (folder / "images" / "001.png").unlink()
    path = folder / "cameras.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:2]) + "\n")
    (folder / "points.npz").unlink()
    with pytest.raises(InputError, match="has 1 picture; source and target are two"):
        read_scene(folder)


def test_a_broken_file_of_points_is_named(write_tiny_scene, tmp_path):
    write_tiny_scene(tmp_path / "posed-tiny")
    (tmp_path / "posed-tiny" / "points.npz").write_bytes(b"no zip")
    with pytest.raises(InputError, match=r"points.npz can't be read"):
        read_scene(tmp_path / "posed-tiny")


def test_an_empty_folder_is_not_a_folder_of_scenes(tmp_path):
    with pytest.raises(InputError, match="holds no scene"):
        read_scenes(tmp_path)


@pytest.mark.shared
def test_real_points_land_within_a_pixel_of_where_they_were_seen(shared):
    for scene in read_scenes(shared / "data" / "multiview"):
        seen = scene.points.image == 1
        hw = tuple(scene.rgb(1).shape[1:])
        landed = project(scene, 1, scene.points.xyz[scene.points.point[seen]], hw)
        astray_px = np.linalg.norm(landed - scene.points.uv[seen], axis=1)
        # The points were kept where they reproject to less than one pixel; the median is .05 to .3.
        assert np.median(astray_px) < 0.5, scene.name
        assert astray_px.max() < 1.01, scene.name


@pytest.mark.shared
def test_real_stereo_disparity_agrees_with_triangulated_points(shared):
    for scene in read_scenes(shared / "data" / "multiview"):
        truth = true_disparity(scene)
        if truth is None:
            continue
        uv, z = visible_points(scene, 0)
        at_point = truth[uv[:, 1].astype(int), uv[:, 0].astype(int)]
        focal_px = scene.cameras[0].focal[0] * truth.shape[1]
        astray_px = np.abs(at_point - focal_px / z)
        # Matches and truth differ by .1 to .2 px in the middle; half a pixel would be another convention.
        assert np.nanmedian(astray_px) < 0.35, scene.name
