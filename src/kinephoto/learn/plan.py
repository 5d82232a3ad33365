"""What a run would do and how long it would take, from two timed steps; nothing is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from kinephoto.errors import InputError
from kinephoto.learn.checkpoint import read_state
from kinephoto.learn.crops import TOKEN_PX, draw_batch
from kinephoto.learn.distill import config_of, optimiser_of, shows_features, train_step
from kinephoto.learn.distill_settings import DistillSettings
from kinephoto.learn.labels import TeacherLabels
from kinephoto.learn.photos import Labelled, label_path, read_labelled, split_of
from kinephoto.learn.shards import MEMORY_MB, read_shards
from kinephoto.learn.tar_places import is_shards
from kinephoto.learn.teacher import Teacher
from kinephoto.machine import usable_device
from kinephoto.scene.depthnet import DepthNet, DepthNetConfig, parameter_count, placed
from kinephoto.wording import in_words

_Result = TypeVar("_Result")

SAMPLE, LOOK_AT_MOST = 2, 20
"""Photos that are read for the timing, and how many are tried to get them."""


def plan(settings: DistillSettings, config: DepthNetConfig | None = None) -> str:
    """Sentences on the photos, the steps, the network and the time; see ``kinephoto.learn.distill.distill``.

    Raises:
        InputError: the run could not begin.
    """
    device = usable_device(settings.device)
    config = config_of(settings, config)
    state = read_state(settings.out / "last.pt", config)
    first = min(state["step"], settings.steps) if state else 0
    teacher = Teacher(settings.teacher, device) if settings.teacher else None
    if teacher is not None and first < settings.feature_steps:
        teacher.check_fits(config)
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        found = _looked_at(settings, teacher)
        photos = found.few
        featured_s, plain_s = _step_seconds(settings, config, photos, teacher, device)
    finally:
        torch.set_num_threads(threads)

    megabytes = float(np.mean([p.rgb.nbytes + p.code.nbytes for p in photos])) / 1e6
    megabytes *= found.train + found.held_out
    if is_shards(settings.photos):
        megabytes = min(megabytes, MEMORY_MB)
    with_features = settings.feature_steps if teacher is not None else 0
    shares = _relative_costs(settings)
    seconds = float(shares[first:with_features].sum() * featured_s)
    seconds += float(shares[max(first, with_features) :].sum() * plain_s) + found.unlabelled * found.label_s
    sides = ", ".join(f"{side * TOKEN_PX}" for side in settings.tokens)
    sentences = [
        f"{settings.photos}: {found.train} photos to learn from and {found.held_out} to check on, about "
        f"{megabytes:.0f} MB in memory.",
        f"{found.unlabelled} of them have no label yet; the teacher makes those that are not in {settings.out}."
        if found.unlabelled
        else "",
        f"{settings.steps} steps of {settings.batch} crops, {sides} px wide; the first "
        f"{min(with_features, settings.steps)} also match the teacher's features.",
        f"{first} of these steps are done already." if first else "",
        f"A network of {parameter_count(DepthNet(config)) / 1e6:.2f} million weights; it starts from: {settings.init}.",
        f"{in_words(seconds).capitalize()} on {settings.device} ({featured_s:.2g} s a step with the teacher's "
        f"features, {plain_s:.2g} s without).",
        "Nothing has been written.",
    ]
    return "\n".join(filter(None, sentences))


@dataclass(frozen=True)
class _LookedAt:
    """Numbers of photos to learn from, to check on and without a label; a few photos; seconds for a label."""

    train: int
    held_out: int
    few: Sequence[Labelled]
    unlabelled: int = 0
    label_s: float = 0.0


def _looked_at(settings: DistillSettings, teacher: Teacher | None) -> _LookedAt:
    if is_shards(settings.photos):
        labels = TeacherLabels(teacher, None) if teacher is not None else None
        photos, _ = finished(read_shards(settings.photos, labels, settings.seed))
        return _LookedAt(len(photos.train), len(photos.held_out), photos.train[:SAMPLE])
    train, held_out = (split_of(settings.photos, split, settings.out) for split in ("train", "held-out"))
    few, label_s = _sample(settings.photos, train + held_out, teacher)
    unlabelled = sum(not label_path(settings.photos, name).is_file() for name in train + held_out)
    return _LookedAt(len(train), len(held_out), few, unlabelled, label_s)


def finished(work: Generator[object, None, _Result]) -> _Result:
    """What a generator returns in the end."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def _sample(folder: Path, names: list[str], teacher: Teacher | None) -> tuple[list[Labelled], float]:
    """A few photos with labels that are not kept, and the seconds that the teacher takes for a label."""
    labels = TeacherLabels(teacher, None) if teacher is not None else None
    read, why = [], ""
    for name in names[:LOOK_AT_MOST]:
        try:
            read.append(read_labelled(folder, name, labels))
        except InputError as error:
            why = why or str(error)
        if len(read) == SAMPLE:
            break
    if not read:
        raise InputError(
            f"None of the first {min(LOOK_AT_MOST, len(names))} photos in {folder} can be used; {why}"
        )
    return read, _timed(partial(labels.code, read[0].rgb)) if labels is not None else 0.0


def _step_seconds(
    settings: DistillSettings,
    config: DepthNetConfig,
    photos: Sequence[Labelled],
    teacher: Teacher | None,
    device: torch.device,
) -> tuple[float, float]:
    """What the step in the middle of the run takes, with and without the teacher's features."""
    middle = settings.steps // 2
    net = placed(DepthNet(config), device)
    optimiser = optimiser_of(net, settings)
    teacher = shows_features(teacher, settings, device)
    rgb, disparity = (part.to(device) for part in draw_batch(photos, settings, middle))

    def step(number: int) -> float:
        # Its loss comes back from the device, so that the step is done when it returns.
        return train_step(net, optimiser, rgb, disparity, number, teacher, settings)

    after_features = settings.feature_steps
    step(after_features)
    plain_s = _timed(partial(step, after_features))
    return (_timed(partial(step, 0)) if teacher is not None and settings.feature_steps else plain_s), plain_s


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _relative_costs(settings: DistillSettings) -> np.ndarray:
    """[steps] of what each step costs, by the area of its crops; the step in the middle costs 1."""
    tokens = np.asarray(settings.tokens, dtype=np.float64)
    steps = np.arange(settings.steps)
    areas = tokens[np.minimum(len(tokens) - 1, steps * len(tokens) // settings.steps)] ** 2
    return areas / areas[settings.steps // 2]
