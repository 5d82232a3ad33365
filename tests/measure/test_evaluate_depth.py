from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from kinephoto.errors import InputError
from kinephoto.learn.photos import Skipped
from kinephoto.measure.depth import at_places
from kinephoto.measure.depth_report import results, summary, tables, with_interval
from kinephoto.measure.depth_run import evaluate_depth
from kinephoto.measure.methods import depth_sources
from kinephoto.measure.photos import PhotoFiles, read_manifest, read_polygons
from kinephoto.measure.report import markdown_table, write_results
from kinephoto.measure.scenes import read_scene, true_disparity
from kinephoto.scene.depthnet import builtin_weights

HW = (48, 64)


@pytest.fixture
def photo_folder(tmp_path):
    """Two test photos, a training one; a disc stands before a slope in the labels."""
    rows, columns = np.mgrid[: HW[0], : HW[1]]
    disc = np.hypot(rows - 24, columns - 32) < 14
    disparity = np.where(disc, 0.9, 0.1 + 0.2 * rows / HW[0])
    for folder in ("photos/free", "disparity/free", "masks/free"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("one", "two", "three"):
        Image.fromarray(np.uint8(disparity * 255)).convert("RGB").save(tmp_path / f"photos/free/{name}.png")
        stored = Image.fromarray(np.uint8(np.round(np.sqrt(disparity) * 255)))
        stored.save(tmp_path / f"disparity/free/{name}.avif", quality=95)
    Image.fromarray(disc).save(tmp_path / "masks/free/one.png")
    lines = ["path,split", *(f"photos/free/{name}.png,test" for name in ("one", "two"))]
    (tmp_path / "manifest.csv").write_text("\n".join([*lines, "photos/free/three.png,train"]) + "\n")
    return tmp_path


def brightness(rgb: torch.Tensor) -> torch.Tensor:
    """In these photos brightness is disparity."""
    return 5 * rgb[0] + 1


def measured(disparity_of, photos=(), scenes=(), sharpen=None):
    """The numbers of one method: {part: {number: …}}."""
    found = list(evaluate_depth({"it": disparity_of}, photos, scenes, sharpen))
    assert not any(isinstance(each, Skipped) for each in found)
    return summary(found)["it"]


def test_the_right_disparity_scores_perfectly_against_labels_whatever_its_scale(photo_folder):
    photos = read_manifest(photo_folder, "test")
    assert [photo.name for photo in photos] == ["free/one", "free/two"]
    teacher = measured(brightness, photos)["teacher"]
    # The label is a compressed 8-bit file.
    assert teacher["correlation"]["mean"] > 0.999
    assert teacher["relative_error"]["mean"] < 0.02
    assert teacher["pictures"] == 2


def test_a_plane_scores_nothing(photo_folder):
    found = measured(depth_sources.constant_plane, read_manifest(photo_folder, "test"))
    assert found["teacher"]["correlation"]["mean"] == 0
    assert found["teacher"]["relative_error"]["mean"] == pytest.approx(1, abs=1e-6)
    assert found["outline"]["edge_kept"]["mean"] == 0


def test_outlines_are_measured_before_and_after_sharpening(photo_folder):
    def blurred(rgb: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(brightness(rgb)[None], 7, 1, 3, count_include_pad=False)[0]

    photos = read_manifest(photo_folder, "test")
    outline = measured(blurred, photos, sharpen=lambda disparity, rgb: brightness(rgb))["outline"]
    assert outline["edge_width_px"]["mean"] > 3
    assert outline["edge_width_px_sharpened"]["mean"] < 1.5


def test_coco_polygons_become_masks_and_crowds_do_not(photo_folder):
    (photo_folder / "coco").mkdir()
    square = [[10, 5, 20, 5, 20, 15, 10, 15]]
    content = {
        "images": [{"id": 7, "file_name": "free/two.png"}],
        "annotations": [
            {"image_id": 7, "segmentation": square},
            {"image_id": 7, "segmentation": {"counts": [1], "size": [1, 1]}},
        ],
    }
    (photo_folder / "coco" / "instances.json").write_text(json.dumps(content))
    polygons = read_polygons(photo_folder)
    found = {photo.name: photo.masks(polygons) for photo in read_manifest(photo_folder, "test")}
    assert len(found["free/one"]) == 1
    (mask,) = found["free/two"]
    expected = np.zeros(HW, bool)
    expected[5:15, 10:20] = True
    np.testing.assert_array_equal(mask, expected)
    (photo_folder / "coco" / "instances.json").write_text("[]")
    with pytest.raises(InputError, match="instances.json is not a file of COCO"):
        next(evaluate_depth({}, read_manifest(photo_folder, "test")))


def test_a_photo_need_not_lie_in_a_folder_called_photos_and_may_have_dots_in_its_name(tmp_path):
    (tmp_path / "disparity").mkdir()
    Image.fromarray(np.full(HW, 255, np.uint8)).save(tmp_path / "disparity" / "a.b.avif")
    photo = PhotoFiles(tmp_path, "a.b.jpg")
    assert photo.name == "a.b"
    assert photo.label().shape == HW


def test_stereo_truth_gives_a_perfect_score_to_the_truth(write_tiny_scene, tmp_path):
    write_tiny_scene(tmp_path / "stereo-tiny", stereo=True)
    truth = torch.from_numpy(true_disparity(read_scene(tmp_path / "stereo-tiny")))
    found = measured(lambda rgb: 0.1 * truth + 3, scenes=[tmp_path / "stereo-tiny"])["dense"]
    assert found["abs_rel"]["mean"] < 1e-4
    assert found["delta_1.25"]["mean"] == 1


def test_depth_turned_around_scores_no_better_than_a_plane(write_tiny_scene, tmp_path):
    write_tiny_scene(tmp_path / "stereo-tiny", stereo=True)
    truth = torch.from_numpy(true_disparity(read_scene(tmp_path / "stereo-tiny")))
    methods = {"turned": lambda rgb: 5 - truth, "plane": depth_sources.constant_plane}
    found = summary(list(evaluate_depth(methods, scenes=[tmp_path / "stereo-tiny"])))
    turned, plane = (found[name]["dense"]["abs_rel"]["mean"] for name in methods)
    assert turned == pytest.approx(plane)


def test_sparse_scenes_are_split_by_whether_the_teacher_can_have_seen_them(write_tiny_scene, tmp_path):
    for name in ("re10k-tiny", "llff-tiny"):
        write_tiny_scene(tmp_path / name)
    found = measured(
        depth_sources.constant_plane, scenes=[tmp_path / name for name in ("re10k-tiny", "llff-tiny")]
    )
    assert set(found) == {"sparse re10k", "sparse other", "seconds"}
    assert found["sparse re10k"]["pictures"] == 2 and found["sparse re10k"]["groups"] == 1


def test_what_is_broken_is_named_and_the_rest_is_measured_as_if_it_were_not_there(
    photo_folder, write_tiny_scene, tmp_path
):
    methods = {"brightness": brightness, "plane": depth_sources.constant_plane}
    photos = read_manifest(photo_folder, "test")
    sound = list(evaluate_depth(methods, photos))
    (photo_folder / "photos/free/zero.png").write_bytes(b"no picture")
    Image.new("RGB", (8, 8)).save(photo_folder / "photos/free/small.png")
    Image.fromarray(np.zeros(HW, np.uint8)).save(photo_folder / "disparity/free/small.avif")
    broken = [PhotoFiles(photo_folder, f"photos/free/{name}.png") for name in ("zero", "small", "absent")]
    for name in ("empty", "unknown", "odd"):
        write_tiny_scene(tmp_path / name, stereo=True)
    (tmp_path / "empty" / "cameras.txt").write_text("made by a test\n")
    np.savez(tmp_path / "unknown" / "depth.npz", disparity=np.full((24, 32), np.nan, np.float32))
    np.savez(tmp_path / "odd" / "depth.npz", disparity=np.ones((24, 30), np.float32))
    folders = [tmp_path / name for name in ("empty", "unknown", "odd")]
    found = list(evaluate_depth(methods, [*broken, *photos], folders))
    skipped = {each.name: each.why for each in found if isinstance(each, Skipped)}
    assert list(skipped) == [photo.path for photo in broken] + [folder.name for folder in folders]
    assert "is 8×8 px, its label 64×48 px" in skipped["photos/free/small.png"]
    assert "known at 0 pixels; 20 are needed" in skipped["unknown"]
    assert "is 32×24 px, its disparity 30×24 px" in skipped["odd"]
    rest = [each for each in found if not isinstance(each, Skipped)]
    assert str([each.scores for each in rest]) == str([each.scores for each in sound])  # NaN is not NaN


def test_a_photo_without_any_truth_costs_no_estimate_and_has_no_scores(tmp_path):
    Image.new("RGB", (32, 24)).save(tmp_path / "alone.png")
    asked = []
    (found,) = evaluate_depth({"it": asked.append}, [PhotoFiles(tmp_path, "alone.png")])
    assert found.scores == {"it": []} and not asked


def test_a_run_is_lazy_so_that_its_progress_can_be_shown(photo_folder):
    asked = []

    def slow(rgb: torch.Tensor) -> torch.Tensor:
        asked.append(rgb)
        return brightness(rgb)

    run = evaluate_depth({"slow": slow}, read_manifest(photo_folder, "test"))
    assert not asked
    next(run)
    assert len(asked) == 1  # once for the label and the outline together


def test_the_interval_of_a_mean_is_students():
    # By hand: deviation 1, √4 = 2, t(0.975; 3) = 3.182.
    found = with_interval([1 - 1.5**0.5, 1.0, 1.0, 1 + 1.5**0.5, math.nan])
    assert found["mean"] == pytest.approx(1) and found["median"] == pytest.approx(1)
    assert found["ci95"] == pytest.approx([1 - 3.182 / 2, 1 + 3.182 / 2], abs=1e-3)
    assert math.isnan(with_interval([2.0])["ci95"][0])
    assert math.isnan(with_interval([])["mean"])


def test_tables_and_results_have_every_method_and_picture(photo_folder):
    methods = {"bright": brightness, "plane": depth_sources.constant_plane}
    found = list(evaluate_depth(methods, read_manifest(photo_folder, "test")))
    text = tables(summary(found))
    assert "**teacher**: against the teacher's labels (2 photos, 2 pictures)" in text
    assert "| plane | 0.000 (0.000 to 0.000) | 0.000 |" in text
    assert text.count("| bright |") == 3 and "sparse" not in text
    content = results(found, [Skipped("x.png", "broken")])
    assert content["skipped"] == [{"name": "x.png", "why": "broken"}]
    (score, outline) = content["by_name"]["free/one"]["bright"]["scores"]
    assert score["part"] == "teacher" and score["values"]["correlation"] > 0.999
    assert outline["part"] == "outline"


def test_every_name_of_a_depth_is_understood_and_its_weights_are_told(tmp_path):
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(builtin_weights().read_bytes())
    plane, builtin, file = depth_sources.methods_named(["plane", "builtin", str(mine)])
    assert (plane.name, builtin.name, file.name) == ("plane", "builtin", "mine")
    assert plane.weights is None and builtin.weights == file.weights and len(file.weights) == 64


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], "no depth to measure"),
        (["plane", "plane"], "'plane' is to be measured twice"),
        (["rembrandt"], "no depth 'rembrandt' to measure; there are plane, builtin"),
        (["absent.safetensors"], "not a file of depth weights"),
        (["embedded"], "no depth 'embedded'"),
    ],
)
def test_a_depth_that_cannot_be_measured_is_told_in_one_sentence(names, sentence):
    with pytest.raises(InputError, match=sentence):
        depth_sources.methods_named(names)


