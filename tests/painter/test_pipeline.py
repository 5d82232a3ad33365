"""The painting pipeline: samplers keep their order, guidance its price, windows their place."""

from __future__ import annotations

import json
import math
import shutil
from types import SimpleNamespace

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    UNet2DConditionModel,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from kinephoto.errors import InputError
from kinephoto.painter.munet import MUNet
from kinephoto.painter.pipeline import MUNetPipeline, composited, latent_mask
from kinephoto.painter.sampling import Canvas, Sampler, windows

# diffusers' Heun does this when it is made, Euler when timesteps are set.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SCHEDULERS = [DDPMScheduler, DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Samplers against a problem whose answer is known.

DEVIATION = 0.5


def miss(kind, steps: int, prediction_type: str = "epsilon", strength: float = 1.0, **options) -> float:
    """How far a sampler ends from the exact answer for data N(0, s²) and the exact denoiser.

    Its probability flow keeps z_t / √(ᾱ_t s² + 1 − ᾱ_t) (Karras et al., Elucidating the design space of
    diffusion-based generative models, NeurIPS 2022, appendix B). Euler and Heun carry z_t / √ᾱ_t.
    """
    options = {"timestep_spacing": "linspace", **options}
    scheduler = kind(prediction_type=prediction_type, **options)
    sampler, shares = Sampler(scheduler, steps, strength), scheduler.alphas_cumprod.double()

    def share_at(t: torch.Tensor) -> torch.Tensor:
        low = int(t)
        return torch.lerp(shares[low], shares[min(low + 1, 999)], float(t) - low)

    def predict(seen: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        share = share_at(t)
        variance = share * DEVIATION**2 + 1 - share
        if prediction_type == "epsilon":
            return seen * (1 - share).sqrt() / variance
        return seen * (share * (1 - share)).sqrt() * (1 - DEVIATION**2) / variance

    ones = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    z = sampler.start(ones, torch.zeros_like(ones))
    *_, last = sampler.run(z, predict)
    first = share_at(sampler.timesteps[0])
    z = z * first.sqrt() if kind in (EulerDiscreteScheduler, HeunDiscreteScheduler) else z
    end = shares[0] if options.get("final_sigmas_type") == "sigma_min" else torch.tensor(1.0)
    deviations = [(share * DEVIATION**2 + 1 - share).sqrt() for share in (first, end)]
    return float((last.latents - z * deviations[1] / deviations[0]).abs().max())


def slope(few: int, many: int, kind, **options) -> float:
    ratio = miss(kind, few, **options) / miss(kind, many, **options)
    return math.log(ratio) / math.log(many / few)


@pytest.mark.parametrize("strength", [1.0, 0.6])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("kind", [DDIMScheduler, EulerDiscreteScheduler])
def test_ddim_and_euler_are_of_order_1(kind, prediction_type, strength):
    options = {"clip_sample": False} if kind is DDIMScheduler else {}
    # 13 and 100 don't divide the 1000 timesteps (times .6): steps must land on timesteps all the same.
    for few, many in ((20, 40), (13, 100)):
        found = slope(few, many, kind, prediction_type=prediction_type, strength=strength, **options)
        assert 0.85 < found < 1.15


@pytest.mark.parametrize("strength", [1.0, 0.6])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_heun_is_of_order_2(prediction_type, strength):
    # More steps meet the last one, from t = 0 to no noise, which is Euler's and of fixed length.
    options = {"prediction_type": prediction_type, "strength": strength}
    assert 1.8 < slope(10, 20, HeunDiscreteScheduler, **options) < 2.8


@pytest.mark.parametrize("strength", [1.0, 0.6])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_dpm_solver_2m_is_of_order_2(prediction_type, strength):
    options = {"prediction_type": prediction_type, "strength": strength, "final_sigmas_type": "sigma_min"}
    assert 1.7 < slope(40, 80, DPMSolverMultistepScheduler, lower_order_final=False, **options) < 2.4


@pytest.mark.parametrize("kind", [*SCHEDULERS, HeunDiscreteScheduler])
def test_as_many_steps_are_taken_as_were_asked_for(kind):
    for steps, strength in [(1, 1.0), (6, 0.6), (4, 0.3), (12, 0.7), (40, 0.33)]:
        timesteps = Sampler(kind(timestep_spacing="trailing"), steps, strength).timesteps.unique()
        assert len(timesteps) == steps
        half_a_step = 500 * strength / steps + 2
        assert abs(float(timesteps.max()) - 1000 * strength) <= 2 * half_a_step


def test_a_sampler_leaves_the_scheduler_as_it_was():
    scheduler = DPMSolverMultistepScheduler()
    before = {k: str(v) for k, v in vars(scheduler).items()}
    sampler = Sampler(scheduler, 4)
    list(sampler.run(sampler.start(torch.ones(1, 1, 2, 2)), lambda z, t: 0.1 * z))
    assert {k: str(v) for k, v in vars(scheduler).items()} == before


@pytest.mark.parametrize(
    "steps, strength, scheduler",
    [(0, 1.0, DDIMScheduler()), (4, 0.0, DDIMScheduler()), (4, 1.1, DDIMScheduler())]
    + [(4, 1.0, FlowMatchEulerDiscreteScheduler())],
)
def test_steps_strength_and_scheduler_out_of_range_are_refused(steps, strength, scheduler):
    with pytest.raises(InputError):
        Sampler(scheduler, steps, strength)


# Pipelines of a few thousand random weights.


class Shrink(nn.Module):
    """An exact autoencoder: a latent pixel's 12 channels are the four pixels that it stands for."""

    spatial_compression_ratio = 2
    dtype, device = torch.float32, torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(scaling_factor=1.0, get={}.get)

    def encode(self, x: torch.Tensor) -> SimpleNamespace:
        z = nn.functional.pixel_unshuffle(x, 2)
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: z))

    def decode(self, z: torch.Tensor, return_dict: bool = True) -> tuple[torch.Tensor]:
        return (nn.functional.pixel_shuffle(z, 2),)


