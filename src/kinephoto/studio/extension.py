"""A photo is continued beyond its borders, so that a camera can travel farther."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.painter import Painter, get_painter, paint_holes, painter_names
from kinephoto.scene.camera import Camera
from kinephoto.scene.fit import Trajectory
from kinephoto.scene.photo import as_photo
from kinephoto.scene.render import Renderer
from kinephoto.scene.values import Layer, Photo, as_given, whole_number
from kinephoto.scene.world import World, apron, photo_layer

SIDES = ("left", "right", "top", "bottom")
MOST_EXTENDED = 2.0
"""Px beyond a side, as a share of the photo's own."""

LONGEST_SIDE_PX = 4320
LONGEST_PROMPT = 1000
PROBES = 17
"""Times of the move at which it is looked how far beyond the border it shows."""

BEYOND_PX = 4
"""A little more than what is seen, so that the border of the border stays unseen."""

FARTHEST = 0.5
"""How far beyond the border "auto" looks, as a share of the photo's longer side."""

LARGEST_SEED = 2**32 - 1

Extend = Mapping[str, int] | str
"""Px beyond each side, "auto" for as many as the move shows, or a list for ``parsed_margins``."""


@dataclass(frozen=True, eq=False)
class Outpainted:
    """A scene around an object.

    Attributes:
        photo: the scene, to be animated as any photo.
        object_mask: [H, W] bool, the object's opaque pixels, which are exactly those that were given.
        painter: who painted.
        seed: with which.
    """

    photo: Photo
    object_mask: Tensor = field(repr=False)
    painter: str
    seed: int


def parsed_margins(text: str, hw: tuple[int, int], at: tuple[int, int] | None = None) -> dict[str, int]:
    """Px beyond each side that "left=128,right=20%" names; shares are of the photo's width or height.

    Args:
        text: the list.
        hw: height and width of the photo, of whose pixels the list speaks.
        at: height and width of the photo as it is used, of which the answer speaks; ``hw`` when None.

    Raises:
        InputError: another side, no number, or one out of range.

    Example:
        >>> parsed_margins("left=128,top=50%", (200, 300))
        {'left': 128, 'top': 100}
        >>> parsed_margins("left=128,top=50%", (200, 300), at=(100, 150))
        {'left': 64, 'top': 50}
    """
    margins: dict[str, int] = {}
    for part in text.split(","):
        side, _, amount = (word.strip() for word in part.partition("="))
        along = 1 if side in ("left", "right") else 0
        own = hw[along]
        try:
            share = float(amount.removesuffix("%")) / 100 if amount.endswith("%") else float(amount) / own
        except ValueError:
            share = -1.0
        if side not in SIDES or not 0 < share <= MOST_EXTENDED:
            raise InputError(
                f"extend or --extend has {part.strip()!r}; it must be a list such as left=128,right=20%, of "
                f"{', '.join(SIDES)}, each at most {MOST_EXTENDED:.0%} of the photo's side."
            )
        margins[side] = max(1, round(share * (at or hw)[along]))
    return margins


def check_margins(text: str) -> None:
    """Refuse what ``parsed_margins`` refuses whatever the photo.

    No photo is extended beyond ``LONGEST_SIDE_PX``, so that one of this size takes what any other takes.

    Raises:
        InputError: as for ``parsed_margins``.
    """
    parsed_margins(text, (LONGEST_SIDE_PX, LONGEST_SIDE_PX))


def check_extend(extend: Extend) -> None:
    """Refuse what ``extended_world`` refuses whatever the photo.

    Raises:
        InputError: another kind of thing, or margins that none may have.
    """
    if not isinstance(extend, (str, Mapping)):
        raise InputError(
            f"extend is {as_given(extend)}; it must be 'auto', a list such as 'left=128,right=20%', or px by side "
            "such as {'left': 128}."
        )
    if isinstance(extend, Mapping):
        px_beyond(extend)
    elif extend != "auto":
        check_margins(extend)


def px_beyond(margins: Mapping[str, int]) -> tuple[int, int, int, int]:
    """Px beyond the left, right, top and bottom; 0 where nothing is said of a side.

    Raises:
        InputError: no margins, another side, or no whole number from 0 on.
    """
    if not isinstance(margins, Mapping) or not set(margins) <= set(SIDES):
        raise InputError(
            f"The margins are {as_given(margins)}; they must be px by side, of {', '.join(SIDES)}, such as "
            "{'left': 128}."
        )
    left, right, top, bottom = (whole_number(f"The margin {side}", margins.get(side, 0), 0) for side in SIDES)
    return left, right, top, bottom


def extended_hw(hw: tuple[int, int], margins: Mapping[str, int]) -> tuple[int, int]:
    """Height and width of a photo of ``hw`` px with so many px more on each side.

    Raises:
        InputError: as for ``px_beyond``, or more pixels than can be painted.
    """
    left, right, top, bottom = px_beyond(margins)
    more = (hw[0] + top + bottom, hw[1] + left + right)
    if max(more) > LONGEST_SIDE_PX:
        raise InputError(
            f"The extended photo would be {more[1]} x {more[0]} px; at most {LONGEST_SIDE_PX} a side."
        )
    return more


