"""Latents that are wrong in holes, as a decoder gets them: corrupted, or painted by an M-UNet that may learn too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinephoto.learn.diffusion import loss_of, noised
from kinephoto.learn.hole_crops import HoleBatch
from kinephoto.learn.painter_settings import PainterSettings
from kinephoto.learn.trainee import Trainee
from kinephoto.painter.autoencoder import PatchAutoencoder
from kinephoto.painter.munet import MUNet, resized
from kinephoto.painter.pipeline import MUNetPipeline

LatentsOf = Callable[[HoleBatch, int], Tensor]
"""Latents with wrong holes for a batch, drawn by a step's number."""

PAINTED_STEPS, PAINTED_STRENGTHS = 2, (0.35, 0.45, 0.55)
LEAST_PAINTED = 0.25
"""Latents whose patch holds at least this share of hole are corrupted in full, others by their share."""


def corrupted(truth: Tensor, filled: Tensor, known: Tensor, generator: torch.Generator) -> Tensor:
    """Latents as a painter might give them: the truth where known, between it and the fill in holes, noised.

    Args:
        truth: [B, C, h, w], of the photo.
        filled: [B, C, h, w], of the filled picture.
        known: [B, 1, h, w] in [0, 1], the share of each patch that is known.
        generator: of the randomness.
    """
    draw = torch.rand((3, len(truth), 1, 1, 1), generator=generator).to(truth.device)
    amount, noise = draw[0], 0.5 * draw[1].square()
    wrong = torch.randn(truth.shape, generator=generator).to(truth.device)
    hole = ((1 - known) / LEAST_PAINTED).clamp(0, 1)
    return filled + hole * (amount * (truth - filled) + noise * wrong)


class Corrupted:
    """Latents as a painter might give them, made from the truth; see ``corrupted``."""

    def __init__(self, net: PatchAutoencoder, seed: int) -> None:
        self._net, self._seed = net, seed

    @torch.no_grad()
    def __call__(self, batch: HoleBatch, step: int) -> Tensor:
        """[B, C, h, w]."""
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + step)
        truth, filled = (self._net.code(2 * picture - 1) for picture in (batch.rgb, batch.filled))
        known = resized(batch.known[:, None].float(), truth.shape[-2:])
        return corrupted(truth, filled, known, generator)


class Painted:
    """Latents that a painter paints, from a random share of the timesteps on.

    Args:
        pipeline: with the same components.
        learns: its M-UNet does, too.
    """

    def __init__(self, pipeline: MUNetPipeline, learns: bool = False) -> None:
        self._pipeline, self.learns = pipeline, learns
        self._weighing = PainterSettings(photos=Path())
        self._trainee = Trainee(pipeline.unet, None)
        pipeline.unet.requires_grad_(learns)

    def __call__(self, batch: HoleBatch, step: int) -> Tensor:
        """[B, C, h, w]."""
        strength = float(np.random.default_rng((step, 3)).choice(PAINTED_STRENGTHS))
        seeds = [step * len(batch.names) + i for i in range(len(batch.names))]
        return self._pipeline.paint_latents(
            batch.rgb,
            batch.known,
            fill=batch.filled,
            steps=PAINTED_STEPS,
            strength=strength,
            seeds=seeds,
            learns=self.learns and torch.is_grad_enabled(),
        )

    @property
    def unet(self) -> MUNet:
        """What may learn."""
        return self._pipeline.unet

    def own_loss(self, batch: HoleBatch, keys: Sequence[tuple[int, ...]]) -> Tensor:
        """Eq. 11 without text, so that it still denoises from everywhere; see ``kinephoto.learn.diffusion``."""
        seen = noised(batch, keys, self._pipeline, {}, self._weighing)
        with torch.no_grad():
            encoder = self._pipeline.text_encoder
            states = None if encoder is None or seen.tokens is None else encoder(seen.tokens)[0]
        return loss_of(self._trainee, seen, states).mean()

    def with_autoencoder(self, net: PatchAutoencoder) -> MUNetPipeline:
        """The painter with another autoencoder, whose components must be the same."""
        self._pipeline.register_modules(vae=net)
        return self._pipeline
