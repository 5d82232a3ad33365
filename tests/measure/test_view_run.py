"""A run over scenes: kept, gone on with, reported."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from kinephoto.errors import InputError
from kinephoto.measure import view_run
from kinephoto.measure.metrics import psnr
from kinephoto.measure.results_page import filled
from kinephoto.measure.view_case import ViewPair
from kinephoto.measure.view_page import write_page
from kinephoto.measure.view_protocol import ViewProtocol, read_protocol
from kinephoto.measure.view_report import latex, markdown, published, results, summary
from kinephoto.measure.view_run import ViewRun, kept_record, plan_views, record_file, run_views
from kinephoto.measure.views import Tools, ViewFailure

HW = (72, 96)
FOCAL = (0.9, 1.2)


def write_plane_scene(folder: Path, views: int = 3) -> None:
    """Pictures of a painted, slanted plane z = 4 + x / 2, the camera going right; points on it."""
    (folder / "images").mkdir(parents=True)
    lines, observed = ["made by a test"], []
    matrix = np.array([[FOCAL[0] * HW[1], 0, HW[1] / 2], [0, FOCAL[1] * HW[0], HW[0] / 2], [0, 0, 1.0]])
    rows, columns = np.mgrid[: HW[0], : HW[1]] + 0.5
    rays = np.stack([columns, rows, np.ones(HW)], axis=-1) @ np.linalg.inv(matrix).T
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (2, 60))
    points = np.stack([x, y, 4 + x / 2], axis=1)
    for view in range(views):
        centre = np.array([0.15 * view, 0, 0])
        reach = (4 + centre[0] / 2) / (rays @ np.array([-0.5, 0, 1]))
        at = centre + reach[..., None] * rays
        rgb = (
            np.stack([np.sin(3 * at[..., 0]), np.sin(4 * at[..., 1] + 1), np.sin(2 * at.sum(-1))], -1) * 0.4
            + 0.5
        )
        Image.fromarray((rgb * 255).round().astype(np.uint8)).save(folder / "images" / f"{view:03d}.png")
        numbers = [*FOCAL, 0.5, 0.5, 0, 0, 1, 0, 0, -centre[0], 0, 1, 0, 0, 0, 0, 1, 0]
        lines.append(f"{view} " + " ".join(f"{number:.9f}" for number in numbers))
        seen = (points - centre) @ matrix.T
        observed.append(seen[:, :2] / seen[:, 2:])
    (folder / "cameras.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    np.savez(
        folder / "points.npz",
        xyz=points,
        obs_image=np.repeat(np.arange(views), 60),
        obs_point=np.tile(np.arange(60), views),
        obs_uv=np.concatenate(observed),
    )


PROTOCOL = ViewProtocol(name="test", title="Planes.", targets={"t1": 1, "t2": 2})


def exact_depth(scene, image):
    """The plane's inverse depth in the first picture: 1/z = (1 - x/(2z)) / 4, linear in the column."""
    column = (torch.arange(HW[1]) + 0.5 - HW[1] / 2) / (FOCAL[0] * HW[1])
    return (1 - column / 2).div(4).expand(HW).contiguous()


@pytest.fixture
def run(tmp_path, monkeypatch) -> ViewRun:
    """Two scenes, two methods, a depth that is right; nothing is loaded."""
    for name in ("plane-a", "plane-b"):
        write_plane_scene(tmp_path / "scenes" / name)

    def tools_of(asked: ViewRun) -> Tools:
        methods = {"copy": lambda case: case.source, "w-nearest": lambda case: case.view.rgb}
        return Tools(
            asked.protocol, exact_depth, {name: methods[name] for name in asked.methods}, {}, asked.edges
        )

    monkeypatch.setattr(view_run, "tools_of", tools_of)
    return ViewRun(tmp_path / "scenes", PROTOCOL, methods=("copy", "w-nearest"), out=tmp_path / "out")


def measured(run: ViewRun) -> list[dict]:
    return list(run_views(run, plan_views(run)))


def test_exact_depth_alone_scores_above_45_db_where_the_source_saw(run):
    for record in measured(run):
        values = record["methods"]["w-nearest"]
        assert values["psnr_visible"] > 45, record["pair"]
        assert values["psnr_visible"] > record["methods"]["copy"]["psnr_visible"] + 15
        assert record["distance"] == pytest.approx(0.15 * int(record["pair"]["name"][1]) / 4, rel=0.01)


def without_times(records: list[dict]) -> list[dict]:
    """The records without how long things took."""
    told = json.loads(json.dumps(records))
    for record in told:
        for values in record["methods"].values():
            del values["seconds"]
    return sorted(told, key=lambda record: (record["pair"]["scene"], record["pair"]["target"]))


