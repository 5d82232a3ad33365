"""What ``measure.outpainting`` found: means and numbers of the whole set with their intervals, tables, a sheet."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinephoto.learn.photos import Skipped
from kinephoto.measure import inpainting_report
from kinephoto.measure.distributions import Clusters, clusters_of, frechet_distance, interval, kinds_score
from kinephoto.measure.inpainting import mean_of
from kinephoto.measure.outpainting import PHOTO, Scene
from kinephoto.measure.outpainting_judges import Judges
from kinephoto.measure.report import markdown_table

TITLES = {
    "frechet_vgg16": "Fréchet distance (VGG16)",
    "cluster_score_vgg16": "cluster score (VGG16)",
    "fid": "FID",
    "is": "IS",
    "frechet_inception": "Fréchet distance (torchvision's Inception v3)",
    "inception_score": "inception score (torchvision's Inception v3)",
    "clip_sim": "CLIP-SIM",
    "prompt_fit": "prompt fit (stand-in)",
    "prompt_fit_wrong": "the same, wrong prompt",
    "st_lpips_alex_unknown": "ST-LPIPS AlexNet",
    "st_lpips_vgg_unknown": "ST-LPIPS VGG16",
    "psnr_unknown": "PSNR, dB",
    "seam": "seam",
}
CLUSTER_SCORE = "cluster_score_vgg16"
TITLE_OF_PHOTO = "(the photo)"
LIKENESS = ("st_lpips_alex_unknown", "st_lpips_vgg_unknown", "psnr_unknown", "seam")
"""Numbers of the second table: how near each picture is to its photo; the first has those of whole sets and of text."""

PUBLISHED = {
    "SD": (16.77, 35.13, 0.3212),
    "SD-FT": (13.01, 34.09, 0.3112),
    "the paper's": (10.65, 38.61, 0.3226),
}
"""FID, IS, CLIP-SIM: Table 3 of Learning 3D Photography Videos via Self-supervised Diffusion on Single Images."""

NOT_COMPARABLE = (
    "Published, Table 3 of the paper: by Inception v3 and CLIP, on 4,952 photos of COCO, at another size. Not "
    "comparable with the rows above."
)

UNKNOWN_COLOUR = (0.35, 0.35, 0.35)
CELL_WIDTH_PX = 240
PLACES_BELOW = {2.0: 3, 100.0: 2, np.inf: 0}
"""So many places behind the point are printed of numbers below these."""

LABEL_LETTERS = 44

Number = Callable[[np.ndarray], float]
"""A number of a set of pictures, given the places of those that count."""


def kinds_among(scenes: Sequence[Scene], known: np.ndarray | None = None, seed: int = 0) -> Clusters:
    """The clusters for the cluster score: of the photos that were learnt from, else of those measured.

    Args:
        scenes: at least one.
        known: [N, D], VGG16 features of photos that are not measured.
        seed: of k-means.
    """
    own = np.stack([scene.looked[PHOTO].vgg16 for scene in scenes])
    return clusters_of(own if known is None or len(known) < len(own) else known, seed=seed)


def summary(scenes: Sequence[Scene], kinds: Clusters) -> dict[str, dict[str, dict[str, Any]]]:
    """Every number of every method, and of the photos themselves, with its 95 % interval.

    Means over photos have those of ``inpainting_report.summary``; numbers that belong to the whole set have
    those of ``distributions.interval``.

    Returns:
        {method: {number: {"mean", "ci95": [low, high], "photos", and "median" where it is a mean}}}.
    """
    means = inpainting_report.summary([scene.finished for scene in scenes])
    return {method: _of_sets(scenes, method, kinds) | row for method, row in means.items()}


def _of_sets(scenes: Sequence[Scene], method: str, kinds: Clusters) -> dict[str, dict[str, Any]]:
    """The numbers that belong to the whole set; a distance of the photos from themselves is none."""
    found, true = ([scene.looked[each] for scene in scenes] for each in (method, PHOTO))
    shares = {CLUSTER_SCORE: kinds.shares(np.stack([each.vgg16 for each in found]))}
    shares |= {name: np.stack([each.shares[name] for each in found]) for name in found[0].shares}
    numbers = {}
    for name in found[0].features:
        ours, theirs = (np.stack([each.features[name] for each in some]) for some in (found, true))
        numbers[name] = _distance(ours, theirs) if method != PHOTO else _nothing
    for name, rows in shares.items():
        numbers[name] = _score(rows)
    everything = np.arange(len(scenes))
    return {
        name: {
            "mean": number(everything),
            "ci95": interval(number, len(scenes)),
            "photos": len(scenes),
        }
        for name, number in numbers.items()
    }


def _distance(ours: np.ndarray, theirs: np.ndarray) -> Number:
    return lambda places: frechet_distance(ours[places], theirs[places])


def _score(shares: np.ndarray) -> Number:
    return lambda places: kinds_score(shares[places])


def _nothing(places: np.ndarray) -> float:
    return float("nan")


def tables(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Three tables in Markdown: whole sets and text, likeness to the photos, and what has been published.

    Args:
        found: from ``summary``.
    """
    numbers = [name for name in TITLES if name in found[PHOTO]]
    of_sets = [name for name in numbers if name not in LIKENESS]
    near = [name for name in numbers if name in LIKENESS]
    photos = found[PHOTO]["seam"]["photos"]
    rows = sorted(found.items(), key=lambda item: item[0] == PHOTO)
    first, second = (
        markdown_table(
            ["method", *(TITLES[name] for name in names), *more],
            [
                [
                    TITLE_OF_PHOTO if method == PHOTO else method,
                    *(_with_interval(row[name]) for name in names),
                    *([row["seconds"]["median"]] if more else []),
                ]
                for method, row in rows
            ],
        )
        for names, more in ((of_sets, ()), (near, ("seconds (median)",)))
    )
    published = markdown_table(["published", "FID", "IS", "CLIP-SIM"], [[*_published(n)] for n in PUBLISHED])
    return "\n\n".join((f"{photos} photos.", first, second, NOT_COMPARABLE, published))


