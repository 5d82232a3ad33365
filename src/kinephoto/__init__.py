"""kinephoto: one photo becomes a video in which the camera really moves through the scene.

import kinephoto as kp
photo = kp.read_photo("beach.jpg")
world = kp.build_world(photo, path=kp.path("circle", amount="auto"))
kp.write_video(kp.film(world, seconds=4, fps=24), "beach.mp4")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kinephoto.errors import InputError

if TYPE_CHECKING:
    from kinephoto.scene.depth import estimate_depth
    from kinephoto.scene.path import path
    from kinephoto.scene.photo import read_photo
    from kinephoto.studio.animate import film
    from kinephoto.studio.build import build_world
    from kinephoto.studio.export import save_scene
    from kinephoto.studio.out_animate import out_animate
    from kinephoto.studio.outpaint import outpaint
    from kinephoto.studio.video import write_video

__all__ = [
    "InputError",
    "__version__",
    "build_world",
    "estimate_depth",
    "film",
    "out_animate",
    "outpaint",
    "path",
    "read_photo",
    "save_scene",
    "write_video",
]

# Loaded when first asked for: torch alone takes a second, and help must come at once.
_HOMES = {
    "build_world": "kinephoto.studio.build",
    "estimate_depth": "kinephoto.scene.depth",
    "film": "kinephoto.studio.animate",
    "out_animate": "kinephoto.studio.out_animate",
    "outpaint": "kinephoto.studio.outpaint",
    "path": "kinephoto.scene.path",
    "read_photo": "kinephoto.scene.photo",
    "save_scene": "kinephoto.studio.export",
    "write_video": "kinephoto.studio.video",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("kinephoto")
    if name not in _HOMES:
        raise AttributeError(f"module 'kinephoto' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
