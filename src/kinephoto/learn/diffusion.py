"""What a step of training the painter is: noise, prediction, loss (Eq. 9 and 11), each crop from its own seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinephoto.learn.captions import caption_of
from kinephoto.learn.hole_crops import HoleBatch
from kinephoto.learn.painter_settings import PainterSettings
from kinephoto.painter.munet import resized
from kinephoto.painter.pipeline import MUNetPipeline


@dataclass(frozen=True, eq=False)
class Noised:
    """A batch as the network sees it, and what it should say.

    Attributes:
        z_t: [B, C, h, w].
        t: [B] int64.
        target: [B, C, h, w], ε or v.
        mask: [B, 1, h, w], M̃, the share that is known.
        masked: [B, C, h, w], z̃.
        weight: [B, 1, h, w], how much each latent counts; each crop's mean is its weight by min-SNR.
        tokens: [B, L] int64, or None without text.
    """

    z_t: Tensor
    t: Tensor
    target: Tensor
    mask: Tensor
    masked: Tensor
    weight: Tensor
    tokens: Tensor | None

    def to(self, device: torch.device) -> Noised:
        """The same on a device."""
        return Noised(*(None if part is None else part.to(device) for part in vars(self).values()))  # type: ignore[arg-type]


@torch.no_grad()
def noised(
    batch: HoleBatch,
    keys: Sequence[tuple[int, ...]],
    pipeline: MUNetPipeline,
    captions: Mapping[str, Sequence[str]],
    settings: PainterSettings,
) -> Noised:
    """Noise a batch; each crop's noise, timestep and caption depend on its key alone."""
    condition, scale = pipeline.config["condition"], pipeline.config["residual_scale"]
    shown = batch.filled if condition == "filled" else batch.rgb * batch.known[:, None]
    truth, masked = pipeline.encode(batch.rgb), pipeline.encode(shown)
    clean = truth if scale is None else (truth - masked) / scale
    mask = resized(batch.known[:, None].to(clean), clean.shape[-2:])

    shares = pipeline.scheduler.alphas_cumprod
    t, noise, texts = [], [], []
    for key, name in zip(keys, batch.names, strict=True):
        rng = np.random.default_rng((*key, 1))
        t.append(int(rng.integers(len(shares))))
        noise.append(torch.from_numpy(rng.standard_normal(clean.shape[1:], dtype=np.float32)))
        texts.append(caption_of(name, captions, rng.random(), settings.text_dropped))
    steps, drawn = torch.tensor(t), torch.stack(noise).to(clean)
    share = shares.to(clean)[steps.to(clean.device)].view(-1, 1, 1, 1)
    signal, deviation = share.sqrt(), (1 - share).sqrt()
    z_t = signal * clean + deviation * drawn
    is_v = pipeline.scheduler.config["prediction_type"] == "v_prediction"
    target = signal * drawn - deviation * clean if is_v else drawn
    weight = 1 + settings.hole_weight * (1 - mask)
    weight = weight / weight.mean((1, 2, 3), keepdim=True)
    if settings.min_snr:
        snr = share / (1 - share)
        limited = snr.clamp_max(settings.min_snr)
        weight = weight * limited / (snr + 1 if is_v else snr)
    return Noised(z_t, steps, target, mask, masked, weight, tokens_of(pipeline.tokenizer, texts))


def tokens_of(tokenizer: Any, texts: list[str]) -> Tensor | None:
    """[B, L] int64, padded and cut to the longest that the tokenizer takes."""
    if tokenizer is None:
        return None
    longest = tokenizer.model_max_length
    found = tokenizer(texts, padding="max_length", max_length=longest, truncation=True, return_tensors="pt")
    return found.input_ids


def loss_of(trainee: torch.nn.Module, seen: Noised, states: Tensor | None = None) -> Tensor:
    """[B], Eq. 11 for each crop: the weighted mean of squared errors.

    Args:
        trainee: a ``Trainee``, perhaps wrapped.
        seen: the batch.
        states: [B, L, D], text from an encoder that isn't trained.
    """
    found = trainee(seen.z_t, seen.t, seen.tokens, states, seen.mask, seen.masked)
    return ((found.float() - seen.target).square() * seen.weight).mean((1, 2, 3))
