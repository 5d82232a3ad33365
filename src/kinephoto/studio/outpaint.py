"""A whole scene is painted around an object (Sec. 3.3, stage 1), or a photo is continued beyond its borders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.painter import Painter, get_painter, paint_holes
from kinephoto.painter.scene_painting import paint_around
from kinephoto.scene.camera import Camera
from kinephoto.scene.values import Capture, Photo
from kinephoto.studio.animate import SIZE_RANGE
from kinephoto.studio.cutout import Cutout

PLACES: Mapping[str, tuple[float, float]] = {"left": (0.28, 0.6), "centre": (0.5, 0.55), "right": (0.72, 0.6)}
"""Where the object's middle comes to lie, as shares of the scene's width and height."""

MOST_OF_SCENE = 0.8
"""An object that is larger than this share of the scene's sides is made smaller, unless a scale is asked for."""

DEFAULT_HW = (512, 512)
LONGEST_PROMPT = 1000
SIDES = ("left", "right", "top", "bottom")
MOST_EXTENDED = 2.0
"""Px beyond a side, as a share of the photo's own."""


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
    object_mask: Tensor
    painter: str
    seed: int


def outpaint(
    cutout: Cutout,
    *,
    prompt: str | None = None,
    place: str | tuple[float, float] = "centre",
    scale: float | None = None,
    hw: tuple[int, int] | None = None,
    seed: int = 0,
    painter: str | Painter = "auto",
    steps: int | None = None,
    guidance: float = 0.0,
    device: str | None = None,
    offline: bool = False,
) -> Outpainted:
    """Paint a scene around an object.

    Args:
        cutout: from ``cut_out`` or ``read_cutout``.
        prompt: what the scene shows, at most 1,000 characters.
        place: a name of ``PLACES``, or where the object's middle lies as shares of width and height.
        scale: its size, times that in its own picture. None: its own, where that is at most four fifths of the
            scene. At 1 its pixels stay bit for bit; at another they are resampled, and stay so from then on.
        hw: height and width of the scene, px; 512 x 512 when None.
        seed: the same seed gives the same scene.
        painter: a name for ``get_painter``, or a painter.
        steps, guidance, device, offline: for ``get_painter``.

    Raises:
        InputError: an argument that can't be used, or an object that lies outside the scene.
    """
    prompt = checked_prompt(prompt)
    hw = checked_hw(hw or DEFAULT_HW)
    chosen = (
        get_painter(painter, device=device, offline=offline, steps=steps, guidance=guidance)
        if isinstance(painter, str)
        else painter
    )
    rgb, alpha = placed(cutout, hw, place, scale)
    known = alpha >= 1
    painted = paint_around(chosen, rgb, known, prompt=prompt, seed=seed)
    scene = torch.where(known, rgb, torch.lerp(painted, rgb, alpha))
    camera, capture = Camera.from_field_of_view(hw), Capture(f"scene around {cutout.name}")
    photo = Photo(scene, camera, capture, ~known)
    return Outpainted(photo, known, chosen.name, seed)


def placed(
    cutout: Cutout, hw: tuple[int, int], place: str | tuple[float, float], scale: float | None
) -> tuple[Tensor, Tensor]:
    """The object in an empty scene: rgb [3, H, W] and alpha [H, W].

    Raises:
        InputError: see ``outpaint``.
    """
    part = cutout.cropped()
    x_share, y_share = checked_place(place)
    if scale is None:
        scale = min(
            1.0,
            *(MOST_OF_SCENE * side / own for side, own in zip(hw, part.alpha.shape, strict=True)),
        )
    if not 0.01 <= scale <= 100:
        raise InputError(f"The scale is {scale:g}; it must be from 0.01 to 100.")
    if scale != 1:
        part = _resized(part, scale)
    height, width = part.alpha.shape
    top, left = round(hw[0] * y_share - height / 2), round(hw[1] * x_share - width / 2)
    rows, own_rows = _overlap(top, height, hw[0])
    columns, own_columns = _overlap(left, width, hw[1])
    rgb, alpha = torch.zeros(3, *hw), torch.zeros(hw)
    rgb[:, rows, columns] = part.rgb[:, own_rows, own_columns]
    alpha[rows, columns] = part.alpha[own_rows, own_columns]
    count = int((alpha >= 1).sum())
    if count == 0:
        raise InputError("The object lies outside the scene; choose another place or a smaller scale.")
    if count == alpha.numel():
        raise InputError("The object covers the whole scene; choose a smaller scale or a larger size.")
    return rgb * (alpha > 0), alpha


def _resized(part: Cutout, scale: float) -> Cutout:
    """The object so many times as large; colours are averaged over what is its own alone."""
    hw = [max(4, round(side * scale)) for side in part.alpha.shape]

    def scaled(picture: Tensor) -> Tensor:
        smaller = scale < 1
        return F.interpolate(
            picture[None],
            hw,
            mode="bilinear" if smaller else "bicubic",
            antialias=smaller,
            align_corners=False,
        )[0]

    share = scaled(part.alpha[None])
    colours = scaled(part.rgb * part.alpha) / share.clamp_min(1e-3)
    alpha = share[0].clamp(0, 1)
    # Of a resampled object the inside is opaque, but for rounding.
    alpha = torch.where(alpha > 0.995, torch.ones(()), alpha)
    return Cutout(colours.clamp(0, 1), alpha, part.name)


