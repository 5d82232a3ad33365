"""An object cut out of its picture: from its alpha, from a mask, or from points and boxes that show where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.scene.photo import as_photo, read_alpha, read_photo
from kinephoto.scene.values import Photo, as_given

Point = tuple[float, float]
"""x, y in px; (0, 0) is the corner of the top-left pixel."""

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in px."""

Mask = Tensor | np.ndarray
"""[H, W], the object where above a half; bool, too."""

LEAST_PIXELS = 16
"""Of an object; with fewer there is nothing to paint a scene around."""

GRABCUT_ROUNDS = 5
CERTAIN_RADIUS = 0.02
"""Around a point all is the object's, so far as a share of the picture's longer side."""


@dataclass(frozen=True, eq=False)
class Cutout:
    """An object without its scene.

    Attributes:
        rgb: [3, H, W] float32 in [0, 1], the picture that it comes from; what it holds elsewhere is never seen.
        alpha: [H, W] float32 in [0, 1], how much of each pixel is the object's.
        name: of the picture.
    """

    rgb: Tensor = field(repr=False)
    alpha: Tensor = field(repr=False)
    name: str = "object"

    def __post_init__(self) -> None:
        if self.rgb.ndim != 3 or tuple(self.rgb.shape) != (3, *self.alpha.shape):
            raise InputError(
                f"An object's picture is [3, H, W] and its alpha [H, W]; got {tuple(self.rgb.shape)} and "
                f"{tuple(self.alpha.shape)}."
            )
        count = int((self.alpha >= 1).sum())
        if count < LEAST_PIXELS:
            raise InputError(
                f"The object has {count} opaque pixels; it needs {LEAST_PIXELS}. Is the mask empty, or black and "
                "white exchanged?"
            )
        if count == self.alpha.numel():
            raise InputError(
                "The object fills its whole picture, so there is no scene to paint; mark it alone."
            )

    @property
    def opaque(self) -> Tensor:
        """[H, W] bool, the pixels that are the object's alone."""
        return self.alpha >= 1

    def cropped(self) -> Cutout:
        """The smallest part with all of the object, and one pixel around it."""
        rows, columns = (torch.nonzero((self.alpha > 0).any(axis))[:, 0] for axis in (1, 0))
        height, width = self.alpha.shape
        window = (
            slice(max(0, int(rows[0]) - 1), min(height, int(rows[-1]) + 2)),
            slice(max(0, int(columns[0]) - 1), min(width, int(columns[-1]) + 2)),
        )
        alpha = self.alpha[window]
        # An object that reaches its picture's border has none around it.
        pad = (1, 1, 1, 1) if bool((alpha >= 1).all()) else (0, 0, 0, 0)
        pad_rgb, pad_alpha = (
            torch.nn.functional.pad(part, pad) for part in (self.rgb[(slice(None), *window)], alpha)
        )
        return Cutout(pad_rgb, pad_alpha, self.name)


Subject = Cutout | Photo | str | Path
"""What stands for an object; see ``as_cutout``."""


class Segmenter(Protocol):
    """Finds the object that somebody points at."""

    def segment(self, rgb: Tensor, points: Sequence[Point], box: Box | None) -> Tensor:
        """[H, W] bool, the object.

        Args:
            rgb: [3, H, W] in [0, 1].
            points: on the object.
            box: around it; points, a box or both are given.
        """
        ...


