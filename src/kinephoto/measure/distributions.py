"""How alike two sets of pictures are, and how many kinds of pictures are in one: from a vector of features each.

The two numbers behind FID and IS (Heusel et al., GANs Trained by a Two Time-Scale Update Rule, 2017; Salimans et al.,
Improved Techniques for Training GANs, 2016). They bear those names only with the features of Inception v3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kinephoto.errors import InputError

CLUSTERS = 10
KMEANS_STARTS, KMEANS_ROUNDS = 4, 100

GROUPS = 20
"""So many parts are left out in turn at most; with fewer pictures each is a part."""

LEAST_GROUPS = 8
"""Of fewer no interval is worth printing."""


def frechet_distance(found: np.ndarray, true: np.ndarray) -> float:
    """|μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½): how far apart the Gaussians are that fit two sets.

    With fewer pictures than features the covariances have gaps, which the formula allows; the number is then too
    large, and larger the fewer there are. Only sets of as many pictures can be compared by it.

    Args:
        found: [N, D], a row for each picture.
        true: [M, D].

    Returns:
        0 for equal sets, NaN where a set has fewer than two pictures.

    Raises:
        InputError: features of another width.

    Example:
        >>> a = np.array([[0.0], [2.0]])
        >>> round(frechet_distance(a, a + 3.0), 6)
        9.0
    """
    if found.ndim != 2 or true.ndim != 2 or found.shape[1] != true.shape[1]:
        raise InputError(f"Two sets of features of one width are needed; got {found.shape} and {true.shape}.")
    if min(len(found), len(true)) < 2:
        return float("nan")
    means, roots = zip(*(_mean_and_root(np.asarray(each, np.float64)) for each in (found, true)), strict=True)
    # tr (Σ₁Σ₂)^½ is the sum of the singular values of R₁R₂ᵀ where Σ = RᵀR: nothing is inverted, nothing complex.
    overlap = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    spread = sum(float((root**2).sum()) for root in roots)
    return max(0.0, float(((means[0] - means[1]) ** 2).sum() + spread - 2 * overlap))


def _mean_and_root(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean [D], and R with RᵀR the covariance."""
    mean = features.mean(0)
    return mean, np.asarray(np.linalg.qr((features - mean) / np.sqrt(len(features) - 1), mode="r"))


def kinds_score(shares: np.ndarray) -> float:
    """exp E KL(p(y|x) ‖ p(y)), Salimans et al.'s: how surely each picture is of a kind, and of how many they are.

    Args:
        shares: [N, K] >= 0, how much of each kind is in each picture; rows add up to 1.

    Returns:
        1 to K; NaN without pictures.

    Example:
        >>> kinds_score(np.eye(4))
        4.0
    """
    if not len(shares):
        return float("nan")
    shares = np.asarray(shares, np.float64)
    overall = np.broadcast_to(shares.mean(0), shares.shape)
    there = shares > 0
    return float(np.exp((shares[there] * np.log(shares[there] / overall[there])).sum() / len(shares)))


@dataclass(frozen=True, eq=False)
class Clusters:
    """Kinds of pictures, found in real ones: as many Gaussians, alike in width and in every direction.

    Attributes:
        centres: [K, D].
        variance: along one direction, > 0.
    """

    centres: np.ndarray
    variance: float

    def shares(self, features: np.ndarray) -> np.ndarray:
        """How much of each kind is in each picture: [N, D] to [N, K], rows add up to 1."""
        log_share = -_squared_distances(features, self.centres) / (2 * self.variance)
        share = np.exp(log_share - log_share.max(1, keepdims=True))
        return share / share.sum(1, keepdims=True)


def clusters_of(features: np.ndarray, count: int = CLUSTERS, seed: int = 0) -> Clusters:
    """The best of four runs of k-means, each from centres drawn far apart (Arthur & Vassilvitskii, k-means++, 2007).

    Args:
        features: [N, D] of real pictures.
        count: of clusters; at most half as many as pictures, so that a cluster has a width.
        seed: the same one gives the same clusters.

    Raises:
        InputError: no picture.
    """
    if not len(features):
        raise InputError("Clusters need at least one picture.")
    features = np.asarray(features, np.float64)
    rng = np.random.default_rng(seed)
    count = max(1, min(count, len(features) // 2))
    runs = [_kmeans(features, count, rng) for _ in range(KMEANS_STARTS)]
    centres, nearest = min(runs, key=lambda run: float(((features - run[0][run[1]]) ** 2).sum()))
    # Features vary together: a mean over all of their directions would be far too narrow, and every picture
    # of one kind for certain. So each direction's variance counts by itself: tr Σ² / tr Σ.
    spectrum = np.linalg.svd(features - centres[nearest], compute_uv=False) ** 2 / len(features)
    total = float(spectrum.sum())
    least = 1e-9 * max(1.0, float((features**2).mean()))
    return Clusters(centres, max(float((spectrum**2).sum()) / total, least) if total > 0 else least)


def _kmeans(features: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Centres [K, D] and the number of each picture's [N]."""
    centres = features[rng.integers(len(features))][None]
    while len(centres) < count:
        apart = _squared_distances(features, centres).min(1)
        weight = apart / apart.sum() if apart.sum() > 0 else None
        centres = np.concatenate([centres, features[rng.choice(len(features), p=weight)][None]])
    nearest = _squared_distances(features, centres).argmin(1)
    for _ in range(KMEANS_ROUNDS):
        # A centre that lost all of its pictures stays where it is.
        own = [features[nearest == number] for number in range(count)]
        centres = np.stack([part.mean(0) if len(part) else centres[i] for i, part in enumerate(own)])
        before, nearest = nearest, _squared_distances(features, centres).argmin(1)
        if np.array_equal(before, nearest):
            break
    return centres, nearest


def _squared_distances(features: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """[N, K]."""
    return np.stack([((features - centre) ** 2).sum(1) for centre in centres], axis=1)


def interval(number_of: Callable[[np.ndarray], float], count: int, seed: int = 0) -> list[float]:
    """A 95 % interval of a number that belongs to a whole set of pictures, by leaving out a part at a time.

    A bootstrap would draw pictures twice, and both numbers above mistake that for a set with less variety. So:
    the jackknife over 20 parts at most (Efron, The Jackknife, the Bootstrap and Other Resampling Plans, 1982).

    Args:
        number_of: the number, given the places of the pictures that count, [n] int.
        count: of pictures.
        seed: of the parts.

    Returns:
        [low, high]; NaN with fewer than eight pictures.
    """
    from scipy.stats import t

    parts = np.array_split(np.random.default_rng(seed).permutation(count), min(count, GROUPS) or 1)
    if len(parts) < LEAST_GROUPS:
        return [float("nan")] * 2
    without = np.array([number_of(np.setdiff1d(np.arange(count), part)) for part in parts])
    error = np.sqrt((len(parts) - 1) * without.var())
    whole = number_of(np.arange(count))
    half = float(t.ppf(0.975, len(parts) - 1) * error)
    return [whole - half, whole + half]
