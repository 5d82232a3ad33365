from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from kinephoto.errors import InputError
from kinephoto.interrupts import ending_cleanly
from kinephoto.learn import checkpoint, crops, distill
from kinephoto.learn.checkpoint import read_state, save_state
from kinephoto.learn.crops import batches, draw_batch, random_crop
from kinephoto.learn.distill import (
    Progress,
    config_of,
    held_out_correlation,
    learning_rate,
    new_net,
    optimiser_of,
    train_step,
)
from kinephoto.learn.kept_features import KeptFeatures
from kinephoto.learn.losses import aligned, distill_loss, feature_loss, loss_parts, normalised
from kinephoto.learn.photos import Labelled, read_labelled, split_of
from kinephoto.learn.teacher import Teacher
from kinephoto.scene.depthnet import DepthNet, DepthNetConfig, load_depthnet, save_depthnet


@pytest.fixture
def label() -> torch.Tensor:
    """Two maps [2, 24, 32]: near things before a slope, no value far out in the tail."""
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij")
    slope = 0.2 + 0.3 * rows / 24
    return torch.stack([torch.where(columns > 20, 0.8, slope), torch.where(rows > 15, 0.6, slope / 2)])


def test_the_normalised_label_costs_nothing(label):
    # The fit divides by the variance plus 1e-4, so it misses the truth by a ten-thousandth.
    assert float(distill_loss(normalised(label), label)) < 1e-3
    assert float(loss_parts(normalised(label), label)[0]) == 0


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (3.0, -40.0), (100.0, 7.0), (1e5, 0.0)])
def test_scale_and_shift_cost_nothing_in_the_parts_that_ignore_them(label, scale, shift):
    _, invariant, gradient = loss_parts(scale * normalised(label) + shift, label)
    assert float(invariant) < 1e-3
    assert float(gradient) < 1e-3


def test_scale_and_shift_of_the_label_change_nothing(label):
    found = torch.randn(label.shape, generator=torch.Generator().manual_seed(0))
    expected = float(distill_loss(found, label))
    assert float(distill_loss(found, 5 * label + 3)) == pytest.approx(expected, rel=1e-4)


def test_every_part_sees_a_mistake(label):
    wrong = normalised(label).flip(2)
    assert all(float(part) > 0.1 for part in loss_parts(wrong, label))
    assert float(loss_parts(normalised(label) + 0.5, label)[0]) == pytest.approx(0.5, abs=1e-5)


def test_the_least_squares_fit_is_the_best(label):
    truth = normalised(label)
    found = truth + 0.3 * torch.randn(label.shape, generator=torch.Generator().manual_seed(0))
    fitted = aligned(found, truth)
    for part in range(2):
        slope, shift = np.polyfit(found[part].flatten().numpy(), truth[part].flatten().numpy(), 1)
        torch.testing.assert_close(fitted[part], slope * found[part] + shift, atol=1e-3, rtol=1e-3)


LABELS = {
    "constant": torch.full((1, 16, 16), 0.3),
    "zero": torch.zeros(1, 16, 16),
    "one near pixel": torch.zeros(1, 16, 16).index_fill(2, torch.tensor([3]), 1.0),
    "huge": 1e30 * torch.linspace(0, 1, 256).view(1, 16, 16),
    "ordinary": torch.linspace(0, 1, 256).view(1, 16, 16),
}
ANSWERS = {
    "zero": torch.zeros(1, 16, 16),
    "constant": torch.full((1, 16, 16), -4.0),
    "huge": 1e30 * torch.linspace(-1, 1, 256).view(1, 16, 16).flip(1),
    "tiny": 1e-30 * torch.linspace(-1, 1, 256).view(1, 16, 16),
    "one huge pixel": torch.zeros(1, 16, 16).index_fill(2, torch.tensor([7]), 1e20),
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("label", LABELS)
def test_gradients_are_finite_at_every_extreme(label, answer):
    found = ANSWERS[answer].clone().requires_grad_()
    loss = distill_loss(found, LABELS[label])
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(found.grad).all()


def test_equal_features_cost_nothing():
    features = [torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)]
    assert float(feature_loss(features, [part.clone() for part in features])) == 0
    assert float(feature_loss(features, [part + 2 for part in features])) == pytest.approx(4, rel=1e-5)


