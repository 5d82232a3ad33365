"""The teacher: a Depth Anything network in a folder that transformers loads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.scene.depthnet import RGB_DEVIATION, RGB_MEAN, DepthNetConfig

PATCH_PX = 14

LABEL_SHORT_SIDE_PX = 336
"""What the teacher sees when it makes a label."""


class Teacher:
    """A Depth Anything network whose backbone is a DINOv2.

    Args:
        folder: with config.json and model.safetensors; other kinds of weights are not loaded.
        device: such as "cuda".

    Raises:
        InputError: no such folder, or another network in it.
    """

    def __init__(self, folder: Path | str, device: str | torch.device = "cpu") -> None:
        self.folder = Path(folder)
        self.model: Any = _loaded(self.folder)
        self.model.eval().requires_grad_(False).to(device)
        self.mean = torch.tensor(RGB_MEAN, device=device).view(1, 3, 1, 1)
        self.deviation = torch.tensor(RGB_DEVIATION, device=device).view(1, 3, 1, 1)

    @cached_property
    def fingerprint(self) -> bytes:
        """Of the weights; another teacher has another one."""
        digest = hashlib.sha256()
        for path in sorted(self.folder.glob("*.safetensors")):
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.digest()

    def normal(self, rgb: Tensor) -> Tensor:
        """[B, 3, h, w] in [0, 1], anywhere, as the network wants it, on its device."""
        return (rgb.to(self.mean.device) - self.mean) / self.deviation

    @torch.no_grad()
    def features(self, rgb: Tensor) -> list[Tensor]:
        """[B, 3, h, w] in [0, 1], sides multiples of 14, to the normalised token grids [B, dim, ., .]."""
        return _grids(self.model.backbone(self.normal(rgb)).feature_maps, rgb)

    @torch.no_grad()
    def features_and_disparity(self, rgb: Tensor) -> tuple[list[Tensor], Tensor]:
        """``features``, and the disparity [B, h, w] float32 of the same pictures as they are, near is large."""
        maps = self.model.backbone(self.normal(rgb)).feature_maps
        grid = (rgb.shape[-2] // PATCH_PX, rgb.shape[-1] // PATCH_PX)
        disparity = self.model.head(self.model.neck(maps, *grid), *grid)
        return _grids(maps, rgb), disparity.float()

    @torch.no_grad()
    def disparity(self, rgb: Tensor) -> Tensor:
        """Relative inverse depth of a photo [3, H, W] in [0, 1]: [H, W] float32, near is large."""
        hw = (rgb.shape[-2], rgb.shape[-1])
        scale = LABEL_SHORT_SIDE_PX / (min(hw) * PATCH_PX)
        seen = [max(1, round(side * scale)) * PATCH_PX for side in hw]
        x = F.interpolate(rgb[None], seen, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
        found = self.model(pixel_values=self.normal(x)).predicted_depth.float()
        return F.interpolate(found[None], hw, mode="bilinear", align_corners=False)[0, 0].cpu()

    def check_fits(self, config: DepthNetConfig) -> None:
        """Raise InputError unless the network's tokens can be compared with the teacher's."""
        backbone = self.model.config.backbone_config
        theirs = (backbone.hidden_size, backbone.patch_size, len(self.model.backbone.out_features))
        ours = (config.dim, config.patch_px, len(config.taps))
        if theirs != ours:
            raise InputError(
                f"The teacher's tokens have {theirs[0]} channels, {theirs[1]} px and {theirs[2]} taps, the network's "
                f"{ours[0]}, {ours[1]} and {ours[2]}; --feature-steps 0 learns from its disparity alone."
            )


def _grids(maps: Sequence[Tensor], rgb: Tensor) -> list[Tensor]:
    """Tokens [B, 1 + h · w, dim] of a picture as grids [B, dim, h, w], without the token of the whole."""
    grid = (rgb.shape[-2] // PATCH_PX, rgb.shape[-1] // PATCH_PX)
    return [tokens[:, 1:].transpose(1, 2).unflatten(2, grid) for tokens in maps]


def _loaded(folder: Path) -> Any:
    from transformers import AutoModelForDepthEstimation
    from transformers.utils import logging

    if not folder.is_dir():
        raise InputError(
            f"There is no teacher folder {folder}; it holds a Depth Anything network (config.json, model.safetensors)."
        )
    logging.disable_progress_bar()
    try:
        model, told = AutoModelForDepthEstimation.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # transformers and safetensors each raise kinds of their own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{folder} holds no teacher that transformers loads from safetensors ({reason[:200]})."
        ) from error
    kind = getattr(getattr(model.config, "backbone_config", None), "model_type", "none")
    if model.config.model_type != "depth_anything" or kind != "dinov2":
        raise InputError(
            f"{folder} holds a network of the kind {model.config.model_type}; the teacher must be a Depth Anything "
            "network with a DINOv2 backbone."
        )
    if model.config.backbone_config.patch_size != PATCH_PX:
        raise InputError(
            f"The teacher in {folder} has tokens of {model.config.backbone_config.patch_size} px; "
            f"they must be {PATCH_PX} px."
        )
    if getattr(model.config, "depth_estimation_type", "relative") != "relative":
        raise InputError(
            f"The teacher in {folder} gives depth in metres; it must give relative inverse depth."
        )
    if told["missing_keys"]:
        raise InputError(
            f"The weights of the teacher in {folder} are not complete: {len(told['missing_keys'])} tensors are "
            f"missing, such as {min(told['missing_keys'])}."
        )
    return model
