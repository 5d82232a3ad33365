"""From one photo to a million: a batch is a generator of how far it has come, on this machine or on a cluster."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from kinephoto.errors import InputError
from kinephoto.studio.batch_inputs import rows_of
from kinephoto.studio.batch_ledger import FAILURES, Ledger
from kinephoto.studio.batch_plan import Plan
from kinephoto.studio.batch_pool import pooled, usual_workers
from kinephoto.studio.batch_storage import Target
from kinephoto.studio.batch_worker import DONE, FAILED, check_plan, checked_rows, names_by
from kinephoto.wording import counted


@dataclass(frozen=True)
class Tally:
    """How far a batch has come.

    Attributes:
        total: photos there are.
        done: made by this run.
        skipped: made by an earlier run already.
        failed: could not be made.
        seconds: since the work began.
        error: the sentence about the photo that has just failed, or "".
        path: the photo that has just been dealt with.
    """

    total: int
    done: int = 0
    skipped: int = 0
    failed: int = 0
    seconds: float = 0.0
    error: str = ""
    path: str = ""

    @property
    def finished(self) -> int:
        """Photos dealt with, in whatever way."""
        return self.done + self.skipped + self.failed

    @property
    def photos_per_s(self) -> float:
        """Of those that were not skipped; 0 before the first."""
        return (self.done + self.failed) / self.seconds if self.seconds > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds still to go at this pace; None before the first photo."""
        return (self.total - self.finished) / self.photos_per_s if self.photos_per_s else None


@dataclass(frozen=True)
class Machine:
    """Who does the work.

    Attributes:
        workers: processes, or actors; None is what fits, 0 is this process alone.
        ray: None for this machine, or an address for `kinephoto.studio.batch_ray`.
        gpus_per_worker: a worker's share of a GPU, on Ray.
    """

    workers: int | None = None
    ray: str | None = None
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        if self.workers is not None and not 0 <= self.workers <= 4096:
            raise InputError(f"--workers is {self.workers}; it must be from 0 to 4096.")
        if not 0 <= self.gpus_per_worker <= 64:
            raise InputError(f"--gpus-per-worker is {self.gpus_per_worker:g}; it must be from 0 to 64.")


def run(
    inputs: Sequence[str],
    plan: Plan,
    machine: Machine = Machine(),
    *,
    recursive: bool = False,
    anew: bool = False,
    stop_at_error: bool = False,
) -> Generator[Tally, None, None]:
    """Do all photos of the inputs, and tell after each; closing it stops, and what is done stays.

    Args:
        inputs: see `kinephoto.studio.batch_inputs.rows_of`.
        plan: from `kinephoto.studio.batch_plan.plan_of`.
        machine: who works.
        recursive: whether folders of folders are looked into.
        anew: whether what an earlier run made counts as not done.
        stop_at_error: whether the first photo that can't be done ends the batch.

    Yields:
        First the total, before any work, then one for each photo.

    Raises:
        InputError: inputs, rows, plan, folder or cluster that can't be used, before any work; a full disk, or with
            ``stop_at_error`` the first failure.
    """
    if machine.ray is not None:
        from kinephoto.studio.batch_ray import check_answers

        check_answers(machine.ray)
    check_plan(plan)
    target = Target(plan.target)
    target.check()
    ledger = Ledger(target, plan, anew)
    complete = False
    try:
        rows = checked_rows(rows_of(inputs, recursive), plan)
        tally = Tally(ledger.index.add(rows, plan.ending, names_by(plan)))
        ledger.begin()
        yield tally
        begin = time.perf_counter()
        results = _results(ledger.rows(), plan, machine)
        with closing(results):
            for result in results:
                tally = _counted(tally, result, time.perf_counter() - begin, ledger)
                if result.get("full"):
                    raise InputError(f"{tally.error} The batch stopped; the same command goes on with it.")
                if stop_at_error and tally.error:
                    raise InputError(f"{tally.path}: {tally.error}")
                yield tally
        complete = True
    finally:
        ledger.close(complete)


def closing_sentence(tally: Tally, target: str) -> str:
    """What to say at the end, such as "40 photos done, 2 skipped: 1.3 photos/s"."""
    parts = [f"{counted(tally.done, 'photo')} done"]
    if tally.skipped:
        parts.append(f"{tally.skipped} done already")
    if tally.failed:
        parts.append(f"{tally.failed} failed, see {target.rstrip('/')}/{FAILURES}")
    pace = f"; {tally.photos_per_s:.2f} photos/s" if tally.done else ""
    return f"{target}: {', '.join(parts)}{pace}."


def _results(
    rows: Iterator[dict[str, Any]], plan: Plan, machine: Machine
) -> Generator[dict[str, Any], None, None]:
    if machine.ray is not None:
        from kinephoto.studio.batch_ray import on_ray

        shares = {"workers": machine.workers, "gpus_per_worker": machine.gpus_per_worker}
        yield from on_ray(rows, plan, machine.ray, **shares)  # type: ignore[arg-type]
        return
    workers = usual_workers(plan.settings.get("device")) if machine.workers is None else machine.workers
    yield from pooled(rows, plan, workers)


def _counted(tally: Tally, result: Mapping[str, Any], seconds: float, ledger: Ledger) -> Tally:
    """The tally with one more photo, which is written down first."""
    status, counts = result["status"], {"done": tally.done, "skipped": tally.skipped, "failed": tally.failed}
    counts[status] += 1
    if status == DONE:
        ledger.done({name: value for name, value in result.items() if name != "status"})
    elif status == FAILED:
        ledger.failed({name: result[name] for name in ("output", "path", "error")})
    error = result.get("error", "")
    return Tally(tally.total, **counts, seconds=seconds, error=error, path=result["path"])
