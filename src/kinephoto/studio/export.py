"""A world as a file for other programs: a mesh, splats, or one page that shows it in any browser.

Lengths are the world's, where the nearest things lie at z = 1. Meshes stand upright in their readers
(glTF's axes: x right, y up, z backwards); splats keep the axes their readers expect, which are ours.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from kinephoto.errors import InputError
from kinephoto.interrupts import ending_cleanly
from kinephoto.scene.values import Layer, as_given
from kinephoto.scene.world import World
from kinephoto.studio.animate import check_world
from kinephoto.studio.files import check_file, check_suffix, whole
from kinephoto.studio.surface import Surface, surface_of, texture_of

SUFFIXES = (".glb", ".ply", ".html")
SPLAT_SUFFIX = ".splat.ply"
UP_FROM_DOWN = np.array([1.0, -1.0, -1.0])
"""Half a turn around x: from x right, y down, z forward to x right, y up, z backwards."""

PAINTED_FARTHER = 0.02
"""What was painted is written so much farther away than it is: surfaces of few triangles are not exact, and
where two lie close together, the photo's must be seen."""

JPEG_QUALITY = 92


@dataclass(frozen=True)
class SceneReport:
    """What was written.

    Attributes:
        path: the file.
        kind: "glb", "ply", "html" or "splat.ply".
        bytes: its size on disk.
        layers: how many of the world's layers are in it.
        triangles: how many; 0 for splats.
        splats: how many; 0 for meshes.
    """

    path: Path
    kind: str
    bytes: int
    layers: int
    triangles: int = 0
    splats: int = 0


@dataclass(frozen=True)
class Content:
    """A scene file's bytes and what is in them."""

    data: bytes
    triangles: int = 0
    splats: int = 0


def save_scene(world: World, target: str | Path, *, overwrite: bool = True) -> SceneReport:
    """Write a world as a 3D file; its name decides the kind.

    ``.glb``: a textured mesh for each layer, and the photo's camera. ``.ply``: one mesh with colours in its
    vertices. ``.splat.ply``: Gaussian splats, one for each pixel. ``.html``: one page without any other
    file, in which mouse, touch, arrow keys or the tilt of a phone move the camera.

    Args:
        world: from ``build_world``.
        target: the file; appears whole or not at all.
        overwrite: whether an existing file may be replaced.

    Raises:
        InputError: no world, a suffix kinephoto doesn't write, a place it cannot write to, or a full disk.
    """
    check_world(world)
    if not isinstance(target, (str, PathLike)):
        raise InputError(f"The target is {as_given(target)}; it must be the name of a file.")
    kind = check_scene(target, overwrite=overwrite)
    layers = _set_back([layer for layer in world.layers if bool(layer.alpha.any())])
    if not layers:
        raise InputError("No layer of this world has a pixel; there is nothing to save.")
    with ending_cleanly(), whole(target, overwrite=overwrite) as part:
        content = _content(replace(world, layers=layers), kind, Path(target).stem)
        part.write_bytes(content.data)
    return SceneReport(Path(target), kind, len(content.data), len(layers), content.triangles, content.splats)


def check_scene(target: str | Path, *, overwrite: bool = True) -> str:
    """The kind of scene file that the target's name asks for, when it can be written there.

    Raises:
        InputError: a suffix kinephoto doesn't write, or a place it cannot write to.
    """
    suffix = check_suffix(target, SUFFIXES, "scene", also=SPLAT_SUFFIX)
    check_file(target, overwrite=overwrite)
    return SPLAT_SUFFIX[1:] if Path(target).name.lower().endswith(SPLAT_SUFFIX) else suffix[1:]


def mesh_glb(world: World) -> Content:
    """Binary glTF 2.0: one node for each layer, unlit, and one for the photo's camera.

    (Khronos, glTF 2.0 specification, sections 3 and 4; KHR_materials_unlit keeps the photo's own light.)
    """
    parts = _Glb()
    surfaces = [surface_of(layer) for layer in world.layers]
    for index, (layer, surface) in enumerate(zip(world.layers, surfaces, strict=True)):
        parts.add_layer(layer, surface, "photo" if index == 0 else f"painted {index}")
    parts.add_camera(world)
    return Content(parts.file(), sum(len(surface.triangles) for surface in surfaces))


def mesh_ply(world: World) -> Content:
    """Binary PLY: one mesh of all layers, colours in its vertices as bytes."""
    surfaces = [surface_of(layer, coloured=True) for layer in world.layers]
    counts = [len(surface.disparity) for surface in surfaces]
    vertices = np.empty(sum(counts), [(name, "<f4") for name in "xyz"] + [(c, "u1") for c in _COLOURS])
    faces = np.empty(
        sum(len(surface.triangles) for surface in surfaces), [("count", "u1"), ("vertices", "<i4", 3)]
    )
    faces["count"] = 3
    first_vertex = first_face = 0
    for layer, surface in zip(world.layers, surfaces, strict=True):
        rows = vertices[first_vertex : first_vertex + len(surface.disparity)]
        for name, values in zip("xyz", (surface.in_world(layer) * UP_FROM_DOWN).T, strict=True):
            rows[name] = values
        for channel, name in enumerate(_COLOURS):
            rows[name] = surface.rgb[:, channel] if surface.rgb is not None else 0
        triangles = faces[first_face : first_face + len(surface.triangles)]
        triangles["vertices"] = first_vertex + _counterclockwise(surface)
        first_vertex, first_face = first_vertex + len(rows), first_face + len(triangles)
    properties = [f"property float {name}" for name in "xyz"]
    properties += [f"property uchar {name}" for name in _COLOURS]
    header = [
        *("ply", "format binary_little_endian 1.0", f"comment {_maker()}"),
        *(f"element vertex {len(vertices)}", *properties),
        *(f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""),
    ]
    return Content("\n".join(header).encode() + vertices.tobytes() + faces.tobytes(), len(faces))


