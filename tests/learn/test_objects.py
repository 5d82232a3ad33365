"""Object pairs: which objects count, what a crop holds, and that the trainer learns from them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from kinephoto.errors import InputError
from kinephoto.learn.objects import (
    LEAST_KNOWN,
    MOST_KNOWN,
    ObjectBank,
    Outline,
    blurred,
    object_batch,
    read_outlines,
)
from kinephoto.learn.photos import Labelled
from kinephoto.painter.scene_painting import mean_fill

HW = (120, 160)
SQUARE = [40.0, 30.0, 80.0, 30.0, 80.0, 90.0, 40.0, 90.0]


def photo(name: str = "photos/a.png") -> Labelled:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (*HW, 3), dtype=np.uint8)
    return Labelled(name, rgb, np.zeros(HW, np.uint8))


def annotation(**changes) -> dict:
    values = {"image_id": 1, "segmentation": [SQUARE], "area": 2400.0, "iscrowd": 0, "category_id": 1}
    return values | changes


def instances(path: Path, *annotations: dict) -> Path:
    images = [{"id": 1, "file_name": "a.png", "width": HW[1], "height": HW[0]}]
    path.write_text(json.dumps({"images": images, "annotations": list(annotations)}))
    return path


def test_crowds_and_tiny_objects_are_left_out(tmp_path):
    crowd = annotation(iscrowd=1, segmentation={"counts": [1], "size": list(HW)})
    file = instances(tmp_path / "i.json", annotation(), crowd, annotation(area=10.0))
    assert len(read_outlines([file], ["photos/a.png"])["photos/a.png"]) == 1


def test_polygons_cover_the_pixels_whose_centres_they_hold(tmp_path):
    file = instances(tmp_path / "i.json", annotation())
    (outline,) = read_outlines([file], ["photos/a.png"])["photos/a.png"]
    drawn = outline.drawn(HW)
    # OpenCV draws a polygon's own border as well, hence a pixel more to the right and below.
    assert drawn[30:90, 40:80].all()
    assert (
        not drawn[:30].any() and not drawn[92:].any() and not drawn[:, :40].any() and not drawn[:, 82:].any()
    )
    assert outline.drawn((60, 80))[16:44, 21:39].all()


def test_masks_belong_to_the_photos_of_their_name(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    mask = np.zeros(HW, np.uint8)
    mask[10:50, 20:60] = 255
    cv2.imwrite(str(folder / "a.png"), mask)
    found = read_outlines([folder], ["photos/set/a.webp", "photos/other/a.webp", "photos/set/b.webp"])
    assert list(found) == ["photos/set/a.webp"]
    assert np.array_equal(found["photos/set/a.webp"][0].drawn(HW), mask > 0)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"images": []}', '{"images": [{"id": 1}], "annotations": [{}]}']
)
def test_what_is_no_coco_file_is_refused_in_one_sentence(tmp_path, content):
    file = tmp_path / "i.json"
    file.write_text(content)
    with pytest.raises(InputError, match="not a file of objects in COCO's format"):
        read_outlines([file], ["photos/a.png"])


def test_objects_of_no_photo_are_refused(tmp_path):
    file = instances(tmp_path / "i.json", annotation())
    with pytest.raises(InputError, match="no object of any of the 1 photos"):
        read_outlines([file], ["photos/b.png"])
    with pytest.raises(InputError, match="None of the 1 photos has an object"):
        ObjectBank([photo()], {})


@pytest.fixture(scope="module")
def bank() -> ObjectBank:
    square = np.array(SQUARE, np.float32).reshape(-1, 2)
    return ObjectBank([photo()], {"photos/a.png": [Outline((square,), HW), Outline((square + 30,), HW)]})


def test_a_crop_shows_objects_and_depends_on_its_key_alone(bank):
    keys = [(0, 1, i) for i in range(8)]
    batch = object_batch(bank, 64, keys)
    share = batch.known.float().mean((1, 2))
    assert bool(((share >= LEAST_KNOWN) & (share <= MOST_KNOWN)).all())
    alone = object_batch(bank, 64, keys[5:6])
    for part in ("rgb", "known", "filled"):
        assert torch.equal(getattr(batch, part)[5], getattr(alone, part)[0])


def test_what_is_known_is_the_photo_and_the_rest_is_not(bank):
    batch = object_batch(bank, 64, [(3, i) for i in range(12)])
    known = batch.known[:, None].expand_as(batch.rgb)
    assert torch.equal(batch.filled[known], batch.rgb[known])
    # Noise is never its own mean or blur.
    assert float((batch.filled - batch.rgb)[~known].abs().mean()) > 0.05


def test_both_kinds_of_fill_come(bank):
    batch = object_batch(bank, 64, [(4, i) for i in range(24)])
    flat = [
        float(filled[:, ~known].std(1).max()) < 1e-5
        for filled, known in zip(batch.filled, batch.known, strict=True)
    ]
    assert 4 < sum(flat) < 20


def test_fills_keep_the_mean():
    rgb = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    known = torch.zeros(64, 64, dtype=torch.bool)
    known[10:20] = True
    torch.testing.assert_close(mean_fill(rgb, known)[:, 0, 0], rgb[:, 10:20].mean((1, 2)))
    assert float(blurred(rgb, 4.0).std()) < 0.5 * float(rgb.std())
    torch.testing.assert_close(blurred(rgb, 2.0).mean(), rgb.mean(), atol=2e-3, rtol=0)