class GrabCut:
    """Colours and edges alone (Rother et al., GrabCut, 2004), by OpenCV."""

    def segment(self, rgb: Tensor, points: Sequence[Point], box: Box | None) -> Tensor:
        """See ``Segmenter``."""
        import cv2

        picture = (rgb.permute(1, 2, 0).numpy()[..., ::-1] * 255).round().astype(np.uint8)
        height, width = picture.shape[:2]
        hints = np.full((height, width), cv2.GC_BGD if box else cv2.GC_PR_BGD, np.uint8)
        if box:
            x0, y0, x1, y1 = (round(value) for value in box)
            hints[y0:y1, x0:x1] = cv2.GC_PR_FGD
        else:
            # The picture's border is taken for scene, the neighbourhood of the points for the object.
            hints[[0, -1]], hints[:, [0, -1]] = cv2.GC_BGD, cv2.GC_BGD
            for x, y in points:
                cv2.circle(hints, (int(x), int(y)), round(0.15 * max(height, width)), cv2.GC_PR_FGD, -1)
        for x, y in points:
            radius = max(1, round(CERTAIN_RADIUS * max(height, width)))
            cv2.circle(hints, (int(x), int(y)), radius, cv2.GC_FGD, -1)
        behind = (hints == cv2.GC_BGD) | (hints == cv2.GC_PR_BGD)
        if not behind.any():
            raise InputError("The box is the whole picture; draw it closer around the object.")
        if behind.all():
            raise InputError("The box holds not one whole pixel; draw it around the object.")
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.setRNGSeed(0)
        cv2.grabCut(picture, hints, None, *models, GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
        found = (hints == cv2.GC_FGD) | (hints == cv2.GC_PR_FGD)
        return torch.from_numpy(_connected(found, points))


def _connected(found: np.ndarray, points: Sequence[Point]) -> np.ndarray:
    """The parts that a point lies on, or the largest; holes of a few pixels closed."""
    import cv2

    closed = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(closed)
    if count < 2:
        return found
    hit = {int(labels[int(y), int(x)]) for x, y in points} - {0}
    wanted = hit or {1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())}
    return np.isin(labels, list(wanted))


def get_segmenter(name: str = "grabcut", *, device: str | None = None, offline: bool = False) -> Segmenter:
    """The segmenter of that name.

    Args:
        name: "grabcut", or "hub:ID" or a folder of a network with SAM's interface.
        device: where a network runs.
        offline: take the hub's from the cache only.

    Raises:
        InputError: there is no such segmenter, or it can't be loaded.
    """
    if name == "grabcut":
        return GrabCut()
    if name.startswith("hub:") or Path(name).is_dir():
        from kinephoto.studio.segment_anything import SegmentAnything

        return SegmentAnything(name.removeprefix("hub:"), device=device, offline=offline)
    raise InputError(f"There is no segmenter {name!r}; there are grabcut, hub:ID and a network's folder.")


def cut_out(
    photo: Photo | str | Path,
    *,
    mask: Mask | None = None,
    points: Sequence[Point] = (),
    box: Box | None = None,
    segmenter: str | Segmenter = "grabcut",
    device: str | None = None,
    offline: bool = False,
) -> Cutout:
    """An object of a photo.

    Args:
        photo: from ``read_photo``, or a picture file.
        mask: [H, W], the object where above a half (bool too); then points and box are not looked at.
        points: on the object.
        box: around it.
        segmenter: for points and box; a name for ``get_segmenter``, or one.
        device, offline: for ``get_segmenter``.

    Raises:
        InputError: no photo, nothing that says where the object is, a mask of another size, an empty or a full
            one, or points and boxes outside the picture.
    """
    photo = as_photo(photo)
    height, width = photo.camera.hw
    if mask is None:
        points, box = _inside(points, box, (height, width))
        chosen = (
            get_segmenter(segmenter, device=device, offline=offline)
            if isinstance(segmenter, str)
            else segmenter
        )
        if not hasattr(chosen, "segment"):
            raise InputError(
                f"The segmenter is {as_given(chosen)}; it must be grabcut, hub:ID, a network's folder, or have a "
                "method segment."
            )
        mask = chosen.segment(photo.rgb, points, box)
    if isinstance(mask, np.ndarray):
        mask = torch.from_numpy(mask.astype(np.float32))
    if not isinstance(mask, Tensor):
        raise InputError(
            f"The mask is {as_given(mask)}; it must be an array or a tensor [H, W], as large as its photo."
        )
    if tuple(mask.shape) != (height, width):
        raise InputError(f"The mask is {list(mask.shape)}, its photo [{height}, {width}]; they must agree.")
    return Cutout(photo.rgb, (mask.float() > 0.5).float(), photo.capture.name)


def _pairs(points: Sequence[Point]) -> list[Point]:
    try:
        return [(float(x), float(y)) for x, y in points]
    except (TypeError, ValueError):
        raise InputError(
            f"The points are {as_given(points)}; they must be pairs x, y in px, such as [(120, 80)]."
        ) from None


