"""The contact sheet of docs/outpainting.jpg: scenes around objects of six free photos, four of them in examples/.

    python benchmarks/outpaint_sheet.py --out docs/outpainting.jpg

The other two, a cat and a man with a camera, both CC0, come with scikit-image. Each row: the photo, the object that
GrabCut finds in a box, a scene by the classical painter, and scenes of three seeds by the built-in one. No painter
was trained on these photos.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import kinephoto as kp
from kinephoto.scene.photo import photo_from_array, resized
from kinephoto.scene.values import Photo
from kinephoto.studio.cutout import cut_out
from kinephoto.studio.outpaint import outpaint, placed
from kinephoto.studio.pictures import contact_sheet, write_picture

SIDE_PX, SEEDS = 384, (0, 1, 2)
OBJECTS = {
    "astronaut": ((0.02, 0.0, 0.9, 1.0), "an astronaut before a flag"),
    "coffee": ((0.2, 0.05, 0.85, 0.95), "a cup of coffee on a table"),
    "raccoon": ((0.02, 0.02, 0.98, 0.98), "a raccoon in the grass"),
    "rocket": ((0.39, 0.05, 0.63, 0.98), "a rocket at night"),
    "chelsea": ((0.18, 0.0, 0.98, 1.0), "a cat on a sofa"),
    "camera": ((0.1, 0.1, 0.75, 1.0), "a man with a camera in a meadow"),
}
"""By photo: a box around the object, as shares of width and height, and a prompt."""


def read(name: str, folder: Path) -> Photo:
    """A photo of the folder, else one that scikit-image carries."""
    if (folder / f"{name}.jpg").is_file():
        return kp.read_photo(folder / f"{name}.jpg")
    from skimage import data
    from skimage.color import gray2rgb

    picture = getattr(data, name)()
    return photo_from_array(picture if picture.ndim == 3 else gray2rgb(picture), name=name)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, default=Path("examples"))
    parser.add_argument("--painter", default="builtin")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pictures, labels = [], []
    for name, (box, prompt) in OBJECTS.items():
        photo = read(name, options.photos)
        height, width = photo.camera.hw
        scale = SIDE_PX / min(height, width)
        photo = resized(photo, (round(height * scale), round(width * scale)))
        height, width = photo.camera.hw
        cutout = cut_out(photo, box=(box[0] * width, box[1] * height, box[2] * width, box[3] * height))
        alone, _ = placed(cutout, (SIDE_PX, SIDE_PX), "centre", None)
        pictures += [photo.rgb, alone]
        labels += [name, "the object"]
        for painter, seed in [("classical", 0), *((options.painter, seed) for seed in SEEDS)]:
            made = outpaint(cutout, prompt=prompt, hw=(SIDE_PX, SIDE_PX), painter=painter, seed=seed)
            pictures.append(made.photo.rgb)
            labels.append(f"{made.painter}, seed {seed}")
    write_picture(contact_sheet(pictures, columns=6, labels=labels, cell_width_px=256), options.out)
    print(f"{options.out}: {len(OBJECTS)} objects")


if __name__ == "__main__":
    main()
