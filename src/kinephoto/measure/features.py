"""What networks see in a picture as a whole: one vector of numbers each, to compare sets of pictures by.

``Vgg16Features`` is there wherever ST-LPIPS is; ``Clip`` needs a network that users bring. Inception v3, which FID
and IS are defined by, has its own module, ``inception``.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.learn.perceptual import weights_file
from kinephoto.machine import usable_device
from kinephoto.measure.metrics import to_8bit
from kinephoto.measure.stlpips import Blur

CONVOLUTIONS = (2, 2, 3, 3, 3)
"""Of each stage of VGG16."""

# What every CLIP of OpenAI and of LAION has been shown (Radford et al., CLIP, 2021).
CLIP_MEAN, CLIP_DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Vgg16Features:
    """The last stage of the VGG16 that ST-LPIPS uses, averaged over the picture: 512 numbers >= 0.

    Args:
        device: where it runs; None is the processor.

    Raises:
        InputError: the weights are not installed.
    """

    def __init__(self, device: str | None = None) -> None:
        self._device = usable_device(device)
        weights = torch.load(weights_file("vgg"), map_location=self._device, weights_only=True)
        names = [name for name in weights if name.startswith("net.") and name.endswith(".weight")]
        pairs = iter([(weights[name], weights[name.removesuffix("weight") + "bias"]) for name in names])
        self._stages = [list(itertools.islice(pairs, count)) for count in CONVOLUTIONS]
        self._shift, self._scale = weights["scaling_layer.shift"], weights["scaling_layer.scale"]
        self._halved = Blur()

    @torch.no_grad()
    def __call__(self, rgb: Tensor) -> Tensor:
        """What it sees in a picture [3, H, W] in [0, 1], 64 px or more a side: [512] float32, on the processor."""
        seen = to_8bit(rgb).float().to(self._device)[None]
        seen = (2 * seen - 1 - self._shift) / self._scale
        for number, stage in enumerate(self._stages):
            if number:
                seen = self._halved(F.max_pool2d(seen, 2, 1))
            for weight, bias in stage:
                seen = F.relu(F.conv2d(seen, weight, bias, padding=1))
        return seen.mean((0, 2, 3)).cpu()


class Clip:
    """How well a picture fits a text, by CLIP (Radford et al., 2021).

    Args:
        name: a folder that transformers' ``CLIPModel`` and tokenizer were saved to, or "owner/name" on the hub.
        device: where it runs; None is the processor.

    Raises:
        InputError: it can't be loaded.
    """

    def __init__(self, name: str, *, device: str | None = None) -> None:
        from kinephoto.painter.networks import quiet

        self._device = usable_device(device)
        local = Path(name).is_dir()
        with quiet():
            from transformers import AutoTokenizer, CLIPModel

            try:
                model = CLIPModel.from_pretrained(name, local_files_only=local, use_safetensors=True)
                self._tokenizer: Any = AutoTokenizer.from_pretrained(name, local_files_only=local)
            except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
                raise InputError(
                    f"{name} can't be loaded as a CLIP; --clip takes a folder with config.json, model.safetensors and "
                    "the tokenizer's files, or an ID on the hub."
                ) from error
        self._model: Any = model.float().eval().to(self._device)

    @torch.no_grad()
    def similarity(self, rgb: Tensor, text: str) -> float:
        """The cosine between picture and text, in [-1, 1].

        Args:
            rgb: [3, H, W] in [0, 1]; CLIP sees the square in its middle.
            text: what it is asked for; what is longer than CLIP reads is cut.
        """
        config = self._model.config
        words = self._tokenizer(
            [text],
            truncation=True,
            max_length=config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(self._device)
        pixels = self._middle(rgb, int(config.vision_config.image_size)).to(self._device)
        found = self._model(
            pixel_values=pixels, input_ids=words["input_ids"], attention_mask=words["attention_mask"]
        )
        return float(F.cosine_similarity(found.image_embeds, found.text_embeds)[0])

    def _middle(self, rgb: Tensor, side: int) -> Tensor:
        """[1, 3, side, side], normalised."""
        height, width = rgb.shape[1:]
        scale = side / min(height, width)
        hw = (max(side, round(height * scale)), max(side, round(width * scale)))
        small = F.interpolate(
            to_8bit(rgb).float()[None], hw, mode="bicubic", align_corners=False, antialias=True
        ).clamp(0, 1)
        top, left = (hw[0] - side) // 2, (hw[1] - side) // 2
        mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (CLIP_MEAN, CLIP_DEVIATION))
        return (small[..., top : top + side, left : left + side] - mean) / deviation
