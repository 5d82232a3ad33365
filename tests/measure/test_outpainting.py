"""``kinephoto evaluate outpainting``: its numbers against closed forms, and the whole command on two small photos."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy.linalg import sqrtm
from scipy.stats import t as student

from kinephoto.app.cli import app
from kinephoto.errors import InputError
from kinephoto.learn.objects import Outline
from kinephoto.learn.perceptual import weights_file
from kinephoto.learn.photos import Skipped, split_of
from kinephoto.measure import prompt_fit
from kinephoto.measure.distributions import clusters_of, frechet_distance, interval, kinds_score
from kinephoto.measure.features import CLIP_DEVIATION, CLIP_MEAN, Clip, Vgg16Features
from kinephoto.measure.inception import Inception
from kinephoto.measure.inpainting import BEST_PSNR_DB
from kinephoto.measure.methods.scene_fills import methods_named
from kinephoto.measure.outpainting import MOST_PICTURES, PHOTO, evaluate_outpainting, measured
from kinephoto.measure.outpainting_judges import Judges, Known, taught
from kinephoto.measure.outpainting_photos import Case, read_collection, read_scene
from kinephoto.measure.outpainting_report import results, sheet, tables
from kinephoto.measure.stlpips import Distance, StLpips


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.fixture
def weights() -> None:
    try:
        weights_file("alex")
    except InputError as error:
        pytest.skip(str(error))


# Numbers of sets.


def gaussian(rng, mean, covariance, count=400):
    """Points whose mean and covariance are exactly these."""
    points = rng.standard_normal((count, len(mean)))
    points -= points.mean(0)
    points = points @ np.linalg.inv(np.linalg.cholesky(np.cov(points.T)).T)
    return points @ np.linalg.cholesky(covariance).T + mean


def test_the_frechet_distance_of_two_gaussians_is_the_closed_form(rng):
    mean = np.array([1.0, -2.0, 0.5])
    first = gaussian(rng, np.zeros(3), np.diag([1.0, 4.0, 9.0]))
    second = gaussian(rng, mean, np.diag([4.0, 1.0, 16.0]))
    # Along common axes: the sum of squared differences of means and of deviations.
    assert frechet_distance(first, second) == pytest.approx(mean @ mean + 1 + 1 + 1)
    tilted = np.array([[2.0, 0.8, 0.1], [0.8, 1.0, -0.3], [0.1, -0.3, 3.0]])
    third = gaussian(rng, mean, tilted, 300)
    first_covariance = np.diag([1.0, 4.0, 9.0])
    formula = mean @ mean + np.trace(first_covariance + tilted - 2 * sqrtm(first_covariance @ tilted).real)
    assert frechet_distance(first, third) == pytest.approx(formula)
    assert frechet_distance(third, first) == pytest.approx(formula)


@pytest.mark.parametrize("count", [2, 12, 200])
def test_equal_sets_are_at_distance_0_and_shifted_ones_at_the_shifts_square(rng, count):
    features = rng.standard_normal((count, 64))
    # Rounding of sums of about `count` times 64 numbers near 1.
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(features, features[::-1] + 0.5) == pytest.approx(0.25 * 64)


def test_few_pictures_make_the_frechet_distance_too_large(rng):
    def of(count):
        return frechet_distance(*rng.standard_normal((2, count, 32)))

    assert of(10) > 2 * of(100) > 4 * of(2000) > 0


def test_sets_that_cannot_be_compared_are_told():
    with pytest.raises(InputError, match="one width"):
        frechet_distance(np.zeros((3, 4)), np.zeros((3, 5)))
    assert math.isnan(frechet_distance(np.zeros((1, 4)), np.zeros((3, 4))))
    assert math.isnan(kinds_score(np.zeros((0, 3))))


@pytest.mark.parametrize("count", [1, 3, 7])
def test_the_cluster_score_of_so_many_separate_equal_clusters_is_their_number(rng, count):
    centres = 100 * rng.standard_normal((count, 20))
    real, found = (np.repeat(centres, 12, 0) + rng.standard_normal((12 * count, 20)) for _ in range(2))
    kinds = clusters_of(real, count)
    assert len(kinds.centres) == count
    assert kinds_score(kinds.shares(found)) == pytest.approx(count, rel=1e-6)
    # A method that paints the same every time has one kind.
    assert kinds_score(kinds.shares(np.repeat(found[:1], 9, 0))) == pytest.approx(1)


def test_pictures_between_all_kinds_are_of_no_kind_for_certain(rng):
    real = np.repeat(np.array([[-3.0, 0.0], [3.0, 0.0]]), 50, 0) + rng.standard_normal((100, 2))
    kinds = clusters_of(real, 2)
    between = np.stack([np.zeros(20), rng.standard_normal(20)], 1)
    assert 1 <= kinds_score(kinds.shares(between)) < 1.2 < 1.9 < kinds_score(kinds.shares(real)) < 2


def test_clusters_are_fewer_than_photos_and_the_same_each_time(rng):
    features = rng.standard_normal((9, 5))
    kinds, again = clusters_of(features, 10, seed=4), clusters_of(features, 10, seed=4)
    assert len(kinds.centres) == 4 and np.array_equal(kinds.centres, again.centres)
    assert clusters_of(features[:1]).shares(features).tolist() == [[1.0]] * 9
    with pytest.raises(InputError, match="at least one"):
        clusters_of(features[:0])


def test_the_interval_of_a_mean_is_students(rng):
    values = rng.standard_normal(15)
    half = student.ppf(0.975, 14) * values.std(ddof=1) / math.sqrt(15)
    low, high = interval(lambda places: float(values[places].mean()), 15)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half))
    assert all(math.isnan(limit) for limit in interval(lambda places: 0.0, 7))


# Judges.


def test_prompt_fit_knows_the_right_caption_from_the_wrong_one(rng):
    words = [f"{a}{b}" for a in "bcdf" for b in "aeiou"]
    meaning = {word: rng.standard_normal(40) for word in words}

    def photo():
        own = list(rng.choice(words, 3, replace=False))
        return " ".join(own).capitalize() + ".", sum(meaning[w] for w in own) + rng.standard_normal(40) + 9

    texts, features = zip(*(photo() for _ in range(150)), strict=True)
    fit = prompt_fit.learnt([[text] for text in texts[:120]], np.stack(features[:120]), ridge=5)
    right = [fit.cosine(f, text) for f, text in zip(features[120:], texts[120:], strict=True)]
    wrong = [
        fit.cosine(f, text) for f, text in zip(features[120:], texts[121:] + texts[120:121], strict=True)
    ]
    assert np.mean(right) > 0.5 > 0.2 > abs(np.mean(wrong))
    assert fit.cosine(fit.mean, texts[0]) == 0


def test_prompt_fit_needs_photos_and_words():
    with pytest.raises(InputError, match="8 photos"):
        prompt_fit.learnt([["a dog"]] * 7, np.zeros((7, 4)))
    with pytest.raises(InputError, match="No word"):
        prompt_fit.learnt([[chr(97 + number)] for number in range(9)], np.zeros((9, 4)))
    judges = Judges({}, None)
    few = [Known(["a dog"], np.zeros(4))]
    assert "no photos" in taught(judges, [])[1][0] and "8 photos" in taught(judges, few)[1][0]
    assert taught(judges, few)[0].prompt_fit is None


def test_vgg16_sees_what_st_lpips_sees(weights, rng):
    rgb = torch.from_numpy(rng.random((3, 64, 80))).float()
    features = Vgg16Features()(rgb)
    assert features.shape == (512,) and bool((features >= 0).all()) and float(features.max()) > 0
    # St-LPIPS gives each place's vector a length of 1; before that it is a relu's output, and zero where that is.
    last = StLpips("vgg").features(rgb)[-1]
    assert torch.equal(features > 0, last.amax((1, 2)) > 0)
    assert float(torch.corrcoef(torch.stack([features, last.mean((1, 2))]))[0, 1]) > 0.9


SIDES = {
    "branch1x1": (1, 1),
    **dict.fromkeys(("branch5x5_1", "branch3x3_1", "branch7x7_1", "branch7x7dbl_1"), (1, 1)),
    **dict.fromkeys(("branch3x3dbl_1", "branch7x7x3_1", "branch_pool"), (1, 1)),
    **dict.fromkeys(("branch3x3", "branch3x3_2", "branch3x3dbl_2", "branch3x3dbl_3"), (3, 3)),
    "branch5x5_2": (5, 5),
    "branch7x7x3_4": (3, 3),
    **dict.fromkeys(("branch7x7_2", "branch7x7dbl_3", "branch7x7dbl_5", "branch7x7x3_2"), (1, 7)),
    **dict.fromkeys(("branch7x7_3", "branch7x7dbl_2", "branch7x7dbl_4", "branch7x7x3_3"), (7, 1)),
    **dict.fromkeys(("branch3x3_2a", "branch3x3dbl_3a"), (1, 3)),
    **dict.fromkeys(("branch3x3_2b", "branch3x3dbl_3b"), (3, 1)),
}
WIDTH = 4
CHAINS = {
    "5": [
        "branch1x1",
        "branch5x5_1 branch5x5_2",
        "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3",
        "branch_pool",
    ],
    "6a": ["branch3x3", "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3"],
    "6": [
        "branch1x1",
        "branch7x7_1 branch7x7_2 branch7x7_3",
        " ".join(f"branch7x7dbl_{number}" for number in range(1, 6)),
        "branch_pool",
    ],
    "7a": ["branch3x3_1 branch3x3_2", " ".join(f"branch7x7x3_{number}" for number in range(1, 5))],
    "7": [
        "branch1x1",
        "branch3x3_1 branch3x3_2a",
        "branch3x3_1 branch3x3_2b",
        "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3a",
        "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3b",
        "branch_pool",
    ],
}


def narrow_inception(classes: int) -> dict[str, torch.Tensor]:
    """Random weights under Inception v3's names, 4 channels for each convolution."""
    generator = torch.Generator().manual_seed(5)
    found: dict[str, torch.Tensor] = {}

    def add(name, channels, sides):
        fan_in = channels * sides[0] * sides[1]
        weight = torch.randn(WIDTH, channels, *sides, generator=generator) * (2 / fan_in) ** 0.5
        shape = {"weight": 1.0, "bias": 0.1, "running_mean": 0.0, "running_var": 1.0}
        drawn = {key: value + 0.2 * torch.rand(WIDTH, generator=generator) for key, value in shape.items()}
        found.update({f"{name}.conv.weight": weight} | {f"{name}.bn.{key}": v for key, v in drawn.items()})

    for name, channels, side in (("1a_3x3", 3, 3), ("2a_3x3", WIDTH, 3), ("2b_3x3", WIDTH, 3)):
        add(f"Conv2d_{name}", channels, (side, side))
    add("Conv2d_3b_1x1", WIDTH, (1, 1))
    add("Conv2d_4a_3x3", WIDTH, (3, 3))
    channels = WIDTH
    for block in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
        chains = CHAINS.get(block) or CHAINS[block[0]]
        for chain in chains:
            seen = channels
            for own in chain.split():
                if f"Mixed_{block}.{own}.conv.weight" not in found:
                    add(f"Mixed_{block}.{own}", seen, SIDES[own])
                seen = WIDTH
        # Where a block halves the picture, the largest of each 3 x 3 stand beside.
        channels = WIDTH * len(chains) + (channels if block in ("6a", "7a") else 0)
    found["fc.weight"] = torch.randn(classes, channels, generator=generator)
    found["fc.bias"] = torch.randn(classes, generator=generator)
    return found


