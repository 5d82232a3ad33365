"""A teacher's features of crops that come again, kept on disk."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from kinephoto.learn.labels import key_of
from kinephoto.learn.teacher import Teacher
from kinephoto.whole_file import written_whole


class KeptFeatures:
    """Features in half precision, one file for each set of crops, named after their content and the teacher's.

    Args:
        teacher: whose features.
        folder: made when needed.
    """

    def __init__(self, teacher: Teacher, folder: Path) -> None:
        self.teacher = teacher
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)

    def features(self, rgb: Tensor) -> list[Tensor]:
        """``Teacher.features`` of ``rgb`` [B, 3, h, w], to half precision, on the teacher's device."""
        path = self.folder / f"{key_of(self.teacher.fingerprint, rgb.cpu().numpy())}.safetensors"
        device = self.teacher.mean.device
        try:
            kept = load_file(path, device=str(device))
            return [kept[str(tap)] for tap in range(len(kept))]
        except (OSError, SafetensorError, KeyError):
            found = [grid.half().contiguous() for grid in self.teacher.features(rgb)]
        with written_whole(path) as beside:
            save_file({str(tap): grid.cpu() for tap, grid in enumerate(found)}, beside)
        return found