def test_a_run_that_was_interrupted_ends_as_one_that_was_not(run, tmp_path, monkeypatch):
    whole = measured(dataclasses.replace(run, out=tmp_path / "whole"))
    first = run_views(run, plan_views(run))
    next(first)
    first.close()
    assert len(list((run.out / "pairs").iterdir())) == 1
    done = record_file(run.out, ViewPair("plane-a", 0, 1, "t1")).stat().st_mtime_ns
    again = measured(run)
    assert without_times(again) == without_times(whole)
    assert record_file(run.out, ViewPair("plane-a", 0, 1, "t1")).stat().st_mtime_ns == done
    # And a finished one is only read.
    monkeypatch.setattr(view_run, "tools_of", lambda asked: pytest.fail("measured again"))
    assert without_times(measured(run)) == without_times(whole)


def test_a_changed_run_is_measured_anew(run):
    measured(run)
    pair = ViewPair("plane-a", 0, 1, "t1")
    assert kept_record(run, pair) is not None
    for changed in (
        dataclasses.replace(run, protocol=PROTOCOL.model_copy(update={"border_crop": 0.05})),
        dataclasses.replace(run, depth="hub:other"),
        dataclasses.replace(run, seeds=(1,)),
        dataclasses.replace(run, methods=("copy", "w-far")),
    ):
        assert kept_record(changed, pair) is None
    fewer = kept_record(dataclasses.replace(run, methods=("copy",)), pair)
    assert fewer is not None and set(fewer["methods"]) == {"copy"}
    record_file(run.out, pair).write_text("{")
    assert kept_record(run, pair) is None


def test_what_a_run_is_made_of_counts_by_its_content_not_its_name(run, tmp_path):
    (tmp_path / "mine.safetensors").write_bytes(b"weights")
    (tmp_path / "vgg.pth").write_bytes(b"weights")
    (tmp_path / "network").mkdir()
    (tmp_path / "network" / "config.json").write_text("{}")
    pair = ViewPair("plane-a", 0, 1, "t1")
    lpips = {"vgg": tmp_path / "vgg.pth"}
    for changed, file in (
        (dataclasses.replace(run, depth=str(tmp_path / "mine.safetensors")), tmp_path / "mine.safetensors"),
        (dataclasses.replace(run, depth=str(tmp_path / "network")), tmp_path / "network" / "config.json"),
        (dataclasses.replace(run, lpips=lpips), tmp_path / "vgg.pth"),
        (run, run.scenes / "plane-a" / "cameras.txt"),
    ):
        measured(changed)
        assert kept_record(dataclasses.replace(changed), pair) is not None
        content = file.read_bytes()
        file.write_bytes(content[:-1] + b" ")
        assert kept_record(dataclasses.replace(changed), pair) is None
        file.write_bytes(content)
    shutil.copytree(run.scenes, tmp_path / "others")
    (tmp_path / "others" / "plane-a" / "images" / "002.png").unlink()
    assert kept_record(dataclasses.replace(run, scenes=tmp_path / "others"), pair) is None


@pytest.mark.parametrize(
    "method",
    ["builtin:{}", "builtin:{}+steps=8", "world:builtin:{}", "autoregressive:sd:{}", "predictions:{}"],
)
def test_a_method_is_marked_by_what_lies_in_its_folder(method, tmp_path):
    folder = tmp_path / "a+b"
    folder.mkdir()
    (folder / "weights").write_bytes(b"1")
    name = method.format(folder)
    before = view_run.folder_mark(name)
    assert before is not None and before == view_run.folder_mark(name)
    (folder / "weights").write_bytes(b"22")
    assert view_run.folder_mark(name) != before
    assert [view_run.folder_mark(plain) for plain in ("copy", "world:builtin", "opencv:telea")] == [None] * 3


def test_a_broken_scene_is_named_and_the_others_are_measured(run):
    (run.scenes / "plane-a" / "cameras.txt").write_text("origin\n0 nan\n")
    plan = plan_views(run)
    assert [failure.scene for failure in plan.broken] == ["plane-a"]
    assert "plane-a/cameras.txt, line 2" in plan.broken[0].why
    records = list(run_views(run, plan))
    assert {record["pair"]["scene"] for record in records} == {"plane-b"}
    told = results(run, records, plan.broken)
    assert told["failures"][0]["scene"] == "plane-a"
    assert "**Not measured** (1)" in markdown(told)


def test_a_listed_pair_of_a_scene_that_is_not_there_counts(run):
    pairs = (ViewPair("plane-a", 0, 1, "t1"), ViewPair("gone", 0, 1, "t1"))
    plan = plan_views(dataclasses.replace(run, protocol=ViewProtocol(name="list", pairs=pairs)))
    assert plan.count == 1
    assert [failure.why.endswith("has no scene gone.") for failure in plan.broken] == [True]


def test_nothing_to_measure_is_one_sentence(run, tmp_path):
    with pytest.raises(InputError, match=r"no pair of the protocol far\."):
        plan_views(dataclasses.replace(run, protocol=ViewProtocol(name="far", targets={"t9": 9})))
    with pytest.raises(InputError, match="holds no scene"):
        plan_views(dataclasses.replace(run, scenes=tmp_path / "out"))