_COLOURS = ("red", "green", "blue")


def _set_back(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    farther = (replace(layer, disparity=layer.disparity * (1 - PAINTED_FARTHER)) for layer in layers[1:])
    return (*layers[:1], *farther)


def _content(world: World, kind: str, title: str) -> Content:
    if kind == "glb":
        return mesh_glb(world)
    if kind == "ply":
        return mesh_ply(world)
    if kind == "html":
        from kinephoto.studio.viewer import page

        text, triangles = page(world, title)
        return Content(text.encode(), triangles)
    from kinephoto.studio.splats import splats_ply

    data, count = splats_ply(world)
    return Content(data, splats=count)


def _counterclockwise(surface: Surface) -> np.ndarray:
    """[M, 3], the triangles as glTF and PLY readers see their front; half a turn mirrors nothing."""
    return surface.triangles[:, [0, 2, 1]]


def _maker() -> str:
    from importlib.metadata import version

    return f"kinephoto {version('kinephoto')}"


class _Glb:
    """A binary glTF file in the making."""

    def __init__(self) -> None:
        self._data = bytearray()
        lists = ("accessors", "bufferViews", "images", "textures", "materials", "meshes", "cameras", "nodes")
        self._json: dict[str, Any] = {name: [] for name in lists}
        self._json |= {
            "asset": {"version": "2.0", "generator": _maker()},
            "extensionsUsed": ["KHR_materials_unlit"],
            # 9729 linear, 9987 linear between mipmaps too, 33071 clamp to edge.
            "samplers": [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}],
            "scene": 0,
        }

    def add_layer(self, layer: Layer, surface: Surface, name: str) -> None:
        """A node with the layer's mesh and texture."""
        texture = texture_of(layer)
        image = {"mimeType": "image/jpeg", "bufferView": self._view(_jpeg(texture.rgb)), "name": name}
        source = self._append("images", image)
        colours = {"index": self._append("textures", {"sampler": 0, "source": source})}
        material = {
            "name": name,
            "pbrMetallicRoughness": {"baseColorTexture": colours, "metallicFactor": 0, "roughnessFactor": 1},
            "extensions": {"KHR_materials_unlit": {}},
        }
        positions = (surface.in_world(layer) * UP_FROM_DOWN).astype("<f4")
        attributes = {
            "POSITION": self._accessor(positions, "VEC3", extent=True),
            "TEXCOORD_0": self._accessor(texture.coordinates(surface).astype("<f4"), "VEC2"),
        }
        indices = self._accessor(_counterclockwise(surface).astype("<u4").reshape(-1), "SCALAR")
        made = self._append("materials", material)
        primitive = {"attributes": attributes, "indices": indices, "material": made}
        mesh = self._append("meshes", {"name": name, "primitives": [primitive]})
        self._append("nodes", {"name": name, "mesh": mesh})

    def add_camera(self, world: World) -> None:
        """The photo's camera; glTF knows none whose axis leaves the middle of the picture."""
        height, width = world.camera.hw
        angle = 2 * math.atan(height / 2 / world.camera.focal_px)
        lens = {"yfov": angle, "aspectRatio": width / height, "znear": 0.1}
        camera = self._append("cameras", {"type": "perspective", "perspective": lens})
        self._append("nodes", {"name": "the photo's camera", "camera": camera})

    def file(self) -> bytes:
        """The whole file: header, JSON chunk, binary chunk."""
        content = {
            **self._json,
            "scenes": [{"nodes": list(range(len(self._json["nodes"])))}],
            "buffers": [{"byteLength": len(self._data)}],
        }
        text = json.dumps(content, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        words = np.array([0x46546C67, 2, 28 + len(text) + len(self._data), len(text), 0x4E4F534A], "<u4")
        binary = np.array([len(self._data), 0x004E4942], "<u4")
        return words.tobytes() + text + binary.tobytes() + bytes(self._data)

    def _append(self, name: str, value: dict[str, Any]) -> int:
        self._json[name].append(value)
        return len(self._json[name]) - 1

    def _view(self, data: bytes, target: int | None = None) -> int:
        view = {"buffer": 0, "byteOffset": len(self._data), "byteLength": len(data)}
        self._data += data + bytes(-len(data) % 4)
        return self._append("bufferViews", view if target is None else view | {"target": target})

    def _accessor(self, values: np.ndarray, kind: str, extent: bool = False) -> int:
        """``extent``: with the smallest and the largest of each column, which positions must have."""
        whole_numbers = values.dtype.kind == "u"
        # 5125 unsigned int, 5126 float; 34963 triangles' vertices, 34962 what belongs to a vertex.
        accessor: dict[str, Any] = {
            "bufferView": self._view(values.tobytes(), 34963 if whole_numbers else 34962),
            "componentType": 5125 if whole_numbers else 5126,
            "count": len(values),
            "type": kind,
        }
        if extent:
            accessor |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        return self._append("accessors", accessor)


def _jpeg(rgb: np.ndarray) -> bytes:
    from PIL import Image

    file = BytesIO()
    Image.fromarray(rgb).save(file, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    return file.getvalue()