def ramps(hw: tuple[int, int]) -> Labelled:
    """Red rises to the right, green downwards, and the label is the mean of both."""
    rows, columns = np.mgrid[: hw[0], : hw[1]]
    red, green = 250 * (columns + 0.5) / hw[1], 250 * (rows + 0.5) / hw[0]
    rgb = np.stack([red, green, np.zeros(hw)], axis=-1)
    return Labelled("ramps", np.uint8(rgb.round()), np.uint8(((red + green) / 2).round()))


# The second is larger than its crops, so that the photo is blurred before it is made small, and the label not.
@pytest.mark.parametrize("hw", [(60, 80), (240, 200)])
def test_a_crop_shows_photo_and_label_at_the_same_place(monkeypatch, hw):
    monkeypatch.setattr(crops, "vary_colours", lambda rgb, rng: rgb)
    photo = ramps(hw)
    mirrored = set()
    for seed in range(40):
        rgb, disparity = random_crop(photo, (56, 70), np.random.default_rng(seed))
        assert rgb.shape == (56, 70, 3)
        assert disparity.shape == (56, 70)
        error = 255 * (np.sqrt(disparity) - rgb[..., :2].mean(-1))[4:-4, 4:-4]
        # Each of four bytes is rounded by half a step at most. Half a pixel would be 1 to 4 steps to one side.
        assert np.abs(error).max() <= 2.01
        assert abs(error.mean()) < 0.5
        mirrored.add(bool(rgb[30, 60, 0] < rgb[30, 10, 0]))
        assert rgb[50, 30, 1] > rgb[10, 30, 1]
    assert mirrored == {True, False}


class Whole:
    """Random numbers that take all of a photo as it is, or its mirror image."""

    def __init__(self, mirrored: bool) -> None:
        self.coins = iter([0.9, 0.9 if mirrored else 0.1])

    def random(self) -> float:
        return next(self.coins)

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2


@pytest.mark.parametrize("mirrored", [False, True])
def test_convention_a_crop_of_the_whole_photo_is_the_photo(monkeypatch, picture, mirrored):
    monkeypatch.setattr(crops, "vary_colours", lambda rgb, rng: rgb)
    rgb, code = picture(0)
    found, disparity = random_crop(Labelled("0", rgb, code), code.shape, Whole(mirrored))
    turned = slice(None, None, -1 if mirrored else 1)
    # One byte for the warp's rounding; half a pixel would move the disc's outline by a hundred.
    np.testing.assert_allclose(255 * found, rgb[:, turned], atol=1)
    np.testing.assert_allclose(255 * np.sqrt(disparity), code[:, turned], atol=1)


def test_colours_vary_and_stay_in_range(picture):
    rgb = picture(0)[0].astype(np.float32) / 255
    made = [crops.vary_colours(rgb, np.random.default_rng(seed)) for seed in range(30)]
    assert all(part.dtype == np.float32 and part.min() >= 0 and part.max() <= 1 for part in made)
    assert np.std([part.mean() for part in made]) > 0.03


def read_split(folder: Path, split: str) -> list[Labelled]:
    return [read_labelled(folder, name) for name in split_of(folder, split)]


def test_a_step_is_the_same_whenever_it_is_drawn(photos, settings):
    read = read_split(photos, "train")
    chosen = settings(steps=8, batch=3)
    from_start = {step: (rgb, disparity) for step, rgb, disparity in batches(read, chosen, 0)}
    assert list(from_start) == list(range(8))
    for first in (1, 5, 7):
        for step, rgb, disparity in batches(read, chosen, first):
            assert torch.equal(rgb, from_start[step][0])
            assert torch.equal(disparity, from_start[step][1])
    averages = {float(disparity.mean()) for _, disparity in from_start.values()}
    assert len(averages) == 8
    assert not torch.equal(from_start[0][0], draw_batch(read, settings(steps=8, batch=3, seed=1), 0)[0])


