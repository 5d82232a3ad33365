"""Three ways to turn pictures into a file, behind one door: ``write`` each, then ``finish``; ``close`` always.

None of them keeps pictures: memory doesn't grow with the length of the film. They write to the path they
are given; that it appears whole or not at all is the business of `kinephoto.studio.files`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kinephoto.errors import InputError
from kinephoto.interrupts import held_back
from kinephoto.machine import usable_cores
from kinephoto.studio.formats import CODECS, Codec, Packing
from kinephoto.studio.stereo_tags import tag

if TYPE_CHECKING:
    import av

# ITU-T H.273: BT.709 primaries, transfer and matrix, the values that players assume for untagged HD.
_BT709 = 1
_LIMITED_RANGE = 1
_MOST_THREADS = 8  # frame threads each hold pictures; past this they cost memory and bring little


class Encoder(Protocol):
    """What `kinephoto.studio.video.VideoSink` needs of an encoder."""

    def write(self, picture: np.ndarray) -> None:
        """Take the next picture, [H, W, 3] uint8 sRGB, always of the same size."""

    def finish(self) -> None:
        """Write what is still held back; the file is then complete."""

    def close(self) -> None:
        """Let go of everything, finished or not; never raises."""


class StreamEncoder:
    """A container with one video stream, by PyAV: mp4, mov, mkv, webm and animated webp.

    Args:
        path: an existing empty file; its suffix doesn't matter.
        container: FFmpeg's name of the format.
        codec: one of `kinephoto.studio.formats.CODECS`.
        quality: a value for the codec's quality option.
        hw: height and width of every picture to come, even where the codec needs it.
        rate: frames per second.
        loop_count: how often a webp plays, 0 for ever; others ignore it.
        metadata: texts such as title or comment; webp has no place for them.
        packing: how two eyes share each picture; gif, webp and png have no place for it.
    """

    def __init__(
        self,
        path: Path,
        container: str,
        codec: Codec,
        quality: int,
        hw: tuple[int, int],
        rate: Fraction,
        loop_count: int = 0,
        metadata: Mapping[str, str] | None = None,
        packing: Packing | None = None,
    ) -> None:
        if codec.encoder == "libsvtav1":
            # It prints its settings to standard error unless told, and only this variable tells it.
            os.environ.setdefault("SVT_LOG", "1")
        options = {"fflags": "+bitexact"}  # no random ids, no date: the same film is the same bytes
        if container in ("mp4", "mov"):
            options["movflags"] = "+faststart"
        if container == "matroska":
            options["write_crc32"] = "0"  # what is known only after the last frame is filled in then
        if container == "webp":
            options["loop"] = str(loop_count)
        quality_option = {codec.quality_option: str(quality)} if codec.quality_option else {}
        if codec.encoder == "libx264" and _has_avx512():
            # x264's AVX-512 code for macroblock trees gives other bytes from run to run; the AVX2 code doesn't.
            quality_option["x264-params"] = "asm=avx2"
        self._output = _open(path, container, options)
        self._stream = _add_stream(self._output, codec, hw, rate, {**codec.options, **quality_option})
        self._path, self._container, self._packing = path, container, packing
        if packing and (container == "matroska" or (container == "webm" and packing.mp4)):
            self._stream.metadata["stereo_mode"] = packing.matroska
        self._output.metadata.update(metadata or {})
        self._pixels = codec.pixels
        self._tick = 1 / rate
        self._count = 0
        self._reformatter = _reformatter()

    def write(self, picture: np.ndarray) -> None:
        frame = _video_frame(picture, self._count, self._tick)
        self._output.mux(self._stream.encode(self._converted(frame)))
        self._count += 1

    def finish(self) -> None:
        self._output.mux(self._stream.encode(None))
        self._output.close()
        if self._packing is not None:
            tag(self._path, self._container, self._packing)

    def close(self) -> None:
        _close_quietly(self._output)

    def _converted(self, frame: av.VideoFrame) -> av.VideoFrame:
        """RGB to the codec's pixels: BT.709, limited range, every chroma sample averaged from all its pixels."""
        from av.video.reformatter import ColorRange, Colorspace, Interpolation

        if not self._pixels.startswith("yuv"):
            return self._reformatter.reformat(frame, format=self._pixels)
        quality = Interpolation.AREA | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
        return self._reformatter.reformat(
            frame,
            format=self._pixels,
            src_colorspace=Colorspace.ITU709,
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=quality,
        )


