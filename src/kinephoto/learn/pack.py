"""Photos become WebDataset shards: tar files with photo, disparity, captions and objects, and an index of them.

Photos come in an order that a seed decides, so the same photos and settings give the same shards, whether or not the
run was killed in between: what is finished stands in the index, and the next shard begins there.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from PIL import Image

from kinephoto.errors import InputError
from kinephoto.learn.captions import read_captions
from kinephoto.learn.checkpoint import sweep
from kinephoto.learn.hole_crops import drawn_ahead
from kinephoto.learn.labels import QUALITY, BuiltinDepth, TeacherLabels, read_code
from kinephoto.learn.objects import Outline, object_map, read_outlines
from kinephoto.learn.pack_settings import PackSettings
from kinephoto.learn.photos import Skipped, check_few_bad, label_path, reason, split_of, upright
from kinephoto.learn.tar_places import ENDINGS, INDEX, Part
from kinephoto.whole_file import written_whole

LARGEST_PX = 100_000
"""Short side of a photo at its own size."""


@dataclass(frozen=True)
class Packed:
    """How far packing has come.

    Attributes:
        done: photos dealt with by all runs, those that can't be used among them.
        total: photos there are.
        skipped: that can't be used.
        shards: that are finished.
        seconds: since this run began.
        note: a sentence for the user, or nothing.
    """

    done: int
    total: int
    skipped: int
    shards: int
    seconds: float
    note: str = ""


@dataclass(eq=False)
class _Index:
    """What is finished; written after every shard, in the form that WebDataset's ``wids`` reads.

    Attributes:
        made_of: hash of the photos' names, and settings; another run can't go on with it.
        shards: url, nsamples, filesize, sha256 of each, and how many have labels, captions, objects.
        skipped: photos that can't be used.
        done: photos that are in shards or skipped.
    """

    made_of: dict[str, Any]
    shards: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    done: int = 0

    def write(self, path: Path, complete: bool) -> None:
        content = {
            "__kind__": "wids-shard-index-v1",
            "wids_version": 1,
            "shardlist": self.shards,
            "complete": complete,
            "photos": sum(shard["nsamples"] for shard in self.shards),
            "done": self.done,
            "skipped": [[each.name, each.why] for each in self.skipped],
            "versions": {name: version(name) for name in ("kinephoto", "torch", "pillow")},
        }
        with written_whole(path) as beside:
            beside.write_text(json.dumps(content | self.made_of, indent=1) + "\n", encoding="utf-8")


def pack(photos: Path, out: Path, settings: PackSettings) -> Generator[Packed, None, None]:
    """Write shards ``out/photos-000000.tar`` and so on, and ``out/index.json``; yields after every photo.

    A run that was stopped goes on after the last finished shard. Closing it keeps what is finished. Of a folder with
    ``manifest.csv`` the split train is packed.

    Args:
        photos: a folder, see ``kinephoto.learn.photos``.
        out: a folder, made if need be.
        settings: how.

    Raises:
        InputError: photos, captions, objects or labels that can't be read, more than a twentieth of the photos bad, a
            folder that holds something else, or a full disk; what is finished stays.
    """
    began = time.perf_counter()
    names = _in_order(photos, settings.seed)
    index = _begun(out, names, settings)
    if index.done == len(names):
        note = f"All {len(names)} photos are packed already."
        yield Packed(index.done, len(names), len(index.skipped), len(index.shards), 0.0, note)
        return
    sample_of = _Sampler(photos, names, settings)
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    shard = _Shard()
    try:
        first = index.done
        samples = drawn_ahead(lambda number: sample_of(names[number]), first, len(names))
        for done, sample in enumerate(samples, first + 1):
            note = ""
            if isinstance(sample, Skipped):
                shard.skipped.append(sample)
                note = f"Skipped: {sample.why}"
                check_few_bad(photos, [*index.skipped, *shard.skipped], len(names))
            else:
                shard.add(names[done - 1], sample)
            if shard.size >= settings.shard_mb * 1_000_000 or done == len(names):
                _keep(shard, out, index, done, done == len(names))
                shard = _Shard()
            bad, seconds = len(index.skipped) + len(shard.skipped), time.perf_counter() - began
            yield Packed(done, len(names), bad, len(index.shards), seconds, note)
    finally:
        torch.set_num_threads(threads)


class _Shard:
    """A shard in the making; in memory, so that a disk never holds half of one."""

    def __init__(self) -> None:
        self._file = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)
        self.skipped: list[Skipped] = []
        self.counts = dict.fromkeys(("nsamples", "labels", "captions", "objects"), 0)

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._file.tell()

    def add(self, name: str, sample: Mapping[str, bytes]) -> None:
        for ending, content in sample.items():
            # No time and no owner, so that the same photos give the same bytes.
            member = tarfile.TarInfo(f"{key_of(name)}.{ending}")
            member.size = len(content)
            self._tar.addfile(member, io.BytesIO(content))
        parts = [ENDINGS.get(ending) for ending in sample]
        self.counts["nsamples"] += 1
        for part, count in ((Part.LABEL, "labels"), (Part.TEXT, "captions"), (Part.OBJECTS, "objects")):
            self.counts[count] += part in parts

    def finished(self) -> memoryview:
        """Its bytes."""
        self._tar.close()
        return self._file.getbuffer()


class _Sampler:
    """Makes what a shard holds of a photo, file by file, or says why it can't be used."""

    def __init__(self, photos: Path, names: Sequence[str], settings: PackSettings) -> None:
        self._photos, self._settings = photos, settings
        every = list(chain.from_iterable(split_of(photos, split) for split in ("train", "held-out", "test")))
        self._captions = read_captions(settings.captions, every) if settings.captions else {}
        self._outlines: Mapping[str, list[Outline]] = (
            read_outlines(settings.objects, every) if settings.objects else {}
        )
        self._labels = _labels_by(settings)

    def __call__(self, name: str) -> dict[str, bytes] | Skipped:
        try:
            return self._made(name)
        except InputError as error:
            return Skipped(name, str(error))

    def _made(self, name: str) -> dict[str, bytes]:
        path, settings = self._photos / name, self._settings
        as_is = settings.photo_format == "as-is" and ENDINGS.get(_ending(path)) == Part.PICTURE
        rgb = upright(path, LARGEST_PX if as_is else settings.short_side_px)
        kept = path.read_bytes() if as_is else _encoded(rgb, "WEBP", settings.quality)
        sample = {_ending(path) if as_is else "webp": kept}
        label = label_path(self._photos, name)
        if label.is_file():
            sample["disparity.avif"] = _fitted(label, path, rgb)
        elif self._labels is not None:
            small = upright(path) if as_is else rgb
            sample["disparity.avif"] = _encoded(self._labels.code(small), "AVIF", QUALITY)
        if self._captions.get(name):
            sample["txt"] = "".join(f"{line}\n" for line in self._captions[name]).encode()
        if self._outlines.get(name):
            mapped = object_map(self._outlines[name], (rgb.shape[0], rgb.shape[1]))
            if mapped.any():
                sample["objects.png"] = _encoded(mapped, "PNG")
        sample["json"] = json.dumps({"name": name}).encode()
        return sample


