from __future__ import annotations

import numpy as np
import pytest
import torch

from kinephoto.errors import InputError
from kinephoto.measure.methods import fills
from kinephoto.measure.metrics import psnr
from kinephoto.measure.scenes import PosedCamera, read_scene
from kinephoto.measure.view_case import ViewCase, ViewPair
from kinephoto.measure.view_depth import estimated_depth
from kinephoto.measure.view_protocol import ViewProtocol, known_protocols, pairs_of, read_protocol
from kinephoto.measure.view_scale import BEST_OF, scaled
from kinephoto.measure.view_warp import default_warp, square_camera, warped
from kinephoto.measure.views import Tools, ViewFailure, cropped, measure_scene
from kinephoto.scene.camera import Camera, Pose, projection
from kinephoto.scene.depthnet import builtin_weights
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
    found = scaled(relative, read_scene(tmp_path / "posed-tiny"), 0, "affine")
    np.testing.assert_allclose(found[0].numpy(), 0.1 + 0.004 * column.numpy(), rtol=1e-4)


def test_a_file_of_the_built_in_weights_gives_exactly_the_built_in_depth(write_tiny_scene, tmp_path):
    write_tiny_scene(tmp_path / "posed-tiny")
    scene = read_scene(tmp_path / "posed-tiny")
    named, by_path = (estimated_depth(source)(scene, 0) for source in ("builtin", str(builtin_weights())))
    assert torch.equal(named, by_path)


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


def tools(protocol: ViewProtocol, **methods) -> Tools:
    """Measures with the renderer of this module and a slanted depth."""
    ramp = torch.linspace(0.2, 1, HW[1]).expand(HW).contiguous()
    return Tools(protocol, lambda scene, image: ramp, methods, {}, "none", warp=nothing_moves)


def copied(case: ViewCase) -> torch.Tensor:
    return case.source


def test_scores_tell_the_seen_from_the_holes(write_tiny_scene, tmp_path):
    write_tiny_scene(tmp_path / "posed-tiny")
    pair = ViewPair("posed-tiny", 0, 1, "t1")
    protocol = ViewProtocol(name="test", pairs=(pair,))
    methods = {"copy": copied, "w-nearest": lambda case: fills.nearest(case.source, case.view)}
    (found,) = measure_scene(tools(protocol, **methods), read_scene(tmp_path / "posed-tiny"), [pair])
    # The tiny scene's two pictures are the same, so only filled holes can be wrong.
    assert found.values["w-nearest"]["ssim_visible"] > found.values["w-nearest"]["ssim_hole"]
    assert found.values["copy"]["ssim"] == 1
    assert found.values["copy"]["psnr"] == 99
    assert found.hole_share == pytest.approx(10 / 32)
    assert found.distance == pytest.approx(np.linalg.norm([1, 0, 0]) * 0.2, rel=0.6)


def test_a_method_without_a_picture_fails_alone(write_tiny_scene, tmp_path):
    def refuses(case: ViewCase) -> torch.Tensor:
        raise InputError("this one can't")

    write_tiny_scene(tmp_path / "posed-tiny")
    pairs = [ViewPair("posed-tiny", 0, 1, "t1"), ViewPair("posed-tiny", 0, 7, "t7")]
    protocol = ViewProtocol(name="test", pairs=tuple(pairs))
    scene = read_scene(tmp_path / "posed-tiny")
    first, second = measure_scene(tools(protocol, copy=copied, other=refuses), scene, pairs)
    assert first.failures == {"other": "this one can't"}
    assert set(first.values) == {"copy"}
    assert isinstance(second, ViewFailure)
    assert "has 2 pictures, 0 and up; the pair asks for 7" in second.why


def test_pictures_of_two_sizes_are_refused(write_tiny_scene, tmp_path):
    from PIL import Image

    write_tiny_scene(tmp_path / "posed-tiny")
    Image.new("RGB", (20, 20)).save(tmp_path / "posed-tiny" / "images" / "001.png")
    pair = ViewPair("posed-tiny", 0, 1, "t1")
    run = measure_scene(
        tools(ViewProtocol(name="test", pairs=(pair,)), copy=copied),
        read_scene(tmp_path / "posed-tiny"),
        [pair],
    )
    (failure,) = run
    assert isinstance(failure, ViewFailure)
    assert "32 x 24 px, 001.png 20 x 20" in failure.why


def test_a_cropped_border_leaves_the_middle():
    picture = torch.arange(400.0).reshape(20, 20)
    assert torch.equal(cropped(picture, 0.05), picture[1:19, 1:19])
    assert cropped(picture, 0.0) is picture


def test_every_protocol_of_the_package_reads():
    assert {"re10k", "re10k-offsets", "mannequin", "stereo"} <= set(known_protocols())
    for name in known_protocols():
        assert read_protocol(name).name == name


