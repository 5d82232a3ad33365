"""Photos from WebDataset shards: tar files of NAME.jpg, with NAME.disparity.png and NAME.txt where there are any.

They are read into memory, about 0.6 MB a photo. A line of NAME.txt is a caption, a label is made where it is missing.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kinephoto.errors import InputError
from kinephoto.learn.distill import PhotoSet, Progress
from kinephoto.learn.labels import TeacherLabels
from kinephoto.learn.photos import Labelled, Skipped, check_few_bad, is_held_out, reason, upright

PICTURES = ("jpg", "jpeg", "png", "webp", "avif")
LABELS = ("disparity.png", "disparity.avif", "disparity.webp")


def is_shards(photos: Path) -> bool:
    """Whether ``--photos`` names tar files, such as ``shards-{000..127}.tar``."""
    return photos.suffix == ".tar"


def read_shards(
    urls: Path, labels: TeacherLabels
) -> Generator[Progress, None, tuple[PhotoSet, dict[str, list[str]]]]:
    """Read every photo; yields for each and returns the photos and the captions of those to learn from.

    A twenty-fourth is held out, by a hash of the name, as from a folder.

    Raises:
        InputError: no such shard, none of its photos can be used, or too many can't.
    """
    began = time.perf_counter()
    train: list[Labelled] = []
    held_out: list[Labelled] = []
    skipped: list[Skipped] = []
    captions: dict[str, list[str]] = {}
    done = 0
    for done, sample in enumerate(_samples(urls), 1):
        name, note = str(sample["__key__"]), ""
        try:
            photo = _labelled(name, sample, labels)
        except InputError as error:
            skipped.append(Skipped(name, str(error)))
            note = f"Skipped: {error}"
        else:
            (held_out if is_held_out(name) else train).append(photo)
            said = bytes(sample.get("txt", b"")).decode("utf-8", "replace").splitlines()
            captions[name] = [line.strip() for line in said if line.strip()]
        seconds = time.perf_counter() - began
        yield Progress(done, done, math.nan, None, seconds, "photos", note, len(skipped))
    check_few_bad(urls, skipped, done)
    if not held_out and len(train) > 1:
        held_out.append(train.pop())
    if not train or not held_out:
        raise InputError(
            f"{urls} holds {len(train) + len(held_out)} photos that can be used; two are needed."
        )
    learnt = {photo.name for photo in train}
    return PhotoSet(train, held_out, skipped), {k: v for k, v in captions.items() if v and k in learnt}


def _samples(urls: Path) -> Iterator[dict[str, Any]]:
    try:
        import webdataset
    except ImportError:
        raise InputError("Shards need webdataset: pip install 'kinephoto[train]'") from None
    for file in webdataset.shardlists.expand_urls(str(urls)):
        if not Path(file).is_file():
            raise InputError(f"There is no shard {file}.")
        try:
            yield from webdataset.WebDataset([file], shardshuffle=False, empty_check=False)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{file} is not a tar file that can be read to its end ({reason(error)})."
            ) from None


def _labelled(name: str, sample: dict[str, Any], labels: TeacherLabels) -> Labelled:
    picture = next((sample[kind] for kind in PICTURES if kind in sample), None)
    if picture is None:
        raise InputError(f"{name} has no picture; shards hold NAME.jpg, .png, .webp or .avif.")
    rgb = upright(io.BytesIO(picture))
    label = next((sample[kind] for kind in LABELS if kind in sample), None)
    if label is None:
        return Labelled(name, rgb, labels.code(rgb))
    try:
        with Image.open(io.BytesIO(label)) as file:
            code = np.asarray(
                file.convert("L").resize((rgb.shape[1], rgb.shape[0]), Image.Resampling.BILINEAR)
            )
    except Exception as error:  # Pillow's decoders each raise kinds of their own
        raise InputError(f"The label of {name} is not a picture that can be read ({error}).") from None
    return Labelled(name, rgb, code)
