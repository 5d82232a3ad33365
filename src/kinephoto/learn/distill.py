"""Distil the built-in depth network from a teacher's disparities.

Each step draws crops of photos with the teacher's disparity as the label. Two targets: the disparity itself
(see ``kinephoto.learn.losses``), and, while ``feature_steps`` last, the teacher's own token features on the
same crop, so that the network learns what things are and not only how far.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.interrupts import held_back
from kinephoto.learn.checkpoint import read_state, save_state
from kinephoto.learn.compress import start_from_teacher
from kinephoto.learn.crops import TOKEN_PX, batches, random_crop
from kinephoto.learn.distill_settings import DistillSettings
from kinephoto.learn.kept_features import KeptFeatures
from kinephoto.learn.labels import Labeller, TeacherLabels
from kinephoto.learn.losses import distill_loss, feature_loss
from kinephoto.learn.photos import (
    Labelled,
    PhotoSet,
    Progress,
    Skipped,
    check_few_bad,
    read_all,
    split_of,
)
from kinephoto.learn.schedule import follow, warm_cosine
from kinephoto.learn.shards import read_shards
from kinephoto.learn.tar_places import is_shards
from kinephoto.learn.teacher import Teacher
from kinephoto.machine import bfloat16_helps, usable_device
from kinephoto.scene.depthnet import (
    DepthNet,
    DepthNetConfig,
    builtin_weights,
    load_depthnet,
    placed,
    read_config,
    save_depthnet,
)

START_PICTURES, START_PX = 64, 252
"""Crops, and their side, through which the teacher is looked at when the network starts from it."""


class ReadsPhotos(Protocol):
    """Settings of a run on a folder of photos."""

    @property
    def photos(self) -> Path: ...

    @property
    def out(self) -> Path: ...


def distill(
    settings: DistillSettings, config: DepthNetConfig | None = None
) -> Generator[Progress, None, None]:
    """Train; yields for every photo read and after every step, and stops early when closed.

    The newest state lies in ``out/last.pt``: after every check, and where the generator was closed, Ctrl-C was
    pressed or (in ``ending_cleanly``) SIGTERM came, which wait for the step in hand. A run goes on from it, and
    ends as if it had never stopped. The averaged weights lie in ``out/depth.safetensors`` after every check. The
    log is ``out/log.jsonl``.

    Args:
        settings: what to do.
        config: the shape of a network that starts from the teacher or from scratch.

    Raises:
        InputError: the photos, the teacher, the start or the state found in ``out`` can't be used, or the
            loss is no longer a number.
    """
    device = usable_device(settings.device)
    config = config_of(settings, config)
    last = settings.out / "last.pt"
    state = read_state(last, config, device)
    teacher = Teacher(settings.teacher, device) if settings.teacher else None
    if teacher is not None and (state["step"] if state else 0) < settings.feature_steps:
        teacher.check_fits(config)
    _make_folder(settings.out)
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        if is_shards(settings.photos):
            labels = TeacherLabels(teacher, settings.out / "labels") if teacher else None
            photos, _ = yield from read_shards(settings.photos, labels, settings.seed)
        else:
            photos = yield from read_photos(settings, teacher)
        yield from _train(settings, config, photos, teacher, state, device)
    finally:
        torch.set_num_threads(threads)


def read_photos(settings: ReadsPhotos, teacher: Labeller | None) -> Generator[Progress, None, PhotoSet]:
    """Read the photos, with labels; yields for each and returns the ``PhotoSet``.

    Raises:
        InputError: too many can't be used, or too few are left.
    """
    began = time.perf_counter()
    names = {split: split_of(settings.photos, split, settings.out) for split in ("train", "held-out")}
    total = sum(map(len, names.values()))
    if not names["train"]:
        raise InputError(
            f"{settings.photos} holds {total} photo to train on; one is kept for checks, so two are needed."
        )
    labels = TeacherLabels(teacher, settings.out / "labels") if teacher else None
    found: dict[str, list[Labelled]] = {}
    skipped: list[Skipped] = []
    done = 0
    for split, wanted in names.items():
        found[split] = []
        for photo in read_all(settings.photos, wanted, labels):
            done += 1
            note = ""
            if isinstance(photo, Skipped):
                skipped.append(photo)
                check_few_bad(settings.photos, skipped, total)
                note = f"Skipped: {photo.why}"
            else:
                found[split].append(photo)
            seconds = time.perf_counter() - began
            yield Progress(done, total, math.nan, None, seconds, "photos", note, len(skipped))
    for split, photos in found.items():
        if not photos:
            raise InputError(f"None of the {split} photos in {settings.photos} can be used; {skipped[0].why}")
    return PhotoSet(found["train"], found["held-out"], skipped)


def _train(
    settings: DistillSettings,
    config: DepthNetConfig,
    photos: PhotoSet,
    teacher: Teacher | None,
    state: dict | None,
    device: torch.device,
) -> Iterator[Progress]:
    net = placed(DepthNet(config) if state else new_net(settings, photos.train, teacher, config), device)
    average = copy.deepcopy(net).eval().requires_grad_(False)
    optimiser = optimiser_of(net, settings)
    first, spent = 0, 0.0
    if state is not None:
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        first, spent = state["step"], state["seconds"]
    bad = len(photos.skipped)
    if first >= settings.steps:
        note = f"{settings.out} has been trained for {first} steps already; more --steps go on from there."
        yield Progress(first, first, math.nan, None, spent, note=note, skipped=bad)
        return
    teacher = shows_features(teacher, settings, device)
    kept = KeptFeatures(teacher, settings.out / "features") if teacher and settings.kept_steps else None
    last, began = settings.out / "last.pt", time.perf_counter()
    note = f"Going on after step {first}." if first else ""
    done = saved = first
    seconds = spent
    with (settings.out / "log.jsonl").open("a", encoding="utf-8") as log:
        try:
            for step, rgb, disparity in batches(photos.train, settings, first):
                for group in optimiser.param_groups:
                    group["lr"] = settings.lr * group["scale"] * learning_rate(step, settings)
                with held_back("SIGINT", "SIGTERM", "SIGHUP"):
                    seen = kept.features(rgb) if kept and step < settings.feature_steps else None
                    loss = train_step(
                        net, optimiser, rgb.to(device), disparity.to(device), step, teacher, settings, seen
                    )
                    if not math.isfinite(loss):
                        raise InputError(
                            f"The loss of step {step + 1} is {loss}; go on from the last check with a smaller --lr "
                            f"than {settings.lr:g}."
                        )
                    follow(average, net, min(settings.ema, (step + 1) / (step + 10)))
                    done, seconds = step + 1, spent + time.perf_counter() - began
                score = None
                if done % settings.check_every == 0 or done == settings.steps:
                    score = held_out_correlation(average, photos.held_out)
                    notes = notes_of(settings, photos, done, seconds, score)
                    save_depthnet(average, settings.out / "depth.safetensors", notes)
                    save_state(last, net, average, optimiser, done, seconds)
                    saved = done
                if done % 50 == 0 or score is not None:
                    line = {"step": done, "steps": settings.steps, "loss": loss, "held_out": score}
                    log.write(json.dumps(line | {"seconds": seconds}) + "\n")
                    log.flush()
                yield Progress(done, settings.steps, loss, score, seconds, note=note, skipped=bad)
                note = ""
        except (GeneratorExit, KeyboardInterrupt, SystemExit):
            if done > saved:
                save_state(last, net, average, optimiser, done, seconds)
            raise


def config_of(settings: DistillSettings, config: DepthNetConfig | None = None) -> DepthNetConfig:
    """The shape of the run's network: that of the weights it starts from, else ``config`` or the default.

    Raises:
        InputError: ``settings.init`` is no start.
    """
    if settings.init == "teacher" and settings.teacher is None:
        raise InputError("--init teacher needs --teacher FOLDER.")
    if settings.init not in ("teacher", "scratch"):
        path = builtin_weights() if settings.init == "builtin" else Path(settings.init)
        if not path.is_file():
            raise InputError(
                f"--init is {settings.init}; it must be builtin, teacher, scratch, or a file of weights."
            )
        config = read_config(path)
    config = config or DepthNetConfig()
    if config.patch_px != TOKEN_PX:
        raise InputError(
            f"The network's tokens are {config.patch_px} px wide; training is made for {TOKEN_PX} px."
        )
    return config


def new_net(
    settings: DistillSettings,
    photos: Sequence[Labelled],
    teacher: Teacher | None,
    config: DepthNetConfig | None = None,
) -> DepthNet:
    """The network as ``settings.init`` asks for it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        if settings.init not in ("teacher", "scratch"):
            path = builtin_weights() if settings.init == "builtin" else settings.init
            return load_depthnet(path).train().requires_grad_(True)
        net = DepthNet(config)
    if settings.init == "teacher":
        if teacher is None:
            raise InputError("--init teacher needs --teacher FOLDER.")
        rng = np.random.default_rng(settings.seed)
        chosen = rng.choice(len(photos), min(START_PICTURES, len(photos)), replace=False)
        crops = (random_crop(photos[index], (START_PX, START_PX), rng)[0] for index in chosen)
        start_from_teacher(net, teacher, (torch.from_numpy(crop).permute(2, 0, 1)[None] for crop in crops))
    return net