def clip(tmp_path, stamps: list[int], name: str = "re10k-x"):
    """A scene of so many pictures that differ in their stamps only."""
    from PIL import Image

    folder = tmp_path / name
    (folder / "images").mkdir(parents=True)
    lines = ["https://example.org"]
    for place, stamp in enumerate(stamps):
        Image.new("RGB", (8, 8)).save(folder / "images" / f"{place:03d}.png")
        lines.append(f"{stamp} 0.9 0.9 0.5 0.5 0 0 1 0 0 {place} 0 1 0 0 0 0 1 0")
    (folder / "cameras.txt").write_text("\n".join(lines) + "\n")
    return read_scene(folder)


def test_targets_are_counted_in_frames_not_in_pictures(tmp_path):
    # Steps of 33 ms; the third and the eighth frame are lost.
    stamps = [33_333 * frame for frame in range(13) if frame not in (2, 7)]
    scene = clip(tmp_path, stamps)
    assert scene.frames == (0, 1, 3, 4, 5, 6, 8, 9, 10, 11, 12)
    named = {
        (pair.source, pair.target, pair.name) for pair in pairs_of(read_protocol("re10k"), {"re10k-x": scene})
    }
    assert named == {(0, 3, "t5"), (0, 7, "t10")}
    offsets = pairs_of(read_protocol("re10k-offsets"), {"re10k-x": scene})
    for pair in offsets:
        assert scene.frames[pair.target] - scene.frames[pair.source] == int(pair.name)
    assert len(offsets) == 6 + 2


def test_a_protocol_takes_its_kinds_or_else_all(tmp_path):
    scenes = {name: clip(tmp_path, list(range(6)), name) for name in ("re10k-a", "llff-b")}
    assert {pair.scene for pair in pairs_of(read_protocol("re10k"), scenes)} == {"re10k-a"}
    del scenes["re10k-a"]
    assert {pair.scene for pair in pairs_of(read_protocol("re10k"), scenes)} == {"llff-b"}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("re11k", None, "there are mannequin, re10k"),
        ("list.csv", "scene,source\na,0\n", "must have the columns"),
        ("list.csv", "scene,source,target,name\n", "holds no pair"),
        ("own.json", "{", "is not JSON"),
        ("own.json", '{"name": "own"}', "targets or pairs"),
        ("own.json", '{"name": "own", "targets": {"t": 0}}', "another frame"),
        ("own.json", '{"name": "own", "targets": {"t": 1}, "border": 1}', "border: Extra inputs"),
    ],
)
def test_a_protocol_that_is_none_is_refused(tmp_path, name, text, says):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=says):
        read_protocol(path if text is not None else name)


def test_best_of_20_finds_a_planted_scale(write_tiny_scene, tmp_path):
    write_tiny_scene(tmp_path / "posed-tiny")
    scene = read_scene(tmp_path / "posed-tiny")
    disparity = torch.rand(HW, generator=torch.Generator().manual_seed(0)) + 0.1
    found = scaled(
        disparity, scene, 0, "best-of-20", lambda tried: float((tried - 0.7 * disparity).abs().sum())
    )
    torch.testing.assert_close(found, 0.7 * disparity)
    assert len(BEST_OF) == 20
    assert torch.equal(scaled(disparity, scene, 0, "none"), disparity)


def test_scale_alone_keeps_infinity_at_infinity(write_tiny_scene, tmp_path):
    xyz = write_tiny_scene(tmp_path / "posed-tiny")
    scene = read_scene(tmp_path / "posed-tiny")
    flat = float(np.median(1 / xyz[:, 2]))
    found = scaled(torch.full(HW, 0.5), scene, 0, "scale")
    assert found.numpy() == pytest.approx(flat, rel=1e-4)


def test_the_scale_needs_points(tmp_path):
    scene = clip(tmp_path, [0, 1])
    with pytest.raises(InputError, match=r"re10k-x has 0 points .* or --scale none"):
        scaled(torch.ones(8, 8), scene, 0, "affine")


def test_a_stereo_pair_without_points_is_scaled_by_its_truth(write_tiny_scene, tmp_path):
    write_tiny_scene(tmp_path / "stereo-tiny", stereo=True)
    (tmp_path / "stereo-tiny" / "points.npz").unlink()
    scene = read_scene(tmp_path / "stereo-tiny")
    depth = np.linspace(3, 8, HW[0] * HW[1]).reshape(HW)
    relative = torch.from_numpy(5 / depth - 0.3).float()
    found = scaled(relative, scene, 0, "affine")
    np.testing.assert_allclose(found.numpy(), 1 / depth, rtol=1e-3)