def test_crops_grow_over_the_run_and_fit_tokens(photos, settings):
    read = read_split(photos, "train")
    chosen = settings(steps=9, tokens=[2, 3, 5])
    shapes = [draw_batch(read, chosen, step)[0].shape for step in range(9)]
    assert all(shape[2] % 14 == 0 and shape[3] % 14 == 0 for shape in shapes)
    assert max(shapes[0][2:]) < min(shapes[-1][2:])


def test_a_batch_may_be_larger_than_the_folder(photos, settings):
    read = read_split(photos, "train")[:2]
    assert len(draw_batch(read, settings(batch=5), 0)[0]) == 5


def test_the_learning_rate_warms_up_and_comes_down(settings):
    chosen = settings(steps=1000)
    rates = [learning_rate(step, chosen) for step in range(1000)]
    assert rates[0] == pytest.approx(1 / 200, rel=0.01)
    assert max(rates) <= 1
    assert rates[-1] == pytest.approx(0.01, rel=0.01)
    assert learning_rate(0, settings(steps=1)) == 1


def test_one_batch_is_learnt_by_heart(photos, settings, tiny):
    chosen = settings(lr=2e-3, tokens=[2])
    rgb, disparity = draw_batch(read_split(photos, "train"), chosen, 0)
    torch.manual_seed(0)
    net = DepthNet(tiny)
    optimiser = optimiser_of(net, chosen)
    losses = [train_step(net, optimiser, rgb, disparity, step, None, chosen) for step in range(80)]
    # A ninth is left when this is written; what does not learn stays near the whole.
    assert np.mean(losses[-5:]) < 0.2 * losses[0]


def run(settings, tiny, steps: int | None = None) -> list[Progress]:
    """The training steps of a run, closed after so many."""
    found = []
    going = distill.distill(settings, tiny)
    for progress in going:
        if progress.stage == "training":
            found.append(progress)
            if progress.step == steps:
                going.close()
    return found


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_depthnet(folder / "depth.safetensors").state_dict()


def assert_same_run(one: Path, other: Path) -> None:
    first, second = (torch.load(out / "last.pt", weights_only=True) for out in (one, other))
    assert first["step"] == second["step"]
    for part in ("net", "average"):
        for name, value in first[part].items():
            assert torch.equal(value, second[part][name]), f"{part} {name}"
    theirs = weights_of(other)
    for name, value in weights_of(one).items():
        assert torch.equal(value, theirs[name])


# Stopped at a check, between checks, and more than once.
@pytest.mark.parametrize("stops", [(3,), (4,), (1, 2, 5)])
def test_a_run_that_was_stopped_and_gone_on_with_equals_one_that_never_stopped(
    settings, tiny, tmp_path, stops
):
    whole = run(settings(out=tmp_path / "whole"), tiny)
    parts = []
    for stop in (*stops, None):
        parts += run(settings(out=tmp_path / "parts"), tiny, stop)
    # Bit for bit: every random number of a step comes from its own number.
    assert [p.step for p in parts] == [p.step for p in whole] == list(range(1, 7))
    assert [p.loss for p in parts] == [p.loss for p in whole]
    assert [p.held_out for p in parts] == [p.held_out for p in whole]
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize(
    ("number", "ends"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)], ids=str
)
def test_a_request_to_end_waits_for_the_step_in_hand_and_loses_nothing(
    settings, tiny, tmp_path, monkeypatch, number, ends
):
    run(settings(out=tmp_path / "whole"), tiny)

    def interrupted(*args):
        if args[4] == 1:  # in the middle of the second step
            signal.raise_signal(number)
        return train_step(*args)

    with monkeypatch.context() as patch:
        patch.setattr(distill, "train_step", interrupted)
        with pytest.raises(ends), ending_cleanly():
            run(settings(out=tmp_path / "parts"), tiny)
    assert torch.load(tmp_path / "parts" / "last.pt", weights_only=True)["step"] == 2
    run(settings(out=tmp_path / "parts"), tiny)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_run_with_a_teacher_that_was_killed_ends_the_same(settings, tiny, tmp_path, teacher_folder):
    chosen = {"teacher": teacher_folder, "feature_steps": 5, "half": True, "check_every": 2}
    run(settings(out=tmp_path / "whole", **chosen), tiny)
    run(settings(out=tmp_path / "parts", **chosen), tiny, 4)
    state = torch.load(tmp_path / "parts" / "last.pt", weights_only=True)
    run(settings(out=tmp_path / "parts", **chosen), tiny, 5)
    # As if it had been killed at step 5: the state of step 4 is what is there.
    torch.save(state, tmp_path / "parts" / "last.pt")
    run(settings(out=tmp_path / "parts", **chosen), tiny)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_labels_stay_in_single_precision_when_features_are_not(settings, tiny, teacher_folder, monkeypatch):
    made, seen = [], []

    class Watched(Teacher):
        def __init__(self, *given) -> None:
            super().__init__(*given)
            made.append(self)

        def features(self, rgb):
            seen.append(self.model.dtype)
            return super().features(rgb)

    monkeypatch.setattr(distill, "Teacher", Watched)
    monkeypatch.setattr(distill, "bfloat16_helps", lambda device=None: True)
    run(settings(teacher=teacher_folder, feature_steps=2, steps=2, half=True), tiny)
    assert seen == [torch.bfloat16] * 2
    assert made[0].model.dtype == torch.float32