@pytest.fixture
def ramp() -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 90), torch.linspace(0, 1, 120), indexing="ij")
    return torch.stack([rows, columns, (rows * columns * 40).sin() / 2 + 0.5])


def test_inception_takes_both_kinds_of_weights_and_both_kinds_of_files(tmp_path, ramp):
    torch.save(narrow_inception(1008), tmp_path / "published.pth")
    save_file(narrow_inception(1008), tmp_path / "published.safetensors")
    save_file(narrow_inception(1000), tmp_path / "vision.safetensors")
    published, again, vision = (
        Inception(tmp_path / name)
        for name in ("published.pth", "published.safetensors", "vision.safetensors")
    )
    assert published.numbers == ("fid", "is") and vision.numbers == ("frechet_inception", "inception_score")
    seen = published(ramp)
    assert seen.features.shape == (6 * WIDTH,) and seen.shares.shape == (1008,)
    assert float(seen.shares.sum()) == pytest.approx(1, abs=1e-5)
    assert torch.equal(seen.features, again(ramp).features)
    # The same weights, but zeros beyond the border are averaged in, and the last block averages.
    assert not torch.allclose(seen.features, vision(ramp).features, rtol=0.01)


def test_inceptions_features_are_those_of_published_code(tmp_path, ramp):
    """Theirs: the blocks of torch-fidelity 0.4.0's feature_extractor_inceptionv3 with these weights."""
    save_file(narrow_inception(1008), tmp_path / "published.safetensors")
    theirs = [0.2821, 0.5163, 0.3490, 0.3607, 0.4030, 0.1782, 0.1532, 0.0553, 0.2162, 0.5122, 0.5302, 0.0845]
    found = Inception(tmp_path / "published.safetensors")(ramp).features
    # They are written down to four places.
    assert found[4:16].tolist() == pytest.approx(theirs, abs=1e-4)


