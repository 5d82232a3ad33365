"""Files appear whole or not at all, and every reason why one cannot appear is one sentence."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kinephoto.errors import InputError
from kinephoto.studio.files import (
    check_file,
    check_folder,
    check_ours_or_new,
    check_spared,
    check_suffix,
    whole,
    whole_folder,
)


def ours(name: str) -> bool:
    return name.startswith("ours")


def test_a_file_appears_at_the_end_and_not_before(tmp_path: Path) -> None:
    target = tmp_path / "letter.txt"
    with whole(target) as part:
        part.write_text("all of it")
        assert not target.exists()
        assert part.parent == tmp_path and part.suffix == ".txt"
    assert target.read_text() == "all of it"
    assert os.listdir(tmp_path) == ["letter.txt"]


@pytest.mark.parametrize("ending", [RuntimeError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_any_failure_leaves_the_older_file_and_nothing_else(tmp_path: Path, ending: type) -> None:
    target = tmp_path / "letter.txt"
    target.write_text("older")
    with pytest.raises(ending), whole(target) as part:
        part.write_text("half of")
        raise ending
    assert target.read_text() == "older"
    assert os.listdir(tmp_path) == ["letter.txt"]


def test_a_closed_generator_leaves_nothing(tmp_path: Path) -> None:
    def write():
        with whole(tmp_path / "letter.txt") as part:
            part.write_text("half of")
            yield

    writing = write()
    next(writing)
    assert len(os.listdir(tmp_path)) == 1
    writing.close()
    assert os.listdir(tmp_path) == []


def test_a_replaced_file_keeps_its_access_rights(tmp_path: Path) -> None:
    target = tmp_path / "letter.txt"
    target.write_text("older")
    target.chmod(0o640)
    with whole(target) as part:
        part.write_text("newer")
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_new_file_has_the_rights_that_any_new_file_has(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").touch()
    with whole(tmp_path / "letter.txt"):
        pass
    assert (tmp_path / "letter.txt").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


def test_a_symbolic_link_stays_a_link_and_its_file_is_replaced(tmp_path: Path) -> None:
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("older")
    link.symlink_to(real)
    with whole(link) as part:
        part.write_text("newer")
    assert link.is_symlink() and real.read_text() == "newer"


def test_the_longest_name_the_disk_takes_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 251 + ".txt")
    with whole(target) as part:
        part.write_text("all of it")
    assert target.read_text() == "all of it"


def test_what_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe")
    said = {
        tmp_path / "none" / "a.mp4": "none does not exist",
        tmp_path / "file" / "a.mp4": "is not a folder",
        tmp_path / "folder.mp4": "is a folder",
        tmp_path / "pipe": "not an ordinary file",
        tmp_path / ("x" * 300 + ".mp4"): "too long",
    }
    for target, words in said.items():
        with pytest.raises(InputError, match=words):
            check_file(target)
        with pytest.raises(InputError, match=words), whole(target):
            pytest.fail("the block must not begin")
    with pytest.raises(InputError, match="exists already"):
        check_file(tmp_path / "file", overwrite=False)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A folder that may not be written to, for a user without root's rights, which no folder stops."""
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)
    folder.chmod(0o700)


def test_a_folder_that_may_not_be_written_to_is_refused(locked: Path) -> None:
    with (
        pytest.raises(InputError, match="may not be written to|permission denied"),
        whole(locked / "film.mp4"),
    ):
        pytest.fail("the block must not begin")


def test_a_write_protected_file_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.mp4"
    target.touch()
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != target and allowed(path, mode))
    with pytest.raises(InputError, match="write-protected"):
        check_file(target)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "The disk is full, so .*film.mp4 could not be written"),
        (errno.EDQUOT, "The disk is full"),
        (errno.EFBIG, "larger than a file may be"),
    ],
)
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, code: int, words: str) -> None:
    with pytest.raises(InputError, match=words), whole(tmp_path / "film.mp4"):
        raise OSError(code, os.strerror(code))
    assert os.listdir(tmp_path) == []


