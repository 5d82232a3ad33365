"""The M-UNet: it starts as its UNet, learns from masks, and comes back from disk."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import UNet2DConditionModel

from kinephoto.errors import InputError
from kinephoto.painter.munet import MUNet

VARIANTS = ["meb", "no-mask", "cross-fusion", "concat"]
LOOKS_AT_MASK = ["meb", "cross-fusion", "concat"]

SMALL = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": 16,
    "attention_head_dim": 4,
}
# The configuration published with Stable Diffusion 1.4 and 1.5, where it differs from the defaults.
STABLE_DIFFUSION = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}


def small_unet(**changes) -> UNet2DConditionModel:
    torch.manual_seed(1)
    return UNet2DConditionModel(**{**SMALL, **changes}).eval()


def awake(munet: MUNet) -> MUNet:
    """The same with no weight at zero, as after some training."""
    generator = torch.Generator().manual_seed(2)
    for weight in munet.masking_weights().values():
        weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.05)
    return munet


def inputs(hw=(8, 12), batch: int = 2, channels: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "sample": randn(batch, channels, *hw),
        "timestep": torch.randint(0, 1000, (batch,), generator=generator),
        "encoder_hidden_states": randn(batch, 5, 16),
        "mask": (randn(batch, 1, *hw) > 0).float(),
        "masked_latents": randn(batch, channels, *hw),
    }


def plain(given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k: v for k, v in given.items() if k not in ("mask", "masked_latents")}


@pytest.mark.parametrize("hw", [(8, 12), (7, 9)])
@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_an_munet_made_from_a_unet_computes_exactly_that_unet(variant, hw):
    unet, given = small_unet(), inputs(hw)
    munet = MUNet.from_unet(unet, variant=variant)
    assert torch.equal(munet(**given).sample, unet(**plain(given)).sample)


@torch.no_grad()
def test_a_unet_with_further_embeddings_is_computed_exactly_too():
    unet = small_unet(
        class_embed_type="timestep",
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=8 * 6 + 16,
    )
    more = {
        "class_labels": torch.tensor([3, 4]),
        "added_cond_kwargs": {"text_embeds": torch.ones(2, 16), "time_ids": torch.ones(2, 6)},
        "encoder_attention_mask": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]),
    }
    given = inputs()
    expected = unet(**plain(given), **more).sample
    assert torch.equal(MUNet.from_unet(unet)(**given, **more).sample, expected)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_masked_latents_change_the_answer_once_weights_are_not_zero(variant):
    munet, given = awake(MUNet.from_unet(small_unet(), variant=variant)), inputs()
    other = {**given, "masked_latents": given["masked_latents"] + 1}
    assert (munet(**given).sample - munet(**other).sample).abs().max() > 1e-3


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_the_mask_changes_the_answer_except_for_the_variant_without_it(variant):
    munet, given = awake(MUNet.from_unet(small_unet(), variant=variant)), inputs()
    other = {**given, "mask": 1 - given["mask"]}
    change = (munet(**given).sample - munet(**other).sample).abs().max()
    assert change > 1e-3 if variant in LOOKS_AT_MASK else change == 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_parameter_once_the_last_layer_is_not_zero(variant):
    munet = awake(MUNet.from_unet(small_unet(), variant=variant))
    munet(**inputs()).sample.square().mean().backward()
    masking = set(munet.masking_weights())
    assert masking
    for name, parameter in munet.named_parameters():
        if name in masking:
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_at_the_start_gradients_reach_the_zero_layers_so_that_training_begins():
    munet = MUNet.from_unet(small_unet())
    munet(**inputs()).sample.square().mean().backward()
    for block in munet.down_blocks:
        assert block.meb.conv_out.weight.grad.abs().max() > 0


@torch.no_grad()
def test_the_block_is_equation_10_with_its_skips():
    munet = awake(MUNet.from_unet(small_unet()))
    block, f = munet.down_blocks[1].meb, torch.randn(1, 32, 4, 6)
    time, mask, z = torch.randn(1, 128), torch.rand(1, 1, 4, 6), torch.randn(1, 4, 4, 6)
    silu = torch.nn.functional.silu

    def gamma_beta(embed, picture):
        hidden = silu(embed.shared(picture))
        return embed.gamma(hidden), embed.beta(hidden)

    (gamma_z, beta_z), (gamma_m, beta_m) = (
        gamma_beta(block.embed_latents, z),
        gamma_beta(block.embed_mask, mask),
    )
    first = f + (gamma_z * block.norm(f) + beta_z)
    second = first + (gamma_m * first + beta_m) + block.time_proj(silu(time)).reshape(1, -1, 1, 1)
    expected = f + block.conv_out(silu(block.norm_out(second)))
    assert torch.allclose(block(f, time, mask, z), expected, atol=1e-6)  # rounding


@torch.no_grad()
def test_a_finer_mask_counts_by_the_area_that_is_known():
    munet, given = awake(MUNet.from_unet(small_unet())), inputs((8, 8))
    fine = (torch.rand(2, 1, 32, 32) > 0.5).float()
    coarse = torch.nn.functional.avg_pool2d(fine, 4)
    answers = [munet(**{**given, "mask": mask}).sample for mask in (fine, coarse)]
    assert torch.allclose(*answers, atol=1e-5)  # means of means, to rounding


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_every_picture_of_a_batch_is_computed_alone(variant):
    munet, given = awake(MUNet.from_unet(small_unet(), variant=variant)), inputs(batch=3)
    alone = munet(**{k: v[1:2] for k, v in given.items()}).sample
    assert torch.allclose(munet(**given).sample[1:2], alone, atol=1e-5)  # batches round differently


@pytest.mark.parametrize("channels", [4, 24])
@torch.no_grad()
def test_it_can_be_as_small_as_a_cpu_needs(channels):
    munet = MUNet(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(32, 64, 96),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2D",
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
        mask_hidden_channels=16,
    )
    assert munet(**inputs((9, 16), channels=channels)).sample.shape == (2, channels, 9, 16)


@torch.no_grad()
def test_without_attention_it_needs_no_text():
    kinds = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    munet = MUNet(**{**SMALL, **kinds}, mid_block_type="UNetMidBlock2D")
    assert munet(**{**inputs(), "encoder_hidden_states": None}).sample.isfinite().all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_key_of_stable_diffusion_has_its_place_and_shape(variant):
    with torch.device("meta"):
        unet = UNet2DConditionModel(**STABLE_DIFFUSION)
        munet = MUNet(mask_variant=variant, **STABLE_DIFFUSION)
    published = {name: value.shape for name, value in unet.state_dict().items()}
    assert "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight" in published
    assert len(published) == 686, "as in the published file"
    ours = {name: value.shape for name, value in munet.state_dict().items()}
    assert {name: ours.get(name) for name in published} == published
    assert set(ours) - set(published) == set(munet.masking_weights())


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_what_is_saved_comes_back(variant, tmp_path):
    munet, given = awake(MUNet.from_unet(small_unet(), variant=variant)), inputs()
    munet.save_pretrained(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "config.json",
        "diffusion_pytorch_model.safetensors",
    ]
    loaded = MUNet.from_pretrained(tmp_path)
    assert loaded.config.mask_variant == variant
    assert torch.equal(loaded(**given).sample, munet(**given).sample)


def test_half_precision_comes_back_as_half_precision(tmp_path):
    MUNet.from_unet(small_unet().half()).save_pretrained(tmp_path)
    loaded = MUNet.from_pretrained(tmp_path, torch_dtype=torch.float16)
    assert {p.dtype for p in loaded.parameters()} == {torch.float16}


@torch.no_grad()
def test_the_masking_weights_travel_without_the_unet():
    trained, given = awake(MUNet.from_unet(small_unet())), inputs()
    fresh = MUNet.from_unet(small_unet())
    fresh.load_masking_weights({k: v.clone() for k, v in trained.masking_weights().items()})
    assert torch.equal(fresh(**given).sample, trained(**given).sample)


@pytest.mark.parametrize("other", ["no-mask", "cross-fusion", "concat"])
def test_weights_of_another_variant_are_refused(other, tmp_path):
    munet = MUNet.from_unet(small_unet())
    munet.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "mask_variant": other}))
    with pytest.raises(InputError, match=f"another variant's than '{other}'"):
        MUNet.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="another variant's"):
        MUNet.from_unet(small_unet(), other).load_masking_weights(munet.masking_weights())


def test_masking_weights_of_another_shape_are_refused():
    wide = MUNet.from_unet(small_unet())
    narrow = MUNet.from_unet(small_unet(), mask_hidden_channels=8)
    with pytest.raises(InputError, match="is \\(128, .*this M-UNet's is \\(8"):
        narrow.load_masking_weights(wide.masking_weights())


@pytest.mark.parametrize(
    "change", [{"block_out_channels": [32, 96]}, {"mask_hidden_channels": 16}, {"layers_per_block": 2}]
)
def test_weights_that_do_not_match_the_config_are_refused(change, tmp_path):
    MUNet.from_unet(small_unet()).save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    with pytest.raises(InputError, match="match"):
        MUNet.from_pretrained(tmp_path)


def test_a_plain_unet_is_refused_with_the_way_to_use_it(tmp_path):
    small_unet().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="from_unet"):
        MUNet.from_pretrained(tmp_path)


def test_pickled_weights_are_refused_even_if_they_would_fit(tmp_path):
    munet = MUNet.from_unet(small_unet())
    munet.save_config(tmp_path)
    torch.save(munet.state_dict(), tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(InputError, match="only safetensors"):
        MUNet.from_pretrained(tmp_path)


def test_a_truncated_file_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="config.json"):
        MUNet.from_pretrained(tmp_path)
    MUNet.from_unet(small_unet()).save_pretrained(tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError):
        MUNet.from_pretrained(tmp_path)


def test_an_unknown_variant_is_refused_with_those_that_exist():
    with pytest.raises(InputError, match="meb, no-mask, cross-fusion, concat"):
        MUNet(mask_variant="sean", **SMALL)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_every_variant_runs_in_half_precision(variant):
    munet, given = awake(MUNet.from_unet(small_unet(), variant=variant)), inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = munet(**given).sample.float()
    # bfloat16 has eight bits; errors add up over some twenty layers.
    assert float((half - munet(**given).sample).abs().mean()) < 0.1
