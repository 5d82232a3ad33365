from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from kinephoto.errors import InputError
from kinephoto.learn import painter_state
from kinephoto.learn.autoencoder import fit_components, save_autoencoder, train_autoencoder
from kinephoto.learn.autoencoder_settings import AutoencoderSettings
from kinephoto.learn.bank import HoleBank
from kinephoto.learn.crop_sources import Crops
from kinephoto.learn.diffusion import loss_of, noised
from kinephoto.learn.distill import PhotoSet
from kinephoto.learn.hole_crops import hole_batch
from kinephoto.learn.painter_plan import plan
from kinephoto.learn.painter_settings import PainterSettings
from kinephoto.learn.photos import read_labelled, split_of
from kinephoto.learn.train import new_accelerator, train_painter
from kinephoto.learn.trainee import parts_of
from kinephoto.painter.autoencoder import PatchAutoencoder
from kinephoto.painter.builtin import loaded


@pytest.fixture(scope="module")
def all_photos(photos):
    return [read_labelled(photos, name) for name in split_of(photos, "train")]


@pytest.fixture(scope="module")
def autoencoder(all_photos, tmp_path_factory) -> Path:
    net = PatchAutoencoder(latent_channels=8, widths=(8, 8, 8), blocks=1)
    fit_components(net, all_photos, 0)
    save_autoencoder(net, tmp_path_factory.mktemp("vae"))
    return Path(tmp_path_factory.getbasetemp(), "vae0")


@pytest.fixture(scope="module")
def captions(photos, tmp_path_factory) -> Path:
    names = [name.removeprefix("photos/") for name in split_of(photos, "train")]
    images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    said = [{"image_id": i, "caption": f"a disc number {i}"} for i in range(len(names))]
    path = tmp_path_factory.mktemp("captions") / "captions.json"
    path.write_text(json.dumps({"images": images, "annotations": said}))
    return path


@pytest.fixture
def settings(photos, autoencoder, captions, tmp_path, tmp_path_factory):
    """``settings(steps=4)``: a run of a tiny painter, in a fresh folder, the rest as given."""

    def make(**changes) -> PainterSettings:
        values = {"photos": photos, "captions": captions, "out": tmp_path / "out", "init": "scratch"}
        values |= {
            "holes": tmp_path_factory.getbasetemp() / "holes",
            "autoencoder": autoencoder,
            "widths": [16, 32],
        }
        values |= {
            "steps": 4,
            "batch": 2,
            "crop_px": 32,
            "check_every": 4,
            "device": "cpu",
            "precision": "no",
        }
        return PainterSettings(**(values | {"threads": 1} | changes))

    return make


@pytest.fixture(autouse=True)
def few_checks(monkeypatch):
    monkeypatch.setattr("kinephoto.learn.train.CHECK_CROPS", 4)
    monkeypatch.setattr("kinephoto.learn.autoencoder.CHECK_CROPS", 16)


def run(settings, until: int | None = None) -> list[float]:
    losses = []
    steps = train_painter(settings)
    for state in steps:
        if state.stage == "training":
            losses.append(state.loss)
        if state.stage == "training" and state.step == until:
            steps.close()
            break
    return losses


def weights_in(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "last.pt", weights_only=True)


def test_a_run_that_was_stopped_ends_like_one_that_was_not(settings, tmp_path):
    whole = settings(out=tmp_path / "whole", steps=5)
    parted = settings(out=tmp_path / "parted", steps=5)
    losses = run(whole)
    first = run(parted, until=2)
    assert first + run(parted) == losses
    one, other = (weights_in(s.out) for s in (whole, parted))
    for part in ("net", "average"):
        assert all(torch.equal(value, other[part][name]) for name, value in one[part].items())


def test_the_scale_of_losses_in_half_precision_goes_on_too(settings, monkeypatch):
    def accelerator(chosen):
        made = new_accelerator(chosen)
        # On a processor there is none of its own. It doubles with every step.
        made.scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1)
        return made

    monkeypatch.setattr("kinephoto.learn.train.new_accelerator", accelerator)
    run(settings(), until=2)
    assert weights_in(settings().out)["scaler"]["scale"] == 16
    run(settings())
    assert weights_in(settings().out)["scaler"]["scale"] == 64


