"""Measure depth estimators and print the tables of docs/results.md.

    python benchmarks/depth.py --photos PHOTOS --scenes SCENES --teacher FOLDER --out depth.json

PHOTOS is a folder with manifest.csv, SCENES one with a folder per scene (docs/protocol.md has the formats),
FOLDER a depth network saved for transformers. Without --photos or --scenes that part is left out.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F

from kinephoto.errors import InputError
from kinephoto.measure.depth import evaluate_depth, summary
from kinephoto.measure.methods import depth_sources
from kinephoto.measure.photos import read_manifest, read_rgb
from kinephoto.measure.report import markdown_table, write_results
from kinephoto.measure.scenes import read_scenes
from kinephoto.scene.edges import sharpen

COLUMNS = {
    "teacher": ("correlation", "correlation_median", "relative_error"),
    "dense": ("abs_rel", "delta_1.25", "boundary_f1", "boundary_f1_sharpened"),
    "sparse re10k": ("abs_rel", "abs_rel_median", "delta_1.25", "correlation"),
    "sparse other": ("abs_rel", "abs_rel_median", "delta_1.25", "correlation"),
    "outline": ("edge_width_px", "edge_width_px_sharpened", "edge_kept", "edge_kept_sharpened"),
}
TIMED_SHORT_SIDE_PX = 384


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    photos = read_manifest(options.photos, "test")[: options.most_photos] if options.photos else []
    scenes = read_scenes(options.scenes) if options.scenes else []
    methods = chosen_methods(options)
    scores, timings = {}, {}
    for name, disparity_of in methods.items():
        print(f"{name} …", flush=True)
        kept = disparity_of
        if options.cache and name.startswith("teacher"):
            kept = depth_sources.cached(disparity_of, options.cache / name)
        scores[name] = evaluate_depth(kept, photos, scenes, sharpen)
        if options.photos and name != "plane":
            timings[name] = seconds_per_photo(disparity_of, photos[0].folder / photos[0].path)
    tables = {name: summary(found) for name, found in scores.items()}
    print(as_markdown(tables, timings))
    if options.out:
        rows = {name: [asdict(score) for score in found] for name, found in scores.items()}
        write_results(
            options.out, {"threads": options.threads, "summary": tables, "seconds": timings, "rows": rows}
        )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, help="folder of single photos with manifest.csv")
    parser.add_argument("--scenes", type=Path, help="folder of posed scenes")
    parser.add_argument("--teacher", type=Path, help="folder of a depth network for transformers")
    parser.add_argument("--teacher-sides", type=int, nargs="+", default=[308], help="its short sides, px")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="other weights of our network")
    parser.add_argument("--no-builtin", action="store_true", help="leave the built-in network out")
    parser.add_argument("--cache", type=Path, help="folder for the teacher's answers")
    parser.add_argument("--most-photos", type=int, help="use the first so many test photos")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON with everything")
    return parser.parse_args()


def chosen_methods(options: argparse.Namespace) -> dict[str, depth_sources.DisparityOf]:
    methods = {"plane": depth_sources.constant_plane}
    if not options.no_builtin:
        try:
            methods["builtin"] = depth_sources.builtin()
        except InputError as error:
            print(f"Without the built-in network: {error}")
    for path in options.weights:
        methods[path.stem] = depth_sources.weights_file(path)
    if options.teacher:
        for side in options.teacher_sides:
            methods[f"teacher-{side}"] = depth_sources.transformers_folder(options.teacher, side)
    return methods


def seconds_per_photo(disparity_of: depth_sources.DisparityOf, path: Path, runs: int = 7) -> dict[str, float]:
    """Median and spread for one photo whose short side is 384 px, after one run to warm up."""
    rgb = read_rgb(path)
    scale = TIMED_SHORT_SIDE_PX / min(rgb.shape[1:])
    rgb = F.interpolate(rgb[None], scale_factor=scale, mode="bilinear", align_corners=False)[0]
    seconds = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        disparity_of(rgb)
        seconds.append(time.perf_counter() - start)
    return {"median": statistics.median(seconds[1:]), "least": min(seconds[1:]), "most": max(seconds[1:])}


def as_markdown(tables: dict, timings: dict) -> str:
    blocks = []
    for part, columns in COLUMNS.items():
        having = {name: table[part] for name, table in tables.items() if part in table}
        if not having:
            continue
        counts = next(iter(having.values()))
        columns = [column for column in columns if any(column in table for table in having.values())]
        rows = [[name, *(table.get(column) for column in columns)] for name, table in having.items()]
        title = f"**{part}** ({counts['groups']} groups, {counts['pictures']} pictures)"
        blocks.append(title + "\n\n" + markdown_table(["method", *columns], rows))
    if timings:
        rows = [[name, *found.values()] for name, found in timings.items()]
        blocks.append("**seconds a photo**\n\n" + markdown_table(["method", "median", "least", "most"], rows))
    return "\n\n".join(blocks)


if __name__ == "__main__":
    main()
