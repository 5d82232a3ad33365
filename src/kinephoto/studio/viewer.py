"""One page that shows a world in any browser: nothing else is needed, and nothing is fetched.

The page holds three.js, a texture for each layer (WebP) and its triangles, as whole numbers that
``viewer/viewer.js`` unpacks. Its content security policy forbids every request.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import zlib
from collections.abc import Callable, Sequence
from importlib import resources
from io import BytesIO
from typing import Any

import numpy as np
import torch

from kinephoto.scene.camera import Camera, Pose
from kinephoto.scene.path import Rig
from kinephoto.scene.render import Renderer
from kinephoto.scene.values import Layer
from kinephoto.scene.world import World
from kinephoto.studio.surface import Surface, Texture, surface_of, texture_of

LONGEST_TEXTURE_PX = 2048
"""What every phone can hold."""

WEBP_QUALITY = 88
ZOOM = 1.03
"""The page shows this much less than the whole photo, so that its border stays outside."""

MOST_HOLE = 0.003
"""Largest share of the picture, wherever the camera may go, that no layer covers; the backdrop closes it."""

HOLES_SHORT_SIDE_PX = 256
HALVINGS = 5
BACKDROP_PX = 96
BACKDROP_MARGIN = 0.25
"""How far the backdrop goes on beyond the photo, as a share of its sides."""

NEAR = 0.5
"""The near plane, as a share of the nearest distance."""


def page(world: World, title: str) -> tuple[str, int]:
    """The page, and how many triangles it draws."""
    layers = [*world.layers, backdrop(world)]
    sheets, textures, numbers = [], [], []
    for layer in layers:
        surface, texture = surface_of(layer), texture_of(layer)
        sheets.append(_sheet(layer, surface, texture))
        textures.append(_webp(texture.rgb))
        numbers.append(_differences(surface, sheets[-1]["disparity"]))
    scripts = {"three": _file("three.min.js"), "viewer": _file("viewer.js")}
    fields = {
        "title": html.escape(title),
        "maker": "kinephoto",
        "policy": _policy(list(scripts.values())),
        "photo": textures[0],
        "textures": "".join(f'<img class="texture" alt="" src="{texture}">' for texture in textures[1:]),
        "scene": json.dumps(_scene(world, sheets), separators=(",", ":")),
        "geometry": base64.b64encode(_packed(numbers)).decode(),
        **scripts,
    }
    text = _file("page.html")
    for name, value in fields.items():
        text = text.replace("{{" + name + "}}", value)
    return text, sum(sheet["triangles"] for sheet in sheets)


def backdrop(world: World) -> Layer:
    """The far parts of the photo, blurred, behind everything: what is seen through the last small holes.

    A flat picture a little farther than the farthest pixel, larger than the photo on all sides.
    """
    import cv2

    from kinephoto.painter.diffuse import push_pull

    photo = world.layers[0]
    scale = BACKDROP_PX / max(photo.camera.hw)
    wh = (max(2, round(photo.camera.hw[1] * scale)), max(2, round(photo.camera.hw[0] * scale)))
    rgb = cv2.resize(photo.rgb.numpy().transpose(1, 2, 0), wh, interpolation=cv2.INTER_AREA)
    disparity = cv2.resize(photo.disparity.numpy(), wh, interpolation=cv2.INTER_AREA)
    around = cv2.erode(disparity, np.ones((9, 9), np.uint8))
    filled = push_pull(rgb, (disparity <= 1.2 * around).astype(np.float32))
    m, n = (round(BACKDROP_MARGIN * side) for side in wh)
    filled = cv2.copyMakeBorder(filled, n, n, m, m, cv2.BORDER_REPLICATE)
    hw = filled.shape[:2]
    farthest = min(float(layer.disparity[layer.alpha].min()) for layer in world.layers)
    focal, (cx, cy) = photo.camera.focal_px * scale, photo.camera.centre_px
    camera = Camera(focal, (cx * scale + m, cy * scale + n), hw)
    return Layer(
        torch.from_numpy(filled).permute(2, 0, 1).clamp(0, 1).contiguous(),
        torch.full(hw, 0.9 * farthest),
        torch.ones(hw, dtype=torch.bool),
        camera,
        Pose.identity(),
    )


def reach_of(world: World) -> tuple[float, float]:
    """How far the camera may go to the right and down, scene units: an ellipse around the photo's place.

    At most as far as the world's own move, and only so far that less than ``MOST_HOLE`` of the picture
    is covered by no layer.
    """
    rig = world.trajectory.rig
    renderer = Renderer(world.layers)
    scale = min(1.0, HOLES_SHORT_SIDE_PX / min(world.camera.hw))

    def holes(x: float, y: float) -> float:
        camera, pose = aside(world.camera, rig, x, y)
        return 1 - float(renderer.coverage(_shown(camera, scale), pose).float().mean())

    def fits(x: float, y: float) -> bool:
        return all(holes(a, b) <= MOST_HOLE for a, b in ((x, y), (-x, y), (x, -y), (-x, -y)))

    right = _largest(lambda share: fits(share * rig.step, 0.0)) * rig.step
    down = _largest(lambda share: fits(0.0, share * rig.step)) * rig.step
    corner = math.sqrt(0.5)
    both = _largest(lambda share: fits(share * corner * right, share * corner * down))
    return both * right, both * down


def aside(camera: Camera, rig: Rig, x: float, y: float) -> tuple[Camera, Pose]:
    """The camera to the right and down by scene units, its lens shifted so that the focus stays where it is."""
    shift = camera.focal_px * rig.focus_disparity
    centre_px = (camera.centre_px[0] + shift * x, camera.centre_px[1] + shift * y)
    place = torch.tensor([-x, -y, 0.0], dtype=torch.float64)
    return Camera(camera.focal_px, centre_px, camera.hw), Pose(torch.eye(3), place)


def _shown(camera: Camera, scale: float) -> Camera:
    """What the page shows of a camera's picture, its middle, on ``scale`` times as many rows and columns."""
    height, width = (max(1, round(scale * side)) for side in camera.hw)
    small = camera.resized((height, width)).zoomed(ZOOM)
    (cx, cy), mx, my = small.centre_px, width / 2, height / 2
    return Camera(small.focal_px, (mx + ZOOM * (cx - mx), my + ZOOM * (cy - my)), small.hw)


