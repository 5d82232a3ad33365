"""Train the painter on cycle pairs (Eq. 11), through accelerate: one processor core or many GPUs, the same loop.

A crop, its noise and its caption depend on the seed, the step and its number among all processes' crops alone.
So a run that was stopped goes on as if it had not been, and two processes do what one does with twice the batch.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from kinephoto.errors import InputError
from kinephoto.interrupts import held_back
from kinephoto.learn.captions import read_captions
from kinephoto.learn.checkpoint import sweep
from kinephoto.learn.crop_sources import Crops
from kinephoto.learn.diffusion import Noised, loss_of, noised
from kinephoto.learn.distill import read_photos
from kinephoto.learn.hole_crops import HoleBatch, drawn_ahead
from kinephoto.learn.labels import BuiltinDepth, TeacherLabels
from kinephoto.learn.painter_settings import PainterSettings
from kinephoto.learn.painter_state import read_painter_state, save_painter, save_painter_state
from kinephoto.learn.photos import PhotoSet, Progress
from kinephoto.learn.samples import write_samples
from kinephoto.learn.schedule import follow, warm_cosine
from kinephoto.learn.shard_crops import ShardCrops
from kinephoto.learn.shards import read_shards, some_captions
from kinephoto.learn.tar_places import is_shards
from kinephoto.learn.trainee import Parts, kind_of, parts_of
from kinephoto.machine import bfloat16_helps

CHECK_CROPS = 96
"""Held-out crops, always the same and with the same noise, by which a run is judged."""

Drawn = tuple[HoleBatch, list[tuple[int, ...]]]
"""Crops and their keys."""

CHECK_KEY = 2**31
"""Stands for the step in the keys of held-out crops; no run has as many steps."""


def train_painter(settings: PainterSettings) -> Generator[Progress, None, None]:
    """Train; yields for every photo read and after every step, and stops early when closed.

    The newest state lies in ``out/last.pt`` after every check, and where the generator was closed, Ctrl-C was
    pressed or SIGTERM came; the averaged weights, a ``MUNetPipeline`` in half precision, in ``out/painter``; the log in
    ``out/log.jsonl`` and, where tensorboard is installed, ``out/tensorboard``; paintings in ``out/samples``.

    Raises:
        InputError: the photos, captions, start or the state in ``out`` can't be used, or the loss is no number.
    """
    check_accelerate()
    photos, captions = yield from _photos(settings)
    parts = parts_of(settings, some_captions(captions) if settings.init == "scratch" else [])
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        yield from _Run(settings, photos, captions, parts).steps()
    finally:
        torch.set_num_threads(threads)


class _Run:
    """A run on this process."""

    def __init__(
        self, settings: PainterSettings, photos: PhotoSet, captions: Mapping[str, Sequence[str]], parts: Parts
    ) -> None:
        self.settings, self.photos, self.captions, self.parts = settings, photos, captions, parts
        self.accelerator = new_accelerator(settings)
        self.crops = (ShardCrops if is_shards(settings.photos) else Crops)(settings, photos)
        trainee = parts.trainee().train()
        self.average = copy.deepcopy(trainee).eval().to(self.accelerator.device)
        learns = [value for value in trainee.parameters() if value.requires_grad]
        optimiser = torch.optim.AdamW(learns, lr=settings.lr, weight_decay=0.01, betas=(0.9, 0.99))
        self.first, self.spent = 0, 0.0
        self.kind = kind_of(parts, settings, self.accelerator.num_processes)
        state = read_painter_state(settings.out / "last.pt", trainee, self.kind)
        if state is not None:
            trainee.take(state["net"])
            self.average.take(state["average"])
            optimiser.load_state_dict(state["optimiser"])
            self.first, self.spent = state["step"], state["seconds"]
            if self.accelerator.scaler is not None and state.get("scaler"):
                self.accelerator.scaler.load_state_dict(state["scaler"])
        self.trainee, self.optimiser = self.accelerator.prepare(trainee, optimiser)
        parts.place(self.accelerator.device)

    def steps(self) -> Iterator[Progress]:
        """The steps, from where an earlier run left."""
        settings = self.settings
        if self.first >= settings.steps:
            note = f"{settings.out} has been trained for {self.first} steps already; more --steps go on from there."
            yield Progress(self.first, self.first, math.nan, None, self.spent, note=note)
            return
        settings.out.mkdir(parents=True, exist_ok=True)
        if self.accelerator.is_main_process:
            sweep(settings.out)
        note = f"Going on after step {self.first}." if self.first else ""
        began, done, saved, seconds = time.perf_counter(), self.first, self.first, self.spent
        checks = {name: self._check_crops(split) for name, split in self.crops.checks.items()}
        board = _board(settings.out) if self.accelerator.is_main_process else None
        try:
            for batches in drawn_ahead(self._draw, self.first, settings.steps):
                with held_back("SIGINT", "SIGTERM", "SIGHUP"):
                    loss = self._step(done, batches)
                    done, seconds = done + 1, self.spent + time.perf_counter() - began
                scores: dict[str, float] = {}
                if done % settings.check_every == 0 or done == settings.steps:
                    scores = {name: self._score(crops) for name, crops in checks.items()}
                    self._save(done, seconds, checks)
                    saved = done
                if self.accelerator.is_main_process and (done % 50 == 0 or scores):
                    line = {"step": done, "loss": loss, "seconds": seconds} | scores
                    _log(settings.out, board, line)
                score = next(iter(scores.values()), None)
                yield Progress(
                    done, settings.steps, loss, score, seconds, note=note, skipped=len(self.photos.skipped)
                )
                note = ""
        except (GeneratorExit, KeyboardInterrupt, SystemExit):
            if done > saved and self.accelerator.is_main_process:
                self._save_state(done, seconds)
            raise
        finally:
            if board is not None:
                board.close()

    def _draw(self, step: int) -> list[Drawn]:
        """This process's share of a step's crops, in ``accumulate`` batches, with their keys."""
        settings, accelerator = self.settings, self.accelerator
        drawn = []
        for part in range(settings.accumulate):
            first = (part * accelerator.num_processes + accelerator.process_index) * settings.batch
            keys: list[tuple[int, ...]] = [(settings.seed, step, first + i) for i in range(settings.batch)]
            drawn.append((self.crops.batch("train", keys), keys))
        return drawn

    def _step(self, step: int, batches: Sequence[Drawn]) -> float:
        """One update; the mean loss over all processes."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.lr * warm_cosine(step, self.settings.steps, 200, 0.02)
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.accelerator.device)
        for batch, keys in batches:
            # Here and not in the thread that draws ahead: the autoencoder is on the device.
            seen = noised(batch, keys, self.parts.pipeline, self.captions, self.settings)
            seen = seen.to(self.accelerator.device)
            with self.accelerator.autocast():
                loss = loss_of(self.trainee, seen, self.parts.states(seen.tokens)).mean() / len(batches)
            self.accelerator.backward(loss)
            total += loss.detach()
        self.accelerator.clip_grad_norm_(self.trainee.parameters(), 1.0)
        self.optimiser.step()
        value = float(self.accelerator.reduce(total, "mean"))
        if not math.isfinite(value):
            raise InputError(
                f"The loss of step {step + 1} is {value}; go on from the last check with a smaller --lr than "
                f"{self.settings.lr:g}."
            )
        # A young average follows faster, or it would remember the start for long.
        decay = min(self.settings.ema, (step + 1) / (step + 10))
        follow(self.average, self.accelerator.unwrap_model(self.trainee), decay)
        return value

    def _check_crops(self, source: str) -> list[tuple[HoleBatch, Noised]]:
        keys = [(self.settings.seed, CHECK_KEY, i) for i in range(CHECK_CROPS)]
        crops = []
        for first in range(0, CHECK_CROPS, 24):
            some = keys[first : first + 24]
            batch = self.crops.batch(source, some)
            crops.append((batch, noised(batch, some, self.parts.pipeline, {}, self.settings)))
        return crops

    @torch.no_grad()
    def _score(self, check: Sequence[tuple[HoleBatch, Noised]]) -> float:
        """The averaged weights' loss on the held-out crops."""
        losses = []
        for _, seen in check:
            seen = seen.to(self.accelerator.device)
            losses.append(loss_of(self.average, seen, self.parts.states(seen.tokens)))
        return float(torch.cat(losses).mean())

    def _save(
        self, step: int, seconds: float, checks: Mapping[str, Sequence[tuple[HoleBatch, Noised]]]
    ) -> None:
        if not self.accelerator.is_main_process:
            return
        self._save_state(step, seconds)
        pipeline = self._averaged()
        save_painter(pipeline, self.settings.out / "painter", self.parts.trains_text)
        for name, crops in checks.items():
            kind = name.removeprefix("held_out")
            write_samples(pipeline, crops[0][0], self.settings.out / "samples" / f"{step:07d}{kind}.png")

    def _averaged(self) -> Any:
        """The pipeline with the averaged weights."""
        theirs = copy.deepcopy(self.average).to("cpu")
        components = dict(self.parts.pipeline.components)
        components["unet"] = theirs.unet
        if theirs.text_encoder is not None:
            components["text_encoder"] = theirs.text_encoder
        components["vae"] = copy.deepcopy(components["vae"]).to("cpu")
        config = self.parts.pipeline.config
        return type(self.parts.pipeline)(
            **components, condition=config["condition"], residual_scale=config["residual_scale"]
        )

    def _save_state(self, step: int, seconds: float) -> None:
        save_painter_state(
            self.settings.out / "last.pt",
            self.accelerator.unwrap_model(self.trainee),
            self.average,
            self.optimiser,
            step,
            seconds,
            self.kind,
            self.accelerator.scaler,
        )


