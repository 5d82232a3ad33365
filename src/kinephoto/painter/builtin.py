"""The built-in painter: an M-UNet that starts from a fill from the farther side and repaints it in a few steps."""

from __future__ import annotations

from functools import cached_property, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.machine import usable_device
from kinephoto.painter.door import OnStep
from kinephoto.painter.farther import nearest_from_farther_side
from kinephoto.painter.networks import quiet, said
from kinephoto.painter.scene_painting import coarse_to_fine
from kinephoto.painter.soften import softened

STEPS = 4
STRENGTH = 0.4
FINER_STEPS = 2
FINER_STRENGTH = 0.25
WIDEST_HOLE_PX = 48
"""Wider holes are painted in a smaller picture first: training has seen none of them."""

MOST_SMALLER = 0.95
"""Share of the sides from which on a smaller picture isn't worth its while."""

WIDTH_QUANTILE = 0.9
SMALLEST_SIDE_PX = 128
CALM_WINDOW_PX = 11
LEAST_CALM, MOST_CALM = 0.004, 0.012
"""Deviations of the fill around a place: below the first nothing is painted, above the second all."""

COLOUR_PX = 2.0
"""Deviation of the blur that takes speckles of colour from the painting (decision 5)."""

WINDOW_PX, MARGIN_PX = 768, 64


def builtin_folder() -> Path:
    """Where the weights lie."""
    return Path(str(files("kinephoto") / "weights" / "painter"))


class BuiltinPainter:
    """Paints with the weights that come along, or with those of a folder that ``kinephoto train painter`` made.

    Args:
        folder: of a ``MUNetPipeline``; None: the built-in one.
        device: such as "cuda"; None is the processor.
        steps: of the scheduler; None: 4. More take longer and change little.
        guidance: s of Eq. 12.
        on_step: called between the network's steps; what it raises stops the painting.
        strength: in (0, 1], from which share of the timesteps the fill is repainted; 1 starts from noise.

    Raises:
        InputError: the weights can't be read.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        device: str | None = None,
        steps: int | None = None,
        guidance: float = 0.0,
        on_step: OnStep = None,
        strength: float = STRENGTH,
    ) -> None:
        self.name = said(f"builtin:{folder}", str(folder)) if folder else "builtin"
        self._folder = folder or builtin_folder()
        self._device = usable_device(device)
        self._steps, self._scene_steps = STEPS if steps is None else steps, steps
        self._guidance, self._strength, self._on_step = guidance, strength, on_step
        if not (self._folder / "model_index.json").is_file():
            raise InputError(f"There is no painter in {self._folder}; kinephoto train painter makes one.")
        if self._steps < 1:
            raise InputError(f"The painter was given {self._steps} steps; it needs at least 1.")

    @cached_property
    def _pipeline(self) -> Any:
        with quiet():
            return partial(loaded(self._folder).to(self._device), on_step=self._on_step)

    def paint(
        self, rgb: Tensor, known: Tensor, disparity: Tensor, *, prompt: str | None = None, seed: int = 0
    ) -> Tensor:
        """See ``kinephoto.painter.Painter.paint``."""
        fill = nearest_from_farther_side(rgb, known, disparity)
        scale = self._scale(known)
        if scale < 1:
            coarse = self._coarse(rgb, known, disparity, scale, prompt, seed)
            painted = self._painted(rgb, known, coarse, FINER_STEPS, FINER_STRENGTH, prompt, seed)
        else:
            painted = self._painted(rgb, known, fill, self._steps, self._strength, prompt, seed)
        painted = softened(painted, known, colour_px=COLOUR_PX)
        return torch.lerp(painted, *calm_parts(fill, known))

    def paint_scene(self, rgb: Tensor, known: Tensor, *, prompt: str | None = None, seed: int = 0) -> Tensor:
        """See ``kinephoto.painter.scene_painting.ScenePainter``."""
        return coarse_to_fine(
            self._pipeline,
            rgb.cpu(),
            known.cpu(),
            prompt=prompt,
            seed=seed,
            guidance=self._guidance,
            steps=self._scene_steps,
        ).to(rgb)

    def _painted(
        self,
        rgb: Tensor,
        known: Tensor,
        fill: Tensor,
        steps: int,
        strength: float,
        prompt: str | None,
        seed: int,
    ) -> Tensor:
        painted = self._pipeline(
            rgb[None].float().cpu(),
            known[None].cpu(),
            fill=fill[None].float().cpu(),
            prompt=prompt,
            steps=steps,
            strength=strength,
            guidance=self._guidance,
            seed=seed,
            window_px=WINDOW_PX,
            margin_px=MARGIN_PX,
        )
        return painted[0].to(rgb)

    def _coarse(
        self, rgb: Tensor, known: Tensor, disparity: Tensor, scale: float, prompt: str | None, seed: int
    ) -> Tensor:
        """The holes as a smaller picture has them, at the picture's size."""
        hw = rgb.shape[1:]
        small_hw = [max(1, round(side * scale)) for side in hw]
        # Colours of the known alone: a hole's black must not bleed into its banks.
        share = F.interpolate(known[None, None].float(), small_hw, mode="area")
        small = F.interpolate((rgb * known)[None].float(), small_hw, mode="area") / share.clamp_min(1e-6)
        small_known = share[0, 0] > 0.5
        if not bool(small_known.any()):
            return nearest_from_farther_side(rgb, known, disparity)
        small_disparity = F.interpolate(disparity[None, None].float(), small_hw, mode="nearest-exact")[0, 0]
        small_rgb = (small[0] * small_known).to(rgb.dtype)
        painted = self.paint(small_rgb, small_known, small_disparity, prompt=prompt, seed=seed)
        large = F.interpolate(painted[None], tuple(hw), mode="bicubic", align_corners=False)[0].clamp(0, 1)
        return torch.where(known, rgb, large.to(rgb))

    def _scale(self, known: Tensor) -> float:
        """How much smaller the holes have to be for the widest of them to be no news, at most 1."""
        hole = np.pad((~known).byte().cpu().numpy(), 1, mode="edge")
        distance = cv2.distanceTransform(hole, cv2.DIST_L2, 3)[1:-1, 1:-1]
        # Along a hole's middle line lies half its width; elsewhere less.
        width = 2 * float(np.quantile(distance[hole[1:-1, 1:-1] > 0], WIDTH_QUANTILE))
        smallest = SMALLEST_SIDE_PX / min(known.shape)
        scale = max(WIDEST_HOLE_PX / max(width, 1.0), smallest, 0.25)
        # A picture that is hardly smaller has the same sides again, for ever.
        return scale if scale < MOST_SMALLER else 1.0


