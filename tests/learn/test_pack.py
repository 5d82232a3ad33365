from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinephoto.errors import InputError
from kinephoto.learn import pack as packing
from kinephoto.learn.objects import Outline, object_map
from kinephoto.learn.pack import Packed, pack
from kinephoto.learn.pack_settings import PackSettings
from kinephoto.learn.photos import read_labelled, split_of
from kinephoto.learn.plan import finished
from kinephoto.learn.shards import read_shards
from kinephoto.learn.tar_places import INDEX, expanded


@pytest.fixture
def small(monkeypatch):
    """Shards of some kilobytes: a megabyte is 30,000 bytes here."""
    size = packing._Shard.size.fget
    monkeypatch.setattr(packing._Shard, "size", property(lambda self: size(self) * 33))


def run(photos: Path, out: Path, until: int | None = None, **changes) -> list[Packed]:
    work = pack(photos, out, PackSettings(**({"shard_mb": 1, "depth": "none", "threads": 1} | changes)))
    states = []
    for state in work:
        states.append(state)
        if until is not None and state.done == until:
            work.close()
    return states


def digests(out: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.iterdir()}


def shards_read(urls: Path, **given):
    return finished(read_shards(urls, None, 0, **given))


# webdataset leaves its files to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_webdataset_reads_what_was_packed(photos, tmp_path, small):
    webdataset = pytest.importorskip("webdataset")
    names = split_of(photos, "train") + split_of(photos, "held-out")
    said = {"images": [{"id": 0, "file_name": names[0].removeprefix("photos/")}]}
    said["annotations"] = [{"image_id": 0, "caption": "a disc"}, {"image_id": 0, "caption": "a dot"}]
    (tmp_path / "captions.json").write_text(json.dumps(said))
    (tmp_path / "masks").mkdir()
    mask = np.zeros((60, 76), np.uint8)
    mask[20:40, 20:40] = 255
    Image.fromarray(mask).save(tmp_path / "masks" / f"{Path(names[1]).stem}.png")
    given = {"captions": tmp_path / "captions.json", "objects": [tmp_path / "masks"], "photo_format": "as-is"}
    run(photos, tmp_path / "out", **given)
    index = json.loads((tmp_path / "out" / INDEX).read_text())
    urls = [str(tmp_path / "out" / shard["url"]) for shard in index["shardlist"]]
    assert len(urls) > 2
    samples = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False))
    by_name = {json.loads(sample["json"])["name"]: sample for sample in samples}
    assert sorted(by_name) == sorted(names)
    for name, sample in by_name.items():
        truth = read_labelled(photos, name)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(sample["png"]))), truth.rgb)
        assert np.array_equal(
            np.asarray(Image.open(io.BytesIO(sample["disparity.avif"])).convert("L")), truth.code
        )
    assert by_name[names[0]]["txt"] == b"a disc\na dot\n"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(by_name[names[1]]["objects.png"]))), mask // 255)
    assert (
        sum("txt" in sample for sample in samples) == sum("objects.png" in sample for sample in samples) == 1
    )
    for shard in index["shardlist"]:
        content = (tmp_path / "out" / shard["url"]).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (shard["sha256"], shard["filesize"])
    assert index["complete"] and index["photos"] == len(names)
    assert sum(shard["captions"] for shard in index["shardlist"]) == 1


def test_a_run_that_was_killed_goes_on_to_the_same_shards(photos, tmp_path, small):
    whole = run(photos, tmp_path / "whole")
    run(photos, tmp_path / "parted", until=15)
    before = json.loads((tmp_path / "parted" / INDEX).read_text())
    assert not before["complete"] and 0 < before["done"] < 15
    # A kill between a shard and the index that names it, and one in the middle of a shard.
    (tmp_path / "parted" / packing.shard_name(len(before["shardlist"]))).write_bytes(b"not in the index")
    (tmp_path / "parted" / ".photos-000009.tar.01234567.part").write_bytes(b"half")
    states = run(photos, tmp_path / "parted")
    assert states[0].done == before["done"] + 1 and states[-1].done == whole[-1].done
    assert digests(tmp_path / "parted") == digests(tmp_path / "whole")
    assert "packed already" in run(photos, tmp_path / "parted")[0].note


