"""How wide the holes are that the painter is trained on, and those that films ask for.

    python benchmarks/hole_widths.py --photos PHOTOS --most-photos 40 --out widths.json

PHOTOS is a folder with manifest.csv; the split train is looked at. Films are a swing, a circle and a slide to the
left, their short side the photo's own; their holes are those that `build_world` asks its painter to fill. In larger
films holes are wider in proportion. A hole's width is twice its largest distance to the known; each hole pixel
counts once.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import kinephoto as kp
from kinephoto.learn.bank import HoleBank
from kinephoto.learn.pairs import MIXTURE, hole_widths
from kinephoto.learn.photos import read_labelled, split_of
from kinephoto.measure.report import markdown_table, write_results
from kinephoto.painter.farther import nearest_from_farther_side
from kinephoto.scene.photo import photo_from_array

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
MOVES = ("swing", "circle", "slide-left")


class Recorder:
    """A painter that remembers the holes it is given."""

    name = "recorder"

    def __init__(self) -> None:
        self.widths: list[np.ndarray] = []

    def paint(
        self, rgb: Tensor, known: Tensor, disparity: Tensor, *, prompt: str | None = None, seed: int = 0
    ) -> Tensor:
        """The plainest fill."""
        self.widths.append(hole_widths(known))
        return nearest_from_farther_side(rgb, known, disparity)


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    names = split_of(options.photos, "train")
    names = names[:: max(1, len(names) // options.most_photos)][: options.most_photos]
    bank, kinds = HoleBank(None), tuple(MIXTURE)
    trained: dict[str, list[np.ndarray]] = {kind: [] for kind in kinds}
    filmed: dict[str, Recorder] = {move: Recorder() for move in MOVES}
    for name in names:
        photo = read_labelled(options.photos, name)
        holes = bank.holes(photo)
        for known, kind in zip(holes.known, holes.kinds, strict=True):
            trained[kinds[int(kind)]].append(hole_widths(torch.from_numpy(known)))
        for move, recorder in filmed.items():
            kp.build_world(
                photo_from_array(photo.rgb), kp.path(move), size=min(photo.code.shape), painter=recorder
            )
    rows = {f"training, {kind}": quantiles(found) for kind, found in trained.items()}
    rows["training, all"] = quantiles([part for found in trained.values() for part in found])
    rows |= {f"film, {move}": quantiles(recorder.widths) for move, recorder in filmed.items()}
    rows["film, all"] = quantiles([part for recorder in filmed.values() for part in recorder.widths])
    print(markdown_table(["holes", *(f"{q:.0%}" for q in QUANTILES)], [[k, *v] for k, v in rows.items()], 1))
    if options.out:
        write_results(options.out, {"photos": len(names), "quantiles": QUANTILES, "widths_px": rows})


def quantiles(found: list[np.ndarray]) -> list[float]:
    """Of all pixels' widths, px."""
    return [float(q) for q in np.quantile(np.concatenate(found), QUANTILES)] if found else []


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of single photos, manifest.csv")
    parser.add_argument("--most-photos", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON with everything")
    return parser.parse_args()


if __name__ == "__main__":
    main()
