"""Random crops of labelled photos; a step's batch depends on the seed and the step's number alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
from torch import Tensor

from kinephoto.learn.distill_settings import DistillSettings
from kinephoto.learn.photos import Labelled

TOKEN_PX = 14
"""Side of the square that is a token, DINOv2's."""

ASPECTS = ((1.0, 1.0), (0.88, 1.14), (1.14, 0.88))
"""Height and width of a step's crops relative to the stage's square."""


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
    target = np.array([[0, 0], [hw[1], 0], [0, hw[0]]], np.float32)
    # Pixel centres at +0.5 on both sides; OpenCV's lie at whole numbers.
    warp = cv2.getAffineTransform(np.array(corners, np.float32) - 0.5, target - 0.5)
    source = photo.rgb
    if rows > 1.3 * hw[0]:
        source = cv2.GaussianBlur(source, (0, 0), 0.35 * rows / hw[0])
    rgb = cv2.warpAffine(source, warp, hw[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    code = cv2.warpAffine(photo.code, warp, hw[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return vary_colours(rgb.astype(np.float32) / 255, rng), np.square(code.astype(np.float32) / 255)


def vary_colours(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same picture as another camera and another light would have given it."""
    grey = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
    saturation = 0.0 if rng.random() < 0.05 else rng.uniform(0.6, 1.4)
    rgb = grey[..., None] + saturation * (rgb - grey[..., None])
    rgb = np.clip(rgb * rng.uniform(0.85, 1.15, 3).astype(np.float32) * rng.uniform(0.75, 1.25), 0, 1)
    rgb = rgb ** np.float32(rng.uniform(0.75, 1.33))
    if rng.random() < 0.15:
        rgb = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.4, 1.5))
    if rng.random() < 0.2:
        rgb = rgb + rng.normal(0, rng.uniform(0.005, 0.03), rgb.shape).astype(np.float32)
    return np.clip(rgb, 0, 1).astype(np.float32)


def mixed(pictures: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Pictures [B, H, W, 3], some with another one over them: whole and pale, or a part and opaque.

    A teacher that looks at the mixture itself has an answer for it, and few photos become many (Beyer et al.,
    Knowledge distillation: A good teacher is patient and consistent, 2022).
    """
    height, width = pictures.shape[1:3]
    weights = np.zeros((*pictures.shape[:3], 1), np.float32)
    for weight in weights:
        if rng.random() >= share:
            continue
        if rng.random() < 0.5:
            weight[:] = rng.uniform(0.05, 0.5)
            continue
        rows, columns = (round(side * rng.uniform(0.2, 0.6)) for side in (height, width))
        top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
        weight[top : top + rows, left : left + columns] = 1
    return pictures + weights * (np.roll(pictures, 1, axis=0) - pictures)


def draw_batch(photos: Sequence[Labelled], settings: DistillSettings, step: int) -> tuple[Tensor, Tensor]:
    """The crops of a step: rgb [B, 3, H, W] and disparity [B, H, W], from (seed, step) alone.

    With ``kept_steps`` they come again after so many steps, each time through all stages.
    """
    steps = settings.kept_steps or settings.steps
    step %= steps
    rng = np.random.default_rng((settings.seed, step))
    stage = settings.tokens[min(len(settings.tokens) - 1, step * len(settings.tokens) // steps)]
    aspect = ASPECTS[rng.integers(len(ASPECTS))]
    hw = (round(stage * aspect[0]) * TOKEN_PX, round(stage * aspect[1]) * TOKEN_PX)
    chosen = rng.choice(len(photos), settings.batch, replace=len(photos) < settings.batch)
    pairs = [random_crop(photos[index], hw, rng) for index in chosen]
    pictures = np.stack([pair[0] for pair in pairs])
    if settings.mix and step < settings.feature_steps:
        pictures = mixed(pictures, settings.mix, rng)
    rgb = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    return rgb.contiguous(), torch.from_numpy(np.stack([pair[1] for pair in pairs]))


def batches(
    photos: Sequence[Labelled], settings: DistillSettings, first: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Steps ``first``, ``first + 1``, … as (step, rgb, disparity), drawn three ahead; see ``draw_batch``."""
    with ThreadPoolExecutor(1) as pool:
        ahead = [
            pool.submit(draw_batch, photos, settings, step)
            for step in range(first, min(first + 3, settings.steps))
        ]
        for step in range(first, settings.steps):
            rgb, disparity = ahead.pop(0).result()
            if step + 3 < settings.steps:
                ahead.append(pool.submit(draw_batch, photos, settings, step + 3))
            yield step, rgb, disparity
