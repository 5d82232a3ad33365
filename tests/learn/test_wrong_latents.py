from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kinephoto.errors import InputError
from kinephoto.learn.autoencoder import across, down, fit_components, save_autoencoder, train_autoencoder
from kinephoto.learn.autoencoder_settings import AutoencoderSettings
from kinephoto.learn.bank import HoleBank
from kinephoto.learn.hole_crops import hole_batch
from kinephoto.learn.painter_settings import PainterSettings
from kinephoto.learn.painter_state import save_painter
from kinephoto.learn.photos import read_labelled, split_of
from kinephoto.learn.trainee import parts_of
from kinephoto.learn.wrong_latents import PAINTED_STEPS, Corrupted, Painted, corrupted
from kinephoto.painter.autoencoder import PatchAutoencoder
from kinephoto.painter.builtin import loaded
from kinephoto.painter.sampling import Sampler


@pytest.fixture(scope="module")
def all_photos(photos):
    return [read_labelled(photos, name) for name in split_of(photos, "train")[:8]]


@pytest.fixture(scope="module")
def painter(photos, all_photos, tmp_path_factory) -> Path:
    """A tiny one that has learnt nothing, its masks and last layer not at zero."""
    folder = tmp_path_factory.mktemp("painter")
    net = PatchAutoencoder(latent_channels=8, widths=(8, 8, 8), blocks=1)
    fit_components(net, all_photos, 0)
    save_autoencoder(net, folder / "vae0")
    settings = PainterSettings(
        photos=photos, init="scratch", autoencoder=folder / "vae0", widths=[16, 32], crop_px=32
    )
    pipeline = parts_of(settings, ["a disc"]).pipeline
    torch.manual_seed(0)
    for value in pipeline.unet.parameters():
        value.data.add_(0.02 * torch.randn_like(value))
    save_painter(pipeline, folder / "whole", whole=True)
    return folder / "whole"


@pytest.fixture(scope="module")
def batch(all_photos):
    return hole_batch(all_photos, HoleBank(None).holes, 32, [(0, 0, i) for i in range(3)])


def test_painting_that_learns_paints_the_same(painter, batch):
    pipeline = loaded(painter)
    with torch.no_grad():
        alone = Painted(pipeline)(batch, 5)
    torch.testing.assert_close(Painted(pipeline, learns=True)(batch, 5).detach(), alone)


def test_only_the_last_step_is_gone_back_through(painter, batch):
    pipeline = loaded(painter)
    painted = Painted(pipeline, learns=True)
    z = painted(batch, 5)
    z.sum().backward()
    # z_0 = sqrt(ᾱ) z_t - sqrt(1 - ᾱ) v (Eq. 9), and the last layer's bias is added to v at every place.
    strengths = {
        float(Sampler(pipeline.scheduler, PAINTED_STEPS, strength).timesteps[-1])
        for strength in (0.35, 0.45, 0.55)
    }
    shares = [float(pipeline.scheduler.alphas_cumprod[int(t)]) for t in strengths]
    places = z.shape[0] * z.shape[2] * z.shape[3]
    scale = pipeline.config["residual_scale"]
    found = pipeline.unet.conv_out.bias.grad
    assert any(
        torch.allclose(found, torch.full_like(found, -((1 - share) ** 0.5) * scale * places), rtol=1e-3)
        for share in shares
    )


def test_what_its_own_loss_teaches_lowers_it(painter, batch):
    painted = Painted(loaded(painter), learns=True)
    keys = [(0, 0, i) for i in range(3)]
    optimiser = torch.optim.SGD(painted.unet.parameters(), lr=1e-3)
    losses = []
    for _ in range(4):
        loss = painted.own_loss(batch, keys)
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("painter_lr", [0.0, 1e-3])
def test_the_unet_learns_with_the_decoder_only_if_asked(photos, painter, tmp_path, monkeypatch, painter_lr):
    pytest.importorskip(
        "stlpips_pytorch.weights", reason="needs the wheel stlpips-pytorch", exc_type=ImportError
    )
    monkeypatch.setattr("kinephoto.learn.autoencoder.CHECK_CROPS", 16)
    settings = AutoencoderSettings(
        photos=photos,
        out=tmp_path,
        init=str(painter / "vae"),
        painter=painter,
        painter_lr=painter_lr,
        steps=2,
        batch=2,
        crop_px=64,
        check_every=2,
        half=False,
        threads=1,
    )
    states = [state for state in train_autoencoder(settings) if state.stage == "training"]
    assert states[-1].held_out is not None
    moved = {}
    for part in ("unet", "vae"):
        before, after = (
            load_file(folder / part / "diffusion_pytorch_model.safetensors")
            for folder in (painter, tmp_path / "painter")
        )
        moved[part] = any(not torch.equal(before[name], after[name]) for name in before)
    assert moved == {"unet": painter_lr > 0, "vae": True}


def test_without_a_painter_none_can_learn(photos, tmp_path):
    settings = AutoencoderSettings(photos=photos, out=tmp_path / "out", painter_lr=1e-4)
    with pytest.raises(InputError, match="no --painter is given"):
        next(train_autoencoder(settings))
    assert not (tmp_path / "out").exists()


def test_corrupted_latents_are_true_where_known(painter, batch):
    net = loaded(painter).vae
    found = Corrupted(net, 0)(batch, 0)
    truth = net.code(2 * batch.rgb - 1)
    known = torch.nn.functional.avg_pool2d(batch.known[:, None].float(), 8) == 1
    apart = (found - truth).abs().amax(1, keepdim=True)
    assert float(apart[known].max()) < 1e-4
    assert float(apart[~known].mean()) > 0.1
    again = corrupted(truth, truth, torch.ones_like(truth[:, :1]), torch.Generator().manual_seed(0))
    assert torch.equal(again, truth)


def test_what_alternates_is_all_of_a_comb_and_none_of_a_slope():
    comb = torch.tensor([0.1, -0.1]).repeat(4).expand(1, 3, 6, 8)
    slope = torch.arange(8.0).expand(1, 3, 6, 8)
    torch.testing.assert_close(across(comb + slope)[..., 1:-1], comb[..., 1:-1])
    assert float(down(comb).abs().max()) == 0
    torch.testing.assert_close(down((comb + slope).mT)[..., 1:-1, :], comb.mT[..., 1:-1, :])