def _overlap(first: int, count: int, whole: int) -> tuple[slice, slice]:
    """Where something from ``first`` on lies within ``whole``, and which part of it."""
    begin, end = max(0, first), min(whole, first + count)
    if end <= begin:
        raise InputError("The object lies outside the scene; choose another place or a smaller scale.")
    return slice(begin, end), slice(begin - first, end - first)


def checked_place(place: str | tuple[float, float]) -> tuple[float, float]:
    """Shares of width and height.

    Raises:
        InputError: an unknown name, or shares that are none.
    """
    if isinstance(place, str) and place in PLACES:
        return PLACES[place]
    parts = place.split(",") if isinstance(place, str) else list(place)
    try:
        x, y = (float(part) for part in parts)
    except ValueError:
        x = y = -1.0
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise InputError(
            f"The place is {place}; it must be {', '.join(PLACES)}, or X,Y as shares of width and height."
        )
    return x, y


def checked_hw(hw: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a scene.

    Raises:
        InputError: out of range, or far from square.
    """
    if not (SIZE_RANGE[0] <= min(hw) and max(hw) <= SIZE_RANGE[1]):
        raise InputError(
            f"The scene is {hw[1]} x {hw[0]} px; its sides go from {SIZE_RANGE[0]} to {SIZE_RANGE[1]}."
        )
    return hw


def checked_prompt(prompt: str | None) -> str | None:
    """The prompt in one line.

    Raises:
        InputError: longer than ``LONGEST_PROMPT`` characters.
    """
    if prompt is None:
        return None
    plain = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", prompt).split())
    if len(plain) > LONGEST_PROMPT:
        raise InputError(
            f"The prompt has {len(plain)} characters; {LONGEST_PROMPT} are more than any painter reads."
        )
    return plain or None


def parsed_margins(text: str, hw: tuple[int, int]) -> dict[str, int]:
    """Px beyond each side that "left=128,right=20%" names; shares are of the photo's width or height.

    Raises:
        InputError: another side, no number, or one out of range.

    Example:
        >>> parsed_margins("left=128,top=50%", (200, 300))
        {'left': 128, 'top': 100}
    """
    margins: dict[str, int] = {}
    for part in text.split(","):
        side, _, amount = (word.strip() for word in part.partition("="))
        own = hw[1] if side in ("left", "right") else hw[0]
        try:
            share = float(amount.removesuffix("%")) / 100 if amount.endswith("%") else float(amount) / own
        except ValueError:
            share = -1.0
        if side not in SIDES or not 0 < share <= MOST_EXTENDED:
            raise InputError(
                f"--extend has {part.strip()!r}; it must be a list such as left=128,right=20%, of "
                f"{', '.join(SIDES)}, each at most {MOST_EXTENDED:.0%} of the photo's side."
            )
        margins[side] = round(share * own)
    return margins


def extended(
    photo: Photo,
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
        photo: from ``read_photo``.
        margins: px beyond "left", "right", "top" and "bottom".
        prompt, seed, painter, device, offline: as for ``outpaint``.

    Returns:
        A photo whose camera is the given one's, seeing more: same focal length, its centre where it was.
    """
    left, right, top, bottom = (int(margins.get(side, 0)) for side in SIDES)
    if min(left, right, top, bottom) < 0:
        raise InputError(f"A photo can't be extended by {dict(margins)} px; margins are not negative.")
    height, width = photo.camera.hw
    hw = (height + top + bottom, width + left + right)
    if max(hw) > SIZE_RANGE[1]:
        raise InputError(f"The extended photo would be {hw[1]} x {hw[0]} px; at most {SIZE_RANGE[1]} a side.")
    rgb = F.pad(photo.rgb, (left, right, top, bottom))
    known = F.pad(torch.ones(height, width, dtype=torch.bool), (left, right, top, bottom))
    chosen = get_painter(painter, device=device, offline=offline) if isinstance(painter, str) else painter
    scene = paint_holes(chosen, rgb, known, torch.ones(hw), prompt=checked_prompt(prompt), seed=seed)
    cx, cy = photo.camera.centre_px
    camera = Camera(photo.camera.focal_px, (cx + left, cy + top), hw)
    # A depth that came with the photo does not know of what was painted.
    capture = replace(photo.capture, embedded_disparity=None)
    return Outpainted(Photo(scene, camera, capture, ~known), known, chosen.name, seed)


def seam(rgb: Tensor, known: Tensor) -> float:
    """How much more neighbours differ across the border of what is known than within it and outside of it.

    Args:
        rgb: [3, H, W].
        known: [H, W] bool.

    Returns:
        The mean absolute difference of neighbours across the border, divided by the mean of the 4 px on both
        sides; about 1 where nobody sees a seam. An object's own silhouette is a step as well, so compare
        with the photo that it comes from.
    """
    import cv2
    import numpy as np

    inside = known.numpy().astype(np.uint8)
    near = cv2.dilate(inside, np.ones((9, 9), np.uint8)) - cv2.erode(inside, np.ones((9, 9), np.uint8)) > 0
    across, beside = [], []
    for axis in (0, 1):
        step = rgb.diff(dim=axis + 1).abs().mean(0).numpy()
        first, second = (
            np.take(inside, range(a, inside.shape[axis] + b), axis) for a, b in ((0, -1), (1, 0))
        )
        around = np.take(near, range(0, inside.shape[axis] - 1), axis)
        across.append(step[first != second])
        beside.append(step[(first == second) & around])
    here, there = np.concatenate(across), np.concatenate(beside)
    if not here.size or not there.size:
        return 1.0
    return float(here.mean() / max(float(there.mean()), 1e-6))
