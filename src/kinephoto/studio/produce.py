"""A photo's file becomes a film's file: everything between two paths, whole or not at all."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from kinephoto.interrupts import ending_cleanly
from kinephoto.painter import Painter, get_painter
from kinephoto.scene.photo import read_photo
from kinephoto.scene.values import Photo
from kinephoto.scene.world import World
from kinephoto.studio.animate import Film, film, film_autoregressive
from kinephoto.studio.build import build_world, start_world
from kinephoto.studio.certificates import Signer
from kinephoto.studio.content_credentials import check_holds_credentials
from kinephoto.studio.export import save_scene
from kinephoto.studio.files import whole
from kinephoto.studio.outputs import (
    Outputs,
    check,
    encoding_of,
    extend_of,
    for_outputs,
    move_of,
    stereo_of,
)
from kinephoto.studio.pictures import write_depth
from kinephoto.studio.provenance import COMMENT, DATA, Provenance, provenance_of
from kinephoto.studio.settings import AnimateSettings, MoveSettings
from kinephoto.studio.sinks import Sink, files_of, open_sink
from kinephoto.studio.stages import Progress, Stages
from kinephoto.studio.stereo import Eyes, stereo_film
from kinephoto.studio.stereo_layout import named
from kinephoto.studio.video import VideoReport, mask_frame


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
            "settings": self.settings.model_dump(mode="json"),
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
            "stereo": asdict(trajectory.viewers) if isinstance(trajectory.viewers, Eyes) else None,
            "key_views": [asdict(view) for view in self.world.key_views],
            "invented_share": {"mean": self.invented_mean, "most": self.invented_most},
            "seconds": {name: round(value, 3) for name, value in self.seconds_by_stage.items()},
            "peak_memory_bytes": peak_memory_bytes(),
            "versions": versions(),
        }
        return json.dumps(content, indent=2) + "\n"


def target_of(target: str, settings: AnimateSettings) -> tuple[str, list[str]]:
    """The output's name, in stereo as players want it, and sentences for the user.

    Raises:
        InputError: the name tells players of another layout.
    """
    stereo = stereo_of(settings)
    if stereo is None:
        return target, []
    name = named(target, stereo.layout)
    files = [Path(file).name for file in files_of(name, stereo.layout)]
    notes = [stereo.note] if stereo.note else []
    if name != target:
        notes.append(
            f"The output is named {' and '.join(files)}, by which players know --stereo {stereo.layout}."
        )
    return name, notes


def read(source: str | Path | BinaryIO, settings: MoveSettings) -> Photo:
    """The photo, within the settings' limits."""
    return read_photo(source, max_megapixels=settings.max_megapixels)


def animate(
    photo: Photo,
    outputs: Outputs,
    settings: AnimateSettings,
    progress: Progress | None = None,
    signer: Signer | None = None,
    *,
    painter: Painter | None = None,
    stages: Stages | None = None,
) -> Report:
    """Make a film of a photo and write it.

    Args:
        photo: from ``read_photo``.
        outputs: where to.
        settings: checked ones.
        progress: called as the stages "depth", "path", "painting" and "frames" go on.
        signer: signs the film, not its mask; from `kinephoto.studio.content_credentials.ready`.
        painter: one that is loaded already, to be used instead of the settings'.
        stages: to be told instead of ``progress``, by those who had stages of their own before.

    Raises:
        InputError: what cannot be used, or a full disk. Then nothing of the outputs is there.
    """
    outputs = replace(outputs, layout=settings.stereo)
    check(outputs, settings, photo.camera.hw)
    for file in outputs.videos if signer else ():
        check_holds_credentials(file)
    settings = for_outputs(settings, outputs)
    stages = stages or Stages(progress)
    with ending_cleanly():
        world, frames = _world_and_film(
            photo, settings, stages, painter or painter_of(settings, stages.again)
        )
        origin = provenance_of(world, settings)
        shown = replace(origin, source_type=DATA)  # mask and depth are pictures of data
        shares: list[float] = []
        try:
            with stages.stage("frames"), ExitStack() as sinks:
                video = sinks.enter_context(_sink(outputs.video, outputs.layout, settings, origin, signer))
                mask = None
                if outputs.mask:
                    mask = sinks.enter_context(
                        _sink(outputs.mask, outputs.layout, settings, shown, mask=True)
                    )
                for frame in frames:
                    video.write(frame)
                    if mask is not None:
                        mask.write(mask_frame(frame))
                    shares.append(float(frame.invented.mean()))
                    stages.done(len(shares) / frames.frame_count)
        finally:
            frames.close()
        if outputs.depth is not None and world.depth is not None:
            write_depth(world.depth, outputs.depth, provenance=shown)
        for scene in outputs.scenes:
            save_scene(world, scene)
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


def painter_of(settings: AnimateSettings, on_step: Callable[[], None] | None = None) -> Painter:
    """The painter that the settings ask for; ``on_step`` is called between its network's steps."""
    return get_painter(
        settings.painter,
        device=settings.device,
        offline=settings.offline,
        steps=settings.steps,
        guidance=settings.guidance,
        on_step=on_step,
    )


def _world_and_film(
    photo: Photo, settings: AnimateSettings, stages: Stages, painter: Painter
) -> tuple[World, Film]:
    stereo = stereo_of(settings)
    chosen = move_of(settings)
    scene: dict[str, Any] = {
        "size": settings.size,
        "depth": settings.depth,
        "depth_floor": settings.depth_range,
        "stages": stages,
    }
    painting: dict[str, Any] = {"painter": painter, "prompt": settings.prompt, "seed": settings.seed}
    machine: dict[str, Any] = {"threads": settings.threads, "device": settings.device}
    network: dict[str, Any] = {"offline": settings.offline}
    length: dict[str, Any] = {"seconds": settings.seconds, "fps": settings.fps}
    if settings.extend is not None:
        painting["extend"] = extend_of(settings, photo.camera.hw)
    if stereo is not None:
        world = build_world(photo, chosen, **scene, **painting, **machine, **network, eyes=stereo.eyes_for)
        return world, stereo_film(world, stereo, **length, **machine)
    if settings.mode == "world":
        world = build_world(photo, chosen, **scene, **painting, **machine, **network)
        return world, film(world, **length, **machine)
    world = start_world(photo, chosen, **scene, **machine, **network)
    world = replace(world, painter=painter.name, seed=settings.seed)
    return world, film_autoregressive(world, **length, **painting, **machine, **network)


def _sink(
    target: Path | str,
    layout: str,
    settings: AnimateSettings,
    provenance: Provenance,
    signer: Signer | None = None,
    mask: bool = False,
) -> AbstractContextManager[Sink]:
    return open_sink(
        target,
        layout,
        **encoding_of(settings, mask),
        metadata={"comment": COMMENT},
        provenance=provenance,
        signer=signer,
    )