def test_the_published_score_leaves_the_last_bias_out_and_torchvisions_does_not(tmp_path, ramp):
    for classes, counts in ((1008, False), (1000, True)):
        weights = narrow_inception(classes)
        save_file(weights, tmp_path / "whole.safetensors")
        save_file(
            weights | {"fc.bias": torch.zeros(classes)},
            tmp_path / "unbiased.safetensors",
        )
        whole, unbiased = (
            Inception(tmp_path / f"{name}.safetensors")(ramp) for name in ("whole", "unbiased")
        )
        assert torch.equal(whole.features, unbiased.features)
        assert torch.equal(whole.shares, unbiased.shares) != counts


def test_what_is_no_inception_is_refused_in_one_sentence(tmp_path):
    incomplete = narrow_inception(1008)
    del incomplete["Mixed_7c.branch_pool.conv.weight"]
    save_file(incomplete, tmp_path / "incomplete.safetensors")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"fc.weight": Path("x")}, tmp_path / "objects.pth")
    (tmp_path / "text.pth").write_text("no weights", encoding="utf-8")
    (tmp_path / "text.safetensors").write_text("no weights", encoding="utf-8")
    for name, sentence in (
        ("incomplete.safetensors", "Mixed_7c.branch_pool.conv.weight is missing"),
        ("list.pth", "no state dict"),
        ("objects.pth", "unsafe or broken"),
        ("text.pth", "broken"),
        ("text.safetensors", "broken"),
        ("absent.pth", "There is no file"),
    ):
        with pytest.raises(InputError, match=sentence):
            Inception(tmp_path / name)


