"""What a scene file shows is what the renderer shows; no triangle spans a depth edge, no crack opens."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import kinephoto as kp
from kinephoto.errors import InputError
from kinephoto.scene.camera import Camera, Pose
from kinephoto.scene.render import Renderer
from kinephoto.scene.values import Disparity, Photo
from kinephoto.scene.world import World
from kinephoto.studio import export, surface, viewer
from kinephoto.studio.build import start_world
from kinephoto.studio.export import PAINTED_FARTHER, save_scene
from kinephoto.studio.surface import DISPARITY_TOLERANCE, surface_of

trimesh = pytest.importorskip("trimesh", reason="reads the files back: pip install 'kinephoto[export]'")

SIDE = 112
GLTF_FROM_OURS = np.array([1.0, -1.0, -1.0])


def scene_depth(side: int = SIDE) -> Disparity:
    """A person's outline, slightly round, before a ground that goes away."""
    v, u = np.mgrid[0:side, 0:side] / side
    inside = 1 - ((u - 0.45) / 0.28) ** 2 - ((v - 0.75) / 0.6) ** 2
    values = np.where(inside > 0, 0.75 + 0.25 * inside, 0.12 + 0.15 * v)
    return Disparity(torch.from_numpy(values.astype(np.float32)), metric=True)


def two_planes(side: int = 96) -> Disparity:
    values = torch.full((side, side), 0.1)
    values[30:-30, 20:-40] = 1.0
    return Disparity(values, metric=True)


def noise(side: int = 96) -> Photo:
    rough = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(5))
    rgb = torch.nn.functional.interpolate(rough, (side, side), mode="bilinear")[0].contiguous()
    return Photo(rgb, Camera.from_field_of_view((side, side)))


@pytest.fixture(scope="module")
def world(example_photo_once: Path) -> World:
    photo = kp.read_photo(example_photo_once)
    move = kp.path("circle", amount=0.05)
    return kp.build_world(photo, move, size=SIDE, depth=scene_depth(), painter="classical", threads=1)


@pytest.fixture(scope="module")
def example_photo_once() -> Path:
    return Path(__file__).resolve().parents[2] / "examples" / "astronaut.jpg"


def draw(triangles: Iterable[np.ndarray], camera: Camera, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """A few lines of z-buffer, the judge: [M, 3, 3 + C] corners in our axes with C values each.

    Returns the values [H, W, C] and the disparity [H, W], 0 where nothing is.
    """
    height, width = camera.hw
    buffer, values = np.zeros(camera.hw), None
    for corners in triangles:
        xyz = corners[..., :3] @ pose.R.numpy().T + pose.t.numpy()
        values = np.zeros((height, width, corners.shape[2] - 3)) if values is None else values
        x, y = (camera.focal_px * xyz[..., k] / xyz[..., 2] + camera.centre_px[k] for k in (0, 1))
        for px, py, inverse, carried in zip(x, y, 1 / xyz[..., 2], corners[..., 3:], strict=True):
            left, right = max(0, int(px.min() - 0.5)), min(width, int(px.max() + 1.5))
            top, bottom = max(0, int(py.min() - 0.5)), min(height, int(py.max() + 1.5))
            if right <= left or bottom <= top:
                continue
            v, u = np.mgrid[top:bottom, left:right] + 0.5
            twice = (px[1] - px[0]) * (py[2] - py[0]) - (px[2] - px[0]) * (py[1] - py[0])
            if twice <= 0:  # seen from behind
                continue
            b = ((u - px[0]) * (py[2] - py[0]) - (px[2] - px[0]) * (v - py[0])) / twice
            c = ((px[1] - px[0]) * (v - py[0]) - (u - px[0]) * (py[1] - py[0])) / twice
            weights = np.stack([1 - b - c, b, c], -1)
            near = weights @ inverse
            box = np.s_[top:bottom, left:right]
            wins = (weights.min(-1) >= -1e-6) & (near > buffer[box])
            true = weights * inverse / near[..., None]
            values[box] = np.where(wins[..., None], true @ carried, values[box])
            buffer[box] = np.where(wins, near, buffer[box])
    return values, buffer


def textured(scene) -> list[np.ndarray]:
    """Of each mesh, corners [M, 3, 6]: place in our axes, column and row on its texture, number of the texture."""
    found = []
    for number, mesh in enumerate(scene.geometry.values()):
        picture = mesh.visual.material.baseColorTexture
        uv = mesh.visual.uv * [1, -1] + [0, 1]  # trimesh counts from the bottom
        where = uv * [picture.width, picture.height]
        rows = np.column_stack([mesh.vertices * GLTF_FROM_OURS, where, np.full(len(where), number)])
        found.append(rows[mesh.faces][:, ::-1])  # clockwise in our axes' pictures
    return found


def looked_up(scene, values: np.ndarray) -> np.ndarray:
    """[H, W, 3] in [0, 1], the textures' colours, bilinear."""
    import cv2

    pictures = [
        np.asarray(m.visual.material.baseColorTexture.convert("RGB")) for m in scene.geometry.values()
    ]
    column, row, number = (np.ascontiguousarray(values[..., k], dtype=np.float32) for k in range(3))
    seen = np.zeros((*number.shape, 3))
    for index, picture in enumerate(pictures):
        colours = cv2.remap(
            picture, column - 0.5, row - 0.5, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        seen = np.where((np.round(number) == index)[..., None], colours / 255, seen)
    return seen


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((one - other) ** 2)))