def key_of(name: str) -> str:
    """A photo's name in its shard: dots would end it, so they become dashes.

    Example:
        >>> key_of("sea/beach.2.jpg")
        'sea/beach-2-jpg'
    """
    path = PurePosixPath(name)
    return str(path.with_name(path.name.replace(".", "-")))


def _labels_by(settings: PackSettings) -> TeacherLabels | None:
    if settings.depth == "none":
        return None
    if settings.depth == "builtin":
        return TeacherLabels(BuiltinDepth(), None)
    from kinephoto.learn.teacher import Teacher
    from kinephoto.machine import usable_device

    return TeacherLabels(Teacher(settings.depth, usable_device(settings.device)), None)


def _in_order(photos: Path, seed: int) -> list[str]:
    """The photos to pack, mixed; a photo's place among the others depends on its name and the seed."""
    names = [*split_of(photos, "train"), *split_of(photos, "held-out")]
    names.sort(key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    twice = len(names) - len({key_of(name) for name in names})
    if twice:
        raise InputError(
            f"{twice} photos in {photos} differ from others in dots and dashes alone; rename them."
        )
    return names


def _begun(out: Path, names: Sequence[str], settings: PackSettings) -> _Index:
    """The index of an earlier run of the same, or a new one.

    Raises:
        InputError: the folder holds shards of other photos or settings, or not all that its index lists.
    """
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    said = settings.model_dump(mode="json", exclude={"device", "threads"})
    index = _Index({"names_sha256": digest, "settings": said})
    place = out / INDEX
    if not place.is_file():
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"The folder {out} can't be made ({error.strerror}).") from None
        strange = next((path.name for path in out.iterdir() if not path.name.startswith(".")), None)
        # A run that was killed before its first index leaves its first shard at most.
        if strange not in (None, shard_name(0)):
            raise InputError(f"The folder {out} holds other things ({strange}); name an empty or a new one.")
        return index
    sweep(out)
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
        index.shards, index.done = list(found["shardlist"]), int(found["done"])
        index.skipped = [Skipped(name, why) for name, why in found["skipped"]]
        before = {name: found[name] for name in index.made_of}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{place} is not an index that can be read ({reason(error)}).") from None
    if before != index.made_of:
        what = [name for name, value in said.items() if before["settings"].get(name) != value]
        other = f"settings ({what[0]})" if what else "photos"
        raise InputError(f"{out} holds shards of other {other}; name another folder.")
    for shard in index.shards:
        file = out / shard["url"]
        if not file.is_file() or file.stat().st_size != shard["filesize"]:
            raise InputError(f"{file} is missing or not as large as {place} says; name another folder.")
    return index


