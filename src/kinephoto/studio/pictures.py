"""Still pictures: the border where floats become bytes, depth maps as files, contact sheets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.scene.photo import FULL_FRAME_DIAGONAL_MM
from kinephoto.scene.values import Disparity, Photo
from kinephoto.studio.certificates import Signer
from kinephoto.studio.content_credentials import sign
from kinephoto.studio.files import check_suffix, whole
from kinephoto.studio.provenance import DATA, Provenance, software, xmp_of

if TYPE_CHECKING:
    from PIL import Image

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
DEPTH_SUFFIXES = (".png", ".npy")

# Pillow's own scales: zlib level (3 costs half of the default 6 and is 5 % larger), JPEG and WebP quality.
_PNG: dict[str, Any] = {"compress_level": 3}
JPEG: dict[str, Any] = {"quality": 95, "subsampling": 0}
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    ".png": _PNG,
    ".jpg": JPEG,
    ".jpeg": JPEG,
    ".webp": {"quality": 92},
}
_EXIF_IFD, _FOCAL_35MM = 0x8769, 0xA405


def to_uint8(picture: Tensor) -> np.ndarray:
    """Floats to bytes, to the nearest: the only place where kinephoto does so.

    Args:
        picture: [3, H, W] or [H, W], any float dtype and device; clipped to [0, 1].

    Returns:
        [H, W, 3] or [H, W] uint8, contiguous, 0 for 0 and 255 for 1.

    Example:
        >>> to_uint8(torch.tensor([[0.0, 0.499, 1.2]])).tolist()
        [[0, 127, 255]]
    """
    planes = picture.detach().mul(255.0).round_().clamp_(0, 255).to(torch.uint8).cpu().contiguous().numpy()
    if planes.ndim == 2:
        return planes
    import cv2

    # Interleaves ten times as fast as permute().contiguous() does.
    return cv2.merge(list(planes))


def write_picture(
    rgb: Tensor,
    target: str | Path,
    *,
    metadata: Mapping[str, str] | None = None,
    provenance: Provenance | None = None,
    signer: Signer | None = None,
    exif: bytes = b"",
) -> Path:
    """Write one picture.

    Args:
        rgb: [3, H, W] or [H, W] (grey) float in [0, 1], sRGB.
        target: a file that ends in .png, .jpg, .jpeg or .webp; appears whole or not at all.
        metadata: texts to keep with a PNG, such as {"Title": "Beach"}; the other kinds ignore it.
        provenance: how the picture came to be, written into it as XMP; None for what wasn't generated.
        signer: signs that as well: see `kinephoto.studio.content_credentials`.
        exif: from ``exif_of``, for a picture that is a photo itself.

    Raises:
        InputError: a suffix kinephoto doesn't write, or a place it cannot write to.
    """
    suffix = check_suffix(target, PICTURE_SUFFIXES, "picture")
    from PIL import Image

    image = Image.fromarray(to_uint8(rgb))
    known = {"exif": exif} if exif else {}
    options = _SAVE_OPTIONS[suffix] | ({"xmp": xmp_of(provenance)} if provenance else {}) | known
    with whole(target) as part:
        if suffix == ".png":
            save_png(image, part, metadata, provenance, exif)
        else:
            image.save(part, **options)
        if provenance is not None and signer is not None:
            sign(part, signer, provenance, Path(target).name)
    return Path(target)


def exif_of(photo: Photo) -> bytes:
    """The 35 mm focal length, so that whoever reads the photo again has the same camera; nothing if not known."""
    from PIL import Image

    if photo.capture.field_of_view != "exif":
        return b""
    exif = Image.Exif()
    focal_mm = photo.camera.focal_px * FULL_FRAME_DIAGONAL_MM / math.hypot(*photo.camera.hw)
    exif.get_ifd(_EXIF_IFD)[_FOCAL_35MM] = round(focal_mm)
    return exif.tobytes()


def save_png(
    image: Image.Image,
    path: Path,
    metadata: Mapping[str, str] | None = None,
    provenance: Provenance | None = None,
    exif: bytes = b"",
) -> None:
    """Save as PNG with texts (iTXt, so that any language will do); the caller cares for the path."""
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    for name, text in (metadata or {}).items():
        texts.add_itxt(name, text)
    if provenance is not None:
        texts.add_itxt("XML:com.adobe.xmp", xmp_of(provenance).decode())
    image.save(path, format="PNG", pnginfo=texts, **_PNG, **({"exif": exif} if exif else {}))


def write_depth(disparity: Disparity, target: str | Path, *, provenance: Provenance | None = None) -> Path:
    """Write a disparity map: 16-bit grey PNG for programs that look, npy for programs that count.

    In the PNG near is white. A metric disparity is divided by its largest value, so that ratios stay
    and black is infinitely far; any other is known only up to scale and shift, and is stretched from
    black to white, a constant one becoming white. The npy holds the values as they are.

    Args:
        disparity: near is large.
        target: a file that ends in .png or .npy; appears whole or not at all.
        provenance: how the map came to be, written into a png as XMP; an npy has no place for it.

    Raises:
        InputError: a suffix kinephoto doesn't write, or a place it cannot write to.
    """
    suffix = check_suffix(target, DEPTH_SUFFIXES, "depth map")
    values = disparity.numpy().astype(np.float32)
    with whole(target) as part:
        if suffix == ".npy":
            with part.open("wb") as file:  # np.save would add its suffix to a name
                np.save(file, values)
        else:
            from PIL import Image

            low = 0.0 if disparity.metric else float(values.min())
            span = float(values.max()) - low
            share = (values - low) / span if span > 0 else np.ones_like(values)
            save_png(Image.fromarray(np.rint(share * 65535).astype(np.uint16)), part, provenance=provenance)
    return Path(target)


def origin_of_depth(disparity: Disparity) -> Provenance:
    """What a depth map's file says of how it was made: a picture of data, in which nothing was painted."""
    return Provenance(software(), "none", disparity.source, 0, source_type=DATA)