def test_convention_the_first_pixels_centre_is_a_half():
    values = np.arange(12.0).reshape(3, 4)
    np.testing.assert_allclose(at_places(values, np.array([[0.5, 0.5], [2.5, 1.5], [1.0, 0.5]])), [0, 6, 0.5])


def test_a_cached_source_is_asked_once_per_picture(tmp_path):
    asked = []

    def slow(rgb: torch.Tensor) -> torch.Tensor:
        asked.append(rgb)
        return rgb.mean(0)

    source = depth_sources.cached(slow, tmp_path / "answers")
    rgb = torch.rand(3, 5, 7)
    assert torch.equal(source(rgb), source(rgb))
    source(1 - rgb)
    source(rgb.reshape(3, 7, 5))
    assert len(asked) == 3


def test_a_folder_that_is_no_network_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no depth network"):
        depth_sources.transformers_folder(tmp_path, 308)


def test_results_are_valid_json_with_their_circumstances(tmp_path):
    path = tmp_path / "deep" / "results.json"
    write_results(path, {"numbers": (1.5, math.nan, math.inf)})
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["numbers"] == [1.5, None, None]
    assert {"date", "commit", "machine", "versions"} <= set(found)
    assert found["machine"]["cores"] >= 1
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


def test_a_table_has_a_dash_where_there_is_no_number():
    table = markdown_table(["method", "psnr"], [["a", 29.2614], ["b", None], ["c", math.nan]], digits=2)
    assert table.splitlines()[2:] == ["| a | 29.26 |", "| b | – |", "| c | – |"]
