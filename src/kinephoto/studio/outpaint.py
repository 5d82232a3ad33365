"""A whole scene is painted around an object (Sec. 3.3, stage 1)."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.painter import Painter
from kinephoto.painter.scene_painting import paint_around
from kinephoto.scene.camera import Camera
from kinephoto.scene.values import Capture, Photo, as_given, real_number, whole_or_none
from kinephoto.studio.cutout import Box, Cutout, Mask, Point, Subject, as_cutout
from kinephoto.studio.extension import Outpainted, as_painter, checked_prompt, checked_seed
from kinephoto.studio.frame_size import SIZE_RANGE

PLACES: Mapping[str, tuple[float, float]] = {"left": (0.28, 0.6), "centre": (0.5, 0.55), "right": (0.72, 0.6)}
"""Where the object's middle comes to lie, as shares of the scene's width and height."""

MOST_OF_SCENE = 0.8
"""An object that is larger than this share of the scene's sides is made smaller, unless a scale is asked for."""

MOST_OF_SIDES = 8
"""No object is enlarged to more than so many times the longer side of its scene."""

DEFAULT_HW = (512, 512)


def outpaint(
    cutout: Subject,
    *,
    mask: Mask | str | Path | None = None,
    points: Sequence[Point] = (),
    box: Box | None = None,
    prompt: str | None = None,
    place: str | tuple[float, float] = "centre",
    scale: float | None = None,
    hw: int | tuple[int, int] | None = None,
    seed: int = 0,
    painter: str | Painter = "auto",
    steps: int | None = None,
    guidance: float = 0.0,
    device: str | None = None,
    offline: bool = False,
) -> Outpainted:
    """Paint a scene around an object.

    Args:
        cutout: a ``Cutout``, an RGBA picture's file, or a photo (or its file) with a mask, points or a box.
        mask, points, box: as for ``out_animate``.
        prompt: what the scene shows, at most 1,000 characters.
        place: a name of ``PLACES``, or where the object's middle lies as shares of width and height.
        scale: its size, times that in its own picture. None: its own, where that is at most four fifths of the
            scene. At 1 its pixels stay bit for bit; at another they are resampled, and stay so from then on.
        hw: height and width of the scene, px, or one number for a square; 512 x 512 when None.
        seed: the same seed gives the same scene.
        painter: a name for ``get_painter``, or a painter.
        steps, guidance, device, offline: for ``get_painter``.

    Raises:
        InputError: an argument that can't be used, or an object that lies outside the scene.
    """
    prompt, seed = checked_prompt(prompt), checked_seed(seed)
    hw = checked_hw(DEFAULT_HW if hw is None else hw)
    steps = whole_or_none("steps", steps, 1)
    if not real_number(guidance) >= 0:
        raise InputError(f"guidance is {as_given(guidance)}; it must be a number, 0 or more.")
    cutout = as_cutout(cutout, mask=mask, points=points, box=box, device=device, offline=offline)
    chosen = as_painter(painter, device=device, offline=offline, steps=steps, guidance=guidance)
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
    if not 0.01 <= real_number(scale) <= 100:
        raise InputError(f"The scale is {as_given(scale)}; it must be a number from 0.01 to 100.")
    if max(part.alpha.shape) * scale > MOST_OF_SIDES * max(hw):
        raise InputError(
            f"Enlarged {scale:g} times, the object covers the whole scene or is a blur; choose a smaller scale."
        )
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
    try:
        x, y = (float(part) for part in (place.split(",") if isinstance(place, str) else place))
    except (TypeError, ValueError):
        x = y = -1.0
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise InputError(
            f"The place is {as_given(place)}; it must be {', '.join(PLACES)}, or X,Y as shares of width and height."
        )
    return x, y


def checked_hw(hw: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width of a scene; one number is a square.

    Raises:
        InputError: no whole numbers, or out of range.
    """
    try:
        height, width = (operator.index(side) for side in (hw if isinstance(hw, (tuple, list)) else (hw, hw)))
    except (TypeError, ValueError):
        raise InputError(
            f"hw is {as_given(hw)}; it must be height and width in px, such as (512, 768), or one number for a square."
        ) from None
    hw = (height, width)
    if not (SIZE_RANGE[0] <= min(hw) and max(hw) <= SIZE_RANGE[1]):
        raise InputError(
            f"The scene is {hw[1]} x {hw[0]} px; its sides go from {SIZE_RANGE[0]} to {SIZE_RANGE[1]}."
        )
    return hw


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
