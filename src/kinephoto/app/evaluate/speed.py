"""``kinephoto evaluate speed``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from kinephoto.app.evaluate.progress import left_out, listed, make_folder, shown
from kinephoto.app.flags import Quiet
from kinephoto.app.options import with_settings
from kinephoto.app.show import bar, say
from kinephoto.errors import InputError
from kinephoto.setting import setting


class SpeedSettings(BaseModel):
    """What a run of ``kinephoto evaluate speed`` measures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    photo: Path = setting(..., "A photo; its middle, 16:9, twice as large as the film, is filmed.", "Film")
    size: int = setting(288, "Height of the film in px; 288 is 512×288.", "Film", ge=64, le=2160)
    frames: int = setting(48, "Length of the film; 24 frames a second.", "Film", ge=1, le=14_400)
    runs: int = setting(
        5, "Runs of each program, after a first one that is told apart.", "Film", ge=1, le=1000
    )
    painters: str = setting("classical,builtin", "Painters of kinephoto, with commas between.", "Programs")
    depthflow: Path | None = setting(
        None,
        "Python of the environment that DepthFlow is installed in, to run it as well; $KINEPHOTO_DEPTHFLOW otherwise.",
        "Programs",
    )
    out: Path | None = setting(None, "Folder for results.json and results.md.", "Output")


@with_settings(SpeedSettings)
def speed(
    *,
    settings: SpeedSettings,
    quiet: Quiet = False,
) -> None:
    """Time whole processes, from photo to film, in turns: exit code 1 if any of them failed."""
    from kinephoto.learn.photos import Skipped
    from kinephoto.measure.report import write_results
    from kinephoto.measure.speed import in_turns, summary, table
    from kinephoto.measure.speed_contestants import depthflow_python, depthflow_version

    painters = listed(settings.painters)
    if not painters or len(set(painters)) < len(painters):
        raise InputError(f"--painters is {settings.painters!r}; name one or more, each once.")
    python = depthflow_python(settings.depthflow)
    make_folder(settings.out)
    with tempfile.TemporaryDirectory() as folder:
        racing = _contestants(settings, painters, python, Path(folder))
        with bar(quiet) as progress:
            run = in_turns(racing, settings.runs)
            found = list(shown(progress, "Running", run, len(racing) * (settings.runs + 1)))
    failed = [each for each in found if isinstance(each, Skipped)]
    # A program that failed on its way has no place among those that finished.
    done = [
        each
        for each in found
        if not isinstance(each, Skipped) and each[0] not in {one.name for one in failed}
    ]
    if not done:
        raise InputError(f"None of the programs ran to its end; the first: {failed[0].why}")
    text = table(summary(done))
    print(text)
    if settings.out is not None:
        content: dict[str, Any] = {"programs": summary(done), "failed": [vars(each) for each in failed]}
        content |= {"runs": [{"program": name, **vars(each)} for name, each in done]}
        content |= {"depthflow": depthflow_version(python) if python else None}
        write_results(settings.out / "results.json", content | {"settings": settings.model_dump(mode="json")})
        (settings.out / "results.md").write_text(text + "\n", encoding="utf-8")
    say(f"{len(racing) - len(failed)} programs timed.", quiet)
    left_out(failed)


def _contestants(
    settings: SpeedSettings, painters: list[str], python: Path | None, folder: Path
) -> list[Any]:
    """kinephoto with each painter; with DepthFlow, which is given a depth map, also those that are given the same."""
    from kinephoto.measure.speed_contestants import (
        depthflow_contestants,
        film_hw,
        given_depth,
        kinephoto_contestant,
        photo_of_size,
    )

    hw = film_hw(settings.size)
    photo = photo_of_size(settings.photo, (2 * hw[0], 2 * hw[1]), folder)
    racing = [kinephoto_contestant(painter, photo, hw[0], settings.frames) for painter in painters]
    if python is None:
        return racing
    depth = given_depth(photo)
    racing += [kinephoto_contestant(painter, photo, hw[0], settings.frames, depth) for painter in painters]
    return racing + depthflow_contestants(python, photo, depth, hw, settings.frames)