@pytest.fixture
def clip_folder(tmp_path) -> Path:
    """A tiny CLIP with random weights."""
    from transformers import CLIPConfig, CLIPModel

    from kinephoto.learn.captions import new_tokenizer

    torch.manual_seed(1)
    tokenizer = new_tokenizer(["a dog on the grass", "a red bus in the city"], 300)
    small = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "projection_dim": 16,
    }
    text = small | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 16,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = CLIPConfig(
        text_config=text, vision_config=small | {"image_size": 32, "patch_size": 8}, projection_dim=16
    )
    CLIPModel(config).save_pretrained(tmp_path / "clip")
    tokenizer.save_pretrained(tmp_path / "clip")
    return tmp_path / "clip"


def test_clip_similarity_is_the_networks_own_logit_without_its_scale(clip_folder, rng):
    from transformers import AutoTokenizer, CLIPModel

    rgb = torch.from_numpy(rng.integers(0, 256, (3, 32, 32)) / 255).float()
    model, tokenizer = (
        CLIPModel.from_pretrained(clip_folder).eval(),
        AutoTokenizer.from_pretrained(clip_folder),
    )
    words = tokenizer(["a red bus"], return_tensors="pt")
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (CLIP_MEAN, CLIP_DEVIATION))
    with torch.no_grad():
        own = model(
            pixel_values=((rgb - mean) / deviation)[None],
            input_ids=words["input_ids"],
            attention_mask=words["attention_mask"],
        )
    clip = Clip(str(clip_folder))
    similarity = clip.similarity(rgb, "a red bus")
    # float32, in another order.
    assert similarity == pytest.approx(
        float(own.logits_per_image / model.logit_scale.detach().exp()), abs=1e-5
    )
    assert clip.similarity(rgb, "a dog") != similarity
    wide = torch.cat([torch.zeros(3, 32, 9), rgb, torch.ones(3, 32, 9)], 2)
    assert clip.similarity(wide, "a red bus") == pytest.approx(similarity, abs=1e-5)
    assert -1 <= clip.similarity(rgb, "a dog on the grass " * 40) <= 1


def test_a_folder_without_a_clip_is_told(tmp_path):
    with pytest.raises(InputError, match="can't be loaded as a CLIP"):
        Clip(str(tmp_path))


