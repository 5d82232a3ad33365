"""What a batch takes: files, folders, patterns and manifests, and what it doesn't take."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinephoto.errors import InputError
from kinephoto.studio.batch_inputs import Row, rows_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Names without content: nobody opens the photos here."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "sea/b.JPG",
        "sea/a.heic",
        "sea/a_depth.png",
        "sea/.hidden.png",
        "sea/notes.md",
        "sea/deep/c.webp",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def outputs(*inputs: str, recursive: bool = False) -> list[str]:
    return [row.output for row in rows_of(inputs, recursive)]


def test_folders_give_their_photos_by_name_and_only_photos(folder: Path) -> None:
    assert list(rows_of(["sea"])) == [Row("sea/a.heic", "a"), Row("sea/b.JPG", "b")]
    assert outputs("sea", recursive=True) == ["a", "b", "deep/c"]


def test_patterns_and_single_photos_are_named_for_themselves(folder: Path) -> None:
    assert outputs("sea/*") == ["a", "b"]
    assert outputs("sea/**/*.webp", recursive=True) == ["c"]
    assert outputs("sea/b.JPG", "sea/deep") == ["b", "c"]


def test_manifests_name_photos_outputs_and_settings(folder: Path) -> None:
    (folder / "m.csv").write_text(
        'path,output,prompt,seed,settings\nsea/b.JPG,,"the sea, blue",3,"{""path"": ""circle""}"\n'
        "sea/a.heic,x/y,,,\n"
    )
    assert list(rows_of([str(folder / "m.csv")])) == [
        Row(f"{folder}/sea/b.JPG", "b", {"path": "circle", "prompt": "the sea, blue", "seed": 3}),
        Row(f"{folder}/sea/a.heic", "x/y"),
    ]
    (folder / "m.jsonl").write_text('{"path": "s3://x/a.jpg", "settings": {"fps": 12}, "seed": null}\n\n')
    assert list(rows_of(["m.jsonl"])) == [Row("s3://x/a.jpg", "a", {"fps": 12})]
    (folder / "m.txt").write_text("# two\nsea/b.JPG\n\n/elsewhere/gone.png\n")
    assert outputs("m.txt") == ["b", "gone"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("m.csv", "path,sed\na.png,1\n", "has the column 'sed'; the columns are path, output, prompt"),
        ("m.csv", "output\na\n", "has no column path"),
        ("m.csv", "path,seed\na.png\n", "line 2 has not as many cells"),
        ("m.csv", "path,seed\na.png,-1\n", "the seed '-1'; it must be a whole number"),
        ("m.csv", "path,output\na.png,../b\n", "'../b'; it must be a name within the folder"),
        ("m.csv", "path,output\na.png,/b\n", "'/b'; it must be a name within the folder"),
        ("m.csv", "path,settings\na.png,fast\n", "line 2 has settings that are not JSON"),
        ("m.jsonl", '{"path": "a.png", "wobble": 1}', "line 1 has the column 'wobble'"),
        ("m.jsonl", '{"path": "a.png"', "line 1 is not JSON"),
        ("m.jsonl", "[1]", "line 1 must be an object"),
        ("m.jsonl", '{"output": "x"}', "has no column path"),
        ("m.jsonl", '{"path": ""}', "line 1 names no path"),
        ("m.jsonl", '{"path": "a.png", "settings": [1]}', "settings that are not an object"),
        ("m.txt", "", "m.txt holds no photos"),
        pytest.param("m.jsonl", "[" * 100_000, "line 1 is not JSON: it is nested too deep.", id="deep line"),
        pytest.param(
            *(
                "m.csv",
                "path,settings\na.png," + "[" * 100_000,
                "settings that are not JSON: it is nested too deep.",
            ),
            id="deep cell",
        ),
        pytest.param(
            "m.csv",
            "path,prompt\na.png,b\nb.png," + "x" * 140_000,
            "line 3 can't be read: field larger",
            id="long cell",
        ),
    ],
)
def test_manifests_that_can_not_be_meant_are_refused(name: str, text: str, says: str, folder: Path) -> None:
    (folder / name).write_text(text)
    with pytest.raises(InputError, match=r".+") as refused:
        list(rows_of([name]))
    assert says in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("gone.jpg", "There is no photo, folder or manifest gone.jpg."),
        ("gone.csv", "There is no manifest gone.csv."),
        ("sky/*.jpg", "sky/*.jpg holds no photos"),
        ("memory://nowhere", "There is no photo, folder or manifest memory://nowhere."),
        ("wobble://x", "wobble://x can't be opened"),
    ],
)
def test_what_is_named_must_be_there(source: str, says: str, folder: Path) -> None:
    with pytest.raises(InputError) as refused:
        list(rows_of([source]))
    assert says in str(refused.value)


def shard_of(place: Path, contents: dict[str, bytes]) -> Path:
    import io
    import tarfile

    with tarfile.open(place, "w") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return place


def test_shards_give_their_photos_and_not_their_labels(folder: Path) -> None:
    from kinephoto.studio.batch_fetch import fetched

    for number in range(2):
        parts = {"jpg": b"photo", "disparity.png": b"label", "objects.png": b"map", "txt": b"said"}
        names = (f"sea/{number}{each}" for each in "ab")
        contents = {f"{name}.{kind}": content for name in names for kind, content in parts.items()}
        shard_of(folder / f"s-{number}.tar", contents)
    assert outputs("s-0.tar", "s-1.tar") == ["s-0/sea/0a", "s-0/sea/0b", "s-1/sea/1a", "s-1/sea/1b"]
    assert outputs("s-*.tar") == outputs("s-0.tar", "s-1.tar")
    for row in rows_of(["s-*.tar"]):
        with fetched(row.path) as file:
            assert file.read_bytes() == b"photo" and file.suffix == ".jpg"


def test_shards_lie_in_storages_too(folder: Path) -> None:
    import fsspec

    from kinephoto.studio.batch_fetch import fetched

    content = shard_of(folder / "s.tar", {"a.webp": b"photo"}).read_bytes()
    fsspec.filesystem("memory").pipe_file("/shards/s.tar", content)
    for source in ("memory://shards/s.tar", "memory://shards/*.tar"):
        (row,) = rows_of([source])
        assert row.output == "s/a"
        with fetched(row.path) as file:
            assert file.read_bytes() == b"photo"


@pytest.mark.parametrize("where", ["here", "memory"])
def test_the_headers_of_a_shard_are_read_once_and_again_when_it_is_another_one(
    folder: Path, where: str
) -> None:
    import fsspec

    from kinephoto.studio import batch_fetch
    from kinephoto.studio.batch_fetch import fetched

    def shard(contents: dict[str, bytes]) -> str:
        file = shard_of(folder / "again.tar", contents)
        if where == "here":
            return str(file)
        fsspec.filesystem("memory").pipe_file("/shards/again.tar", file.read_bytes())
        return "memory://shards/again.tar"

    def read(name: str) -> bytes:
        with fetched(f"tar://{name}::{place}") as file:
            return file.read_bytes()

    batch_fetch._places.cache_clear()
    place = shard({"a.jpg": b"first", "b.jpg": b"second"})
    assert (read("a.jpg"), read("b.jpg"), read("a.jpg")) == (b"first", b"second", b"first")
    assert batch_fetch._places.cache_info().misses == 1
    shard({"b.jpg": b"another"})
    assert read("b.jpg") == b"another"
    with pytest.raises(InputError, match="There is no photo tar://a.jpg::"):
        read("a.jpg")


def test_shards_that_cannot_be_read_are_refused(folder: Path) -> None:
    shard_of(folder / "out.tar", {"../a.jpg": b"photo"})
    whole = shard_of(folder / "whole.tar", {"a.jpg": b"photo" * 1000, "b.jpg": b"photo" * 1000})
    (folder / "cut.tar").write_bytes(whole.read_bytes()[:3000])
    (folder / "text.tar").write_text("no tar file")
    shard_of(folder / "empty.tar", {"a.txt": b"said"})
    for name, says in {
        "none.tar": "There is no shard none.tar",
        "none-*.tar": "holds no photos",
        "out.tar": "outside of it",
        "cut.tar": "read to its end",
        "text.tar": "read to its end",
        "empty.tar": "holds no photos",
    }.items():
        with pytest.raises(InputError, match=says):
            list(rows_of([name]))
