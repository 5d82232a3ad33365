"""The built-in painter's autoencoder: patches to whitened principal components, and back by convolutions.

Encoding is linear and exact to compute: each 8×8 patch becomes its leading principal components, of unit
variance over photos. Decoding starts from the linear inverse, which shows the patches' borders, and repairs it
in view of the masked picture and of the mask at pixel precision, so that no block and no seam is left.

Letters: B pictures, H, W height and width, C components, P side of a patch in px.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Latents:
    """A distribution of zero width, as diffusers' autoencoders give one."""

    mean: Tensor

    def mode(self) -> Tensor:
        """[B, C, H / P, W / P]."""
        return self.mean

    def sample(self, generator: Any = None) -> Tensor:
        """The same as ``mode``."""
        return self.mean


@dataclass(frozen=True, eq=False)
class Encoded:
    """What ``encode`` gives: ``latent_dist``."""

    latent_dist: Latents


@dataclass(frozen=True, eq=False)
class Decoded:
    """What ``decode`` gives: ``sample``, [B, 3, H, W] in about [-1, 1]."""

    sample: Tensor


class ResidualBlock(nn.Module):
    """x + conv(SiLU(conv(x))), whose last convolution begins small.

    Without normalisation: over a picture with a small hole it would measure the picture (Lim et al., Enhanced deep
    residual networks for single image super-resolution, 2017, section 3.1).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.conv2.weight.mul_(0.5)

    def forward(self, x: Tensor) -> Tensor:
        """[B, F, h, w] -> the same shape."""
        return x + self.conv2(F.silu(self.conv1(x)))


class PatchAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers' own models do it
    """Principal components of patches, and a decoder that sees picture and mask.

    Args:
        latent_channels: C.
        patch_px: P, a multiple of 8.
        widths: channels of the decoder at 1/2, 1/4 and 1/8 of the picture's size.
        blocks: residual blocks at each of these sizes, on the way down and up.
        scaling_factor: the latents' deviation is its inverse, as diffusers has it.
        block_out_channels: tells diffusers' way of counting that P is 2 ** (its length - 1).
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 24,
        patch_px: int = 8,
        widths: tuple[int, ...] = (32, 64, 128),
        blocks: int = 2,
        scaling_factor: float = 1.0,
        block_out_channels: tuple[int, ...] = (1, 1, 1, 1),
    ) -> None:
        super().__init__()
        values = 3 * patch_px**2
        self.register_buffer("mean", torch.zeros(values))
        self.register_buffer("analysis", torch.zeros(latent_channels, values))
        self.register_buffer("synthesis", torch.zeros(values, latent_channels))
        fine, middle, coarse = widths
        self.enter = nn.Conv2d(4 * 7, fine, 3, padding=1)
        self.down_fine = _blocks(fine, blocks)
        self.to_middle = nn.Conv2d(4 * fine, middle, 1)
        self.down_middle = _blocks(middle, blocks)
        self.to_coarse = nn.Conv2d(4 * middle + latent_channels, coarse, 1)
        self.lowest = _blocks(coarse, 2 * blocks)
        self.from_coarse = nn.Conv2d(coarse, 4 * middle, 1)
        self.up_middle = _blocks(middle, blocks)
        self.from_middle = nn.Conv2d(middle, 4 * fine, 1)
        self.up_fine = _blocks(fine, blocks)
        self.leave = nn.Sequential(nn.SiLU(), nn.Conv2d(fine, 32, 3, padding=1))
        self.smooth = nn.Conv2d(8, 3, 3, padding=1)
        nn.init.normal_(self.smooth.weight, std=0.02)
        nn.init.zeros_(self.smooth.bias)  # type: ignore[arg-type]  # a convolution made here has a bias

    def code(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1], sides multiples of P -> [B, C, H / P, W / P] of unit deviation."""
        patches = F.pixel_unshuffle(x, self.config["patch_px"])
        return torch.einsum("cv,bvhw->bchw", self.analysis, patches - self.mean.view(1, -1, 1, 1))

    def encode(self, x: Tensor, return_dict: bool = True) -> Encoded | tuple[Latents]:
        """``code`` as diffusers' autoencoders give it."""
        latents = Latents(self.code(x))
        return Encoded(latents) if return_dict else (latents,)

    def linear(self, z: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, 3, P h, P w]: the best picture that the components alone give."""
        patches = torch.einsum("vc,bchw->bvhw", self.synthesis, z) + self.mean.view(1, -1, 1, 1)
        return F.pixel_shuffle(patches, self.config["patch_px"])

    def picture(self, z: Tensor, image: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """[B, C, h, w] -> [B, 3, P h, P w] in about [-1, 1].

        Args:
            z: as ``code`` gives them.
            image: [B, 3, P h, P w] in [-1, 1], what is known, its holes filled somehow; None: nothing.
            mask: [B, 1, P h, P w], 1 in the holes; None: everywhere.
        """
        base = self.linear(z)
        image = torch.zeros_like(base) if image is None else image
        mask = torch.ones_like(base[:, :1]) if mask is None else mask
        start = torch.lerp(image, base, mask)
        fine = self.down_fine(self.enter(F.pixel_unshuffle(torch.cat([start, image, mask], 1), 2)))
        middle = self.down_middle(self.to_middle(F.pixel_unshuffle(fine, 2)))
        coarse = torch.cat([F.pixel_unshuffle(middle, 2), z], 1)
        f = self.lowest(self.to_coarse(coarse))
        f = self.up_middle(middle + F.pixel_shuffle(self.from_coarse(f), 2))
        f = self.up_fine(fine + F.pixel_shuffle(self.from_middle(f), 2))
        return start + self.smooth(F.pixel_shuffle(self.leave(f), 2))

    def decode(
        self, z: Tensor, image: Tensor | None = None, mask: Tensor | None = None, return_dict: bool = True
    ) -> Decoded | tuple[Tensor]:
        """``picture`` as diffusers' autoencoders give it."""
        sample = self.picture(z, image, mask)
        return Decoded(sample) if return_dict else (sample,)

    @torch.no_grad()
    def fit_components(self, patches: Tensor) -> None:
        """Take the leading principal components of these patches as the code.

        Args:
            patches: [N, 3 P²], values in [-1, 1], as ``pixel_unshuffle`` orders them; N well above 3 P².
        """
        self.mean.copy_(patches.mean(0))
        centred = patches.double() - patches.double().mean(0)
        variance, axes = torch.linalg.eigh(centred.T @ centred / len(centred))
        count = self.config["latent_channels"]
        axes, deviation = axes.flip(1)[:, :count], variance.flip(0)[:count].clamp_min(1e-12).sqrt()
        self.analysis.copy_((axes / deviation).T)
        self.synthesis.copy_(axes * deviation)


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))
