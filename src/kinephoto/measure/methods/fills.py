"""What can be measured as a way to a new view: a function from (source rgb, warped view) to rgb.

Both pictures are [3, H, W] in [0, 1]; the warped ``View`` says what is known of the new view. What is known
comes back untouched, except from ``source_copied``, which looks at nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from kinephoto.scene.values import View

Fill = Callable[[Tensor, View], Tensor]


def source_copied(source: Tensor, view: View) -> Tensor:
    """The baseline that does not move."""
    return source


def nearest(source: Tensor, view: View) -> Tensor:
    """Each hole pixel takes the colour of the known pixel that is nearest in the picture."""
    from scipy.ndimage import distance_transform_edt

    if not bool(view.known.any()):
        return source
    row, column = distance_transform_edt(~view.known.numpy(), return_distances=False, return_indices=True)
    return view.rgb[:, torch.from_numpy(row).long(), torch.from_numpy(column).long()]


def farther_side(source: Tensor, view: View) -> Tensor:
    """Each hole pixel takes the farthest of the known pixels that lie nearest in its row and column."""
    if not bool(view.known.any()):
        return source
    rgb, _ = _from_farther_side(view)
    return rgb


def telea(source: Tensor, view: View) -> Tensor:
    """OpenCV's fast marching (Telea, An image inpainting technique, 2004), radius 3 px."""
    import cv2

    pixels = (view.rgb * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    holes = (~view.known).byte().numpy()
    filled = torch.from_numpy(cv2.inpaint(pixels, holes, 3, cv2.INPAINT_TELEA)).permute(2, 0, 1).float() / 255
    return torch.where(view.known, view.rgb, filled)


def painter(name: str, seed: int = 0) -> Fill:
    """One of kinephoto's own painters; the holes' depth is that of their farther side."""
    from kinephoto.painter import get_painter, paint_holes

    chosen = get_painter(name)

    def fill(source: Tensor, view: View) -> Tensor:
        if not bool(view.known.any()):
            return source
        _, disparity = _from_farther_side(view)
        return paint_holes(chosen, view.rgb, view.known, disparity, seed=seed)

    return fill


def _from_farther_side(view: View) -> tuple[Tensor, Tensor]:
    """rgb and disparity with every hole pixel taken from the farthest of four neighbours in its cross."""
    known = view.known.numpy()
    values = np.concatenate([view.rgb.numpy(), view.disparity.numpy()[None]])
    best = np.full_like(values, np.inf)
    for axis in (0, 1):
        for backwards in (False, True):
            found = _carried(values, known, axis, backwards)
            farther = found[3] < best[3]
            best = np.where(farther, found, best)
    # A pixel whose cross meets nothing known (an empty corner) takes what its filled neighbours have.
    lonely = ~np.isfinite(best[3])
    if lonely.any():
        from scipy.ndimage import distance_transform_edt

        row, column = distance_transform_edt(lonely, return_distances=False, return_indices=True)
        best = best[:, row, column]
    filled = torch.from_numpy(np.where(known, values, best).astype(np.float32))
    return filled[:3], filled[3]


def _carried(values: np.ndarray, known: np.ndarray, axis: int, backwards: bool) -> np.ndarray:
    """The last known value met when walking along an axis, infinite where none was met yet; [4, H, W]."""
    at = np.s_[::-1] if backwards else np.s_[:]
    order = np.swapaxes(known, axis, 1)[:, at]
    last = np.maximum.accumulate(np.where(order, np.arange(order.shape[1]), -1), axis=1)
    walked = np.swapaxes(values, axis + 1, 2)[:, :, at]
    found = np.take_along_axis(walked, np.broadcast_to(np.maximum(last, 0), walked.shape), axis=2)
    found = np.where(last >= 0, found, np.inf)
    return np.swapaxes(found[:, :, at], axis + 1, 2)
