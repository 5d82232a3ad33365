"""Distil the built-in depth network from a teacher's disparities.

Each step draws crops of photos with the teacher's disparity as the label. Two targets: the disparity itself,
normalised by the crop's median and mean deviation, with multi-scale gradient matching for the edges (Ranftl
et al., Towards Robust Monocular Depth Estimation, 2020, Eq. 6-11), and, while ``feature_steps`` last, the
teacher's own token features on the same crop, so that the network learns what things are and not only how far.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.learn.compress import Teacher, start_from_teacher
from kinephoto.learn.photos import Labelled, read_labelled, split_of
from kinephoto.scene.depthnet import DepthNet, builtin_weights, load_depthnet, save_depthnet

# Height and width of a step's crops, in tokens of 14 px, relative to the stage's square.
ASPECTS = ((1.0, 1.0), (0.88, 1.14), (1.14, 0.88))


class DistillSettings(BaseModel):
    """What a run of ``kinephoto train depth`` does."""

    photos: Path = Field(description="Folder with manifest.csv, photos/ and disparity/.")
    out: Path = Field(description="Folder for checkpoints, the log and the finished weights.")
    teacher: Path | None = Field(
        None, description="Folder of the teacher network, for features and --init teacher."
    )
    init: str = Field("builtin", description="builtin, teacher, scratch, or a file of weights.")
    steps: int = Field(12000, ge=1)
    feature_steps: int = Field(3000, ge=0, description="Steps that also match the teacher's features.")
    batch: int = Field(8, ge=1)
    lr: float = Field(
        4e-4, gt=0, description="Peak learning rate of the encoder; the decoder's is 2.5 times it."
    )
    tokens: tuple[int, ...] = Field(
        (14, 16, 20), description="Side of the crops in tokens, growing over the run."
    )
    ema: float = Field(0.999, ge=0, lt=1)
    seed: int = 0
    device: str = "cpu"
    threads: int = Field(2, ge=1)
    check_every: int = Field(500, ge=1, description="Steps between checks on the held-out photos.")
    half: bool = Field(True, description="bfloat16 where it helps.")


@dataclass(frozen=True)
class Progress:
    """Where a run stands after a step."""

    step: int
    steps: int
    loss: float
    held_out: float | None
    seconds: float


def load_photos(folder: Path, split: str) -> list[Labelled]:
    """All labelled photos of a split, in memory (about 0.6 MB each)."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda name: read_labelled(folder, name), split_of(folder, split)))


def random_crop(
    photo: Labelled, hw: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A random part of a photo at ``hw``: rgb [H, W, 3] float32 in [0, 1] and disparity [H, W] float32.

    Scale, aspect (by up to a sixth), mirror, exposure, contrast, colour, grey, blur and noise vary.
    """
    height, width = photo.code.shape
    aspect = hw[1] / hw[0] * math.exp(rng.uniform(-0.15, 0.15))
    tallest = min(height, width / aspect)
    rows = tallest * rng.uniform(0.55, 1.0) if rng.random() < 0.7 else tallest
    columns = rows * aspect
    # Rounding may leave a room of a hair below nothing.
    top, left = rng.uniform(0, max(0.0, height - rows)), rng.uniform(0, max(0.0, width - columns))
    if rng.random() < 0.5:
        corners = [[left, top], [left + columns, top], [left, top + rows]]
    else:
        corners = [[left + columns, top], [left, top], [left + columns, top + rows]]
    target = np.float32([[0, 0], [hw[1], 0], [0, hw[0]]])
    # Pixel centres at +0.5 on both sides; OpenCV's lie at whole numbers.
    warp = cv2.getAffineTransform(np.float32(corners) - 0.5, target - 0.5)
    source = photo.rgb
    if rows > 1.3 * hw[0]:
        source = cv2.GaussianBlur(source, (0, 0), 0.35 * rows / hw[0])
    rgb = cv2.warpAffine(source, warp, hw[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    code = cv2.warpAffine(photo.code, warp, hw[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return vary_colours(rgb.astype(np.float32) / 255, rng), np.square(code.astype(np.float32) / 255)


def vary_colours(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same picture as another camera and another light would have given it."""
    grey = rgb @ np.float32([0.299, 0.587, 0.114])
    saturation = 0.0 if rng.random() < 0.05 else rng.uniform(0.6, 1.4)
    rgb = grey[..., None] + saturation * (rgb - grey[..., None])
    rgb = np.clip(rgb * np.float32(rng.uniform(0.85, 1.15, 3)) * rng.uniform(0.75, 1.25), 0, 1)
    rgb = rgb ** np.float32(rng.uniform(0.75, 1.33))
    if rng.random() < 0.15:
        rgb = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.4, 1.5))
    if rng.random() < 0.2:
        rgb = rgb + rng.normal(0, rng.uniform(0.005, 0.03), rgb.shape).astype(np.float32)
    return np.clip(rgb, 0, 1).astype(np.float32)


