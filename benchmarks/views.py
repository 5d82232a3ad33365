"""New views from one photo against real photos of those views; prints the table of docs/results.md.

    python benchmarks/views.py --scenes SCENES --out views.json
    python benchmarks/views.py --scenes SCENES --teacher FOLDER --cache CACHE --out views.json

SCENES is a folder with a folder per scene (docs/protocol.md has the format).
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import torch

from kinephoto.errors import InputError
from kinephoto.measure.methods import depth_sources, fills
from kinephoto.measure.report import markdown_table, write_results
from kinephoto.measure.scenes import read_scenes
from kinephoto.measure.views import PAPER_HW, default_warp, evaluate_views, read_pairs, summary
from kinephoto.scene.edges import sharpen

METRICS = ("psnr", "ssim", "psnr_visible", "psnr_hole", "hole_share")


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    pairs = read_pairs(options.pairs)
    scenes = {scene.name: scene for scene in read_scenes(options.scenes, sorted({p.scene for p in pairs}))}
    sharpening = None if options.raw_edges else sharpen
    scores = []
    for depth_name, disparity_of in depth_methods(options).items():
        found = evaluate_views(
            disparity_of,
            scenes,
            pairs,
            fill_methods(),
            default_warp(),
            None if options.native else PAPER_HW,
            sharpening,
        )
        tables = summary(found)
        print(
            f"\n**depth: {depth_name}**, {'sharpened' if sharpening else 'as it is'}\n\n{as_markdown(tables)}",
            flush=True,
        )
        scores.append(
            {
                "depth": depth_name,
                "sharpened": sharpening is not None,
                "methods": tables,
                "rows": [asdict(score) for score in found],
            }
        )
    if options.out:
        size = "native" if options.native else PAPER_HW
        write_results(options.out, {"pairs": str(options.pairs), "size": size, "results": scores})


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=Path, required=True, help="folder of posed scenes")
    parser.add_argument("--pairs", default="re10k", help="re10k, or a CSV file: scene,source,target,name")
    parser.add_argument("--native", action="store_true", help="at the pictures' own size, not 256×256")
    parser.add_argument("--teacher", type=Path, help="folder of a depth network for transformers")
    parser.add_argument("--teacher-side", type=int, default=308, help="its short side, px")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="other weights of our network")
    parser.add_argument("--no-builtin", action="store_true", help="leave the built-in network out")
    parser.add_argument("--cache", type=Path, help="folder for the teacher's answers")
    parser.add_argument("--raw-edges", action="store_true", help="don't sharpen the disparity's edges")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON with everything")
    return parser.parse_args()


def depth_methods(options: argparse.Namespace) -> dict[str, depth_sources.DisparityOf]:
    methods = {}
    if not options.no_builtin:
        methods["builtin"] = depth_sources.builtin()
    for path in options.weights:
        methods[path.stem] = depth_sources.weights_file(path)
    if options.teacher:
        name = f"teacher-{options.teacher_side}"
        methods[name] = depth_sources.transformers_folder(options.teacher, options.teacher_side)
        if options.cache:
            methods[name] = depth_sources.cached(methods[name], options.cache / name)
    return methods


def fill_methods() -> dict[str, fills.Fill]:
    methods = {
        "copy": fills.source_copied,
        "w-nearest": fills.nearest,
        "w-far": fills.farther_side,
        "w-telea": fills.telea,
    }
    try:
        methods["classical"] = fills.painter("classical")
    except (ImportError, InputError) as error:
        print(f"Without the classical painter: {error}")
    return methods


def as_markdown(tables: dict) -> str:
    rows = []
    for method, targets in tables.items():
        for target, metrics in targets.items():
            cells = [metrics.get(metric, {}).get("mean") for metric in METRICS]
            ci95 = metrics["psnr"]["ci95"]
            rows.append([method, target, metrics["psnr"]["clips"], *cells, f"±{ci95:.2f}"])
    return markdown_table(["method", "target", "clips", *METRICS, "psnr, 95 %"], rows)


if __name__ == "__main__":
    main()
