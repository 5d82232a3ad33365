"""The renderer: at home it shows the photo, moved it obeys geometry, and nobody sees how it was shared out."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kinephoto.compiled import announcing
from kinephoto.errors import InputError
from kinephoto.measure.metrics import psnr
from kinephoto.scene import raster
from kinephoto.scene.camera import Camera, Pose
from kinephoto.scene.reference import FARTHEST_SUBPIXEL, SUBPIXELS
from kinephoto.scene.render import LARGEST_VIEW_PX, Renderer, cycle
from kinephoto.scene.values import Layer, View

HOME = Pose.identity()


def camera_of(hw: tuple[int, int]) -> Camera:
    """A focal length of 64 px keeps what is halved and doubled exact."""
    return Camera(64.0, (hw[1] / 2, hw[0] / 2), hw)


def at(x: float, y: float, z: float = 0.0) -> Pose:
    """view_from_world of a camera that has gone to (x, y, z)."""
    return Pose(torch.eye(3), torch.tensor([-x, -y, -z], dtype=torch.float64))


def turned(degrees: float, x: float, y: float, z: float) -> Pose:
    """The same, turned about the axis that points down and a little about the others."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    about_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return Pose(torch.from_numpy(about_y @ about_x), torch.tensor([x, y, z], dtype=torch.float64))


def noise(hw: tuple[int, int], seed: int = 0) -> torch.Tensor:
    return torch.rand(3, *hw, generator=torch.Generator().manual_seed(seed))


def layer_of(rgb: torch.Tensor, disparity: torch.Tensor, pose: Pose = HOME, alpha=None) -> Layer:
    hw = tuple(disparity.shape)
    alpha = torch.ones(hw, dtype=torch.bool) if alpha is None else alpha
    return Layer(rgb, disparity, alpha, camera_of(hw), pose)


def wall(hw: tuple[int, int] = (24, 32), disparity: float = 0.5) -> Layer:
    return layer_of(noise(hw), torch.full(hw, disparity))


