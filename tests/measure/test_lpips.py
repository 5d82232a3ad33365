from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from kinephoto.errors import InputError
from kinephoto.measure import lpips
from kinephoto.measure.dists import Dists
from kinephoto.measure.lpips import Lpips
from kinephoto.measure.photos import read_rgb
from kinephoto.measure.weight_files import read_weights


def vgg16() -> nn.Sequential:
    """VGG16's features as torchvision lays them out, with weights that nobody trained."""
    layers, before = [], 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers)


def alexnet() -> nn.Sequential:
    """AlexNet's likewise."""
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
    )


@pytest.fixture(scope="module")
def trunks(tmp_path_factory):
    """The two networks, and files of their weights as torchvision's are: one of each kind."""
    folder = tmp_path_factory.mktemp("trunks")
    torch.manual_seed(0)
    made = {"alex": alexnet(), "vgg": vgg16()}
    for name, net in made.items():
        for layer in net:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)  # else nothing is left after a few layers
                nn.init.normal_(layer.bias, std=0.1)
        weights = {f"features.{key}": value.contiguous() for key, value in net.state_dict().items()}
        weights["classifier.6.bias"] = torch.zeros(1000)
        if name == "alex":
            torch.save(weights, folder / "alex.pth")
        else:
            save_file(weights, folder / "vgg.safetensors")
    return made, {"alex": folder / "alex.pth", "vgg": folder / "vgg.safetensors"}


@pytest.fixture
def rgb(example_photo, tmp_path) -> torch.Tensor:
    """A face, 72×80 px."""
    with Image.open(example_photo) as picture:
        picture.crop((160, 40, 304, 200)).resize((72, 80)).save(tmp_path / "face.png")
    return read_rgb(tmp_path / "face.png")


def noisy(rgb: torch.Tensor, strength: float) -> torch.Tensor:
    noise = torch.randn(rgb.shape, generator=torch.Generator().manual_seed(1))
    return ((rgb + strength * noise).clamp(0, 1) * 255).round() / 255


def theirs(name: str):
    """A module of torchmetrics' picture metrics."""
    import importlib

    pytest.importorskip("torchmetrics", reason="torchmetrics comes with kinephoto[eval]")
    return importlib.import_module(f"torchmetrics.functional.image.{name}")


@pytest.mark.parametrize("network", ["alex", "vgg"])
def test_lpips_is_what_the_published_formula_gives(trunks, network, rgb, monkeypatch):
    """Theirs: torchmetrics' port of the published code, given our networks in place of torchvision's."""
    nets, files = trunks
    monkeypatch.setattr(theirs("lpips"), "_get_tv_model_features", lambda name, pretrained: nets[network])
    reference = theirs("lpips")._LPIPS(pretrained=True, net=network, eval_mode=True).eval()
    predicted = noisy(rgb, 0.1)
    with torch.no_grad():
        published = float(reference(predicted[None], rgb[None], normalize=True))
    # Theirs divides by the root of (1e-8 + the sum of squares), as it is trained for gradients.
    assert Lpips(network, files[network])(predicted, rgb) == pytest.approx(published, rel=1e-4)
    assert published > 0.01


def test_lpips_by_hand(trunks, rgb):
    """The first stage alone: its part of the distance, pixel by pixel."""
    nets, files = trunks
    measure = Lpips("alex", files["alex"])
    measure._heads[1:] = [0 * head for head in measure._heads[1:]]
    pictures = torch.stack([noisy(rgb, 0.1), rgb])
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    seen = (2 * pictures - 1 - shift[:, None, None]) / scale[:, None, None]
    with torch.no_grad():
        x, y = nets["alex"][:2](seen)
    total = 0.0
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            one, other = (each[:, row, column] / each[:, row, column].norm() for each in (x, y))
            total += float((measure._heads[0] * (one - other) ** 2).sum())
    assert measure(*pictures) == pytest.approx(total / (x.shape[1] * x.shape[2]), rel=1e-4)


