"""What is to be written and what settings ask for: all that can be refused is refused before the work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinephoto.errors import InputError
from kinephoto.machine import usable_device
from kinephoto.painter import get_painter, painter_names
from kinephoto.scene.depth import check_source
from kinephoto.scene.path import Path as Move
from kinephoto.scene.path import path
from kinephoto.studio.export import check_scene
from kinephoto.studio.extension import Extend, check_margins, checked_prompt, extended_hw, parsed_margins
from kinephoto.studio.files import check_file, check_suffix
from kinephoto.studio.formats import LONGEST_SIDE_PX, checked_quality
from kinephoto.studio.frame_size import hw_of
from kinephoto.studio.pictures import DEPTH_SUFFIXES, PICTURE_SUFFIXES
from kinephoto.studio.settings import AnimateSettings, MoveSettings, flag_of, is_default
from kinephoto.studio.sinks import check_sink, files_of, is_still
from kinephoto.studio.stereo import Stereo
from kinephoto.studio.stereo_layout import LAYOUTS, composed_hw
from kinephoto.studio.video import VideoSink


@dataclass(frozen=True)
class Outputs:
    """Where to write what.

    Attributes:
        video: the film; in stereo a photo as well, by its suffix.
        depth: the photo's disparity map, or None.
        mask: a video or picture, like the film, of what was invented, or None.
        report: a JSON file of how it was made, or None.
        layout: "mono" or a stereo layout, as the settings say; it decides how the names are checked.
        scenes: 3D files of the scene, each of the kind that its suffix says.
        picture: the scene that was painted around an object, or None.
    """

    video: Path | str
    depth: Path | str | None = None
    mask: Path | str | None = None
    report: Path | str | None = None
    layout: str = "mono"
    scenes: tuple[Path | str, ...] = ()
    picture: Path | str | None = None

    @property
    def still(self) -> bool:
        """Whether a stereo photo is asked for, not a film."""
        return self.layout != "mono" and is_still(self.video)

    @property
    def videos(self) -> list[str]:
        """The film's file or files."""
        return files_of(self.video, self.layout)

    @property
    def files(self) -> list[Path | str]:
        """All that is written."""
        sinks = [name for sink in (self.video, self.mask) if sink for name in files_of(sink, self.layout)]
        return [name for name in (*sinks, self.depth, self.report, *self.scenes, self.picture) if name]

    def check(self) -> None:
        """Refuse now what would be refused at the end of the work.

        Raises:
            InputError: a place that can't be written to, two outputs with one name, or one in a folder of frames.
        """
        check_sink(self.video, self.layout)
        if self.mask is not None:
            check_sink(self.mask, self.layout)
            if self.layout != "mono" and is_still(self.mask) != self.still:
                kind = "photo's is a png or jpg" if self.still else "film's is a film"
                raise InputError(f"The mask is {Path(self.mask).name}; a {kind}, too.")
        if self.depth is not None:
            check_suffix(self.depth, DEPTH_SUFFIXES, "depth map")
        if self.picture is not None:
            check_suffix(self.picture, PICTURE_SUFFIXES, "picture")
        for other in (self.depth, self.report, self.picture):
            if other is not None:
                check_file(other)
        for scene in self.scenes:
            check_scene(scene)
        names = [str(Path(name).resolve()) for name in self.files]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"Two outputs have the same name, {Path(name).name}; give each its own.")
        for folder in names:
            inside = [name for name in self.files if Path(folder) in Path(name).resolve().parents]
            if inside:
                raise InputError(
                    f"{inside[0]} would lie in the folder {Path(folder).name}, which is for frames alone; name another "
                    "place for it."
                )


def move_of(settings: MoveSettings) -> Move:
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


def extend_of(settings: AnimateSettings, photo_hw: tuple[int, int]) -> Extend | None:
    """How far the settings ask to continue a photo of that size beyond its borders.

    Raises:
        InputError: margins that can't be read.
    """
    if settings.extend is None:
        return None
    if settings.extend == "auto":
        return "auto"
    return parsed_margins(settings.extend, photo_hw, at=frame_hw(photo_hw, settings))


def files_read(settings: Any) -> list[str | Path]:
    """What settings name that may be a file: of depth, of a path, of a mask."""
    words = (getattr(settings, name, None) for name in ("depth", "path", "mask"))
    return [word for word in words if isinstance(word, (str, Path))]


def stereo_of(settings: AnimateSettings) -> Stereo | None:
    """What the settings ask for two eyes; None for one.

    Raises:
        InputError: frame after frame can be painted for one eye only.
    """
    if settings.stereo == "mono":
        return None
    if settings.mode != "world":
        raise InputError(f"--stereo {settings.stereo} needs --mode world, not {settings.mode}.")
    return Stereo(settings.stereo, settings.divergence, settings.convergence)


