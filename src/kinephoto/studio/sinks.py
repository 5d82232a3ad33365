"""Where frames go: a video, a still picture, or two of either for a stereo pair; all are used alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from kinephoto.scene.values import Frame
from kinephoto.studio.files import check_file, whole
from kinephoto.studio.pictures import write_picture
from kinephoto.studio.provenance import complete
from kinephoto.studio.stereo_layout import LAYOUTS, pair_of
from kinephoto.studio.video import VideoReport, VideoSink, check_target

STILL_SUFFIXES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}


class Sink(Protocol):
    """What takes frames one by one; ``report`` tells of the file when the block has ended well."""

    report: VideoReport

    def write(self, frame: Frame) -> None:
        """Take the next frame."""


def is_still(target: Path | str) -> bool:
    """Whether a stereo output is a photo rather than a film, by its suffix."""
    return Path(target).suffix.lower() in STILL_SUFFIXES and not str(target).endswith("/")


def files_of(target: Path | str, layout: str) -> list[str]:
    """What is written for a target: one file or folder, or two for a pair."""
    return list(pair_of(target)) if layout == "pair" else [str(target)]


def check_sink(target: Path | str, layout: str) -> None:
    """Refuse now what `open_sink` would refuse of its target.

    Raises:
        InputError: a suffix kinephoto doesn't write, or a place it cannot write to.
    """
    for file in files_of(target, layout):
        if layout in LAYOUTS and is_still(file):
            check_file(file)
        else:
            check_target(file)


def open_sink(target: Path | str, layout: str, **of_video: Any) -> AbstractContextManager[Sink]:
    """The sink for a target.

    Args:
        target: a video, a folder, or in stereo a picture.
        layout: "mono" or one of `kinephoto.studio.stereo_layout.LAYOUTS`.
        of_video: further arguments of `VideoSink`.
    """
    if layout == "pair":
        return _pair(target, of_video)
    if layout in LAYOUTS:
        of_video |= {"packing": LAYOUTS[layout].packing}
        if is_still(target):
            return _still(target, of_video)
    return VideoSink(target, **of_video)


class StillSink:
    """A picture of the first frame; colour is kept for every pixel. Made by `open_sink`."""

    report: VideoReport

    def __init__(self) -> None:
        self.frame: Frame | None = None

    def write(self, frame: Frame) -> None:
        self.frame = self.frame or frame


class PairSink:
    """Parts frames with the eyes side by side into a file for each. Made by `open_sink`."""

    report: VideoReport

    def __init__(self, left: Sink, right: Sink) -> None:
        self._left, self._right = left, right

    def write(self, frame: Frame) -> None:
        width = frame.rgb.shape[2] // 2
        for sink, part in ((self._left, slice(0, width)), (self._right, slice(width, None))):
            sink.write(replace(frame, rgb=frame.rgb[:, :, part], invented=frame.invented[:, part]))


@contextmanager
def _still(target: Path | str, of_video: dict[str, Any]) -> Iterator[Sink]:
    sink = StillSink()
    with whole(target) as part:
        yield sink
        assert sink.frame is not None  # a film has frames
        write_picture(sink.frame.rgb, part, metadata=of_video.get("metadata"))
        if of_video.get("provenance") is not None:
            shares = [float(sink.frame.invented.mean())]
            complete(part, of_video["provenance"], shares, of_video.get("signer"), Path(target).name)
        size = part.stat().st_size
    kind, (height, width) = STILL_SUFFIXES[Path(target).suffix.lower()], sink.frame.rgb.shape[1:]
    sink.report = VideoReport(Path(target), 1, 0.0, size, kind, (height, width))


@contextmanager
def _pair(target: Path | str, of_video: dict[str, Any]) -> Iterator[Sink]:
    with ExitStack() as stack:
        left, right = (
            stack.enter_context(_still(file, of_video) if is_still(file) else VideoSink(file, **of_video))
            for file in pair_of(target)
        )
        sink = PairSink(left, right)
        yield sink
    sink.report = replace(left.report, bytes=left.report.bytes + right.report.bytes)