def tokenizer() -> CLIPTokenizer:
    words = ["<|startoftext|>", "<|endoftext|>", *"abcdefghijklmnopqrstuvwxyz"]
    words += [f"{letter}</w>" for letter in "abcdefghijklmnopqrstuvwxyz"]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=8)


def text_encoder() -> CLIPTextModel:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    return CLIPTextModel(CLIPTextConfig(vocab_size=54, max_position_embeddings=8, **sizes, **ends)).eval()


def munet(channels: int = 12, variant="meb", **changes) -> MUNet:
    """Tiny and random, its zero layers too."""
    sizes = {
        "block_out_channels": (8, 16),
        "norm_num_groups": 4,
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "mid_block_type": "UNetMidBlock2D",
        "cross_attention_dim": 16,
        "attention_head_dim": 2,
        "mask_hidden_channels": 8,
    }
    made = MUNet(in_channels=channels, out_channels=channels, mask_variant=variant, **{**sizes, **changes})
    with torch.no_grad():
        for weight in made.masking_weights().values():
            weight.add_(torch.randn(weight.shape, generator=generator(5)), alpha=0.1)
    return made.eval()


def pipeline(scheduler=None, vae=None, **options) -> MUNetPipeline:
    scheduler = scheduler or DDIMScheduler(clip_sample=False, timestep_spacing="trailing")
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return MUNetPipeline(vae or Shrink(), text_encoder(), tokenizer(), munet(), scheduler, **options)


def photos(batch: int = 1, hw=(16, 24)) -> tuple[torch.Tensor, torch.Tensor]:
    rgb = torch.rand(batch, 3, *hw, generator=generator(6))
    known = torch.ones(batch, *hw, dtype=torch.bool)
    for i in range(batch):
        known[i, 4 + i : 10 + i, 6 : 14 + i] = False
    return rgb, known


