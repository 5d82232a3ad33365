"""Measure painters on cycle-rendered holes, and draw what they paint.

    python benchmarks/painter.py --photos PHOTOS --most-photos 48 --out painter.json --sheets FOLDER

PHOTOS is a folder with manifest.csv and the depth teacher's disparities (docs/protocol.md has the format).
The camera moves away and back; what is lost on the way is the hole, the photo itself the truth below it,
and the hole's disparity is the photo's own. PSNR and SSIM favour blur; "texture" is the strength of fine
detail in the hole against the photo's (1 is right), the geometric mean over photos. The sheets show other
holes, those of a view as a film has them, where no truth is known: hole, then one picture per painter.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from kinephoto.measure.metrics import psnr, ssim
from kinephoto.measure.photos import PhotoFiles, read_manifest
from kinephoto.measure.report import markdown_table, write_results
from kinephoto.painter import get_painter, paint_holes
from kinephoto.painter.diffuse import continue_from_farther_side, push_pull
from kinephoto.scene.camera import Camera, Pose
from kinephoto.scene.mesh import sharpen_edges
from kinephoto.scene.render import Renderer, cycle
from kinephoto.scene.values import Layer

FARTHEST = 0.06
AWAY = ((0.07, 0, 0), (-0.07, 0, 0), (0, -0.05, 0), (0.05, -0.03, 0.05))
SIDES_PX = (512, 1024)

Fill = Callable[[Tensor, Tensor, Tensor], Tensor]


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    photos = [p for p in read_manifest(options.photos, "test") if p.label() is not None]
    photos = photos[:: max(1, len(photos) // options.most_photos)][: options.most_photos]
    scores = {name: defaultdict(list) for name in methods()}
    for index, photo in enumerate(photos):
        rgb, disparity, camera, pose = scene(photo, index)
        _, known = cycle(rgb, disparity, camera, pose)
        if 0.002 < float((~known).float().mean()) < 0.3:
            for name, fill in methods().items():
                for key, value in measured(fill, rgb, known, disparity).items():
                    scores[name][key].append(value)
        if options.sheets:
            draw_sheet(options.sheets / f"{index:03d}.png", rgb, disparity, camera, pose)
    table = {name: means(found) for name, found in scores.items()}
    seconds = {f"{side}²": seconds_per_view(photos[0], side) for side in SIDES_PX}
    rows = [[name, *row.values()] for name, row in table.items()]
    print(markdown_table(["painter", *next(iter(table.values()))], rows))
    print(markdown_table(["classical, one view", "holes", "seconds"], [[k, *v] for k, v in seconds.items()]))
    if options.out:
        write_results(options.out, {"threads": options.threads, "summary": table, "seconds": seconds})


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of single photos, manifest.csv")
    parser.add_argument("--most-photos", type=int, default=48, help="use so many test photos")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON with everything")
    parser.add_argument("--sheets", type=Path, help="folder for pictures")
    return parser.parse_args()


def scene(photo: PhotoFiles, index: int, side: int | None = None) -> tuple[Tensor, Tensor, Camera, Pose]:
    """A photo with depth and the pose that opens its holes; ``side``: a square of so many px."""
    rgb, label = photo.rgb(), torch.from_numpy(photo.label().copy())
    if side:
        rgb = torch.nn.functional.interpolate(rgb[None], (side, side), mode="bicubic")[0].clamp(0, 1)
        label = torch.nn.functional.interpolate(label[None, None], (side, side), mode="bilinear")[0, 0]
    near = float(torch.quantile(label, 0.99))
    disparity = sharpen_edges(FARTHEST + (1 - FARTHEST) * label / near, window=5, times=2)
    pose = Pose(torch.eye(3), torch.tensor(AWAY[index % len(AWAY)]))
    return rgb, disparity, Camera.from_field_of_view(tuple(rgb.shape[1:])), pose


def methods() -> dict[str, Fill]:
    """What is compared; each takes rgb, known and disparity and gives rgb."""
    doors = ("opencv:telea", "opencv:ns", "classical")
    painters: dict[str, Fill] = {name: through(name) for name in doors}
    return {"nearest": nearest, "push-pull": smooth, "push-pull, far side": smooth_from_far} | painters


def through(name: str) -> Fill:
    painter = get_painter(name)
    return lambda rgb, known, disparity: paint_holes(painter, rgb, known, disparity)


def nearest(rgb: Tensor, known: Tensor, disparity: Tensor) -> Tensor:
    from scipy.ndimage import distance_transform_edt

    rows, columns = distance_transform_edt(~known.numpy(), return_distances=False, return_indices=True)
    return rgb[:, torch.from_numpy(rows).long(), torch.from_numpy(columns).long()]


def smooth(rgb: Tensor, known: Tensor, disparity: Tensor) -> Tensor:
    return as_chw(push_pull(as_hwc(rgb), known.numpy().astype(np.float32)))


def smooth_from_far(rgb: Tensor, known: Tensor, disparity: Tensor) -> Tensor:
    filled = continue_from_farther_side(as_hwc(rgb), disparity.numpy(), ~known.numpy(), known.numpy(), 1.2)
    return as_chw(filled)


def as_hwc(rgb: Tensor) -> np.ndarray:
    return np.ascontiguousarray(rgb.permute(1, 2, 0).numpy())


def as_chw(rgb: np.ndarray) -> Tensor:
    return torch.from_numpy(rgb).permute(2, 0, 1)


def measured(fill: Fill, rgb: Tensor, known: Tensor, disparity: Tensor) -> dict[str, float]:
    """One painter on one photo, inside the holes."""
    start = time.perf_counter()
    painted = torch.where(known, rgb, fill(torch.where(known, rgb, 0.0), known, disparity))
    seconds = time.perf_counter() - start
    inside = torch.from_numpy(cv2.erode((~known).numpy().astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    detail = [float(laplacian(p)[inside].mean()) + 1e-4 for p in (painted, rgb)] if inside.any() else [1, 1]
    return {
        "psnr_hole": psnr(painted, rgb, ~known),
        "ssim_hole": ssim(painted, rgb, ~known),
        "texture": math.log(detail[0] / detail[1]),
        "seconds": seconds,
    }


def laplacian(rgb: Tensor) -> Tensor:
    """[H, W], mean over channels of the absolute Laplacian."""
    return torch.from_numpy(np.abs(cv2.Laplacian(as_hwc(rgb), cv2.CV_32F)).mean(-1))


def means(found: dict[str, list[float]]) -> dict[str, float]:
    table = {key: statistics.fmean(values) for key, values in found.items()}
    table["texture"] = math.exp(table["texture"])
    table["seconds"] = statistics.median(found["seconds"])
    return table | {"photos": len(found["seconds"])}


def view_with_holes(rgb: Tensor, disparity: Tensor, camera: Camera, pose: Pose):
    """rgb, known and complete disparity of the view itself, as a film has them."""
    everywhere = torch.ones(disparity.shape, dtype=torch.bool)
    view = Renderer([Layer(rgb, disparity, everywhere, camera, Pose.identity())]).render(camera, pose)
    axis = 1 if abs(pose.t[0]) >= abs(pose.t[1]) else 0
    return view.rgb, view.known, far_filled(view.disparity, view.known, axis)


def far_filled(disparity: Tensor, known: Tensor, axis: int) -> Tensor:
    """Disparity continued into holes from the farther bank along the camera's motion, else across it."""
    values = torch.where(known, disparity, float("nan")).numpy()
    along = [np.fmin(running(v), running(v[:, ::-1])[:, ::-1]) for v in (values, values.T)]
    first, second = (along[0], along[1].T) if axis == 1 else (along[1].T, along[0])
    filled = np.where(np.isnan(first), second, first)
    filled = np.ascontiguousarray(np.where(np.isnan(filled), np.float32(FARTHEST), filled))
    return torch.from_numpy(np.where(np.isnan(values), cv2.medianBlur(filled, 5), filled))


