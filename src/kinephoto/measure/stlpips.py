"""ST-LPIPS: how different two pictures look to a network that does not mind a shift of a pixel.

(Ghildyal & Liu, Shift-tolerant Perceptual Similarity Metric, ECCV 2022; the plain measure is Zhang et al., The
Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018.) Painted texture is never where
the true one was; PSNR punishes that, this does not.

The weights are files of the package ``stlpips-pytorch``. Its code is not run, as it imports torchvision.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinephoto.errors import InputError
from kinephoto.learn.perceptual import Network, halved, weights_file
from kinephoto.machine import usable_device
from kinephoto.measure.metrics import to_8bit

# A length of 0 must not divide a feature; the weights were trained with this value.
TINY = 1e-10
LEAST_SIDE_PX = 64


class Blur(nn.Module):
    """Halve a feature map after blurring it; see ``halved``."""

    def forward(self, features: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C, (h + 3) // 2, (w + 3) // 2]."""
        return halved(features)


def _convolutions(*channels: int, side: int = 3, padding: int = 1) -> list[nn.Module]:
    """Convolutions from each number of channels to the next, a ReLU after each."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(channels):
        layers += [nn.Conv2d(before, after, side, padding=padding), nn.ReLU()]
    return layers


def _alex() -> list[list[nn.Module]]:
    """AlexNet with every stride replaced by a blur; one list for each stage."""
    return [
        [nn.Conv2d(3, 64, 11, padding=2), Blur(), nn.ReLU()],
        [nn.MaxPool2d(3, 1), Blur(), *_convolutions(64, 192, side=5, padding=2)],
        [nn.MaxPool2d(3, 1), Blur(), *_convolutions(192, 384)],
        _convolutions(384, 256),
        _convolutions(256, 256),
    ]


def _vgg() -> list[list[nn.Module]]:
    """VGG16 likewise."""
    wider = [(64, 128, 128), (128, 256, 256, 256), (256, 512, 512, 512), (512, 512, 512, 512)]
    return [
        _convolutions(3, 64, 64),
        *([nn.MaxPool2d(2, 1), Blur(), *_convolutions(*channels)] for channels in wider),
    ]


STAGES = {"alex": _alex, "vgg": _vgg}


@dataclass(frozen=True, eq=False)
class Distance:
    """How far a picture is from another.

    Attributes:
        mean: over the whole picture, as ST-LPIPS is reported.
        map: [H, W] float32 on the CPU, each stage's distances brought to the picture's size. Its mean is
            ``mean`` but for the interpolation; take means of it over regions.
    """

    mean: float
    map: Tensor


class StLpips:
    """The measure with one of its two networks.

    Pictures are rounded to 8 bits, brought to -1 … 1, and there shifted and scaled per channel by the numbers
    that lie with the weights (what the networks have seen: ImageNet's mean and deviation).

    Args:
        network: "alex" (fast, the one usually reported) or "vgg".
        device: where it runs; None is the processor.

    Raises:
        InputError: the weights are not installed, or no such network.
    """

    def __init__(self, network: Network = "alex", device: str | None = None) -> None:
        if network not in STAGES:
            raise InputError(f"ST-LPIPS has no network {network!r}; it has {' and '.join(STAGES)}.")
        self._device = usable_device(device)
        weights = torch.load(weights_file(network), map_location="cpu", weights_only=True)
        self._stages = nn.ModuleList(nn.Sequential(*layers) for layers in STAGES[network]())
        _load(self._stages, weights)
        self._stages.to(self._device).eval().requires_grad_(False)
        heads = [weights[f"lin{stage}.model.1.weight"] for stage in range(len(self._stages))]
        self._heads = [head.flatten().to(self._device) for head in heads]
        self._shift = weights["scaling_layer.shift"].to(self._device)
        self._scale = weights["scaling_layer.scale"].to(self._device)

    def __call__(self, predicted: Tensor, true: Tensor) -> float:
        """The distance of two pictures [3, H, W] in [0, 1]: 0 for equal ones, about 1 for unlike ones."""
        return self.distance(predicted, self.features(true)).mean

    def distance_map(self, predicted: Tensor, true: Tensor) -> Tensor:
        """Where they differ, [H, W]; see ``Distance.map``."""
        return self.distance(predicted, self.features(true)).map

    @torch.no_grad()
    def features(self, rgb: Tensor) -> list[Tensor]:
        """What the network sees in a picture: keep it for the true one and compare many with it.

        Args:
            rgb: [3, H, W] in [0, 1], 64 px or more a side.

        Returns:
            For each of the five stages [C, h, w], each pixel's vector of length 1.

        Raises:
            InputError: a picture of another shape, or too small.
        """
        if rgb.ndim != 3 or rgb.shape[0] != 3 or min(rgb.shape[1:]) < LEAST_SIDE_PX:
            raise InputError(
                f"ST-LPIPS needs a picture [3, H, W] of {LEAST_SIDE_PX} px or more a side; got {tuple(rgb.shape)}."
            )
        seen = to_8bit(rgb).float().to(self._device)[None]
        seen = (2 * seen - 1 - self._shift) / self._scale
        found = []
        for stage in self._stages:
            seen = stage(seen)
            found.append((seen / (seen.norm(dim=1, keepdim=True) + TINY))[0])
        return found

    @torch.no_grad()
    def distance(self, predicted: Tensor, true_features: list[Tensor]) -> Distance:
        """How far a picture is from one whose features are known.

        Args:
            predicted: [3, H, W] in [0, 1].
            true_features: from ``features``, of a picture of the same size.

        Raises:
            InputError: the sizes differ.
        """
        hw = tuple(predicted.shape[1:])
        total, everywhere = 0.0, torch.zeros(hw)
        for found, true, head in zip(self.features(predicted), true_features, self._heads, strict=True):
            if found.shape != true.shape:
                raise InputError("ST-LPIPS compares two pictures of one size; these differ.")
            apart = torch.einsum("chw,c->hw", (found - true) ** 2, head)
            total += float(apart.mean())
            everywhere += F.interpolate(apart[None, None], hw, mode="bilinear", align_corners=False)[
                0, 0
            ].cpu()
        return Distance(total, everywhere)


def _load(stages: nn.ModuleList, weights: dict[str, Tensor]) -> None:
    """Fill the convolutions in order: the file counts layers through all stages, these in each anew."""
    stored = [
        (tensor, weights[name.removesuffix("weight") + "bias"])
        for name, tensor in weights.items()
        if name.startswith("net.") and name.endswith(".weight")
    ]
    convolutions = [module for module in stages.modules() if isinstance(module, nn.Conv2d)]
    for convolution, (weight, bias) in zip(convolutions, stored, strict=True):
        convolution.load_state_dict({"weight": weight, "bias": bias})
