from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest
import torch
from PIL import Image

from kinephoto.errors import InputError
from kinephoto.learn import perceptual
from kinephoto.measure.metrics import psnr
from kinephoto.measure.photos import read_rgb
from kinephoto.measure.stlpips import StLpips


def loaded(network) -> StLpips:
    try:
        return StLpips(network)
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(params=["alex", "vgg"])
def measure(request) -> StLpips:
    return loaded(request.param)


@pytest.fixture
def rgb(example_photo, tmp_path) -> torch.Tensor:
    """A face, 96×120 px."""
    with Image.open(example_photo) as picture:
        picture.crop((160, 40, 304, 220)).resize((96, 120)).save(tmp_path / "face.png")
    return read_rgb(tmp_path / "face.png")


def noisy(rgb: torch.Tensor, strength: float) -> torch.Tensor:
    return (rgb + strength * torch.randn(rgb.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)


def test_equal_pictures_are_at_distance_0_and_more_noise_is_farther(measure, rgb):
    assert measure(rgb, rgb) == 0
    near, middle, far = (measure(noisy(rgb, strength), rgb) for strength in (0.02, 0.08, 0.3))
    assert 0 < near < middle < far


def test_a_shift_by_a_pixel_costs_much_less_than_noise_of_the_same_psnr(measure, rgb):
    true, shifted = rgb[:, :, 1:], rgb[:, :, :-1]
    noise = noisy(true, 10 ** (-psnr(shifted, true) / 20))
    assert psnr(noise, true) == pytest.approx(psnr(shifted, true), abs=1.5)
    # Without its blurs AlexNet would find half as much in the shift as in the noise.
    assert measure(shifted, true) < measure(noise, true) / 10


def test_the_map_says_where_the_pictures_differ_and_its_mean_is_the_distance(measure, rgb):
    spoilt = rgb.clone()
    spoilt[:, 8:40, 8:40] = noisy(rgb, 0.3)[:, 8:40, 8:40]
    distance = measure.distance(spoilt, measure.features(rgb))
    assert distance.map.shape == rgb.shape[1:]
    assert float(distance.map.mean()) == pytest.approx(distance.mean, rel=0.02)  # interpolation
    assert distance.map[8:40, 8:40].mean() > 20 * distance.map[80:, 60:].mean()
    assert torch.equal(measure.distance_map(spoilt, rgb), distance.map)


def test_pictures_are_rounded_to_8_bits_first(measure, rgb):
    assert measure((rgb + 0.4 / 255).clamp(0, 1), rgb) == 0


@pytest.mark.parametrize(("network", "published"), [("alex", 0.7219963), ("vgg", 0.7877543)])
def test_the_numbers_are_those_of_the_published_code(network, published):
    """Theirs: ``LPIPS(net=network, variant="shift_tolerant")`` of stlpips-pytorch 0.0.2 on this ramp."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 72), torch.linspace(0, 1, 80), indexing="ij")
    ramp = torch.stack([rows, columns, rows * columns])
    # Sums of many thousand float32 products, in another order.
    assert loaded(network)(ramp.flip(2), ramp) == pytest.approx(published, abs=1e-5)


def test_pictures_it_cannot_compare_are_refused_in_one_sentence(measure, rgb):
    with pytest.raises(InputError, match="64 px or more"):
        measure(rgb[:, :40], rgb[:, :40])
    with pytest.raises(InputError, match="one size"):
        measure(rgb[:, :, :70], rgb[:, :90])


def test_without_the_weights_it_says_how_to_get_them(monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(perceptual, "distribution", absent)
    with pytest.raises(InputError, match="pip install --no-deps stlpips-pytorch==0.0.2"):
        StLpips("alex")


def test_there_are_two_networks():
    with pytest.raises(InputError, match="alex and vgg"):
        StLpips("squeeze")
