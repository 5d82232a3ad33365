"""Where a photo's depth comes from, and how it becomes the scene's: one method, many sources.

A source has one method, ``disparity(rgb) -> Disparity``. ``estimate_depth`` is the way in.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.scene.values import Disparity, Photo, as_given, real_number

if TYPE_CHECKING:
    from collections.abc import Callable

FLOOR = 0.06
"""Disparity of a relative map's farthest part when its nearest is 1."""

NEAREST_PERCENTILE, FARTHEST_PERCENTILE = 99.0, 1.0

LARGEST_DISPARITY = 4.0
"""Nothing is nearer than a quarter of the distance of the 99th percentile: a few wild pixels would fly about."""

SMALLEST_METRIC = 1e-3
"""Farthest that a metric map goes, as disparity; infinity would have no place in a mesh."""

SUFFIXES = (".png", ".npy", ".tif", ".tiff", ".jpg", ".jpeg", ".webp", ".exr")

LARGEST_ASPECT_ERROR = 0.03
"""A depth map's aspect may differ from its photo's by this share: rounding to multiples of 14 px or so."""


@runtime_checkable
class DepthSource(Protocol):
    """Whatever tells a photo's depth."""

    def disparity(self, rgb: Tensor) -> Disparity:
        """Inverse depth of a photo.

        Args:
            rgb: [3, H, W] float in [0, 1], sRGB, upright.

        Returns:
            Any size of the same aspect, near is large; relative unless it says ``metric``.
        """
        ...


def estimate_depth(
    photo: Photo | str | Path,
    source: str | Path | DepthSource | Disparity | np.ndarray | Tensor = "auto",
    *,
    device: str | None = None,
    offline: bool = False,
    floor: float = FLOOR,
) -> Disparity:
    """The photo's disparity map at its own size, with edges where the photo has them.

    Args:
        photo: from ``read_photo``, or a picture file.
        source: "auto" (the best that is on this machine), "builtin", "embedded" (depth that came with the
            photo), "hub:ID" or a folder (a depth network for transformers), a file (8 or 16 bit, near is
            white; npy as it is), an array [h, w] of disparity, or anything with a method ``disparity``.
        device: where a network runs, such as "cuda"; None is the processor.
        offline: never touch the network.
        floor: what the farthest part of a relative map becomes when the nearest becomes 1, in (0, 1).

    Returns:
        [H, W], near is large; its ``source`` says who made it. A relative one goes from ``floor`` to about
        1, a metric one keeps its ratios.

    Raises:
        InputError: no photo, no such source, what it gives does not fit the photo, or a floor out of range.
    """
    from kinephoto.scene.photo import as_photo

    photo = as_photo(photo)
    lowest = real_number(floor)
    if not 0 < lowest < 1:
        raise InputError(
            f"The depth range's floor is {as_given(floor)}; it must be a number between 0 and 1."
        )
    found, soft = _raw(photo, source, device, offline)
    _check_aspect(found, photo)
    values = normalised(found, lowest)
    if soft:
        from kinephoto.scene.edges import sharpen

        values = sharpen(values, photo.rgb)
    return Disparity(_resized(values, photo.camera.hw), found.metric, found.source, found.measured)


def check_source(source: str | Path) -> None:
    """Refuse now what ``estimate_depth`` refuses whatever the photo; nothing is loaded.

    Args:
        source: a name, file or folder that ``estimate_depth`` takes.

    Raises:
        InputError: no such source, a file that is not there or of another kind, a folder without a network.
    """
    text, path = str(source), Path(source)
    if text in NAMED or text.startswith("hub:"):
        return
    if path.is_dir():
        from kinephoto.scene.depth_networks import check_folder

        check_folder(path)
    elif path.exists() or path.suffix.lower() in SUFFIXES:
        _check_file(path)
    else:
        raise InputError(
            f"There is no depth source {text!r}; there are {', '.join(NAMED)}, hub:ID, a depth network's folder, "
            "or a file."
        )


def normalised(disparity: Disparity, floor: float = FLOOR) -> Tensor:
    """The scene's disparity: nearest things at 1.

    A relative map is scaled and shifted so that its 99th percentile becomes 1 and its 1st ``floor``, and
    ends there; a metric one is divided by its 99th percentile. A constant map becomes a plane at 1.

    Returns:
        [h, w] float32, > 0.
    """
    values = disparity.values.detach().cpu().float().numpy()
    low, high = (float(p) for p in np.percentile(values, (FARTHEST_PERCENTILE, NEAREST_PERCENTILE)))
    if disparity.metric:
        scaled = values / high if high > 0 else np.ones_like(values)
        return torch.from_numpy(np.clip(scaled, SMALLEST_METRIC, LARGEST_DISPARITY).astype(np.float32))
    if high - low <= 1e-6 * max(abs(high), 1e-12):
        # Constant but for a few pixels, or altogether: percentiles can't tell, the extremes can.
        low, high = float(values.min()), float(values.max())
    if high <= low:
        return torch.ones(values.shape, dtype=torch.float32)
    scaled = floor + (1 - floor) * (values - low) / (high - low)
    return torch.from_numpy(np.clip(scaled, floor, LARGEST_DISPARITY).astype(np.float32))


def read_disparity(path: str | Path) -> Disparity:
    """A depth map from a file: near is white; an npy array is taken as disparity, near is large.

    Raises:
        InputError: no such file, a kind we don't read, not a single plane, or values that are not finite.
    """
    path = Path(path)
    _check_file(path)
    values = _read_array(path) if path.suffix.lower() == ".npy" else _read_picture(path)
    return disparity_from_array(values, path.name)