def shard_name(number: int) -> str:
    """Such as ``photos-000000.tar``."""
    return f"photos-{number:06d}.tar"


def _keep(shard: _Shard, out: Path, index: _Index, done: int, complete: bool) -> None:
    """Let the shard appear, then the index that names it."""
    if not shard.counts["nsamples"] and not complete:
        return
    content = shard.finished()
    url = shard_name(len(index.shards))
    try:
        if shard.counts["nsamples"]:
            with written_whole(out / url) as beside:
                beside.write_bytes(content)
            told = {"url": url, "filesize": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            index.shards.append(told | shard.counts)
        index.done = done
        index.skipped += shard.skipped
        index.write(out / INDEX, complete)
    except OSError as error:
        raise InputError(
            f"{out / url} can't be written ({error.strerror}); the shards before it stay, and the same command goes on."
        ) from None


def _ending(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")


def _fitted(label: Path, photo: Path, rgb: np.ndarray) -> bytes:
    """A ready label's file, or the same at the size of the photo as it is stored.

    Raises:
        InputError: it can't be read, or was made for a photo of another shape.
    """
    try:
        code = read_code(label)
    except Exception as error:  # Pillow's decoders each raise kinds of their own
        raise InputError(f"The label {label} is not a picture that can be read ({reason(error)}).") from None
    if code.shape == rgb.shape[:2]:
        return label.read_bytes()
    full = upright(photo, LARGEST_PX).shape[:2]
    if code.shape != full:
        raise InputError(f"{photo} is {full}, its disparity label {code.shape}.")
    wh = (rgb.shape[1], rgb.shape[0])
    return _encoded(np.asarray(Image.fromarray(code).resize(wh, Image.Resampling.BOX)), "AVIF", QUALITY)


def _encoded(values: np.ndarray, kind: str, quality: int | None = None) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, format=kind, **({} if quality is None else {"quality": quality}))
    return file.getvalue()
