"""Paint everything but an object: a small picture from a plain fill and noise, then larger ones from it."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from kinephoto.painter.classical import ClassicalPainter
from kinephoto.painter.composite import paint_holes
from kinephoto.painter.door import Painter
from kinephoto.painter.soften import softened

FIRST_SIDE_PX = 128
"""Short side of the smallest picture: what a crop of training shows at once."""

FIRST_STEPS, FIRST_STRENGTH = 8, 0.6
"""From pure noise the built-in network leaves colours that are the noise's own; from six tenths it doesn't, and
keeps what the classical painter put there in the large."""

FINER_STEPS, FINER_STRENGTH = 3, 0.3
COLOUR_PX, DETAIL_PX, DETAIL_SHARE = 3.0, 1.5, 0.5
"""Deviations of two blurs, and what is kept of the detail below the second (decision 6)."""

MULTIPLE_PX = 8


@runtime_checkable
class ScenePainter(Protocol):
    """A painter that was trained to paint scenes around objects."""

    def paint_scene(self, rgb: Tensor, known: Tensor, *, prompt: str | None = None, seed: int = 0) -> Tensor:
        """Make up everything around what is known; arguments and result as for ``Painter.paint``."""
        ...


def paint_around(
    painter: Painter, rgb: Tensor, known: Tensor, *, prompt: str | None = None, seed: int = 0
) -> Tensor:
    """The scene around an object: through ``paint_scene`` where the painter has it, else as one large hole.

    Args:
        painter: from ``get_painter``.
        rgb: [3, H, W] in [0, 1]; what it holds where not known is never seen.
        known: [H, W] bool, the object, at least one True.
        prompt: what the scene shows.
        seed: the same seed gives the same bytes.

    Returns:
        [3, H, W] in [0, 1]; equal to ``rgb`` bit for bit where known.

    Raises:
        InputError: shapes that disagree, or nothing known.
    """
    chosen: Any = _AsPainter(painter) if isinstance(painter, ScenePainter) else painter
    return paint_holes(chosen, rgb, known, torch.ones(known.shape), prompt=prompt, seed=seed)


class _AsPainter:
    """``paint_scene`` under the name by which holes are painted."""

    def __init__(self, painter: Any) -> None:
        self._painter, self.name = painter, painter.name

    def paint(
        self, rgb: Tensor, known: Tensor, disparity: Tensor, *, prompt: str | None = None, seed: int = 0
    ) -> Tensor:
        """See ``Painter.paint``; there is no depth to go by."""
        return self._painter.paint_scene(rgb, known, prompt=prompt, seed=seed)


def coarse_to_fine(
    pipeline: Any,
    rgb: Tensor,
    known: Tensor,
    *,
    prompt: str | None,
    seed: int,
    guidance: float,
    steps: int | None,
) -> Tensor:
    """Paint a scene with a ``MUNetPipeline`` whose z̃ is encoded from a filled picture.

    The smallest picture is filled by the classical painter: patches of the object, where a scene would have some
    structure of its own. From the mean colour the network painted hardly more than a tinted wall.

    Args:
        pipeline: trained on object pairs (``kinephoto train outpainter``).
        rgb: [3, H, W] in [0, 1], 0 where not known.
        known: [H, W] bool, at least one True.
        prompt, seed, guidance: as for ``MUNetPipeline.painting``.
        steps: for the smallest picture; None: 8.

    Returns:
        [3, H, W] in [0, 1].
    """
    sizes = _sizes((int(rgb.shape[1]), int(rgb.shape[2])))
    painted: Tensor | None = None
    for hw in sizes:
        small, is_known = shrunk(rgb, known, hw)
        first = painted is None
        fill = (
            ClassicalPainter().paint(small, is_known, torch.ones(hw), seed=seed)
            if painted is None
            else F.interpolate(painted[None], hw, mode="bicubic", align_corners=False)[0].clamp(0, 1)
        )
        painted = pipeline(
            small[None],
            is_known[None],
            fill=torch.where(is_known, small, fill)[None],
            prompt=prompt,
            steps=(steps or FIRST_STEPS) if first else FINER_STEPS,
            strength=FIRST_STRENGTH if first else FINER_STRENGTH,
            guidance=guidance,
            seed=seed,
            window_px=512,
            margin_px=64,
        )[0]
        painted = torch.where(is_known, small, painted.clamp(0, 1))
    assert painted is not None  # there is at least one size
    painted = painted.to(rgb)
    return softened(painted, known, colour_px=COLOUR_PX, detail_px=DETAIL_PX, detail_share=DETAIL_SHARE)


def mean_fill(rgb: Tensor, known: Tensor) -> Tensor:
    """[3, H, W] of the mean colour of what is known."""
    return rgb[:, known].mean(1)[:, None, None].expand_as(rgb)


def _sizes(hw: tuple[int, int]) -> list[tuple[int, int]]:
    """From the smallest to the picture's own, each twice as large as the last or less."""
    sizes, scale = [hw], 1.0
    while min(sizes[0]) > 1.5 * FIRST_SIDE_PX:
        scale /= 2
        height, width = (max(1, round(side * scale / MULTIPLE_PX)) * MULTIPLE_PX for side in hw)
        sizes.insert(0, (height, width))
    return sizes


def shrunk(rgb: Tensor, known: Tensor, hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """A smaller picture of what is known: colours are means over the known alone."""
    if tuple(known.shape) == hw:
        return rgb.float(), known
    share = F.interpolate(known[None, None].float(), hw, mode="area")
    small = F.interpolate((rgb * known)[None].float(), hw, mode="area") / share.clamp_min(1e-6)
    is_known = share[0, 0] > 0.999
    if not bool(is_known.any()):
        is_known = share[0, 0] >= share.max()
    return small[0] * is_known, is_known
