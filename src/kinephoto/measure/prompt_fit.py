"""How well a picture fits a text where there is no CLIP: a stand-in, learnt from photos with captions.

From the words of a caption it is guessed what VGG16 sees in the photo (a ridge regression); a picture fits a text as
far as what VGG16 sees in it points where the text's guess points. It knows a few hundred words, no grammar, and
nothing of what training's photos don't show: good enough to tell whether painters listen, no more.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinephoto.errors import InputError

LEAST_USES = 3
"""In so many photos' captions a word must stand to count."""

RIDGE = 30.0
"""In units of photos: a word that stands with so many is believed by half. Anything from 3 to 300 does as well."""

LEAST_PHOTOS = 8
_WORD = re.compile(r"[a-z]+")


def words_of(text: str) -> set[str]:
    """Words in small letters, each once.

    Example:
        >>> sorted(words_of("A dog, and another dog"))
        ['a', 'and', 'another', 'dog']
    """
    return set(_WORD.findall(text.lower()))


@dataclass(frozen=True, eq=False)
class PromptFit:
    """What was learnt.

    Attributes:
        column: of each word that counts.
        weights: [words, D], what each adds to the guess.
        mean, deviation: [D], of the features; what all pictures have in common fits any text.
        usual: [words], the words of a photo on average.
    """

    column: dict[str, int]
    weights: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    usual: np.ndarray

    def guess(self, text: str) -> np.ndarray:
        """[D], what a text lets expect, in deviations from the mean; 0 where no word says anything."""
        return (_bag([text], self.column) - self.usual) @ self.weights

    def cosine(self, features: np.ndarray, text: str) -> float:
        """How far a picture's features [D] point where the text lets expect, in [-1, 1]; 0 is chance."""
        found, guess = (features - self.mean) / self.deviation, self.guess(text)
        lengths = float(np.linalg.norm(found) * np.linalg.norm(guess))
        return float(found @ guess) / lengths if lengths > 0 else 0.0


def learnt(captions: Sequence[Sequence[str]], features: np.ndarray, ridge: float = RIDGE) -> PromptFit:
    """Learn from photos.

    Args:
        captions: of each photo, one or more.
        features: [N, D], what was seen in each.
        ridge: how cautiously.

    Raises:
        InputError: fewer than eight photos, or no word that stands with three of them.
    """
    if len(captions) != len(features) or len(features) < LEAST_PHOTOS:
        raise InputError(
            f"Prompt fit is learnt from {LEAST_PHOTOS} photos with captions or more; there are {len(features)}."
        )
    uses = Counter(word for own in captions for word in set().union(*map(words_of, own)))
    column = {word: place for place, word in enumerate(sorted(w for w, n in uses.items() if n >= LEAST_USES))}
    if not column:
        raise InputError(
            f"No word stands in the captions of {LEAST_USES} photos, so prompt fit learns nothing."
        )
    features = np.asarray(features, np.float64)
    mean, deviation = features.mean(0), features.std(0)
    deviation = np.maximum(deviation, 1e-3 * max(float(deviation.mean()), 1e-6))
    bags = np.stack([_bag(own, column) for own in captions])
    usual = bags.mean(0)
    found, said = (features - mean) / deviation, bags - usual
    weights = np.linalg.solve(said.T @ said + ridge * np.eye(len(column)), said.T @ found)
    return PromptFit(column, weights, mean, deviation, usual)


def _bag(texts: Sequence[str], column: dict[str, int]) -> np.ndarray:
    """[words], in which share of the texts each stands."""
    bag = np.zeros(len(column))
    for text in texts:
        for word in words_of(text) & column.keys():
            bag[column[word]] += 1 / len(texts)
    return bag
