"""How fast views are drawn: from RGB and disparity to RGB, disparity and ``known``.

    python benchmarks/renderer.py --out renderer.json
    python benchmarks/renderer.py --cases size twin --seconds 1

The scene is a photo with a made-up disparity: a floor that comes nearer towards the bottom, and the photo's own
bright and dark regions as flat things standing on it, so that depth edges run where the photo has edges. The
camera goes once around a small circle and turns a little, each pose one frame. Each case is drawn for at least
``--seconds``; the first pass is not counted. Numbers are medians over frames, but for the processor's time, which
is what all threads took together per frame and suffers less from what else the machine does. Run it on one that
does nothing else: the load before and after is written down.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from kinephoto.machine import usable_cores
from kinephoto.measure.report import markdown_table, write_results
from kinephoto.scene import reference, twin
from kinephoto.scene.camera import Camera, Pose, projection
from kinephoto.scene.mesh import corner_mesh
from kinephoto.scene.render import Renderer
from kinephoto.scene.values import Layer

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SIDES_PX = (256, 512, 1024, 2048)
FARTHEST = 0.06
WAY = 0.04
"""Radius of the camera's circle, in units of the distance of the nearest thing: about 4 % of the views are holes."""

POSES = 12
TARGETS_FPS = {"512²": 150.0, "1024²": 40.0, "2048²": 9.0}
TARGET_FOUR_LAYERS_FPS = 25.0
TARGETS_FIRST_S = {"empty": 15.0, "warm": 1.0}
CASES = ("size", "layers", "twin", "first")

HEADER = ("case", "frames/s", "target", "ms", "ms, 10 % to 90 %", "ns per pixel", "processor ms")


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    runs = {"size": sizes, "layers": layers, "twin": other_engines, "first": first_frame}
    results: dict = {"threads": options.threads, "photo": options.photo.name, "load_before": os.getloadavg()}
    for case in options.cases:
        results[case] = runs[case](options)
    results["load_after"] = os.getloadavg()
    load = f"{results['load_before'][0]:.1f} before and {results['load_after'][0]:.1f} after"
    print(f"\n{options.threads} threads, {usable_cores()} cores; load {load}.")
    if options.out:
        write_results(options.out, results)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photo", type=Path, default=EXAMPLES / "raccoon.jpg")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="at least so long per case")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--out", type=Path, help="JSON with everything")
    return parser.parse_args()


# The scene.


def photo_of(path: Path, side: int) -> np.ndarray:
    """[side, side, 3] float32 in [0, 1]: the photo's middle."""
    from PIL import Image, ImageOps

    with Image.open(path) as file:
        picture = ImageOps.fit(file.convert("RGB"), (side, side), Image.Resampling.LANCZOS)
    return np.asarray(picture, np.float32) / 255


def made_up_disparity(rgb: np.ndarray) -> np.ndarray:
    """[H, W] float32 from FARTHEST to 1: a floor, and on it the photo's regions of similar brightness."""
    side = len(rgb)
    grey = cv2.cvtColor((rgb * 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
    # Regions as on a picture of 256 px, so that every size has the same scene.
    small = cv2.resize(grey, (256, 256), interpolation=cv2.INTER_AREA)
    smooth = cv2.medianBlur(cv2.medianBlur(small, 9), 9)
    regions = cv2.resize(smooth, (side, side), interpolation=cv2.INTER_CUBIC) // 64
    floor = np.linspace(0, 0.5, side, dtype=np.float32)[:, None]
    relief = 0.02 * cv2.GaussianBlur(grey.astype(np.float32) / 255, (0, 0), side / 128)
    return FARTHEST + (1 - FARTHEST) * np.clip(floor + regions / 3 * 0.45 + relief, 0, 1).astype(np.float32)


def scene(path: Path, side: int) -> Layer:
    rgb = photo_of(path, side)
    disparity = torch.from_numpy(made_up_disparity(rgb))
    camera = Camera.from_field_of_view((side, side))
    everywhere = torch.ones(side, side, dtype=torch.bool)
    channels_first = torch.from_numpy(rgb).permute(2, 0, 1).contiguous()
    return Layer(channels_first, disparity, everywhere, camera, Pose.identity())


def way() -> list[Pose]:
    """Once around a circle that leans forward, turning towards the middle."""
    poses = []
    for angle in np.linspace(0, 2 * np.pi, POSES, endpoint=False):
        x, y = WAY * np.cos(angle), WAY * np.sin(angle)
        c, s = np.cos(x / 3), np.sin(x / 3)
        turn = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]], dtype=torch.float64)
        poses.append(Pose(turn, torch.tensor([-x, -y, -y / 2], dtype=torch.float64)))
    return poses