def for_outputs(settings: AnimateSettings, outputs: Outputs) -> AnimateSettings:
    """The settings; for a stereo photo those of a film of one frame, from the photo's own place.

    Raises:
        InputError: a scene is asked for where none is made.
    """
    if outputs.scenes and settings.mode == "autoregressive":
        raise InputError("--mode autoregressive paints frames and makes no scene to save; --mode world does.")
    if not outputs.still:
        return settings
    rest = {"path": "still", "amount": "auto", "loop": False, "hold": 0.0, "seconds": 1 / 24, "fps": 24.0}
    return settings.model_copy(update=rest)


def idle_flags(outputs: Outputs, settings: AnimateSettings) -> list[str]:
    """A sentence for each reason why flags that were given change nothing."""
    reasons: list[tuple[str, tuple[str, ...]]] = []
    if settings.stereo == "mono":
        reasons.append(("without --stereo", ("divergence", "convergence")))
    if settings.painter.partition(":")[0] in ("classical", "opencv"):
        reasons.append((f"with --painter {settings.painter}", ("prompt", "steps", "guidance")))
    if outputs.still:
        reasons.append(("for a photo", ("path", "amount", "ease", "loop", "hold", "seconds", "fps")))
    sentences = []
    for why, names in reasons:
        given = [flag_of(name, type(settings)) for name in names if not is_default(settings, name)]
        if given:
            sentences.append(f"{' and '.join(given)} {'do' if given[1:] else 'does'} nothing {why}.")
    return sentences


def check(outputs: Outputs, settings: AnimateSettings, hw: tuple[int, int] | None = None) -> None:
    """Refuse now what would be refused in the middle or at the end of the work.

    Args:
        outputs: where to write what.
        settings: checked ones.
        hw: height and width of what is filmed; None, where they aren't known yet, looks at no sizes.

    Raises:
        InputError: see ``Outputs.check``; or settings that don't go together.
    """
    outputs.check()
    settings = for_outputs(settings, outputs)
    stereo_of(settings)
    move_of(settings).frame_times(settings.seconds, settings.fps)
    checked_prompt(settings.prompt)
    check_painter(settings.painter)
    check_source(settings.depth)
    if settings.device is not None:
        usable_device(settings.device)
    if settings.extend is not None and settings.mode != "world":
        raise InputError(f"--extend needs --mode world, not {settings.mode}.")
    if settings.extend not in (None, "auto"):
        check_margins(str(settings.extend))
    _check_encoding(outputs, settings)
    if hw is None:
        return
    frames = whole_hw(hw, settings)
    if max(frames) > LONGEST_SIDE_PX:
        raise InputError(
            f"The frames would be {frames[1]} x {frames[0]} px; a film's sides go up to {LONGEST_SIDE_PX}, so "
            "choose a smaller --size."
        )
    if settings.extend not in (None, "auto"):
        own = frame_hw(hw, settings)
        extended_hw(own, parsed_margins(str(settings.extend), hw, at=own))


def check_painter(name: str) -> None:
    """Refuse a painter that there isn't; none is loaded.

    Raises:
        InputError: the door doesn't know the name, or the built-in painter's folder isn't there.
    """
    family, _, variant = name.partition(":")
    # A variant in capitals stands for whatever is written there.
    is_known = any(
        family == known and (variant == own or (own.isupper() and variant))
        for known, _, own in (each.partition(":") for each in painter_names())
    )
    # The door has the words for what it refuses, and reads the built-in painter's weights only when it paints.
    if not is_known or (family == "builtin" and variant):
        get_painter(name)


def encoding_of(settings: AnimateSettings, mask: bool) -> dict[str, Any]:
    """How the film, or its mask, is to be encoded: arguments of ``open_sink``."""
    return {
        "fps": settings.fps,
        "quality": "best" if mask else settings.number_or_word(),
        "codec": None if mask else settings.codec,
    }


def frame_hw(hw: tuple[int, int], settings: AnimateSettings) -> tuple[int, int]:
    """Height and width of the frames to come, or of one eye's; ``hw`` are those of what is filmed."""
    return hw_of(hw, settings.size)


def whole_hw(hw: tuple[int, int], settings: AnimateSettings) -> tuple[int, int]:
    """Height and width of the frames to come, all eyes together."""
    return composed_hw(frame_hw(hw, settings), settings.stereo)


def _check_encoding(outputs: Outputs, settings: AnimateSettings) -> None:
    """Refuse a codec, quality or frame rate that the film's kind of file doesn't take."""
    if outputs.still:
        if isinstance(settings.number_or_word(), str):
            checked_quality(settings.quality, "png")  # a picture has none to set, but wrong words are wrong
        return
    packing = LAYOUTS[outputs.layout].packing if outputs.layout in LAYOUTS else None
    for target, is_mask in ((outputs.video, False), (outputs.mask, True)):
        for file in files_of(target, outputs.layout) if target else ():
            # A sink looks at its arguments when it is made, and at the disk when its block begins.
            VideoSink(file, packing=packing, **encoding_of(settings, is_mask))