# Photos, objects and prompts.

TEXTS = ("A red bus in the city", "A dog on the grass", "A plate of food", "Two birds over the sea")


@pytest.fixture
def photos(tmp_path, example_photos) -> Path:
    """Two photos for tests and nine for training with objects and captions, and one for tests that is broken."""
    folder = tmp_path / "photos-of-mine"
    (folder / "photos" / "set").mkdir(parents=True)
    (folder / "coco").mkdir()
    rows, images, objects, said = ["path,split"], [], [], []
    for number in range(12):
        name = f"set/{number:02d}.png"
        with Image.open(example_photos[number % len(example_photos)]) as picture:
            small = picture.convert("RGB").resize((160, 130)).rotate(5 * number)
        small.save(folder / "photos" / name)
        rows.append(f"photos/{name},{'test' if number < 3 else 'train'}")
        images.append({"id": number, "file_name": name, "height": 130, "width": 160})
        left = 20 + 5 * number
        corners = [[left, 30, left + 60, 30, left + 60, 100, left, 100]]
        objects.append({"image_id": number, "segmentation": corners, "area": 4200, "category_id": 1})
        said += [
            {"image_id": number, "caption": f"{TEXTS[number % 4]}, {word}"} for word in ("here", "today")
        ]
    (folder / "photos" / "set" / "02.png").write_bytes(b"no picture")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "coco" / "instances.json").write_text(json.dumps({"images": images, "annotations": objects}))
    (folder / "coco" / "captions.json").write_text(json.dumps({"images": images, "annotations": said}))
    return folder


def test_the_photos_of_the_split_that_have_objects_and_captions_are_measured(photos):
    collection = read_collection(photos / "coco", most_learnt=5, seed=1)
    assert collection.folder == photos
    assert [case.name for case in collection.cases] == [f"photos/set/{number:02d}.png" for number in range(3)]
    assert len(collection.captions) == 5 and not set(collection.captions) & {c.name for c in collection.cases}
    prompts = {case.name: case.prompt for case in collection.cases}
    for case in collection.cases:
        assert case.other_prompt in set(prompts.values()) - {case.prompt}
    again = read_collection(photos / "coco", photos, seed=1)
    assert [case.prompt for case in again.cases] == list(prompts.values())
    (alone,) = read_collection(photos / "coco", most=1, seed=1).cases
    assert alone.prompt == prompts[alone.name] and alone.other_prompt is None


def test_without_a_manifest_all_pictures_are_measured(photos):
    (photos / "manifest.csv").unlink()
    collection = read_collection(photos / "coco", photos / "photos")
    assert len(collection.cases) == 12 and not collection.captions
    held_out = read_collection(photos / "coco", photos / "photos", split="held-out", most_learnt=3)
    assert len(held_out.captions) == 3
    assert [case.name for case in held_out.cases] == split_of(photos / "photos", "held-out")


def test_what_is_known_are_whole_pixels_of_one_to_three_objects(photos):
    collection = read_collection(photos / "coco")
    rgb, known = read_scene(photos, collection.cases[0], 160)
    assert rgb.shape == (3, 130, 160) and bool(known[30:100, 20:80].all())
    # Those that the outline touches count as the object's.
    assert int(known.sum()) <= 62 * 72
    small, reduced = read_scene(photos, collection.cases[0], 128)
    assert small.shape[1:] == reduced.shape == (128, 158)
    # Pixels at the object's edge show the scene in part.
    assert 0.9 * 60 * 70 < int(reduced.sum()) < int(known.sum()) * (128 / 130) ** 2
    boxes = [np.array([[x, 10], [x + 20, 10], [x + 20, 60], [x, 60]], np.float32) for x in range(0, 150, 30)]
    outlines = tuple(Outline((box,), (130, 160)) for box in boxes)
    many = Case("photos/set/00.png", outlines, "", None)
    areas = {round(int(read_scene(photos, many, 130, seed)[1].sum()) / 1000) for seed in range(12)}
    assert areas == {1, 2, 3}
    assert torch.equal(read_scene(photos, many, 130, 7)[1], read_scene(photos, many, 130, 7)[1])


