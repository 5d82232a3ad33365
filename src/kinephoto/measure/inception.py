"""Inception v3, by which FID and IS are defined, from a file of weights that users bring.

(Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2016.) Weights of two kinds go by the
same names: torchvision's (1000 classes), and those that FID was published with, ported from TensorFlow (1008
classes), whose network pools otherwise in three places. Numbers are called FID and IS with the second alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.machine import usable_device
from kinephoto.measure.metrics import to_8bit
from kinephoto.measure.weight_files import read_weights

SIDE_PX = 299
PUBLISHED_CLASSES = 1008
NORM_EPSILON = 1e-3

# Branches of blocks: convolutions one after the other, "+" for two that see the same and stand side by side.
_A = ("branch1x1", "branch5x5_1 branch5x5_2", "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3")
_B = ("branch3x3", "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3")
_C = (
    "branch1x1",
    "branch7x7_1 branch7x7_2 branch7x7_3",
    "branch7x7dbl_1 branch7x7dbl_2 branch7x7dbl_3 branch7x7dbl_4 branch7x7dbl_5",
)
_D = ("branch3x3_1 branch3x3_2", "branch7x7x3_1 branch7x7x3_2 branch7x7x3_3 branch7x7x3_4")
_E = (
    "branch1x1",
    "branch3x3_1 branch3x3_2a+branch3x3_2b",
    "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3a+branch3x3dbl_3b",
)
BLOCKS = {
    **{f"Mixed_5{letter}": _A for letter in "bcd"},
    "Mixed_6a": _B,
    **{f"Mixed_6{letter}": _C for letter in "bcde"},
    "Mixed_7a": _D,
    **{f"Mixed_7{letter}": _E for letter in "bc"},
}
HALVING = (_B, _D)
"""Their last convolutions have stride 2, and beside them stands the largest of each 3 x 3."""


class Seen(NamedTuple):
    """What Inception sees in a picture: ``features`` [2048] and ``shares`` [classes], which add up to 1."""

    features: Tensor
    shares: Tensor


class Inception:
    """The network with the weights of a file.

    Args:
        file: a state dict with torchvision's names, .safetensors, or .pth and .pt as torch.save writes it.
        device: where it runs; None is the processor.

    Raises:
        InputError: the file can't be read, or holds other weights.
    """

    def __init__(self, file: Path, device: str | None = None) -> None:
        self._device = usable_device(device)
        weights = {name: value.float().to(self._device) for name, value in read_weights(file).items()}
        try:
            self._layers = {name: _folded(weights, name) for name in _convolutions()}
            self._last = weights["fc.weight"], weights["fc.bias"]
        except KeyError as error:
            raise InputError(
                f"{file} holds no Inception v3 with torchvision's names: {error.args[0]} is missing."
            ) from None
        self._is_published = len(self._last[1]) == PUBLISHED_CLASSES

    @property
    def numbers(self) -> tuple[str, str]:
        """What the distance of its features, and the score of its shares, may be called."""
        return ("fid", "is") if self._is_published else ("frechet_inception", "inception_score")

    @torch.no_grad()
    def __call__(self, rgb: Tensor) -> Seen:
        """What it sees in a picture [3, H, W] in [0, 1], squashed to 299 x 299; on the processor."""
        x = to_8bit(rgb).float().to(self._device)[None]
        x = 2 * F.interpolate(x, (SIDE_PX, SIDE_PX), mode="bilinear", align_corners=False) - 1
        x = self._convolved(x, "Conv2d_1a_3x3", stride=2, padded=False)
        x = self._convolved(x, "Conv2d_2a_3x3", padded=False)
        x = F.max_pool2d(self._convolved(x, "Conv2d_2b_3x3"), 3, 2)
        x = self._convolved(x, "Conv2d_3b_1x1")
        x = F.max_pool2d(self._convolved(x, "Conv2d_4a_3x3", padded=False), 3, 2)
        for name, branches in BLOCKS.items():
            x = self._block(x, name, branches)
        features = x.mean((2, 3))
        weight, bias = self._last
        # The published score leaves the last bias out, as its code does ("logits_unbiased" in torch-fidelity).
        logits = F.linear(features, weight, None if self._is_published else bias)
        return Seen(features[0].cpu(), logits.softmax(1)[0].cpu())

    def _block(self, x: Tensor, name: str, branches: tuple[str, ...]) -> Tensor:
        halving = branches in HALVING
        found = []
        for branch in branches:
            seen, steps = x, branch.split()
            for number, step in enumerate(steps, 1):
                halved = halving and number == len(steps)
                seen = torch.cat(
                    [
                        self._convolved(seen, f"{name}.{own}", stride=1 + halved, padded=not halved)
                        for own in step.split("+")
                    ],
                    1,
                )
            found.append(seen)
        if halving:
            return torch.cat([*found, F.max_pool2d(x, 3, 2)], 1)
        return torch.cat([*found, self._convolved(self._pooled(x, name), f"{name}.branch_pool")], 1)

    def _pooled(self, x: Tensor, name: str) -> Tensor:
        """Each 3 x 3, as the two kinds of weights were trained: with or without the border's zeros."""
        if self._is_published and name == "Mixed_7c":
            return F.max_pool2d(x, 3, 1, padding=1)
        return F.avg_pool2d(x, 3, 1, padding=1, count_include_pad=not self._is_published)

    def _convolved(self, x: Tensor, name: str, stride: int = 1, padded: bool = True) -> Tensor:
        weight, bias = self._layers[name]
        padding = [side // 2 if padded else 0 for side in weight.shape[2:]]
        return F.relu(F.conv2d(x, weight, bias, stride, padding))


def _convolutions() -> list[str]:
    """The names of all convolutions."""
    first = ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"]
    inside = [
        f"{name}.{own}"
        for name, branches in BLOCKS.items()
        for own in " ".join(branches).replace("+", " ").split()
    ]
    return first + inside + [f"{name}.branch_pool" for name, own in BLOCKS.items() if own not in HALVING]


def _folded(weights: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """A convolution's weight and bias with its batch normalisation in them."""
    scale = weights[f"{name}.bn.weight"] / (weights[f"{name}.bn.running_var"] + NORM_EPSILON).sqrt()
    bias = weights[f"{name}.bn.bias"] - weights[f"{name}.bn.running_mean"] * scale
    return weights[f"{name}.conv.weight"] * scale[:, None, None, None], bias