def _inside(points: Sequence[Point], box: Box | None, hw: tuple[int, int]) -> tuple[list[Point], Box | None]:
    """The points and the box as Python's own numbers, when they lie inside a picture of ``hw`` px."""
    points = _pairs(points)
    if not points and box is None:
        raise InputError("Where is the object? Give a mask, points on it, or a box around it.")
    for x, y in points:
        if not (0 <= x < hw[1] and 0 <= y < hw[0]):
            raise InputError(f"The point {x:g},{y:g} lies outside the picture of {hw[1]} x {hw[0]} px.")
    if box is not None:
        try:
            x0, y0, x1, y1 = (float(edge) for edge in box)
        except (TypeError, ValueError):
            raise InputError(f"The box is {as_given(box)}; it must be x0, y0, x1, y1 in px.") from None
        if not (0 <= x0 < x1 <= hw[1] and 0 <= y0 < y1 <= hw[0]):
            raise InputError(
                f"The box {x0:g},{y0:g},{x1:g},{y1:g} must be x0,y0,x1,y1 with x0 < x1 and y0 < y1, inside the "
                f"picture of {hw[1]} x {hw[0]} px."
            )
        box = (x0, y0, x1, y1)
    return points, box


def read_cutout(path: str | Path, *, max_megapixels: float = 200.0) -> Cutout:
    """An object with its own alpha, from an RGBA picture; opaque pixels are the file's, bit for bit.

    Raises:
        InputError: the picture can't be read or has no alpha.
    """
    photo = read_photo(path, max_megapixels=max_megapixels)
    alpha = read_alpha(path, max_megapixels=max_megapixels)
    if alpha is None:
        raise InputError(
            f"{photo.capture.name} has no transparent parts, so it isn't clear what the object is; give a mask, "
            "points or a box: --mask, --select or --box."
        )
    # Photos are laid on white where they are transparent; what shines through is taken out again.
    own = (photo.rgb - (1 - alpha)) / alpha.clamp_min(1e-3)
    return Cutout(torch.where(alpha >= 1, photo.rgb, own.clamp(0, 1)), alpha, photo.capture.name)


def as_cutout(
    subject: Subject,
    *,
    mask: Mask | str | Path | None = None,
    points: Sequence[Point] = (),
    box: Box | None = None,
    segmenter: str = "grabcut",
    max_megapixels: float = 200.0,
    device: str | None = None,
    offline: bool = False,
) -> Cutout:
    """Whatever stands for an object, cut out; see ``out_animate`` and ``cut_out``.

    Raises:
        InputError: a file that can't be read, or nothing that says what the object is.
    """
    if isinstance(subject, Cutout):
        return subject
    if not isinstance(subject, (Photo, str, Path)):
        raise InputError(
            f"The object is {as_given(subject)}; it must be a Cutout, an RGBA picture's file, or a photo with a mask, "
            "points or a box."
        )
    if not isinstance(subject, Photo):
        if mask is None and box is None and not _pairs(points):
            return read_cutout(subject, max_megapixels=max_megapixels)
        subject = read_photo(subject, max_megapixels=max_megapixels, embedded_depth=False)
    if isinstance(mask, (str, Path)):
        mask = read_mask(mask, subject.camera.hw, max_megapixels=max_megapixels)
    return cut_out(
        subject, mask=mask, points=points, box=box, segmenter=segmenter, device=device, offline=offline
    )


def read_mask(file: str | Path, hw: tuple[int, int], *, max_megapixels: float = 200.0) -> Tensor:
    """[H, W] in [0, 1], the brightness of a mask's picture, or its alpha where only that varies.

    Raises:
        InputError: it can't be read or has another size.
    """
    photo = read_photo(file, max_megapixels=max_megapixels, embedded_depth=False)
    alpha = read_alpha(file, max_megapixels=max_megapixels)
    if tuple(photo.camera.hw) != tuple(hw):
        own = photo.camera.hw
        raise InputError(
            f"{Path(file).name} is {own[1]} x {own[0]} px, its photo {hw[1]} x {hw[0]}; a mask is as large as "
            "its photo."
        )
    return photo.rgb.mean(0) if alpha is None else alpha
