"""A batch loses nothing: what is done stays done, what fails is told, and whoever works makes the same bytes."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from kinephoto.errors import InputError
from kinephoto.studio import batch_worker
from kinephoto.studio.batch import Machine, Tally, run
from kinephoto.studio.batch_inputs import Row
from kinephoto.studio.batch_ledger import COLUMNS, Index, write_table
from kinephoto.studio.batch_plan import Extras, Plan, plan_of
from kinephoto.studio.batch_pool import surviving, usual_workers
from kinephoto.studio.outpaint_settings import OutAnimateSettings

HERE = Machine(workers=0)


@pytest.fixture
def photos(tmp_path: Path, example_photos: list[Path]) -> Path:
    """A folder with four photos of 64×48 px, one of them in a folder of its own."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for number, file in enumerate(example_photos[:4]):
        with Image.open(file) as picture:
            small = picture.convert("RGB").resize((64, 48))
        small.save(folder / ("sub" if number == 3 else ".") / f"{'abcd'[number]}.png")
    return folder


@pytest.fixture
def depth(tmp_path: Path) -> Path:
    values = np.full((48, 64), 20, np.uint8)
    values[12:40, 20:48] = 255
    Image.fromarray(values).save(tmp_path / "near.png")
    return tmp_path / "near.png"


@pytest.fixture
def plan(tmp_path: Path, depth: Path) -> Callable[..., Plan]:
    """A plan for cheap outputs: depth maps from a file, unless another verb is asked for."""

    def made(verb: str = "depth", target: object = tmp_path / "out", **more: Any) -> Plan:
        settings = {"depth": str(depth), "painter": "opencv:telea", "seconds": 0.2, "amount": "0.05"}
        chosen = OutAnimateSettings(**settings | more.pop("settings", {}))
        return plan_of(verb, str(target), chosen, **more)

    return made


def last(work: Any) -> Tally:
    tallies = list(work)
    assert tallies[0].finished == 0 and [tally.finished for tally in tallies] == list(range(len(tallies)))
    return tallies[-1]


def counts(tally: Tally) -> tuple[int, int, int]:
    return tally.done, tally.skipped, tally.failed


def bytes_of(folder: Path) -> dict[str, str]:
    """The outputs by name, hidden files included, but not the files that tell of the batch."""
    told = {"results.jsonl", "failures.jsonl", "results.parquet", "batch.json"}
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in told
    }


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_films_come_with_all_that_is_asked_for_and_are_those_that_animate_makes(
    photos: Path, plan: Callable[..., Plan], tmp_path: Path
) -> None:
    from kinephoto.studio.outputs import Outputs
    from kinephoto.studio.produce import animate, read

    chosen = plan("animate", extras=Extras(depth="png", scenes=("glb",), report=True))
    manifest = photos / "two.jsonl"
    manifest.write_text(
        '{"path": "a.png", "seed": 7}\n{"path": "b.png", "output": "x/y", "settings": {"fps": 30}}\n'
    )
    assert counts(last(run([str(manifest)], chosen, HERE))) == (2, 0, 0)
    names = {f"{name}{end}" for name in ("a", "x/y") for end in (".mp4", "_depth.png", ".glb", ".json")}
    assert set(bytes_of(tmp_path / "out")) == names
    assert json.loads((tmp_path / "out" / "x" / "y.json").read_text())["video"]["path"] == "x/y.mp4"
    first, second = lines(tmp_path / "out" / "results.jsonl")
    assert (first["seed"], second["seed"]) == (7, 0) and first["painter"] == "opencv:telea"
    assert first["input_sha256"] == hashlib.sha256((photos / "a.png").read_bytes()).hexdigest()
    assert 0 < first["invented_mean"] <= first["invented_most"] and first["versions"]["kinephoto"]
    settings = chosen.settings_for({"seed": 7})
    animate(read(photos / "a.png", settings), Outputs(tmp_path / "alone.mp4"), settings)
    assert (tmp_path / "alone.mp4").read_bytes() == (tmp_path / "out" / "a.mp4").read_bytes()


