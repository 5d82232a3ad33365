"""Frames become a video file as they come: nothing is collected, and the file appears whole or not at all.

Sizes: H.264 stores colour for two by two pixels and cannot say "one less", so an odd last row or column is
cut off in mp4, mov and mkv; the other kinds keep every pixel. Colours: frames are sRGB; codecs with luma
and chroma get BT.709 limited range, with the tags that make players undo exactly that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from kinephoto.errors import InputError
from kinephoto.interrupts import ending_cleanly
from kinephoto.scene.values import Frame, as_given, whole_number
from kinephoto.studio.certificates import Signer
from kinephoto.studio.content_credentials import check_holds_credentials
from kinephoto.studio.encoders import Encoder, FolderEncoder, GifEncoder, StreamEncoder
from kinephoto.studio.files import check_file, check_folder, whole, whole_folder
from kinephoto.studio.formats import (
    CODECS,
    FOLDER,
    GIF_MOST_FPS,
    LONGEST_SIDE_PX,
    QUALITIES,
    Packing,
    checked_codec,
    checked_loop_count,
    checked_metadata,
    checked_quality,
    format_of,
    frame_rate,
    is_frame_name,
    with_full_chroma,
)
from kinephoto.studio.pictures import to_uint8
from kinephoto.studio.provenance import COMMENT, TAGGED, Provenance, complete, provenance_of, tags_of

if TYPE_CHECKING:
    from typing_extensions import Self


UNSAID_FPS = 24
"""Frames per second where neither the caller nor the film nor a frame says how many."""


@dataclass(frozen=True)
class VideoReport:
    """What was written.

    Attributes:
        path: the file or folder.
        frame_count: frames in it.
        seconds: its length, ``frame_count`` / frames per second.
        bytes: its size on disk.
        codec: "h264", "vp9", "av1", "gif", "webp" or "png".
        hw: height and width as stored, which may be one less than the frames' (see the module).
    """

    path: Path
    frame_count: int
    seconds: float
    bytes: int
    codec: str
    hw: tuple[int, int]


def write_video(
    frames: Iterable[Frame],
    target: str | Path,
    *,
    fps: float | Fraction | None = None,
    quality: str | int = "good",
    codec: str | None = None,
    loop_count: int = 0,
    overwrite: bool = True,
    metadata: Mapping[str, str] | None = None,
    provenance: Provenance | None = None,
    signer: Signer | None = None,
) -> VideoReport:
    """Write frames to a video file, each as soon as it comes.

    ``frames`` is closed in the end if it can be, so that a film that is cancelled frees its memory.
    SIGTERM and Ctrl-C leave nothing behind. Where ``frames`` says in an attribute ``packing`` how two eyes
    share each frame, as `kinephoto.studio.stereo.stereo_film` does, the file tells players.

    Args:
        frames: all of one size; a generator is consumed one by one.
        target: .mp4, .mov, .mkv, .webm, .gif, .webp, or a folder for PNG pictures: an existing one, or a
            name that ends with a slash. A folder is replaced only if it holds nothing but such pictures.
        fps: frames per second, 1 to 120; 23.976 and the like mean 24000/1001. Default: what ``frames``
            says in an attribute ``fps``, as `film` does, else what the first frame says in its own, as those of a
            film in a list do, else 24.
        quality: "draft", "good", "best", or the codec's own number: CRF for h264 (0 to 51), vp9 and av1
            (to 63), small is good; WebP's quality (0 to 100), large is good. GIF and PNG have none.
        codec: "av1" in .mp4, .webm and .mkv, "vp9" in .mkv; default h264, in .webm vp9.
        loop_count: how often a GIF or WebP plays; 0 is for ever. A video file leaves that to the player.
        overwrite: whether an existing file may be replaced.
        metadata: texts named as `kinephoto.studio.formats.METADATA_NAMES`; GIF and WebP have no place for them.
        provenance: how the frames came to be, to be written into the file with the share of what is
            invented. Default: that of the ``world`` of ``frames``, if they have one, as a `film` does.
        signer: signs the file as well: see `kinephoto.studio.content_credentials`.

    Raises:
        InputError: no frames, a film that is over, frames of changing size, an argument out of range, a suffix
            kinephoto doesn't write, a place it cannot write to, or a full disk.
    """
    if isinstance(frames, (str, bytes)) or not isinstance(frames, Iterable):
        raise InputError(
            f"The frames are {as_given(frames)}; they must be Frames, as kinephoto.film yields them."
        )
    if getattr(frames, "is_over", False):
        raise InputError(
            "This film is over: its frames have all been taken, or it was closed; kinephoto.film makes it anew."
        )
    rate = getattr(frames, "fps", None) if fps is None else fps
    world = getattr(frames, "world", None)
    if provenance is None and world is not None:
        provenance = provenance_of(world)
    sink = VideoSink(
        target,
        fps=rate,
        quality=quality,
        codec=codec,
        loop_count=loop_count,
        overwrite=overwrite,
        metadata=metadata,
        packing=getattr(frames, "packing", None),
        provenance=provenance,
        signer=signer,
    )
    try:
        with ending_cleanly(), sink:
            for frame in frames:
                sink.write(frame)
    finally:
        _close(frames)
    return sink.report


def check_target(target: str | Path, *, overwrite: bool = True) -> None:
    """Refuse now what `VideoSink` would refuse of its target later.

    Raises:
        InputError: a suffix kinephoto doesn't write, or a place it cannot write to.
    """
    if format_of(target) is FOLDER:
        check_folder(target, is_frame_name, overwrite=overwrite)
    else:
        check_file(target, overwrite=overwrite)


class VideoSink:
    """A video file that takes frames one by one; the arguments are those of `write_video`.

    ``packing`` says how two eyes share each frame, None that there is one. Without ``fps`` the first frame says how
    many there are a second.

    Used as a context. When the block ends well the file is there and ``report`` tells of it; when it
    ends by an exception of any kind, nothing is. One film can feed several sinks at once:

        with VideoSink("film.mp4") as colours, VideoSink("mask.mp4", quality="best") as mask:
            for frame in film(world):
                colours.write(frame)
                mask.write(mask_frame(frame))

    Attributes:
        report: what was written; set when the block has ended well.

    Raises:
        InputError: see `write_video`; what is wrong with the arguments is said at once.
    """

    report: VideoReport

    def __init__(
        self,
        target: str | Path,
        *,
        fps: float | Fraction | None = None,
        quality: str | int = "good",
        codec: str | None = None,
        loop_count: int = 0,
        overwrite: bool = True,
        metadata: Mapping[str, str] | None = None,
        packing: Packing | None = None,
        provenance: Provenance | None = None,
        signer: Signer | None = None,
    ) -> None:
        if not isinstance(target, (str, PathLike)):
            raise InputError(f"The target is {as_given(target)}; it must be the name of a video or a folder.")
        self._container, codecs = format_of(target)
        self._target, self._overwrite = Path(target), overwrite
        self._codec = checked_codec(codec, codecs, target)
        self._packing = packing
        full = packing is not None and packing.full_chroma
        self._how = with_full_chroma(self._codec) if full else CODECS[self._codec]
        quality = quality.item() if isinstance(quality, np.generic) else quality
        if not isinstance(quality, (str, int)):
            raise InputError(
                f"The quality is {as_given(quality)}; it must be {', '.join(QUALITIES)} or a whole number."
            )
        self._quality = checked_quality(quality, self._codec)
        self._loop_count = checked_loop_count(whole_number("loop_count", loop_count))
        texts = {} if metadata is None else metadata
        if not isinstance(texts, Mapping) or not all(isinstance(text, str) for text in texts.values()):
            raise InputError(f"The metadata are {as_given(texts)}; they must be texts by name.")
        self._metadata = checked_metadata(texts)
        self._provenance, self._signer = provenance, signer
        self._shares: list[float] = []
        if provenance is not None:
            self._metadata.setdefault("comment", COMMENT)
        if signer is not None:
            check_holds_credentials(target)
        self._rate = None if fps is None else self._checked_rate(fps)
        check_target(target, overwrite=overwrite)
        self._encoder: Encoder | None = None
        self._frames_hw: tuple[int, int] | None = None
        self._count = 0

    def __enter__(self) -> Self:
        self._lifetime: AbstractContextManager[None] = self._life()
        self._lifetime.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._lifetime.__exit__(kind, error, trace)

    def write(self, frame: Frame) -> None:
        """Encode the next frame.

        Raises:
            InputError: a frame that isn't [3, H, W], of another size than the first, or too small or large.
        """
        if not isinstance(frame, Frame):
            raise InputError(
                f"Frame {self._count} is {as_given(frame)}; it must be a Frame, as kinephoto.film yields them."
            )
        shape = tuple(frame.rgb.shape)
        if len(shape) != 3 or shape[0] != 3:
            raise InputError(f"A frame is [3, H, W]; frame {self._count} is {list(shape)}.")
        if self._encoder is None:
            if self._rate is None:
                self._rate = self._checked_rate(UNSAID_FPS if frame.fps is None else frame.fps)
            self._begin(shape[1:], self._rate)
        was = self._frames_hw
        if was is not None and shape[1:] != was:
            raise InputError(
                f"All frames of a video have one size; frame {self._count} is {shape[2]} x {shape[1]}, "
                f"those before it {was[1]} x {was[0]}."
            )
        height, width = self._hw
        assert self._encoder is not None  # _begin has made one
        self._encoder.write(to_uint8(frame.rgb[:, :height, :width]))
        self._count += 1
        if self._provenance is not None:
            self._shares.append(float(frame.invented.mean()))

    @contextmanager
    def _life(self) -> Iterator[None]:
        """From the temporary file's first moment to its end as the target, or its removal."""
        place = (
            whole_folder(self._target, is_frame_name, overwrite=self._overwrite)
            if self._codec == "png"
            else whole(self._target, overwrite=self._overwrite)
        )
        with place as self._part:
            try:
                yield
                if self._encoder is None:
                    raise InputError(f"There are no frames to write to {self._target}.")
                self._encoder.finish()
                if self._provenance is not None:
                    complete(self._part, self._provenance, self._shares, self._signer, self._target.name)
                size = _size_on_disk(self._part)
            finally:
                if self._encoder is not None:
                    self._encoder.close()
        assert self._rate is not None  # the first frame has decided
        seconds = float(self._count / self._rate)
        self.report = VideoReport(self._target, self._count, seconds, size, self._codec, self._hw)

    def _checked_rate(self, fps: float | Fraction) -> Fraction:
        rate = frame_rate(fps.item() if isinstance(fps, np.generic) else fps)
        if self._codec == "gif" and rate > GIF_MOST_FPS:
            raise InputError(f"A GIF shows at most {GIF_MOST_FPS} frames per second; got {float(rate):g}.")
        return rate

    def _begin(self, hw: tuple[int, int], rate: Fraction) -> None:
        codec = self._how
        self._frames_hw = hw
        self._hw = (hw[0] - hw[0] % 2, hw[1] - hw[1] % 2) if codec.even else hw
        if min(self._hw) < 1 or max(self._hw) > LONGEST_SIDE_PX:
            least = 2 if codec.even else 1
            raise InputError(
                f"A frame of {hw[1]} x {hw[0]} pixels cannot be written as {self._codec}; "
                f"sides go from {least} to {LONGEST_SIDE_PX}."
            )
        if self._codec == "png":
            self._encoder = FolderEncoder(self._part, self._metadata)
        elif self._codec == "gif":
            self._encoder = GifEncoder(self._part, self._hw, rate, self._loop_count)
        else:
            tags = tags_of(self._provenance) if self._provenance and self._container in TAGGED else {}
            self._encoder = StreamEncoder(
                self._part,
                self._container,
                codec,
                self._quality,
                self._hw,
                rate,
                self._loop_count,
                self._metadata | tags,
                self._packing,
            )


def mask_frame(frame: Frame) -> Frame:
    """The frame's ``invented`` as a grey picture: white is what the painter made up."""
    return replace(frame, rgb=frame.invented[None].expand(3, -1, -1))


def mask_frames(frames: Iterable[Frame]) -> Iterator[Frame]:
    """`mask_frame` of each; closes ``frames`` when closed."""
    try:
        for frame in frames:
            yield mask_frame(frame)
    finally:
        _close(frames)


def _size_on_disk(path: Path) -> int:
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def _close(frames: Iterable[Frame]) -> None:
    close = getattr(frames, "close", None)
    if callable(close):
        close()
