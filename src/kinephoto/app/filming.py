"""What ``animate`` and ``out-animate`` have in common: all between their flags and the last sentence."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinephoto.app.flags import FilmFlags
from kinephoto.app.show import bar, leave, say
from kinephoto.errors import InputError
from kinephoto.studio.settings import AnimateSettings
from kinephoto.wording import size_in_words

if TYPE_CHECKING:
    from kinephoto.studio.certificates import Signer
    from kinephoto.studio.outputs import Outputs
    from kinephoto.studio.produce import Report
    from kinephoto.studio.stages import Progress

    Produce = Callable[[Outputs, Any, Progress | None, Signer | None], Report]


LEAST_AMOUNT = 0.001
"""Below it a camera that was to move stands still to the eye."""


@dataclass(frozen=True)
class Subject:
    """What is filmed, read but not yet looked at.

    Attributes:
        hw: height and width of the photo, or of the scene that will be painted.
        produce: makes the film of it: outputs, settings, progress, signer.
        notes: sentences about it.
        is_painted: it is a scene that will be painted first.
    """

    hw: tuple[int, int]
    produce: Produce
    notes: tuple[str, ...] = ()
    is_painted: bool = False


def make_film(
    source: Path,
    asked: FilmFlags,
    settings: AnimateSettings,
    opened: Callable[[], Subject],
    picture: Path | None = None,
) -> None:
    """Film, and tell of it: first what can be refused is refused, then comes the estimate, then the work.

    Args:
        source: what the user named; - is the standard input.
        asked: what to write.
        settings: checked ones.
        opened: reads the source.
        picture: where to write the painted scene, if there is one and it is wanted.

    Raises:
        InputError: what cannot be used. Then nothing of the outputs is there.
    """
    from kinephoto.studio.files import check_ours_or_new, check_spared
    from kinephoto.studio.outputs import Outputs, check, files_read, for_outputs, idle_flags
    from kinephoto.studio.produce import target_of

    target, notes = target_of(asked.output or beside(source, ".mp4"), settings)
    scenes = tuple(asked.save_scene or ())
    outputs = Outputs(
        target, asked.save_depth, asked.save_mask, asked.report, settings.stereo, scenes, picture
    )
    check_spared(outputs.files, [source, *files_read(settings)])
    check(outputs, settings)
    if asked.output is None:
        for name in outputs.videos:
            check_ours_or_new(name)
    idle = idle_flags(outputs, settings)
    settings = for_outputs(settings, outputs)
    subject = opened()
    check(outputs, settings, subject.hw)
    signer = _signer(asked, source, outputs.videos)
    for note in (*subject.notes, *notes, *idle):
        say(f"Note: {note}", asked.quiet)
    if not asked.quiet:
        say(_expected(subject, settings))
    try:
        with bar(asked.quiet) as progress:
            made = subject.produce(outputs, settings, progress, signer)
    except KeyboardInterrupt:
        leave("Cancelled; nothing was written.", 130)
    for sentence in _closing(made, outputs):
        say(sentence, asked.quiet)


def beside(source: Path, ending: str) -> str:
    """The output's name when none is given.

    Raises:
        InputError: the source is the standard input.
    """
    if str(source) == "-":
        raise InputError("A photo from standard input needs a name for the output: -o FILE.")
    if source.is_dir():
        raise InputError(
            f"{source} is a folder; name a photo in it, or take kinephoto batch for all of them."
        )
    return str(source.parent / (source.stem + ending))


@contextmanager
def as_file(source: Path) -> Iterator[Path]:
    """A file to be read more than once; what comes from the standard input is kept in one meanwhile."""
    if str(source) != "-":
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="kinephoto-") as folder:
        kept = Path(folder) / "standard input"
        kept.write_bytes(sys.stdin.buffer.read())
        yield kept


def _expected(subject: Subject, settings: AnimateSettings) -> str:
    """Such as "96 frames of 720×540: about 20 s."."""
    from kinephoto.studio.estimate import COMPILING_S, estimate_seconds, renderer_is_compiled
    from kinephoto.studio.outputs import frame_hw, whole_hw
    from kinephoto.wording import in_words

    count, whole = round(settings.seconds * settings.fps), whole_hw(subject.hw, settings)
    seconds = estimate_seconds(
        frame_hw(subject.hw, settings),
        count,
        settings.painter,
        settings.mode,
        settings.threads,
        eyes=1 if settings.stereo in ("mono", "rgbd") else 2,
        scene_hw=subject.hw if subject.is_painted else None,
    )
    frames = "1 frame" if count == 1 else f"{count} frames"
    first = (
        "" if renderer_is_compiled() else f", and {in_words(COMPILING_S)} to compile the renderer, this once"
    )
    return f"{frames} of {whole[1]}×{whole[0]}: {in_words(seconds)}{first}."


def _closing(made: Report, outputs: Outputs) -> Iterator[str]:
    """What to say at the end: of a move that was larger than is safe, and what was written."""
    world, video = made.world, made.video
    trajectory = world.trajectory
    if trajectory.hole_share > trajectory.path.max_hole and trajectory.path.amount is not None:
        yield (
            f"This move opens holes of {trajectory.hole_share:.1%} of a frame; --amount auto would take "
            f"{trajectory.safe_amount:.3f} and stay under {trajectory.path.max_hole:.1%}."
        )
    elif trajectory.hole_share > trajectory.path.max_hole and trajectory.rig.amount < LEAST_AMOUNT:
        yield (
            f"This path's turns alone open {trajectory.hole_share:.1%} of a frame, more than --max-hole "
            f"{trajectory.path.max_hole:.1%}, so the camera stays in its place; --amount 0.03, say, moves it none "
            "the less."
        )
    length = "" if outputs.still else f"{round(video.seconds, 2):g} s, "
    yield (
        f"{' and '.join(outputs.videos)}: {length}{video.hw[1]}×{video.hw[0]}, {size_in_words(video.bytes)}; "
        f"depth: {world.depth_name}; at most {made.invented_most:.1%} of a frame is invented."
    )
    others = [str(name) for name in outputs.files if str(name) not in outputs.videos]
    if others:
        yield f"Beside it: {', '.join(others)}."


def _signer(asked: FilmFlags, source: Path, targets: list[str]) -> Signer | None:
    """Who signs, if anybody; what could not be signed is refused before the work."""
    if not asked.credentials and asked.sign_with is None:
        return None
    from kinephoto.studio.certificates import development_signer, signer_from
    from kinephoto.studio.content_credentials import check_holds_credentials, ready

    for target in targets:
        check_holds_credentials(target)
    signer = signer_from(*asked.sign_with) if asked.sign_with else development_signer()
    return ready(signer, None if str(source) == "-" else source)
