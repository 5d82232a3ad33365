from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from kinephoto.errors import InputError
from kinephoto.learn import plan as planning
from kinephoto.learn.distill import distill
from kinephoto.learn.distill_settings import DistillSettings
from kinephoto.learn.plan import plan


def files_in(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_a_plan_says_photos_steps_size_and_time_and_writes_nothing(settings, tiny, photos, tmp_path):
    before = files_in(tmp_path) | files_in(photos)
    text = plan(settings(steps=500), tiny)
    said = ["photos to learn from and", "500 steps of 2 crops, 28, 42 px wide", "million weights"]
    said += ["it starts from: scratch", "About ", " on cpu", "Nothing has been written."]
    assert [part for part in said if part not in text] == []
    assert files_in(tmp_path) | files_in(photos) == before


def test_a_plan_counts_missing_labels_and_keeps_none(settings, tiny, own_photos, teacher_folder, tmp_path):
    shutil.rmtree(own_photos / "disparity")
    before = files_in(tmp_path)
    text = plan(settings(photos=own_photos, teacher=teacher_folder, feature_steps=4, half=True), tiny)
    assert "24 of them have no label yet" in text
    assert "the first 4 also match the teacher's features" in text
    assert files_in(tmp_path) == before


def test_a_plan_knows_what_is_done_already(settings, tiny):
    going = distill(settings(), tiny)
    next(progress for progress in going if progress.stage == "training" and progress.step == 2)
    going.close()
    assert "2 of these steps are done already." in plan(settings(), tiny)


def test_a_plan_is_refused_where_the_run_would_be(settings, tiny, own_photos, tmp_path):
    for says, change in {
        "no folder of photos": {"photos": tmp_path / "absent"},
        "no teacher folder": {"teacher": tmp_path / "absent"},
        "--init is absent": {"init": "absent"},
    }.items():
        with pytest.raises(InputError, match=says):
            plan(settings(**change), tiny)
    shutil.rmtree(own_photos / "photos")
    with pytest.raises(InputError, match="None of the first 20 photos .* can be used; photos/free/"):
        plan(settings(photos=own_photos), tiny)


def test_steps_cost_by_the_area_of_their_crops(settings):
    costs = planning._relative_costs(settings(steps=6, tokens=[2, 4, 6]))
    np.testing.assert_allclose(costs, np.array([4, 4, 16, 16, 36, 36]) / 16)


def test_the_time_is_the_sum_of_its_steps(settings, tiny, monkeypatch):
    monkeypatch.setattr(planning, "_step_seconds", lambda *a: (5.0, 2.0))
    # From scratch, all crops of one size, no teacher: 600 steps of 2 s.
    assert "About 20 min on cpu" in plan(settings(steps=600, tokens=[3]), tiny)


def test_a_plan_is_made_with_the_runs_threads_and_gives_them_back(settings, tiny, monkeypatch):
    seen = []
    monkeypatch.setattr(
        planning, "_step_seconds", lambda *a: seen.append(torch.get_num_threads()) or (1.0, 1.0)
    )
    threads = torch.get_num_threads()
    plan(settings(threads=2), tiny)
    assert seen == [2]
    assert torch.get_num_threads() == threads == 1


def test_every_setting_has_a_sentence_a_group_and_numbers_a_range():
    for name, field in DistillSettings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
        assert field.json_schema_extra["panel"] in ("Data", "Training", "Machine"), name
        if field.annotation in (int, float):
            assert field.metadata, f"{name} has no range"


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"tokens": []},
        {"tokens": [1]},
        {"tokens": [14, 65]},
        {"ema": 1.0},
        {"seed": -1},
        {"feature_steps": -1},
        {"threads": 0},
        {"check_every": 0},
        {"step": 3},
    ],
)
def test_settings_out_of_range_are_refused(wrong, tmp_path):
    with pytest.raises(ValidationError):
        DistillSettings(photos=tmp_path, **wrong)


def test_settings_can_be_shown_without_loading_anything_heavy():
    heavy = ("torch", "numpy", "cv2", "transformers")
    code = "import sys, kinephoto.learn.distill_settings; "
    code += f"print([name for name in {heavy!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"
