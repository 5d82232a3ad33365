from __future__ import annotations

import numpy as np
import pytest
import torch

from kinephoto.errors import InputError
from kinephoto.measure.methods import fills
from kinephoto.measure.metrics import psnr
from kinephoto.measure.scenes import PosedCamera, read_scene
from kinephoto.measure.views import (
    ViewPair,
    default_warp,
    evaluate_views,
    read_pairs,
    scaled_to_points,
    square_camera,
    summary,
    warped,
)
from kinephoto.scene.camera import Camera, Pose, projection
from kinephoto.scene.values import Layer, View

HW = (24, 32)


def nothing_moves(layer: Layer, camera: Camera, pose: Pose) -> View:
    """A renderer for tests: the layer as it is, its left third unknown."""
    known = torch.ones(layer.disparity.shape, dtype=torch.bool)
    known[:, : known.shape[1] // 3] = False
    index = torch.where(known, 0, -1).to(torch.int16)
    return View(layer.rgb * known, layer.disparity * known, known, index)


def turned(angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]) @ np.array(
        [[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]
    )


def test_convention_squashing_the_scene_equals_squashing_the_camera():
    rng = np.random.default_rng(0)
    source = PosedCamera(0, (0.5, 0.9), (0.51, 0.48), turned(0.1), rng.normal(size=3))
    target = PosedCamera(1, (0.55, 0.95), (0.5, 0.5), turned(-0.2), rng.normal(size=3))
    seen = {}

    def warp(layer: Layer, camera: Camera, pose: Pose) -> View:
        seen["matrix"] = projection(camera, pose @ layer.pose.inverse(), layer.camera)
        seen["disparity"] = layer.disparity
        return nothing_moves(layer, camera, pose)

    xyz = rng.uniform(-1, 1, (20, 3)) + [0, 0, 6]
    in_source = (xyz - source.t) @ source.R
    disparity = torch.full(HW, 0.25)
    warped(torch.zeros(3, *HW), disparity, source, target, warp)
    unit = 0.25 / float(seen["disparity"][0, 0])

    uvw = xyz @ source.matrix(HW).T
    pixels = np.column_stack([uvw[:, :2] / uvw[:, 2:], np.ones(20), 1 / xyz[:, 2] / unit])
    landed = pixels @ seen["matrix"].T
    expected = (in_source @ target.R.T + target.t) @ target.matrix(HW).T
    np.testing.assert_allclose(landed[:, :2] / landed[:, 2:], expected[:, :2] / expected[:, 2:], atol=1e-6)


def test_a_picture_that_is_not_squashed_needs_no_stretch():
    camera, stretch = square_camera(PosedCamera(0, (0.9, 1.2), (0.5, 0.5), np.eye(3), np.zeros(3)), (30, 40))
    assert camera.focal_px == pytest.approx(36)
    np.testing.assert_allclose(stretch, np.eye(3))


def test_the_right_disparity_comes_back_in_the_scenes_units(write_tiny_scene, tmp_path):
    xyz = write_tiny_scene(tmp_path / "posed-tiny")
    # All points on one slanted plane, so that a disparity map can be exact: 1/z = a + b u.
    uv = 30.0 * xyz[:, :2] / xyz[:, 2:] + np.array([16.0, 12.0])
    inverse = 0.1 + 0.004 * uv[:, 0]
    flat = np.column_stack([(uv - [16.0, 12.0]) / 30.0 / inverse[:, None], 1 / inverse])
    with np.load(tmp_path / "posed-tiny" / "points.npz") as file:
        stored = dict(file)
    np.savez(tmp_path / "posed-tiny" / "points.npz", **(stored | {"xyz": flat}))
    # Twice as wide as the stored picture, to be sure that places are scaled along their own axis.
    column = (torch.arange(64) + 0.5) / 2
    relative = (3.0 * (0.1 + 0.004 * column) - 0.2).expand(24, 64).contiguous()
    found = scaled_to_points(relative, read_scene(tmp_path / "posed-tiny"), 0)
    np.testing.assert_allclose(found[0].numpy(), 0.1 + 0.004 * column.numpy(), rtol=1e-4)


def plane_seen_by(camera: PosedCamera, hw: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """rgb and disparity of a painted, slanted plane z = 4 + x / 2, exact at every pixel's centre."""
    rows, columns = np.mgrid[: hw[0], : hw[1]] + 0.5
    rays = np.stack([columns, rows, np.ones(hw)], axis=-1) @ np.linalg.inv(camera.matrix(hw)).T
    origin, rays = -camera.R.T @ camera.t, rays @ camera.R
    normal = np.array([-0.5, 0.0, 1.0])
    reach = (4 - origin @ normal) / (rays @ normal)
    x, y = (origin[axis] + reach * rays[..., axis] for axis in (0, 1))
    rgb = np.stack([np.sin(3 * x), np.sin(4 * y + 1), np.sin(2 * (x + y))]) * 0.4 + 0.5
    return torch.from_numpy(rgb).float(), torch.from_numpy(1 / reach).float()


def test_exact_depth_alone_gives_the_right_picture_of_a_plane():
    hw = (96, 96)
    source = PosedCamera(0, (0.6, 1.0), (0.5, 0.5), np.eye(3), np.zeros(3))
    target = PosedCamera(1, (0.6, 1.0), (0.5, 0.5), turned(0.05), np.array([0.3, 0.1, -0.2]))
    rgb, disparity = plane_seen_by(source, hw)
    true, _ = plane_seen_by(target, hw)
    view = warped(rgb, disparity, source, target, default_warp())
    assert view.known.float().mean() > 0.7
    assert psnr(view.rgb, true, view.known) > 45


def test_every_bundled_pair_has_both_targets():
    pairs = read_pairs("re10k")
    assert len(pairs) == len(set(pairs)) == 14
    for scene in {pair.scene for pair in pairs}:
        assert {pair.name for pair in pairs if pair.scene == scene} == {"t5", "t10"}


def test_an_unknown_list_of_pairs_is_refused(tmp_path):
    with pytest.raises(InputError, match="neither a known list"):
        read_pairs("re11k")
    (tmp_path / "list.csv").write_text("scene,source\na,0\n")
    with pytest.raises(InputError, match="must have the columns"):
        read_pairs(tmp_path / "list.csv")


@pytest.fixture
def view() -> tuple[torch.Tensor, View]:
    """A dark near thing on the right, a bright far one on the left, a hole between them."""
    rgb, disparity = torch.full((3, 9, 12), 0.8), torch.full((9, 12), 0.2)
    rgb[:, :, 8:], disparity[:, 8:] = 0.1, 1.0
    known = torch.ones(9, 12, dtype=torch.bool)
    known[:, 4:8] = False
    return rgb, View(rgb * known, disparity * known, known, torch.where(known, 0, -1).to(torch.int16))


@pytest.mark.parametrize("fill", [fills.nearest, fills.farther_side, fills.telea])
def test_a_fill_leaves_the_known_bit_for_bit(view, fill):
    source, seen = view
    filled = fill(source, seen)
    assert torch.equal(filled[:, seen.known], seen.rgb[:, seen.known])
    assert (filled[:, ~seen.known] > 0).all()


def test_the_farther_side_never_brings_the_foreground(view):
    source, seen = view
    assert torch.allclose(fills.farther_side(source, seen)[:, :, 4:8], torch.tensor(0.8))
    assert torch.allclose(fills.nearest(source, seen)[:, :, 7], torch.tensor(0.1))


def test_a_view_without_anything_known_is_the_source(view):
    source, seen = view
    nothing = torch.zeros_like(seen.known)
    empty = View(seen.rgb * 0, seen.disparity * 0, nothing, seen.layer)
    for fill in (fills.nearest, fills.farther_side):
        assert torch.equal(fill(source, empty), source)


def test_scores_tell_the_seen_from_the_holes(write_tiny_scene, tmp_path):
    write_tiny_scene(tmp_path / "posed-tiny")
    scene = read_scene(tmp_path / "posed-tiny")
    pairs = [ViewPair("posed-tiny", 0, 1, "t1")]
    scores = evaluate_views(
        lambda rgb: torch.linspace(0, 1, 32).expand(HW).contiguous(),
        {"posed-tiny": scene},
        pairs,
        {"copy": fills.source_copied, "w-nearest": fills.nearest},
        nothing_moves,
        hw=None,
    )
    tables = summary(scores)
    # The tiny scene's two pictures are the same, so only filled holes can be wrong.
    assert tables["w-nearest"]["t1"]["ssim_visible"]["mean"] > tables["w-nearest"]["t1"]["ssim_hole"]["mean"]
    assert tables["copy"]["t1"]["ssim"] == {
        "mean": 1.0,
        "ci95": pytest.approx(np.nan, nan_ok=True),
        "clips": 1,
    }
    assert tables["copy"]["t1"]["hole_share"]["mean"] == pytest.approx(10 / 32)