def test_dists_is_what_the_published_formula_gives(trunks, rgb, monkeypatch):
    nets, files = trunks
    module = theirs("dists")
    stand_in = type("Net", (), {"features": nets["vgg"]})
    monkeypatch.setattr(module, "_TORCHVISION_AVAILABLE", True)
    monkeypatch.setattr(module, "vgg16", lambda weights=None: stand_in, raising=False)
    monkeypatch.setattr(module, "VGG16_Weights", type("W", (), {"DEFAULT": None}), raising=False)
    predicted = noisy(rgb, 0.1)
    with torch.no_grad():
        published = float(module.DISTSNetwork()(predicted[None], rgb[None]))
    # Variances as differences of large sums in theirs.
    assert Dists(files["vgg"])(predicted, rgb) == pytest.approx(published, abs=1e-4)
    assert published > 0.01


@pytest.fixture(params=["alex", "vgg", "dists"])
def measure(request, trunks):
    _, files = trunks
    return Dists(files["vgg"]) if request.param == "dists" else Lpips(request.param, files[request.param])


def test_equal_pictures_are_at_distance_0_and_more_noise_is_farther(measure, rgb):
    # Sums of many thousand float32 numbers.
    assert measure(rgb, rgb) == pytest.approx(0, abs=1e-5)
    near, middle, far = (measure(noisy(rgb, strength), rgb) for strength in (0.02, 0.08, 0.3))
    assert 1e-5 < near < middle < far


def test_it_is_used_as_st_lpips_is(measure, rgb):
    spoilt = rgb.clone()
    spoilt[:, 4:30, 4:30] = noisy(rgb, 0.3)[:, 4:30, 4:30]
    distance = measure.distance(spoilt, measure.features(rgb))
    assert distance.mean == measure(spoilt, rgb)
    assert distance.map.shape == rgb.shape[1:]
    if isinstance(measure, Dists):
        assert distance.map.isnan().all()
    else:
        assert float(distance.map.mean()) == pytest.approx(distance.mean, rel=0.1)  # interpolation
        assert distance.map[4:30, 4:30].mean() > 5 * distance.map[60:, 40:].mean()


def test_pictures_it_cannot_compare_are_refused_in_one_sentence(measure, rgb):
    with pytest.raises(InputError, match="64 px or more"):
        measure(rgb[:, :40], rgb[:, :40])
    with pytest.raises(InputError, match="one size"):
        measure(rgb[:, :64], rgb)


def test_files_that_are_no_trunk_are_refused_in_one_sentence(trunks, tmp_path):
    _, files = trunks
    with pytest.raises(InputError, match="holds no VGG16 of torchvision: features.0.weight is of shape"):
        Lpips("vgg", files["alex"])
    with pytest.raises(InputError, match="holds no AlexNet of torchvision"):
        Lpips("alex", files["vgg"])
    with pytest.raises(InputError, match="no file of weights"):
        Lpips("alex", tmp_path / "absent.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(InputError, match="unsafe or broken"):
        Dists(tmp_path / "text.pth")
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(InputError, match="broken"):
        Dists(tmp_path / "text.safetensors")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(InputError, match="no state dict"):
        Lpips("alex", tmp_path / "list.pth")
    with pytest.raises(InputError, match="alex and vgg"):
        Lpips("squeeze", files["alex"])


def test_a_file_that_would_run_something_is_not_run(tmp_path):
    class Unsafe:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    torch.save({"features.0.weight": Unsafe()}, tmp_path / "unsafe.pth")
    with pytest.raises(InputError, match="unsafe or broken"):
        read_weights(tmp_path / "unsafe.pth")
    assert not (tmp_path / "ran").exists()


def test_without_torchmetrics_it_says_how_to_get_it(trunks, monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(lpips, "distribution", absent)
    with pytest.raises(InputError, match=r"pip install 'kinephoto\[eval\]'"):
        Lpips("alex", trunks[1]["alex"])