def running(values: np.ndarray) -> np.ndarray:
    """Each row's last number that is not NaN."""
    at = np.where(np.isnan(values), 0, np.arange(values.shape[1])[None])
    return np.ascontiguousarray(np.take_along_axis(values, np.maximum.accumulate(at, axis=1), 1))


def draw_sheet(path: Path, rgb: Tensor, disparity: Tensor, camera: Camera, pose: Pose) -> None:
    from PIL import Image

    seen, known, complete = view_with_holes(rgb, disparity, camera, pose)
    magenta = torch.where(known, seen, torch.tensor([1.0, 0.0, 1.0])[:, None, None])
    pictures = [magenta, through("classical")(seen, known, complete)]
    sheet = (as_hwc(torch.cat(pictures, 2)).clip(0, 1) * 255).round().astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(sheet)
    picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.LANCZOS).save(path)


def seconds_per_view(photo: PhotoFiles, side: int, runs: int = 5) -> tuple[float, float]:
    """Share of holes and median time of the classical painter on one square view, compiled beforehand."""
    seen, known, complete = view_with_holes(*scene(photo, 0, side))
    fill, seconds = through("classical"), []
    for _ in range(runs + 1):
        start = time.perf_counter()
        fill(seen, known, complete)
        seconds.append(time.perf_counter() - start)
    return float((~known).float().mean()), statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
