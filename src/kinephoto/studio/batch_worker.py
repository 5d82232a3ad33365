"""The unit of a batch's work: one photo's row in, one row about it out, whoever hands them around."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from kinephoto.errors import InputError
from kinephoto.painter.catalogue import checksum
from kinephoto.studio.batch_fetch import fetched
from kinephoto.studio.batch_inputs import Row
from kinephoto.studio.batch_plan import FORMATS, STILLS, Extras, Plan, beside
from kinephoto.studio.batch_storage import STAGING, Target

if TYPE_CHECKING:
    from kinephoto.painter import Painter
    from kinephoto.studio.certificates import Signer
    from kinephoto.studio.outputs import Outputs
    from kinephoto.studio.produce import Report

DONE, SKIPPED, FAILED = "done", "skipped", "failed"
_REMEMBERED = 1000
"""So many different settings of rows are remembered to be right; most manifests have a few."""


class BatchWorker:
    """Does what the plan says with one photo after the other; networks are read once, when first needed.

    Args:
        plan: checked; the same for all rows.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._painters: dict[tuple[Any, ...], Painter] = {}

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Do one row.

        Args:
            row: "path", "output" (a name in the plan's folder), "settings" (the row's own) and "before",
                the result of an earlier run, or None; "known", if there, names more files that may be replaced,
                and "error" says why the row can't be done.

        Returns:
            "status" is "done", with all that `kinephoto.studio.batch_ledger.COLUMNS` names; "skipped"; or
            "failed", with one sentence in "error", and "full" set where the disk is and no other photo would
            fare better.
        """
        named = {"output": row["output"], "path": row["path"]}
        try:
            return named | self._done(row)
        except InputError as error:
            return named | {"status": FAILED, "error": str(error), "full": _is_full(error)}
        except MemoryError:
            said = "There is not enough memory for this photo; a smaller --size needs less."
            return named | {"status": FAILED, "error": said, "full": False}
        except Exception as error:  # whatever one photo brings about, the others are done
            said = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]} (a fault of kinephoto)"
            return named | {"status": FAILED, "error": said, "full": _is_full(error)}

    def _done(self, row: Mapping[str, Any]) -> dict[str, Any]:
        begin = time.perf_counter()
        if "error" in row:
            raise InputError(row["error"])
        settings = self._plan.settings_for(row["settings"])
        with fetched(row["path"]) as file:
            beside_it = self._read_beside(file, settings, row["before"])
            hashes = [checksum(place) for place in beside_it]
            keys = {"input_sha256": checksum(file), "settings_sha256": self._plan.key_of(settings, hashes)}
            if self._is_there(row, keys):
                return {"status": SKIPPED}
            planned = written(row["output"], settings, self._plan)
            self._check_spared(planned, [row["path"], *beside_it])
            self._check_ours(planned, row)
            with self._target.staging() as folder:
                (folder / row["output"]).parent.mkdir(parents=True, exist_ok=True)
                with _one_thread():
                    made = self._make(file, row["output"], settings, folder)
                names = sorted(
                    path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
                )
                self._check_spared(names, [row["path"], *beside_it])
                size = sum((folder / name).stat().st_size for name in names)
                self._target.take(folder, names)
        told = {"verb": self._plan.verb, "outputs": names, "bytes": size, "versions": _versions()}
        return {"status": DONE} | keys | told | made | {"seconds": round(time.perf_counter() - begin, 3)}

    def _is_there(self, row: Mapping[str, Any], keys: Mapping[str, str]) -> bool:
        """Whether an earlier run made it of the same photo with the same settings.

        Raises:
            InputError: it made it of something else, and outputs are not to be made anew.
        """
        before = row["before"]
        if before is None or not all(self._target.exists(name) for name in before["outputs"]):
            return False
        changed = [name for name, value in keys.items() if before[name] != value]
        if changed and not self._plan.renew:
            what = "The photo has" if changed[0] == "input_sha256" else "The row's settings have"
            raise InputError(f"{what} changed since {row['output']} was made; --update makes it anew.")
        return not changed

    def _read_beside(self, file: Path, settings: Any, before: Mapping[str, Any] | None) -> list[Path]:
        """Files that are read with a photo: those that its settings name, and the depth map beside it.

        A depth map that an earlier run put there is none.
        """
        from kinephoto.scene.embedded import sibling_depth_path
        from kinephoto.studio.outputs import files_read

        found = [Path(word) for word in files_read(settings) if os.path.isfile(word)]
        beside_it, folder = sibling_depth_path(file), self._target.folder
        ours = [folder / name for name in before["outputs"]] if before and folder else []
        if beside_it is not None and Path(os.path.realpath(beside_it)) not in ours:
            found.append(beside_it)
        return found

    def _check_spared(self, names: list[str], read: list[Any]) -> None:
        """Refuse to write over the photo, or over a file that is read with it."""
        from kinephoto.studio.files import check_spared

        if self._target.folder is not None:
            check_spared([self._target.folder / name for name in names], read)

    def _check_ours(self, names: list[str], row: Mapping[str, Any]) -> None:
        """Refuse to write over a file that neither an earlier run knows nor kinephoto has made."""
        from kinephoto.studio.files import is_ours

        known = {*row.get("known", ()), *(row["before"] or {}).get("outputs", ())}
        for name in names:
            if name in known or not self._target.exists(name):
                continue
            with self._target.here(name) as file:
                if not is_ours(file):
                    raise InputError(
                        f"{name} is there already and doesn't say that kinephoto made it; move it away, or give the "
                        "photo another name in the column output of a manifest."
                    )

    def _make(self, file: Path, output: str, settings: Any, folder: Path) -> dict[str, Any]:
        if self._plan.verb == "depth":
            return _write_depth(file, folder / output, settings)
        if self._plan.verb == "outpaint":
            return _write_scene(file, folder / output, settings, self._painter(settings))
        from kinephoto.studio import produce
        from kinephoto.studio.out_animate import produce_out_animation

        if settings.threads is None and self._plan.threads is not None:
            settings = settings.model_copy(update={"threads": self._plan.threads})
        outputs = outputs_of(output, settings, self._plan.extras, folder)
        signer = self._signer(file)
        if self._plan.verb == "out-animate":
            painter = self._painter(settings)
            report = produce_out_animation(file, outputs, settings, signer=signer, painter=painter)
        else:
            photo, painter = produce.read(file, settings), self._painter(settings)
            report = produce.animate(photo, outputs, settings, signer=signer, painter=painter)
        if outputs.report is not None:
            _name_places(Path(outputs.report), folder)
        return _told(report)

    def _painter(self, settings: Any) -> Painter:
        """The painter that the settings ask for, kept for the next photo; only the last one is kept."""
        from kinephoto.studio.produce import painter_of

        asked = (settings.painter, settings.device, settings.offline, settings.steps, settings.guidance)
        if asked not in self._painters:
            self._painters.clear()
            self._painters[asked] = painter_of(settings)
        return self._painters[asked]

    @cached_property
    def _target(self) -> Target:
        return Target(self._plan.target)

    @cached_property
    def _own_signer(self) -> Signer:
        from kinephoto.studio.certificates import development_signer, signer_from

        files = self._plan.extras.sign_with
        return signer_from(*files) if files else development_signer()

    def _signer(self, file: Path) -> Signer | None:
        if not self._plan.extras.credentials and self._plan.extras.sign_with is None:
            return None
        from kinephoto.studio.content_credentials import ready

        return ready(self._own_signer, file)


def outputs_of(output: str, settings: Any, extras: Extras, folder: Path) -> Outputs:
    """Where a film and all that is asked for beside it go, within a folder.

    Raises:
        InputError: the name tells players of another layout.
    """
    from kinephoto.studio.outputs import Outputs
    from kinephoto.studio.produce import target_of

    target, _ = target_of(str(folder / output), settings)
    return Outputs(
        target,
        folder / beside(output, "_depth", extras.depth) if extras.depth else None,
        folder / beside(output, "_mask", extras.mask) if extras.mask else None,
        folder / beside(output, "", "json") if extras.report else None,
        settings.stereo,
        tuple(folder / beside(output, "", scene) for scene in extras.scenes),
    )


def written(output: str, settings: Any, plan: Plan) -> list[str]:
    """The names, in the folder of outputs, of all that is made of one photo.

    Raises:
        InputError: the name tells players of another layout.
    """
    if plan.verb in ("depth", "outpaint"):
        return [str(PurePosixPath(output))]
    folder = Path(STAGING)  # as none is called
    files = outputs_of(output, settings, plan.extras, folder).files
    return [Path(file).relative_to(folder).as_posix() for file in files]


def names_by(plan: Plan) -> Callable[[Row], list[str]]:
    """`written` of rows; where a row's name is refused, which is its own failure when its turn comes, the output."""
    common = plan.settings_for({})

    def names(row: Row) -> list[str]:
        output = f"{row.output}.{plan.ending}"
        try:
            return written(output, plan.settings_for(row.settings) if row.settings else common, plan)
        except InputError:
            return [output]

    return names


