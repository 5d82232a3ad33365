"""Painters with a network: real diffusers pipelines of a few thousand random weights, saved to disk."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from kinephoto.errors import InputError
from kinephoto.machine import usable_device
from kinephoto.painter import get_painter, paint_holes, painter_names
from kinephoto.painter.munet import MUNet
from kinephoto.painter.networks import HubPainter, StableDiffusionPainter, quiet

FAMILIES = ("sd", "hub")


def parts(channels: int) -> dict:
    words = ["<|startoftext|>", "<|endoftext|>", *"abcdefghijklmnopqrstuvwxyz"]
    words += [f"{letter}</w>" for letter in "abcdefghijklmnopqrstuvwxyz"]
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    text = CLIPTextConfig(vocab_size=54, max_position_embeddings=8, **sizes, **ends)
    return {
        "unet": UNet2DConditionModel(
            sample_size=64,
            in_channels=channels,
            block_out_channels=(8, 16),
            norm_num_groups=4,
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=2,
        ),
        "vae": AutoencoderKL(
            block_out_channels=(8, 8),
            norm_num_groups=4,
            latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
        ),
        "text_encoder": CLIPTextModel(text),
        "tokenizer": CLIPTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[], model_max_length=8),
        "scheduler": DDIMScheduler(clip_sample=False, timestep_spacing="trailing"),
        "safety_checker": None,
        "feature_extractor": None,
    }


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> dict[str, Path]:
    """One folder for each family; sd's has no masking weights."""
    place = tmp_path_factory.mktemp("pipelines")
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(3)
        StableDiffusionPipeline(**parts(4), requires_safety_checker=False).save_pretrained(place / "sd")
        StableDiffusionInpaintPipeline(**parts(9), requires_safety_checker=False).save_pretrained(
            place / "hub"
        )
    return {family: place / family for family in FAMILIES}