def test_accumulated_batches_are_one_batch(settings, tmp_path):
    whole = settings(out=tmp_path / "whole", batch=4, steps=2)
    parts = settings(out=tmp_path / "parts", batch=2, accumulate=2, steps=2)
    # The gradients are sums in another order.
    assert run(whole) == pytest.approx(run(parts), rel=1e-4)


def test_the_weights_are_a_pipeline_that_paints(settings):
    chosen = settings()
    run(chosen)
    pipeline = loaded(chosen.out / "painter")
    assert pipeline.config["condition"] == "filled"
    rgb, known = torch.rand(1, 3, 40, 40), torch.ones(1, 40, 40, dtype=torch.bool)
    known[:, 10:20, 10:30] = False
    painted = pipeline(rgb, known, fill=rgb, steps=2, strength=0.5, prompt="a disc")
    assert painted.shape == rgb.shape
    assert torch.isfinite(painted).all()
    assert (chosen.out / "samples" / "0000004.png").is_file()
    assert [json.loads(line)["step"] for line in (chosen.out / "log.jsonl").read_text().splitlines()] == [4]
    stored = load_file(chosen.out / "painter" / "unet" / "diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float16}


@pytest.mark.parametrize("variant", ["meb", "no-mask", "cross-fusion", "concat"])
def test_every_variant_learns_a_crop_by_heart(settings, all_photos, variant):
    chosen = settings(variant=variant, text_dropped=0.0)
    parts = parts_of(chosen, ["a disc"])
    trainee = parts.trainee().train()
    keys = [(0, 0, i) for i in range(4)]
    batch = hole_batch(all_photos[:1], HoleBank(None).holes, 32, [keys[0]] * 4)
    seen = noised(batch, keys, parts.pipeline, {}, chosen)
    optimiser = torch.optim.Adam(trainee.parameters(), lr=3e-3)
    first = None
    for _ in range(60):
        loss = loss_of(trainee, seen).mean()
        first = float(loss.detach()) if first is None else first
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.5 * first


@pytest.mark.parametrize("target", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("condition", ["black", "filled"])
def test_a_perfect_answer_costs_nothing(settings, all_photos, target, condition):
    chosen = settings(target=target, condition=condition)
    parts = parts_of(chosen, ["a disc"])
    keys = [(0, 0, i) for i in range(3)]
    batch = hole_batch(all_photos, HoleBank(None).holes, 32, keys)
    seen = noised(batch, keys, parts.pipeline, {}, chosen)

    class Oracle(torch.nn.Module):
        def forward(self, *given):
            return seen.target

    assert float(loss_of(Oracle(), seen).max()) == 0
    # What the target says and z_t together give the clean latents back.
    share = parts.pipeline.scheduler.alphas_cumprod[seen.t].view(-1, 1, 1, 1)
    if target == "v_prediction":
        clean = share.sqrt() * seen.z_t - (1 - share).sqrt() * seen.target
    else:
        clean = (seen.z_t - (1 - share).sqrt() * seen.target) / share.sqrt().clamp_min(1e-4)
    truth = parts.pipeline.encode(batch.rgb)
    seen_early = seen.t < 900  # later the division by the signal blows rounding up
    torch.testing.assert_close((clean + seen.masked)[seen_early], truth[seen_early], atol=1e-2, rtol=0)


def test_holes_count_more_when_asked(settings, all_photos):
    keys = [(0, 0, i) for i in range(3)]
    batch = hole_batch(all_photos, HoleBank(None).holes, 32, keys)
    weights = []
    for hole_weight in (0.0, 10.0):
        chosen = settings(hole_weight=hole_weight)
        parts = parts_of(chosen, ["a disc"])
        weights.append(noised(batch, keys, parts.pipeline, {}, chosen))
    alike, more = weights
    assert torch.equal(alike.weight, torch.ones_like(alike.weight))
    hole = more.mask == more.mask.amin((1, 2, 3), keepdim=True)
    assert float(more.weight[hole].min()) > 1
    assert torch.allclose(more.weight.mean((1, 2, 3)), torch.ones(3), atol=1e-5)


def test_a_state_of_another_run_is_refused(settings):
    run(settings())
    with pytest.raises(InputError, match="--variant meb, here no-mask"):
        run(settings(variant="no-mask"))
    with pytest.raises(InputError, match="another network"):
        run(settings(widths=[32, 32]))
    (settings().out / "last.pt").write_bytes(b"pickle?")
    with pytest.raises(InputError, match="not the state of a run"):
        run(settings())


def test_the_crops_of_a_step_may_be_shared_out_otherwise_but_not_be_more_or_fewer(settings):
    whole = run(settings(batch=4, steps=4))
    (settings().out / "last.pt").unlink()
    run(settings(batch=4, steps=4), until=2)
    with pytest.raises(InputError, match=r"crops a step \(--batch × --accumulate × processes\) 4, here 2"):
        run(settings(batch=2, steps=4))
    after = run(settings(batch=2, accumulate=2, steps=4))
    # The same crops; sums of gradients in another order.
    assert after == pytest.approx(whole[2:], rel=1e-3)


def test_a_full_disk_leaves_the_state_before(settings, monkeypatch):
    chosen = settings(steps=8)
    run(chosen, until=4)
    before = (chosen.out / "last.pt").read_bytes()

    def full(state, path):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(painter_state.torch, "save", full)
    with pytest.raises(InputError, match="No space left on device"):
        run(chosen)
    assert (chosen.out / "last.pt").read_bytes() == before
    assert not list(chosen.out.glob(".*.part"))


def test_the_paper_s_own_settings_train(settings):
    losses = run(
        settings(
            target="epsilon",
            condition="black",
            residual=0.0,
            hole_weight=0.0,
            ema=0.0,
            steps=2,
            check_every=2,
        )
    )
    assert all(np.isfinite(losses))


def test_bad_starts_are_refused(settings, tmp_path):
    with pytest.raises(InputError, match="no autoencoder in"):
        run(settings(autoencoder=tmp_path))
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(InputError):
        run(settings(init=str(tmp_path)))
    with pytest.raises(InputError, match="fp16 needs a GPU"):
        run(settings(precision="fp16"))


def test_the_plan_writes_nothing(settings):
    chosen = settings()
    said = plan(chosen)
    assert "22 photos to learn from" in said or "photos to learn from" in said
    assert "Nothing has been written." in said
    assert not chosen.out.exists()


def test_the_autoencoder_loses_little_and_its_decoder_learns(photos, tmp_path, all_photos):
    pytest.importorskip(
        "stlpips_pytorch.weights", reason="needs the wheel stlpips-pytorch", exc_type=ImportError
    )
    chosen = AutoencoderSettings(
        photos=photos, out=tmp_path, steps=2, batch=2, crop_px=64, check_every=2, half=False, threads=1
    )
    states = [state for state in train_autoencoder(chosen) if state.stage == "training"]
    assert states[-1].held_out is not None
    line = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert line["psnr_hole"] > 0
    net = PatchAutoencoder.from_pretrained(tmp_path / "vae", low_cpu_mem_usage=False)
    rgb = torch.from_numpy(all_photos[0].rgb[:56, :72].copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    # 24 of 192 components; the pictures are a disc and a slope.
    assert float((net.linear(net.code(rgb)) - rgb).square().mean()) < 0.02
    assert float(net.code(rgb).std()) == pytest.approx(1, abs=0.5)


def test_the_noise_of_a_crop_is_its_own(settings, all_photos):
    chosen = settings()
    parts = parts_of(chosen, ["a disc"])
    keys = [(0, 0, i) for i in range(3)]
    batch = hole_batch(all_photos, HoleBank(None).holes, 32, keys)
    whole = noised(batch, keys, parts.pipeline, {}, chosen)
    last = replace(
        batch, rgb=batch.rgb[2:], known=batch.known[2:], filled=batch.filled[2:], names=batch.names[2:]
    )
    alone = noised(last, keys[2:], parts.pipeline, {}, chosen)
    assert torch.equal(whole.t[2:], alone.t)
    torch.testing.assert_close(whole.z_t[2:], alone.z_t, atol=1e-5, rtol=0)


def write_shard(path: Path, photos: Path, names: list[str], spoil: int = 0) -> Path:
    """A tar file as WebDataset has it: pictures, labels, captions; the first ``spoil`` pictures are no pictures."""
    import tarfile

    with tarfile.open(path, "w") as tar:
        for number, name in enumerate(names):
            label = (photos / name.replace("photos", "disparity")).with_suffix(".avif")
            parts = {
                "png": (photos / name).read_bytes(),
                "disparity.avif": label.read_bytes(),
                "txt": b"a disc\n",
            }
            if number < spoil:
                parts["png"] = b"no picture"
            for kind, content in parts.items():
                info = tarfile.TarInfo(f"{number:04d}.{kind}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


# webdataset leaves its files to the garbage collector.
left_open = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)


@left_open
def test_photos_may_come_from_shards(settings, photos, tmp_path):
    names = split_of(photos, "train")
    for shard in range(2):
        write_shard(tmp_path / f"shard-{shard}.tar", photos, names[shard * 10 : shard * 10 + 10])
    chosen = settings(photos=tmp_path / "shard-{0..1}.tar", captions=None, steps=2, check_every=2)
    assert len(run(chosen)) == 2
    assert (chosen.out / "painter" / "model_index.json").is_file()


@left_open
def test_bad_shards_are_refused_and_bad_photos_counted(settings, photos, tmp_path):
    with pytest.raises(InputError, match="There is no shard"):
        run(settings(photos=tmp_path / "none.tar", captions=None))
    names = split_of(photos, "train")[:20]
    shard = write_shard(tmp_path / "spoilt.tar", photos, names, spoil=3)
    with pytest.raises(InputError, match="More than 5% of the 20 photos"):
        run(settings(photos=shard, captions=None))
    (tmp_path / "cut.tar").write_bytes(shard.read_bytes()[:3000])
    with pytest.raises(InputError):
        run(settings(photos=tmp_path / "cut.tar", captions=None))
    one = write_shard(tmp_path / "one.tar", photos, names, spoil=1)
    states = list(train_painter(settings(photos=one, captions=None, steps=1, check_every=1)))
    assert states[-1].skipped == 1
    with pytest.raises(InputError, match=r"NAME\.txt"):
        run(settings(photos=one))


@pytest.fixture
def stable_diffusion(tmp_path) -> Path:
    """A Stable Diffusion pipeline of a few thousand random weights."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTokenizer

    from kinephoto.learn.captions import new_text_encoder
    from kinephoto.painter.networks import quiet

    words = ["<|startoftext|>", "<|endoftext|>", *"abcdefghijklmnopqrstuvwxyz"]
    words += [f"{letter}</w>" for letter in "abcdefghijklmnopqrstuvwxyz"]
    tokenizer = CLIPTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[], model_max_length=8)
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=2,
    )
    vae = AutoencoderKL(block_out_channels=(8, 8), norm_num_groups=4)
    with quiet():
        StableDiffusionPipeline(
            vae=vae,
            text_encoder=new_text_encoder(tokenizer, width=32, layers=1),
            tokenizer=tokenizer,
            unet=unet,
            scheduler=DDIMScheduler(clip_sample=False, timestep_spacing="trailing"),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(tmp_path / "sd")
    return tmp_path / "sd"


def test_of_stable_diffusion_only_the_masked_enhanced_blocks_learn(settings, stable_diffusion):
    from kinephoto.painter import get_painter

    chosen = settings(init=str(stable_diffusion), condition="black", residual=0.0, target="epsilon", steps=3)
    chosen = chosen.model_copy(update={"check_every": 3})
    losses = run(chosen, until=2) + run(chosen)
    assert len(losses) == 3
    assert [name for name in weights_in(chosen.out)["net"] if ".meb." not in name] == []
    stored = chosen.out / "painter" / "masking.safetensors"
    weights = load_file(stored)
    assert any(float(value.abs().max()) > 0 for name, value in weights.items() if "conv_out.weight" in name)
    (stable_diffusion / "masking.safetensors").write_bytes(stored.read_bytes())
    rgb, known = torch.rand(3, 32, 32), torch.ones(32, 32, dtype=torch.bool)
    known[8:20, 8:24] = False
    painted = get_painter(f"sd:{stable_diffusion}", steps=2).paint(
        rgb * known, known, torch.full((32, 32), 0.5)
    )
    assert torch.isfinite(painted).all()


def test_a_start_from_stable_diffusion_is_the_same_each_time_and_brings_its_masking_weights(
    settings, stable_diffusion
):
    def start(seed: int) -> dict[str, torch.Tensor]:
        return parts_of(settings(init=str(stable_diffusion), seed=seed), []).pipeline.unet.masking_weights()

    state = torch.random.get_rng_state()
    first, again, other = start(1), start(1), start(2)
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert any(not torch.equal(value, other[name]) for name, value in first.items())
    assert torch.equal(state, torch.random.get_rng_state())
    save_file(other, stable_diffusion / "masking.safetensors")
    brought = start(1)
    assert all(torch.equal(value, brought[name]) for name, value in other.items())


def test_the_plan_of_a_start_from_stable_diffusion_reads_the_captions(settings, stable_diffusion):
    said = plan(settings(init=str(stable_diffusion)))
    assert f"it starts from: {stable_diffusion}" in said and "Nothing has been written." in said


def test_an_m_unet_of_stable_diffusions_shape_learns_eight_photos_by_heart(
    settings, stable_diffusion, all_photos
):
    chosen = settings(init=str(stable_diffusion), condition="black", residual=0.0, target="epsilon")
    parts = parts_of(chosen, [])
    trainee = parts.trainee().train().requires_grad_(True)
    keys = [(0, 0, i) for i in range(8)]
    batch = hole_batch(all_photos[:8], HoleBank(None).holes, 32, keys)
    seen = noised(batch, keys, parts.pipeline, {}, chosen)
    states = parts.pipeline.text_encoder(seen.tokens)[0].detach()
    optimiser = torch.optim.Adam(trainee.parameters(), lr=1e-2)
    losses = []
    while len(losses) < 250 and (len(losses) < 2 or losses[-1] >= 0.35 * losses[0]):
        loss = loss_of(trainee, seen, states).mean()
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < 0.35 * losses[0]


def test_a_start_of_another_kind_is_refused(settings, stable_diffusion):
    run(settings())
    start = str(settings().out / "painter")
    with pytest.raises(InputError, match="--target v_prediction; --target epsilon needs --init scratch"):
        parts_of(settings(init=start, target="epsilon"), [])
    with pytest.raises(InputError, match="--variant meb; --variant concat"):
        parts_of(settings(init=start, variant="concat"), [])
    with pytest.raises(InputError, match="--target epsilon; --target v_prediction"):
        parts_of(settings(init=str(stable_diffusion), target="v_prediction"), [])
    assert parts_of(settings(init=start), []).pipeline.config["condition"] == "filled"
    assert parts_of(settings(init=str(stable_diffusion)), []).pipeline.config["condition"] == "black"


@pytest.fixture(scope="module")
def objects(photos, tmp_path_factory) -> Path:
    """A mask for each photo: its middle third."""
    folder = tmp_path_factory.mktemp("masks")
    for name in split_of(photos, "train") + split_of(photos, "held-out"):
        hw = read_labelled(photos, name).code.shape
        mask = np.zeros(hw, np.uint8)
        mask[hw[0] // 3 : 2 * hw[0] // 3, hw[1] // 3 : 2 * hw[1] // 3] = 255
        Image.fromarray(mask).save(folder / f"{Path(name).stem}.png")
    return folder


def test_the_outpainter_is_the_same_trainer_with_objects(settings, objects, tmp_path):
    chosen = settings(objects=[objects], object_share=0.5, out=tmp_path / "both", steps=4)
    plain = settings(out=tmp_path / "plain", steps=4)
    assert run(chosen) != run(plain)
    line = json.loads((chosen.out / "log.jsonl").read_text().splitlines()[-1])
    assert line["held_out"] > 0 and line["held_out_objects"] > 0
    assert "held_out_objects" not in (plain.out / "log.jsonl").read_text()
    # Where its parts came from on this machine stays here.
    assert not [path for path in chosen.out.rglob("config.json") if "_name_or_path" in path.read_text()]
    assert {path.name for path in (chosen.out / "samples").iterdir()} == {
        "0000004.png",
        "0000004_objects.png",
    }


def test_a_crop_of_a_mixture_depends_on_its_key_alone(settings, objects, all_photos):
    chosen = settings(objects=[objects], object_share=0.5)
    crops = Crops(chosen, PhotoSet(all_photos, all_photos[:2], []))
    keys = [(0, 0, i) for i in range(10)]
    whole = crops.batch("train", keys)
    alone = crops.batch("train", keys[7:])
    assert torch.equal(whole.rgb[7:], alone.rgb) and torch.equal(whole.filled[7:], alone.filled)
    only_objects = Crops(
        settings(objects=[objects], object_share=1), PhotoSet(all_photos, all_photos[:2], [])
    )
    assert list(only_objects.checks) == ["held_out_objects"]