def count_calls(pipe: MUNetPipeline) -> list[tuple[int, ...]]:
    """Shapes of every sample that the UNet is given from now on."""
    shapes: list[tuple[int, ...]] = []
    pipe.unet.register_forward_pre_hook(lambda module, given: shapes.append(tuple(given[0].shape)))
    return shapes


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("kind", SCHEDULERS)
def test_any_scheduler_paints(kind, prediction_type):
    rgb, known = photos(2)
    pipe = pipeline(kind(prediction_type=prediction_type))
    painted = pipe(rgb, known, fill=rgb, prompt="a cat", guidance=1.5, steps=3, strength=0.5)
    assert painted.shape == rgb.shape and painted.isfinite().all()
    assert painted.min() >= 0 and painted.max() <= 1


def test_without_guidance_the_unet_is_called_once_a_step_and_never_with_the_blank_prompt():
    pipe, (rgb, known) = pipeline(), photos(2)
    asked: list[str] = []
    encode = pipe.encode_prompt
    pipe.encode_prompt = lambda prompts: (asked.extend(prompts), encode(prompts))[1]
    shapes = count_calls(pipe)
    pipe(rgb, known, prompt=["a cat", "a dog"], steps=3)
    assert shapes == [(2, 12, 8, 12)] * 3
    assert asked == ["a cat", "a dog"]


def test_guidance_is_equation_12():
    pipe, (rgb, known) = pipeline(), photos()
    shapes = count_calls(pipe)
    pipe(rgb, known, prompt="a cat", steps=2, guidance=2.0)
    assert shapes == [(2, 12, 8, 12)] * 2, "both terms in one call"
    text, blank = pipe.encode_prompt(["a cat"]), pipe.encode_prompt([""])
    mask, masked, z = torch.rand(1, 1, 8, 12), torch.randn(1, 12, 8, 12), torch.randn(1, 12, 8, 12)
    t = torch.tensor(500)
    with torch.no_grad():
        given, without = (pipe.unet(z, t, states, mask, masked).sample for states in (text, blank))
        found = pipe._predict(text, blank, 2.0, mask, masked, z, t)
    assert torch.allclose(found, given + 2 * (given - without), atol=1e-5)  # rounding
    assert (given - without).abs().max() > 1e-4, "or the text has no effect here"


def test_guidance_by_a_blank_prompt_costs_nothing():
    pipe, (rgb, known) = pipeline(), photos()
    shapes = count_calls(pipe)
    pipe(rgb, known, guidance=3.0, steps=2)
    assert shapes == [(1, 12, 8, 12)] * 2


@pytest.mark.parametrize("kind", [DDPMScheduler, DDIMScheduler])
def test_picture_i_of_a_batch_equals_picture_i_alone(kind):
    rgb, known = photos(3)
    pipe = pipeline(kind(clip_sample=False))
    options = {"steps": 3, "guidance": 1.0}
    together = pipe(rgb, known, prompt=["a", "b", "c"], seed=[7, 8, 9], **options)
    for i, (prompt, seed) in enumerate([("a", 7), ("b", 8), ("c", 9)]):
        alone = pipe(rgb[i : i + 1], known[i : i + 1], prompt=prompt, seed=seed, **options)
        assert torch.allclose(together[i], alone[0], atol=1e-4)  # batches round differently
    again = pipe(rgb, known, prompt=["a", "b", "c"], seed=[7, 8, 9], **options)
    assert torch.equal(together, again)
    assert not torch.allclose(
        together, pipe(rgb, known, prompt=["a", "b", "c"], seed=1, **options), atol=1e-2
    )


def test_two_paintings_at_once_do_not_disturb_each_other():
    pipe, (rgb, known) = pipeline(DPMSolverMultistepScheduler()), photos()
    alone = pipe(rgb, known, steps=4)
    pair = zip(pipe.painting(rgb, known, steps=4), pipe.painting(rgb, known, steps=4), strict=True)
    *_, (first, second) = pair
    assert torch.equal(first.picture(), alone) and torch.equal(second.picture(), alone)


