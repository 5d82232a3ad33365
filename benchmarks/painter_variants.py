"""The ablation at small scale: ways of telling the M-UNet what is known, and ways of training it, one budget for all.

    python benchmarks/painter_variants.py --photos PHOTOS --autoencoder FOLDER --steps 600 --out variants.json

Each run sees the same crops, noise, timesteps. The held-out loss is of averaged weights on 96 held-out crops with fixed
noise; it can be compared between variants, not between targets or conditions. So paintings of 48 other held-out crops
are compared as well: PSNR in the hole and ST-LPIPS (AlexNet) of the crop with its hole painted. A painter that looks at
a filled picture starts from it, at half the timesteps in 4 steps; all also start from pure noise, in 12.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from kinephoto.learn.bank import HoleBank
from kinephoto.learn.hole_crops import HoleBatch, hole_batch
from kinephoto.learn.painter_settings import PainterSettings
from kinephoto.learn.photos import read_labelled, split_of
from kinephoto.learn.train import train_painter
from kinephoto.measure.report import markdown_table, write_results
from kinephoto.measure.stlpips import StLpips
from kinephoto.painter.builtin import loaded
from kinephoto.painter.pipeline import composited

RUNS: dict[str, dict[str, Any]] = {
    "meb": {},
    "no-mask": {"variant": "no-mask"},
    "cross-fusion": {"variant": "cross-fusion"},
    "concat": {"variant": "concat"},
    "meb, black z̃": {"condition": "black", "residual": 0.0},
    "meb, ε": {"target": "epsilon"},
    "meb, z_0 itself": {"residual": 0.0},
    "meb, all places alike": {"hole_weight": 0.0},
}
CROPS, CROP_PX = 48, 64


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    names = split_of(options.photos, "held-out")
    bank = HoleBank(options.holes)
    photos = [read_labelled(options.photos, name) for name in names]
    crops = hole_batch(photos, bank.holes, 128, [(77, i) for i in range(CROPS)])
    judge = StLpips("alex")
    results = {"the fill itself": scores(crops, crops.filled, judge)}
    for name in options.runs or RUNS:
        with tempfile.TemporaryDirectory() as out:
            settings = PainterSettings(
                photos=options.photos,
                holes=options.holes,
                out=Path(out),
                init="scratch",
                autoencoder=options.autoencoder,
                widths=[32, 64, 96],
                steps=options.steps,
                batch=16,
                crop_px=CROP_PX,
                lr=1e-3,
                ema=0.99,
                check_every=options.steps,
                seed=options.seed,
                device="cpu",
                threads=options.threads,
                **RUNS[name],
            )
            began = time.perf_counter()
            row = {"held_out": [p.held_out for p in train_painter(settings) if p.held_out is not None][-1]}
            row["train_s"] = time.perf_counter() - began
            pipeline = loaded(Path(out) / "painter")
            seeds = list(range(CROPS))
            if pipeline.config["condition"] == "filled":
                warm = pipeline(crops.rgb, crops.known, fill=crops.filled, steps=4, strength=0.5, seed=seeds)
                row |= scores(crops, warm, judge)
            noise = pipeline(crops.rgb, crops.known, fill=crops.filled, steps=12, seed=seeds)
            row |= {f"{key}_noise": value for key, value in scores(crops, noise, judge).items()}
        results[name] = row
        print(name, row, flush=True)
    columns = ("held_out", "psnr_hole", "st_lpips", "psnr_hole_noise", "st_lpips_noise")
    print(
        markdown_table(["run", *columns], [[k, *(v.get(c) for c in columns)] for k, v in results.items()], 4)
    )
    if options.out:
        write_results(options.out, {"steps": options.steps, "seed": options.seed, "results": results})


def scores(crops: HoleBatch, painted: torch.Tensor, judge: StLpips) -> dict[str, float]:
    """PSNR in the hole, dB, and ST-LPIPS, means over the crops."""
    composite = composited(crops.rgb, crops.known, painted)
    hole = (~crops.known)[:, None]
    errors = ((composite - crops.rgb).square() * hole).mean(1).sum((1, 2)) / hole.sum((1, 2, 3))
    distances = [judge(found, true) for found, true in zip(composite, crops.rgb, strict=True)]
    return {
        "psnr_hole": float((-10 * errors.clamp_min(1e-6).log10()).mean()),
        "st_lpips": sum(distances) / len(distances),
    }


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of single photos, manifest.csv")
    parser.add_argument("--autoencoder", type=Path, required=True, help="folder of a PatchAutoencoder")
    parser.add_argument("--holes", type=Path, help="folder that keeps the photos' holes")
    parser.add_argument("--runs", nargs="+", choices=list(RUNS), help="all of them when not given")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON with everything")
    return parser.parse_args()


if __name__ == "__main__":
    main()
