"""Who looks at outpainted scenes: networks, and what two of them learn beforehand from photos with captions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.learn.photos import Skipped
from kinephoto.measure.features import Clip, Vgg16Features
from kinephoto.measure.inception import Inception
from kinephoto.measure.outpainting_photos import Collection, read_whole
from kinephoto.measure.prompt_fit import PromptFit, learnt
from kinephoto.measure.stlpips import StLpips

FRECHET_VGG16 = "frechet_vgg16"


@dataclass(frozen=True, eq=False)
class Looked:
    """What of a picture is kept to compare sets by.

    Attributes:
        features: [D] each, by the name of the Fréchet distance that they make.
        shares: [K] each, of kinds of pictures, by the name of the score that they make.
    """

    features: Mapping[str, np.ndarray]
    shares: Mapping[str, np.ndarray]

    @property
    def vgg16(self) -> np.ndarray:
        """[512]."""
        return self.features[FRECHET_VGG16]


@dataclass(frozen=True, eq=False)
class Judges:
    """Who looks at the pictures.

    Attributes:
        distances: by the name they get behind ``st_lpips_``, such as "alex".
        vgg16: a picture [3, H, W] to its features [512].
        inception: with weights that the user brought; None: FID and IS are not measured.
        clip: likewise, for CLIP-SIM.
        prompt_fit: learnt from other photos; None where there were none.
        known: [N, 512], the features of these photos; N may be 0.
    """

    distances: Mapping[str, StLpips]
    vgg16: Vgg16Features
    inception: Inception | None = None
    clip: Clip | None = None
    prompt_fit: PromptFit | None = None
    known: np.ndarray | None = None

    def look_at(self, rgb: Tensor) -> Looked:
        """What to keep of a picture [3, H, W] in [0, 1]."""
        features = {FRECHET_VGG16: self.vgg16(rgb).double().numpy()}
        shares = {}
        if self.inception:
            distance, score = self.inception.numbers
            seen = self.inception(rgb)
            features[distance], shares[score] = seen.features.double().numpy(), seen.shares.double().numpy()
        return Looked(features, shares)


@dataclass(frozen=True, eq=False)
class Known:
    """A photo that is learnt from: its captions, and [512], what VGG16 sees in it."""

    captions: Sequence[str]
    features: np.ndarray


def load_judges(inception: Path | None = None, clip: str | None = None, device: str | None = None) -> Judges:
    """Those that there are, before they learn.

    Args:
        inception: see ``Inception``.
        clip: see ``Clip``.
        device: where they run; None is the processor.

    Raises:
        InputError: one of them can't be loaded.
    """
    return Judges(
        {"alex": StLpips("alex", device), "vgg": StLpips("vgg", device)},
        Vgg16Features(device),
        Inception(inception, device) if inception else None,
        Clip(clip, device=device) if clip else None,
    )


def look_beforehand(collection: Collection, judges: Judges, size_px: int) -> Iterator[Known | Skipped]:
    """Look at each of the photos that ``collection.captions`` has, in order; or say why it can't be used."""
    for found in read_whole(collection.folder, list(collection.captions), size_px):
        if isinstance(found, Skipped):
            yield found
        else:
            name, rgb = found
            yield Known(collection.captions[name], judges.vgg16(rgb).double().numpy())


def taught(judges: Judges, photos: Sequence[Known]) -> tuple[Judges, list[str]]:
    """The judges with what they learn from these photos, and a sentence for what they can't learn."""
    if not photos:
        return judges, ["prompt fit is left out: there are no photos with captions to learn it from."]
    features = np.stack([photo.features for photo in photos])
    judges = replace(judges, known=features)
    try:
        return replace(judges, prompt_fit=learnt([photo.captions for photo in photos], features)), []
    except InputError as error:
        return judges, [f"prompt fit is left out: {error}"]
