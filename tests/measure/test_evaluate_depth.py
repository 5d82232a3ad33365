from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from kinephoto.errors import InputError
from kinephoto.measure.depth import at_places, evaluate_depth, summary
from kinephoto.measure.methods import depth_sources
from kinephoto.measure.photos import object_masks, read_manifest
from kinephoto.measure.report import markdown_table, write_results
from kinephoto.measure.scenes import read_scene, true_disparity

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


def test_the_right_disparity_scores_perfectly_against_labels_whatever_its_scale(photo_folder):
    photos = read_manifest(photo_folder, "test")
    assert [photo.name for photo in photos] == ["free/one", "free/two"]
    table = summary(evaluate_depth(brightness, photos))
    # The label is a compressed 8-bit file.
    assert table["teacher"]["correlation"] > 0.999
    assert table["teacher"]["relative_error"] < 0.02
    assert table["teacher"]["pictures"] == 2


def test_a_plane_scores_nothing(photo_folder):
    table = summary(evaluate_depth(depth_sources.constant_plane, read_manifest(photo_folder, "test")))
    assert table["teacher"]["correlation"] == 0
    assert table["teacher"]["relative_error"] == pytest.approx(1, abs=1e-6)
    assert table["outline"]["edge_kept"] == 0


def test_outlines_are_measured_before_and_after_sharpening(photo_folder):
    def blurred(rgb: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(brightness(rgb)[None], 7, 1, 3, count_include_pad=False)[0]

    photos = read_manifest(photo_folder, "test")
    table = summary(evaluate_depth(blurred, photos, sharpen=lambda disparity, rgb: brightness(rgb)))
    assert table["outline"]["edge_width_px"] > 3
    assert table["outline"]["edge_width_px_sharpened"] < 1.5


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
    found = {photo.name: masks for photo, masks in object_masks(read_manifest(photo_folder, "test"))}
    assert len(found["free/one"]) == 1
    (mask,) = found["free/two"]
    expected = np.zeros(HW, bool)
    expected[5:15, 10:20] = True
    np.testing.assert_array_equal(mask, expected)


def test_stereo_truth_and_points_give_a_perfect_score_to_the_truth(write_tiny_scene, tmp_path):
    write_tiny_scene(tmp_path / "stereo-tiny", stereo=True)
    scene = read_scene(tmp_path / "stereo-tiny")
    truth = torch.from_numpy(true_disparity(scene))
    found = summary(evaluate_depth(lambda rgb: 0.1 * truth + 3, scenes=[scene]))["dense"]
    assert found["abs_rel"] < 1e-4
    assert found["delta_1.25"] == 1


def test_depth_turned_around_scores_no_better_than_a_plane(write_tiny_scene, tmp_path):
    write_tiny_scene(tmp_path / "stereo-tiny", stereo=True)
    scene = read_scene(tmp_path / "stereo-tiny")
    truth = torch.from_numpy(true_disparity(scene))
    turned = summary(evaluate_depth(lambda rgb: 5 - truth, scenes=[scene]))["dense"]
    plane = summary(evaluate_depth(depth_sources.constant_plane, scenes=[scene]))["dense"]
    assert turned["abs_rel"] == pytest.approx(plane["abs_rel"])


def test_sparse_scenes_are_split_by_whether_the_teacher_can_have_seen_them(write_tiny_scene, tmp_path):
    for name in ("re10k-tiny", "llff-tiny"):
        write_tiny_scene(tmp_path / name)
    scenes = [read_scene(tmp_path / name) for name in ("re10k-tiny", "llff-tiny")]
    table = summary(evaluate_depth(depth_sources.constant_plane, scenes=scenes))
    assert set(table) == {"sparse re10k", "sparse other"}
    assert table["sparse re10k"]["pictures"] == 2


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