def _largest(fits: Callable[[float], bool]) -> float:
    """The largest share in [0, 1] that fits, by bisection."""
    if fits(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _scene(world: World, sheets: list[dict[str, Any]]) -> dict[str, Any]:
    """What ``viewer.js`` needs to know beside the triangles; lengths in scene units, or px of the photo."""
    nearest = max(sheet["disparity"][1] for sheet in sheets)
    farthest = min(sheet["disparity"][0] for sheet in sheets)
    return {
        "hw": world.camera.hw,
        "focal_px": world.camera.focal_px,
        "centre_px": world.camera.centre_px,
        "focus_disparity": world.trajectory.rig.focus_disparity,
        "reach": reach_of(world),
        "zoom": ZOOM,
        "near": NEAR / nearest,
        "far": 2 / farthest,
        "sheets": sheets,
    }


def _sheet(layer: Layer, surface: Surface, texture: Texture) -> dict[str, Any]:
    home = layer.pose.inverse()
    placed = np.concatenate([home.R.numpy(), home.t.numpy()[:, None]], axis=1)
    height, width = texture.rgb.shape[:2]
    return {
        "vertices": len(surface.disparity),
        "triangles": len(surface.triangles),
        "disparity": [float(surface.disparity.min()), float(surface.disparity.max())],
        "focal_px": layer.camera.focal_px,
        "centre_px": layer.camera.centre_px,
        "box": [*texture.corner_px, width, height],
        "world_from_layer": placed.reshape(-1).tolist(),
    }


def _differences(surface: Surface, disparity: Sequence[float]) -> np.ndarray:
    """Columns, rows, steps to the colours, disparity in 65536 levels, triangles.

    Each number is stored as what it differs from the one before by, which is mostly small.
    """
    low, high = disparity
    levels = np.rint((surface.disparity.astype(np.float64) - low) / max(high - low, 1e-12) * 65535)
    lists = (
        *surface.points_px.T,
        *surface.sixths_px.T,
        levels.astype(np.int32),
        surface.triangles.reshape(-1),
    )
    return np.concatenate([np.diff(values, prepend=values.dtype.type(0)) for values in lists])


def _packed(numbers: Sequence[np.ndarray]) -> bytes:
    """First all lowest bytes, then all second, and so on: long runs, which pack well."""
    planes = np.concatenate(numbers).astype("<i4").view(np.uint8).reshape(-1, 4).T
    return zlib.compress(planes.tobytes(), 9)


def _webp(rgb: np.ndarray) -> str:
    """A picture as an address that holds it."""
    from PIL import Image

    image = Image.fromarray(rgb)
    image.thumbnail((LONGEST_TEXTURE_PX, LONGEST_TEXTURE_PX), Image.Resampling.LANCZOS)
    file = BytesIO()
    image.save(file, format="WEBP", quality=WEBP_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def _policy(scripts: Sequence[str]) -> str:
    """Nothing from anywhere: only these scripts, by their hash, and pictures that the page itself holds."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"
    )


def _file(name: str) -> str:
    return (resources.files("kinephoto.studio") / "viewer" / name).read_text(encoding="utf-8").rstrip("\n")
