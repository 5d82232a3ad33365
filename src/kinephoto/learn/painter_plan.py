"""What ``kinephoto train painter`` would do and how long it would take, measured on a step; nothing is written."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch

from kinephoto.errors import InputError
from kinephoto.learn.bank import HoleBank
from kinephoto.learn.diffusion import loss_of, noised
from kinephoto.learn.hole_crops import hole_batch
from kinephoto.learn.labels import BuiltinDepth, TeacherLabels
from kinephoto.learn.painter_settings import PainterSettings
from kinephoto.learn.painter_state import read_painter_state
from kinephoto.learn.photos import Labelled, read_labelled, split_of
from kinephoto.learn.plan import finished
from kinephoto.learn.shards import read_shards, some_captions
from kinephoto.learn.tar_places import is_shards
from kinephoto.learn.train import captions_of, check_accelerate, new_accelerator
from kinephoto.learn.trainee import kind_of, parts_of
from kinephoto.wording import in_words

SAMPLE = 8
"""Photos that are looked at; twice as many are tried to get them."""


def plan(settings: PainterSettings) -> str:
    """Sentences on the photos, the network, the steps and the time.

    Raises:
        InputError: the run could not begin.
    """
    check_accelerate()
    counts, photos, captions = _looked_at(settings)
    parts = parts_of(settings, some_captions(captions) or ["a photo"])
    accelerator = new_accelerator(settings)
    trainee = parts.trainee().train().to(accelerator.device)
    parts.place(accelerator.device)
    kind = kind_of(parts, settings, accelerator.num_processes)
    state = read_painter_state(settings.out / "last.pt", trainee, kind)
    first = min(state["step"], settings.steps) if state else 0
    bank = HoleBank(None, variants=1)
    keys = [(settings.seed, 0, i) for i in range(settings.batch)]
    batch = hole_batch(photos, bank.holes, settings.crop_px, keys)
    seen = noised(batch, keys, parts.pipeline, captions, settings).to(accelerator.device)
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        seconds = []
        for _ in range(2):
            began = time.perf_counter()
            with accelerator.autocast():
                loss = loss_of(trainee, seen, parts.states(seen.tokens)).mean()
            loss.backward()
            float(loss.detach())
            seconds.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    step_s = seconds[-1] * settings.accumulate
    weights = sum(p.numel() for p in trainee.parameters()) / 1e6
    sentences = [
        f"{settings.photos}: {counts[0]} photos to learn from and {counts[1]} to check on; "
        f"{len(captions)} have captions.",
        f"Their holes are made once and kept in {settings.holes or settings.out / 'holes'}.",
        f"{settings.steps} steps of {settings.batch * settings.accumulate} crops of {settings.crop_px} px "
        f"for each process; {first} of these steps are done already."
        if first
        else f"{settings.steps} steps of {settings.batch * settings.accumulate} crops of {settings.crop_px} px "
        "for each process.",
        f"The variant {settings.variant}, {weights:.2f} million weights that learn; it starts from: {settings.init}.",
        f"{in_words((settings.steps - first) * step_s).capitalize()} on {accelerator.device.type} ({step_s:.2g} s a "
        "step), and the time for the holes.",
        "Nothing has been written.",
    ]
    return "\n".join(sentences)


def _looked_at(
    settings: PainterSettings,
) -> tuple[tuple[int, int], list[Labelled], Mapping[str, Sequence[str]]]:
    """How many photos there are to learn from and to check on, a few of them, and the captions."""
    labels = TeacherLabels(BuiltinDepth(), None)
    if is_shards(settings.photos):
        found, captions = finished(read_shards(settings.photos, labels, settings.seed))
        return (len(found.train), len(found.held_out)), list(found.train[:SAMPLE]), captions
    train, held_out = (split_of(settings.photos, split, settings.out) for split in ("train", "held-out"))
    return (len(train), len(held_out)), _sample(settings, train, labels), captions_of(settings, train)


def _sample(settings: PainterSettings, names: list[str], labels: TeacherLabels) -> list[Labelled]:
    read, why = [], ""
    for name in names[: 2 * SAMPLE]:
        try:
            read.append(read_labelled(settings.photos, name, labels))
        except InputError as error:
            why = why or str(error)
        if len(read) == SAMPLE:
            return read
    if not read:
        raise InputError(f"None of the first photos in {settings.photos} can be used; {why}")
    return read
