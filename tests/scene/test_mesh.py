"""The corner mesh: closed on surfaces, torn at depth edges, blind to the scene's scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kinephoto.errors import InputError
from kinephoto.scene.mesh import CHUNK, SEGMENT, corner_mesh, sharpen_edges, smooth_around
from kinephoto.scene.twin import corners_of

OFFSETS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Row and column of corner 0 to 3 from the pixel's top left point."""


def near_each_other(a: float, b: float) -> bool:
    a, b = np.float32(a), np.float32(b)
    return bool(max(a, b) <= np.float32(1.1) * min(a, b))


def stands_out(disparity: np.ndarray, exists: np.ndarray, a: tuple, b: tuple) -> bool:
    """The definition for measured depth, for two neighbours that exist."""
    height, width = disparity.shape
    way = (b[0] - a[0], b[1] - a[1])
    step = abs(disparity[a] - disparity[b])
    slope = np.float32(0)
    for end, beyond in ((a, (a[0] - way[0], a[1] - way[1])), (b, (b[0] + way[0], b[1] + way[1]))):
        if 0 <= beyond[0] < height and 0 <= beyond[1] < width and exists[beyond]:
            slope = max(slope, abs(disparity[end] - disparity[beyond]))
    farther, nearest = min(disparity[a], disparity[b]), disparity[exists].max()
    return bool(step > 0.02 * farther and step > np.float32(0.01 * nearest) and step > 2 * slope)


def slow_corner(
    disparity: np.ndarray, exists: np.ndarray, j: int, i: int, k: int, measured: bool = False
) -> np.float32:
    """The definition: who around the point can be reached from pixel (j, i), and their mean."""
    y, x = j + OFFSETS[k][0], i + OFFSETS[k][1]
    around = [(y - 1, x - 1), (y - 1, x), (y, x - 1), (y, x)]
    height, width = disparity.shape
    there = [(q, p) for q, p in around if 0 <= q < height and 0 <= p < width and exists[q, p]]
    reached, grown = {(j, i)}, True
    while grown:
        beside = [
            b
            for b in there
            for a in reached
            if abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1
            and near_each_other(disparity[a], disparity[b])
            and not (measured and stands_out(disparity, exists, a, b))
        ]
        grown = not reached.issuperset(beside)
        reached |= set(beside)
    return np.float32(sum(float(disparity[p]) for p in there if p in reached) / len(reached))