def record(scene: str, method: str, psnr_db: float, target: str = "t5") -> dict:
    return {
        "pair": {"scene": scene, "source": 0, "target": 4, "name": target},
        "distance": 0.1,
        "hole_share": 0.02,
        "methods": {method: {"psnr": psnr_db, "ssim": 0.5, "psnr_hole": None}},
        "failures": {},
    }


def test_means_are_over_clips_not_over_pairs():
    found = summary([record("a", "m", 10.0), record("a", "m", 20.0), record("b", "m", 25.0)])
    table = found["m"]["t5"]["psnr"]
    assert table["mean"] == pytest.approx(20.0)
    # Two clips, 15 and 25: deviation 7.07, t(.975, 1) = 12.706.
    assert table["ci95"] == pytest.approx([20 - 12.706 * 5, 20 + 12.706 * 5], rel=1e-3)
    assert table["clips"] == 2
    assert "psnr_hole" not in found["m"]["t5"]
    assert summary([record("a", "m", 10.0)])["m"]["t5"]["psnr"]["ci95"] is None


def test_the_report_survives_json_and_names_what_is_published(run):
    paper = dataclasses.replace(run, protocol=read_protocol("re10k"))
    found = results(paper, [record("a", "builtin", 25.0), record("b", "builtin", 27.0)], [])
    again = json.loads(json.dumps(found, allow_nan=False))
    assert markdown(again) == markdown(found)
    assert again["methods"]["builtin"]["t5"]["psnr"]["mean"] == 26.0
    assert published(paper)["rows"]["the paper"]["t5"]["lpips"] == 0.049
    table = latex(again)
    assert "the paper$^\\dagger$ & 0.049 & " in table
    assert "% LPIPS of our rows is ST-LPIPS" in table
    assert table.count("\\\\") == 2 + 6 + 1
    assert "builtin & -- & 26.00 & 0.500" in table


def test_the_page_shows_the_worst_first_and_its_pictures_exist(run):
    records = measured(run)
    found = results(run, records, [ViewFailure("gone", None, None, "no <scene>")])
    text = write_page(found, run.out).read_text()
    places = [text.index(f"plane-a, {name}") for name in ("t2", "t1")]
    assert places == sorted(places)
    assert "no &lt;scene&gt;" in text
    import re

    sources = re.findall(r'src="(pictures[^"]+)"', text)
    assert len(sources) >= 4 * 5
    assert all((run.out / source).is_file() for source in sources)
    shown = np.asarray(Image.open(run.out / "pictures" / "plane-a_000_001" / "target.png"), np.float32) / 255
    true = np.asarray(Image.open(run.scenes / "plane-a" / "images" / "001.png"), np.float32) / 255
    assert psnr(torch.from_numpy(shown).permute(2, 0, 1), torch.from_numpy(true).permute(2, 0, 1)) > 60


def test_the_command_measures_a_sample_and_goes_on_where_it_was(tmp_path):
    from kinephoto.app.cli import app

    write_plane_scene(tmp_path / "scenes" / "plane-a")
    (tmp_path / "pairs.csv").write_text("scene,source,target,name\nplane-a,0,1,t1\nplane-a,0,2,t2\n")
    line = [
        "evaluate",
        "views",
        "--scenes",
        str(tmp_path / "scenes"),
        "--protocol",
        str(tmp_path / "pairs.csv"),
    ]
    line += ["--methods", "copy,w-nearest,w-telea", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    for metric in ("psnr", "ssim", "st_lpips_alex", "st_lpips_vgg", "psnr_visible", "st_lpips_alex_hole"):
        assert found["methods"]["w-nearest"]["t1"][metric]["clips"] == 1
    better, worse = (found["methods"][name]["t2"] for name in ("w-telea", "copy"))
    assert better["psnr"]["mean"] > worse["psnr"]["mean"] + 3
    assert better["st_lpips_alex"]["mean"] < worse["st_lpips_alex"]["mean"]
    assert len(found["weights"]) >= 4 and found["versions"]["torch"] == torch.__version__
    for name in ("results.md", "results.tex", "index.html", "distance.svg", "clips.svg", "time.svg"):
        assert (tmp_path / "out" / name).stat().st_size > 300
    (tmp_path / "pairs.csv").write_text("scene,source,target,name\nplane-a,0,1,t1\nplane-b,0,2,t2\n")
    missing = CliRunner().invoke(app, line)
    assert missing.exit_code == 1
    assert "has no scene plane-b" in missing.output
    assert "1 of 1 pairs measured" in missing.output


def test_the_page_of_results_is_what_the_committed_files_say():
    docs = Path(__file__).parents[2] / "docs"
    page = (docs / "results.md").read_text(encoding="utf-8")
    assert filled(page, docs) == page
    assert "<!-- views: " in page
