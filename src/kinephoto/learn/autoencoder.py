"""Train the built-in painter's autoencoder: components from patches, the decoder on pictures with holes.

The decoder learns from latents that are wrong in holes, as a painter's are: the truth mixed with what a plain
fill gives and with noise; or, once there is a painter, from the latents that it paints. The painter's M-UNet can
learn with it: what the decoder's picture lacks goes back through the last of its steps, beside the loss that it
learnt by.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.interrupts import held_back
from kinephoto.learn.autoencoder_settings import AutoencoderSettings
from kinephoto.learn.crop_sources import Crops
from kinephoto.learn.distill import PhotoSet, Progress, read_photos
from kinephoto.learn.hole_crops import HoleBatch, drawn_ahead
from kinephoto.learn.labels import BuiltinDepth
from kinephoto.learn.painter_state import save_painter
from kinephoto.learn.perceptual import Looks
from kinephoto.learn.photos import Labelled
from kinephoto.learn.schedule import follow, warm_cosine
from kinephoto.learn.wrong_latents import Corrupted, LatentsOf, Painted
from kinephoto.machine import bfloat16_helps
from kinephoto.painter.autoencoder import PatchAutoencoder
from kinephoto.painter.builtin import loaded
from kinephoto.painter.networks import quiet

PATCHES_PER_PHOTO = 40
CHECK_CROPS = 96
"""Held-out crops, always the same, by which a run is judged."""
CHROMA_WEIGHT, ALTERNATING_WEIGHT = 2.0, 4.0


def fit_components(net: PatchAutoencoder, photos: Sequence[Labelled], seed: int) -> None:
    """Give the network the principal components of random patches of these photos."""
    rng = np.random.default_rng(seed)
    side = net.config["patch_px"]
    patches = []
    for photo in photos:
        height, width = photo.code.shape
        for _ in range(PATCHES_PER_PHOTO):
            y, x = rng.integers(height - side + 1), rng.integers(width - side + 1)
            patches.append(photo.rgb[y : y + side, x : x + side])
    pictures = torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2).float() / 127.5 - 1
    net.fit_components(F.pixel_unshuffle(pictures, side).flatten(1))


def decoder_loss(
    net: PatchAutoencoder,
    batch: HoleBatch,
    z: Tensor,
    looks: Looks,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """The loss, and how different the composites look to an AlexNet; both scalars.

    Absolute error of the hole, its tint more than its brightness, since the perceptual networks hardly see that,
    and most of all what alternates from pixel to pixel, which they take for texture; a little of the known, for a
    seam must meet something; and how the composite looks, its seam in view.
    """
    hole = (~batch.known)[:, None].float()
    decoded = net.picture(z, 2 * batch.filled - 1, hole)
    found = decoded.float() / 2 + 0.5
    error = (found - batch.rgb).abs() + CHROMA_WEIGHT * (chroma(found) - chroma(batch.rgb)).abs()
    combs = (alternating(found - batch.rgb).abs() for alternating in (across, down))
    error = error + ALTERNATING_WEIGHT * sum(combs)
    absolute = (error * (hole + 0.1)).mean((1, 2, 3)) / (hole + 0.1).mean((1, 2, 3))
    composite = torch.lerp(batch.rgb, found, hole)
    looked, seen = looks(composite, batch.rgb, hole, rng)
    return absolute.mean() + looked, seen


def chroma(rgb: Tensor) -> Tensor:
    """[B, 3, H, W] -> the same without its brightness."""
    return rgb - rgb.mean(1, keepdim=True)


def across(rgb: Tensor) -> Tensor:
    """[B, 3, H, W] -> the same without what doesn't alternate from column to column: all of a comb, none of a slope."""
    padded = F.pad(rgb, (1, 1, 0, 0), mode="replicate")
    return (2 * rgb - padded[..., :-2] - padded[..., 2:]) / 4


def down(rgb: Tensor) -> Tensor:
    """``across`` from row to row."""
    return across(rgb.mT).mT


def train_autoencoder(settings: AutoencoderSettings) -> Generator[Progress, None, None]:
    """Train; yields for every photo read and after every step, and stops early when closed.

    The averaged weights lie in ``out/vae`` after every check, with a painter also in ``out/painter``, the painter
    with its new decoder; and the log in ``out/log.jsonl``. A run begins anew;
    ``init`` goes on from weights.

    Raises:
        InputError: the photos, the start or the painter can't be read, or the loss is no longer a number.
    """
    if settings.painter is None and settings.painter_lr:
        raise InputError(
            f"--painter-lr is {settings.painter_lr:g}, but no --painter is given that could learn."
        )
    photos = yield from read_photos(settings, BuiltinDepth())
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        yield from _train(settings, photos)
    finally:
        torch.set_num_threads(threads)