def test_the_teachers_features_are_learnt_too(settings, tiny, tmp_path, teacher_folder):
    run(settings(out=tmp_path / "with", teacher=teacher_folder, feature_steps=6), tiny)
    run(settings(out=tmp_path / "without", teacher=teacher_folder), tiny)
    with pytest.raises(AssertionError):
        assert_same_run(tmp_path / "with", tmp_path / "without")


def test_kept_crops_come_again_after_a_round_through_all_stages(photos, settings):
    read = read_split(photos, "train")
    chosen = settings(steps=9, tokens=[2, 5], teacher="teacher", kept_steps=4)
    shapes = [draw_batch(read, chosen, step)[0].shape for step in range(4)]
    assert max(shapes[1][2:]) < min(shapes[2][2:])
    for one, other in ((0, 4), (3, 7), (0, 8)):
        assert torch.equal(draw_batch(read, chosen, one)[0], draw_batch(read, chosen, other)[0])
    assert not torch.equal(draw_batch(read, chosen, 0)[0], draw_batch(read, chosen, 1)[0])


def test_kept_features_are_the_teachers_and_computed_once(teacher_folder, tmp_path, monkeypatch):
    teacher = Teacher(teacher_folder)
    kept = KeptFeatures(teacher, tmp_path)
    crops = torch.rand(3, 2, 3, 28, 42, generator=torch.Generator().manual_seed(0))
    first, other = kept.features(crops[0]), kept.features(crops[1])
    for found, wanted in zip(first, teacher.features(crops[0]), strict=True):
        torch.testing.assert_close(found.float(), wanted, rtol=1e-3, atol=1e-3)
    monkeypatch.setattr(teacher, "features", lambda rgb: pytest.fail("asked again"))
    for found, again in zip(first, kept.features(crops[0]), strict=True):
        assert torch.equal(found, again)
    assert not torch.equal(first[0], other[0])
    with pytest.raises(pytest.fail.Exception):
        kept.features(crops[2])


def test_a_damaged_file_of_features_is_made_again(teacher_folder, tmp_path):
    kept = KeptFeatures(Teacher(teacher_folder), tmp_path)
    crop = torch.rand(1, 3, 28, 28)
    first = kept.features(crop)
    (file,) = kept.folder.iterdir()
    file.write_bytes(file.read_bytes()[:200])
    assert torch.equal(kept.features(crop)[0], first[0])
    assert torch.equal(kept.features(crop)[0], first[0])


def test_steps_for_the_encoder_leave_the_decoder_alone(settings, tiny, tmp_path, teacher_folder):
    chosen = settings(
        out=tmp_path / "out", teacher=teacher_folder, feature_steps=6, encoder_steps=6, kept_steps=2
    )
    start = new_net(chosen, [], None, tiny).state_dict()
    losses = [progress.loss for progress in run(chosen, tiny)]
    assert len(losses) == 6
    assert np.isfinite(losses).all()
    found = torch.load(tmp_path / "out" / "last.pt", weights_only=True)["net"]
    for name, value in found.items():
        if name.startswith("decoder"):
            assert torch.equal(value, start[name]), name
    assert not torch.equal(found["encoder.blocks.0.qkv.up.weight"], start["encoder.blocks.0.qkv.up.weight"])
    assert len(list((tmp_path / "out" / "features").rglob("*.safetensors"))) == 2