def calm_parts(fill: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The fill smoothed within the holes, and where that is the better painting: in a clear sky, on a plain wall.

    A network of this size leaves texture and a tint where there is none to see, and the eye sees it at once.

    Args:
        fill: [3, H, W].
        known: [H, W] bool.

    Returns:
        [3, H, W], and [1, H, W] in [0, 1]: 1 where the fill hardly varies around the place.
    """
    hole = (~known).cpu().numpy().astype(np.float32)
    values = fill.float().permute(1, 2, 0).cpu().numpy() * hole[..., None]
    window = (CALM_WINDOW_PX, CALM_WINDOW_PX)
    count = np.maximum(cv2.blur(hole, window), 1e-6)[..., None]
    mean = cv2.blur(values, window) / count
    variance = np.maximum(cv2.blur(values * values, window) / count - mean * mean, 0).mean(2)
    calm = (MOST_CALM - np.sqrt(variance)) / (MOST_CALM - LEAST_CALM)
    smoothed = torch.from_numpy(mean).permute(2, 0, 1).to(fill)
    return smoothed, torch.from_numpy(np.clip(calm, 0, 1) * hole)[None].to(fill)


def loaded(folder: Path) -> Any:
    """The ``MUNetPipeline`` of a folder in single precision, on the processor.

    Raises:
        InputError: there is none that can be read.
    """
    from kinephoto.painter.pipeline import MUNetPipeline

    with quiet():
        pipeline = MUNetPipeline.from_pretrained(folder)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.float().eval().requires_grad_(False)
    return pipeline
