"""A photo's file becomes a film's file: everything between two paths, whole or not at all."""

from __future__ import annotations

import json
import platform
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from kinephoto.errors import InputError
from kinephoto.painter import get_painter
from kinephoto.scene.path import path
from kinephoto.scene.photo import read_photo
from kinephoto.scene.values import Photo
from kinephoto.scene.world import World
from kinephoto.studio.animate import (
    Film,
    Progress,
    Stages,
    build_world,
    film,
    film_autoregressive,
    hw_of,
    start_world,
)
from kinephoto.studio.files import check_file, check_suffix, ending_cleanly, whole
from kinephoto.studio.pictures import DEPTH_SUFFIXES, write_depth
from kinephoto.studio.settings import AnimateSettings, MoveSettings
from kinephoto.studio.video import VideoReport, VideoSink, check_target, mask_frame

COMMENT = "Made with kinephoto from one photo; parts of each frame are invented."


@dataclass(frozen=True)
class Outputs:
    """Where to write what.

    Attributes:
        video: the film.
        depth: the photo's disparity map, or None.
        mask: a video of what was invented, or None.
        report: a JSON file of how it was made, or None.
    """

    video: Path | str
    depth: Path | str | None = None
    mask: Path | str | None = None
    report: Path | str | None = None

    def check(self) -> None:
        """Refuse now what would be refused at the end of the work.

        Raises:
            InputError: a place that can't be written to, or two outputs with one name.
        """
        check_target(self.video)
        if self.mask is not None:
            check_target(self.mask)
        if self.depth is not None:
            check_suffix(self.depth, DEPTH_SUFFIXES, "depth map")
        for other in (self.depth, self.report):
            if other is not None:
                check_file(other)
        names = [
            str(Path(name).resolve()) for name in (self.video, self.depth, self.mask, self.report) if name
        ]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"Two outputs have the same name, {Path(name).name}; give each its own.")


@dataclass(frozen=True)
class Report:
    """How a film was made; ``as_json`` is what ``--report`` writes.

    Attributes:
        video: what was written.
        world: from which the film was made.
        settings: with which.
        seconds_by_stage: how long each stage took.
        invented_mean, invented_most: share of the frame that was invented, over the film and at its most.
        photo: the input's name, size and field of view.
    """

    video: VideoReport
    world: World
    settings: AnimateSettings
    seconds_by_stage: dict[str, float]
    invented_mean: float
    invented_most: float
    photo: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> str:
        """All of it, for people and programs."""
        trajectory = self.world.trajectory
        content = {
            "photo": self.photo,
            "video": asdict(self.video) | {"path": str(self.video.path)},
            "settings": self.settings.model_dump(),
            "depth": self.world.depth.source if self.world.depth else None,
            "painter": self.world.painter,
            "seed": self.world.seed,
            "path": {
                "name": trajectory.path.name,
                "amount": trajectory.rig.amount,
                "safe_amount": trajectory.safe_amount,
                "largest_hole_share": trajectory.hole_share,
                "focus_disparity": trajectory.rig.focus_disparity,
            },
            "key_views": [asdict(view) for view in self.world.key_views],
            "invented_share": {"mean": self.invented_mean, "most": self.invented_most},
            "seconds": {name: round(value, 3) for name, value in self.seconds_by_stage.items()},
            "peak_memory_bytes": peak_memory_bytes(),
            "versions": versions(),
        }
        return json.dumps(content, indent=2) + "\n"


def move_of(settings: MoveSettings) -> Any:
    """The camera path that the settings ask for."""
    return path(
        settings.path,
        settings.amount,
        ease=settings.ease,
        loop=settings.loop,
        hold=settings.hold,
        focus=settings.focus,
        max_hole=settings.max_hole,
    )


def read(source: str | Path | BinaryIO, settings: MoveSettings) -> Photo:
    """The photo, within the settings' limits."""
    return read_photo(source, max_megapixels=settings.max_megapixels)


def animate(
    photo: Photo, outputs: Outputs, settings: AnimateSettings, progress: Progress | None = None
) -> Report:
    """Make a film of a photo and write it.

    Args:
        photo: from ``read_photo``.
        outputs: where to.
        settings: checked ones.
        progress: called as the stages "depth", "path", "painting" and "frames" go on.

    Raises:
        InputError: what cannot be used, or a full disk. Then nothing of the outputs is there.
    """
    outputs.check()
    stages = Stages(progress)
    with ending_cleanly():
        world, frames = _world_and_film(photo, settings, stages)
        shares: list[float] = []
        try:
            with stages.stage("frames"), ExitStack() as sinks:
                video = sinks.enter_context(_sink(outputs.video, settings))
                mask = sinks.enter_context(_sink(outputs.mask, settings, mask=True)) if outputs.mask else None
                for frame in frames:
                    video.write(frame)
                    if mask is not None:
                        mask.write(mask_frame(frame))
                    shares.append(float(frame.invented.mean()))
                    stages.done(len(shares) / frames.frame_count)
        finally:
            frames.close()
        if outputs.depth is not None and world.depth is not None:
            write_depth(world.depth, outputs.depth)
        report = Report(
            video.report,
            world,
            settings,
            stages.seconds,
            sum(shares) / len(shares),
            max(shares),
            {
                "name": photo.capture.name,
                "width": photo.camera.hw[1],
                "height": photo.camera.hw[0],
                "field_of_view": photo.capture.field_of_view,
                "notes": list(photo.capture.notes),
            },
        )
        if outputs.report is not None:
            with whole(outputs.report) as part:
                part.write_text(report.as_json(), encoding="utf-8")
    return report


def frame_hw(photo: Photo, settings: AnimateSettings) -> tuple[int, int]:
    """Height and width of the frames to come."""
    return hw_of(photo.camera.hw, settings.size)


def versions() -> dict[str, str]:
    """Of kinephoto and of what decides a film's bytes."""
    from importlib.metadata import version

    names = ("kinephoto", "torch", "numpy", "numba", "opencv-python-headless", "av", "pillow")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def peak_memory_bytes() -> int | None:
    """The largest resident memory of this process so far; None where the system doesn't tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _world_and_film(photo: Photo, settings: AnimateSettings, stages: Stages) -> tuple[World, Film]:
    chosen = move_of(settings)
    chosen.frame_times(settings.seconds, settings.fps)  # what cannot be filmed is said before the work
    scene: dict[str, Any] = {
        "size": settings.size,
        "depth": settings.depth,
        "depth_floor": settings.depth_range,
        "stages": stages,
    }
    painter = get_painter(
        settings.painter,
        device=settings.device,
        offline=settings.offline,
        steps=settings.steps,
        guidance=settings.guidance,
    )
    painting: dict[str, Any] = {"painter": painter, "prompt": settings.prompt, "seed": settings.seed}
    machine: dict[str, Any] = {"threads": settings.threads, "device": settings.device}
    network: dict[str, Any] = {"offline": settings.offline}
    length: dict[str, Any] = {"seconds": settings.seconds, "fps": settings.fps}
    if settings.mode == "world":
        world = build_world(photo, chosen, **scene, **painting, **machine, **network)
        return world, film(world, **length, **machine)
    world = start_world(photo, chosen, **scene, **machine, **network)
    return world, film_autoregressive(world, **length, **painting, **machine, **network)


def _sink(target: Path | str, settings: AnimateSettings, mask: bool = False) -> VideoSink:
    return VideoSink(
        target,
        fps=settings.fps,
        quality="best" if mask else settings.number_or_word(),
        codec=None if mask else settings.codec,
        metadata={"comment": COMMENT},
    )
