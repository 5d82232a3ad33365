from __future__ import annotations

import io
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from kinephoto.errors import InputError
from kinephoto.learn.distill import distill
from kinephoto.learn.pack import pack
from kinephoto.learn.pack_settings import PackSettings
from kinephoto.learn.painter_plan import plan
from kinephoto.learn.painter_settings import OutpainterSettings, PainterSettings
from kinephoto.learn.photos import is_held_out, split_of
from kinephoto.learn.plan import finished
from kinephoto.learn.shard_crops import ShardCrops
from kinephoto.learn.shards import STEPS_PER_SHARD, read_shards
from kinephoto.learn.tar_places import TarPlaces, expanded


@pytest.fixture(scope="module")
def index(photos, tmp_path_factory) -> Path:
    """Six shards of four photos each."""
    folder = tmp_path_factory.mktemp("shards")
    for _ in pack(photos, folder / "one", PackSettings(depth="none", photo_format="as-is")):
        pass
    with tarfile.open(folder / "one" / "photos-000000.tar") as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar.getmembers()]
    keys = list(dict.fromkeys(member.name.partition(".")[0] for member, _ in members))
    for number in range(6):
        own = keys[4 * number : 4 * number + 4]
        with tarfile.open(folder / f"part-{number}.tar", "w") as tar:
            for member, content in members:
                if member.name.partition(".")[0] in own:
                    tar.addfile(member, io.BytesIO(content))
    return folder / "part-{0..5}.tar"


def read(urls: Path, **given):
    return finished(read_shards(urls, None, 0, **given))


def settings_of(kind, urls: Path, out: Path, **changes):
    return kind(**({"photos": urls, "out": out, "crop_px": 32, "threads": 1} | changes))


def test_every_photo_is_there_and_a_held_out_one_is_never_learnt_from(index, photos):
    found, _ = read(index)
    train, held_out = ({photo.name for photo in part} for part in (found.train, found.held_out))
    assert len(train) + len(held_out) == 24 and not train & held_out
    places = TarPlaces(expanded(index))
    names = [places.original(number) for number in range(24)]
    assert sorted(names) == sorted(split_of(photos, "train") + split_of(photos, "held-out"))
    chosen = {places.names[number] for number, name in enumerate(names) if is_held_out(name)}
    assert held_out == chosen or (not chosen and len(held_out) == 1)


def test_a_dry_run_counts_what_the_shards_hold(index, tmp_path):
    found, _ = read(index)
    chosen = settings_of(PainterSettings, index, tmp_path / "out", init="scratch", widths=[32, 32], batch=2)
    told = f"{len(found.train)} photos to learn from and {len(found.held_out)} to check on"
    assert told in plan(chosen) and not (tmp_path / "out").exists()


def test_a_crop_depends_on_its_key_alone_whatever_memory_holds(index, tmp_path):
    much, little = (
        ShardCrops(settings_of(PainterSettings, index, tmp_path, memory_mb=64), read(index, memory_mb=mb)[0])
        for mb in (64, 0)
    )
    keys = [(0, step, number) for step in (0, 250, 10_000) for number in range(3)]
    whole, alone = much.batch("train", keys), little.batch("train", keys[4:])
    assert whole.names[4:] == alone.names
    assert torch.equal(whole.rgb[4:], alone.rgb) and torch.equal(whole.known[4:], alone.known)


def test_each_crop_of_a_step_has_its_own_shard_and_all_photos_get_their_turn(index):
    train = read(index)[0].train

    def names(step, number):
        return {photo.name for photo in train.part((0, step, number))}

    parts = [names(0, number) for number in range(5)]
    assert all(len(part) <= 4 for part in parts)
    assert not any(parts[i] & parts[j] for i in range(5) for j in range(i))
    assert names(STEPS_PER_SHARD - 1, 0) == parts[0] and names(STEPS_PER_SHARD, 0) == parts[1]
    turns = set().union(*(names(step, 0) for step in range(0, 7 * STEPS_PER_SHARD, STEPS_PER_SHARD)))
    assert len(turns) == len(train)


def test_depth_learns_from_shards_and_goes_on_exactly(index, settings, tiny, tmp_path):
    def losses(chosen, until=None):
        found, work = [], distill(chosen, tiny)
        for state in work:
            if state.stage == "training":
                found.append(state.loss)
                if state.step == until:
                    work.close()
        return found

    whole = losses(settings(photos=index, out=tmp_path / "whole", steps=4))
    parted = settings(photos=index, out=tmp_path / "parted", steps=4)
    assert losses(parted, until=2) + losses(parted) == whole


def test_the_outpainter_takes_objects_from_shards_and_folders_need_theirs(index, photos, tmp_path):
    found, _ = read(index)
    chosen = settings_of(OutpainterSettings, index, tmp_path)
    with pytest.raises(InputError, match="No photo has objects"):
        ShardCrops(chosen, found)
    with pytest.raises(ValueError, match="--objects must be given"):
        settings_of(OutpainterSettings, photos, tmp_path)
    for photo in (*found.train, *found.held_out):
        mapped = np.zeros(photo.code.shape, np.uint8)
        mapped[20:40, 20:40] = 1
        object.__setattr__(photo, "objects", mapped)
    found.train.with_objects = lambda: found.train
    found.held_out.with_objects = lambda: found.held_out
    crops = ShardCrops(settings_of(OutpainterSettings, index, tmp_path, object_share=1.0), found)
    batch = crops.batch("train", [(0, 0, number) for number in range(4)])
    assert 0.02 <= float(batch.known.float().mean()) <= 0.7
    assert list(crops.checks) == ["held_out_objects"]


def test_memory_holds_the_places_of_photos_and_those_drawn_last(index, tmp_path):
    with tarfile.open(tmp_path / "many.tar", "w") as tar:
        for number in range(3000):
            for ending in ("webp", "disparity.avif", "txt"):
                tar.addfile(tarfile.TarInfo(f"photos/{number:06}-jpg.{ending}"))
    tracemalloc.start()
    places = TarPlaces([tmp_path / "many.tar"])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(places.names) == 3000
    assert held / 3000 < 600  # a name, a number, eight numbers of eight bytes; a TarInfo alone takes more
    train = read(index, memory_mb=0)[0].train
    assert len([photo.name for photo in train]) == len(train)
    assert len(train._read._recent) == 1
