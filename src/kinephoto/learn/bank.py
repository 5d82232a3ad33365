"""Holes of photos, each made once and kept in a folder under the photo's hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from kinephoto.errors import InputError
from kinephoto.learn.pairs import MIXTURE, Kind, Motion, cycle_pair, index_of
from kinephoto.learn.photos import Labelled
from kinephoto.scene.depth import FLOOR
from kinephoto.scene.edges import default_widening_px, sharpen, widen_near
from kinephoto.scene.mesh import sharpen_edges
from kinephoto.whole_file import written_whole

VERSION = 3
"""Of how holes are made; another one makes them anew."""

LEAST_HOLE = 0.0005
"""Share of the photo; a pair with less teaches nothing, and the next index is taken."""

TRIES = 4


@dataclass(frozen=True, eq=False)
class Holes:
    """What a photo's pairs have lost.

    Attributes:
        known: [N, H, W] bool; pairs without a hole are left out, so N may be 0.
        kinds: of each, numbers into ``tuple(MIXTURE)``; [N] uint8.
        disparity: [H, W] float16 > 0, sharpened and widened.
    """

    known: np.ndarray
    kinds: np.ndarray
    disparity: np.ndarray


class HoleBank:
    """Makes and keeps the holes of photos.

    Args:
        folder: made when the first holes are; None keeps nothing.
        variants: pairs per photo.
        seed: of the poses.
        mixture: of kinds.
    """

    def __init__(
        self,
        folder: Path | None,
        variants: int = 4,
        seed: int = 0,
        mixture: Mapping[Kind, float] = MIXTURE,
    ) -> None:
        self.folder = folder
        self.variants = variants
        self.seed = seed
        self.mixture = dict(mixture)
        self._in_memory: dict[str, Holes] = {}

    def holes(self, photo: Labelled) -> Holes:
        """The holes of a photo, from memory or from the folder if they are there; about 1 MB each."""
        if photo.name not in self._in_memory:
            self._in_memory[photo.name] = self._found(photo)
        return self._in_memory[photo.name]

    def _found(self, photo: Labelled) -> Holes:
        key = self._key(photo)
        if self.folder is None:
            return self._made(photo, key)
        path = self.folder / f"{key}.npz"
        if not path.is_file():
            self._keep(self._made(photo, key), path)
        try:
            with path.open("rb") as opened, np.load(opened) as file:
                hw = photo.code.shape
                bits = np.unpackbits(file["known"], axis=1, count=hw[0] * hw[1])
                known = bits.reshape(-1, *hw).astype(bool)
                return Holes(known, file["kinds"], file["disparity"])
        except (OSError, ValueError, KeyError, BadZipFile):
            raise InputError(f"{path} holds no holes that can be read; delete it.") from None

    def _made(self, photo: Labelled, key: str) -> Holes:
        rgb = torch.from_numpy(photo.rgb.copy()).permute(2, 0, 1).float() / 255
        disparity = photo_disparity(photo)
        known, kinds = [], []
        for variant in range(self.variants):
            for again in range(TRIES):
                # Each photo has poses and kinds of its own.
                index = index_of(key, variant + again * self.variants)
                pair = cycle_pair(rgb, disparity, self.seed, index, Motion(), self.mixture)
                if float((~pair.known).float().mean()) >= LEAST_HOLE:
                    known.append(pair.known.numpy())
                    kinds.append(tuple(MIXTURE).index(pair.kind))
                    break
        stacked = np.stack(known) if known else np.zeros((0, *photo.code.shape), bool)
        return Holes(stacked, np.array(kinds, np.uint8), disparity.numpy().astype(np.float16))

    def _keep(self, holes: Holes, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        bits = np.packbits(holes.known.reshape(len(holes.known), holes.disparity.size), axis=1)
        with written_whole(path) as beside, beside.open("wb") as file:
            np.savez_compressed(file, known=bits, kinds=holes.kinds, disparity=holes.disparity)

    def _key(self, photo: Labelled) -> str:
        said = f"{VERSION} {self.variants} {self.seed} {self.mixture} {photo.rgb.shape}".encode()
        return hashlib.sha256(said + photo.rgb.tobytes() + photo.code.tobytes()).hexdigest()[:32]


def photo_disparity(photo: Labelled) -> torch.Tensor:
    """[H, W] float32 in [FLOOR, about 1], sharpened and widened: as a film's first layer has it."""
    label = np.square(photo.code.astype(np.float32) / 255)
    near = max(float(np.quantile(label, 0.99)), 1e-3)
    disparity = torch.from_numpy(FLOOR + (1 - FLOOR) * label / near)
    rgb = torch.from_numpy(photo.rgb.copy()).permute(2, 0, 1).float() / 255
    steps = sharpen_edges(sharpen(disparity, rgb))
    return widen_near(steps, default_widening_px(photo.code.shape))
