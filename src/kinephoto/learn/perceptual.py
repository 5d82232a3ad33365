"""How different two pictures look to a network that knows things: a loss that asks for texture, not only for colour.

The convolutions are those of the wheel ``stlpips-pytorch`` (trained on ImageNet), put together as AlexNet and
VGG16 have them. The networks by which ``kinephoto evaluate`` judges share their weights, but look at every pixel
through blurs instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinephoto.errors import InputError
from kinephoto.painter.munet import resized

WHEEL, FOLDER = "stlpips-pytorch", "stlpips_pytorch/weights/vST0.0"

RGB_MEAN, RGB_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

ALEX_STRIDE_PX = 4

SEAM_PX = 8
"""How far around a hole the seam is looked at."""

WINDOW_PX = 64
"""Side of what the VGG16 sees."""

Network = Literal["alex", "vgg"]


@dataclass(frozen=True)
class Layer:
    """A convolution of a network, a ReLU after it.

    Attributes:
        name: in the file of weights.
        stride: in px.
        padding: in px, mirrored.
        pool: side of the pooling of stride 2 before it; 0: none.
        compared: whether its features are.
    """

    name: str
    stride: int = 1
    padding: int = 1
    pool: int = 0
    compared: bool = True


NETWORKS: dict[Network, tuple[Layer, ...]] = {
    "alex": (
        Layer("slice1.0", stride=4, padding=2),
        Layer("slice2.5", padding=2, pool=3),
        Layer("slice3.9", pool=3),
        Layer("slice4.11"),
    ),
    "vgg": (
        Layer("slice1.0", compared=False),
        Layer("slice1.2"),
        Layer("slice2.6", pool=2, compared=False),
        Layer("slice2.8"),
        Layer("slice3.12", pool=2, compared=False),
        Layer("slice3.14", compared=False),
        Layer("slice3.16"),
    ),
}
"""Of AlexNet four convolutions of five, cheap and blind to what lies between every fourth pixel; of VGG16 seven of
thirteen, which see every pixel and cost twenty times as much."""


class PerceptualLoss(nn.Module):
    """Mean squared difference of channel-normalised features, summed over layers (Zhang et al., LPIPS, 2018, Eq. 1).

    Args:
        network: of ``NETWORKS``.

    Raises:
        InputError: the wheel is not installed.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: Network = "alex") -> None:
        super().__init__()
        weights = _weights(network)
        self.layers = NETWORKS[network]
        self.convolutions = nn.ModuleList()
        for layer in self.layers:
            weight, bias = weights[f"net.{layer.name}.weight"], weights[f"net.{layer.name}.bias"]
            convolution = nn.Conv2d(
                weight.shape[1],
                weight.shape[0],
                weight.shape[2:],
                layer.stride,
                layer.padding,
                padding_mode="reflect",
            )
            convolution.load_state_dict({"weight": weight, "bias": bias})
            self.convolutions.append(convolution)
        self.register_buffer("mean", torch.tensor(RGB_MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(RGB_DEVIATION).view(1, 3, 1, 1))
        self.requires_grad_(False)

    def forward(self, found: Tensor, wanted: Tensor, weight: Tensor | None = None) -> Tensor:
        """[B] of how different the pictures are.

        Args:
            found: [B, 3, H, W] in [0, 1].
            wanted: the same.
            weight: [B, 1, H, W], how much each place counts; None: alike.
        """
        with torch.no_grad():
            theirs = self._features(wanted)
        total = found.new_zeros(len(found))
        for a, b in zip(self._features(found), theirs, strict=True):
            error = (a - b).square().sum(1, keepdim=True)
            if weight is None:
                total = total + error.mean((1, 2, 3))
            else:
                share = resized(weight, error.shape[-2:])
                total = total + (error * share).sum((1, 2, 3)) / share.sum((1, 2, 3)).clamp_min(1e-3)
        return total

    def _features(self, rgb: Tensor) -> list[Tensor]:
        x = (rgb - self.mean) / self.deviation
        found = []
        for layer, convolution in zip(self.layers, self.convolutions, strict=True):
            if layer.pool:
                x = F.max_pool2d(x, layer.pool, 2)
            x = F.relu(convolution(x))
            if layer.compared:
                found.append(x / (x.square().sum(1, keepdim=True) + 1e-8).sqrt())
        return found


class Looks:
    """How different composites look: to an AlexNet everywhere, to a VGG16 in windows at holes.

    Args:
        alex: weight of the AlexNet.
        vgg: weight of the VGG16; 0 leaves it out.
    """

    def __init__(self, alex: float, vgg: float = 0.0) -> None:
        self._weights = alex, vgg
        self.alex = PerceptualLoss()
        self.vgg = PerceptualLoss("vgg") if vgg else None

    def __call__(
        self, composite: Tensor, rgb: Tensor, hole: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """The weighted loss, and the AlexNet's part alone; both scalars.

        The AlexNet looks every fourth pixel; from where on is drawn, or what learns would learn a grid that it
        doesn't see. The VGG16 sees a window in every second picture, for it costs more than all else.

        Args:
            composite: [B, 3, H, W] in [0, 1].
            rgb: the same, the truth.
            hole: [B, 1, H, W], 1 in holes.
            rng: of places to look at.
        """
        top, left = rng.integers(ALEX_STRIDE_PX, size=2)
        near_hole = F.max_pool2d(hole, 2 * SEAM_PX + 1, 1, SEAM_PX)
        seen = self.alex(*(x[..., top:, left:] for x in (composite, rgb, near_hole))).mean()
        loss = self._weights[0] * seen
        if self.vgg is not None:
            parts = hole_windows(hole[::2], [x[::2] for x in (composite, rgb, near_hole)], rng)
            loss = loss + self._weights[1] * self.vgg(*parts).mean()
        return loss, seen.detach()

    def judged(self, composite: Tensor, rgb: Tensor, hole: Tensor) -> dict[str, Tensor]:
        """[B] by each network: the whole crop to the AlexNet, a window at the hole to the VGG16."""
        found = {"alex": self.alex(composite, rgb)}
        if self.vgg is not None:
            found["vgg"] = self.vgg(*hole_windows(hole, [composite, rgb], np.random.default_rng(0)))
        return found


def hole_windows(hole: Tensor, pictures: Sequence[Tensor], rng: np.random.Generator) -> list[Tensor]:
    """Of each picture [B, C, H, W] a window at its hole [B, 1, H, W], the same of all."""
    windows = [hole_window(each, rng) for each in hole[:, 0].cpu().numpy()]
    return [
        torch.stack([picture[(..., *window)] for picture, window in zip(batch, windows, strict=True)])
        for batch in pictures
    ]


def hole_window(hole: np.ndarray, rng: np.random.Generator) -> tuple[slice, slice]:
    """A window of ``WINDOW_PX`` around a random hole pixel, inside the picture.

    Args:
        hole: [H, W], not 0 in holes; without one the window lies anywhere.
        rng: of the place.
    """
    ys, xs = np.nonzero(hole) if hole.any() else np.nonzero(hole == 0)
    at = rng.integers(len(ys))
    middle = zip((ys[at], xs[at]), hole.shape, strict=True)
    first = [int(np.clip(place - WINDOW_PX // 2, 0, max(0, side - WINDOW_PX))) for place, side in middle]
    return slice(first[0], first[0] + WINDOW_PX), slice(first[1], first[1] + WINDOW_PX)


def _weights(network: Network) -> dict[str, Any]:
    try:
        path = distribution(WHEEL).locate_file(f"{FOLDER}/{network}_shift_tolerant.pth")
    except PackageNotFoundError:
        raise InputError(
            f"The perceptual loss takes its network from {WHEEL}: pip install --no-deps {WHEEL}==0.0.2"
        ) from None
    return torch.load(str(path), weights_only=True, map_location="cpu")