def test_a_bad_photo_is_skipped_and_many_stop_the_run(own_photos, tmp_path, small):
    names = split_of(own_photos, "train")
    (own_photos / names[0]).write_bytes(b"no picture")
    states = run(own_photos, tmp_path / "out")
    assert states[-1].skipped == 1
    index = json.loads((tmp_path / "out" / INDEX).read_text())
    assert [name for name, _ in index["skipped"]] == [names[0]] and index["photos"] == states[-1].total - 1
    (own_photos / names[1]).write_bytes(b"no picture")
    with pytest.raises(InputError, match="More than 5%"):
        run(own_photos, tmp_path / "more")


def test_photos_and_labels_are_made_smaller_together(photos, tmp_path):
    run(photos, tmp_path, short_side_px=40)
    with tarfile.open(tmp_path / "photos-000000.tar") as tar:
        sizes = {
            Image.open(tar.extractfile(name)).size
            for name in tar.getnames()
            if name.endswith((".webp", ".avif"))
        }
    assert sizes == {(51, 40)}


def test_labels_are_made_where_there_are_none(own_photos, tmp_path):
    for label in (own_photos / "disparity").rglob("*.avif"):
        label.unlink()
    (own_photos / "manifest.csv").write_text(
        "path,split\nphotos/free/001.png,train\nphotos/free/002.png,train\n"
    )
    run(own_photos, tmp_path / "out", depth="builtin")
    (shard,) = json.loads((tmp_path / "out" / INDEX).read_text())["shardlist"]
    assert shard["labels"] == shard["nsamples"] == 2
    photo = shards_read(tmp_path / "out" / INDEX)[0].train[0]
    assert photo.code.shape == photo.rgb.shape[:2] and np.ptp(photo.code) > 200


def test_other_photos_settings_and_folders_are_refused(photos, own_photos, tmp_path, small):
    run(photos, tmp_path / "out", until=15)
    with pytest.raises(InputError, match=r"other settings \(quality\)"):
        run(photos, tmp_path / "out", quality=50)
    (own_photos / "manifest.csv").write_text(
        "path,split\nphotos/free/001.png,train\nphotos/free/002.png,train\n"
    )
    with pytest.raises(InputError, match="other photos"):
        run(own_photos, tmp_path / "out")
    (tmp_path / "out" / "photos-000000.tar").write_bytes(b"cut")
    with pytest.raises(InputError, match="not as large as"):
        run(photos, tmp_path / "out")
    with pytest.raises(InputError, match="bytes, by index.json it had"):
        expanded(tmp_path / "out" / INDEX)
    with pytest.raises(InputError, match="holds other things"):
        run(photos, own_photos)
    (tmp_path / "out" / INDEX).write_text("[]")
    with pytest.raises(InputError, match="not an index"):
        run(photos, tmp_path / "out")


def test_a_full_disk_keeps_what_is_finished(photos, tmp_path, small, monkeypatch):
    whole, write = Path.write_bytes, 0

    def full(self, content):
        nonlocal write
        write += 1
        if write == 2:
            whole(self, content[:100])
            raise OSError(28, "No space left on device")
        return whole(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="No space left on device"):
        run(photos, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"photos-000000.tar", INDEX}


def test_of_objects_that_overlap_the_smallest_is_seen():
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], np.float32)
    large, little = Outline((square,), (10, 10)), Outline((square / 2,), (10, 10))
    for outlines in ([large, little], [little, large]):
        mapped = object_map(outlines, (10, 10))
        assert mapped[2, 2] == 2 and mapped[8, 8] == 1