def test_other_errors_of_the_block_pass_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole(tmp_path / "film.mp4"):
        open(tmp_path / "photo.jpg")  # noqa: SIM115


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Where a disk of 64 KiB is mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("only root may mount a tiny disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_really_full_disk_leaves_nothing(tiny_disk: Path) -> None:
    with pytest.raises(InputError, match="The disk is full"), whole(tiny_disk / "film.mp4") as part:
        part.write_bytes(bytes(1 << 20))
    assert os.listdir(tiny_disk) == []


def test_a_suffix_that_is_not_written_lists_those_that_are() -> None:
    assert check_suffix("A.PNG", [".png", ".npy"], "depth map") == ".png"
    with pytest.raises(InputError, match=r"a\.bmp ends in \.bmp; .* as \.png, \.npy or a wish"):
        check_suffix("a.bmp", [".png", ".npy"], "depth map", also="a wish")
    with pytest.raises(InputError, match="has no suffix"):
        check_suffix("film", [".mp4"], "video")
    with pytest.raises(InputError, match="standard output"):
        check_suffix("-", [".mp4"], "video")


def test_a_folder_appears_at_the_end_and_replaces_only_its_like(tmp_path: Path) -> None:
    target = tmp_path / "frames"
    for text in ("first", "second"):
        with whole_folder(target, ours) as part:
            (part / f"ours-{text}").touch()
        assert os.listdir(target) == [f"ours-{text}"]
    with pytest.raises(InputError, match="not empty"):
        check_folder(target, ours, overwrite=False)
    assert os.listdir(tmp_path) == ["frames"]


def test_a_folder_that_holds_other_things_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").touch()
    with pytest.raises(InputError, match=r"holds other things \(letter\.txt\)"), whole_folder(tmp_path, ours):
        pytest.fail("the block must not begin")
    (tmp_path / "letter.txt").unlink()
    (tmp_path / "ours-but-a-folder").mkdir()
    with pytest.raises(InputError, match="holds other things"):
        check_folder(tmp_path, ours)


def test_what_comes_into_the_folder_meanwhile_is_not_lost(tmp_path: Path) -> None:
    target = tmp_path / "frames"
    target.mkdir()
    with pytest.raises(InputError, match="holds other things"), whole_folder(target, ours):
        (target / "letter.txt").touch()
    assert os.listdir(target) == ["letter.txt"]
    assert os.listdir(tmp_path) == ["frames"]


@pytest.mark.parametrize("older", [(), ("ours-1", "ours-2")])
def test_a_folder_that_is_there_stays_the_same_one_with_its_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, older: tuple[str, ...]
) -> None:
    target = tmp_path / "frames"
    target.mkdir()
    target.chmod(0o2770)
    for name in older:
        (target / name).write_text("older")
    before = target.stat()
    monkeypatch.chdir(target)
    with whole_folder(".", ours) as part:
        (part / "ours-2").write_text("newer")
        assert sorted(name for name in os.listdir(target) if ours(name)) == sorted(older)
    assert os.listdir(".") == ["ours-2"] and (target / "ours-2").read_text() == "newer"
    assert (target.stat().st_ino, target.stat().st_mode) == (before.st_ino, before.st_mode)
    assert os.listdir(tmp_path) == ["frames"]


def test_a_mount_point_can_be_filled(tiny_disk: Path) -> None:
    for name in ("ours-1", "ours-2"):
        with whole_folder(tiny_disk, ours) as part:
            (part / name).touch()
        assert os.listdir(tiny_disk) == [name]


def test_what_a_killed_process_left_in_the_folder_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "frames" / ".kinephoto-0123456789ab.part").mkdir(parents=True)
    check_folder(tmp_path / "frames", ours, overwrite=False)


@pytest.mark.parametrize("ending", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_older_folder(tmp_path: Path, ending: type) -> None:
    target = tmp_path / "frames"
    target.mkdir()
    (target / "ours-1").touch()
    with pytest.raises(ending), whole_folder(target, ours) as part:
        (part / "ours-2").touch()
        raise ending
    assert os.listdir(target) == ["ours-1"]
    assert os.listdir(tmp_path) == ["frames"]


def test_a_failing_swap_brings_the_older_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "frames"
    target.mkdir()
    (target / "ours-1").touch()
    rename, calls = os.rename, []

    def fails_at_the_second(source: Path, destination: Path) -> None:
        calls.append(source)
        if len(calls) == 2:
            raise OSError(errno.EIO, "Input/output error")
        rename(source, destination)

    with pytest.raises(InputError, match="Input/output error"), whole_folder(target, ours) as part:
        (part / "ours-2").touch()
        monkeypatch.setattr(os, "rename", fails_at_the_second)
    assert os.listdir(target) == ["ours-1"]
    assert os.listdir(tmp_path) == ["frames"]


def test_what_is_read_is_never_written_over(tmp_path: Path) -> None:
    photo, link, twin = (tmp_path / name for name in ("a.png", "link.png", "twin.png"))
    photo.write_bytes(b"photo")
    link.symlink_to(photo)
    twin.hardlink_to(photo)
    for output in (photo, tmp_path / "." / "a.png", link, twin):
        with pytest.raises(InputError, match="is what is read here, and would be lost"):
            check_spared((None, output), (None, "swing", photo))
    check_spared((tmp_path / "b.png", None, tmp_path / "swing"), (photo, "swing", "-", tmp_path))


def test_only_what_says_that_kinephoto_made_it_may_be_replaced_unasked(tmp_path: Path) -> None:
    from kinephoto.studio.pictures import write_picture
    from kinephoto.studio.provenance import provenance_of_picture

    grey, film = torch.full((3, 8, 8), 0.5), tmp_path / "film.mp4"
    check_ours_or_new(film)
    write_picture(grey, tmp_path / "ours.png", provenance=provenance_of_picture("nobody", 0, grey[0]))
    (tmp_path / "ours.glb").write_bytes(b'glTF {"asset": {"generator": "kinephoto 0.1.0"}}')
    for name in ("ours.png", "ours.glb"):
        check_ours_or_new(tmp_path / name)
    write_picture(grey, tmp_path / "theirs.png")
    film.write_bytes(b"the clip of a motion photo")
    (tmp_path / "theirs.npy").write_bytes(b"kinephoto")
    for name in ("theirs.png", "film.mp4", "theirs.npy"):
        with pytest.raises(
            InputError, match=f"{name} is there already and doesn't say that kinephoto made it"
        ):
            check_ours_or_new(tmp_path / name)