def check_plan(plan: Plan) -> None:
    """Refuse now what every photo would be refused for.

    Raises:
        InputError: a format or an extra that the settings don't go with, or a certificate that can't be used.
    """
    _check(plan, plan.settings_for({}))
    if plan.extras.credentials or plan.extras.sign_with:
        _ = BatchWorker(plan)._own_signer


def checked_rows(rows: Iterable[Row], plan: Plan) -> Iterator[Row]:
    """The rows as they come, each looked at before any work; no more memory is needed for more rows.

    What a row's settings say is looked at here, not the files that they name: one that is missing is its own
    photo's failure.

    Raises:
        InputError: of the first row whose settings can't be used, saying where it stands.
    """
    check = lru_cache(_REMEMBERED)(partial(_check, plan))
    for row in rows:
        if row.settings:
            try:
                check(_in_common(plan.settings_for(row.settings)))
            except InputError as error:
                raise InputError(f"{row.where}: {error}") from None
        yield row


def _in_common(settings: Any) -> Any:
    """The settings without what may differ in every row, which is looked at here, and without names of files."""
    files = {"path": "still", "depth": "auto"}
    words: dict[str, Any] = {
        name: word for name, word in files.items() if Path(getattr(settings, name, "")).suffix
    }
    settings = settings.model_copy(update=words)
    if not hasattr(settings, "seed"):
        return settings
    from kinephoto.studio.extension import checked_prompt
    from kinephoto.studio.outputs import move_of

    checked_prompt(settings.prompt)
    free: dict[str, Any] = {"seed": 0, "prompt": None}
    if hasattr(settings, "path"):
        move_of(settings)
        free |= {"amount": "auto", "focus": "middle"}
    return settings.model_copy(update=free)