def test_photos_that_cannot_be_used_are_told(photos):
    whole = np.array([[0, 0], [160, 0], [160, 130], [0, 130]], np.float32)
    for case, sentence in (
        (Case("photos/set/00.png", (Outline((whole,), (130, 160)),), "", None), "leave no scene"),
        (Case("photos/set/02.png", (), "", None), "02.png"),
        (Case("photos/set/99.png", (), "", None), "99.png"),
    ):
        with pytest.raises(InputError, match=sentence):
            read_scene(photos, case, 128)


def drop(photos: Path, file: str, key: str) -> None:
    content = json.loads((photos / "coco" / file).read_text())
    (photos / "coco" / file).write_text(json.dumps(content | {key: []}))


def no_objects(photos: Path) -> None:
    drop(photos, "instances.json", "annotations")


def tiny_objects(photos: Path) -> None:
    file = photos / "coco" / "instances.json"
    content = json.loads(file.read_text())
    for each in content["annotations"]:
        each["area"] = 4200 if each["image_id"] > 2 else 20
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (no_objects, "instances.json has no object"),
        (tiny_objects, "none has both objects"),
        (lambda photos: drop(photos, "captions.json", "annotations"), "none has both"),
        (lambda photos: (photos / "coco" / "captions.json").unlink(), "has no captions.json"),
        (lambda photos: (photos / "coco" / "instances.json").write_text("other"), "not a file of objects"),
        (lambda photos: (photos / "coco" / "captions.json").write_text("[]"), "not a captions file"),
        (lambda photos: (photos / "manifest.csv").write_text("other\n1\n"), "columns path and split"),
    ],
)
def test_bad_input_is_one_sentence(photos, spoil, sentence):
    spoil(photos)
    with pytest.raises(InputError, match=sentence):
        read_collection(photos / "coco")


def test_a_folder_that_is_not_there_and_unknown_methods_are_told(photos):
    with pytest.raises(InputError, match="There is no folder"):
        read_collection(photos / "absent")
    for names, sentence in ((["rembrandt"], "rembrandt.*mean"), (["mean", "mean"], "once"), ([], "none")):
        with pytest.raises(InputError, match=sentence):
            methods_named(names)


# Painting and measuring.


class MeanError:
    """As quick as can be, in place of a network."""

    def features(self, rgb):
        return [rgb]

    def distance(self, predicted, true_features):
        apart = (predicted - true_features[0]).abs().mean(0)
        return Distance(float(apart.mean()), apart)


def colours(rgb):
    """Mean and deviation of each channel, in place of what VGG16 sees."""
    return torch.cat([rgb.mean((1, 2)), rgb.std((1, 2))])


JUDGES = Judges({"alex": MeanError(), "vgg": MeanError()}, colours)


@pytest.fixture
def scene(photos):
    case = read_collection(photos / "coco").cases[0]
    return case, *read_scene(photos, case, 128)


def test_every_method_sees_the_objects_alone_and_they_stay_bit_for_bit(scene):
    case, rgb, known = scene
    seen = []

    def spy(given, is_known, prompt, seed):
        seen.append((given.clone(), is_known.clone(), prompt, seed))
        given.fill_(1.0)
        is_known.zero_()
        return given

    found = measured(case, rgb, known, {"first": spy, "second": spy}, JUDGES, seed=5)
    for given, is_known, prompt, seed in seen:
        assert torch.equal(is_known, known) and prompt == case.prompt and seed == 5
        assert torch.equal(given[:, known], rgb[:, known]) and not given[:, ~known].any()
    for picture in found.finished.example.pictures.values():
        assert torch.equal(picture[:, known], rgb[:, known]) and (picture[:, ~known] == 1).all()


def test_an_oracle_paints_the_photo_and_the_mean_is_the_objects_mean(scene):
    case, rgb, known = scene
    methods = {"oracle": lambda *_: rgb, **methods_named(["mean"])}
    found = measured(case, rgb, known, methods, JUDGES)
    values, mean = found.finished.values, found.finished.example.pictures["mean"]
    assert values["oracle"]["psnr_unknown"] == BEST_PSNR_DB > values["mean"]["psnr_unknown"]
    assert values["oracle"]["st_lpips_alex_unknown"] == 0 < values["mean"]["st_lpips_vgg_unknown"]
    assert values["oracle"]["seam"] == values[PHOTO]["seam"] and math.isnan(values[PHOTO]["psnr_unknown"])
    assert torch.allclose(mean[:, ~known], rgb[:, known].mean(1, keepdim=True), atol=1e-6)