@pytest.mark.parametrize("condition", ["black", "filled"])
@pytest.mark.parametrize("residual_scale", [None, 0.5])
def test_as_the_strength_goes_to_0_the_fill_comes_back(condition, residual_scale):
    rgb, known = photos()
    pipe = pipeline(condition=condition, residual_scale=residual_scale)
    fill = torch.full_like(rgb, 0.4)
    misses = []
    for strength in (0.5, 0.1, 1e-6):
        painted = pipe(rgb, known, fill=fill, strength=strength, steps=8)
        misses.append(float((painted - fill).abs()[..., ~known[0]].max()))
    assert misses[0] > misses[1] > misses[2]
    # At t = 0 a share 1 - ᾱ = 1e-4 is noise: a deviation of .01, half of it in [0, 1], four of them.
    assert misses[2] < 0.02


@pytest.mark.parametrize("condition", ["black", "filled"])
def test_what_lies_under_a_hole_is_never_seen(condition):
    rgb, known = photos()
    pipe, fill = pipeline(condition=condition), torch.full_like(rgb, 0.4)
    other = torch.where(known[:, None], rgb, torch.tensor(float("nan")))
    assert torch.equal(*(pipe(each, known, fill=fill, steps=2) for each in (rgb, other)))


def test_steps_are_counted_and_show_the_picture_as_it_becomes():
    pipe, (rgb, known) = pipeline(), photos()
    seen = [(s.index, s.total, s.picture()) for s in pipe.painting(rgb, known, steps=3)]
    assert [(index, total) for index, total, _ in seen] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert torch.equal(seen[0][2], rgb * known[:, None]), "before the first step: holes are black"
    assert torch.equal(seen[-1][2], pipe(rgb, known, steps=3)), "looking on changes nothing"
    assert not torch.equal(seen[1][2], seen[2][2])


def test_closing_the_generator_stops_the_work():
    pipe, (rgb, known) = pipeline(), photos()
    shapes = count_calls(pipe)
    painting = pipe.painting(rgb, known, steps=5)
    for step in painting:
        if step.index == 2:
            painting.close()
    assert len(shapes) == 2


def test_a_photo_without_holes_costs_nothing_and_comes_back():
    pipe, (rgb, known) = pipeline(), photos()
    shapes = count_calls(pipe)
    assert torch.equal(pipe(rgb, torch.ones_like(known)), rgb)
    assert shapes == []


def test_only_windows_that_hold_holes_are_painted():
    rgb, known = torch.rand(1, 3, 200, 300, generator=generator()), torch.ones(1, 200, 300, dtype=torch.bool)
    known[0, 20:30, 30:40] = known[0, 150:160, 250:260] = False
    pipe = pipeline()
    shapes = count_calls(pipe)
    painted = pipe(rgb, known, steps=2, window_px=64, margin_px=8)
    assert shapes == [(1, 12, 32, 32)] * 4, "two windows of two steps, whatever the photo's size"
    changed = (painted != rgb).any(1)[0]
    assert not changed[70:110].any() and not changed[:100, 80:].any(), "far from holes nothing was decoded"
    assert torch.equal(composited(rgb, known, painted)[:, :, known[0]], rgb[:, :, known[0]])


@pytest.mark.parametrize("margin", [0, 8, 16])
def test_windows_hold_every_hole_well_inside(margin):
    hole = torch.rand(150, 210, generator=generator()) > 0.995
    hole[60:120, 20:200] = True
    inside = torch.zeros_like(hole)
    for top, left in windows(hole, (64, 64), margin):
        assert 0 <= top <= 150 - 64 and 0 <= left <= 210 - 64
        assert hole[top : top + 64, left : left + 64].any()
        low_y, high_y = top + margin * (top > 0), top + 64 - margin * (top + 64 < 150)
        low_x, high_x = left + margin * (left > 0), left + 64 - margin * (left + 64 < 210)
        inside[low_y:high_y, low_x:high_x] = True
    assert not (hole & ~inside).any()


