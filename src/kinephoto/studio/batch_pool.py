"""A batch on this machine: processes that each hold their own networks, fed row by row.

The pool is `concurrent.futures`'. Its processes are spawned, not forked, since torch's threads don't survive a
fork. One that the system kills, mostly for want of memory, breaks the whole pool: the rows that were under
way are then tried again one at a time, and only the one at which a process dies again is a failure.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from kinephoto.machine import usable_cores
from kinephoto.studio.batch_plan import Plan
from kinephoto.studio.batch_worker import FAILED, BatchWorker

Cells = Mapping[str, Any]
Work = Callable[[Cells], dict[str, Any]]

WORKER_BYTES = 1_000_000_000
"""What one worker needs for photos of ordinary size; benchmarks/batch.py measures it."""

MOST_WORKERS = 61
"""Windows has no room for more in one pool."""

_ROWS_PER_WORKER = 2
_DIED = (
    "The process that worked at this photo was ended by the system, twice, most likely for want of memory; a smaller "
    "--size needs less."
)


def usual_workers(device: str | None = None) -> int:
    """As many processes as there are cores and memory for; one where a GPU computes."""
    if device is not None and device != "cpu":
        return 1
    return max(1, min(usable_cores(), usable_memory_bytes() // WORKER_BYTES))


def usable_memory_bytes() -> int:
    """What this process and its children may still take: of the machine, or of the container around it."""
    found = [MOST_WORKERS * WORKER_BYTES]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except OSError:  # not Linux
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
        else:  # Windows says neither; a small machine's memory is a safe guess
            found.append(4 * WORKER_BYTES)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
        found += [max(0, int(limit) - used)] if limit.isdigit() else []
    except (OSError, ValueError):
        pass
    return min(found)


def pooled(rows: Iterator[Cells], plan: Plan, workers: int) -> Iterator[dict[str, Any]]:
    """What the workers say of each row, as they finish; only a few rows are held at a time.

    Args:
        rows: as `BatchWorker` takes them.
        plan: for every worker; without threads of its own each renders on its share of the processors.
        workers: processes; 0 works in this one.
    """
    if plan.threads is None and workers:
        plan = replace(plan, threads=max(1, usable_cores() // workers))
    if not workers:
        yield from map(BatchWorker(plan), rows)
        return
    yield from surviving(rows, _start, (plan,), _work, workers)


def surviving(
    rows: Iterator[Cells], start: Callable[..., None], arguments: tuple[Any, ...], work: Work, workers: int
) -> Iterator[dict[str, Any]]:
    """``work`` of each row in processes of which any may die; see the module."""
    again = True
    while again:
        suspects: list[Cells] = []
        with _pool(start, arguments, workers) as pool:
            yield from _round(pool, rows, work, workers, suspects)
        again = bool(suspects)
        yield from _one_at_a_time(suspects, start, arguments, work)


def _round(
    pool: ProcessPoolExecutor, rows: Iterator[Cells], work: Work, workers: int, suspects: list[Cells]
) -> Iterator[dict[str, Any]]:
    """Results until the rows or the pool end; then ``suspects`` are the rows that have none."""
    under_way: dict[Future[dict[str, Any]], Cells] = {}
    broken = False
    for row in rows:
        try:
            under_way[pool.submit(work, row)] = row
        except BrokenProcessPool:
            suspects.append(row)
            broken = True
        while not broken and len(under_way) >= _ROWS_PER_WORKER * workers:
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                row = under_way.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    suspects.append(row)
                    broken = True
                else:
                    yield future.result()
        if broken:
            break
    for future in wait(under_way).done:
        if isinstance(future.exception(), BrokenProcessPool):
            suspects.append(under_way[future])
        else:
            yield future.result()


def _one_at_a_time(
    rows: list[Cells], start: Callable[..., None], arguments: tuple[Any, ...], work: Work
) -> Iterator[dict[str, Any]]:
    """The rows in a single process, and a new one for the next row where it dies."""
    waiting = list(rows)
    while waiting:
        with _pool(start, arguments, 1) as pool:
            while waiting:
                row = waiting.pop(0)
                try:
                    yield pool.submit(work, row).result()
                except BrokenProcessPool:
                    yield {"output": row["output"], "path": row["path"], "status": FAILED, "error": _DIED}
                    break


@contextmanager
def _pool(
    start: Callable[..., None], arguments: tuple[Any, ...], workers: int
) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes are ended at once when the block is left before its end, as by Ctrl-C."""
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, (start, arguments))
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _begin(start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """What every process does first. Ctrl-C is the parent's to answer, and it doesn't outlive its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    start(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


_worker: BatchWorker | None = None
"""This process's own, where this is a worker's process."""


def _start(plan: Plan) -> None:
    global _worker
    _worker = BatchWorker(plan)


def _work(row: Cells) -> dict[str, Any]:
    assert _worker is not None  # _start came before
    try:
        return _worker(row)
    except SystemExit:
        # The pool ends this process in the middle of a film, which puts its files away first. What is raised
        # would be the row's result, and the next row would begin.
        os._exit(1)
