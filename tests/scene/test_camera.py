"""Cameras and poses: what the numbers mean, and that moving there and back is staying at home."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from kinephoto.errors import InputError
from kinephoto.scene.camera import Camera, Pose, projection

CAMERA = Camera(40.0, (16.0, 12.0), (24, 32))


def moved(x: float, y: float, z: float) -> Pose:
    """view_from_world of a camera that has gone to (x, y, z) without turning."""
    return Pose(torch.eye(3), torch.tensor([-x, -y, -z], dtype=torch.float64))


def any_pose(seed: int) -> Pose:
    random = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    return Pose(torch.from_numpy(rotation * np.linalg.det(rotation)), torch.from_numpy(random.normal(size=3)))


def matrix_of(pose: Pose) -> np.ndarray:
    """[4, 4]: the pose as one matrix, for checking sums by another way."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = pose.R.numpy(), pose.t.numpy()
    return matrix


def seen_at(camera: Camera, xyz_cam: tuple[float, float, float]) -> tuple[float, float]:
    """Where a point of the camera's frame lands, px."""
    x, y, w = camera.matrix @ xyz_cam
    return x / w, y / w


def carried(matrix: np.ndarray, u: float, v: float, disparity: float) -> tuple[float, float, float]:
    """Column, row and disparity in the other view."""
    x, y, w = matrix @ (u, v, 1.0, disparity)
    return x / w, y / w, disparity / w


def test_convention_axes_are_x_right_y_down_z_forward():
    u, v = seen_at(CAMERA, (0, 0, 2))
    assert (u, v) == CAMERA.centre_px, "the axis of z goes through the middle of the picture"
    assert seen_at(CAMERA, (1, 0, 2))[0] > u and seen_at(CAMERA, (1, 0, 2))[1] == v
    assert seen_at(CAMERA, (0, 1, 2))[1] > v and seen_at(CAMERA, (0, 1, 2))[0] == u
    one_forward = projection(CAMERA, moved(0, 0, 1), CAMERA)
    assert carried(one_forward, u, v, 0.5) == pytest.approx((u, v, 1.0)), "what was at z = 2 is at z = 1"


def test_convention_pixel_centres_are_at_half():
    camera = Camera.from_field_of_view((2, 4))
    assert camera.centre_px == (2.0, 1.0), "the middle of the picture is a corner of four pixels"
    rays = [np.linalg.solve(camera.matrix, (u + 0.5, 0.5, 1))[0] for u in range(4)]
    # Four equal steps around the axis; 1e-12 is for float64's rounding.
    assert rays == pytest.approx([k / camera.focal_px for k in (-1.5, -0.5, 0.5, 1.5)], abs=1e-12)


@pytest.mark.parametrize("scale", [0.25, 0.5, 3.0])
def test_convention_resizing_keeps_the_view(scale):
    other = CAMERA.resized((round(24 * scale), round(32 * scale)))
    for u, v in ((0, 0), (32, 0), (16, 12), (9.5, 24)):
        ray = np.linalg.solve(CAMERA.matrix, (u, v, 1.0))
        assert np.linalg.solve(other.matrix, (scale * u, scale * v, 1.0)) == pytest.approx(ray, abs=1e-12)


def test_resizing_to_a_rounded_aspect_keeps_the_longer_sides_angle_and_the_middle_in_the_middle():
    camera = Camera.from_field_of_view((683, 1024)).resized((341, 512))
    assert math.degrees(2 * math.atan(512 / 2 / camera.focal_px)) == pytest.approx(55.0)
    assert camera.centre_px == (256.0, 170.5)


def test_convention_hw_is_height_then_width():
    camera = Camera.from_field_of_view((3, 8))
    assert camera.hw == (3, 8) and camera.centre_px == (4.0, 1.5)
    assert camera.resized((6, 16)).hw == (6, 16)


@pytest.mark.parametrize("hw", [(480, 640), (640, 480), (512, 512)])
def test_the_longer_side_sees_the_angle_asked_for(hw):
    camera = Camera.from_field_of_view(hw, 70.0)
    assert math.degrees(2 * math.atan(max(hw) / 2 / camera.focal_px)) == pytest.approx(70.0)