def test_windows_blend_without_a_step_and_later_ones_see_earlier_ones():
    rgb, known = torch.full((1, 3, 64, 160), 0.5), torch.ones(1, 64, 160, dtype=torch.bool)
    known[0, 20:40, 5:155] = False
    canvas = Canvas(rgb, known, None, 64, 2)
    plan = windows(~known[0], canvas.window_hw, 16)
    assert len(plan) > 2
    for k, box in enumerate(plan):
        view = canvas.view([0], [box])
        assert k == 0 or view.known[0, 20:40].any(), "what the window before it painted counts as known"
        canvas.blend(view, 16, torch.full((1, 3, *canvas.window_hw), 0.2 + 0.1 * k))
    line = canvas.picture()[0, 0, 30, 5:155]
    assert (line[1:] - line[:-1]).abs().max() < 0.02, "a tenth is crossed over some 16 px"
    assert abs(float(line[0]) - 0.2) < 1e-6 and float(line[-1]) > 0.2


@pytest.mark.parametrize("hw", [(15, 23), (7, 40), (2, 2)])
def test_sides_need_not_be_multiples_of_anything(hw):
    rgb, known = torch.rand(1, 3, *hw, generator=generator()), torch.ones(1, *hw, dtype=torch.bool)
    known[0, 0, 0] = False
    assert pipeline()(rgb, known, steps=1, window_px=16, margin_px=2).shape == rgb.shape


def test_a_decoder_that_asks_for_them_is_given_the_masked_picture_and_the_mask():
    class Asking(Shrink):
        def decode(self, z, image=None, mask=None, return_dict=True):
            self.seen = image, mask
            return super().decode(z)

    pipe, (rgb, known) = pipeline(vae=Asking()), photos()
    pipe(rgb, known, steps=1)
    image, mask = pipe.vae.seen
    assert torch.equal(mask[:, 0], (~known).float())
    assert torch.allclose(image, torch.where(known[:, None], 2 * rgb - 1, torch.tensor(-1.0)))


def test_the_latents_mask_is_the_share_that_is_known():
    known = torch.tensor([[[True, True, False, False], [True, False, False, False]]])
    assert latent_mask(known, (1, 2)).tolist() == [[[[0.75, 0.0]]]]


# On disk.


def saved(folder, **options) -> MUNetPipeline:
    vae = AutoencoderKL(block_out_channels=(8, 8), norm_num_groups=4, latent_channels=4, **_TWO_BLOCKS).eval()
    scheduler = DDIMScheduler(clip_sample=False, timestep_spacing="trailing")
    pipe = MUNetPipeline(vae, text_encoder(), tokenizer(), munet(4), scheduler, **options)
    pipe.save_pretrained(folder)
    return pipe


_TWO_BLOCKS = {
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
}


def test_a_saved_pipeline_loads_and_paints_the_same(tmp_path):
    pipe = saved(tmp_path, condition="filled", residual_scale=0.5)
    assert not list(tmp_path.rglob("*.bin"))
    loaded = MUNetPipeline.from_pretrained(tmp_path)
    assert (loaded.config.condition, loaded.config.residual_scale) == ("filled", 0.5)
    rgb, known = photos()
    options = {"fill": rgb, "steps": 2, "prompt": "a cat", "guidance": 1.0}
    assert torch.equal(loaded(rgb, known, **options), pipe(rgb, known, **options))


def test_stable_diffusion_with_fresh_blocks_ignores_the_mask_until_weights_are_given(tmp_path):
    pipe = saved(tmp_path / "ours")
    unet = UNet2DConditionModel(
        **{k: v for k, v in pipe.unet.config.items() if not k.startswith(("_", "mask"))}
    )
    unet.load_state_dict(
        {k: v for k, v in pipe.unet.state_dict().items() if k not in pipe.unet.masking_weights()}
    )
    shutil.copytree(tmp_path / "ours", tmp_path / "sd")
    unet.save_pretrained(tmp_path / "sd" / "unet")
    rgb, known = photos()
    fresh = MUNetPipeline.from_stable_diffusion(tmp_path / "sd")
    assert torch.equal(fresh(rgb, known, steps=1), fresh(1 - rgb, known, steps=1))
    assert not torch.equal(fresh(rgb, known, steps=1), pipe(rgb, known, steps=1))


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path):
    with pytest.raises(InputError, match="model_index.json"):
        MUNetPipeline.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="model_index.json"):
        MUNetPipeline.from_stable_diffusion(tmp_path)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_pickled_weights_are_refused(part, tmp_path):
    pipe = saved(tmp_path)
    for weights in (tmp_path / part).glob("*.safetensors"):
        weights.unlink()
    name = "pytorch_model.bin" if part == "text_encoder" else "diffusion_pytorch_model.bin"
    torch.save(getattr(pipe, part).state_dict(), tmp_path / part / name)
    with pytest.raises(InputError, match="only safetensors"):
        MUNetPipeline.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "part, change",
    [
        ("unet", {"mask_variant": "concat"}),
        ("unet", {"layers_per_block": 2}),
        ("vae", {"latent_channels": 8}),
    ],
)
def test_parts_that_do_not_match_their_config_are_refused(part, change, tmp_path):
    saved(tmp_path)
    config = tmp_path / part / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    with pytest.raises(InputError):
        MUNetPipeline.from_pretrained(tmp_path)