def random_scene(seed: int, hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Disparities of which about half of all neighbours are connected, a few pixels missing."""
    random = np.random.default_rng(seed)
    disparity = random.choice(np.float32([0.5, 0.53, 0.57, 0.62, 0.9]), hw)
    return disparity, random.random(hw) > 0.15


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize("hw", [(1, 1), (1, 7), (6, 1), (9, 11)])
@pytest.mark.parametrize("seed", range(4))
def test_a_corner_is_the_mean_of_those_that_its_owner_is_connected_to(hw, seed, measured):
    disparity, exists = random_scene(seed, hw)
    corners = corner_mesh(disparity, exists, measured=measured).corners
    for j, i in np.argwhere(exists):
        for k in range(4):
            assert corners[j, k, i] == slow_corner(disparity, exists, j, i, k, measured)


def test_measured_depth_tears_at_a_small_step_that_stands_out_and_a_networks_does_not():
    slope = 0.5 + 0.002 * np.arange(12, dtype=np.float32)
    step = slope + np.float32(0.03) * (np.arange(12) >= 6)
    for disparity in (np.tile(step, (5, 1)), np.tile(step[:, None], (1, 5))):
        across = disparity.shape[1] == 12
        for measured in (False, True):
            corners = corner_mesh(disparity, measured=measured).corners
            sides = (corners[:, 1, 5], corners[:, 0, 6]) if across else (corners[5, 2], corners[6, 0])
            assert np.array_equal(*sides) is not measured


@pytest.mark.parametrize(
    "row",
    [
        0.5 * 1.04 ** np.arange(12),  # a wall seen from the side: every step is large, none stands out
        np.where(np.arange(12) < 6, 0.9, 0.9 - 1 / 255),  # a step of an 8-bit map
        np.where(np.arange(12) < 6, 0.9, 0.9 * 0.985),  # a step of less than two hundredths
    ],
)
def test_measured_depth_stays_whole_on_slopes_and_where_steps_are_its_own_grain(row):
    disparity = np.tile(row.astype(np.float32), (4, 1))
    corners = corner_mesh(disparity, measured=True).corners
    assert np.array_equal(corners[:, 1, :-1], corners[:, 0, 1:])


@pytest.mark.parametrize("seed", range(4))
def test_the_twin_makes_the_same_corners(seed):
    scenes = [random_scene(10 * seed + b, (13, 17)) for b in range(3)]
    disparity, exists = (torch.from_numpy(np.stack(a)) for a in zip(*scenes, strict=True))
    batch = corners_of(disparity, exists).numpy()
    for b, scene in enumerate(scenes):
        at = np.broadcast_to(scene[1][:, None], (13, 4, 17))
        assert np.array_equal(batch[b][at], corner_mesh(*scene).corners[at])


def test_connected_neighbours_share_their_corners_and_others_do_not():
    disparity = np.float32([[0.5, 0.52, 1.0], [0.5, 0.52, 1.0]])
    corners = corner_mesh(disparity).corners
    assert np.array_equal(corners[:, 1, 0], corners[:, 0, 1]), "one surface: right corners are left corners"
    assert (corners[:, 1, 1] == np.float32(0.52)).all() and (corners[:, 0, 2] == 1).all(), "a tear"


def test_diagonal_neighbours_are_joined_only_by_way_of_others():
    disparity = np.float32([[0.5, 1.0], [2.0, 0.5]])
    assert corner_mesh(disparity).corners[0, 3, 0] == 0.5, "1 and 2 lie between"
    disparity = np.float32([[0.5, 0.54], [2.0, 0.58]])
    middle = corner_mesh(disparity).corners[0, 3, 0]
    assert middle == np.float32((0.5 + 0.54 + 0.58) / 3), "0.5 and 0.58 are joined by 0.54"


def test_a_plane_is_kept():
    rows, columns = np.mgrid[:20, :30]
    disparity = (0.5 + 0.004 * columns + 0.007 * rows).astype(np.float32)
    corners = corner_mesh(disparity).corners
    for k, (down, right) in enumerate(OFFSETS):
        at_points = 0.5 + 0.004 * (columns + right - 0.5) + 0.007 * (rows + down - 0.5)
        inner = (slice(1, -1), k, slice(1, -1))
        # Means of four float32 numbers near 0.6: 2e-7 is three roundings.
        np.testing.assert_allclose(corners[inner], at_points[1:-1, 1:-1], rtol=0, atol=2e-7)


def test_corners_scale_with_the_scene():
    disparity, exists = random_scene(0, (12, 12))
    at = np.broadcast_to(exists[:, None], (12, 4, 12))
    small, large = corner_mesh(disparity, exists).corners[at], corner_mesh(disparity * 64, exists).corners[at]
    assert np.array_equal(small * 64, large), "a power of two rounds nothing"


def test_a_large_tolerance_keeps_the_picture_in_one_piece():
    disparity, _ = random_scene(0, (12, 12))
    corners = corner_mesh(disparity, tolerance=1e6).corners
    assert np.array_equal(corners[:, 1, :-1], corners[:, 0, 1:])
    assert np.array_equal(corners[:-1, 2], corners[1:, 0])


@pytest.mark.parametrize("width", [1, SEGMENT, SEGMENT + 1, 2 * SEGMENT + 77])
def test_segments_know_whether_they_are_whole_and_chunks_how_deep_they_are(width):
    random = np.random.default_rng(width)
    disparity = np.full((40, width), 0.5, np.float32)
    exists = random.random(disparity.shape) > 0.001
    disparity[random.random(disparity.shape) > 0.998] = 1
    exists[3], exists[4, 1:] = False, False
    mesh = corner_mesh(disparity, exists)
    assert mesh.hw == (40, width)
    found = set()
    for j in range(40):
        for s in range(mesh.seamless.shape[1]):
            part = slice(s * SEGMENT, min(width, (s + 1) * SEGMENT))
            corners, there = mesh.corners[j, :, part], exists[j, part]
            beside = there[1:] & there[:-1]
            torn = (corners[[1, 3], :-1] != corners[[0, 2], 1:])[:, beside].any()
            assert mesh.seamless[j, s] == (not torn)
            found.add(bool(torn))
        for c in range(mesh.nearest.shape[1]):
            part = slice(c * CHUNK, (c + 1) * CHUNK)
            corners, there = mesh.corners[j, :, part], exists[j, part]
            if there.any():
                assert mesh.nearest[j, c] == corners[:, there].max()
                assert mesh.farthest[j, c] == corners[:, there].min()
            else:
                assert mesh.nearest[j, c] == 0
    assert width == 1 or found == {True, False}, "the scene has both kinds"


def test_what_does_not_exist_may_have_any_disparity():
    disparity, exists = random_scene(0, (9, 9))
    poisoned = np.where(exists, disparity, np.float32(np.nan))
    mesh, other = corner_mesh(disparity, exists), corner_mesh(poisoned, exists)
    assert np.array_equal(mesh.corners, other.corners) and np.isfinite(mesh.corners).all()


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_an_existing_pixel_needs_a_disparity(value):
    disparity = torch.full((4, 5), 0.5)
    disparity[1, 2] = value
    with pytest.raises(InputError, match="1 pixels of the layer have no positive, finite disparity"):
        corner_mesh(disparity)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"A disparity map is \[H, W\]; got \(1, 4, 5\)"):
        corner_mesh(torch.ones(1, 4, 5))
    with pytest.raises(InputError, match=r"\(4, 5\), its alpha \(5, 4\)"):
        corner_mesh(torch.ones(4, 5), torch.ones(5, 4, dtype=torch.bool))


def soft_step(scale: float = 1.0) -> torch.Tensor:
    """A far wall and a near one, and five pixels on the way between them."""
    return scale * torch.tensor([0.2] * 8 + [0.25, 0.4, 0.6, 0.8, 0.95] + [1.0] * 8).repeat(9, 1)


@pytest.mark.parametrize(("window", "times"), [(3, 5), (5, 2), (7, 1)])
def test_a_soft_step_becomes_a_hard_one(window, times):
    sharp = sharpen_edges(soft_step(), window, times)
    assert sorted(sharp.unique().tolist()) == [pytest.approx(0.2), 1.0]
    rises = (sharp[:, 1:] - sharp[:, :-1]) > 0
    assert (rises.sum(1) == 1).all(), "one step per row"
    mesh = corner_mesh(sharp)
    assert set(np.unique(mesh.corners).tolist()) == set(sharp.unique().tolist()), "no quad is stretched"


def test_a_pixel_on_the_way_goes_to_the_side_that_is_nearer_as_a_ratio():
    # 0.4 is 2 times 0.2 and 1 is 2.5 times 0.4; 0.5 is nearer to 1 though not by difference.
    for middle, side in ((0.4, 0.2), (0.5, 1.0)):
        sharp = sharpen_edges(torch.tensor([[0.2, middle, 1.0]]))
        assert torch.equal(sharp, torch.tensor([[0.2, side, 1.0]]))


def test_a_wall_and_a_gentle_slope_stay_as_they_are():
    wall = torch.full((9, 9), 0.3)
    # Across a window of 5 the slope rises by 4 times 2 %, less than the 10 % that make an edge.
    slope = (0.2 * 1.02 ** torch.arange(60.0)).repeat(9, 1)
    for surface in (wall, slope, slope.T.contiguous()):
        assert torch.equal(sharpen_edges(surface, 5, 2), surface)


def test_sharpening_is_blind_to_scale():
    assert torch.equal(sharpen_edges(soft_step(1 / 64), 5, 2) * 64, sharpen_edges(soft_step(), 5, 2))


def test_sharpening_invents_no_disparity_and_leaves_its_input_alone():
    disparity = torch.rand(30, 30, generator=torch.Generator().manual_seed(0)) + 0.1
    before = disparity.clone()
    sharp = sharpen_edges(disparity, 3, 2)
    assert set(sharp.flatten().tolist()) <= set(disparity.flatten().tolist())
    assert torch.equal(disparity, before)


@pytest.mark.parametrize("window", [0, 1, 2, 4])
def test_a_window_has_a_middle(window):
    with pytest.raises(InputError, match="must be odd and at least 3"):
        sharpen_edges(torch.ones(5, 5), window)


@pytest.mark.parametrize("radius", [1, 2])
def test_smooth_around_looks_at_the_whole_neighbourhood(radius):
    disparity, exists = random_scene(1, (20, 20))
    disparity[:12] = 0.5
    exists[:10] = True
    found = smooth_around(disparity, exists, radius)
    for j in range(20):
        for i in range(20):
            part = (slice(max(0, j - radius), j + radius + 1), slice(max(0, i - radius), i + radius + 1))
            near = near_each_other(disparity[part].max(), disparity[part].min())
            assert found[j, i] == (exists[part].all() and near)
    assert found.any() and not found.all()
