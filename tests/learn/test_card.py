from __future__ import annotations

import re

import pytest

from kinephoto.errors import InputError
from kinephoto.learn.card import DepthTraining, depth_card, write_depth_card
from kinephoto.scene.depthnet import DepthNet, DepthNetConfig, save_depthnet

FACTS = {
    "steps": 4500,
    "hours": 1.25,
    "device": "two cores of a processor",
    "seed": 3,
    "commit": "0123abc",
    "numbers": {
        "correlation, median": 0.91234,
        "pictures": 301,
        "RealEstate10K": {"AbsRel": 0.25, "δ<1.25": "78 %"},
    },
    "make_weights": ["kinephoto train depth --photos PHOTOS --teacher FOLDER --init teacher"],
    "make_numbers": ["kinephoto evaluate depth --photos PHOTOS --scenes SCENES"],
}


@pytest.fixture
def text() -> str:
    return depth_card(DepthNetConfig(), 5_992_281, 12_011_106, DepthTraining(**FACTS))


def test_a_card_says_all_that_it_was_told(text):
    said = [
        "5,992,281 parameters",
        "12.01 MB",
        "4,500 steps in 1.2 hours on two cores",
        "seed 3",
        "`0123abc`",
    ]
    said += [
        "| correlation, median | 0.912 |",
        "| pictures | 301 |",
        "**RealEstate10K**",
        "| δ<1.25 | 78 % |",
    ]
    said += FACTS["make_weights"] + FACTS["make_numbers"]
    assert [part for part in said if part not in text] == []


def test_a_card_names_data_terms_teacher_and_limits(text):
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    assert titles[1:] == ["Photos", "Teacher", "Network", "Training", "Numbers", "Make it again", "Limits"]
    for part in (
        "MSCOCO",
        "non-commercial",
        "Depth Anything V2 Small (Apache-2.0)",
        "refitted",
        "RealEstate10K",
    ):
        assert part in text


def test_the_photos_add_up(text):
    counts = [int(count) for count in re.findall(r"^\| [^|]+ \| (\d+) \| [^|]+ \|$", text, re.MULTILINE)]
    assert sum(counts) == 2421


def test_other_photos_and_teachers_have_their_own_words():
    training = DepthTraining(**FACTS, photos="My 40 photos, CC0.", teacher="Another.", start="nothing")
    text = depth_card(DepthNetConfig(), 1, 1, training)
    assert "My 40 photos, CC0." in text
    assert "encoder began as nothing" in text
    assert "MSCOCO" not in text
    assert "Depth Anything" not in text


@pytest.mark.parametrize("name", ["numbers", "make_weights", "make_numbers", "commit", "device"])
def test_a_card_without_what_matters_is_refused(name):
    with pytest.raises(InputError, match=f"needs {name}"):
        DepthTraining(**(FACTS | {name: type(FACTS[name])()}))


def test_commands_are_lines_and_not_letters():
    with pytest.raises(InputError, match="needs make_weights"):
        DepthTraining(**(FACTS | {"make_weights": "kinephoto train depth"}))


def test_the_card_lies_beside_its_weights_and_counts_them(tmp_path, tiny):
    net = DepthNet(tiny)
    save_depthnet(net, tmp_path / "depth.safetensors", {})
    path = write_depth_card(tmp_path / "depth.safetensors", DepthTraining(**FACTS))
    assert path == tmp_path / "depth.md"
    text = path.read_text(encoding="utf-8")
    assert f"{sum(p.numel() for p in net.parameters()):,} parameters" in text
    assert "A transformer of 2 blocks (32 channels, 2 heads" in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["depth.md", "depth.safetensors"]


def test_weights_that_are_not_there_get_no_card(tmp_path):
    with pytest.raises(InputError, match="depth weights"):
        write_depth_card(tmp_path / "depth.safetensors", DepthTraining(**FACTS))
    assert not list(tmp_path.iterdir())