class GifEncoder:
    """A GIF with one palette for the whole film, which neither flickers nor hoards.

    The palette can be known only after the last picture, so pictures wait in an unnamed file in the
    target's folder, which the system forgets even when the process is killed. Dithering is by a fixed
    screen: error diffusion would crawl as the camera moves.
    """

    def __init__(self, path: Path, hw: tuple[int, int], rate: Fraction, loop_count: int = 0) -> None:
        self._path, self._hw, self._tick, self._loop_count = path, hw, 1 / rate, loop_count
        self._count = 0
        self._output: av.container.OutputContainer | None = None
        self._waiting = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 (close() closes it)
        self._histogram = _Graph("palettegen", "", [hw], self._tick)

    def write(self, picture: np.ndarray) -> None:
        self._waiting.write(picture.data)
        self._histogram.push(_video_frame(picture, self._count, self._tick))
        self._count += 1

    def finish(self) -> None:
        (palette,) = self._histogram.end()
        palette.pts = 0
        palette_hw = (palette.height, palette.width)
        paint = _Graph("paletteuse", "dither=bayer:bayer_scale=4", [self._hw, palette_hw], self._tick, "bgra")
        paint.push(palette, 1)
        paint.end_input(1)
        # GIF counts repetitions after the first play, FFmpeg calls none of them -1.
        loop = {0: 0, 1: -1}.get(self._loop_count, self._loop_count - 1)
        self._output = _open(self._path, "gif", {"loop": str(loop)})
        stream = _add_stream(self._output, CODECS["gif"], self._hw, 1 / self._tick, {})
        painted = 0
        self._waiting.seek(0)
        for index in range(self._count + 1):
            last = index == self._count
            for frame in paint.end() if last else paint.push(_video_frame(self._next(), index, self._tick)):
                frame.pts, frame.time_base = painted, self._tick
                painted += 1
                self._output.mux(stream.encode(frame))
        self._output.mux(stream.encode(None))
        self._output.close()

    def close(self) -> None:
        self._waiting.close()
        if self._output is not None:
            _close_quietly(self._output)

    def _next(self) -> np.ndarray:
        height, width = self._hw
        data = self._waiting.read(height * width * 3)
        return np.frombuffer(data, np.uint8).reshape(height, width, 3)


class FolderEncoder:
    """A folder of PNG pictures, frame_00000.png and so on."""

    def __init__(self, path: Path, metadata: Mapping[str, str] | None = None) -> None:
        self._path, self._metadata, self._count = path, metadata, 0

    def write(self, picture: np.ndarray) -> None:
        from PIL import Image

        from kinephoto.studio.pictures import save_png

        save_png(Image.fromarray(picture), self._path / f"frame_{self._count:05d}.png", self._metadata)
        self._count += 1

    def finish(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Graph:
    """One FFmpeg filter fed from one or more sources, drained after every push so that nothing piles up."""

    def __init__(
        self,
        name: str,
        arguments: str,
        hws: list[tuple[int, int]],
        tick: Fraction,
        second_pixels: str = "rgb24",
    ) -> None:
        import av

        graph = av.filter.Graph()
        node = graph.add(name, arguments) if arguments else graph.add(name)
        self._sources = []
        for number, (height, width) in enumerate(hws):
            pixels = "rgb24" if number == 0 else second_pixels
            source = graph.add_buffer(width=width, height=height, format=pixels, time_base=tick)
            source.link_to(node, 0, number)
            self._sources.append(source)
        self._sink = graph.add("buffersink")
        node.link_to(self._sink)
        graph.configure()
        self._graph = graph

    def push(self, frame: av.VideoFrame, number: int = 0) -> list[av.VideoFrame]:
        self._sources[number].push(frame)
        return self._drained()

    def end_input(self, number: int) -> None:
        self._sources[number].push(None)

    def end(self) -> list[av.VideoFrame]:
        self.end_input(0)
        return self._drained()

    def _drained(self) -> list[av.VideoFrame]:
        import av

        frames = []
        # PyAV loses what a signal raises while it makes an error of its own, and here each frame ends in one.
        with held_back("SIGINT", "SIGTERM", "SIGHUP"), suppress(av.error.BlockingIOError, av.error.EOFError):
            while True:
                frames.append(self._sink.pull())
        return frames


def _open(path: Path, container: str, options: dict[str, str]) -> av.container.OutputContainer:
    import av

    return av.open(str(path), "w", format=container, options=options)


def _add_stream(
    output: av.container.OutputContainer,
    codec: Codec,
    hw: tuple[int, int],
    rate: Fraction,
    options: dict[str, str],
) -> Any:
    """A video stream whose encoder is open, so that what it refuses is refused now.

    Raises:
        InputError: the encoder isn't in this PyAV, or doesn't take pictures of this size.
    """
    import av

    try:
        stream = output.add_stream(codec.encoder, rate=rate, options=options)
    except ValueError as error:
        raise InputError(
            f"The encoder {codec.encoder} isn't part of this PyAV ({av.__version__})."
        ) from error
    context = stream.codec_context
    context.height, context.width = hw
    context.pix_fmt = codec.pixels
    context.thread_count = min(_MOST_THREADS, usable_cores())
    if codec.pixels.startswith("yuv"):
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = _LIMITED_RANGE
    try:
        context.open()
    except av.error.FFmpegError as error:
        raise InputError(
            f"A video of {hw[1]} x {hw[0]} pixels is beyond the encoder {codec.encoder}."
        ) from error
    return stream


def _video_frame(picture: np.ndarray, index: int, tick: Fraction) -> av.VideoFrame:
    import av

    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    frame.pts, frame.time_base = index, tick
    return frame


def _reformatter() -> Any:
    from av.video.reformatter import VideoReformatter

    return VideoReformatter()


def _has_avx512() -> bool:
    """Whether this processor has AVX-512; LLVM, which came with Numba, knows."""
    from llvmlite.binding import get_host_cpu_features

    try:
        return bool(get_host_cpu_features().get("avx512f"))
    except RuntimeError:  # LLVM doesn't know this kind of processor, so it isn't one that has
        return False


def _close_quietly(output: av.container.OutputContainer) -> None:
    """Closing writes the end of the file, which fails for the reason that brought us here, or another."""
    with suppress(Exception):
        output.close()
