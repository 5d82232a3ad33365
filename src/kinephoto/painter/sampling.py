"""Denoising step by step with any diffusers scheduler (Eq. 9 and 13), and window by window.

Letters: B pictures, C latent channels, h, w height and width of the latents or of a window, H, W of
the photo; z_t noisy latents, ᾱ_t the share of z_0's variance that is left at timestep t.
"""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from kinephoto.errors import InputError

PREDICTIONS = ("epsilon", "v_prediction", "sample")


@dataclass(frozen=True, eq=False)
class Step:
    """How far painting has come.

    Attributes:
        index: evaluations of the network that are done, from 0, before the first, to ``total``.
        total: how many there will be.
        picture: gives the painting as it stands, [B, 3, H, W] in [0, 1]; costs one decoding, so call
            it when it is wanted, before the next step is asked for. After the last step: the result.
    """

    index: int
    total: int
    picture: Callable[[], Tensor]


class Denoised(NamedTuple):
    """Where denoising stands after one evaluation of the network.

    Attributes:
        latents: [B, C, h, w], the scheduler's own z at the next timestep; the answer after the last.
        clean: [B, C, h, w], what the network now takes z_0 to be.
    """

    latents: Tensor
    clean: Tensor


class Sampler:
    """One run of a scheduler, which itself is left as it was.

    Args:
        scheduler: any diffusers scheduler of the variance-preserving family: DDPM as in the paper,
            DDIM, DPM-Solver++, Euler, Heun, and so on.
        steps: how many to take, >= 1; fewer only where there aren't so many timesteps.
        strength: in (0, 1], the share of the timesteps to go through, to half a step; 1 starts from
            pure noise.

    Attributes:
        timesteps: [n], falling; one per evaluation of the network, of which Heun takes two a step.

    Raises:
        InputError: strength or steps out of range, or a scheduler with other predictions.
    """

    def __init__(self, scheduler: Any, steps: int, strength: float = 1.0) -> None:
        if not 0 < strength <= 1:
            raise InputError(f"The strength is {strength}; it must be above 0 and at most 1.")
        if steps < 1:
            raise InputError(f"The number of steps is {steps}; it must be at least 1.")
        self._prediction = scheduler.config.get("prediction_type")
        if self._prediction not in PREDICTIONS or not hasattr(scheduler, "alphas_cumprod"):
            raise InputError(
                f"{type(scheduler).__name__} predicts {self._prediction!r}; only variance-preserving"
                f" schedulers that predict {', '.join(PREDICTIONS)} can be used."
            )
        self._strength = strength
        self._scheduler = copy.deepcopy(scheduler)
        trained = int(scheduler.config.num_train_timesteps)
        count = min(steps, max(1, round(strength * trained)))
        whole = min(trained, max(count, int(count / strength + 1e-6)))
        every = self._all_timesteps(whole, trained)
        while every.min() < 0:  # rounding in "trailing" gives some numbers of steps one too many
            whole -= 1
            every = self._all_timesteps(whole, trained)
        # Heun's timesteps come in pairs, of which the second begins a step.
        first = max(0, whole - count) * int(self._scheduler.order)
        self.timesteps: Tensor = every[first:]
        if first and hasattr(self._scheduler, "set_begin_index"):
            self._scheduler.set_begin_index(first)
        self._takes = set(inspect.signature(self._scheduler.step).parameters)

    def _all_timesteps(self, steps: int, trained: int) -> Tensor:
        """Those of the whole schedule; each step of the scheduler must lead from one to the next."""
        with warnings.catch_warnings():
            # diffusers makes arrays of tensors in a way that NumPy 2 frowns upon.
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            self._scheduler.set_timesteps(steps)
        if (
            isinstance(self._scheduler, DDIMScheduler)
            and self._scheduler.config.timestep_spacing != "leading"
        ):
            # Its step goes down by a whole number whatever the spacing, and would miss the next timestep.
            gap = trained // steps
            return (torch.arange(steps) * gap + gap - 1).flip(0)
        return self._scheduler.timesteps

    def start(self, noise: Tensor, clean: Tensor | None = None) -> Tensor:
        """z at the first timestep: pure noise, or ``clean`` noised (Eq. 9).

        Args:
            noise: [B, C, h, w], standard normal.
            clean: [B, C, h, w], latents to start warm from; not looked at if the strength is 1.

        Raises:
            InputError: the strength is below 1 and there are no latents to start from.
        """
        if self._strength == 1:
            return noise * float(self._scheduler.init_noise_sigma)
        if clean is None:
            raise InputError(f"A strength of {self._strength} needs a fill to start from; give one or use 1.")
        first = self.timesteps[:1].repeat(noise.shape[0])
        return self._scheduler.add_noise(clean, noise, first)

    def run(
        self,
        latents: Tensor,
        predict: Callable[[Tensor, Tensor], Tensor],
        generators: Sequence[torch.Generator] | None = None,
    ) -> Iterator[Denoised]:
        """Denoise, one value per timestep; closing the iterator cancels.

        Args:
            latents: [B, C, h, w], from ``start``.
            predict: gives ε or v for (z_t, t); z_t is scaled so that its variance is the network's.
            generators: one per picture, for schedulers that add noise (Σ^½ n in Eq. 13).
        """
        further: dict[str, Any] = {"return_dict": False}
        if generators is not None and "generator" in self._takes:
            further["generator"] = list(generators)
        for t in self.timesteps:
            seen = self._scheduler.scale_model_input(latents, t)
            prediction = predict(seen, t)
            latents = self._scheduler.step(prediction, t, latents, **further)[0]
            yield Denoised(latents, self._clean(seen, prediction, t))

    def _clean(self, seen: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """z_0 from z_t and the prediction, by Eq. 9 solved for it."""
        share = float(self._scheduler.alphas_cumprod[int(t)])
        signal, noise = share**0.5, (1 - share) ** 0.5
        if self._prediction == "sample":
            return prediction
        if self._prediction == "v_prediction":
            return signal * seen - noise * prediction
        return (seen - noise * prediction) / max(signal, 1e-4)


def noise_of(generators: Sequence[torch.Generator], shape: Sequence[int], like: Tensor) -> Tensor:
    """[B, *shape] standard normal; picture i's from generator i alone, so that a batch equals singles."""
    drawn = [torch.randn(tuple(shape), generator=g, device=g.device) for g in generators]
    return torch.stack([one.to(like.device, like.dtype) for one in drawn])


class Box(NamedTuple):
    """A window's place: its first row and column."""

    top: int
    left: int


class View(NamedTuple):
    """What the network is shown of some pictures at once, one window of each.

    Attributes:
        members: which pictures, b of them.
        boxes: where each window is.
        rgb: [b, 3, h, w], the photo and what earlier windows painted.
        known: [b, h, w] bool, where that is so.
        filled: [b, 3, h, w], ``rgb`` with the caller's fill where not known; None without one.
    """

    members: list[int]
    boxes: list[Box]
    rgb: Tensor
    known: Tensor
    filled: Tensor | None


class Canvas:
    """Photos while they are painted: windows are cut from it and blended back.

    Args:
        rgb: [B, 3, H, W] in [0, 1].
        known: [B, H, W] bool.
        fill: [B, 3, H, W] or None.
        window_px: a window's sides, unless the photo is smaller; made a multiple of 2 f.
        f: pixels per latent.

    Attributes:
        known: [B, H, W] bool; H and W are f's multiples where the photo is smaller than a window.
        window_hw: the windows' height and width, multiples of f.
    """

    def __init__(self, rgb: Tensor, known: Tensor, fill: Tensor | None, window_px: int, f: int) -> None:
        self._rgb, self._fill = rgb, fill
        self._hw = rgb.shape[-2:]
        whole = max(1, window_px // (2 * f)) * 2 * f
        below, beside = (-(-side // f) * f - side if side < whole else 0 for side in self._hw)
        grow = partial(F.pad, pad=(0, beside, 0, below), mode="replicate")
        self._photo = grow(rgb.float())
        self._filled = None if fill is None else grow(fill.float())
        self.known = grow(known[:, None].float())[:, 0] > 0.5
        self.window_hw = min(whole, self._photo.shape[-2]), min(whole, self._photo.shape[-1])
        self._painted = torch.where(self.known[:, None], self._photo, 0.0)
        self._trust = torch.zeros_like(self._photo[:, :1])

    def view(self, members: list[int], boxes: list[Box]) -> View:
        """Cut one window from each of ``members``."""
        cut = partial(self._cut, members, boxes)
        known, trusted = cut(self.known[:, None]), cut(self._trust) >= 0.5
        rgb = torch.where(known, cut(self._photo), cut(self._painted))
        known = known | trusted
        rgb = torch.where(known, rgb, 0.0)
        filled = None if self._filled is None else torch.where(known, rgb, cut(self._filled))
        return View(members, boxes, rgb, known[:, 0], filled)

    def blend(self, view: View, margin_px: int, decoded: Tensor) -> None:
        """Put decoded windows in; what earlier windows believe of theirs stays.

        Args:
            view: whose windows they are.
            margin_px: over so many px towards a side that isn't the photo's, a window fades.
            decoded: [b, 3, h, w].
        """
        height, width = self.window_hw
        for i, box, new in zip(view.members, view.boxes, decoded.to(self._painted), strict=True):
            place = (slice(None), slice(box.top, box.top + height), slice(box.left, box.left + width))
            painted, trust = self._painted[i][place], self._trust[i][place]
            weight = torch.minimum(self._weight(box, margin_px).to(trust), 1 - trust)
            share = weight / (weight + trust).clamp_min(1e-6)
            self._painted[i][place] = torch.lerp(painted, new, share)
            self._trust[i][place] = trust + weight

    def preview(self, view: View, margin_px: int, decode: Callable[[], Tensor]) -> Tensor:
        """The picture as if ``decode()`` were blended in."""
        kept = self._painted, self._trust
        self._painted, self._trust = self._painted.clone(), self._trust.clone()
        try:
            self.blend(view, margin_px, decode())
            return self.picture()
        finally:
            self._painted, self._trust = kept

    def picture(self) -> Tensor:
        """[B, 3, H, W], dtype of ``rgb``: what was painted; elsewhere the photo, and the fill in holes."""
        height, width = self._hw
        under = 0.0 if self._filled is None else self._filled
        rest = torch.where(self.known[:, None], self._photo, under)
        shown = torch.where(self._trust > 0, self._painted, rest)
        return shown[..., :height, :width].to(self._rgb.dtype)

    def _cut(self, members: list[int], boxes: list[Box], values: Tensor) -> Tensor:
        height, width = self.window_hw
        return torch.stack(
            [
                values[i, :, b.top : b.top + height, b.left : b.left + width]
                for i, b in zip(members, boxes, strict=True)
            ]
        )

    def _weight(self, box: Box, margin_px: int) -> Tensor:
        """[h, w] in (0, 1]: 1 inside, falling towards sides that aren't the photo's."""
        photo_hw = self._photo.shape[-2:]
        ramps = []
        for first, side, whole in zip(box, self.window_hw, photo_hw, strict=True):
            from_first = torch.arange(side) + 0.5
            ramp = torch.ones(side)
            if first > 0:
                ramp = torch.minimum(ramp, from_first / max(margin_px, 1))
            if first + side < whole:
                ramp = torch.minimum(ramp, from_first.flip(0) / max(margin_px, 1))
            ramps.append(ramp)
        return torch.minimum(ramps[0][:, None], ramps[1][None])


def windows(hole: Tensor, window_hw: tuple[int, int], margin_px: int) -> list[Box]:
    """Windows that together hold every hole pixel, each at least the margin away from their sides.

    The sides of the photo don't count. Each window is centred on the holes that it is there for.

    Args:
        hole: [H, W] bool, H and W no less than the window's.
        window_hw: height and width, each even unless it is the photo's own.
        margin_px: at most a quarter of them.
    """
    rest = hole.cpu().numpy().copy()
    cores = [
        side if side == whole else side - 2 * margin_px
        for side, whole in zip(window_hw, rest.shape, strict=True)
    ]
    boxes = []
    while rest.any():
        y = int(rest.any(1).argmax())
        band = rest[y : y + cores[0]]
        x = int(band.any(0).argmax())
        there = np.argwhere(band[:, x : x + cores[1]])
        low, high = there.min(0) + (y, x), there.max(0) + (y + 1, x + 1)
        box, believed = [], []
        for axis, (side, whole) in enumerate(zip(window_hw, rest.shape, strict=True)):
            centred = (int(low[axis]) + int(high[axis])) // 2 - side // 2
            first = max(0, min(centred, whole - side))
            begin = first + margin_px if first > 0 else 0
            end = first + side - margin_px if first + side < whole else whole
            box.append(first)
            believed.append(slice(begin, end))
        rest[tuple(believed)] = False
        boxes.append(Box(*box))
    return boxes
