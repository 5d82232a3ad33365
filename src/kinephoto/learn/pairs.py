"""Cycle pairs: a photo, and what is left of it after a camera went away and came back (Eq. 8, Fig. 3a).

What a pair holds depends on the photo, the seed and the index alone. Of the four kinds of holes the first is
the paper's; the others are what a film asks for as well (``docs/decisions/0005``):

- ``cycle``: lost on the way there and back;
- ``union``: lost on any of two or three ways;
- ``wide``: lost on one way, and as far as a few pixels more around it;
- ``border``: a strip along one or two sides of the picture, as a panning camera uncovers it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args

import cv2
import numpy as np
import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.scene.camera import Camera, Pose
from kinephoto.scene.render import cycle

Kind = Literal["cycle", "union", "wide", "border"]

MIXTURE: Mapping[Kind, float] = MappingProxyType({"cycle": 0.5, "union": 0.2, "wide": 0.2, "border": 0.1})
"""Share of each kind in training."""


@dataclass(frozen=True)
class Motion:
    """The range of poses. Lengths are in units of the nearest thing's depth (disparity 1).

    Attributes:
        sideways: least and most |x|, drawn evenly in its logarithm; the sign is drawn as well.
        upwards: most |y| as a share of |x|, even.
        forwards: most |z|, even.
        turned_deg: most rotation about each axis, even.
    """

    sideways: tuple[float, float] = (0.015, 0.11)
    upwards: float = 0.7
    forwards: float = 0.06
    turned_deg: float = 1.5

    def pose(self, rng: np.random.Generator) -> Pose:
        """T, ``view_from_photo``."""
        low, high = map(math.log, self.sideways)
        x = math.exp(rng.uniform(low, high))
        y = x * rng.uniform(-self.upwards, self.upwards)
        if rng.random() < 0.25:
            x, y = y, x
        z = rng.uniform(-self.forwards, self.forwards)
        turn = np.radians(rng.uniform(-self.turned_deg, self.turned_deg, 3))
        rotation, _ = cv2.Rodrigues(turn)
        t = torch.tensor([x * rng.choice((-1, 1)), y, z], dtype=torch.float32)
        return Pose(torch.from_numpy(rotation).float(), t)


@dataclass(frozen=True, eq=False)
class Pair:
    """A hole whose truth is known.

    Attributes:
        rgb: [3, H, W] in [0, 1], V, the photo.
        rendered: [3, H, W], Ṽ, the photo after the way there and back, 0 where lost. For kinds that are no
            single way, and in borders, the photo itself where known.
        known: [H, W] bool, M̃.
        disparity: [H, W] float32 > 0, the photo's.
        kind: of hole.
    """

    rgb: Tensor
    rendered: Tensor
    known: Tensor
    disparity: Tensor
    kind: Kind = "cycle"
    pose: Pose = field(default_factory=Pose.identity)


def cycle_pair(
    rgb: Tensor,
    disparity: Tensor,
    seed: int,
    index: int,
    motion: Motion | None = None,
    kinds: Sequence[Kind] | Mapping[Kind, float] = ("cycle",),
) -> Pair:
    """The pair of this seed and index.

    Args:
        rgb: [3, H, W] float32 in [0, 1].
        disparity: [H, W] float32 > 0, the nearest about 1; its edges sharp, or the surfaces tear wrongly.
        seed: ≥ 0.
        index: ≥ 0; others give other poses.
        motion: the range of poses.
        kinds: of holes to draw from, evenly or with weights.

    Raises:
        InputError: an unknown kind, or pictures of two sizes.
    """
    weights = dict(kinds) if isinstance(kinds, Mapping) else dict.fromkeys(kinds, 1.0)
    unknown = set(weights) - set(get_args(Kind))
    if unknown or not weights:
        raise InputError(f"There are holes of the kinds {', '.join(get_args(Kind))}; not {sorted(unknown)}.")
    if rgb.shape[1:] != disparity.shape:
        raise InputError(f"The photo is {tuple(rgb.shape[1:])}, its disparity {tuple(disparity.shape)}.")
    rng = np.random.default_rng((seed, index))
    kind = str(rng.choice(list(weights), p=np.array([*weights.values()]) / sum(weights.values())))
    motion = motion or Motion()
    if kind == "border":
        known = _without_border(tuple(rgb.shape[1:]), rng)
        return Pair(rgb, rgb * known, known, disparity, "border")
    camera = Camera.from_field_of_view((int(rgb.shape[1]), int(rgb.shape[2])))
    pose = motion.pose(rng)
    rendered, known = cycle(rgb, disparity, camera, pose)
    if kind == "cycle":
        return Pair(rgb, rendered, known, disparity, "cycle", pose)
    if kind == "union":
        for _ in range(rng.integers(1, 3)):
            known = known & cycle(rgb, disparity, camera, motion.pose(rng))[1]
        return Pair(rgb, rgb * known, known, disparity, "union", pose)
    radius = int(rng.integers(2, 9))
    ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    # What is known only in specks and threads is no bank; opening first keeps them from growing.
    hole = cv2.morphologyEx((~known).byte().numpy(), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    known = torch.from_numpy(cv2.dilate(hole, ball) == 0)
    return Pair(rgb, rgb * known, known, disparity, "wide", pose)


def _without_border(hw: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    """[H, W] bool, False in a strip of 2 to 15 % along a side, and perhaps along one across it."""
    known = np.ones(hw, bool)
    for axis in ((0,), (1,), (0, 1))[rng.integers(3)]:
        count = max(1, round(hw[axis] * rng.uniform(0.02, 0.15)))
        strip = [slice(None), slice(None)]
        strip[axis] = slice(0, count) if rng.random() < 0.5 else slice(hw[axis] - count, None)
        known[tuple(strip)] = False
    return torch.from_numpy(known)


def index_of(name: str, round_: int) -> int:
    """An index that depends on a photo's name and the round through the photos."""
    digest = hashlib.sha256(f"{name}\n{round_}".encode()).digest()
    return int.from_bytes(digest[:6], "big")


def hole_widths(known: Tensor) -> np.ndarray:
    """For every hole pixel, how wide its hole is: twice the largest distance to the known, px; [N] float32."""
    hole = (~known).byte().numpy()
    count, labels = cv2.connectedComponents(hole)
    distance = cv2.distanceTransform(np.pad(hole, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    widest = np.zeros(count, np.float32)
    np.maximum.at(widest, labels.ravel(), distance.ravel())
    return 2 * widest[labels[hole > 0]]