def _published(name: str) -> list[str]:
    distance, score, similarity = PUBLISHED[name]
    return [name, f"{distance:.2f}", f"{score:.2f}", f"{similarity:.4f}"]


def _with_interval(number: Mapping[str, Any]) -> str | None:
    """``23.10 (22.00 to 24.20)``, the number alone where there is no interval, None where there is no number."""
    if not np.isfinite(number["mean"]):
        return None
    places = next(places for limit, places in PLACES_BELOW.items() if abs(number["mean"]) < limit)
    low, high = number["ci95"]
    between = f" ({low:.{places}f} to {high:.{places}f})" if np.isfinite(low) else ""
    return f"{number['mean']:.{places}f}{between}"


def results(
    scenes: Sequence[Scene], skipped: Sequence[Skipped], judges: Judges, seed: int = 0
) -> dict[str, Any]:
    """What ``write_results`` is given: the summary, each photo's own numbers, and the photos left out.

    Args:
        scenes: at least one.
        skipped: left out.
        judges: those who looked.
        seed: of the kinds of photos.
    """
    kinds = kinds_among(scenes, judges.known, seed)
    found = summary(scenes, kinds)
    return {
        "methods": {method: row for method, row in found.items() if method != PHOTO},
        "real": found[PHOTO],
        "published": {
            "note": NOT_COMPARABLE,
            **{
                name: dict(zip(("fid", "is", "clip_sim"), row, strict=True))
                for name, row in PUBLISHED.items()
            },
        },
        "photos": len(scenes),
        "unknown_share": mean_of([scene.finished.hole_share for scene in scenes]),
        "clusters": len(kinds.centres),
        "skipped": [{"photo": photo.name, "why": photo.why} for photo in skipped],
        "by_photo": {
            scene.finished.name: {
                "prompt": scene.prompt,
                "unknown_share": scene.finished.hole_share,
                "methods": scene.finished.values,
            }
            for scene in scenes
        },
    }


def sheet(scenes: Sequence[Scene]) -> Tensor:
    """A row for each of the scenes that have their pictures: photo, objects, and what each method painted.

    Args:
        scenes: at least one with its pictures; those that have put theirs away are left out.

    Returns:
        [3, H, W] in [0, 1].
    """
    from kinephoto.studio.pictures import contact_sheet

    cells: list[Tensor] = []
    labels: list[str] = []
    for scene in scenes:
        painted = scene.finished.example
        if painted is None:
            continue
        objects = torch.where(painted.known, painted.rgb, torch.tensor(UNKNOWN_COLOUR)[:, None, None])
        cells += [painted.rgb, objects, *painted.pictures.values()]
        prompt = textwrap.shorten(scene.prompt, LABEL_LETTERS, placeholder=" …")
        labels += [prompt, "objects", *painted.pictures]
    columns = 2 + len(scenes[0].looked) - 1
    return contact_sheet(cells, columns=columns, labels=labels, cell_width_px=CELL_WIDTH_PX)
