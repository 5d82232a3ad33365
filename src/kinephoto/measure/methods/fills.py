"""What can be measured as a way to a new view: a function from (source rgb, warped view) to rgb.

Both pictures are [3, H, W] in [0, 1]; the warped ``View`` says what is known of the new view. What is known
comes back untouched, except from ``source_copied``, which looks at nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from kinephoto.painter.composite import paint_holes
from kinephoto.painter.door import Painter
from kinephoto.scene.holes import farther_disparity
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
    return _from_farther_side(view)


def push_pull(source: Tensor, view: View) -> Tensor:
    """Averages of ever wider neighbourhoods, of near things and far ones alike."""
    from kinephoto.painter.diffuse import push_pull as smooth

    filled = smooth(
        np.ascontiguousarray(view.rgb.permute(1, 2, 0).numpy()), view.known.numpy().astype(np.float32)
    )
    return torch.where(view.known, view.rgb, torch.from_numpy(filled).permute(2, 0, 1))


def telea(source: Tensor, view: View) -> Tensor:
    """OpenCV's fast marching (Telea, An image inpainting technique, 2004), radius 3 px."""
    import cv2

    return _opencv(view, cv2.INPAINT_TELEA)


def navier_stokes(source: Tensor, view: View) -> Tensor:
    """OpenCV's fluid (Bertalmio et al., Navier-Stokes, fluid dynamics, and image inpainting, 2001), radius 3 px."""
    import cv2

    return _opencv(view, cv2.INPAINT_NS)


def _opencv(view: View, way: int) -> Tensor:
    import cv2

    pixels = (view.rgb * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    holes = (~view.known).byte().numpy()
    filled = torch.from_numpy(cv2.inpaint(pixels, holes, 3, way)).permute(2, 0, 1).float() / 255
    return torch.where(view.known, view.rgb, filled)


def painter(chosen: str | Painter, seed: int = 0) -> Fill:
    """One of kinephoto's painters, or its name; it is told the holes' depth as in a film (``farther_disparity``)."""
    from kinephoto.painter.door import get_painter

    paints = get_painter(chosen) if isinstance(chosen, str) else chosen

    def fill(source: Tensor, view: View) -> Tensor:
        if not bool(view.known.any()):
            return source
        complete = farther_disparity(view.disparity, view.known)
        return paint_holes(paints, view.rgb, view.known, complete, seed=seed)

    return fill


def _from_farther_side(view: View) -> Tensor:
    """[3, H, W], every hole pixel taken from the farthest of four neighbours in its cross."""
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
    return torch.from_numpy(np.where(known, values, best).astype(np.float32)[:3])


def _carried(values: np.ndarray, known: np.ndarray, axis: int, backwards: bool) -> np.ndarray:
    """The last known value met when walking along an axis, infinite where none was met yet; [4, H, W]."""
    at = np.s_[::-1] if backwards else np.s_[:]
    order = np.swapaxes(known, axis, 1)[:, at]
    last = np.maximum.accumulate(np.where(order, np.arange(order.shape[1]), -1), axis=1)
    walked = np.swapaxes(values, axis + 1, 2)[:, :, at]
    found = np.take_along_axis(walked, np.broadcast_to(np.maximum(last, 0), walked.shape), axis=2)
    found = np.where(last >= 0, found, np.inf)
    return np.swapaxes(found[:, :, at], axis + 1, 2)