def test_a_second_run_skips_a_changed_photo_is_refused_and_update_renews_it_alone(
    photos: Path, plan: Callable[..., Plan], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert counts(last(run([str(photos)], plan(), HERE, recursive=True))) == (4, 0, 0)
    before = bytes_of(out)
    assert set(before) == {"a.png", "b.png", "c.png", "sub/d.png"}
    assert counts(last(run([str(photos)], plan(), HERE, recursive=True))) == (0, 4, 0)
    (out / "c.png").unlink()
    assert counts(last(run([str(photos)], plan(), HERE, recursive=True))) == (1, 3, 0)
    assert bytes_of(out) == before
    Image.new("RGB", (64, 48), "red").save(photos / "b.png")
    tally = last(run([str(photos)], plan(), HERE, recursive=True))
    assert counts(tally) == (0, 3, 1)
    (failure,) = lines(out / "failures.jsonl")
    assert failure["error"] == "The photo has changed since b.png was made; --update makes it anew."
    assert counts(last(run([str(photos)], plan(renew=True), HERE, recursive=True))) == (1, 3, 0)
    assert lines(out / "failures.jsonl") == []
    assert [row["output"] for row in lines(out / "results.jsonl")] == sorted(before)


def test_an_old_folder_with_other_settings_is_refused_unless_its_outputs_are_to_be_renewed(
    photos: Path, plan: Callable[..., Plan], tmp_path: Path
) -> None:
    last(run([str(photos)], plan(), HERE))
    before = bytes_of(tmp_path / "out")
    flat = {"depth_range": 0.5}
    with pytest.raises(InputError, match=r"other settings \(depth_range: 0.06, now 0.5\); --update makes"):
        last(run([str(photos)], plan(settings=flat), HERE))
    assert bytes_of(tmp_path / "out") == before
    threads = {"threads": 2, "offline": True, "max_megapixels": 9.0}
    assert counts(last(run([str(photos)], plan(settings=threads), HERE))) == (0, 3, 0)
    assert counts(last(run([str(photos)], plan(settings=flat, renew=True), HERE))) == (3, 0, 0)
    assert counts(last(run([str(photos)], plan(), HERE, anew=True))) == (3, 0, 0)


def test_what_fails_is_told_and_the_others_are_done(
    photos: Path, plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "b.png").write_bytes(b"no picture")
    (photos / "list.txt").write_text("a.png\nb.png\ngone.png\nc.png\n# nothing\n\nsub/d.png\n")
    make = batch_worker._write_depth

    def breaking(file: Path, *rest: Any) -> dict[str, Any]:
        if file.name == "c.png":
            raise MemoryError
        if file.name == "d.png":
            raise ZeroDivisionError("what was not foreseen")
        return make(file, *rest)

    monkeypatch.setattr(batch_worker, "_write_depth", breaking)
    tally = last(run([str(photos / "list.txt")], plan(), HERE))
    assert counts(tally) == (1, 0, 4)
    said = {Path(row["path"]).name: row["error"] for row in lines(tmp_path / "out" / "failures.jsonl")}
    assert "b.png is not a picture" in said["b.png"] and said["gone.png"].startswith("There is no photo ")
    assert "not enough memory" in said["c.png"] and "a fault of kinephoto" in said["d.png"]
    assert set(bytes_of(tmp_path / "out")) == {"a.png"}
    with pytest.raises(InputError, match="b.png: .* is not a picture"):
        last(run([str(photos / "list.txt")], plan(), HERE, stop_at_error=True))


def test_a_full_disk_ends_the_batch_with_one_sentence_and_it_can_go_on(
    photos: Path, plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    take = batch_worker.Target.take

    def full(target: Any, folder: Path, names: list[str]) -> None:
        if names == ["b.png"]:
            raise OSError(errno.ENOSPC, "No space left on device")
        take(target, folder, names)

    with monkeypatch.context() as context:
        context.setattr(batch_worker.Target, "take", full)
        with pytest.raises(InputError, match="No space left on device.*The batch stopped"):
            last(run([str(photos)], plan(), HERE))
    assert set(bytes_of(tmp_path / "out")) == {"a.png"}
    assert counts(last(run([str(photos)], plan(), HERE))) == (2, 1, 0)


def test_a_line_that_was_cut_off_by_a_kill_counts_as_not_done(
    photos: Path, plan: Callable[..., Plan], tmp_path: Path
) -> None:
    last(run([str(photos)], plan(), HERE))
    results, before = tmp_path / "out" / "results.jsonl", bytes_of(tmp_path / "out")
    results.write_bytes(results.read_bytes()[:-30])
    left = (
        tmp_path / "out" / f".kinephoto-batch-{os.uname().nodename}-{2**22 + 1}"
    )  # no process has this number
    left.mkdir()
    (left / "half.png").write_bytes(b"half")
    assert counts(last(run([str(photos)], plan(), HERE))) == (1, 2, 0)
    assert bytes_of(tmp_path / "out") == before and len(lines(results)) == 3


def test_outputs_and_photos_may_lie_in_any_storage(photos: Path, plan: Callable[..., Plan]) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/in/sub/a.png", (photos / "a.png").read_bytes())
    memory.pipe_file("/in/b.png", (photos / "b.png").read_bytes())
    memory.pipe_file("/in/list.csv", b"path,output,seed\nsub/a.png,,\nb.png,other,3\n")
    chosen = plan(target="memory://out")
    assert counts(last(run(["memory://in"], chosen, HERE, recursive=True))) == (2, 0, 0)
    assert counts(last(run(["memory://in/*.png"], chosen, HERE))) == (0, 1, 0)
    assert counts(last(run(["memory://in/list.csv"], chosen, HERE))) == (2, 0, 0)
    assert memory.exists("/out/sub/a.png") and memory.exists("/out/a.png") and memory.exists("/out/other.png")
    rows = [json.loads(line) for line in memory.cat_file("/out/results.jsonl").splitlines()]
    assert [row["output"] for row in rows] == ["a.png", "b.png", "other.png", "sub/a.png"]
    assert rows[0]["path"] == "memory://in/sub/a.png"
    memory.rm("/out", recursive=True)
    memory.rm("/in", recursive=True)


def test_processes_make_the_same_bytes_as_this_one(
    photos: Path, plan: Callable[..., Plan], tmp_path: Path
) -> None:
    last(run([str(photos)], plan("animate"), HERE))
    assert counts(last(run([str(photos)], plan("animate", tmp_path / "two"), Machine(workers=1)))) == (
        3,
        0,
        0,
    )
    assert bytes_of(tmp_path / "two") == bytes_of(tmp_path / "out")


def test_a_depth_map_that_was_edited_counts_as_a_change(
    photos: Path, plan: Callable[..., Plan], depth: Path, tmp_path: Path
) -> None:
    last(run([str(photos)], plan(), HERE))
    before = bytes_of(tmp_path / "out")
    assert counts(last(run([str(photos)], plan(renew=True), HERE))) == (0, 3, 0)
    Image.fromarray(255 - np.asarray(Image.open(depth).convert("L"))).save(depth)
    assert counts(last(run([str(photos)], plan(), HERE))) == (0, 0, 3)
    assert bytes_of(tmp_path / "out") == before
    assert counts(last(run([str(photos)], plan(renew=True), HERE))) == (3, 0, 0)
    assert bytes_of(tmp_path / "out").keys() == before.keys() and bytes_of(tmp_path / "out") != before


def test_a_depth_map_that_the_batch_put_beside_the_photo_is_no_change(
    photos: Path, plan: Callable[..., Plan], tmp_path: Path
) -> None:
    asked = plan("animate", photos, extras=Extras(depth="png"))
    assert counts(last(run([str(photos)], asked, HERE))) == (3, 0, 0)
    assert (photos / "a_depth.png").is_file()
    assert counts(last(run([str(photos)], asked, HERE))) == (0, 3, 0)


FATES = """
import os, pathlib, time

def start():
    pass

def work(row):
    once = pathlib.Path(row["path"])
    if row["output"] == "deadly" or row["output"] == "unlucky" and not once.exists():
        once.touch()
        os._exit(9)
    time.sleep(0.01)
    return {"output": row["output"], "status": "done"}
"""


@pytest.fixture
def fates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module that other processes can import, too: work at which a process dies always, once or never."""
    (tmp_path / "fates_of_workers.py").write_text(FATES)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("fates_of_workers")


def test_a_worker_that_dies_takes_only_its_own_photo_with_it(tmp_path: Path, fates: Any) -> None:
    names = ["a", "b", "deadly", "c", "unlucky", "d", "e"]
    rows = ({"output": name, "path": str(tmp_path / "once")} for name in names)
    found = list(surviving(rows, fates.start, (), fates.work, 2))
    assert sorted(row["output"] for row in found) == sorted(names)
    failed = [row for row in found if row["status"] == "failed"]
    assert [row["output"] for row in failed] == ["deadly"] and "ended by the system" in failed[0]["error"]


def test_a_film_that_is_stopped_lets_no_other_begin(tmp_path: Path, fates: Any) -> None:
    """A film turns SIGTERM into SystemExit; the pool must not take that for a result and go on."""
    from kinephoto.studio import batch_pool

    class Stopped:
        def __call__(self, row: Any) -> Any:
            raise SystemExit(143)

    ended: list[int] = []

    def leave(code: int) -> None:
        ended.append(code)
        raise KeyboardInterrupt  # where the process would be no more

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_pool, "_worker", Stopped())
        patch.setattr(batch_pool.os, "_exit", leave)
        with pytest.raises(KeyboardInterrupt):
            batch_pool._work({"output": "a", "path": ""})
    assert ended == [1]


def test_rows_wait_their_turn_outside_of_memory(fates: Any) -> None:
    taken = 0

    def rows() -> Any:
        nonlocal taken
        for taken in range(1, 1001):
            yield {"output": f"{taken}", "path": ""}

    for count, _ in enumerate(surviving(rows(), fates.start, (), fates.work, 1), 1):
        assert taken - count <= 3
        if count == 20:
            break


def test_a_batch_that_is_refused_claims_no_folder(photos: Path, plan: Plan, tmp_path: Path) -> None:
    here = Machine(0)
    for inputs, out in ((["nowhere"], "new"), ([str(tmp_path / "*.none")], "new"), (["nowhere"], "there")):
        if out == "there":
            (tmp_path / out).mkdir()
        with pytest.raises(InputError):
            list(run(inputs, plan(target=tmp_path / out), here))
    assert not (tmp_path / "new").exists() and list((tmp_path / "there").iterdir()) == []


def test_what_a_killed_driver_left_half_written_is_taken_away(
    photos: Path, plan: Plan, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    for name in (".kinephoto-0123456789ab.part.parquet", ".kinephoto-0123456789ab.part.jsonl"):
        (tmp_path / "out" / name).write_bytes(b"half")
    (tmp_path / "out" / ".kinephoto-0123456789ab.part.mp4").write_bytes(
        b"a film that somebody else is writing"
    )
    last(run([str(photos)], plan(), Machine(0)))
    hidden = [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
    assert hidden == [".kinephoto-0123456789ab.part.mp4"]


def test_what_is_other_is_named_or_counted(photos: Path, plan: Plan, tmp_path: Path) -> None:
    def made(**settings: Any) -> None:
        chosen = OutAnimateSettings(**settings)
        list(run([str(photos)], plan_of("animate", str(tmp_path / "out"), chosen), Machine(0)))

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "batch.json").write_text(
        json.dumps(plan_of("animate", "", OutAnimateSettings()).said()), encoding="utf-8"
    )
    with pytest.raises(InputError, match="and 2 more"):
        made(seconds=1.0, fps=12.0, size=64, painter="classical", seed=3)


@pytest.mark.parametrize(
    ("verb", "own", "says"),
    [
        ("animate", '{"path": "swign"}', "There is no path 'swign'"),
        ("animate", '{"seconds": 0}', "--seconds is 0; it must be from 0.04 to 600"),
        ("animate", '{"amount": "0.9"}', "The amount is 0.9; it must be from 0 to 0.5"),
        ("animate", '{"amount": "0.9", "path": "gone.json"}', "The amount is 0.9"),
        ("animate", '{"seed": -1}', "--seed is -1"),
        ("animate", '{"fps": 200}', "--fps is 200; it must be from 1 to 120"),
        ("animate", '{"painter": "rembrandt"}', "There is no painter called 'rembrandt'"),
        ("animate", '{"extend": "up"}', "--extend has 'up'"),
        ("animate", '{"quality": "lovely"}', "The quality is draft, good, best"),
        ("animate", f'{{"prompt": "{"a" * 1001}"}}', "The prompt has 1001 characters"),
        ("animate", '{"speed": 3}', "There is no setting 'speed'"),
        ("depth", '{"depth": "sonar"}', "There is no depth source 'sonar'"),
        ("depth", '{"depth_range": 2}', "--depth-range is 2; it must be more than 0 and less than 1"),
        ("depth", '{"box": "1,2,3,4"}', "--box is for objects; depth has none"),
        ("outpaint", '{"scene_size": "9"}', "The scene is 9 x 9 px"),
    ],
)
def test_a_row_that_can_not_be_done_is_named_before_any_is_begun(
    verb: str, own: str, says: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_worker.BatchWorker, "__call__", lambda *_: pytest.fail("the work has begun"))
    manifest = photos / "rows.jsonl"
    manifest.write_text(f'{{"path": "a.png"}}\n\n{{"path": "b.png", "settings": {own}}}\n')
    chosen = plan_of(verb, str(tmp_path / "out"), OutAnimateSettings())
    with pytest.raises(InputError) as refused:
        list(run([str(manifest)], chosen, HERE))
    assert str(refused.value).startswith("rows.jsonl, line 3: ") and says in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_file_that_a_row_names_and_that_is_missing_is_one_failure(
    photos: Path, plan: Callable[..., Plan], tmp_path: Path
) -> None:
    manifest = photos / "rows.jsonl"
    manifest.write_text('{"path": "a.png", "settings": {"depth": "gone.png"}}\n{"path": "b.png"}\n')
    assert counts(last(run([str(manifest)], plan(), HERE))) == (1, 0, 1)
    manifest.write_text('{"path": "a.png", "settings": {"path": "gone.json"}}\n')
    films = plan("animate", tmp_path / "films")
    assert counts(last(run([str(manifest)], films, HERE))) == (0, 0, 1)
    (failure,) = lines(tmp_path / "films" / "failures.jsonl")
    assert "There is no path file gone.json" in failure["error"]


def test_rows_are_looked_at_as_they_come_and_what_they_have_in_common_once(
    plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Any] = []
    monkeypatch.setattr(batch_worker, "_check", lambda plan, settings: looked.append(settings))
    taken = 0

    def rows() -> Any:
        nonlocal taken
        for taken in range(1, 5001):
            own = {
                "seed": taken,
                "prompt": f"photo {taken}",
                "amount": f"{taken / 20_000}",
                "fps": 12 + taken % 2,
            }
            yield Row(f"{taken}.png", f"{taken}", own)

    for count, row in enumerate(batch_worker.checked_rows(rows(), plan("animate")), 1):
        assert taken == count == row.settings["seed"]
    assert count == 5000 and sorted(settings.fps for settings in looked) == [12, 13]


def test_two_outputs_of_one_name_are_refused_before_the_start(tmp_path: Path) -> None:
    index = Index(tmp_path / "index")
    rows = [Row("sea/beach.jpg", "beach"), Row("Beach.HEIC", "Beach")]
    with pytest.raises(
        InputError, match="sea/beach.jpg and Beach.HEIC would both become Beach.mp4; give each"
    ):
        index.add(iter(rows), "mp4", lambda row: [f"{row.output}.mp4"])
    index.close()


@pytest.mark.parametrize(
    ("names", "more", "says"),
    [
        (("a", "a_L"), {"ending": "png", "settings": {"stereo": "pair"}}, "would both become a_L.png"),
        (("a_mask", "a"), {"extras": Extras(mask="mp4")}, "would both become a_mask.mp4"),
        (("A", "a_LRF_full_sbs"), {"settings": {"stereo": "sbs"}}, "would both become a_LRF_full_sbs.mp4"),
        (("x/a", "x//A"), {}, "would both become x/A.mp4"),
        (
            ("a", "Batch"),
            {"extras": Extras(report=True)},
            "would become Batch.json, which tells of the batch",
        ),
    ],
)
def test_two_photos_that_would_write_one_file_of_any_kind_are_refused_before_the_start(
    names: tuple[str, str],
    more: dict[str, Any],
    says: str,
    photos: Path,
    plan: Callable[..., Plan],
    tmp_path: Path,
) -> None:
    rows = [json.dumps({"path": f"{'ab'[i]}.png", "output": name}) for i, name in enumerate(names)]
    (photos / "rows.jsonl").write_text("\n".join(rows))
    with pytest.raises(InputError, match=says):
        list(run([str(photos / "rows.jsonl")], plan("animate", **more), HERE))
    assert not (tmp_path / "out").exists()


def test_names_that_come_near_one_another_are_no_matter(tmp_path: Path, plan: Callable[..., Plan]) -> None:
    chosen = plan("animate", extras=Extras(depth="png", mask="webm", scenes=("glb",), report=True))
    index = Index(tmp_path / "index")
    rows = [Row(f"{name}.png", name) for name in ("a", "a_depth", "a_mask", "x/batch", "results", "a_L")]
    assert index.add(iter(rows), "mp4", batch_worker.names_by(chosen)) == 6
    index.close()


def test_what_an_earlier_run_made_of_another_photo_is_not_written_over(
    photos: Path, plan: Callable[..., Plan], tmp_path: Path
) -> None:
    pair = {"ending": "png", "settings": {"stereo": "pair"}}
    assert counts(last(run([str(photos / "a.png")], plan("animate", **pair), HERE))) == (1, 0, 0)
    before = bytes_of(tmp_path / "out")
    (photos / "b.png").rename(photos / "a_L.png")
    with pytest.raises(
        InputError, match="a_L.png would become a_L.png, which an earlier run made of .*, a; give"
    ):
        last(run([str(photos / "a_L.png")], plan("animate", **pair), HERE))
    assert bytes_of(tmp_path / "out") == before
    assert counts(last(run([str(photos / "a_L.png")], plan("animate", **pair), HERE, anew=True))) == (1, 0, 0)


@pytest.mark.parametrize("ending", ["png", "npy"])
def test_a_file_that_kinephoto_did_not_make_is_one_failure_and_stays(
    ending: str, photos: Path, plan: Callable[..., Plan], tmp_path: Path
) -> None:
    chosen, theirs = plan(ending=ending), tmp_path / "out" / f"b.{ending}"
    theirs.parent.mkdir()
    theirs.write_bytes(b"what somebody else has made")
    assert counts(last(run([str(photos)], chosen, HERE))) == (2, 0, 1)
    (failure,) = lines(tmp_path / "out" / "failures.jsonl")
    assert failure["error"].startswith(
        f"b.{ending} is there already and doesn't say that kinephoto made it; move"
    )
    assert theirs.read_bytes() == b"what somebody else has made"
    theirs.unlink()
    assert counts(last(run([str(photos)], chosen, HERE))) == (1, 2, 0)


@pytest.mark.parametrize("ending", ["png", "npy"])
def test_what_kinephoto_made_is_made_again_whether_or_not_it_was_written_down(
    ending: str, photos: Path, plan: Callable[..., Plan], tmp_path: Path
) -> None:
    chosen, results = plan(ending=ending), tmp_path / "out" / "results.jsonl"
    last(run([str(photos)], chosen, HERE))
    results.write_bytes(b"")
    assert counts(last(run([str(photos)], chosen, HERE))) == (3, 0, 0)
    results.write_bytes(results.read_bytes() + b"no JSON\n")
    assert counts(last(run([str(photos)], chosen, HERE, anew=True))) == (3, 0, 0)
    assert (tmp_path / "out" / "failures.jsonl").read_bytes() == b""


def test_a_file_in_a_storage_that_kinephoto_did_not_make_stays(
    photos: Path, plan: Callable[..., Plan]
) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/theirs/a.png", (photos / "b.png").read_bytes())
    assert counts(last(run([str(photos)], plan(target="memory://theirs"), HERE))) == (2, 0, 1)
    assert memory.cat_file("/theirs/a.png") == (photos / "b.png").read_bytes()
    memory.rm("/theirs", recursive=True)


def test_a_name_that_is_not_utf_8_is_one_failure(
    photos: Path, plan: Callable[..., Plan], tmp_path: Path
) -> None:
    # So a name with a byte of Latin-1 comes from a folder; not every disk takes one.
    rows = (
        {"path": "sch\udcf6n.png"},
        {"path": "a.png", "settings": {"depth": "tie\udcff.png"}},
        {"path": "b.png"},
    )
    (photos / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert counts(last(run([str(photos / "rows.jsonl")], plan(), HERE))) == (1, 0, 2)
    first, second = lines(tmp_path / "out" / "failures.jsonl")
    assert first["path"] == rf"{photos}/sch\udcf6n.png"
    assert first["error"] == f"The name {first['path']} is not UTF-8; give the file another one."
    assert "tie\udcff.png" in second["error"]


def test_the_table_holds_what_the_lines_hold(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [
        {"output": f"{i}.mp4", "outputs": [f"{i}.mp4"], "seed": i, "hole_share": 0.5} for i in range(2100)
    ]
    assert write_table((json.dumps(row) for row in rows), tmp_path / "t.parquet")
    table = parquet.read_table(tmp_path / "t.parquet")
    assert table.num_rows == 2100 and table.column_names == list(COLUMNS)
    assert table["seed"].to_pylist() == list(range(2100)) and table["depth"].null_count == 2100
    assert json.loads(table["outputs"][7].as_py()) == ["7.mp4"]


def test_a_tally_tells_pace_and_what_is_left() -> None:
    tally = Tally(total=30, done=4, skipped=10, failed=1, seconds=10.0)
    assert (tally.finished, tally.photos_per_s, tally.left_s) == (15, 0.5, 30.0)
    assert Tally(total=3).left_s is None


def test_a_key_tells_apart_what_makes_another_picture_and_nothing_else(plan: Callable[..., Plan]) -> None:
    chosen = plan("animate")

    def key(other: Plan, **own: Any) -> str:
        return other.key_of(other.settings_for(own))

    assert key(chosen) == key(chosen, threads=3) == key(replace(chosen, target="elsewhere", renew=True))
    others = [key(chosen, seed=1), key(chosen, prompt="a cup"), key(plan("animate", ending="webm"))]
    others += [key(plan("animate", extras=Extras(depth="png"))), key(plan("out-animate")), key(chosen)]
    assert len(set(others)) == len(others)


def test_workers_fit_into_cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from kinephoto.studio import batch_pool

    monkeypatch.setattr(batch_pool, "usable_cores", lambda: 8)
    monkeypatch.setattr(batch_pool, "usable_memory_bytes", lambda: 3_500_000_000)
    assert usual_workers() == usual_workers("cpu") == 3 and usual_workers("cuda") == 1
    monkeypatch.setattr(batch_pool, "usable_memory_bytes", lambda: 1000)
    assert usual_workers() == 1
