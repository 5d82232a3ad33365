"""Bringing a disparity that is known up to scale and shift to the truth it is compared with.

Letters: x is the predicted disparity, y the true one (inverse depth, not depth: that is the space in which
networks of MiDaS's kind are undefined by an affine map), and the alignment is scale · x + shift.

Three ways, for three kinds of truth:

- ``fit_least_squares``: exact truth everywhere (Ranftl et al., Towards Robust Monocular Depth Estimation, 2020).
- ``fit_robust``: sparse points, some of them wrong: least median of squares over random pairs (Rousseeuw 1984:
  RANSAC without a threshold to choose), then least squares over the pairs that agree.
- ``fit_scale``: predictions whose infinity already lies at zero: the median of log y − log x (Tucker & Snavely,
  Single-View View Synthesis with Multiplane Images, 2020, take the mean of logs; the median bears outliers).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinephoto.errors import InputError

# 512 pairs contain one without outliers with probability 1 - 1e-9 even if 80 % of pairs are spoilt.
RANDOM_PAIRS = 512
# Residuals are called outliers beyond 2.5 deviations, the deviation estimated from the median
# (1.4826 = 1 / 0.6745, the normal distribution's upper quartile).
OUTLIER_DEVIATIONS = 2.5 * 1.4826


@dataclass(frozen=True)
class Alignment:
    """The map scale · x + shift from predicted to true disparity."""

    scale: float
    shift: float = 0.0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Aligned disparity, of ``x``'s shape; may be negative where the prediction is poor."""
        return self.scale * x + self.shift


def fit_least_squares(x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> Alignment:
    """The scale >= 0 and shift with the least sum of weight · (scale · x + shift − y)².

    Args:
        x: predicted disparities, any shape.
        y: true ones, the same shape, finite.
        weight: >= 0, the same shape; all ones if absent.

    Returns:
        The alignment, scale >= 0: a prediction that is constant, or turned around (its best scale is
        negative, near things far), explains nothing and gets scale 0 and the truth's mean.

    Raises:
        InputError: fewer than two values.
    """
    x, y = _checked(x, y)
    w = np.ones_like(x) if weight is None else np.asarray(weight, np.float64).ravel()
    w = w / w.sum()
    mean_x, mean_y = w @ x, w @ y
    variance = w @ (x - mean_x) ** 2
    if variance <= 1e-12 * max(mean_x**2, 1e-300):
        return Alignment(0.0, float(mean_y))
    scale = (w @ ((x - mean_x) * (y - mean_y))) / variance
    scale = max(scale, 0.0)
    return Alignment(float(scale), float(mean_y - scale * mean_x))


def fit_robust(x: np.ndarray, y: np.ndarray, seed: int = 0) -> Alignment:
    """Scale > 0 and shift that most of the values agree on; up to half may be wrong.

    Args:
        x: predicted disparities, any shape.
        y: true ones, the same shape, finite.
        seed: of the random pairs; the same seed gives the same answer.

    Returns:
        The alignment. Where no pair gives a positive scale, plain least squares.

    Raises:
        InputError: fewer than two values.
    """
    x, y = _checked(x, y)
    first, second = np.random.default_rng(seed).integers(0, len(x), (2, RANDOM_PAIRS))
    run = x[second] - x[first]
    usable = np.abs(run) > 1e-6 * max(np.ptp(x), 1e-300)
    scales = (y[second] - y[first])[usable] / run[usable]
    shifts = (y[first][usable] - scales * x[first][usable])[scales > 0]
    scales = scales[scales > 0]
    if not len(scales):
        return fit_least_squares(x, y)
    medians = [np.median(np.abs(a * x + b - y)) for a, b in zip(scales, shifts, strict=True)]
    best = int(np.argmin(medians))
    residual = np.abs(scales[best] * x + shifts[best] - y)
    # Perfect data has a median of zero: keep what is equal up to rounding.
    agree = residual <= OUTLIER_DEVIATIONS * medians[best] + 1e-9 * np.abs(y).max()
    return fit_least_squares(x[agree], y[agree])


def fit_scale(x: np.ndarray, y: np.ndarray) -> Alignment:
    """The scale alone, exp(median(log y − log x)).

    Args:
        x: predicted disparities, any shape; those <= 0 are left out.
        y: true ones, > 0.

    Raises:
        InputError: fewer than two usable values.
    """
    x, y = _checked(x, y)
    usable = (x > 0) & (y > 0)
    if usable.sum() < 2:
        raise InputError("Scale can be fitted only where at least two disparities are positive.")
    return Alignment(float(np.exp(np.median(np.log(y[usable]) - np.log(x[usable])))))


def _checked(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as flat float64 arrays of one length, at least two."""
    x, y = np.asarray(x, np.float64).ravel(), np.asarray(y, np.float64).ravel()
    if len(x) != len(y) or len(x) < 2:
        raise InputError(f"An alignment needs two or more pairs of values; got {len(x)} and {len(y)}.")
    return x, y