def shows_features(
    teacher: Teacher | None, settings: DistillSettings, device: torch.device
) -> Teacher | None:
    """The teacher as its features are seen: in bfloat16 where that helps, as a copy, for labels stay float32."""
    if teacher is None or not (settings.half and bfloat16_helps(device)):
        return teacher
    seen = copy.copy(teacher)
    seen.model = copy.deepcopy(teacher.model).to(torch.bfloat16)
    return seen


def optimiser_of(net: DepthNet, settings: DistillSettings) -> torch.optim.Optimizer:
    """AdamW; the decoder, which starts from nothing, learns faster."""
    return torch.optim.AdamW(
        [
            {"params": net.encoder.parameters(), "lr": settings.lr, "scale": 1.0},
            {"params": net.decoder.parameters(), "lr": 2.5 * settings.lr, "scale": 2.5},
        ],
        weight_decay=0.02,
    )


def learning_rate(step: int, settings: DistillSettings) -> float:
    """Share of the peak: linear warm-up over 200 steps, then half a cosine to a hundredth."""
    return warm_cosine(step, settings.steps, 200, 0.01)


def train_step(
    net: DepthNet,
    optimiser: torch.optim.Optimizer,
    rgb: Tensor,
    disparity: Tensor,
    step: int,
    teacher: Teacher | None,
    settings: DistillSettings,
    kept: list[Tensor] | None = None,
) -> float:
    """One update; returns the loss without its feature part, or that part where there is no other.

    Args:
        kept: the teacher's features of ``rgb`` where they are known already.
    """
    grid = (rgb.shape[-2] // TOKEN_PX, rgb.shape[-1] // TOKEN_PX)
    half = settings.half and bfloat16_helps(rgb.device)
    parts = []
    with torch.autocast(rgb.device.type, dtype=torch.bfloat16, enabled=half):
        taps, normal = net.features(rgb, grid)
        if step >= settings.encoder_steps:
            found = net.decoder(taps, normal)
        if teacher is not None and step < settings.feature_steps:
            wanted = kept
            if settings.crop_labels:
                wanted, disparity = teacher.features_and_disparity(rgb)
            parts.append(feature_loss(taps, wanted or teacher.features(rgb)))
    if step >= settings.encoder_steps:
        parts.append(distill_loss(found.float(), disparity))
    optimiser.zero_grad(set_to_none=True)
    torch.stack(parts).sum().backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimiser.step()
    return float(parts[-1].detach())


@torch.inference_mode()
def held_out_correlation(net: DepthNet, photos: Sequence[Labelled]) -> float:
    """Mean Pearson correlation of the network's and the teacher's disparity, at the photo's size.

    A flat answer has correlation 0; photos with a flat label are left out.
    """
    scores = []
    for photo in photos:
        truth = np.square(photo.code.astype(np.float64) / 255)
        if np.ptp(truth) == 0:
            continue
        rgb = torch.from_numpy(photo.rgb.copy()).permute(2, 0, 1).float() / 255
        found = net.disparity(rgb)[None, None]
        found = F.interpolate(found, size=photo.code.shape, mode="bilinear")[0, 0]
        flat = float(found.max() - found.min()) == 0
        scores.append(0.0 if flat else np.corrcoef(found.flatten().numpy(), truth.flatten())[0, 1])
    return float(np.mean(scores)) if scores else 0.0


def notes_of(
    settings: DistillSettings, photos: PhotoSet, steps: int, seconds: float, held_out: float
) -> dict[str, int | float | str]:
    """What the weights' file says of its making."""
    return {
        "steps": steps,
        "seconds": round(seconds),
        "held_out_correlation": round(held_out, 4),
        "photos": len(photos.train),
        "held_out_photos": len(photos.held_out),
        "skipped_photos": len(photos.skipped),
        "batch": settings.batch,
        "seed": settings.seed,
        "device": settings.device,
    }


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"The folder {folder} can't be made ({error.strerror}); give another --out."
        ) from None
