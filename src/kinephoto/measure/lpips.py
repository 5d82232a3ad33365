"""LPIPS: how different two pictures look to a network that was trained to tell what photos show.

(Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018; version 0.1.)
It is the distance of most published tables; a shift by a pixel, which nobody sees, costs it more than it should
(see ``stlpips``).

Its parts come from two places. The trunk is AlexNet or VGG16 as torchvision distributes them, in a file that the user
brings. The weights of its stages are files of the package ``torchmetrics``, whose code would import torchvision and
isn't run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from torch import Tensor, nn

from kinephoto.errors import InputError
from kinephoto.machine import usable_device
from kinephoto.measure.stlpips import LEAST_SIDE_PX, Network, StLpips
from kinephoto.measure.weight_files import read_weights

PACKAGE = "torchmetrics"
INSTALL = "pip install 'kinephoto[eval]'"

# ImageNet's mean and deviation, for pictures from -1 to 1 (ScalingLayer of the published code).
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)

VGG_WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def _convolution(
    before: int, after: int, side: int = 3, stride: int = 1, padding: int = 1
) -> list[nn.Module]:
    return [nn.Conv2d(before, after, side, stride, padding), nn.ReLU()]


def alex_stages() -> list[list[nn.Module]]:
    """AlexNet's convolutions (Krizhevsky, One weird trick for parallelizing convolutional neural networks, 2014)."""
    return [
        _convolution(3, 64, side=11, stride=4, padding=2),
        [nn.MaxPool2d(3, 2), *_convolution(64, 192, side=5, padding=2)],
        [nn.MaxPool2d(3, 2), *_convolution(192, 384)],
        _convolution(384, 256),
        _convolution(256, 256),
    ]


def vgg_stages(pool: Callable[[], nn.Module] = lambda: nn.MaxPool2d(2, 2)) -> list[list[nn.Module]]:
    """VGG16's convolutions (Simonyan & Zisserman, 2015), ``pool`` between the stages."""
    stages: list[list[nn.Module]] = []
    before = 3
    for widths in VGG_WIDTHS:
        stage = [pool()] if stages else []
        for one, other in itertools.pairwise((before, *widths)):
            stage += _convolution(one, other)
        stages.append(stage)
        before = widths[-1]
    return stages


# Where torchvision's state dicts count the convolutions: features.0.weight and so on.
PLACES = {"alex": (0, 3, 6, 8, 10), "vgg": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)}


class Lpips(StLpips):
    """The measure with one of its two networks; used as ``StLpips`` is.

    Args:
        network: "alex" (the one usually reported) or "vgg".
        trunk: torchvision's weights of that network, .pth or .safetensors.
        device: where it runs; None is the processor.

    Raises:
        InputError: the trunk can't be read or is another network's, torchmetrics is not installed, or there is no
            such network.
    """

    def __init__(self, network: Network, trunk: Path, device: str | None = None) -> None:
        if network not in PLACES:
            raise InputError(f"LPIPS has no network {network!r}; it has {' and '.join(PLACES)}.")
        self._device = usable_device(device)
        stages = alex_stages() if network == "alex" else vgg_stages()
        self._stages = trunk_of(stages, trunk, network).to(self._device)
        heads = torch.load(package_file(f"lpips_models/{network}.pth"), map_location="cpu", weights_only=True)
        self._heads = [
            heads[f"lin{stage}.model.1.weight"].flatten().to(self._device) for stage in range(len(stages))
        ]
        self._shift, self._scale = (
            torch.tensor(values)[:, None, None].to(self._device) for values in (SHIFT, SCALE)
        )

    def features(self, rgb: Tensor) -> list[Tensor]:
        """What the network sees in a picture; see ``StLpips.features``."""
        check_picture(rgb, "LPIPS")
        return super().features(rgb)


def check_picture(rgb: Tensor, name: str) -> None:
    """Raise InputError unless it is a picture [3, H, W] that is large enough for a network of five stages."""
    if rgb.ndim != 3 or rgb.shape[0] != 3 or min(rgb.shape[1:]) < LEAST_SIDE_PX:
        raise InputError(
            f"{name} needs a picture [3, H, W] of {LEAST_SIDE_PX} px or more a side; got {tuple(rgb.shape)}."
        )


def trunk_of(stages: Sequence[Sequence[nn.Module]], file: Path, network: Network) -> nn.ModuleList:
    """The stages with the weights of torchvision's network in their convolutions, ready to look.

    Raises:
        InputError: the file can't be read, or holds another network.
    """
    weights = read_weights(file)
    trunk = nn.ModuleList(nn.Sequential(*layers) for layers in stages)
    convolutions = [module for module in trunk.modules() if isinstance(module, nn.Conv2d)]
    for convolution, place in zip(convolutions, PLACES[network], strict=True):
        for name, own in convolution.named_parameters():
            stored = weights.get(f"features.{place}.{name}")
            if stored is None or stored.shape != own.shape:
                found = "missing" if stored is None else f"of shape {tuple(stored.shape)}"
                raise InputError(
                    f"{file} holds no {'AlexNet' if network == 'alex' else 'VGG16'} of torchvision: "
                    f"features.{place}.{name} is {found}, not of shape {tuple(own.shape)}."
                )
            own.data = stored.float()
    return trunk.eval().requires_grad_(False)


def package_file(name: str) -> Path:
    """Where torchmetrics keeps a file of weights; nothing of it is imported.

    Args:
        name: below its folder of picture metrics.

    Raises:
        InputError: it is not installed, or its version has no such file.
    """
    try:
        path = Path(str(distribution(PACKAGE).locate_file("torchmetrics/functional/image"))) / name
    except PackageNotFoundError:
        raise InputError(f"LPIPS and DISTS need weights in {PACKAGE}; install it by: {INSTALL}") from None
    if not path.is_file():
        raise InputError(f"{PACKAGE} has no file {name}; install a newer one by: {INSTALL}")
    return path