def _photos(
    settings: PainterSettings,
) -> Generator[Progress, None, tuple[PhotoSet, Mapping[str, Sequence[str]]]]:
    """The photos and the captions of those to learn from."""
    if is_shards(settings.photos):
        if settings.captions is not None:
            raise InputError("Shards carry their captions as NAME.txt; leave --captions out.")
        if settings.objects:
            raise InputError("Shards carry their objects as NAME.objects.png; leave --objects out.")
        labels = TeacherLabels(BuiltinDepth(), settings.out / "labels")
        return (yield from read_shards(settings.photos, labels, settings.seed, settings.memory_mb // 2))
    photos = yield from read_photos(settings, BuiltinDepth())
    return photos, captions_of(settings, [photo.name for photo in photos.train])


def captions_of(settings: PainterSettings, names: Sequence[str]) -> dict[str, list[str]]:
    """The captions of these photos, by name.

    Raises:
        InputError: the file can't be read, or names photos that there aren't.
    """
    if settings.captions is None:
        return {}
    from kinephoto.learn.photos import split_of

    every = {
        name
        for split in ("train", "held-out", "test")
        for name in split_of(settings.photos, split, settings.out)
    }
    found = read_captions(settings.captions, every)
    return {name: found[name] for name in names if name in found}


def check_accelerate() -> None:
    """Raise InputError unless accelerate is installed; before photos are read, which takes long."""
    if find_spec("accelerate") is None:
        raise InputError("Training needs accelerate: pip install 'kinephoto[train]'.")


def new_accelerator(settings: PainterSettings) -> Any:
    """Where and how precisely to compute.

    Raises:
        InputError: accelerate is not installed, or the device can't do it.
    """
    check_accelerate()
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    on_cpu = settings.device == "cpu" or not torch.cuda.is_available()
    precision = settings.precision
    if precision == "auto":
        helps = bfloat16_helps("cpu" if on_cpu else "cuda")
        precision = "bf16" if helps else "no" if on_cpu else "fp16"
    if precision == "fp16" and on_cpu:
        raise InputError("--precision fp16 needs a GPU; bf16 and no run on a processor.")
    # accelerate remembers the precision of a run before in the same process, and refuses another one.
    AcceleratorState._reset_state()
    return Accelerator(mixed_precision=precision, cpu=on_cpu)


def _board(out: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(out / "tensorboard"))


def _log(out: Path, board: Any, line: dict[str, Any]) -> None:
    with (out / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")
    if board is not None:
        for name in line.keys() - {"step", "seconds"}:
            board.add_scalar(name, line[name], line["step"])