@pytest.fixture
def folders(originals: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """The same, to be spoilt."""
    return {
        family: Path(shutil.copytree(place, tmp_path / "copies" / family))
        for family, place in originals.items()
    }


def picture(height: int = 40, width: int = 51) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise with a hole, all at one depth, of sides that no network likes."""
    rgb = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    known = torch.ones(height, width, dtype=torch.bool)
    known[10:30, 15:35] = False
    return rgb, known, torch.full((height, width), 0.5)


def masking_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Masked Enhanced Blocks that do something."""
    munet = MUNet.from_unet(UNet2DConditionModel.from_pretrained(folder, subfolder="unet"), "meb")
    weights = munet.masking_weights()
    draw = torch.Generator().manual_seed(5)
    return {k: w.detach() + 0.3 * torch.randn(w.shape, generator=draw) for k, w in weights.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_known_pixels_stay_bit_for_bit_and_holes_are_painted(family, originals):
    rgb, known, disparity = picture()
    painter = get_painter(f"{family}:{originals[family]}", steps=2)
    painted = paint_holes(painter, rgb, known, disparity, prompt="a cat")
    assert painted.shape == rgb.shape and torch.equal(painted[:, known], rgb[:, known])
    assert painted[:, ~known].std() > 0.01
    assert painter.name == f"{family}:{family}", "the folder's own name, not where it is"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(family, originals):
    rgb, known, disparity = picture()
    first, second = (get_painter(f"{family}:{originals[family]}", steps=2) for _ in range(2))
    painted = first.paint(rgb * known, known, disparity, seed=7)
    assert torch.equal(painted, second.paint(rgb * known, known, disparity, seed=7))
    assert torch.equal(painted, first.paint(rgb * known, known, disparity, seed=7)), "nothing is remembered"
    assert not torch.equal(painted, first.paint(rgb * known, known, disparity, seed=8))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_lies_under_a_hole_is_never_seen(family, originals):
    rgb, known, disparity = picture()
    painter = get_painter(f"{family}:{originals[family]}", steps=1)
    other = torch.where(known, rgb, torch.tensor(0.9))
    assert torch.equal(
        paint_holes(painter, rgb, known, disparity), paint_holes(painter, other, known, disparity)
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_steps_and_guidance_reach_the_network(family, originals):
    rgb, known, disparity = picture()

    def calls(prompt: str, **options) -> list[int]:
        painter = get_painter(f"{family}:{originals[family]}", **options)
        batches: list[int] = []
        painter._pipeline.unet.register_forward_pre_hook(lambda module, given: batches.append(len(given[0])))
        painter.paint(rgb * known, known, disparity, prompt=prompt)
        return batches

    assert calls("a cat", steps=3) == [1] * 3, "without guidance one pass a step"
    assert calls("a cat", steps=1, guidance=2.0) == [2]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_default_number_of_steps_is_the_painters_own(family, originals):
    painter = get_painter(f"{family}:{originals[family]}")
    assert painter._steps == {"sd": 12, "hub": 25}[family]


def test_the_inpainting_network_is_shown_white_holes_at_sizes_it_takes(originals):
    rgb, known, disparity = picture()
    painter = HubPainter(str(originals["hub"]), steps=1)
    seen: list[dict] = []
    real = painter._pipeline

    class Watching:
        vae_scale_factor, unet = real.vae_scale_factor, real.unet

        def __call__(self, **given):
            seen.append(given)
            return real(**given)

    painter._pipeline = Watching()
    painter.paint(rgb * known, known, disparity)
    (given,) = seen
    assert (given["height"], given["width"]) == (48, 64) and given["mask_image"].size == (64, 48)
    mask = torch.frombuffer(bytearray(given["mask_image"].tobytes()), dtype=torch.uint8).view(48, 64)
    assert torch.equal(mask[:40, :51] == 255, ~known) and int((mask == 255).sum()) == int((~known).sum())


def test_windows_are_of_the_size_that_the_network_was_trained_on_within_bounds(originals):
    painter = HubPainter(str(originals["hub"]))
    found = []
    for latents in (64, 200, 1000):
        painter._pipeline.unet.register_to_config(sample_size=latents)
        found.append(painter.window_px)
    assert found == [256, 400, 1024], "2 px are a latent here"


def test_large_pictures_are_painted_in_windows_around_their_holes(originals, monkeypatch):
    monkeypatch.setattr("kinephoto.painter.networks.LEAST_WINDOW_PX", 128)
    monkeypatch.setattr("kinephoto.painter.networks.MARGIN_PX", 16)
    rgb = torch.rand(3, 150, 350, generator=torch.Generator().manual_seed(1))
    known = torch.ones(150, 350, dtype=torch.bool)
    known[20:40, 20:40] = known[120:140, 310:330] = False
    painter = HubPainter(str(originals["hub"]), steps=1)
    painted = painter.paint(rgb * known, known, torch.full((150, 350), 0.5))
    changed = (painted != rgb).any(0)
    assert changed[~known].all()
    assert not changed[:, 150:200].any(), "far from holes nothing is decoded"


def test_without_masking_weights_the_fill_is_refined_and_with_them_masks_have_effect(folders):
    rgb, known, disparity = picture()
    name = str(folders["sd"])
    plain = StableDiffusionPainter(name, steps=2)
    save_file(masking_weights(folders["sd"]), folders["sd"] / "masking.safetensors")
    masked = StableDiffusionPainter(name, steps=2)
    assert not plain.masked and masked.masked
    paint = [p.paint(rgb * known, known, disparity) for p in (plain, masked)]
    assert not torch.allclose(*paint, atol=1e-3)


def test_a_text_to_image_pipeline_inpaints_through_hub_as_well(originals):
    rgb, known, disparity = picture()
    painted = paint_holes(HubPainter(str(originals["sd"]), steps=2), rgb, known, disparity)
    assert torch.equal(painted[:, known], rgb[:, known])


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_said_and_what_others_say_is_left_as_it_was(family, originals, capfd):
    before = logging.getLogger("diffusers").level, logging.getLogger("transformers").level
    rgb, known, disparity = picture()
    get_painter(f"{family}:{originals[family]}", steps=1).paint(rgb * known, known, disparity)
    assert capfd.readouterr() == ("", "")
    assert before == (logging.getLogger("diffusers").level, logging.getLogger("transformers").level)


def test_a_picture_that_the_safety_checker_refuses_is_an_error(originals):
    rgb, known, disparity = picture()
    painter = HubPainter(str(originals["hub"]), steps=1)
    real = painter._pipeline

    class Refusing:
        vae_scale_factor, unet = real.vae_scale_factor, real.unet

        def __call__(self, **given):
            made = real(**given)
            made.nsfw_content_detected = [True]
            return made

    painter._pipeline = Refusing()
    with pytest.raises(InputError, match="safety checker"):
        painter.paint(rgb * known, known, disparity)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("place", ["./nowhere", "nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c"])
def test_a_folder_that_is_not_there_is_said(family, place):
    with pytest.raises(InputError, match="There is no folder"):
        get_painter(f"{family}:{place}")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_without_a_pipeline_is_refused(family, tmp_path):
    with pytest.raises(InputError, match="model_index.json"):
        get_painter(f"{family}:{tmp_path}")


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
@pytest.mark.parametrize("family", FAMILIES)
def test_pickled_weights_are_refused(family, part, folders):
    for weights in (folders[family] / part).glob("*.safetensors"):
        weights.with_suffix(".bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
        weights.unlink()
    with pytest.raises(InputError, match=f"{part} holds pickled weights"):
        get_painter(f"{family}:{folders[family]}")


@pytest.mark.parametrize(
    "part, change",
    [
        ("unet", {"layers_per_block": 2}),
        ("unet", {"cross_attention_dim": 8}),
        ("vae", {"latent_channels": 8}),
        ("text_encoder", {"num_hidden_layers": 2}),
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_weights_that_do_not_match_their_config_are_refused(family, part, change, folders):
    config = folders[family] / part / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    with pytest.raises(InputError) as caught:
        get_painter(f"{family}:{folders[family]}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_that_are_cut_short_are_refused(family, folders):
    (weights,) = (folders[family] / "vae").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match="can't be loaded"):
        get_painter(f"{family}:{folders[family]}")


def test_masking_weights_of_another_network_are_refused(folders):
    save_file({"down_blocks.0.meb.norm.weight": torch.ones(3)}, folders["sd"] / "masking.safetensors")
    with pytest.raises(InputError):
        get_painter(f"sd:{folders['sd']}")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_hub_id_that_is_not_in_the_cache_is_refused_offline(family):
    with pytest.raises(InputError, match="--offline forbids.*folder"):
        get_painter(f"{family}:nobody/no-such-pipeline", offline=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_hub_that_cannot_be_reached_is_said_with_what_to_do(family, monkeypatch):
    # A port where nobody listens answers at once, but the hub's client waits before it tries again.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(InputError, match="could not be fetched.*give the folder"):
        get_painter(f"{family}:nobody/no-such-pipeline")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "options, says",
    [({"steps": 0}, "at least 1"), ({"guidance": -1.0}, "guidance"), ({"device": "abacus"}, "no device")],
)
def test_options_out_of_range_are_refused(family, options, says, originals):
    with pytest.raises(InputError, match=says):
        get_painter(f"{family}:{originals[family]}", **options)


def test_without_a_device_the_processor_computes_also_where_there_is_a_card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert usable_device(None).type == "cpu"
    with pytest.raises(InputError, match="There is no device 'abacus' here; 'cpu' always works."):
        usable_device("abacus")


def test_both_families_are_in_the_list():
    assert {"sd:FOLDER-OR-ID", "hub:FOLDER-OR-ID"} <= set(painter_names())
