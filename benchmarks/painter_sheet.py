"""The contact sheet of docs/painter.jpg: twelve holes of the free photos in examples/, each painter side by side.

    python benchmarks/painter_sheet.py --out docs/painter.jpg

Three holes of each photo, cycle-rendered with the built-in depth at a short side of 320 px; 96 px around the widest
part of each hole, twice as large. No painter was trained on these photos.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

import kinephoto as kp
from kinephoto.learn.pairs import cycle_pair
from kinephoto.painter import get_painter, paint_holes
from kinephoto.painter.farther import nearest_from_farther_side, nearest_true
from kinephoto.scene.depth import normalised
from kinephoto.scene.edges import default_widening_px, sharpen, widen_near
from kinephoto.scene.holes import farther_disparity
from kinephoto.scene.photo import resized

SHORT_SIDE_PX, AROUND_PX, ZOOM, HOLES = 320, 96, 2, 3
PAINTERS = ("opencv:telea", "opencv:ns", "classical", "builtin")
LABEL_PX = 16


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    rows, header = [], ["photo", "hole", "nearest", "nearest, far side", *PAINTERS]
    for path in sorted(options.photos.glob("*.jpg")):
        photo = kp.read_photo(path)
        height, width = photo.camera.hw
        scale = SHORT_SIDE_PX / min(height, width)
        photo = resized(photo, (round(height * scale), round(width * scale)))
        disparity = sharpen(normalised(kp.estimate_depth(photo, "builtin")), photo.rgb)
        disparity = widen_near(disparity, default_widening_px(photo.camera.hw))
        for index in range(HOLES):
            rows.append(row(photo.rgb, disparity, options.seed, index))
    sheet = np.concatenate([np.concatenate([tile(each) for each in line], 1) for line in rows], 0)
    picture = Image.new("RGB", (sheet.shape[1], sheet.shape[0] + LABEL_PX), "white")
    picture.paste(Image.fromarray(sheet), (0, LABEL_PX))
    draw = ImageDraw.Draw(picture)
    for number, name in enumerate(header):
        draw.text((number * AROUND_PX * ZOOM + 4, 2), name, fill="black")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(options.out, quality=90)
    print(f"{options.out}: {len(rows)} holes, {', '.join(header[2:])}")


def row(rgb: Tensor, disparity: Tensor, seed: int, index: int) -> list[Tensor]:
    """The photo, the hole and what each painter makes of it, cut around the hole's widest part inside the photo."""
    pair = cycle_pair(rgb, disparity, seed, index)
    known, masked = pair.known, rgb * pair.known
    complete = farther_disparity(disparity * known, known)
    rows, columns = nearest_true(known.numpy())
    pictures = [rgb, masked, masked[:, rows, columns], nearest_from_farther_side(masked, known, complete)]
    pictures += [paint_holes(get_painter(name), masked, known, complete) for name in PAINTERS]
    inside = (~known).numpy().astype(np.uint8)
    half = AROUND_PX // 2
    inside[:half], inside[-half:], inside[:, :half], inside[:, -half:] = 0, 0, 0, 0
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    top = int(np.clip(y - half, 0, known.shape[0] - AROUND_PX))
    left = int(np.clip(x - half, 0, known.shape[1] - AROUND_PX))
    return [each[:, top : top + AROUND_PX, left : left + AROUND_PX] for each in pictures]


def tile(rgb: Tensor) -> np.ndarray:
    """[3, h, w] to [ZOOM h, ZOOM w, 3] uint8."""
    pixels = (rgb.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return pixels.repeat(ZOOM, 0).repeat(ZOOM, 1)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, default=Path("examples"), help="folder of free photos")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
