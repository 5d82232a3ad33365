"""OpenCV's two inpainting methods, for comparison: they know nothing of depth and smear the foreground."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

RADIUS_PX = 5

Method = Literal["telea", "ns"]


class OpenCVPainter:
    """Telea's fast marching ("telea") or Navier-Stokes ("ns"), in 8 bits a channel."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self.name = f"opencv:{method}"

    def paint(
        self, rgb: Tensor, known: Tensor, disparity: Tensor, *, prompt: str | None = None, seed: int = 0
    ) -> Tensor:
        """See ``Painter.paint``. Only ``rgb`` and ``known`` are looked at."""
        import cv2

        flag = {"telea": cv2.INPAINT_TELEA, "ns": cv2.INPAINT_NS}[self.method]
        bytes_hwc = (rgb.detach().cpu().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        hole = (~known.detach().cpu().bool()).numpy().astype(np.uint8)
        painted = cv2.inpaint(np.ascontiguousarray(bytes_hwc), hole, RADIUS_PX, flag)
        return (torch.from_numpy(painted).permute(2, 0, 1).float() / 255).to(rgb.device, rgb.dtype)