def test_zooming_spreads_what_is_seen_from_the_middle():
    u, v = seen_at(CAMERA, (0.3, -0.2, 1))
    assert seen_at(CAMERA.zoomed(2), (0.3, -0.2, 1)) == pytest.approx((2 * u - 16, 2 * v - 12))


def test_convention_poses_chain_by_their_names():
    b_from_a, c_from_b = any_pose(1), any_pose(2)
    xyz_a = torch.tensor([0.3, -0.7, 2.0], dtype=torch.float64)
    xyz_b = b_from_a.R @ xyz_a + b_from_a.t
    c_from_a = c_from_b @ b_from_a
    expected = c_from_b.R @ xyz_b + c_from_b.t
    torch.testing.assert_close(c_from_a.R @ xyz_a + c_from_a.t, expected)


@pytest.mark.parametrize("seed", range(5))
def test_poses_compose_as_their_matrices_do(seed):
    first, second = any_pose(seed), any_pose(seed + 100)
    # Entries are of order 1: 1e-12 leaves float64 room for a few roundings.
    np.testing.assert_allclose(
        matrix_of(first @ second), matrix_of(first) @ matrix_of(second), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("seed", range(5))
def test_there_and_back_is_at_home(seed):
    pose = any_pose(seed)
    for home in (pose @ pose.inverse(), pose.inverse() @ pose):
        np.testing.assert_allclose(matrix_of(home), np.eye(4), rtol=0, atol=1e-12)


def test_the_identity_changes_no_pose():
    pose = any_pose(0)
    for same in (pose @ Pose.identity(), Pose.identity() @ pose):
        assert torch.equal(same.R, pose.R) and torch.equal(same.t, pose.t)


def test_convention_a_step_right_moves_the_near_left_most():
    step = 0.25
    matrix = projection(CAMERA, moved(step, 0, 0), CAMERA)
    shifts = [carried(matrix, 20.5, 7.5, disparity)[0] - 20.5 for disparity in (1.0, 0.5, 0.1)]
    assert shifts == pytest.approx([-CAMERA.focal_px * step * disparity for disparity in (1.0, 0.5, 0.1)])
    assert shifts[0] < shifts[1] < shifts[2] < 0


@pytest.mark.parametrize("seed", range(5))
def test_projection_is_the_way_through_space(seed):
    pose, target = any_pose(seed), Camera(55.0, (3.0, 8.0), (16, 6))
    u, v, disparity = 7.5, 3.5, 0.4
    xyz = np.linalg.solve(CAMERA.matrix, (u, v, 1.0)) / disparity
    x, y, z = pose.R.numpy() @ xyz + pose.t.numpy()
    expected = (*seen_at(target, (x, y, z)), 1 / z)
    assert carried(projection(target, pose, CAMERA), u, v, disparity) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_projecting_back_undoes_projecting(seed):
    pose, target = any_pose(seed), Camera(55.0, (3.0, 8.0), (16, 6))
    there = carried(projection(target, pose, CAMERA), 7.5, 3.5, 0.4)
    back = carried(projection(CAMERA, pose.inverse(), target), *there)
    assert back == pytest.approx((7.5, 3.5, 0.4), rel=1e-9)


def test_at_home_every_pixel_stays_with_its_disparity():
    matrix = projection(CAMERA, Pose.identity(), CAMERA)
    np.testing.assert_allclose(matrix, np.eye(3, 4), rtol=0, atol=1e-12)


@pytest.mark.parametrize("focal_px", [0.0, -3.0, math.nan, math.inf])
def test_a_focal_length_must_be_a_positive_number(focal_px):
    with pytest.raises(InputError, match="focal length is .* must be positive"):
        Camera(focal_px, (1.0, 1.0), (2, 2))


@pytest.mark.parametrize("hw", [(0, 5), (5, 0)])
def test_a_picture_has_pixels(hw):
    with pytest.raises(InputError, match="must be at least 1"):
        Camera(1.0, (1.0, 1.0), hw)


def test_a_pose_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"\[3, 3\] and t \[3\]; got \(4, 4\)"):
        Pose(torch.eye(4), torch.zeros(3))
    with pytest.raises(InputError, match=r"\(3, 1\)"):
        Pose(torch.eye(3), torch.zeros(3, 1))