def test_results_say_what_was_measured_on_how_many_photos_and_what_was_not(photos):
    collection = read_collection(photos / "coco")
    run = evaluate_outpainting(collection, methods_named(["mean", "telea"]), JUDGES, size_px=128)
    *scenes, broken = run
    assert isinstance(broken, Skipped) and "02.png" in broken.why
    content = results(scenes, [broken], JUDGES)
    assert list(content["methods"]) == ["mean", "telea"] and content["photos"] == 2
    assert content["skipped"] == [{"photo": broken.name, "why": broken.why}]
    row = content["methods"]["mean"]
    assert {"frechet_vgg16", "cluster_score_vgg16", "psnr_unknown", "seam"} <= set(row)
    assert not {"fid", "is", "clip_sim", "prompt_fit"} & set(row)
    assert row["frechet_vgg16"]["mean"] > 0 and math.isnan(content["real"]["frechet_vgg16"]["mean"])
    assert content["published"]["the paper's"] == {"fid": 10.65, "is": 38.61, "clip_sim": 0.3226}
    text = tables({PHOTO: content["real"], **content["methods"]})
    assert text.startswith("2 photos.") and "Not comparable" in text.replace("\n", " ")
    assert "| method | Fréchet distance (VGG16) | cluster score (VGG16) |" in text
    assert text.count("| mean |") == text.count("| (the photo) |") == 2 and "| the paper's | 10.65 |" in text


def test_a_sheet_has_a_row_for_each_of_the_first_dozen(photos):
    collection = read_collection(photos / "coco", split="train")
    assert 7 <= len(collection.cases) <= 9
    cases = (collection.cases * 2)[: MOST_PICTURES + 1]
    repeated = type(collection)(photos, cases, {})
    scenes = list(evaluate_outpainting(repeated, methods_named(["mean"]), JUDGES, size_px=64))
    assert [each.finished.example is not None for each in scenes] == [True] * MOST_PICTURES + [False]
    drawn = sheet(scenes)
    rows = MOST_PICTURES
    assert drawn.shape[2] == 3 * 244 + 4 and drawn.shape[1] == pytest.approx(
        rows * (195 + 15 + 4) + 4, rel=0.02
    )


# The command.


def run(photos: Path, words: str) -> None:
    app(["evaluate", "outpainting", "--coco", str(photos / "coco"), *words.split()], standalone_mode=False)


def test_the_command_prints_tables_and_writes_results_and_a_sheet(
    photos, clip_folder, weights, tmp_path, capsys
):
    save_file(narrow_inception(1008), tmp_path / "inception.safetensors")
    out = tmp_path / "out"
    run(
        photos,
        f"--methods classical,mean --size 128 --out {out} --clip {clip_folder} "
        f"--inception {tmp_path / 'inception.safetensors'}",
    )
    printed, said = capsys.readouterr()
    assert printed == (out / "results.md").read_text(encoding="utf-8")
    assert "2 photos measured, 1 skipped." in said and "02.png" in said
    content = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert list(content["methods"]) == ["classical", "mean"] and content["learnt_from"]["photos"] == 9
    for method in ("classical", "mean"):
        row = content["methods"][method]
        for number in ("frechet_vgg16", "cluster_score_vgg16", "fid", "is", "st_lpips_alex_unknown", "seam"):
            assert row[number]["mean"] > 0, number
        assert all(
            -1 <= row[number]["mean"] <= 1 for number in ("clip_sim", "prompt_fit", "prompt_fit_wrong")
        )
    assert content["real"]["fid"]["mean"] is None and content["real"]["prompt_fit"]["mean"] is not None
    assert content["settings"]["seed"] == 0 and content["by_photo"]["photos/set/00.png"]["prompt"]
    assert "| FID | IS | CLIP-SIM |" in printed
    with Image.open(out / "sheet.png") as picture:
        assert picture.width > 3 * 240


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--size 64", "--size is 64; it must be from 128"),
        ("--methods rembrandt", "no painter called 'rembrandt'"),
        ("--photos absent", "no folder of photos absent"),
        ("--split best", "--split"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_done(photos, words, sentence):
    with pytest.raises(InputError, match=sentence):
        run(photos, words)


def test_where_no_photo_can_be_measured_the_command_fails(photos, weights):
    for number in range(2):
        (photos / "photos" / "set" / f"{number:02d}.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="None of the 3 photos could be measured"):
        run(photos, "--methods mean --learn-photos 0 -q")