def _check(plan: Plan, settings: Any) -> None:
    """Refuse settings that no photo could be done with."""
    if plan.verb == "depth":
        from kinephoto.scene.depth import check_source

        check_source(settings.depth)
        return
    if plan.verb == "outpaint":
        from kinephoto.studio.out_animate import check_outpaint

        check_outpaint(settings)
        return
    import tempfile

    from kinephoto.studio.out_animate import settled_hw
    from kinephoto.studio.outputs import check

    if plan.ending in STILLS and settings.stereo == "mono":
        *films, last = (ending for ending in FORMATS[plan.verb] if ending not in STILLS)
        raise InputError(
            f"--format {plan.ending} is for stereo photos, which --stereo asks for; a film is {', '.join(films)} "
            f"or {last}."
        )
    with tempfile.TemporaryDirectory(prefix="kinephoto-") as folder:
        outputs = outputs_of(f"photo.{plan.ending}", settings, plan.extras, Path(folder))
        check(outputs, settings, settled_hw(settings) if plan.verb == "out-animate" else None)
    if plan.extras.credentials or plan.extras.sign_with:
        from kinephoto.studio.content_credentials import check_holds_credentials

        for file in outputs.videos:
            check_holds_credentials(file)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Networks and pictures compute in one thread inside the block.

    Torch sums in another order in two, so a photo would become other bytes on a machine with other cores. The
    renderer's pictures don't depend on its threads.
    """
    import cv2
    import torch

    before, before_cv2 = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        cv2.setNumThreads(before_cv2)


def _write_depth(file: Path, target: Path, settings: Any) -> dict[str, Any]:
    from kinephoto.scene.depth import estimate_depth
    from kinephoto.studio.gdepth import GDEPTH_SUFFIXES, write_gdepth
    from kinephoto.studio.pictures import origin_of_depth, write_depth
    from kinephoto.studio.produce import read

    photo = read(file, settings)
    machine = {"device": settings.device, "offline": settings.offline}
    found = estimate_depth(photo, settings.depth, floor=settings.depth_range, **machine)
    if target.suffix in GDEPTH_SUFFIXES:
        write_gdepth(photo, found, target)
    else:
        write_depth(found, target, provenance=origin_of_depth(found))
    height, width = found.values.shape
    return {"depth": found.source, "width": width, "height": height}


def _write_scene(file: Path, target: Path, settings: Any, painter: Painter) -> dict[str, Any]:
    from kinephoto.studio.out_animate import candidates, origin_of
    from kinephoto.studio.pictures import write_picture

    (made,) = candidates(file, settings, painter)
    write_picture(made.photo.rgb, target, provenance=origin_of(made, settings))
    height, width = made.photo.camera.hw
    share = round(1 - float(made.object_mask.float().mean()), 6)
    shares = {"invented_mean": share, "invented_most": share}
    return {"painter": made.painter, "seed": made.seed, "width": width, "height": height} | shares


def _name_places(report: Path, folder: Path) -> None:
    """Let a report name the film as it is called in the end, not where it was made."""
    content = json.loads(report.read_text(encoding="utf-8"))
    content["video"]["path"] = Path(content["video"]["path"]).relative_to(folder).as_posix()
    report.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _told(report: Report) -> dict[str, Any]:
    """What a film's row says, of what its report says."""
    world, (height, width) = report.world, report.video.hw
    return {
        "depth": world.depth_name,
        "painter": world.painter,
        "seed": world.seed,
        "width": width,
        "height": height,
        "hole_share": round(world.trajectory.hole_share, 6),
        "invented_mean": round(report.invented_mean, 6),
        "invented_most": round(report.invented_most, 6),
        "seconds_by_stage": {name: round(value, 3) for name, value in report.seconds_by_stage.items()},
    }


def _versions() -> dict[str, str]:
    from kinephoto.studio.produce import versions

    return versions()


def _is_full(error: BaseException) -> bool:
    """Whether a full disk is behind it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
