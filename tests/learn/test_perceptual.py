"""How different pictures look: to networks, and in windows at holes."""

import numpy as np
import pytest
import torch

from kinephoto.learn.perceptual import WINDOW_PX, Looks, PerceptualLoss, hole_window

pytest.importorskip("stlpips_pytorch.weights", reason="needs the wheel stlpips-pytorch", exc_type=ImportError)


@pytest.fixture(scope="module")
def rgb():
    return torch.rand(2, 3, 72, 72, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("network", ["alex", "vgg"])
def test_a_perfect_answer_costs_nothing_and_more_noise_costs_more(network, rgb):
    loss = PerceptualLoss(network)
    noise = torch.randn(rgb.shape, generator=torch.Generator().manual_seed(1))
    costs = [float(loss(rgb + amount * noise, rgb).mean()) for amount in (0.0, 0.05, 0.2)]
    assert costs[0] == 0 < costs[1] < costs[2]


@pytest.mark.parametrize("network", ["alex", "vgg"])
def test_only_what_is_weighted_counts(network, rgb):
    loss = PerceptualLoss(network)
    changed = rgb.clone()
    changed[..., :8, :8] = 0
    far = torch.zeros(2, 1, 72, 72)
    far[..., 56:, 56:] = 1
    # Four convolutions of AlexNet see 99 px, and so the changed corner from afar; but faintly.
    assert float(loss(changed, rgb, far).mean()) < 0.1 * float(loss(changed, rgb, 1 - far).mean())


def test_a_window_holds_its_hole_and_lies_in_the_picture():
    rng = np.random.default_rng(0)
    for _ in range(50):
        hole = np.zeros((100, 130), bool)
        y, x = rng.integers(100), rng.integers(130)
        hole[y, x] = True
        rows, columns = hole_window(hole, rng)
        assert hole[rows, columns].any()
        assert hole[rows, columns].shape == (WINDOW_PX, WINDOW_PX)


def test_every_pixel_of_a_window_is_seen(rgb):
    hole = torch.zeros(2, 1, 72, 72)
    hole[..., 30:40, 30:40] = 1
    gradients = []
    for looks in (Looks(1.0), Looks(0.0, 1.0)):
        composite = (0.9 * rgb).requires_grad_()
        loss, seen = looks(composite, rgb, hole, np.random.default_rng(0))
        loss.backward()
        gradients.append(composite.grad)
        assert float(seen) > 0
    alex, vgg = gradients
    assert torch.isfinite(alex).all() and torch.isfinite(vgg).all()
    assert (alex[:, :, 30:40, 30:40].abs().sum(1) > 0).all() and (vgg[0, :, 30:40, 30:40] != 0).all()
    # Every second picture is looked at by the VGG16.
    assert float(vgg[0].abs().sum()) > 0 == float(vgg[1].abs().sum())
    assert float(alex[1].abs().sum()) > 0


def test_the_networks_are_those_that_judge():
    """Where all stages are compared, one sees what the other does, but for the borders."""
    from kinephoto.measure.stlpips import StLpips

    draw = torch.Generator().manual_seed(2)
    wanted = (255 * torch.rand(3, 160, 160, generator=draw)).round() / 255
    found = wanted.clone()
    found[:, 70:90, 70:90] = 0.5019608
    judge, loss = StLpips("alex"), PerceptualLoss("alex")
    heads = sum(float(head.mean()) for head in judge._heads) / len(judge._heads)
    assert float(loss(found[None], wanted[None])[0]) * heads == pytest.approx(judge(found, wanted), rel=0.05)