def extended(
    photo: Photo | str | Path,
    margins: Mapping[str, int],
    *,
    prompt: str | None = None,
    seed: int = 0,
    painter: str | Painter = "auto",
    device: str | None = None,
    offline: bool = False,
) -> Outpainted:
    """The photo continued beyond its borders, so that a camera can travel farther; the photo itself stays as it is.

    Args:
        photo: from ``read_photo``, or a picture file.
        margins: px beyond "left", "right", "top" and "bottom".
        prompt, seed, painter, device, offline: as for ``outpaint``.

    Returns:
        A photo whose camera is the given one's, seeing more: same focal length, its centre where it was.

    Raises:
        InputError: an argument that can't be used.
    """
    photo, prompt, seed = as_photo(photo), checked_prompt(prompt), checked_seed(seed)
    height, width = photo.camera.hw
    hw = extended_hw(photo.camera.hw, margins)
    left, right, top, bottom = px_beyond(margins)
    rgb = F.pad(photo.rgb, (left, right, top, bottom))
    known = F.pad(torch.ones(height, width, dtype=torch.bool), (left, right, top, bottom))
    chosen = as_painter(painter, device=device, offline=offline)
    scene = paint_holes(chosen, rgb, known, torch.ones(hw), prompt=prompt, seed=seed)
    cx, cy = photo.camera.centre_px
    camera = Camera(photo.camera.focal_px, (cx + left, cy + top), hw)
    invented = ~known
    if photo.invented is not None:
        invented |= F.pad(photo.invented, (left, right, top, bottom))
    # A depth that came with the photo does not know of what was painted.
    capture = replace(photo.capture, embedded_disparity=None)
    return Outpainted(Photo(scene, camera, capture, invented), known, chosen.name, seed)


def as_painter(painter: str | Painter, **how: Any) -> Painter:
    """A painter as it is, or the one of that name.

    Args:
        painter: what a function was given.
        how: further arguments of ``get_painter``.

    Raises:
        InputError: neither, or no painter of that name.
    """
    if isinstance(painter, str):
        return get_painter(painter, **how)
    if not (callable(getattr(painter, "paint", None)) and hasattr(painter, "name")):
        raise InputError(
            f"The painter is {as_given(painter)}; it must be one of {', '.join(painter_names())}, or have a method "
            "paint and a name."
        )
    return painter


def checked_seed(seed: int) -> int:
    """The seed as Python's own number.

    Raises:
        InputError: no whole number, or one that doesn't fit into 32 bits.
    """
    return whole_number("The seed", seed, 0, LARGEST_SEED)


def checked_prompt(prompt: str | None) -> str | None:
    """The prompt in one line.

    Raises:
        InputError: no text, or longer than ``LONGEST_PROMPT`` characters.
    """
    if prompt is None:
        return None
    if not isinstance(prompt, str):
        raise InputError(f"The prompt is {as_given(prompt)}; it must be text, or None.")
    plain = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", prompt).split())
    if len(plain) > LONGEST_PROMPT:
        raise InputError(
            f"The prompt has {len(plain)} characters; {LONGEST_PROMPT} are more than any painter reads."
        )
    return plain or None


def margins_shown(layer: Layer, trajectory: Trajectory, threads: int | None = None) -> dict[str, int]:
    """How many px beyond each side of the photo a move shows; 0 where its border stays out of view.

    Args:
        layer: the photo's.
        trajectory: the move.
    """
    height, width = layer.camera.hw
    beyond = round(FARTHEST * max(height, width))
    renderer = Renderer([layer, apron(layer, beyond)], threads=threads)
    least = np.array([beyond, beyond], np.float32)
    most = least + (width, height)
    for time in np.linspace(0, 1, PROBES):
        for camera, pose in trajectory.views(float(time)):
            hits = renderer.locate(camera, pose)
            seen = hits.layer == 1
            if bool(seen.any()):
                places = torch.stack([hits.u[seen], hits.v[seen]], 1).numpy()
                least, most = np.minimum(least, places.min(0)), np.maximum(most, places.max(0))
    shown = (beyond - least[0], most[0] - beyond - width, beyond - least[1], most[1] - beyond - height)
    return {
        side: int(np.ceil(px)) + BEYOND_PX if px > 0 else 0 for side, px in zip(SIDES, shown, strict=True)
    }


def extended_world(
    start: World,
    extend: Extend,
    painter: Painter,
    *,
    prompt: str | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> World:
    """A world whose photo was continued beyond its borders; the film still shows the photo's own frame.

    What is beyond the border lies as deep as the border.

    Args:
        start: nothing painted yet.
        extend: how far.
        painter: who continues it.
        prompt, seed, threads: as for ``build_world``.
    """
    layer = start.layers[0]
    if extend == "auto":
        margins: Mapping[str, int] = margins_shown(layer, start.trajectory, threads)
    else:
        margins = parsed_margins(extend, layer.camera.hw) if isinstance(extend, str) else extend
    if not any(margins.values()):
        return start
    photo = Photo(layer.rgb, layer.camera, invented=layer.invented)
    made = extended(photo, margins, prompt=prompt, seed=seed, painter=painter)
    left, right, top, bottom = px_beyond(margins)
    disparity = F.pad(layer.disparity[None, None], (left, right, top, bottom), mode="replicate")[0, 0]
    whole = photo_layer(made.photo.rgb, disparity, made.photo.camera)
    return replace(start, layers=(replace(whole, invented=made.photo.invented, measured=layer.measured),))