def box_before_wall(hw: tuple[int, int] = (48, 64), near: float = 1.0, far: float = 0.25) -> Layer:
    """White noise: a near box in the middle of a far wall."""
    disparity = torch.full(hw, far)
    disparity[hw[0] // 3 : 2 * hw[0] // 3, hw[1] // 3 : 2 * hw[1] // 3] = near
    return layer_of(noise(hw), disparity)


def hills(hw: tuple[int, int], seed: int = 0) -> Layer:
    """Smooth colours on a smooth ground with a few cliffs."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 4, 7, 9, generator=generator)
    smooth = F.interpolate(coarse, hw, mode="bicubic", align_corners=False)[0].clamp(0, 1)
    disparity = 0.2 + 0.3 * smooth[3] + 0.5 * (smooth[3] > 0.6)
    return layer_of(smooth[:3].contiguous(), disparity.contiguous())


def fields(view: View) -> list[torch.Tensor]:
    found = (view.rgb, view.disparity, view.known, view.layer, view.coverage, view.beyond_first)
    return [field for field in found if field is not None]


def assert_same_view(view: View, other: View) -> None:
    assert len(fields(view)) == len(fields(other))
    for a, b in zip(fields(view), fields(other), strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b)


# At home.


@pytest.mark.parametrize("hw", [(1, 1), (2, 3), (48, 64), (61, 301)])
@pytest.mark.parametrize("sampling", ["nearest", "bilinear", "bicubic"])
def test_from_home_one_sees_the_photo_bit_for_bit_without_a_hole(hw, sampling):
    disparity = torch.rand(hw, generator=torch.Generator().manual_seed(1)) * 0.9 + 0.1
    view = Renderer([layer_of(noise(hw), disparity)]).render(camera_of(hw), HOME, sampling=sampling)
    assert torch.equal(view.rgb, noise(hw)) and view.known.all() and (view.layer == 0).all()
    # A quad's disparity at its middle is the mean of two corners that are means of up to four pixels
    # of one surface, which differ by at most 10 % each.
    assert (view.disparity / disparity - 1).abs().max() < 0.1


def test_from_home_a_real_camera_changes_nothing_either():
    camera = Camera.from_field_of_view((333, 517), 61.7)
    disparity = 0.1 + 0.9 * (torch.arange(333 * 517).reshape(333, 517) % 97 / 97)
    rgb = noise(camera.hw)
    layer = Layer(rgb, disparity, torch.ones(camera.hw, dtype=torch.bool), camera, HOME)
    view = Renderer([layer]).render(camera, HOME)
    assert torch.equal(view.rgb, rgb) and view.known.all()


def test_convention_the_world_is_the_photos_camera():
    stood_right = at(0.125, 0.0)
    layer = layer_of(noise((24, 32)), torch.full((24, 32), 0.5), stood_right)
    renderer = Renderer([layer])
    from_there = renderer.render(layer.camera, stood_right)
    assert torch.equal(from_there.rgb, layer.rgb), "view_from_world = layer_from_world: the layer itself"
    from_home = renderer.render(layer.camera, HOME)
    # 64 px · 1/8 · 0.5: what was seen from 1/8 farther right stands 4 px farther right.
    assert torch.equal(from_home.rgb[:, :, 4:], layer.rgb[:, :, :-4]) and not from_home.known[:, :4].any()


def test_convention_the_unknown_is_zero():
    layer = box_before_wall()
    renderer = Renderer([layer])
    for supersample in (1, 2):
        view = renderer.render(layer.camera, turned(4, -0.2, 0.1, 0.1), supersample=supersample)
        assert 0.05 < (~view.known).float().mean() < 0.9
        assert (view.rgb[:, ~view.known] == 0).all() and (view.disparity[~view.known] == 0).all()
        assert (view.layer[~view.known] == -1).all()
        assert (view.disparity[view.known] > 0).all() and (view.layer[view.known] == 0).all()
    hits = renderer.locate(layer.camera, turned(4, -0.2, 0.1, 0.1))
    unknown = hits.layer < 0
    assert all((field[unknown] == 0).all() for field in (hits.u, hits.v, hits.disparity))


def test_convention_known_is_coverage_of_the_centre():
    layer = wall()
    renderer = Renderer([layer])

    def known_after(shift_px: float) -> torch.Tensor:
        return renderer.coverage(layer.camera, at(shift_px / 32, 0))

    assert known_after(0.25).all(), "the last pixels' centres are still covered"
    assert not known_after(0.75)[:, -1].any() and known_after(0.75)[:, :-1].all()
    # Decided in whole numbers: a right edge exactly on the centre does not cover it, a left one does.
    assert not known_after(0.5)[:, -1].any() and known_after(-0.5).all()


# Moved.


@pytest.mark.parametrize(("right", "down"), [(4, 0), (-3, 0), (0, 5), (2, -7)])
@pytest.mark.parametrize("sampling", ["nearest", "bilinear", "bicubic"])
def test_a_wall_moves_like_an_integer_shift(right, down, sampling):
    layer = wall()
    view = Renderer([layer]).render(layer.camera, at(right / 32, down / 32), sampling=sampling)
    shifted, stays = torch.zeros_like(layer.rgb), torch.zeros(layer.camera.hw, dtype=torch.bool)
    to = (slice(max(0, -down), 24 - max(0, down)), slice(max(0, -right), 32 - max(0, right)))
    source = (slice(max(0, down), 24 - max(0, -down)), slice(max(0, right), 32 - max(0, -right)))
    shifted[:, to[0], to[1]], stays[to] = layer.rgb[:, source[0], source[1]], True
    assert torch.equal(view.known, stays) and torch.equal(view.rgb, shifted)
    assert (view.disparity[stays] == 0.5).all()


def test_a_step_forward_enlarges_and_makes_nearer():
    layer = wall((24, 32), 0.5)
    # z falls from 2 to 1: everything is twice as large, and each pixel becomes 2 × 2.
    view = Renderer([layer]).render(layer.camera, at(0, 0, 1), sampling="nearest")
    middle = layer.rgb[:, 6:18, 8:24]
    assert torch.equal(view.rgb, middle.repeat_interleave(2, 1).repeat_interleave(2, 2))
    assert view.disparity == pytest.approx(1.0)


def test_nearer_wins():
    layer = box_before_wall()
    colours = (layer.disparity == 1).float().expand(3, -1, -1).contiguous()
    view = Renderer([layer_of(colours, layer.disparity)]).render(layer.camera, at(0.125, 0))
    # The box moves 64 · 1/8 · 1 = 8 px to the left, its wall 2; it hides what was left of it.
    box = torch.zeros(48, 64, dtype=torch.bool)
    box[16:32, 21 - 8 : 42 - 8] = True
    assert torch.equal(view.rgb, box.float().expand(3, -1, -1))
    hole = torch.zeros(48, 64, dtype=torch.bool)
    hole[16:32, 42 - 8 : 42 - 2], hole[:, 62:] = True, True
    assert torch.equal(view.known, ~hole)


def test_the_order_of_layers_is_seen_only_where_they_are_equally_near():
    near, far = hills((40, 50), 0), layer_of(noise((40, 50)), torch.full((40, 50), 0.35))
    pose = turned(3, 0.05, -0.02, -0.1)
    one, other = (Renderer(layers).render(near.camera, pose) for layers in ([near, far], [far, near]))
    assert torch.equal(one.rgb, other.rgb) and torch.equal(one.disparity, other.disparity)
    assert torch.equal(one.layer[one.known], 1 - other.layer[one.known])
    assert set(one.layer.unique().tolist()) == {-1, 0, 1}
    twice = Renderer([near, near]).render(near.camera, pose)
    assert twice.layer.max() == 0


@pytest.mark.parametrize("direction", [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, 0, -1), (1, -1, 0.5)])
def test_holes_grow_with_the_way(direction):
    layer = box_before_wall((96, 128))
    renderer = Renderer([layer])
    holes = [
        int((~renderer.coverage(layer.camera, at(*(step * d for d in direction)))).sum())
        for step in np.linspace(0, 0.3, 9)
    ]
    assert holes[0] == 0 and holes[-1] > 200 and holes == sorted(holes)


@pytest.mark.parametrize(("scale", "most_that_differ"), [(0.25, 0), (8.0, 0), (3.0, 3)])
def test_scaling_scene_and_path_together_changes_nothing(scale, most_that_differ):
    layer, pose = hills((60, 80)), turned(3, 0.08, -0.03, -0.1)
    larger = layer_of(layer.rgb, layer.disparity / scale)
    view = Renderer([layer]).render(layer.camera, pose)
    same = Renderer([larger]).render(layer.camera, Pose(pose.R, pose.t * scale))
    # Powers of two round nothing; others move a vertex by 1e-6 px, which may flip its rounding to 1/256 px.
    differ = (view.known != same.known) | ((view.rgb - same.rgb).abs().amax(0) > 0.01)
    assert differ.sum() <= most_that_differ
    if most_that_differ == 0:
        assert torch.equal(view.rgb, same.rgb) and torch.equal(view.disparity, same.disparity * scale)


def test_mirror_in_mirror_out():
    layer, pose = hills((60, 80)), turned(3, 0.08, -0.03, -0.1)
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    mirrored = layer_of(layer.rgb.flip(-1).contiguous(), layer.disparity.flip(-1).contiguous())
    view = Renderer([layer]).render(layer.camera, pose)
    other = Renderer([mirrored]).render(layer.camera, Pose(flip @ pose.R @ flip, flip @ pose.t))
    # Quads are cut along the other diagonal and vertices rounded the other way: colours inside change a
    # little, and of 4800 pixels a few at silhouettes flip.
    assert (view.known != other.known.flip(-1)).sum() <= 15
    difference = (view.rgb - other.rgb.flip(-1)).abs().amax(0)[view.known & other.known.flip(-1)]
    assert difference.median() < 1e-3 and (difference > 0.05).float().mean() < 0.01


# A view of another size.


def test_a_finer_view_from_home_is_the_photo_enlarged():
    layer = box_before_wall()
    camera = layer.camera.resized((144, 192))
    view = Renderer([layer]).render(camera, HOME, sampling="nearest")
    assert torch.equal(view.rgb, layer.rgb.repeat_interleave(3, 1).repeat_interleave(3, 2))


def test_a_coarser_view_from_home_takes_the_pixels_in_the_middle():
    layer = box_before_wall()
    view = Renderer([layer]).render(layer.camera.resized((16, 21)), HOME, sampling="nearest")
    assert view.rgb.shape == (3, 16, 21) and view.known.all()
    layer = wall((24, 33))
    view = Renderer([layer]).render(layer.camera.resized((8, 11)), HOME, sampling="nearest")
    assert torch.equal(view.rgb, layer.rgb[:, 1::3, 1::3])


# Layers.


def test_pixels_that_do_not_exist_are_not_seen():
    layer = wall()
    alpha = torch.rand(24, 32, generator=torch.Generator().manual_seed(0)) > 0.5
    poisoned = torch.where(alpha, layer.rgb, torch.tensor(float("nan")))
    disparity = torch.where(alpha, layer.disparity, torch.tensor(0.0))
    view = Renderer([layer_of(poisoned, disparity, alpha=alpha)]).render(layer.camera, HOME)
    assert torch.equal(view.known, alpha) and torch.equal(view.rgb, torch.where(alpha, layer.rgb, 0.0))


def test_a_layer_behind_fills_the_holes_and_leaves_the_rest():
    front, pose = box_before_wall(), at(0.1, 0.05)
    behind = layer_of(noise((48, 64), 1), torch.full((48, 64), 0.2))
    alone = Renderer([front])
    both = alone.with_layer(behind)
    view, filled = alone.render(front.camera, pose), both.render(front.camera, pose)
    assert [len(r.layers) for r in (alone, both)] == [1, 2] and both.layers[1] is behind
    assert torch.equal(filled.rgb[:, view.known], view.rgb[:, view.known])
    assert torch.equal(filled.layer == 0, view.known) and filled.known.sum() > view.known.sum()
    assert_same_view(Renderer([front, behind]).render(front.camera, pose), filled)


def test_without_layers_nothing_is_known():
    view = Renderer([]).render(camera_of((5, 6)), HOME)
    assert not view.known.any() and (view.rgb == 0).all()


def test_coverage_and_locate_say_what_render_shows():
    layer = hills((60, 80))
    behind = layer_of(noise((60, 80)), torch.full((60, 80), 0.1))
    pose = turned(3, 0.08, -0.03, -0.1)
    renderer = Renderer([layer, behind])
    view = renderer.render(layer.camera, pose)
    assert torch.equal(renderer.coverage(layer.camera, pose), view.known)
    hits = renderer.locate(layer.camera, pose)
    assert torch.equal(hits.layer, view.layer) and torch.equal(hits.disparity, view.disparity)
    looked_up = renderer.sample([layer.rgb, behind.rgb], hits)
    assert torch.equal(looked_up.clamp(0, 1), view.rgb)


def test_masks_and_features_are_seen_as_colours_are():
    layers = [hills((40, 50)), layer_of(noise((30, 20)), torch.full((30, 20), 0.1))]
    renderer, pose = Renderer(layers), turned(3, 0.08, -0.03, -0.1)
    hits = renderer.locate(layers[0].camera, pose)
    bytes_of = [(layer.rgb[:2] * 255).to(torch.uint8) for layer in layers]
    for textures, sampling in ((bytes_of, "bilinear"), ([b.float() for b in bytes_of], "nearest")):
        seen = renderer.sample(textures, hits, sampling)
        assert seen.shape == (2, 40, 50) and seen.dtype == textures[0].dtype
        assert (seen[:, hits.layer < 0] == 0).all() and {0, 1} <= set(hits.layer.unique().tolist())
    for index, layer in enumerate(layers):
        mine = hits.layer == index
        own = torch.full(layer.disparity.shape, float(index + 1)).expand(5, -1, -1)
        others = [own if k == index else torch.zeros(5, *layers[k].disparity.shape) for k in (0, 1)]
        assert torch.equal(renderer.sample(others, hits)[0] > 0, mine)


# Nobody sees how the work was shared out.


@pytest.mark.parametrize("supersample", [1, 3])
def test_threads_and_bands_change_nothing(monkeypatch, supersample):
    layers = [hills((150, 90)), layer_of(noise((150, 90)), torch.full((150, 90), 0.15))]
    pose = turned(4, 0.1, 0.02, -0.1)

    def view(threads: int) -> View:
        return Renderer(layers, threads=threads).render(camera_of((150, 90)), pose, supersample=supersample)

    expected = view(1)
    for threads in (2, 5):
        assert_same_view(view(threads), expected)
    monkeypatch.setattr(raster, "BAND", 7)
    assert_same_view(view(2), expected)


def test_two_python_threads_may_draw_at_once():
    shared = Renderer([hills((150, 120))], threads=2)
    cameras = [camera_of((100 + 10 * k, 120)) for k in range(4)]
    jobs = [(camera, turned(3, 0.02 * k, 0.0, -0.05)) for k in range(4) for camera in cameras]

    def draw(job: tuple[Camera, Pose]) -> View:
        return shared.render(*job, supersample=2)

    expected = [draw(job) for job in jobs]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(draw, jobs))
    for a, b in zip(found, expected, strict=True):
        assert_same_view(a, b)


def test_a_forked_child_draws_with_threads_of_its_own():
    """Loaders of training data fork after the parent has drawn."""
    program = """
import os, torch
from kinephoto.scene.camera import Camera, Pose
from kinephoto.scene.render import Renderer
from kinephoto.scene.values import Layer
hw = (200, 64)
camera = Camera(64.0, (32.0, 100.0), hw)
layer = Layer(torch.rand(3, *hw), torch.ones(hw), torch.ones(hw, dtype=torch.bool), camera, Pose.identity())
def draw():
    return Renderer([layer], threads=3).render(camera, Pose.identity()).rgb
draw()
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(draw(), layer.rgb) else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    # A child that waits for threads it does not have would wait for ever.
    assert subprocess.run([sys.executable, "-c", program], timeout=100).returncode == 0


@pytest.mark.parametrize("device", [None, "cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("supersample", [1, 2])
def test_both_engines_draw_the_same(device, supersample):
    front, behind = hills((150, 90)), layer_of(noise((40, 30)), torch.full((40, 30), 0.15))
    pose, camera = turned(4, 0.1, 0.02, -0.1), camera_of((140, 100))
    other = Renderer([front], engine="torch", device=device).with_layer(behind)
    fast = Renderer([front, behind], engine="numba")
    assert (other.engine, fast.engine) == ("torch", "numba")
    assert_same_view(
        other.render(camera, pose, supersample=supersample),
        fast.render(camera, pose, supersample=supersample),
    )
    assert torch.equal(other.coverage(camera, pose), fast.coverage(camera, pose))


def test_the_torch_engine_draws_with_the_twin(monkeypatch):
    layer = wall()
    monkeypatch.setattr(raster, "draw_band", None)
    view = Renderer([layer], engine="torch").render(layer.camera, HOME)
    assert torch.equal(view.rgb, layer.rgb)


def test_whoever_waits_is_told_once_when_something_is_compiled():
    told = []
    fresh = numba.njit(lambda x: x + 1)
    with announcing(lambda: told.append("compiling")):
        fresh(1)
        fresh(1.0)
    assert told == ["compiling"]
    with announcing(lambda: told.append("again")):
        fresh(2)
    assert told == ["compiling"], "what is compiled already does not count"


# There and back.


def test_there_and_back_without_moving_is_the_photo():
    layer = box_before_wall()
    rgb, known = cycle(layer.rgb, layer.disparity, layer.camera, HOME)
    assert torch.equal(rgb, layer.rgb) and known.all()


def test_there_and_back_keeps_the_visible_bit_for_bit_and_knows_what_was_lost():
    layer = wall()
    rgb, known = cycle(layer.rgb, layer.disparity, layer.camera, at(5 / 32, 0))
    assert not known[:, :5].any() and known[:, 5:].all(), "5 px left the view on the way"
    assert torch.equal(rgb, torch.where(known, layer.rgb, 0.0))


def test_there_and_back_loses_what_the_near_hid():
    layer = box_before_wall()
    rgb, known = cycle(layer.rgb, layer.disparity, layer.camera, at(0.125, 0))
    lost = torch.zeros(48, 64, dtype=torch.bool)
    # The box moves 8 px to the left and its wall 2: it hides 6 px left of it, and 2 px leave the view.
    lost[16:32, 21 - 6 : 21], lost[:, :2] = True, True
    assert torch.equal(known, ~lost) and torch.equal(rgb, torch.where(known, layer.rgb, 0.0))


def test_there_and_back_is_nearly_the_photo_on_any_way():
    layer = hills((120, 160))
    for pose in (turned(2, 0.03, -0.02, 0.04), turned(-3, -0.05, 0.02, -0.05)):
        rgb, known = cycle(layer.rgb, layer.disparity, layer.camera, pose)
        assert 0.6 < known.float().mean() < 1
        # Smooth colours, interpolated twice; a wrong way back would score below 20 dB.
        assert psnr(rgb, layer.rgb, known) > 40


# What cannot be drawn is refused in one sentence.


@pytest.mark.parametrize("supersample", [0, 5])
def test_supersampling_has_bounds(supersample):
    with pytest.raises(InputError, match="must be from 1 to 4"):
        Renderer([wall()]).render(camera_of((4, 4)), HOME, supersample=supersample)


def test_an_unknown_sampling_method_is_refused():
    with pytest.raises(InputError, match="no sampling method 'cubic'; there are nearest, bilinear, bicubic"):
        Renderer([wall()]).render(camera_of((4, 4)), HOME, sampling="cubic")


def test_an_unknown_engine_is_refused():
    with pytest.raises(InputError, match="no rendering engine 'opengl'"):
        Renderer([wall()], engine="opengl")


def test_every_layer_needs_its_texture():
    renderer = Renderer([wall(), wall()])
    hits = renderer.locate(camera_of((4, 4)), HOME)
    with pytest.raises(InputError, match="1 textures for 2 layers"):
        renderer.sample([noise((24, 32))], hits)
    with pytest.raises(InputError, match="texture is"):
        renderer.sample([noise((24, 32)), noise((4, 4))], hits)


def test_no_threads_are_refused():
    with pytest.raises(InputError, match="given 0 threads"):
        Renderer([wall()], threads=0)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(InputError, match=f"no device '{device}' here"):
        Renderer([wall()], device=device)


def test_a_view_too_large_for_exact_coverage_is_refused():
    assert LARGEST_VIEW_PX == FARTHEST_SUBPIXEL / SUBPIXELS
    broad = layer_of(torch.zeros(3, 1, LARGEST_VIEW_PX), torch.ones(1, LARGEST_VIEW_PX))
    assert Renderer([broad]).coverage(broad.camera, HOME).all()
    with pytest.raises(InputError, match="The view is 1×32769 px"):
        Renderer([broad]).coverage(camera_of((LARGEST_VIEW_PX + 1, 1)), HOME)
    with pytest.raises(InputError, match="The view is 40000×2 px, supersampling included"):
        Renderer([broad]).render(camera_of((1, 20000)), HOME, supersample=2)


def test_as_many_threads_as_processors_where_python_cannot_tell_its_own(monkeypatch):
    import os

    monkeypatch.delattr(os, "sched_getaffinity")
    assert Renderer([wall()]).threads == os.cpu_count()


@pytest.mark.parametrize("wrong", ["rgb", "channels", "disparity", "alpha", "camera"])
def test_a_layers_parts_have_one_size(wrong):
    parts = {
        "rgb": torch.zeros(3, 4, 5),
        "disparity": torch.ones(4, 5),
        "alpha": torch.ones(4, 5, dtype=torch.bool),
        "camera": camera_of((4, 5)),
    }
    other = {
        "rgb": torch.zeros(3, 5, 4),
        "channels": torch.zeros(4, 4, 5),
        "disparity": torch.ones(3, 5),
        "alpha": torch.ones(4, 4, dtype=torch.bool),
        "camera": camera_of((8, 10)),
    }
    parts["rgb" if wrong == "channels" else wrong] = other[wrong]
    with pytest.raises(InputError, match="A layer"):
        Layer(**parts, pose=HOME)