def test_a_run_on_kept_features_that_was_stopped_ends_the_same(settings, tiny, tmp_path, teacher_folder):
    chosen = {"teacher": teacher_folder, "feature_steps": 5, "encoder_steps": 2, "kept_steps": 2}
    run(settings(out=tmp_path / "whole", **chosen), tiny)
    run(settings(out=tmp_path / "parts", **chosen), tiny, 4)
    run(settings(out=tmp_path / "parts", **chosen), tiny)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"encoder_steps": 3}, "--encoder-steps needs --teacher"),
        ({"teacher": "teacher", "encoder_steps": 3, "feature_steps": 2}, "--encoder-steps needs --teacher"),
        ({"kept_steps": 3}, "--kept-steps needs --teacher"),
        ({"teacher": "t", "kept_steps": 3, "crop_labels": True, "feature_steps": 2}, "--kept-steps needs"),
    ],
)
def test_settings_for_features_that_serve_no_purpose_are_refused(settings, changes, says):
    with pytest.raises(ValidationError, match=says):
        settings(**changes)


def test_a_state_without_its_shape_is_gone_on_with(settings, tiny, tmp_path):
    run(settings(out=tmp_path / "whole"), tiny)
    run(settings(out=tmp_path / "old"), tiny, 3)
    state = torch.load(tmp_path / "old" / "last.pt", weights_only=True)
    del state["config"]
    torch.save(state, tmp_path / "old" / "last.pt")
    run(settings(out=tmp_path / "old"), tiny)
    assert_same_run(tmp_path / "whole", tmp_path / "old")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"blocks": 3}, "blocks 2, here 3"),
        # Tensors of the same shapes, and yet another network.
        ({"heads": 4}, "heads 2, here 4"),
    ],
)
def test_a_run_does_not_go_on_with_another_network(settings, tiny, tmp_path, change, says):
    run(settings(), tiny, 1)
    other = DepthNetConfig(**(tiny.__dict__ | change))
    with pytest.raises(InputError, match=says) as error:
        run(settings(), other)
    assert "--out" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_state_without_its_shape_does_not_go_on_with_other_tensors(settings, tiny, tmp_path):
    run(settings(), tiny, 1)
    path = tmp_path / "out" / "last.pt"
    state = torch.load(path, weights_only=True)
    del state["config"]
    torch.save(state, path)
    with pytest.raises(InputError, match="another network"):
        read_state(path, DepthNetConfig(**(tiny.__dict__ | {"width": 24})))


@pytest.mark.parametrize("content", [b"", b"no state", None])
def test_a_file_that_is_no_state_is_refused(settings, tiny, tmp_path, content):
    out = tmp_path / "out"
    out.mkdir()
    if content is None:
        torch.save({"step": 3}, out / "last.pt")
    else:
        (out / "last.pt").write_bytes(content)
    with pytest.raises(InputError, match="move it away"):
        run(settings(), tiny)


