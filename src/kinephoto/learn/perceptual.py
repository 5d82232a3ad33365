"""How different two pictures look to a network that knows things: a loss that asks for texture, not only for colour.

The convolutions are those of the wheel ``stlpips-pytorch`` (trained on ImageNet), put together as AlexNet and
VGG16, with each stride replaced by a blur (Ghildyal & Liu, Shift-tolerant Perceptual Similarity Metric, ECCV
2022): a network that looks at every fourth pixel lets a grid grow that it doesn't see. ``kinephoto evaluate``
judges by all stages of the same networks, so its ST-LPIPS is no independent judge of what has learnt from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinephoto.errors import InputError

WHEEL, FOLDER = "stlpips-pytorch", "stlpips_pytorch/weights/vST0.0"
INSTALL = f"pip install --no-deps {WHEEL}==0.0.2"

RGB_MEAN, RGB_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

SEAM_PX = 8
"""How far around a hole the seam is looked at."""

WINDOW_PX = 64
"""Side of what the networks see."""

Network = Literal["alex", "vgg"]


@dataclass(frozen=True)
class Layer:
    """A convolution of a network, a ReLU after it.

    Attributes:
        name: in the file of weights.
        padding: in px, mirrored.
        pool: side of a pooling before it, after which the picture is halved; 0: none.
        halves: the picture is halved after it.
        compared: whether its features are.
    """

    name: str
    padding: int = 1
    pool: int = 0
    halves: bool = False
    compared: bool = True


NETWORKS: dict[Network, tuple[Layer, ...]] = {
    "alex": (
        Layer("slice1.0", padding=2, halves=True),
        Layer("slice2.5", padding=2, pool=3),
        Layer("slice3.9", pool=3),
        Layer("slice4.11"),
        Layer("slice5.13"),
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
"""All of AlexNet, and of VGG16 seven convolutions of thirteen."""


def halved(features: Tensor) -> Tensor:
    """[N, C, h, w] to [N, C, (h + 3) // 2, (w + 3) // 2], blurred by 1-2-1; the border mirrors two pixels.

    So nothing hangs on which pixels are left.
    """
    channels = features.shape[1]
    line = features.new_tensor([0.25, 0.5, 0.25])
    kernel = (line[:, None] * line).expand(channels, 1, 3, 3)
    return F.conv2d(F.pad(features, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=channels)


class PerceptualLoss(nn.Module):
    """Squared difference of channel-normalised features, summed over layers (Zhang et al., LPIPS, 2018, Eq. 1).

    Each channel counts as much as people's judgements gave it, the mean over channels and layers being 1.

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
                padding=layer.padding,
                padding_mode="reflect",
            )
            convolution.load_state_dict({"weight": weight, "bias": bias})
            self.convolutions.append(convolution)
        # The layers compared are the leading ones of those that were weighted.
        compared = sum(layer.compared for layer in self.layers)
        self._heads = [weights[f"lin{stage}.model.1.weight"] for stage in range(compared)]
        scale = sum(float(head.mean()) for head in self._heads) / compared
        self._heads = [head / scale for head in self._heads]
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
        for a, b, head in zip(self._features(found), theirs, self._heads, strict=True):
            error = ((a - b).square() * head.to(a)).sum(1, keepdim=True)
            if weight is None:
                total = total + error.mean((1, 2, 3))
            else:
                share = F.adaptive_avg_pool2d(weight, error.shape[-2:])
                total = total + (error * share).sum((1, 2, 3)) / share.sum((1, 2, 3)).clamp_min(1e-3)
        return total

    def _features(self, rgb: Tensor) -> list[Tensor]:
        x = (rgb - self.mean) / self.deviation
        found = []
        for layer, convolution in zip(self.layers, self.convolutions, strict=True):
            if layer.pool:
                x = halved(F.max_pool2d(x, layer.pool, 1))
            x = convolution(x)
            x = F.relu(halved(x) if layer.halves else x)
            if layer.compared:
                found.append(x / (x.square().sum(1, keepdim=True) + 1e-8).sqrt())
        return found


class Looks:
    """How different composites look in windows at their holes, to an AlexNet and to a VGG16.

    Args:
        alex: weight of the AlexNet.
        vgg: weight of the VGG16, which sees every second picture; 0 leaves it out.
    """

    def __init__(self, alex: float, vgg: float = 0.0) -> None:
        self._weights = alex, vgg
        self.alex = PerceptualLoss()
        self.vgg = PerceptualLoss("vgg") if vgg else None

    def __call__(
        self, composite: Tensor, rgb: Tensor, hole: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """The weighted loss, and the AlexNet's part alone; both scalars.

        Args:
            composite: [B, 3, H, W] in [0, 1].
            rgb: the same, the truth.
            hole: [B, 1, H, W], 1 in holes.
            rng: of places to look at.
        """
        near_hole = F.max_pool2d(hole, 2 * SEAM_PX + 1, 1, SEAM_PX)
        parts = hole_windows(hole, [composite, rgb, near_hole], rng)
        seen = self.alex(*parts).mean()
        loss = self._weights[0] * seen
        if self.vgg is not None:
            loss = loss + self._weights[1] * self.vgg(*(part[::2] for part in parts)).mean()
        return loss, seen.detach()

    def judged(self, composite: Tensor, rgb: Tensor, hole: Tensor) -> dict[str, Tensor]:
        """[B] by each network, in a window at the hole."""
        parts = hole_windows(hole, [composite, rgb], np.random.default_rng(0))
        found = {"alex": self.alex(*parts)}
        if self.vgg is not None:
            found["vgg"] = self.vgg(*parts)
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


def weights_file(network: Network) -> Path:
    """Where the wheel keeps a network's weights; nothing of it is imported.

    Raises:
        InputError: it is not installed.
    """
    try:
        path = Path(str(distribution(WHEEL).locate_file(f"{FOLDER}/{network}_shift_tolerant.pth")))
    except PackageNotFoundError:
        raise InputError(
            f"The networks that see how pictures differ lie in {WHEEL}; install it by: {INSTALL}"
        ) from None
    if not path.is_file():
        raise InputError(f"{WHEEL} has no file {path.name}; install the version with it by: {INSTALL}")
    return path


def _weights(network: Network) -> dict[str, Any]:
    return torch.load(weights_file(network), weights_only=True, map_location="cpu")