def disparity_from_array(values: np.ndarray | Tensor, name: str = "array") -> Disparity:
    """[h, w] of any number type, near is large, known up to scale and shift.

    Raises:
        InputError: another shape, or values that are not finite.
    """
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array.reshape([side for side in array.shape if side != 1] or [1, 1])
    if array.ndim != 2 or min(array.shape) < 2:
        raise InputError(f"The depth map {name} is {_shape(array)}; it must be one plane, height × width.")
    if not (np.issubdtype(array.dtype, np.number) and not np.iscomplexobj(array)):
        raise InputError(f"The depth map {name} holds {array.dtype}; it must hold numbers.")
    array = array.astype(np.float32)
    bad = int((~np.isfinite(array)).sum())
    if bad:
        raise InputError(
            f"The depth map {name} holds {bad} values that are not finite numbers; mend them first."
        )
    return Disparity(torch.from_numpy(np.ascontiguousarray(array)), source=name)


def _raw(photo: Photo, source: Any, device: str | None, offline: bool) -> tuple[Disparity, bool]:
    """What the source says, and whether its edges are soft, as a network's are."""
    if isinstance(source, Disparity):
        return source, False
    if isinstance(source, (np.ndarray, Tensor)):
        return disparity_from_array(source), False
    if not isinstance(source, (str, Path)):
        if not isinstance(source, DepthSource):
            raise InputError(
                f"The depth source is {as_given(source)}; it must be a name, a file, an array, or have a method "
                "disparity(rgb)."
            )
        found = source.disparity(photo.rgb)
        if not isinstance(found, Disparity):
            raise InputError(
                f"The depth source gave {as_given(found)}; its method disparity(rgb) must return a Disparity."
            )
        return found, True
    check_source(source)
    text = str(source)
    named = NAMED.get(text)
    if named is not None:
        return named(photo, device, offline)
    if text.startswith("hub:"):
        return _transformers(text.removeprefix("hub:"), photo, device, offline), True
    path = Path(text)
    if path.is_dir():
        return _transformers(path, photo, device, offline), True
    return read_disparity(path), False


def _auto(photo: Photo, device: str | None, offline: bool) -> tuple[Disparity, bool]:
    from kinephoto.scene.depth_networks import best_cached

    name = best_cached()
    if name is not None:
        return _transformers(name, photo, device, offline=True), True
    return _builtin(photo, device, offline)


def _builtin(photo: Photo, device: str | None, offline: bool) -> tuple[Disparity, bool]:
    from kinephoto.scene.depthnet import load_builtin

    return Disparity(load_builtin(device or "cpu").disparity(photo.rgb), source="builtin"), True


def _embedded(photo: Photo, device: str | None, offline: bool) -> tuple[Disparity, bool]:
    values = photo.capture.embedded_disparity
    if values is None:
        raise InputError(
            f"{photo.capture.name} brings no depth: there is none in the file and no "
            f"{Path(photo.capture.name).stem}_depth.png beside it."
        )
    # A phone's depth is small and soft, like a network's.
    return Disparity(values, photo.capture.embedded_metric, "embedded"), True


def _transformers(name: str | Path, photo: Photo, device: str | None, offline: bool) -> Disparity:
    from kinephoto.scene.depth_networks import TransformersDepth

    return TransformersDepth(name, device=device, offline=offline).disparity(photo.rgb)


NAMED: dict[str, Callable[[Photo, str | None, bool], tuple[Disparity, bool]]] = {
    "auto": _auto,
    "builtin": _builtin,
    "embedded": _embedded,
}


def _check_file(path: Path) -> None:
    """Refuse a file that is not there, or no depth map by its name."""
    if not path.is_file():
        raise InputError(f"There is no depth file {path}.")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path.name} is not a depth file kinephoto reads; it reads {', '.join(SUFFIXES)}.")


def _read_array(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise InputError(f"{path.name} is not a NumPy array that can be read.") from None


def _read_picture(path: Path) -> np.ndarray:
    """[h, w], or [h, w, 3] reduced to one plane where all channels say the same."""
    import cv2

    data = np.fromfile(path, np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if picture is None:
        raise InputError(f"{path.name} is not a picture that can be read as depth.")
    if picture.ndim == 3:
        colours = picture[..., :3].astype(np.float32)
        peak = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}.get(picture.dtype, 1.0)
        if float(np.ptp(colours, axis=-1).mean()) > 0.02 * peak:
            raise InputError(f"{path.name} is a coloured picture; a depth map is grey, near is white.")
        picture = colours.mean(-1)
    return picture


def _check_aspect(disparity: Disparity, photo: Photo) -> None:
    have, want = disparity.values.shape, photo.camera.hw
    error = abs(np.log((have[1] / have[0]) / (want[1] / want[0])))
    # A pixel more or less is rounding, too, where maps are small.
    if error > max(LARGEST_ASPECT_ERROR, 1.5 / min(have)):
        raise InputError(
            f"The depth map {disparity.source} is {have[1]}×{have[0]} and the photo {want[1]}×{want[0]}; "
            "they must have the same aspect."
        )


def _resized(values: Tensor, hw: tuple[int, int]) -> Tensor:
    if tuple(values.shape) == tuple(hw):
        return values
    shrinks = values.shape[0] > hw[0]
    mode = "area" if shrinks else "bilinear"
    align = {} if shrinks else {"align_corners": False}
    return F.interpolate(values[None, None], size=hw, mode=mode, **align)[0, 0].contiguous()


def _shape(array: np.ndarray) -> str:
    return "×".join(str(side) for side in array.shape) or "a single number"
