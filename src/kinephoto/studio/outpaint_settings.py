"""What can be set for a scene around an object; nothing heavy is imported, so that help comes at once."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from kinephoto.errors import InputError
from kinephoto.setting import setting
from kinephoto.studio.settings import AnimateSettings


class ObjectSettings(BaseModel):
    """Which object, and where it comes to stand."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mask: Path | None = setting(None, "Picture as large as the photo, white where the object is.", "Object")
    select: str | None = setting(None, "Points on the object, in px: X,Y[,X,Y ...].", "Object")
    box: str | None = setting(None, "A box around the object, in px: X0,Y0,X1,Y1.", "Object")
    segmenter: str = setting(
        "grabcut",
        "Who finds the object at points or in a box: grabcut, hub:ID or a folder of a SAM.",
        "Object",
    )
    place: str = setting(
        "centre", "Where it stands: left, centre, right, or X,Y as shares of width and height.", "Scene"
    )
    scale: float | None = setting(
        None,
        "Its size, times that in its own picture; its own, if that fits, otherwise.",
        "Scene",
        ge=0.01,
        le=100,
    )


class OutpaintSettings(ObjectSettings):
    """A scene around an object, or a photo continued beyond its borders."""

    extend: str | None = setting(
        None, "Instead: continue a photo beyond its borders, such as left=128,right=20%.", "Scene"
    )
    prompt: str | None = setting(None, "What the scene shows, for painters that take text.", "Painting")
    size: str | None = setting(
        None, "Of the scene, px: WIDTHxHEIGHT, or one number for a square; 512 otherwise.", "Scene"
    )
    candidates: int = setting(
        1, "Paint so many scenes, of successive seeds, on one contact sheet.", "Painting", ge=1, le=64
    )
    painter: str = setting(
        "auto",
        "Who paints: auto, builtin, builtin:FOLDER, classical, opencv:telea, sd:FOLDER, hub:ID.",
        "Painting",
    )
    steps: int | None = setting(
        None, "Steps of a diffusion painter; its own default otherwise.", "Painting", ge=1, le=1000
    )
    guidance: float = setting(
        0.0, "How much further than usual a diffusion painter follows the prompt.", "Painting", ge=0, le=50
    )
    seed: int = setting(0, "The same seed gives the same bytes.", "Painting", ge=0, lt=2**32)
    max_megapixels: float = setting(200.0, "Refuse pictures larger than this.", "Scene", gt=0)
    device: str | None = setting(None, "Where to compute, such as cuda; the processor otherwise.", "Machine")
    offline: bool = setting(False, "Never touch the network.", "Machine")


class OutAnimateSettings(AnimateSettings, ObjectSettings):
    """A film of a scene around an object: all that can be set for a film, and the object."""

    scene_size: str | None = setting(
        None, "Of the painted scene, px: WIDTHxHEIGHT, or one number for a square; 512 otherwise.", "Scene"
    )


def scene_hw(text: str | None) -> tuple[int, int] | None:
    """Height and width that "768x512" or "512" asks for.

    Raises:
        InputError: neither.

    Example:
        >>> scene_hw("768x512"), scene_hw("512"), scene_hw(None)
        ((512, 768), (512, 512), None)
    """
    if text is None:
        return None
    parts = text.lower().replace("×", "x").split("x")
    # No digits of other scripts, and no more of them than Python makes numbers of.
    if len(parts) > 2 or not all(re.fullmatch("[0-9]{1,9}", part) for part in parts):
        raise InputError(f"The size is {text!r}; it must be WIDTHxHEIGHT in px, or one number for a square.")
    return int(parts[-1]), int(parts[0])


def numbers(text: str, flag: str, count: int | None = None) -> list[float]:
    """The numbers of a list such as "12,30.5".

    Raises:
        InputError: something else, or not ``count`` of them (None: an even count).
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or (len(found) != count if count else len(found) % 2):
        wanted = "X0,Y0,X1,Y1" if count == 4 else "X,Y[,X,Y ...]"
        raise InputError(f"{flag} is {text!r}; it must be {wanted} in px.")
    return found