def behind(layer: Layer, share: float, index: int) -> Layer:
    """A layer behind another one: ``share`` of its pixels, in blots, a tenth farther each time."""
    side = layer.camera.hw[0]
    coarse = np.random.default_rng(index).random((side // 16, side // 16), dtype=np.float32)
    blots = cv2.resize(cv2.GaussianBlur(coarse, (0, 0), 1.5), (side, side), interpolation=cv2.INTER_LINEAR)
    alpha = torch.from_numpy(blots >= np.quantile(blots, 1 - share))
    return Layer(layer.rgb, layer.disparity * 0.9**index, alpha, layer.camera, layer.pose)


# What is measured.


def measured(draw: Callable[[Pose], object], side: int, at_least_s: float) -> dict[str, float]:
    """Draw along the way again and again, after a pass that is not counted: median and spread per frame."""
    poses, seconds = way(), []
    for pose in poses:
        draw(pose)
    end, processor = time.perf_counter() + at_least_s, time.process_time()
    while time.perf_counter() < end:
        for pose in poses:
            start = time.perf_counter()
            draw(pose)
            seconds.append(time.perf_counter() - start)
    processor = time.process_time() - processor
    low, middle, high = (float(q) for q in np.quantile(seconds, (0.1, 0.5, 0.9)))
    return {
        "frames": len(seconds),
        "fps": 1 / middle,
        "ms": 1e3 * middle,
        "ms_10": 1e3 * low,
        "ms_90": 1e3 * high,
        "ns_per_px": 1e9 * middle / side**2,
        "processor_ms": 1e3 * processor / len(seconds),
    }


def as_row(name: str, found: dict[str, float], target: float | None = None) -> list:
    wanted = f"≥ {target:g}" if target else None
    spread = f"{found['ms_10']:.1f} to {found['ms_90']:.1f}"
    ms, ns_per_px, processor_ms = (f"{found[key]:.1f}" for key in ("ms", "ns_per_px", "processor_ms"))
    return [name, f"{found['fps']:.4g}", wanted, ms, spread, ns_per_px, processor_ms]


def sizes(options: argparse.Namespace) -> dict:
    """One layer at all sizes: bicubic, supersampled, and how long it takes to prepare."""
    found, rows, prepared, holes = {}, [], [], []
    for side in SIDES_PX:
        layer = scene(options.photo, side)
        Renderer([layer], threads=options.threads)
        start = time.perf_counter()
        renderer = Renderer([layer], threads=options.threads)
        prepared.append([f"{side}²", f"{1e3 * (time.perf_counter() - start):.0f}"])
        holes += [1 - float(renderer.coverage(layer.camera, pose).float().mean()) for pose in way()]
        for supersample in (1, 2):

            def draw(pose: Pose, camera=layer.camera, renderer=renderer, supersample=supersample):
                return renderer.render(camera, pose, supersample=supersample)

            name = f"{side}²" if supersample == 1 else f"{side}², 2 × 2 points per pixel"
            found[name] = measured(draw, side, options.seconds)
            rows.append(as_row(name, found[name], TARGETS_FPS.get(name)))
    found["prepare_ms"] = {name: float(ms) for name, ms in prepared}
    found["hole_share"] = statistics.fmean(holes)
    print(f"**One layer, bicubic**, {100 * found['hole_share']:.1f} % of the views are holes\n")
    print(markdown_table(HEADER, rows))
    print("\n" + markdown_table(["a layer's mesh, once", "ms"], prepared), flush=True)
    return found


def layers(options: argparse.Namespace, side: int = 1024) -> dict:
    """Four layers, as a world has them (three hold a tenth of their pixels) and all of them full."""
    found, rows, first = {}, [], scene(options.photo, side)
    for name, share in (("four layers, three hold a tenth", 0.1), ("four full layers", 1.0)):
        renderer = Renderer([first, *(behind(first, share, k) for k in (1, 2, 3))], threads=options.threads)

        def draw(pose: Pose, renderer=renderer):
            return renderer.render(first.camera, pose)

        found[name] = measured(draw, side, options.seconds)
        rows.append(as_row(f"{side}², {name}", found[name], TARGET_FOUR_LAYERS_FPS))
    print("\n**Several layers, bicubic**\n\n" + markdown_table(HEADER, rows), flush=True)
    return found


def other_engines(options: argparse.Namespace) -> dict:
    """What each pixel shows, without colours: the slow reference, the twin in torch and the fast one."""
    found, rows = {}, []
    for side in (64, 256, 512):
        layer = scene(options.photo, side)
        mesh = corner_mesh(layer.disparity)
        renderer = Renderer([layer], threads=options.threads)

        def matrix(pose: Pose, camera=layer.camera) -> np.ndarray:
            return projection(camera, pose, camera)

        ways: dict[str, Callable[[Pose], object]] = {
            "numba": lambda pose, r=renderer, c=layer.camera: r.locate(c, pose),
            "torch": lambda pose, m=mesh, f=matrix, s=side: twin.rasterize([m], [f(pose)], (s, s)),
        }
        if side == 64:
            ways["reference"] = lambda pose, m=mesh, f=matrix: reference.rasterize([m], [f(pose)], (64, 64))
        for name, draw in ways.items():
            found[f"{name}, {side}²"] = measured(draw, side, options.seconds)
            rows.append(as_row(f"{side}², {name}", found[f"{name}, {side}²"]))
    print("\n**Rasterising alone**\n\n" + markdown_table(HEADER, rows), flush=True)
    return found


FIRST_FRAME = """
import sys, time
begin = time.perf_counter()
import torch
imported = time.perf_counter()
from kinephoto.scene.camera import Camera, Pose
from kinephoto.scene.render import Renderer
from kinephoto.scene.values import Layer
hw = (512, 512)
camera = Camera.from_field_of_view(hw)
disparity = torch.full(hw, 0.3)
disparity[100:300, 200:400] = 1
everywhere = torch.ones(hw, dtype=torch.bool)
layer = Layer(torch.rand(3, *hw), disparity, everywhere, camera, Pose.identity())
pose = Pose(torch.eye(3), torch.tensor([0.05, 0.02, -0.03]))
Renderer([layer], threads=int(sys.argv[1])).render(camera, pose, supersample=int(sys.argv[2]))
print(imported - begin, time.perf_counter() - imported)
"""


def first_frame(options: argparse.Namespace) -> dict:
    """A process of its own draws one frame: with an empty cache of compiled code, and again with a full one."""
    found, rows = {}, []
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": folder}
        for name, repeats, supersample in (("empty", 1, 2), ("warm", 3, 2)):
            command = [sys.executable, "-c", FIRST_FRAME, str(options.threads), str(supersample)]
            seconds = []
            for _ in range(repeats):
                output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                seconds.append([float(text) for text in output.stdout.split()])
            importing, drawing = (statistics.median(column) for column in zip(*seconds, strict=True))
            found[name] = {"seconds": drawing, "importing_torch_s": importing, "runs": seconds}
            rows.append([name, drawing, f"≤ {TARGETS_FIRST_S[name]:g}", importing])
    header = ["cache of compiled code", "first frame, s", "target", "and to import torch, s"]
    print(
        "\n**First frame of a process, 512², 2 × 2 points per pixel**\n\n" + markdown_table(header, rows, 2)
    )
    return found


if __name__ == "__main__":
    main()
