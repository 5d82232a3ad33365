"""Paintings of held-out crops, on a sheet: one sees what numbers don't tell."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from kinephoto.learn.hole_crops import HoleBatch
from kinephoto.painter.builtin import STEPS, STRENGTH
from kinephoto.painter.pipeline import MUNetPipeline, composited
from kinephoto.whole_file import written_whole

SHOWN = 8


def write_samples(pipeline: MUNetPipeline, batch: HoleBatch, path: Path) -> None:
    """Write rows of truth, hole, fill and painting, the first crops of a batch side by side."""
    rgb, known, filled = batch.rgb[:SHOWN].cpu(), batch.known[:SHOWN].cpu(), batch.filled[:SHOWN].cpu()
    painted = composited(rgb, known, pipeline(rgb, known, fill=filled, steps=STEPS, strength=STRENGTH))
    rows = [torch.cat(list(row), 2) for row in (rgb, rgb * known[:, None], filled, painted)]
    sheet = (torch.cat(rows, 1).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as beside:
        Image.fromarray(sheet).save(beside, format="PNG")