def _train(settings: AutoencoderSettings, photos: PhotoSet) -> Iterator[Progress]:
    torch.manual_seed(settings.seed)
    crops = Crops(settings, photos)
    net = _start(settings, photos.train)
    average = copy.deepcopy(net).eval().requires_grad_(False)
    groups: list[dict[str, Any]] = [{"params": list(net.parameters()), "peak": settings.lr}]
    latents: Corrupted | Painted
    averaged: Corrupted | Painted
    if settings.painter is None:
        latents = averaged = Corrupted(net, settings.seed)
    else:
        latents = averaged = Painted(loaded(settings.painter), learns=settings.painter_lr > 0)
        if latents.learns:
            averaged = Painted(loaded(settings.painter))
            groups.append({"params": list(latents.unet.parameters()), "peak": settings.painter_lr})
    optimiser = torch.optim.AdamW(groups, lr=settings.lr, weight_decay=0.01, betas=(0.9, 0.99))
    half = settings.half and bfloat16_helps()
    looks = Looks(settings.perceptual, settings.perceptual_vgg)
    check = [
        crops.batch("held-out", [(settings.seed, 7, k, i) for i in range(16)])
        for k in range(CHECK_CROPS // 16)
    ]
    settings.out.mkdir(parents=True, exist_ok=True)

    def keys(step: int) -> list[tuple[int, ...]]:
        return [(settings.seed, step, i) for i in range(settings.batch)]

    def draw(step: int) -> HoleBatch:
        return crops.batch("train", keys(step))

    began = time.perf_counter()
    for step, batch in enumerate(drawn_ahead(draw, 0, settings.steps)):
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * warm_cosine(step, settings.steps, 100, 0.02)
        with held_back("SIGINT"):
            rng = np.random.default_rng((settings.seed, step, 5))
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
                z = latents(batch, step)
                loss, seen = decoder_loss(net, batch, z, looks, rng)
                if isinstance(latents, Painted) and latents.learns:
                    loss = loss + latents.own_loss(batch, keys(step))
            value = float(loss.detach())
            if not math.isfinite(value):
                raise InputError(
                    f"The loss of step {step + 1} is {value}; use a smaller --lr than {settings.lr:g}."
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            for group in optimiser.param_groups:
                torch.nn.utils.clip_grad_norm_(group["params"], 1.0)
            optimiser.step()
            decay = min(settings.ema, (step + 1) / (step + 10))
            follow(average, net, decay)
            if isinstance(latents, Painted) and isinstance(averaged, Painted):
                follow(averaged.unet, latents.unet, decay)
        done, seconds = step + 1, time.perf_counter() - began
        line: dict[str, float] = {"step": done, "loss": value, "perceptual": float(seen), "seconds": seconds}
        if done % settings.check_every == 0 or done == settings.steps:
            line |= checked(average, check, looks, averaged)
            save_autoencoder(average, settings.out / "vae")
            if isinstance(averaged, Painted):
                save_painter(averaged.with_autoencoder(average), settings.out / "painter", whole=True)
        if done % 50 == 0 or "held_out" in line:
            with (settings.out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
        yield Progress(
            done, settings.steps, value, line.get("held_out"), seconds, skipped=len(photos.skipped)
        )


def save_autoencoder(net: PatchAutoencoder, folder: Path) -> None:
    """Write the weights as a folder that diffusers loads."""
    with quiet():
        net.save_pretrained(folder, safe_serialization=True)


@torch.no_grad()
def checked(
    net: PatchAutoencoder, batches: Sequence[HoleBatch], looks: Looks, latents: LatentsOf
) -> dict[str, float]:
    """PSNR in the hole, dB, and how different the composite of held-out crops looks, beside the plain fill's."""
    names = {"alex": "held_out", "vgg": "held_out_vgg"}
    seen: defaultdict[str, list[Tensor]] = defaultdict(list)
    errors: dict[str, list[Tensor]] = {"psnr_hole": [], "psnr_hole_fill": []}
    area: list[Tensor] = []
    for k, batch in enumerate(batches):
        hole = (~batch.known)[:, None].float()
        z = latents(batch, 10**9 + k)
        found = (net.picture(z, 2 * batch.filled - 1, hole).float() / 2 + 0.5).clamp(0, 1)
        for picture, of in ((found, ""), (batch.filled, "_fill")):
            composite = torch.lerp(batch.rgb, picture, hole)
            for network, apart in looks.judged(composite, batch.rgb, hole).items():
                seen[names[network] + of].append(apart)
            errors["psnr_hole" + of].append((composite - batch.rgb).square().mean(1).sum((1, 2)))
        area.append(hole.sum((1, 2, 3)))
    pixels = torch.cat(area)
    per_hole = {name: torch.cat(squares) / pixels for name, squares in errors.items()}
    return {name: float(torch.cat(values).mean()) for name, values in seen.items()} | {
        name: float((-10 * error.clamp_min(1e-6).log10()).mean()) for name, error in per_hole.items()
    }


def _start(settings: AutoencoderSettings, photos: Sequence[Labelled]) -> PatchAutoencoder:
    if settings.init == "scratch":
        net = PatchAutoencoder()
        fit_components(net, photos, settings.seed)
        return net.train()
    place = Path(settings.init)
    if not (place / "config.json").is_file():
        raise InputError(f"--init is {settings.init}; it must be scratch or a folder of an autoencoder.")
    return (
        PatchAutoencoder.from_pretrained(place, use_safetensors=True, low_cpu_mem_usage=False).float().train()
    )