@pytest.fixture(scope="module")
def glb(world: World, tmp_path_factory):
    target = tmp_path_factory.mktemp("glb") / "out.glb"
    report = save_scene(world, target)
    assert report.kind == "glb" and report.bytes == target.stat().st_size
    scene = trimesh.load_scene(target)
    assert report.triangles == sum(len(mesh.faces) for mesh in scene.geometry.values())
    assert report.layers == len(scene.geometry) == len(world.layers) > 1
    return scene


@pytest.fixture(scope="module")
def at_rest(glb, world: World) -> tuple[np.ndarray, np.ndarray]:
    return draw(textured(glb), world.camera, Pose.identity())


@pytest.mark.parametrize("time", [None, 0.2])
def test_the_glb_shows_what_the_renderer_shows(glb, world: World, at_rest, time: float | None) -> None:
    camera, pose = (world.camera, Pose.identity()) if time is None else world.trajectory.view(time)
    view = Renderer(world.layers, threads=1).render(camera, pose, sampling="bilinear")
    values, disparity = at_rest if time is None else draw(textured(glb), camera, pose)
    both = (disparity > 0) & view.known.numpy()
    assert (disparity > 0).sum() >= view.known.sum() - 0.001 * SIDE**2
    ours = view.rgb.numpy().transpose(1, 2, 0)
    # JPEG of quality 92 costs about 38 dB here, triangles and the bit that paintings are set back the rest.
    assert psnr(looked_up(glb, values)[both], ours[both]) > 30
    apart = np.abs(disparity - view.disparity.numpy())[both]
    assert np.percentile(apart, 98) < 2 * DISPARITY_TOLERANCE + PAINTED_FARTHER * 0.3


def test_the_photo_lies_within_tolerance_and_before_everything_painted(world: World, at_rest) -> None:
    values, disparity = at_rest
    assert (np.round(values[..., 2]) == 0).mean() > 0.998
    # One quad per pixel is the truth; at a tear a pixel's middle may show the other surface.
    exact = Renderer(world.layers[:1], threads=1).render(world.camera, Pose.identity()).disparity.numpy()
    assert np.percentile(np.abs(disparity - exact), 99.5) < 2 * DISPARITY_TOLERANCE


def test_convention_gltf_is_y_up_and_the_splats_y_down(glb, world: World, tmp_path: Path) -> None:
    """The near person stands left of the middle and below it."""
    photo = next(iter(glb.geometry.values()))
    near = photo.vertices[-photo.vertices[:, 2] < 1.2]
    assert len(near) and (photo.vertices[:, 2] < 0).all()
    assert near[:, 0].mean() < 0 and near[:, 1].mean() < 0
    save_scene(world, tmp_path / "out.splat.ply")
    splats = fields_of(tmp_path / "out.splat.ply")
    near = splats["z"] < 1.2
    assert (splats["z"] > 0).all() and splats["x"][near].mean() < 0 and splats["y"][near].mean() > 0


def test_the_glb_holds_the_photos_camera_and_is_well_formed(world: World, tmp_path: Path) -> None:
    save_scene(world, tmp_path / "out.glb")
    data = (tmp_path / "out.glb").read_bytes()
    magic, version, length, text, kind = np.frombuffer(data[:20], "<u4")
    assert data[:4] == b"glTF" and (version, length, kind) == (2, len(data), 0x4E4F534A) and magic
    content = json.loads(data[20 : 20 + text])
    lens = content["cameras"][0]["perspective"]
    assert lens["aspectRatio"] == pytest.approx(1) and np.degrees(lens["yfov"]) == pytest.approx(55)
    assert content["buffers"][0]["byteLength"] == len(data) - 28 - text
    assert all(view["byteOffset"] % 4 == 0 for view in content["bufferViews"])
    assert all("KHR_materials_unlit" in material["extensions"] for material in content["materials"])