class Bomb:
    """Unpickled as code, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_state_cannot_run_code(settings, tiny, tmp_path):
    (tmp_path / "out").mkdir()
    torch.save({"step": Bomb(tmp_path / "exploded")}, tmp_path / "out" / "last.pt")
    with pytest.raises(InputError, match="move it away"):
        run(settings(), tiny)
    assert not (tmp_path / "exploded").exists()


def test_a_kill_in_the_middle_of_saving_leaves_the_state_before(settings, tiny, tmp_path, monkeypatch):
    run(settings(), tiny, 3)
    path = tmp_path / "out" / "last.pt"
    before, good_weights = path.read_bytes(), (tmp_path / "out" / "depth.safetensors").read_bytes()

    def half(state, target):
        Path(target).write_bytes(b"half a state")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.torch, "save", half)
        with pytest.raises(KeyboardInterrupt):
            run(settings(), tiny)
    assert path.read_bytes() == before
    # The weights of step 6 were whole already; the state goes on from step 3 and makes them again.
    assert (tmp_path / "out" / "depth.safetensors").read_bytes() != good_weights
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "depth.safetensors",
        "last.pt",
        "log.jsonl",
    ]
    assert [p.step for p in run(settings(), tiny)] == [4, 5, 6]


def test_a_full_disk_leaves_the_weights_before(tiny, tmp_path, monkeypatch):
    path = tmp_path / "depth.safetensors"
    save_depthnet(DepthNet(tiny), path, {})
    before = path.read_bytes()

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_depthnet(DepthNet(tiny), path, {"steps": 2})
    with pytest.raises(OSError, match="No space"):
        save_state(
            tmp_path / "last.pt", DepthNet(tiny), DepthNet(tiny), torch.optim.AdamW([torch.zeros(1)]), 1, 0.0
        )
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_run_says_what_a_bar_needs_and_writes_its_log(settings, tiny, tmp_path):
    seen = list(distill.distill(settings(), tiny))
    reading = [p for p in seen if p.stage == "photos"]
    training = [p for p in seen if p.stage == "training"]
    assert [p.step for p in reading] == list(range(1, 25))
    assert {p.steps for p in reading} == {24}
    assert [p.step for p in training] == list(range(1, 7))
    assert {p.steps for p in training} == {6}
    assert [p.held_out is not None for p in training] == [False, False, True] * 2
    assert all(-1 <= p.held_out <= 1 for p in training if p.held_out is not None)
    assert not any(p.skipped or p.note for p in seen)
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6]
    assert lines[-1]["loss"] == training[-1].loss


def test_a_finished_run_says_so_and_changes_nothing(settings, tiny, tmp_path):
    run(settings(), tiny)
    before = (tmp_path / "out" / "last.pt").read_bytes()
    (told,) = run(settings(), tiny)
    assert "trained for 6 steps already" in told.note
    assert (tmp_path / "out" / "last.pt").read_bytes() == before


def test_threads_are_given_back_and_other_random_numbers_left_alone(settings, tiny, monkeypatch):
    seen = []
    monkeypatch.setattr(distill, "train_step", lambda *a: seen.append(torch.get_num_threads()) or 1.0)
    state = torch.get_rng_state()
    run(settings(threads=2), tiny, 1)
    assert seen == [2]
    assert torch.get_num_threads() == 1
    assert torch.equal(torch.get_rng_state(), state)


def test_one_bad_photo_is_told_skipped_and_counted(settings, tiny, own_photos, tmp_path):
    names = split_of(own_photos, "train")
    (own_photos / names[3]).write_bytes(b"no picture")
    seen = list(distill.distill(settings(photos=own_photos, steps=1), tiny))
    (told,) = [p for p in seen if p.note]
    assert told.stage == "photos"
    assert told.note.startswith(f"Skipped: {names[3]} is not a picture")
    assert seen[-1].skipped == 1


def test_two_bad_photos_of_24_stop_the_run_before_it_begins(settings, tiny, own_photos, tmp_path):
    for name in split_of(own_photos, "train")[:2]:
        (own_photos / name).write_bytes(b"no picture")
    with pytest.raises(InputError, match="More than 5% of the 24 photos"):
        list(distill.distill(settings(photos=own_photos), tiny))
    assert list((tmp_path / "out").iterdir()) == []


def test_photos_without_labels_are_labelled_by_the_teacher_once(
    settings, tiny, own_photos, teacher_folder, tmp_path
):
    shutil.rmtree(own_photos / "disparity")
    chosen = settings(photos=own_photos, teacher=teacher_folder, steps=2)
    first = run(chosen, tiny)
    labels = sorted((tmp_path / "out" / "labels").iterdir())
    assert len(labels) == 24
    stamps = [path.stat().st_mtime_ns for path in labels]
    (tmp_path / "out" / "last.pt").unlink()
    again = run(chosen, tiny)
    assert [path.stat().st_mtime_ns for path in labels] == stamps
    assert [p.loss for p in again] == [p.loss for p in first]


def test_a_plain_folder_of_pictures_is_enough_beside_a_teacher(
    settings, tiny, teacher_folder, tmp_path, picture
):
    for number in range(5):
        Image.fromarray(picture(number)[0]).save(tmp_path / f"{number}.jpg")
    # The run's folder lies in that of the photos: its labels are no photos, the second time either.
    chosen = settings(photos=tmp_path, out=tmp_path / "run", teacher=teacher_folder, steps=1)
    for seen in (list(distill.distill(chosen, tiny)), list(distill.distill(chosen, tiny))):
        assert [p.steps for p in seen if p.stage == "photos"] == [5] * 5


def test_unlabelled_photos_without_a_teacher_stop_the_run(settings, tiny, own_photos):
    shutil.rmtree(own_photos / "disparity")
    with pytest.raises(InputError, match="has no disparity label .*--teacher"):
        run(settings(photos=own_photos), tiny)


def test_what_cannot_begin_says_why_and_writes_nothing(settings, tiny, tmp_path):
    wrong = {
        "no folder of photos": {"photos": tmp_path / "absent"},
        "no teacher folder": {"teacher": tmp_path / "absent"},
        "--init is .*absent.safetensors; it must be": {"init": str(tmp_path / "absent.safetensors")},
        "--init teacher needs --teacher": {"init": "teacher"},
        "There is no device 'abacus'": {"device": "abacus"},
    }
    for says, change in wrong.items():
        with pytest.raises(InputError, match=says) as error:
            run(settings(**change), tiny)
        assert "\n" not in str(error.value)
    assert not list((tmp_path / "out").glob("*"))


def test_one_photo_is_too_few(settings, tiny, tmp_path, teacher_folder):
    Image.new("RGB", (40, 40)).save(tmp_path / "one.png")
    with pytest.raises(InputError, match="two are needed"):
        run(settings(photos=tmp_path, teacher=teacher_folder), tiny)


def test_a_run_may_start_from_a_file_and_has_its_shape(settings, tiny, tmp_path):
    torch.manual_seed(5)
    start = DepthNet(tiny)
    save_depthnet(start, tmp_path / "start.safetensors", {})
    chosen = settings(init=str(tmp_path / "start.safetensors"))
    assert config_of(chosen) == tiny
    net = new_net(chosen, [], None)
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert net.training
    for name, value in start.state_dict().items():
        assert torch.equal(net.state_dict()[name], value.half().float())


def test_a_run_starts_from_the_teacher(settings, tiny, photos, teacher_folder, monkeypatch):
    from kinephoto.learn.teacher import Teacher

    monkeypatch.setattr(distill, "START_PICTURES", 2)
    monkeypatch.setattr(distill, "START_PX", 56)
    teacher = Teacher(teacher_folder)
    net = new_net(settings(init="teacher"), read_split(photos, "train"), teacher, tiny)
    rgb = torch.rand(1, 3, 56, 56)
    with torch.no_grad():
        torch.testing.assert_close(
            net.features(rgb, (4, 4))[0][1], teacher.features(rgb)[1], atol=1e-3, rtol=1e-3
        )


def test_a_loss_that_is_no_number_stops_the_run_and_spoils_no_file(settings, tiny, tmp_path, monkeypatch):
    run(settings(), tiny, 3)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.*t*s")}
    monkeypatch.setattr(distill, "train_step", lambda *a: float("nan"))
    with pytest.raises(InputError, match="loss of step 4 is nan.*smaller --lr"):
        run(settings(), tiny)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.*t*s")}


class Says:
    """A network whose answer is a function of the photo."""

    def __init__(self, answer) -> None:
        self.disparity = answer


def test_the_held_out_score_is_one_for_the_truth_and_zero_for_a_plane(picture):
    photos = [
        Labelled(str(number), np.repeat(code[..., None], 3, -1), code)
        for number, (_, code) in ((number, picture(number)) for number in range(3))
    ]
    flat = Labelled("flat", photos[0].rgb, np.zeros_like(photos[0].code))
    assert held_out_correlation(Says(lambda rgb: rgb[0] ** 2), [*photos, flat]) == pytest.approx(1, abs=1e-6)
    assert held_out_correlation(Says(lambda rgb: 3 - rgb[0] ** 2), photos) == pytest.approx(-1, abs=1e-6)
    assert held_out_correlation(Says(lambda rgb: torch.ones(rgb.shape[1:])), photos) == 0
    assert held_out_correlation(Says(lambda rgb: rgb[0]), [flat]) == 0
