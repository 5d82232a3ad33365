"""W, the renderer: layers seen by a camera (the paper's Eq. 7), and there and back again (Eq. 8)."""

from __future__ import annotations

import functools
import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.machine import usable_cores, usable_device
from kinephoto.scene.camera import Camera, Pose, projection
from kinephoto.scene.values import Hits, Layer, View

if TYPE_CHECKING:
    from kinephoto.scene.mesh import Mesh
    from kinephoto.scene.raster import Band
    from kinephoto.scene.sampling import Method, Surface

Engine = Literal["auto", "numba", "torch"]

MOST_SUPERSAMPLING = 4

LARGEST_VIEW_PX = 2**15
"""A side of a view, supersampling included: farther vertices are not exact and dropped (reference, rule 2)."""


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A layer and what is made of it once; ``pixels`` are its colours in quartets."""

    layer: Layer
    mesh: Mesh
    surface: Surface
    pixels: np.ndarray
    on_device: tuple[Tensor, Tensor] | None

    @classmethod
    def of(cls, layer: Layer, device: torch.device | None) -> _Prepared:
        """``device``: where the mesh is needed as well, None if nowhere."""
        from kinephoto.scene.mesh import corner_mesh
        from kinephoto.scene.sampling import Surface, quartets

        disparity = layer.disparity.detach().cpu().numpy().astype(np.float32, copy=False)
        exists = layer.alpha.detach().cpu().numpy().astype(bool, copy=False)
        mesh = corner_mesh(disparity, exists, measured=layer.measured)
        pixels = quartets(layer.rgb.detach().cpu().numpy())
        on_device = None
        if device is not None:
            on_device = (
                torch.from_numpy(mesh.corners)[None].to(device),
                torch.from_numpy(mesh.exists)[None].to(device),
            )
        return cls(layer, mesh, Surface.of(disparity, exists), pixels, on_device)


class Renderer:
    """Draws fixed layers from any camera; meshes and textures are prepared once.

    Args:
        layers: layer 0 first; of equally near ones the first is seen.
        threads: how many to use; as many as there are processors when None. The pictures do not
            depend on it.
        engine: who finds what each pixel shows: "numba" is the fast one on a processor, "torch" runs on
            any device torch knows; "auto" is "torch" when ``device`` names something else than the
            processor. Colours are looked up, and views stay, on the processor.
        device: where the torch engine works; None is the processor.
        on_compile: called once if anything has to be compiled, which takes seconds; only the first
            use on a machine does, so that one can say so.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        threads: int | None = None,
        engine: Engine = "auto",
        device: str | torch.device | None = None,
        on_compile: Callable[[], None] | None = None,
    ) -> None:
        if engine not in ("auto", "numba", "torch"):
            raise InputError(f"There is no rendering engine {engine!r}; there are auto, numba and torch.")
        if threads is not None and threads < 1:
            raise InputError(f"The renderer was given {threads} threads; it needs at least 1.")
        place = usable_device(device)
        if engine == "auto":
            engine = "numba" if place.type == "cpu" else "torch"
        self.engine: Engine = engine
        self.threads = threads or usable_cores()
        self._device = place if engine == "torch" else None
        self._on_compile = on_compile
        from kinephoto.compiled import announcing

        with announcing(on_compile):
            self._prepared = tuple(_Prepared.of(layer, self._device) for layer in layers)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, in order."""
        return tuple(prepared.layer for prepared in self._prepared)

    def with_layer(self, layer: Layer) -> Renderer:
        """A renderer of these layers and one more behind them in order; shares what is prepared."""
        more = Renderer(
            [layer],
            threads=self.threads,
            engine=self.engine,
            device=self._device,
            on_compile=self._on_compile,
        )
        more._prepared = self._prepared + more._prepared
        return more

    def render(
        self, camera: Camera, pose: Pose, *, sampling: Method = "bicubic", supersample: int = 1
    ) -> View:
        """What a camera sees.

        Args:
            camera: its ``hw`` is the view's size, which may differ from the layers'.
            pose: ``view_from_world``.
            sampling: "bicubic" keeps most of the sharpness, "bilinear" is faster, "nearest" keeps
                values as they are.
            supersample: look at this many × this many points inside each pixel. Where they lie on one
                surface the colour is looked up once, at the pixel's centre; at silhouettes, and where
                the picture is much reduced, it is their mean.

        Raises:
            InputError: no such sampling, ``supersample`` is not 1 to 4, or the view is too large.
        """
        if not 1 <= supersample <= MOST_SUPERSAMPLING:
            raise InputError(f"Supersampling is {supersample}; it must be from 1 to {MOST_SUPERSAMPLING}.")
        from kinephoto.scene.sampling import method_number

        method = method_number(sampling)
        picture = _Picture(camera.hw, supersample)
        fine = _finer(camera, supersample)

        def finish(first: int, count: int, band: Band) -> None:
            picture.shade(self._prepared, band, first, count, method)

        self._draw(fine, pose, supersample, finish)
        return picture.view()

    def coverage(self, camera: Camera, pose: Pose) -> Tensor:
        """[H, W] bool, ``known`` of ``render`` without the colours: for counting holes."""
        known = np.empty(camera.hw, np.bool_)

        def finish(first: int, count: int, band: Band) -> None:
            known[first : first + count] = band.layer[:count] >= 0

        self._draw(camera, pose, 1, finish)
        return torch.from_numpy(known)

    def locate(self, camera: Camera, pose: Pose) -> Hits:
        """Which point of which layer each pixel shows; ``sample`` looks anything up there."""
        u, v, disparity = (np.empty(camera.hw, np.float32) for _ in range(3))
        layer = np.empty(camera.hw, np.int16)

        def finish(first: int, count: int, band: Band) -> None:
            rows = slice(first, first + count)
            hit = band.layer[:count] >= 0
            for target, source in ((u, band.u), (v, band.v), (disparity, band.disparity)):
                target[rows] = np.where(hit, source[:count], np.float32(0))
            layer[rows] = band.layer[:count]

        self._draw(camera, pose, 1, finish)
        return Hits(*(torch.from_numpy(a) for a in (u, v, disparity, layer)))

    def sample(self, textures: Sequence[Tensor], hits: Hits, sampling: Method = "bicubic") -> Tensor:
        """Masks, features or other colours of the layers, seen where ``locate`` said.

        Args:
            textures: per layer [C, H, W] of that layer's size, float32 or uint8.

        Returns:
            [C, H', W'], 0 where nothing is hit.

        Raises:
            InputError: a texture's size is not its layer's, or there is not one for each layer.
        """
        from kinephoto.scene.sampling import sample

        if len(textures) != len(self._prepared) or not textures:
            raise InputError(f"There are {len(textures)} textures for {len(self._prepared)} layers.")
        parts = [
            sample(texture, hits, prepared.surface, index, sampling)
            for index, (texture, prepared) in enumerate(zip(textures, self._prepared, strict=True))
        ]
        # Each is 0 where another layer is hit.
        return functools.reduce(torch.add, parts)

    def _draw(
        self, camera: Camera, pose: Pose, multiple: int, finish: Callable[[int, int, Band], None]
    ) -> None:
        """Draw the view band by band on all threads; ``finish(first row, rows, band)`` takes each one.

        ``multiple``: bands are a multiple of this many rows.
        """
        from kinephoto.compiled import announcing
        from kinephoto.scene import raster

        height, width = camera.hw
        if max(height, width) > LARGEST_VIEW_PX:
            raise InputError(
                f"The view is {width}×{height} px, supersampling included; "
                f"it must be at most {LARGEST_VIEW_PX} px a side."
            )
        step = raster.BAND // multiple * multiple
        starts = itertools.count(0, step)

        def work() -> None:
            band = raster.Band(width, step)
            # next() on a shared counter is atomic, so each band is taken once.
            for first in starts:
                if first >= height:
                    return
                count = min(step, height - first)
                draw(first, count, band)
                finish(first, count, band)

        with announcing(self._on_compile):
            draw = self._band_source(camera, pose)
            _in_threads(work, min(self.threads, -(-height // step)))

    def _band_source(self, camera: Camera, pose: Pose) -> Callable[[int, int, Band], None]:
        """What fills a band with rows of the view: ``(first row, rows, band)``."""
        from kinephoto.scene import raster, twin

        matrices = [
            projection(camera, pose @ prepared.layer.pose.inverse(), prepared.layer.camera)
            for prepared in self._prepared
        ]
        if self.engine == "torch":
            layers = [
                (*prepared.on_device, torch.from_numpy(matrix)[None].to(self._device))
                for prepared, matrix in zip(self._prepared, matrices, strict=True)
                if prepared.on_device
            ]
            hits = twin.rasterize_batch(layers, camera.hw)
            view = {name: getattr(hits, name)[0].cpu().numpy() for name in ("u", "v", "disparity", "layer")}

            def copy(first: int, count: int, band: Band) -> None:
                for name, field in view.items():
                    getattr(band, name)[:count] = field[first : first + count]

            return copy
        meshes = [prepared.mesh for prepared in self._prepared]
        bounds = [raster.bounds_of(m, p) for m, p in zip(meshes, matrices, strict=True)]

        def draw(first: int, count: int, band: Band) -> None:
            raster.draw_band(meshes, matrices, bounds, raster.NEAR, first, count, band)

        return draw


class _Picture:
    """A view in the making."""

    def __init__(self, hw: tuple[int, int], supersample: int) -> None:
        self.supersample = supersample
        self.rgb = np.empty((3, *hw), np.float32)
        self.disparity = np.empty(hw, np.float32)
        self.known = np.empty(hw, np.bool_)
        self.layer = np.empty(hw, np.int16)
        share_hw = hw if supersample > 1 else (0, 0)
        self.coverage, self.beyond_first = np.empty(share_hw, np.float32), np.empty(share_hw, np.float32)

    def shade(self, prepared: Sequence[_Prepared], band: Band, first: int, count: int, method: int) -> None:
        """Colour rows that have been drawn; ``first`` and ``count`` are the fine picture's."""
        from kinephoto.scene import antialias, sampling

        scale = self.supersample
        rows = slice(first // scale, (first + count) // scale)
        rgb, layer = self.rgb[:, rows], self.layer[rows]
        rgb[:] = 0
        if scale == 1:
            antialias.copy_band(band, count, self.disparity[rows], self.known[rows], layer)
            u, v, shaded = band.u[:count], band.v[:count], layer
        else:
            u, v, shaded = antialias.resolve_band(
                band, count, scale, self.disparity[rows], self.known[rows], layer,
                self.coverage[rows], self.beyond_first[rows],
            )  # fmt: skip
        for index, part in enumerate(prepared):
            sampling.sample_rows(part.pixels, part.surface, index, shaded, u, v, method, (0.0, 1.0), rgb)
            if scale > 1:
                antialias.add_silhouettes(
                    part.pixels, part.surface, index, shaded, band, count, scale, method, rgb
                )

    def view(self) -> View:
        """The finished view."""
        rgb, disparity, known, layer, coverage, beyond_first = (
            torch.from_numpy(a)
            for a in (self.rgb, self.disparity, self.known, self.layer, self.coverage, self.beyond_first)
        )
        if self.supersample == 1:
            return View(rgb, disparity, known, layer)
        return View(rgb, disparity, known, layer, coverage, beyond_first)


def cycle(rgb: Tensor, disparity: Tensor, camera: Camera, pose: Pose) -> tuple[Tensor, Tensor]:
    """A photo rendered by T and, of what was covered, back by T⁻¹ (Eq. 8, Fig. 3a).

    Args:
        rgb: [3, H, W] float32.
        disparity: [H, W] float32, > 0.
        camera: the photo's.
        pose: T, ``view_from_photo``.

    Returns:
        The photo again, [3, H, W], 0 where it was lost on the way, and [H, W] bool, where it was not.
    """
    home = Pose.identity()
    everywhere = torch.ones(disparity.shape, dtype=torch.bool)
    away = Renderer([Layer(rgb, disparity, everywhere, camera, home)]).render(camera, pose)
    back = Renderer([Layer(away.rgb, away.disparity, away.known, camera, pose)]).render(camera, home)
    return back.rgb, back.known


def _finer(camera: Camera, scale: int) -> Camera:
    """The same view on ``scale`` times as many rows and columns."""
    cx, cy = camera.centre_px
    hw = (camera.hw[0] * scale, camera.hw[1] * scale)
    return Camera(camera.focal_px * scale, (cx * scale, cy * scale), hw)


_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()


def _in_threads(work: Callable[[], None], count: int) -> None:
    """Run ``work`` in ``count`` threads at once, this one among them, and wait for all.

    Work that shares out its parts by a common counter may find nothing left to do, so helpers that
    never got to start, because others use the pool, are not waited for.
    """
    helpers = [_shared_pool().submit(work) for _ in range(count - 1)]
    try:
        work()
    finally:
        started = [helper for helper in helpers if not helper.cancel()]
        for helper in started:
            helper.result()


def _shared_pool() -> ThreadPoolExecutor:
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 1)), thread_name_prefix="kinephoto-render")
        return _pool


def _forget_pool() -> None:
    """A forked child has none of the pool's threads and must make its own."""
    global _pool, _pool_lock
    _pool, _pool_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