def test_no_triangle_spans_a_depth_edge(tmp_path: Path) -> None:
    start = start_world(noise(), kp.path("still"), depth=two_planes())
    for name in ("out.glb", "out.ply"):
        save_scene(start, tmp_path / name)
        mesh = trimesh.load_mesh(tmp_path / name, process=False)
        depths = -mesh.vertices[mesh.faces][..., 2]
        assert np.ptp(depths, axis=1).max() < 1e-4
        assert set(np.round(depths.ravel(), 3)) == {1.0, 10.0}


def test_large_and_small_blocks_meet_without_a_crack() -> None:
    """On an untorn surface every edge has two triangles, or lies on the picture's border."""
    v, u = np.mgrid[0:100, 0:130] / 100
    bumps = 0.5 + 0.06 * np.sin(9 * u * u) * np.exp(-3 * v)
    photo = Photo(torch.rand(3, 100, 130), Camera.from_field_of_view((100, 130)))
    layer = start_world(
        photo,
        kp.path("still"),
        size=100,
        depth=Disparity(torch.from_numpy(bumps.astype(np.float32)), metric=True),
    ).layers[0]
    found = surface_of(layer)
    assert 100 < len(found.triangles) < 100 * 130
    points = found.points_px.astype(np.int64)
    corners = points[found.triangles]
    sides = np.diff(np.concatenate([corners, corners[:, :1]], 1), axis=1)
    areas = (sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0]) / 2
    assert areas.min() > 0 and areas.sum() == 100 * 130
    edges = np.sort(found.triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edges, count = np.unique(edges, axis=0, return_counts=True)
    assert count.max() == 2
    middles = points[edges[count == 1]].mean(1)
    assert ((middles % [130, 100]) == 0).any(1).all()


def test_colours_are_looked_up_on_ones_own_side_of_a_tear() -> None:
    start = start_world(noise(), kp.path("still"), depth=two_planes())
    layer = start.layers[0]
    found = surface_of(layer)
    seen = found.points_px + found.sixths_px / 6
    inside = layer.disparity.numpy() > 0.5
    near = found.disparity > 0.5
    rows, columns = np.nonzero(inside)
    assert seen[near].min(0).tolist() == [columns.min() + 0.5, rows.min() + 0.5]
    assert seen[near].max(0).tolist() == [columns.max() + 0.5, rows.max() + 0.5]


def test_rough_depth_gets_a_coarser_surface(monkeypatch) -> None:
    rough = 0.5 + 0.006 * torch.rand(96, 96)
    layer = start_world(noise(), kp.path("still"), depth=Disparity(rough, metric=True)).layers[0]
    fine = len(surface_of(layer).triangles)
    monkeypatch.setattr(surface, "MOST_TRIANGLES", fine // 4)
    assert len(surface_of(layer).triangles) <= fine // 4


def test_the_ply_has_colours_as_bytes_and_shows_the_photo(world: World, tmp_path: Path) -> None:
    report = save_scene(world, tmp_path / "out.ply")
    header = (tmp_path / "out.ply").read_bytes().split(b"end_header")[0].decode()
    assert [line.split()[1:] for line in header.splitlines() if line.startswith("property")] == [
        *(["float", name] for name in "xyz"),
        *(["uchar", name] for name in ("red", "green", "blue")),
        ["list", "uchar", "int", "vertex_indices"],
    ]
    mesh = trimesh.load_mesh(tmp_path / "out.ply", process=False)
    assert report.kind == "ply" and len(mesh.faces) == report.triangles
    rows = np.column_stack([mesh.vertices * GLTF_FROM_OURS, mesh.visual.vertex_colors[:, :3] / 255])
    seen, disparity = draw([rows[mesh.faces][:, ::-1]], world.camera, Pose.identity())
    assert (disparity > 0).all()
    # A corner is the mean of four pixels, which blurs as a box of two pixels does.
    assert psnr(seen, world.layers[0].rgb.numpy().transpose(1, 2, 0)) > 24


def fields_of(path: Path) -> np.ndarray:
    return trimesh.load(path).metadata["_ply_raw"]["vertex"]["data"]


def test_the_splats_are_standard_and_show_the_photo(world: World, tmp_path: Path) -> None:
    report = save_scene(world, tmp_path / "out.splat.ply")
    header = (tmp_path / "out.splat.ply").read_bytes().split(b"end_header")[0].decode()
    assert "format binary_little_endian 1.0" in header and re.findall("element (.*)", header) == [
        f"vertex {report.splats}"
    ]
    splats = fields_of(tmp_path / "out.splat.ply")
    names = [*"xyz", *(f"f_dc_{n}" for n in range(3)), "opacity"]
    names += [f"scale_{n}" for n in range(3)] + [f"rot_{n}" for n in range(4)]
    assert list(splats.dtype.names) == names
    assert report.splats == len(splats) == sum(int(layer.alpha.sum()) for layer in world.layers)
    values = np.stack([splats[name] for name in names], 1).astype(np.float64).reshape(len(splats), 14)
    assert np.linalg.norm(values[:, 10:], axis=1) == pytest.approx(1, abs=1e-5)
    seen = splatted(values[: SIDE**2], world.camera)
    # Gaussians of half a pixel blur about as bilinear interpolation does.
    assert psnr(seen, world.layers[0].rgb.numpy().transpose(1, 2, 0)) > 24


def splatted(rows: np.ndarray, camera: Camera) -> np.ndarray:
    """Front to back, each Gaussian projected by the derivative of the projection (Zwicker et al. 2001)."""
    from scipy.spatial.transform import Rotation

    rows = rows[np.argsort(rows[:, 2])]
    (x, y, z), f, reach = rows[:, :3].T, camera.focal_px, 2
    spread = Rotation.from_quat(np.roll(rows[:, 10:], -1, 1)).as_matrix() * np.exp(rows[:, None, 7:10])
    zero = np.zeros_like(z)
    slope = np.stack([f / z, zero, -f * x / z**2, zero, f / z, -f * y / z**2], 1).reshape(-1, 2, 3)
    sides = slope @ spread
    shapes = np.linalg.inv(sides @ sides.transpose(0, 2, 1) + 0.01 * np.eye(2))
    places = np.stack([f * x / z, f * y / z], 1) + camera.centre_px
    inside = ((places >= 0) & (places < camera.hw[::-1])).all(1)
    colours = np.clip(0.5 + 0.28209479177387814 * rows[:, 3:6], 0, 1)
    opacity = 1 / (1 + np.exp(-rows[:, 6]))
    rgb = np.zeros((camera.hw[0] + 2 * reach, camera.hw[1] + 2 * reach, 3))
    light = np.ones(rgb.shape[:2])
    v, u = np.mgrid[-reach : reach + 1, -reach : reach + 1] + 0.5
    for (px, py), (a, b, _, c), colour, strength in zip(
        places[inside],
        shapes[inside].reshape(-1, 4).tolist(),
        colours[inside],
        opacity[inside].tolist(),
        strict=True,
    ):
        column, row = int(px), int(py)
        box = np.s_[row : row + 2 * reach + 1, column : column + 2 * reach + 1]
        du, dv = u + (column - px), v + (row - py)
        share = light[box] * strength * np.exp(-0.5 * (a * du * du + 2 * b * du * dv + c * dv * dv))
        rgb[box] += share[..., None] * colour
        light[box] -= share
    middle = np.s_[reach:-reach, reach:-reach]
    assert light[middle].max() < 0.2  # the surface is closed
    return rgb[middle]


def test_the_page_is_whole_and_asks_for_nothing(world: World, tmp_path: Path) -> None:
    report = save_scene(world, tmp_path / "R&D <beach>.html")
    text = (tmp_path / "R&D <beach>.html").read_text(encoding="utf-8")
    assert report.kind == "html" and report.triangles > 1000 and "{{" not in text
    assert "<title>R&amp;D &lt;beach&gt;</title>" in text
    addresses = re.findall(r"""(?:src|href|action)\s*=\s*"([^"]{0,20})""", text)
    assert addresses and all(address.startswith("data:image/webp") for address in addresses)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none';") and "http" not in policy
    for script in re.findall(r"<script>(.*?)</script>", text, re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "MIT" in text and "Three.js Authors" in text  # three.js asks that its licence stays with it


def test_a_page_of_a_photo_of_1024_px_is_under_four_megabytes(
    example_photos: list[Path], tmp_path: Path, monkeypatch
) -> None:
    """A hundred discs at random depths before a wall."""
    picture = Image.open(next(path for path in example_photos if path.stem == "raccoon")).resize((1024, 1024))
    rgb = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255).permute(2, 0, 1).contiguous()
    v, u = np.mgrid[0:1024, 0:1024]
    generator = np.random.default_rng(3)
    depth = 0.06 + 0.05 * v / 1024
    for x, y, r, d in generator.random((100, 4)):
        disc = np.hypot(u - 1024 * x, v - 1024 * y) < 20 + 80 * r
        depth = np.where(disc, np.maximum(depth, 0.1 + 0.9 * d + 1e-4 * (u - 1024 * x)), depth)
    photo = Photo(rgb, Camera.from_field_of_view((1024, 1024)))
    found = Disparity(torch.from_numpy(depth.astype(np.float32)), metric=True)
    start = start_world(photo, kp.path("still"), size=1024, depth=found, threads=1)
    monkeypatch.setattr(viewer, "reach_of", lambda _: (0.03, 0.03))  # takes long, and a few bytes
    assert save_scene(start, tmp_path / "out.html").bytes <= 3_500_000  # half a megabyte stays for paintings


def test_the_viewer_goes_no_farther_than_what_was_painted(world: World) -> None:
    step = world.trajectory.rig.step
    right, down = viewer.reach_of(world)
    assert 0.5 * step < right <= step and 0 < down <= step
    bare = World(world.layers[:1], world.trajectory)
    assert viewer.reach_of(bare)[0] < 0.5 * right
    renderer = Renderer(world.layers)
    for turn in np.linspace(0, 2 * np.pi, 8, endpoint=False):
        view = viewer.aside(world.camera, world.trajectory.rig, right * np.cos(turn), down * np.sin(turn))
        crop = round(SIDE * (1 - 1 / viewer.ZOOM) / 2)
        shown = renderer.coverage(*view)[crop:-crop, crop:-crop]
        assert float((~shown).float().mean()) <= 2 * viewer.MOST_HOLE


def test_the_same_world_gives_the_same_bytes(tmp_path: Path) -> None:
    world = start_world(noise(), kp.path("still"), depth=two_planes())
    for suffix in ("glb", "ply", "html", "splat.ply"):
        one, other = tmp_path / f"out.{suffix}", tmp_path / "again" / f"out.{suffix}"
        other.parent.mkdir(exist_ok=True)
        save_scene(world, one)
        save_scene(world, other)
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("out.obj", "out.obj ends in .obj; kinephoto writes a scene as .glb, .ply, .html or .splat.ply"),
        ("out", "has no suffix; kinephoto writes a scene as"),
        ("no/where.glb", "does not exist; make it first"),
    ],
)
def test_a_name_that_cannot_be_is_one_sentence(world: World, tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        save_scene(world, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_scene_file_is_whole_or_not_there(world: World, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(export, "mesh_glb", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_scene(world, tmp_path / "out.glb")
    assert not list(tmp_path.iterdir())
    (tmp_path / "out.ply").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        save_scene(world, tmp_path / "out.ply", overwrite=False)
    assert (tmp_path / "out.ply").read_text() == "mine"


def test_animate_saves_scenes_beside_the_film(tmp_path: Path) -> None:
    from kinephoto.studio.produce import Outputs, animate, for_outputs
    from kinephoto.studio.settings import AnimateSettings

    depth = tmp_path / "depth.npy"
    np.save(depth, two_planes().numpy())
    settings = AnimateSettings(seconds=0.25, fps=8, depth=str(depth), painter="classical", threads=1)
    scenes = (tmp_path / "out.glb", tmp_path / "out.html")
    animate(noise(), Outputs(tmp_path / "film.mp4", scenes=scenes), settings)
    assert all(scene.stat().st_size > 10_000 for scene in scenes) and (tmp_path / "film.mp4").exists()
    for outputs, says in (
        (Outputs(tmp_path / "film.mp4", scenes=(tmp_path / "a.obj",)), "writes a scene as"),
        (Outputs(tmp_path / "film.mp4", scenes=scenes[:1] * 2), "Two outputs have the same name, out.glb"),
    ):
        with pytest.raises(InputError, match=says):
            outputs.check()
    with pytest.raises(InputError, match="makes no scene to save"):
        for_outputs(
            settings.model_copy(update={"mode": "autoregressive"}), Outputs("film.mp4", scenes=scenes)
        )
