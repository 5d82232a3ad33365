"""Three rasterisers, one set of rules: the slow one, the fast one and the one in torch, through the same tests.

A quad's corners have u, v in {0, 1} and a disparity each, and a matrix is 3 × 4: with the right numbers a
quad lands anywhere, exactly. Vertices land at x - 1/2 pixel, so that pixel (0, 0) has its centre at x = 1/2.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from kinephoto.scene import raster, reference, twin
from kinephoto.scene.camera import Camera, Pose, projection
from kinephoto.scene.mesh import CHUNK, SEGMENT, Mesh, corner_mesh
from kinephoto.scene.reference import FARTHEST_SUBPIXEL, LARGEST_FRACTION, SUBPIXELS
from kinephoto.scene.values import Hits

FARTHEST_PX = FARTHEST_SUBPIXEL / SUBPIXELS

UPPER_TRIANGLE = np.add.outer(np.arange(4), np.arange(4)) < 3
"""What triangle (0, 1, 2) of a quad of 4 × 4 pixels covers; centres on the diagonal are the other's."""


@pytest.fixture(params=["reference", "raster", "twin"])
def rasterize(request):
    """Each of the three in turn."""
    return {"reference": reference, "raster": raster, "twin": twin}[request.param].rasterize


@pytest.fixture(params=["raster", "twin", pytest.param("twin on cuda", marks=pytest.mark.gpu)])
def fast_rasterize(request):
    """Those that are judged by the reference."""
    if request.param == "twin on cuda":
        return partial(twin.rasterize, device="cuda")
    return {"raster": raster, "twin": twin}[request.param].rasterize


def assert_same(found: Hits, expected: Hits, case: object) -> None:
    """Equal to the last bit: every rule says in which order numbers are rounded."""
    for field in ("layer", "disparity", "u", "v"):
        a, b = getattr(found, field).cpu(), getattr(expected, field)
        assert torch.equal(a, b), f"{case}: {field} differs at {(a != b).nonzero().tolist()[:5]}"