def batches(
    photos: list[Labelled], settings: DistillSettings, first: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Steps ``first``, ``first + 1``, … as (step, rgb [B, 3, H, W], disparity [B, H, W]).

    Step n is the same whenever it is drawn: its random numbers come from (seed, n) alone.
    """

    def draw(step: int) -> tuple[int, Tensor, Tensor]:
        rng = np.random.default_rng((settings.seed, step))
        stage = settings.tokens[min(len(settings.tokens) - 1, step * len(settings.tokens) // settings.steps)]
        aspect = ASPECTS[rng.integers(len(ASPECTS))]
        hw = (round(stage * aspect[0]) * 14, round(stage * aspect[1]) * 14)
        chosen = rng.choice(len(photos), settings.batch, replace=len(photos) < settings.batch)
        pairs = [random_crop(photos[index], hw, rng) for index in chosen]
        rgb = torch.from_numpy(np.stack([pair[0] for pair in pairs])).permute(0, 3, 1, 2)
        return step, rgb.contiguous(), torch.from_numpy(np.stack([pair[1] for pair in pairs]))

    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(draw, step) for step in range(first, min(first + 3, settings.steps))]
        for step in range(first, settings.steps):
            current = ahead.pop(0).result()
            if step + 3 < settings.steps:
                ahead.append(pool.submit(draw, step + 3))
            yield current


def normalised(disparity: Tensor) -> Tensor:
    """[B, H, W] with median 0 and mean absolute deviation 1 (MiDaS, Eq. 6)."""
    flat = disparity.flatten(1)
    shift = flat.median(dim=1, keepdim=True).values
    scale = (flat - shift).abs().mean(dim=1, keepdim=True).clamp_min(1e-3)
    return ((flat - shift) / scale).view_as(disparity)


def aligned(found: Tensor, truth: Tensor) -> Tensor:
    """``found`` scaled and shifted to ``truth`` by least squares, each picture by itself; both [B, H, W]."""
    x, y = found.flatten(1), truth.flatten(1)
    mean_x, mean_y = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
    covariance = ((x - mean_x) * (y - mean_y)).mean(1, keepdim=True)
    slope = covariance / ((x - mean_x).square().mean(1, keepdim=True) + 1e-4)
    return (mean_y + slope * (x - mean_x)).view_as(found)


def gradient_loss(found: Tensor, truth: Tensor, scales: int = 4) -> Tensor:
    """Mean absolute difference of the gradients at 1, 1/2, 1/4, 1/8 of the size (MiDaS, Eq. 11)."""
    error = found - truth
    total = error.new_zeros(())
    for scale in range(scales):
        part = error[:, :: 2**scale, :: 2**scale]
        total = total + part.diff(dim=1).abs().mean() + part.diff(dim=2).abs().mean()
    return total


def distill_loss(found: Tensor, disparity: Tensor) -> Tensor:
    """Zero for a perfect answer: direct, scale-and-shift-invariant and gradient terms."""
    truth = normalised(disparity)
    # Very near things have a long tail; a bounded label keeps them from ruling the mean.
    truth = truth.clamp(-6, 6)
    fitted = aligned(found, truth)
    direct = (found - truth).abs().mean()
    invariant = (fitted - truth).abs().mean()
    return direct + 0.5 * invariant + 0.5 * gradient_loss(fitted, truth)


def feature_loss(found: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """Mean squared difference of normalised token features, the average over taps."""
    return torch.stack([F.mse_loss(a.float(), b.float()) for a, b in zip(found, wanted, strict=True)]).mean()


def learning_rate(step: int, settings: DistillSettings) -> float:
    """Share of the peak: linear warm-up over 200 steps, then half a cosine to a hundredth."""
    warm = min(1.0, (step + 1) / min(200, settings.steps))
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / settings.steps)))


@torch.inference_mode()
def held_out_correlation(net: DepthNet, photos: list[Labelled]) -> float:
    """Mean Pearson correlation of the network's and the teacher's disparity, at the photo's size."""
    scores = []
    for photo in photos:
        rgb = torch.from_numpy(photo.rgb).permute(2, 0, 1).float() / 255
        found = net.disparity(rgb.to(next(net.parameters()).device))
        found = F.interpolate(found[None, None], size=photo.code.shape, mode="bilinear")[0, 0]
        truth = np.square(photo.code.astype(np.float64) / 255)
        scores.append(np.corrcoef(found.flatten().numpy(), truth.flatten())[0, 1])
    return float(np.nanmean(scores))


def new_net(settings: DistillSettings, photos: list[Labelled], teacher: Teacher | None) -> DepthNet:
    """The network as ``settings.init`` asks for it."""
    torch.manual_seed(settings.seed)
    if settings.init == "builtin":
        return load_depthnet(builtin_weights()).train().requires_grad_(True)
    net = DepthNet()
    if settings.init == "scratch":
        return net
    if settings.init != "teacher":
        return load_depthnet(settings.init).train().requires_grad_(True)
    if teacher is None:
        raise InputError("--init teacher needs --teacher FOLDER.")
    rng = np.random.default_rng(settings.seed)
    chosen = rng.choice(len(photos), min(64, len(photos)), replace=False)
    crops = (random_crop(photos[index], (252, 252), rng)[0] for index in chosen)
    start_from_teacher(net, teacher, (torch.from_numpy(crop).permute(2, 0, 1)[None] for crop in crops))
    return net


def distill(settings: DistillSettings) -> Iterator[Progress]:
    """Train; yields after every step and stops early when closed.

    The newest state lies in ``out/last.pt`` and is resumed from when it is there; the averaged weights lie in
    ``out/depth.safetensors`` after every check. The log is ``out/log.jsonl``.
    """
    settings.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(settings.threads)
    device = torch.device(settings.device)
    photos = load_photos(settings.photos, "train")
    held_out = load_photos(settings.photos, "held-out")
    teacher = Teacher(settings.teacher) if settings.teacher else None
    net = new_net(settings, photos, teacher).to(device, memory_format=torch.channels_last)
    average = DepthNet(net.config).to(device, memory_format=torch.channels_last)
    average.load_state_dict(net.state_dict())
    average.eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(
        [
            {"params": net.encoder.parameters(), "lr": settings.lr, "scale": 1.0},
            {"params": net.decoder.parameters(), "lr": 2.5 * settings.lr, "scale": 2.5},
        ],
        weight_decay=0.02,
    )
    first, spent = 0, 0.0
    last = settings.out / "last.pt"
    if last.is_file():
        state = torch.load(last, map_location=device, weights_only=True)
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        first, spent = state["step"], state["seconds"]
    if teacher is not None:
        teacher = Teacher(settings.teacher, device) if device.type != "cpu" else teacher
        if settings.half:
            teacher.model.to(torch.bfloat16)
    began = time.perf_counter()
    log = (settings.out / "log.jsonl").open("a")
    try:
        for step, rgb, disparity in batches(photos, settings, first):
            for group in optimiser.param_groups:
                group["lr"] = settings.lr * group["scale"] * learning_rate(step, settings)
            loss = train_step(net, optimiser, rgb.to(device), disparity.to(device), step, teacher, settings)
            with torch.no_grad():
                decay = min(settings.ema, (step + 1) / (step + 10))
                for mean, value in zip(average.parameters(), net.parameters(), strict=True):
                    mean.lerp_(value, 1 - decay)
            done, score = step + 1, None
            seconds = spent + time.perf_counter() - began
            if done % settings.check_every == 0 or done == settings.steps:
                score = held_out_correlation(average, held_out)
                notes = {"steps": done, "seconds": round(seconds), "held_out_correlation": round(score, 4)}
                save_depthnet(average, settings.out / "depth.safetensors", notes)
                save_state(last, net, average, optimiser, done, seconds)
            progress = Progress(done, settings.steps, loss, score, seconds)
            if done % 50 == 0 or score is not None:
                log.write(json.dumps(progress.__dict__) + "\n")
                log.flush()
            yield progress
    finally:
        log.close()


def train_step(
    net: DepthNet,
    optimiser: torch.optim.Optimizer,
    rgb: Tensor,
    disparity: Tensor,
    step: int,
    teacher: Teacher | None,
    settings: DistillSettings,
) -> float:
    """One update; returns the loss without its feature part."""
    grid = (rgb.shape[-2] // 14, rgb.shape[-1] // 14)
    with torch.autocast(rgb.device.type, dtype=torch.bfloat16, enabled=settings.half):
        taps, normal = net.features(rgb, grid)
        found = net.decoder(taps, normal)
        features = None
        if teacher is not None and step < settings.feature_steps:
            features = feature_loss(taps, teacher.features(rgb))
    loss = distill_loss(found.float(), disparity)
    total = loss if features is None else loss + features
    optimiser.zero_grad(set_to_none=True)
    total.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach())


def save_state(path: Path, net: Any, average: Any, optimiser: Any, step: int, seconds: float) -> None:
    """The whole state of a run, replaced in one move so that a kill never leaves half a file."""
    state = {
        "net": net.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
        "seconds": seconds,
    }
    beside = path.with_suffix(".new")
    torch.save(state, beside)
    beside.replace(path)