def colour_depth(disparity: Disparity) -> Tensor:
    """A depth map for the eye: near is bright yellow, far is black, in steps that look even (inferno).

    Stretched between the 0.5th and the 99.5th percentile, so that a few specks don't eat the range.

    Returns:
        [3, H, W] float32 in [0, 1], sRGB.
    """
    import cv2

    steps = np.arange(256, dtype=np.uint8)[:, None]
    table = cv2.applyColorMap(steps, cv2.COLORMAP_INFERNO)[:, 0, ::-1].astype(np.float32) / 255
    values = disparity.numpy()
    low, high = np.percentile(values, (0.5, 99.5))
    share = np.clip((values - low) / (high - low), 0, 1) if high > low else np.ones_like(values)
    planes = [np.interp(share, np.linspace(0, 1, 256), table[:, channel]) for channel in range(3)]
    return torch.from_numpy(np.stack(planes).astype(np.float32))


def contact_sheet(
    rgbs: Sequence[Tensor], *, columns: int = 3, labels: Sequence[str] = (), cell_width_px: int = 480
) -> Tensor:
    """Many pictures on one page, row by row, each fitted into a cell of the first one's shape.

    Args:
        rgbs: [3, H, W] or [H, W] each, float in [0, 1], sizes may differ.
        columns: pictures in a row; fewer pictures make a narrower sheet.
        labels: a short line for each picture, or none at all.
        cell_width_px: width of a picture on the sheet.

    Returns:
        [3, H, W] float32 in [0, 1], dark grey between the pictures.

    Raises:
        InputError: no pictures, or labels for another number of pictures.
    """
    from PIL import Image, ImageDraw, ImageFont

    if not rgbs:
        raise InputError("A contact sheet needs at least one picture; got none.")
    if labels and len(labels) != len(rgbs):
        raise InputError(f"A contact sheet got {len(rgbs)} pictures but {len(labels)} labels.")
    columns = max(1, min(columns, len(rgbs)))
    first_h, first_w = rgbs[0].shape[-2:]
    cell_wh = (cell_width_px, max(1, round(cell_width_px * first_h / first_w)))
    gap = max(4, cell_width_px // 60)
    line = cell_width_px // 16 if labels else 0
    rows = -(-len(rgbs) // columns)
    sheet_wh = (columns * (cell_wh[0] + gap) + gap, rows * (cell_wh[1] + line + gap) + gap)
    sheet = Image.new("RGB", sheet_wh, (32, 32, 32))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=max(8, round(line * 0.62)))
    for number, rgb in enumerate(rgbs):
        left = gap + (number % columns) * (cell_wh[0] + gap)
        top = gap + (number // columns) * (cell_wh[1] + line + gap)
        image = Image.fromarray(to_uint8(rgb)).convert("RGB")
        scale = min(cell_wh[0] / image.width, cell_wh[1] / image.height)
        wh = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(wh, Image.Resampling.LANCZOS)
        sheet.paste(image, (left + (cell_wh[0] - wh[0]) // 2, top + (cell_wh[1] - wh[1]) // 2))
        if labels:
            draw.text((left, top + cell_wh[1] + line * 0.12), labels[number], fill=(230, 230, 230), font=font)
    return torch.from_numpy(np.asarray(sheet).copy()).permute(2, 0, 1).float() / 255