def mesh_of(corners: np.ndarray, exists: np.ndarray | None = None) -> Mesh:
    """A mesh with given corners [H, 4, W], every quad torn from its neighbours."""
    height, _, width = corners.shape
    exists = np.ones((height, width), bool) if exists is None else exists
    seamless = np.zeros((height, -(-width // SEGMENT)), bool)
    nearest, farthest = np.zeros((2, height, -(-width // CHUNK)), np.float32)
    for j in range(height):
        for c in range(nearest.shape[1]):
            part = slice(c * CHUNK, (c + 1) * CHUNK)
            there = corners[j, :, part][:, exists[j, part]]
            if there.size:
                nearest[j, c], farthest[j, c] = there.max(), there.min()
    return Mesh(np.ascontiguousarray(corners), exists, seamless, nearest, farthest)


def quad(*disparities: float) -> Mesh:
    """One quad with four corners: top left, top right, bottom left, bottom right."""
    return mesh_of(np.float32(disparities or (1, 1, 1, 1)).reshape(1, 4, 1))


def affine(x: tuple, y: tuple) -> np.ndarray:
    """The matrix that lands (u, v, 1, d) at px (x · them, y · them) and leaves the disparity alone."""
    return np.array([x, y, (0, 0, 1, 0)], np.float64)


def placed(x0: float, x1: float, y0: float, y1: float) -> np.ndarray:
    """The matrix that lays a quad's sides at x0, x1, y0, y1, px."""
    return affine((x1 - x0, 0, x0, 0), (0, y1 - y0, y0, 0))


def covered(hits: Hits) -> np.ndarray:
    return hits.layer.numpy() >= 0


# What random scenes are made of, for the comparisons.


def turned(about_y: float, about_z: float) -> np.ndarray:
    c, s = np.cos(about_y), np.sin(about_y)
    around_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    c, s = np.cos(about_z), np.sin(about_z)
    return around_y @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def scene_seen(
    random: np.random.Generator, disparities: list, exists: list, view: Camera, pose: Pose
) -> tuple:
    """Meshes, projections and view size of layers that all stand at home."""
    meshes, projections = [], []
    for values, there in zip(disparities, exists, strict=True):
        camera = Camera(0.9 * values.shape[1], (values.shape[1] / 2, values.shape[0] / 2), values.shape)
        meshes.append(corner_mesh(values.astype(np.float32), there))
        projections.append(projection(view, pose, camera))
    return meshes, projections, view.hw


def random_scene(kind: str, seed: int) -> tuple:
    """A few small layers, a view of another size and a pose, of one kind of difficulty."""
    random = np.random.default_rng(seed)
    count = int(random.integers(2, 5)) if "layers" in kind else 1
    sizes = [tuple(int(n) for n in random.integers(1, 12, 2)) for _ in range(count)]
    disparities = [0.5 + 0.05 * random.random(hw) for hw in sizes]
    if kind in ("torn", "layers", "alpha"):
        disparities = [0.1 + random.random(hw) for hw in sizes]
    if kind == "equal layers":
        sizes = sizes[:1] * count
        disparities = [random.choice([0.25, 0.5, 1.0], sizes[0])] * count
    exists = [
        random.random(hw) > (0.4 if kind in ("alpha", "equal layers", "layers") else -1) for hw in sizes
    ]
    hw = tuple(int(n) for n in random.integers(1, 24, 2))
    focal_px = random.choice([0.3, 1.0, 1.7, 2.5]) * 0.9 * sizes[0][1]
    rotation, shift = turned(random.normal(0, 0.2), 0.0), random.normal(0, 0.3, 3)
    if kind == "at home":
        hw, focal_px, rotation, shift = sizes[0], 0.9 * sizes[0][1], np.eye(3), np.zeros(3)
    if kind == "half pixels":
        hw, focal_px, rotation = sizes[0], 0.9 * sizes[0][1], np.eye(3)
        shift = np.array([random.integers(-4, 5) / focal_px, random.integers(-4, 5) / focal_px, 0])
        disparities = [np.full(sizes[0], 0.5)]
    if kind == "upside down":
        rotation = turned(0.1, random.uniform(0, 2 * np.pi))
    if kind == "from behind":
        rotation = turned(np.pi + random.normal(0, 0.3), 0.0)
        shift = np.array([0, 0, 4.0])
    if kind == "near plane":
        rotation, shift = turned(random.normal(0, 0.8), 0.0), np.array([0, 0, -2.5 * random.random()])
    if kind == "huge":
        focal_px, shift = 10.0 ** random.uniform(2, 6), random.normal(0, 0.01, 3)
    view = Camera(focal_px, (hw[1] / 2, hw[0] / 2), hw)
    pose = Pose(torch.from_numpy(rotation), torch.from_numpy(shift))
    return scene_seen(random, disparities, exists, view, pose)


KINDS = (
    "smooth", "torn", "alpha", "layers", "equal layers", "at home", "half pixels", "upside down", "from behind",
    "near plane", "huge",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_fast_and_slow_agree_to_the_last_bit(fast_rasterize, kind):
    pixels = 0
    for seed in range(12):
        scene = random_scene(kind, seed)
        expected = reference.rasterize(*scene)
        pixels += int(covered(expected).sum())
        assert_same(fast_rasterize(*scene), expected, (kind, seed))
    assert pixels == 0 if kind == "from behind" else pixels > 100, "the scenes show something, from the front"


def test_fast_and_slow_agree_on_rows_longer_than_a_segment(fast_rasterize):
    random = np.random.default_rng(0)
    disparity = 0.5 + 0.02 * random.random((3, SEGMENT + 40))
    disparity[:, 200:300] += 0.4
    exists = random.random(disparity.shape) > 0.02
    exists[1, SEGMENT:] = False
    view = Camera(150.0, (60.0, 1.0), (3, 100))
    scene = scene_seen(
        random, [disparity], [exists], view, Pose(torch.eye(3), torch.tensor([0.05, 0.0, -0.1]))
    )
    assert_same(fast_rasterize(*scene), reference.rasterize(*scene), "long rows")


@pytest.mark.parametrize("farther", [0.5, 0.98, 1 - 1e-6, 1.0, 1 + 1e-6, 1.02])
def test_fast_and_slow_agree_on_layers_that_hide_each_other(fast_rasterize, farther):
    random = np.random.default_rng(1)
    first = 0.5 + 0.004 * random.random((9, SEGMENT + 70))
    first[:, 100:170] -= 0.3
    second = farther * first
    second[4, 60:64] = 0.9
    exists = random.random((2, *first.shape)) > 0.004
    view = Camera(200.0, (60.0, 5.0), (11, 130))
    pose = Pose(torch.from_numpy(turned(0.03, 0.02)), torch.tensor([0.07, 0.01, -0.2]))
    scene = scene_seen(random, [first, second, 0.7 * first], [*exists, exists[0]], view, pose)
    expected = reference.rasterize(*scene)
    assert {0, 1} <= set(expected.layer.unique().tolist())
    assert_same(fast_rasterize(*scene), expected, farther)


@pytest.mark.parametrize(("factor", "is_left_out"), [(0.5, True), (0.999, True), (1.0, False), (1.5, False)])
def test_what_lies_behind_all_that_is_drawn_is_left_out(factor, is_left_out):
    flat = np.full((4, 2 * CHUNK), 0.5)
    view = Camera(0.9 * 2 * CHUNK, (CHUNK, 2.0), (4, 2 * CHUNK))
    both = [np.ones(flat.shape, bool)] * 2
    meshes, projections, hw = scene_seen(
        np.random.default_rng(0), [flat, factor * flat], both, view, Pose.identity()
    )
    bounds = [raster.bounds_of(*each) for each in zip(meshes, projections, strict=True)]
    band = raster.Band(hw[1])
    raster.draw_band(meshes[:1], projections[:1], bounds[:1], reference.NEAR, 0, hw[0], band)

    def may_be_seen(over_others: bool) -> bool:
        return raster._may_be_seen(
            bounds[1].chunks,
            1,
            1,
            np.float32(hw[1] - 1),
            np.float32(0),
            np.float32(3),
            over_others,
            0,
            band.disparity,
        )

    assert may_be_seen(False)
    assert may_be_seen(True) != is_left_out
    band.disparity[2, CHUNK + 5] = -1  # a hole through which anything is seen
    assert may_be_seen(True)


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_bands_of_any_height_draw_the_same(rows):
    random = np.random.default_rng(0)
    disparity = 0.2 + 0.8 * (random.random((40, 40)) > 0.9)
    view = Camera(60.0, (40.0, 70.0), (140, 80))
    pose = Pose(torch.from_numpy(turned(0.1, 0.3)), torch.tensor([0.1, 0.1, -0.2]))
    meshes, projections, hw = scene_seen(random, [disparity], [np.ones((40, 40), bool)], view, pose)
    whole = raster.rasterize(meshes, projections, hw)
    bounds = [raster.bounds_of(meshes[0], projections[0])]
    band = raster.Band(hw[1], rows)
    for first in range(0, hw[0], rows):
        count = min(rows, hw[0] - first)
        raster.draw_band(meshes, projections, bounds, reference.NEAR, first, count, band)
        part = slice(first, first + count)
        hit = band.layer[:count] >= 0
        assert np.array_equal(band.layer[:count], whole.layer[part])
        for field in ("u", "v", "disparity"):
            assert np.array_equal(getattr(band, field)[:count][hit], getattr(whole, field)[part].numpy()[hit])


def test_a_batch_is_its_pictures_one_by_one():
    random = np.random.default_rng(0)
    disparities = 0.3 + 0.1 * random.random((3, 8, 9)).astype(np.float32)
    meshes = [corner_mesh(d) for d in disparities]
    camera = Camera(9.0, (4.5, 4.0), (8, 9))
    poses = [Pose(torch.eye(3), torch.from_numpy(random.normal(0, 0.3, 3))) for _ in range(3)]
    matrices = [projection(camera, pose, camera) for pose in poses]
    corners = torch.from_numpy(np.stack([m.corners for m in meshes]))
    exists = torch.ones(3, 8, 9, dtype=torch.bool)
    batch = twin.rasterize_batch([(corners, exists, torch.from_numpy(np.stack(matrices)))], (8, 9))
    for b in range(3):
        single = Hits(batch.u[b], batch.v[b], batch.disparity[b], batch.layer[b])
        assert_same(single, reference.rasterize([meshes[b]], [matrices[b]], (8, 9)), b)


def test_the_twin_lists_its_candidates_in_parts_of_bounded_size(monkeypatch):
    scenes = [random_scene(kind, 3) for kind in ("layers", "huge", "smooth")]
    listed = []
    draw_part = twin._draw_part

    def counting(vertices, quads, box, *others):
        x0, x1, y0, y1 = box
        counts = (x1 - x0 + 1) * (y1 - y0 + 1)
        listed.append((int(counts.sum()), int(counts[0])))
        draw_part(vertices, quads, box, *others)

    monkeypatch.setattr(twin, "CANDIDATES_AT_ONCE", 40)
    monkeypatch.setattr(twin, "_draw_part", counting)
    for scene in scenes:
        assert_same(twin.rasterize(*scene), reference.rasterize(*scene), "in parts")
    assert len(listed) > 5
    # Parts are cut where the count passes a multiple of 40, so a part's first quad may reach over.
    assert all(candidates - first < 40 for candidates, first in listed)


# Rules 1 and 2: what becomes of vertices.


@pytest.mark.parametrize(
    ("from_edge", "is_seen"), [(0.0, True), (0.25, True), (0.498, True), (0.5, False), (0.75, False)]
)
def test_a_pixel_is_covered_up_to_its_centre(rasterize, from_edge, is_seen):
    left = covered(rasterize([quad()], [placed(from_edge, 3, 0, 3)], (3, 3)))
    right = covered(rasterize([quad()], [placed(0, 3 - from_edge, 0, 3)], (3, 3)))
    assert left[:, 1:].all() and right[:, :2].all()
    # Exactly on the centre a left edge covers and a right one does not.
    assert (left[:, 0] == (is_seen or from_edge == 0.5)).all() and (right[:, 2] == is_seen).all()


def test_vertices_are_rounded_to_a_256th_of_a_pixel(rasterize):
    just_left, just_right = 0.5 + 1 / 513, 0.5 + 1 / 511
    assert covered(rasterize([quad()], [placed(just_left, 2, 0, 1)], (1, 1))).all()
    assert not covered(rasterize([quad()], [placed(just_right, 2, 0, 1)], (1, 1))).any()


def test_a_triangle_with_a_vertex_at_or_behind_the_near_plane_is_dropped(rasterize):
    # w = 4 - 3 d, so that the corner of disparity 1 ends at z = w / d = 1 and that of 4/3 at z = 0.
    matrix = np.array([(4, 0, 0, 0), (0, 4, 0, 0), (0, 0, 4, -3)], np.float64)
    whole = covered(rasterize([quad(1, 1, 1, 1)], [matrix], (4, 4)))
    assert whole.all()
    without_first = covered(rasterize([quad(4 / 3, 1, 1, 1)], [matrix], (4, 4)))
    assert np.array_equal(without_first, ~UPPER_TRIANGLE), "triangle (3, 2, 1) is left"
    without_last = covered(rasterize([quad(1, 1, 1, 4 / 3)], [matrix], (4, 4)))
    assert np.array_equal(without_last, UPPER_TRIANGLE), "triangle (0, 1, 2) is left"
    assert not covered(rasterize([quad(1, 4 / 3, 1, 1)], [matrix], (4, 4))).any(), "both share corner 1"


@pytest.mark.parametrize(("near", "is_seen"), [(0.99, True), (1.0, False), (1.01, False)])
def test_the_near_plane_itself_is_not_seen(rasterize, near, is_seen):
    hits = rasterize([quad(1, 1, 1, 1)], [placed(0, 2, 0, 2)], (2, 2), near)
    assert (covered(hits) == is_seen).all()


def test_what_lies_behind_the_camera_is_not_seen(rasterize):
    mirrored_through_the_camera = -placed(-4, 0, -4, 0)
    assert not covered(rasterize([quad()], [mirrored_through_the_camera], (4, 4))).any()


def test_vertices_beyond_exact_numbers_are_dropped(rasterize):
    # Half a pixel is what vertices land before x, half a 256th is for the rounding.
    limit = FARTHEST_PX + 0.5 - 0.5 / SUBPIXELS
    for far, is_seen in ((limit - 2 / SUBPIXELS, True), (limit + 2 / SUBPIXELS, False)):
        for matrix in (
            placed(0, far, 0, 2),
            placed(0, 2, 0, far),
            placed(-far + 1, 2, 0, 2),
            placed(0, 2, -far + 1, 2),
        ):
            assert (covered(rasterize([quad()], [matrix], (2, 2))) == is_seen).all(), far


def test_only_the_triangles_of_a_dropped_vertex_are_dropped(rasterize):
    # Corner 3 has disparity 2 and flies off to the right and down; the others stay.
    matrix = affine((4, 0, -1e6, 1e6), (0, 4, -1e6, 1e6))
    seen = covered(rasterize([quad(1, 1, 1, 2)], [matrix], (4, 4)))
    assert np.array_equal(seen, UPPER_TRIANGLE)


# Rule 3: faces.


@pytest.mark.parametrize(
    "matrix",
    [placed(4, 0, 0, 4), placed(0, 4, 4, 0), affine((0, 4, 0, 0), (4, 0, 0, 0))],
    ids=["mirrored left to right", "upside down", "transposed"],
)
def test_back_faces_are_not_seen(rasterize, matrix):
    assert not covered(rasterize([quad()], [matrix], (4, 4))).any()


def test_a_surface_turned_around_twice_is_seen(rasterize):
    assert covered(rasterize([quad()], [placed(4, 0, 4, 0)], (4, 4))).all()


@pytest.mark.parametrize(
    "matrix",
    [
        placed(1.5, 1.5, 0, 4),
        placed(0, 4, 1.5, 1.5),
        placed(1.5, 1.5, 1.5, 1.5),
        affine((4, 4, 0, 0), (4, 4, 0, 0)),
    ],
    ids=["upright line", "level line", "point", "slanting line"],
)
def test_triangles_without_area_cover_nothing(rasterize, matrix):
    assert not covered(rasterize([quad()], [matrix], (4, 4))).any()


def test_a_bent_quad_shows_the_half_that_faces_the_camera(rasterize):
    # Corner 3 is folded over the diagonal onto corner 0: its triangle is seen from behind.
    fold = affine((4, 0, 4, -4), (0, 4, 4, -4))
    assert np.array_equal(covered(rasterize([quad(1, 1, 1, 2)], [fold], (4, 4))), UPPER_TRIANGLE)


# Rule 4: shared edges.


@pytest.mark.parametrize("seed", range(4))
def test_quads_that_share_edges_cover_every_pixel_once(rasterize, seed):
    random = np.random.default_rng(seed)
    # Steps of 1/4 pixel: many edges and corners pass through pixel centres.
    step = 3 * np.eye(2) + random.integers(-2, 3, (2, 2)) / 4
    matrix = affine((*step[0], random.integers(-8, 3) / 2, 0), (*step[1], -1.5, 0))
    corners = np.ones((4, 4, 4), np.float32)
    times = np.zeros((10, 10), int)
    for j in range(4):
        for i in range(4):
            only = np.zeros((4, 4), bool)
            only[j, i] = True
            times += covered(rasterize([mesh_of(corners, only)], [matrix], (10, 10)))
    together = covered(rasterize([mesh_of(corners)], [matrix], (10, 10)))
    assert times.max() == 1 and np.array_equal(times == 1, together)
    assert np.array_equal(together, inside_parallelogram(4 * step, matrix[:2, 2], 10))


def inside_parallelogram(sides: np.ndarray, corner: np.ndarray, count: int) -> np.ndarray:
    """Pixels whose centre lies inside, in whole quarter pixels; the top and left sides belong to it."""
    y, x = np.mgrid[:count, :count] + 0.5
    # A hair to the right and, much less, down: what lies on a left or top side moves in, on others out.
    points = np.stack([x - corner[0] + 1e-4, y - corner[1] + 1e-7]).reshape(2, -1)
    shares = np.linalg.solve(sides, points)
    return ((shares > 0) & (shares < 1)).all(0).reshape(count, count)


def test_a_corner_where_four_quads_meet_is_covered_once(rasterize):
    corners = np.ones((2, 4, 2), np.float32)
    owners = []
    for j, i in np.ndindex(2, 2):
        only = np.zeros((2, 2), bool)
        only[j, i] = True
        seen = covered(rasterize([mesh_of(corners, only)], [placed(-0.5, 0.5, -0.5, 0.5)], (1, 1)))
        owners += [(j, i)] if seen.any() else []
    assert owners == [(1, 1)], "that whose top left corner it is"


# Rule 5: what a pixel shows.


def test_a_huge_quad_is_interpolated_all_over_the_view(rasterize):
    hits = rasterize([quad()], [placed(0, 60, 0, 40)], (40, 60))
    rows, columns = np.mgrid[:40, :60] + 0.5
    assert covered(hits).all()
    # Fractions of areas in float32, cut below 1 as LARGEST_FRACTION says.
    expected = [np.minimum(a, LARGEST_FRACTION) for a in (columns / 60, rows / 40)]
    np.testing.assert_allclose(hits.u, expected[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(hits.v, expected[1], rtol=0, atol=1e-6)


def test_disparity_is_linear_on_the_screen_and_positions_are_not(rasterize):
    # A floor: its right side has twice the disparity of the left one.
    camera = Camera(64.0, (0.0, 0.0), (1, 64))
    left, right = 0.5, 1.0
    matrix = np.array([(32, 0, 0, 32), (0, 64, 0, 0), (-0.5, 0, 1, 0)], np.float64)
    hits = rasterize([quad(left, left, left, left)], [matrix], camera.hw)
    x = np.arange(64) + 0.5
    seen = covered(hits)[0]
    # z falls from 1 to 1/2 of what it was: x = (32 u + 16) / (1 - u / 2), disparity 0.5 / (1 - u / 2).
    u = (x - 16) / (32 + x / 2)
    assert np.array_equal(seen, (u >= 0) & (u < 1))
    # Corners are snapped to 1/256 px, and u changes by up to 1/32 a pixel: 2e-4 with both corners off.
    np.testing.assert_allclose(hits.u[0, seen], u[seen], rtol=0, atol=2e-4)
    np.testing.assert_allclose(hits.disparity[0, seen], left / (1 - u[seen] / 2), rtol=0, atol=2e-4)
    steps = np.diff(hits.disparity[0, seen].numpy())
    np.testing.assert_allclose(steps, steps.mean(), rtol=0, atol=1e-6)
    assert hits.disparity.max() <= right


def test_hits_stay_inside_their_quad_and_in_front(rasterize):
    for seed in range(6):
        hits = rasterize(*random_scene("torn", seed))
        seen = covered(hits)
        assert (hits.disparity.numpy()[seen] > 0).all()
        for axis in (hits.u, hits.v):
            share = axis.numpy()[seen] % 1
            # u = 11.9995 in float32 is off by half of 2⁻²⁰.
            assert (share <= LARGEST_FRACTION + 1e-6).all()


def test_where_nothing_is_hit_all_is_zero(rasterize):
    hits = rasterize([quad()], [placed(1, 3, 1, 3)], (5, 6))
    seen = covered(hits)
    assert seen.sum() == 4
    for field in (hits.u, hits.v, hits.disparity):
        assert (field.numpy()[~seen] == 0).all() and field.dtype == torch.float32
    assert (hits.layer.numpy()[~seen] == -1).all() and hits.layer.dtype == torch.int16


def test_a_view_of_no_layers_is_empty(rasterize):
    assert not covered(rasterize([], [], (3, 4))).any()


def test_a_layer_without_pixels_is_not_seen(rasterize):
    empty = mesh_of(np.ones((2, 4, 2), np.float32), np.zeros((2, 2), bool))
    hits = rasterize([empty, quad()], [placed(0, 2, 0, 2), placed(0, 4, 0, 4)], (4, 4))
    assert (hits.layer == 1).all()


# Rule 6: who is seen.


# Sides are powers of two, so that shares of areas, and with them disparities, are exact.


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_nearer_wins_in_any_order(rasterize, order):
    disparities, places = (0.25, 0.5, 1.0), (placed(0, 8, 0, 8), placed(2, 6, 2, 6), placed(3, 5, 3, 5))
    hits = rasterize([quad(*[disparities[k]] * 4) for k in order], [places[k] for k in order], (8, 8))
    expected = np.full((8, 8), 0.25, np.float32)
    expected[2:6, 2:6], expected[3:5, 3:5] = 0.5, 1
    assert np.array_equal(hits.disparity, expected)
    assert [order[k] for k in hits.layer[4, [0, 2, 4]].tolist()] == [0, 1, 2]


def test_of_equal_layers_the_first_is_seen(rasterize):
    places = [placed(2, 4, 0, 4), placed(0, 4, 0, 4), placed(0, 8, 0, 4)]
    hits = rasterize([quad(), quad(), quad()], places, (4, 8))
    assert hits.layer[0].tolist() == [1, 1, 0, 0, 2, 2, 2, 2]


@pytest.mark.parametrize("down", [False, True])
def test_of_equal_quads_the_first_is_seen(rasterize, down):
    # With w = d every disparity in the view is 1, and the corner (u, v) lands at 8 (u, v) / d: quad 0
    # of d = 1 covers [0, 8]², its neighbour of d = 2 half of it again.
    matrix = np.array([(8, 0, 0, 0), (0, 8, 0, 0), (0, 0, 0, 1)], np.float64)
    disparity = np.float32([1, 2])
    corners = disparity[:, None, None] if down else disparity[None, None]
    both = mesh_of(corners * np.ones((1, 4, 1), np.float32))
    second = mesh_of(both.corners, np.array([False, True]).reshape(both.exists.shape))
    assert covered(rasterize([second], [matrix], (8, 8))).sum() == 16
    hits = rasterize([both], [matrix], (8, 8))
    assert (hits.disparity == 1).all() and ((hits.v if down else hits.u) < 1).all()
