"""DISTS: how different two pictures are in structure and texture, whatever lies where.

(Ding et al., Image Quality Assessment: Unifying Structure and Texture Similarity, 2020.) Means and covariances over the
whole of each of VGG16's feature maps are compared: another patch of the same grass costs little.

VGG16 is torchvision's, in a file that the user brings; the weights of its channels are a file of the package
``torchmetrics``, whose code would import torchvision and isn't run. Pictures are measured at their own size: the
authors' code reduces them to 256 px.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinephoto.errors import InputError
from kinephoto.machine import usable_device
from kinephoto.measure.lpips import check_picture, package_file, trunk_of, vgg_stages
from kinephoto.measure.metrics import to_8bit
from kinephoto.measure.stlpips import Distance
from kinephoto.scene.depthnet import RGB_DEVIATION, RGB_MEAN

# c1 and c2 of the paper: two channels without anything in them are alike.
TINY = 1e-6


class RootMeanSquare(nn.Module):
    """Halve a feature map: the root of the mean square, weighted by 1-2-1 (section 3.1, after Hénaff & Simoncelli)."""

    def forward(self, features: Tensor) -> Tensor:
        """[N, C, h, w] to [N, C, (h + 1) // 2, (w + 1) // 2]; the border is zero."""
        channels = features.shape[1]
        line = features.new_tensor([0.25, 0.5, 0.25])
        kernel = (line[:, None] * line).expand(channels, 1, 3, 3)
        return (F.conv2d(features**2, kernel, stride=2, padding=1, groups=channels) + 1e-12).sqrt()


class Dists:
    """The measure, used as ``StLpips`` is, but for whole pictures alone.

    Args:
        trunk: torchvision's weights of VGG16, .pth or .safetensors.
        device: where it runs; None is the processor.

    Raises:
        InputError: the trunk can't be read or is another network's, or torchmetrics (1.8 or newer) is not installed.
    """

    def __init__(self, trunk: Path, device: str | None = None) -> None:
        self._device = usable_device(device)
        self._stages = trunk_of(vgg_stages(RootMeanSquare), trunk, "vgg").to(self._device)
        shares = torch.load(package_file("dists_models/weights.pt"), map_location="cpu", weights_only=True)
        total = shares["alpha"].sum() + shares["beta"].sum()
        self._texture, self._structure = (
            (shares[name].flatten() / total).to(self._device) for name in ("alpha", "beta")
        )
        self._mean, self._deviation = (
            torch.tensor(values)[:, None, None].to(self._device) for values in (RGB_MEAN, RGB_DEVIATION)
        )

    def __call__(self, predicted: Tensor, true: Tensor) -> float:
        """The distance of two pictures [3, H, W] in [0, 1]: 0 for equal ones, less than 1 for others."""
        return self.distance(predicted, self.features(true)).mean

    @torch.no_grad()
    def features(self, rgb: Tensor) -> list[Tensor]:
        """What is compared of a picture: keep it for the true one and compare many with it.

        Args:
            rgb: [3, H, W] in [0, 1], 64 px or more a side; it is rounded to 8 bits.

        Returns:
            The picture itself and the five stages, [C, h, w] each.

        Raises:
            InputError: a picture of another shape, or too small.
        """
        check_picture(rgb, "DISTS")
        picture = to_8bit(rgb).float().to(self._device)
        found, seen = [picture], ((picture - self._mean) / self._deviation)[None]
        for stage in self._stages:
            seen = stage(seen)
            found.append(seen[0])
        return found

    @torch.no_grad()
    def distance(self, predicted: Tensor, true_features: list[Tensor]) -> Distance:
        """How far a picture is from one whose features are known.

        Args:
            predicted: [3, H, W] in [0, 1].
            true_features: from ``features``, of a picture of the same size.

        Returns:
            The distance; its map is NaN everywhere, since parts of a picture are not compared.

        Raises:
            InputError: the sizes differ.
        """
        alike = [_alike(x, y) for x, y in zip(self.features(predicted), true_features, strict=True)]
        texture, structure = (torch.cat(channels) for channels in zip(*alike, strict=True))
        distance = 1 - float(self._texture @ texture + self._structure @ structure)
        # Rounding leaves equal pictures at ±1e-7.
        return Distance(max(0.0, distance), torch.full(predicted.shape[1:], float("nan")))


def _alike(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """How alike the means (texture) and the courses (structure) of two feature maps are, [C] each, 1 for equal ones."""
    if x.shape != y.shape:
        raise InputError("DISTS compares two pictures of one size; these differ.")
    mean_x, mean_y = x.mean((1, 2)), y.mean((1, 2))
    away_x, away_y = x - mean_x[:, None, None], y - mean_y[:, None, None]
    both = (away_x * away_y).mean((1, 2))
    texture = (2 * mean_x * mean_y + TINY) / (mean_x**2 + mean_y**2 + TINY)
    return texture, (2 * both + TINY) / ((away_x**2).mean((1, 2)) + (away_y**2).mean((1, 2)) + TINY)
