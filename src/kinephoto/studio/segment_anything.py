"""Objects by a network with SAM's interface (Kirillov et al., Segment Anything, 2023), as transformers loads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.machine import usable_device
from kinephoto.painter.networks import quiet
from kinephoto.studio.cutout import Box, Point

RGB_MEAN, RGB_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class SegmentAnything:
    """A SAM from a folder or from the hub.

    Args:
        name: a folder with config.json and safetensors, or "owner/name" on the hub.
        device: where it runs; None is the processor.
        offline: take the hub's from the cache only.

    Raises:
        InputError: it can't be loaded.
    """

    def __init__(self, name: str, *, device: str | None = None, offline: bool = False) -> None:
        self._device = usable_device(device)
        is_folder = Path(name).is_dir()
        with quiet():
            from transformers import SamModel

            try:
                model = SamModel.from_pretrained(
                    name, local_files_only=offline or is_folder, use_safetensors=True
                )
            except (OSError, ValueError, KeyError, RuntimeError) as error:
                hint = "a folder with config.json and model.safetensors works without a network"
                raise InputError(f"The segmenter {name} can't be loaded as a SAM; {hint}.") from error
        self._model: Any = model.float().eval().to(self._device)

    @torch.no_grad()
    def segment(self, rgb: Tensor, points: Sequence[Point], box: Box | None) -> Tensor:
        """See ``kinephoto.studio.cutout.Segmenter``; of three answers the one that the network trusts most."""
        side = int(self._model.config.vision_config.image_size)
        height, width = rgb.shape[1:]
        scale = side / max(height, width)
        hw = (round(height * scale), round(width * scale))
        mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (RGB_MEAN, RGB_DEVIATION))
        small = F.interpolate(
            rgb[None].float(), hw, mode="bilinear", align_corners=False, antialias=scale < 1
        )
        pixels = F.pad((small - mean) / deviation, (0, side - hw[1], 0, side - hw[0])).to(self._device)
        asked: dict[str, Tensor] = {}
        if points:
            asked["input_points"] = (torch.tensor([[[list(point) for point in points]]]) * scale).to(
                self._device
            )
        if box is not None:
            asked["input_boxes"] = (torch.tensor([[list(box)]]) * scale).to(self._device)
        found = self._model(pixel_values=pixels, multimask_output=True, **asked)
        best = int(found.iou_scores[0, 0].argmax())
        logits = found.pred_masks[0, 0, best][None, None].float()
        full = F.interpolate(logits, (side, side), mode="bilinear", align_corners=False)[
            ..., : hw[0], : hw[1]
        ]
        return F.interpolate(full, (height, width), mode="bilinear", align_corners=False)[0, 0].cpu() > 0
