"""How well scenes are painted around objects: photos with masks and captions, every method on the same objects.

The paper's Table 3. Only the objects are known; everything else is painted, with a caption as the prompt.
``docs/protocol.md`` says what each number means.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.learn.photos import Skipped
from kinephoto.measure.inpainting import BEST_PSNR_DB, Finished, Painted
from kinephoto.measure.methods.scene_fills import SceneFill
from kinephoto.measure.metrics import psnr
from kinephoto.measure.outpainting_judges import Judges, Looked
from kinephoto.measure.outpainting_photos import Case, Collection, read_scene
from kinephoto.measure.stlpips import StLpips
from kinephoto.studio.outpaint import seam

PHOTO = "photo"
"""What stands in the place of a method for the photo itself: what the numbers are for a real scene."""

MOST_PICTURES = 12
"""So many photos keep their pictures, to look at."""

NAN = float("nan")


@dataclass(frozen=True, eq=False)
class Scene:
    """One photo, finished.

    Attributes:
        finished: its numbers by method, ``PHOTO`` first, and the pictures.
        prompt: the caption that was painted.
        looked: by method, and of the photo.
    """

    finished: Finished
    prompt: str
    looked: Mapping[str, Looked]

    def without_pictures(self) -> Scene:
        """What is needed of it while further photos are measured."""
        return replace(self, finished=self.finished.without_pictures())


def evaluate_outpainting(
    collection: Collection,
    methods: Mapping[str, SceneFill],
    judges: Judges,
    *,
    size_px: int = 256,
    seed: int = 0,
) -> Iterator[Scene | Skipped]:
    """Measure every method on every photo, one photo at a time.

    Args:
        collection: from ``read_collection``.
        methods: by the name they get in the tables.
        judges: who looks.
        size_px: longer short sides are reduced to so many.
        seed: of objects and painters. What is known of a photo depends on it and on the photo's name alone.

    Yields:
        For each case in order its numbers, or why it can't be used; pictures with the first dozen.
    """
    with_pictures = 0
    for case in collection.cases:
        try:
            rgb, known = read_scene(collection.folder, case, size_px, seed)
        except InputError as error:
            yield Skipped(case.name, str(error))
            continue
        scene = measured(case, rgb, known, methods, judges, seed)
        yield scene if with_pictures < MOST_PICTURES else scene.without_pictures()
        with_pictures += 1


def measured(
    case: Case,
    rgb: Tensor,
    known: Tensor,
    methods: Mapping[str, SceneFill],
    judges: Judges,
    seed: int = 0,
) -> Scene:
    """A photo's numbers.

    Args:
        case: its prompts are used.
        rgb: [3, H, W] in [0, 1], the whole photo.
        known: [H, W] bool, its objects.
        methods, judges, seed: see ``evaluate_outpainting``.
    """
    painted, seconds = paint(rgb, known, case.prompt, methods, seed)
    pictures = {PHOTO: rgb, **painted.pictures}
    looked = {name: judges.look_at(picture) for name, picture in pictures.items()}
    near = _nearness(painted, judges.distances)
    values = {
        name: {
            **_fits(picture, looked[name], case, judges),
            "seam": seam(picture, known),
            **near[name],
            "seconds": seconds.get(name, NAN),
        }
        for name, picture in pictures.items()
    }
    finished = Finished(case.name, float((~known).float().mean()), values, painted)
    return Scene(finished, case.prompt, looked)


def paint(
    rgb: Tensor, known: Tensor, prompt: str, methods: Mapping[str, SceneFill], seed: int
) -> tuple[Painted, dict[str, float]]:
    """Every method around the same objects, and how long each took, s; known pixels are put back."""
    objects = torch.where(known, rgb, 0.0)
    pictures, seconds = {}, {}
    for method, fill in methods.items():
        start = time.perf_counter()
        # Each gets copies: one that writes into its input must not help or harm the next.
        picture = fill(objects.clone(), known.clone(), prompt, seed)
        seconds[method] = time.perf_counter() - start
        pictures[method] = torch.where(known, rgb, picture.clamp(0, 1))
    return Painted(rgb, known, pictures), seconds


def _fits(picture: Tensor, looked: Looked, case: Case, judges: Judges) -> dict[str, float]:
    """How well it fits its prompt, by whoever can tell."""
    found = {}
    if judges.prompt_fit:
        fit = judges.prompt_fit
        found["prompt_fit"] = fit.cosine(looked.vgg16, case.prompt)
        found["prompt_fit_wrong"] = fit.cosine(looked.vgg16, case.other_prompt) if case.other_prompt else NAN
    if judges.clip:
        found["clip_sim"] = judges.clip.similarity(picture, case.prompt)
    return found


def _nearness(painted: Painted, distances: Mapping[str, StLpips]) -> dict[str, dict[str, float]]:
    """How near each picture comes to the photo where nothing was known; of the photo itself nothing is said."""
    unknown = ~painted.known
    names = ["psnr_unknown", *(f"st_lpips_{network}_unknown" for network in distances)]
    found = {PHOTO: dict.fromkeys(names, NAN)}
    true = {network: measure.features(painted.rgb) for network, measure in distances.items()}
    for method, picture in painted.pictures.items():
        found[method] = {"psnr_unknown": min(psnr(picture, painted.rgb, unknown), BEST_PSNR_DB)}
        for network, measure in distances.items():
            apart = measure.distance(picture, true[network]).map
            found[method][f"st_lpips_{network}_unknown"] = float(apart[unknown].mean())
    return found
