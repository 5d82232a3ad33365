"""What the page and the HTTP interface both do: an uploaded file in, finished files out."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinephoto.app.web.jobs import Cancelled, Job, Line, Tell
from kinephoto.app.web.limits import AppSettings, check_film
from kinephoto.app.web.results import Results, stem_of
from kinephoto.errors import InputError
from kinephoto.painter.catalogue import checksum
from kinephoto.studio.settings import AnimateSettings, MoveSettings, checked, command_of, is_default
from kinephoto.wording import size_in_words

if TYPE_CHECKING:
    from torch import Tensor

    from kinephoto.scene.values import Disparity, Photo
    from kinephoto.studio.produce import Report

LOOKS_KEPT = 8
"""Reduced photos with their depth that are remembered; about 20 MB each."""

SCENES_KEPT = 200
"""Painted scenes of which it is remembered what of them is invented; about 0.3 MB each."""

NOT_OF_SCENES = ("mode", "stereo", "divergence", "convergence")
"""Settings that say how a film is made of a scene, not how the scene is."""

SCENE_SUFFIXES = (".html", ".glb", ".ply", ".splat.ply")
DEPTH_FILE_SUFFIXES = (".png", ".npy", ".tif", ".tiff", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, eq=False)
class Look:
    """A photo as films see it, and its depth.

    Attributes:
        photo: its short side at most 720 px.
        depth: [H, W] of it.
        name: the photo's, without suffix.
    """

    photo: Photo
    depth: Disparity
    name: str


@dataclass(frozen=True, eq=False)
class Painted:
    """A scene around an object of a visitor's photo.

    Attributes:
        file: its picture.
        photo: the same, not rounded to bytes; it knows that all but the object is invented.
        cutout: the object's picture, of which the command line paints the same scene.
        painting: the settings for that: prompt, place and seed.
    """

    file: Path
    photo: Photo
    cutout: Path
    painting: Mapping[str, Any]


@dataclass(frozen=True)
class Made:
    """Finished files.

    Attributes:
        files: the film, the settings, the depth, in that order; or what else was made.
        command: the command line that makes the same film.
        says: one line for people.
    """

    files: tuple[Path, ...]
    command: str = ""
    says: str = ""


@dataclass(eq=False)
class Studio:
    """One device, one folder, and the limits: what every visitor shares."""

    limits: AppSettings
    results: Results
    line: Line
    _looks: OrderedDict[tuple[str, ...], Look] = field(default_factory=OrderedDict)
    _invented: OrderedDict[str, Tensor] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def settings(self, values: Mapping[str, Any]) -> AnimateSettings:
        """A visitor's settings, within their ranges and the server's limits.

        Raises:
            InputError: one sentence about the first that is not.
        """
        usual = {"seconds": min(AnimateSettings().seconds, self.limits.max_seconds)}
        wanted: AnimateSettings = checked(AnimateSettings, usual | dict(values))
        check_film(wanted, self.limits)
        return wanted

    def warm_up(self, photo: Path) -> Job:
        """Load what every first visitor would wait for, by looking at a small photo, in the background."""
        copy = self.results.new() / photo.name
        copy.write_bytes(photo.read_bytes())

        def work(tell: Tell) -> None:
            self.preview(self.look(str(copy)), AnimateSettings(seconds=0.5), tell)

        return self.line.submit(work, owner="warm-up", quick=True)

    def look(self, photo: str, depth: str = "auto", depth_file: str | None = None) -> Look:
        """The photo and its depth, remembered for the next time.

        Args:
            photo: an uploaded file.
            depth: one of the sources that visitors may name.
            depth_file: an uploaded depth map, which wins over ``depth``.

        Raises:
            InputError: what cannot be used.
        """
        known = self.seen(photo, depth, depth_file)
        if known is not None:
            return known
        place, depth_place = self._photo(photo), self._depth(depth_file)
        from kinephoto.scene.depth import estimate_depth
        from kinephoto.scene.photo import resized
        from kinephoto.studio.frame_size import hw_of

        whole = self._read(place)
        picture = resized(whole, hw_of(whole.camera.hw, None))
        found = estimate_depth(
            picture, depth_place or depth, device=self.limits.device, offline=self.limits.offline
        )
        look = Look(picture, found, stem_of(place))
        with self._lock:
            self._looks[_key(place, depth, depth_place)] = look
            while len(self._looks) > LOOKS_KEPT:
                self._looks.popitem(last=False)
        return look

    def seen(self, photo: str | None, depth: str = "auto", depth_file: str | None = None) -> Look | None:
        """What ``look`` remembers of the photo, at once and without the device; None when it doesn't.

        Raises:
            InputError: there is no photo, or a file isn't one that was uploaded.
        """
        key = _key(self._photo(photo), depth, self._depth(depth_file))
        with self._lock:
            if key in self._looks:
                self._looks.move_to_end(key)
            return self._looks.get(key)

    def depth_files(self, look: Look) -> tuple[Path, Path, Path]:
        """The depth in colours to look at, as 16 bits to keep, and as 8 bits to paint on."""
        from kinephoto.studio.pictures import colour_depth, origin_of_depth, write_depth, write_picture

        folder, origin = self.results.new(), origin_of_depth(look.depth)
        coloured = write_picture(
            colour_depth(look.depth), folder / f"{look.name}_depth_colours.jpg", provenance=origin
        )
        exact = write_depth(look.depth, folder / f"{look.name}_depth.png", provenance=origin)
        low, high = look.depth.values.min(), look.depth.values.max()
        grey = write_picture(
            (look.depth.values - low) / (high - low).clamp_min(1e-6), folder / "paint_on_depth.png"
        )
        return coloured, exact, grey

    def preview(self, look: Look, settings: AnimateSettings, tell: Tell) -> Path:
        """The move as a small film."""
        from kinephoto.studio.preview import preview_film
        from kinephoto.studio.provenance import provenance_of
        from kinephoto.studio.video import write_video

        tell("frames", 0.0)
        frames = preview_film(look.photo, self._with_machine(settings), look.depth, settings.seconds)
        target = self.results.new() / f"{look.name}_preview.mp4"
        write_video(
            _told(frames, tell),
            target,
            fps=frames.fps,
            quality="draft",
            provenance=provenance_of(frames.world) if frames.world else None,
        )
        return target

    def film(self, photo: str, settings: AnimateSettings, depth_file: str | None, tell: Tell) -> Made:
        """The film, the settings that make it again, and its depth."""
        place, depth_place = self._photo(photo), self._depth(depth_file)
        words = ("animate", place.name)
        return self._film(self._read(place), stem_of(place), words, settings, depth_place, tell)

    def film_scene(self, scene: Painted, settings: AnimateSettings, tell: Tell) -> Made:
        """The film of a painted scene, the settings that paint and film it again, and its depth.

        What comes into view is painted with the scene's prompt and seed, as the command line does.
        """
        from kinephoto.studio.outpaint_settings import OutAnimateSettings

        file, cutout = self.results.own(scene.file), self.results.own(scene.cutout)
        wanted = checked(OutAnimateSettings, settings.model_dump() | dict(scene.painting))
        return self._film(scene.photo, stem_of(file), ("out-animate", cutout.name), wanted, None, tell)

    def remember(self, scene: Painted) -> None:
        """Know the scene again when its picture is given to be filmed as a photo."""
        if scene.photo.invented is None:
            return
        digest = checksum(scene.file)
        with self._lock:
            self._invented[digest] = scene.photo.invented
            while len(self._invented) > SCENES_KEPT:
                self._invented.popitem(last=False)

    def _film(
        self,
        photo: Photo,
        name: str,
        words: tuple[str, ...],
        settings: AnimateSettings,
        depth_place: Path | None,
        tell: Tell,
    ) -> Made:
        """The film, its settings and its depth, under that name; ``words`` begin the command line."""
        from kinephoto.studio import produce
        from kinephoto.studio.outputs import Outputs

        folder = self.results.new()
        target, _ = produce.target_of(str(folder / f"{name}.mp4"), settings)
        depth_target = folder / f"{name}_depth{depth_place.suffix.lower() if depth_place else '.png'}"
        told, used = settings, self._with_machine(settings)
        if depth_place is not None:
            depth_target.write_bytes(depth_place.read_bytes())
            told = told.model_copy(update={"depth": depth_target.name})
            used = used.model_copy(update={"depth": str(depth_target)})
        outputs = Outputs(target, None if depth_place else depth_target, layout=settings.stereo)
        report = produce.animate(photo, outputs, used, tell)
        settings_file = self._write_settings(folder / f"{name}_settings.json", told)
        command = command_of(told, "kinephoto", *words, "-o", Path(target).name)
        videos = [Path(video) for video in outputs.videos]
        return Made((*videos, settings_file, depth_target), command, _in_words(report))

    def scene(self, photo: str, values: Mapping[str, Any], depth_file: str | None, tell: Tell) -> Made:
        """The scene as a page to look around in and as files for other programs.

        Raises:
            InputError: what cannot be used, or a setting that only films have; their length, frame rate,
                quality and codec are left aside.
        """
        from kinephoto.studio.build import build_world
        from kinephoto.studio.export import save_scene
        from kinephoto.studio.outputs import extend_of, move_of
        from kinephoto.studio.produce import painter_of
        from kinephoto.studio.stages import Stages

        settings = self._with_machine(self.settings(values))
        _check_scene(settings)
        place, depth_place = self._photo(photo), self._depth(depth_file)
        picture, stages = self._read(place), Stages(tell)
        world = build_world(
            picture,
            move_of(settings),
            size=settings.size,
            depth=depth_place or settings.depth,
            depth_floor=settings.depth_range,
            painter=painter_of(settings, stages.again),
            prompt=settings.prompt,
            seed=settings.seed,
            device=settings.device,
            offline=settings.offline,
            threads=settings.threads,
            extend=extend_of(settings, picture.camera.hw),
            stages=stages,
        )
        folder, files = self.results.new(), []
        for number, suffix in enumerate(SCENE_SUFFIXES):
            tell("saving", number / len(SCENE_SUFFIXES))
            target = folder / f"{stem_of(place)}{suffix}"
            save_scene(world, target)
            files.append(target)
        return Made(tuple(files), says=f"{len(world.layers)} layers; depth: {world.depth_name}.")

    def _photo(self, path: str | None) -> Path:
        if not path:
            raise InputError("There is no photo yet; drop one in, or take one of the examples.")
        return self.results.own(path)

    def _depth(self, path: str | None) -> Path | None:
        if not path:
            return None
        place = self.results.own(path)
        if place.suffix.lower() not in DEPTH_FILE_SUFFIXES:
            kinds = ", ".join(DEPTH_FILE_SUFFIXES)
            raise InputError(f"{place.name} is not a depth map that can be used here; it must be {kinds}.")
        return place

    def _read(self, place: Path) -> Photo:
        from kinephoto.studio.produce import read

        limit = MoveSettings(max_megapixels=self.limits.max_megapixels)
        with place.open("rb") as file:  # messages name a file that is open without its folder
            photo = read(file, limit)
        digest = checksum(place)
        with self._lock:
            invented = self._invented.get(digest)
        return photo if invented is None else replace(photo, invented=invented)

    def _with_machine(self, settings: AnimateSettings) -> AnimateSettings:
        limits = self.limits
        machine = {"device": limits.device, "threads": limits.threads, "offline": limits.offline}
        return settings.model_copy(update=machine)

    def _write_settings(self, target: Path, settings: AnimateSettings) -> Path:
        from kinephoto.studio.files import whole

        with whole(target) as part:
            part.write_text(settings.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return target


def _check_scene(settings: AnimateSettings) -> None:
    """Refuse what would change nothing about a scene, though it looks as if it did.

    Raises:
        InputError: names them.
    """
    others = [name for name in NOT_OF_SCENES if not is_default(settings, name)]
    if others:
        raise InputError(f"A scene takes no {', '.join(others)}; that is for films, so leave it out.")


def sentence_of(error: BaseException) -> str:
    """What a visitor is told, in one sentence."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, Cancelled):
        return "Cancelled; nothing was kept."
    if isinstance(error, MemoryError):
        return "There is not enough memory here for that; choose a smaller size."
    return f"{type(error).__name__}: that is a fault of kinephoto, please report it."


def _told(frames: Any, tell: Tell) -> Any:
    """The frames, telling of each; closes them when closed, so that cancelling stops the film."""
    try:
        for frame in frames:
            tell("frames", (frame.index + 1) / frames.frame_count)
            yield frame
    finally:
        frames.close()


def _key(place: Path, depth: str, depth_place: Path | None) -> tuple[str, str]:
    return checksum(place), checksum(depth_place) if depth_place else depth


def _in_words(report: Report) -> str:
    video = report.video
    return (
        f"{round(video.seconds, 2):g} s, {video.hw[1]}×{video.hw[0]}, {size_in_words(video.bytes)}; depth: "
        f"{report.world.depth_name}; at most {report.invented_most:.1%} of a frame is invented."
    )