def test_a_plain_unet_is_refused():
    unet = UNet2DConditionModel(block_out_channels=(32, 32, 32, 32), cross_attention_dim=16)
    with pytest.raises(InputError, match="from_unet"):
        MUNetPipeline(Shrink(), None, None, unet, DDIMScheduler())


@pytest.mark.parametrize(
    "options, says",
    [
        ({"strength": 0.5}, "needs a fill"),
        ({"strength": 0.0}, "above 0"),
        ({"steps": 0}, "at least 1"),
        ({"prompt": ["a", "b"]}, "2 prompts"),
        ({"seed": [1, 2]}, "2 seeds"),
        ({"margin_px": 300}, "margin"),
        ({"fill": torch.zeros(1, 3, 2, 2)}, "fill"),
        ({"known": torch.ones(1, 16, 24)}, "bool"),
        ({"rgb": torch.ones(3, 16, 24)}, "B, 3, H, W"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, says):
    rgb, known = photos()
    with pytest.raises(InputError, match=says):
        pipeline()(**{"rgb": rgb, "known": known, **options})


# Learning.


class Same(Shrink):
    """The autoencoder whose latents are the pixels."""

    spatial_compression_ratio = 1

    def encode(self, x: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: x))

    def decode(self, z: torch.Tensor, return_dict: bool = True) -> tuple[torch.Tensor]:
        return (z,)


@pytest.mark.slow
def test_one_photo_of_8_by_8_latents_is_learnt_by_heart():
    axis = torch.linspace(0, 1, 8)
    ramps = [axis.expand(8, 8), axis[:, None].expand(8, 8), (8 * axis).sin().expand(8, 8)]
    rgb = torch.stack(ramps)[None] * 0.4 + 0.5
    known = torch.ones(1, 8, 8, dtype=torch.bool)
    known[:, 2:6, 2:5] = False
    scheduler = DDIMScheduler(
        clip_sample=False, timestep_spacing="trailing", prediction_type="v_prediction", set_alpha_to_one=True
    )
    net, steps, batch = munet(3, block_out_channels=(32, 32)), 250, 8
    pipe = MUNetPipeline(Same(), text_encoder(), tokenizer(), net, scheduler)
    z_0, text = pipe.encode(rgb), pipe.encode_prompt([""])
    mask, masked = latent_mask(known, (8, 8)), pipe.encode(rgb * known[:, None])
    conditions = [each.expand(batch, *each.shape[1:]) for each in (text, mask, masked)]
    optimiser = torch.optim.Adam(net.train().parameters(), 3e-3)
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0.05, steps)
    for _ in range(steps):
        t, noise = torch.randint(0, 1000, (batch,)), torch.randn(batch, *z_0.shape[1:])
        clean = z_0.expand_as(noise)
        z_t, v = scheduler.add_noise(clean, noise, t), scheduler.get_velocity(clean, noise, t)
        loss = (net(z_t, t, *conditions).sample - v).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        falling.step()
    net.eval()
    hole = rgb[..., ~known[0]]
    miss = (pipe(rgb, known, steps=10)[..., ~known[0]] - hole).abs().mean()
    mean_colour = (hole - hole.mean(-1, keepdim=True)).abs().mean()
    assert miss < 0.6 * mean_colour, "from pure noise, better than knowing the hole's mean colour"
