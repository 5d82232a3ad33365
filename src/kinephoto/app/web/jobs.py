"""Who computes when: one device, one job at a time, and everybody sees where they stand.

Films wait in line. A quick look (depth, preview) goes before the films that wait, and the film that runs
steps aside for it between two frames or steps of painting, so that a visitor needn't wait for another's film
to see a photo.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from kinephoto.errors import InputError

LEFT_S = 20.0
"""Nobody has asked for the job's state for so long: the visitor's page is gone."""

Tell = Callable[[str, float], None]


class Cancelled(Exception):
    """Raised inside a job's work when nobody wants its result any more."""


@dataclass(frozen=True)
class State:
    """Where a job stands.

    Attributes:
        ahead: jobs before it; 0 when it runs.
        running: it has the device.
        stage, share: what it does, and how much of that is done.
        seconds: since it got the device.
        ended: there is nothing more to wait for.
    """

    ahead: int
    running: bool
    stage: str
    share: float
    seconds: float
    ended: bool


class Job:
    """Work that waits for the device, has it, and ends.

    Attributes:
        owner: whose page it is for.
        part: of the page, whose Cancel button is meant for it.
        quick: it takes a few seconds at most.
    """

    def __init__(self, line: Line, work: Callable[[Tell], Any], owner: str, part: str, quick: bool) -> None:
        self.owner, self.part, self.quick = owner, part, quick
        self._line, self._work = line, work
        self._stage, self._share, self._begin_s = "", 0.0, 0.0
        self._seen_s = time.monotonic()
        self._cancelled, self._ended = threading.Event(), threading.Event()
        self._answered = threading.Event()  # by its end, or by being cancelled
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="job", daemon=True)

    def start(self) -> None:
        """Take a place in the line."""
        self._thread.start()

    def cancel(self) -> None:
        """Stop as soon as the work next tells where it is; who waits for the job is answered now.

        Loading a network takes seconds in which nothing can be told, and nobody needs to wait for that.
        """
        self._cancelled.set()
        self._answered.set()
        self._line.wake()

    @property
    def unwanted(self) -> bool:
        """Cancelled, or nobody has asked for its state for a while."""
        return self._cancelled.is_set() or time.monotonic() - self._seen_s > LEFT_S

    def state(self) -> State:
        """Where it stands; asking also says that somebody still waits."""
        self._seen_s = time.monotonic()
        ahead, running = self._line.place_of(self)
        seconds = self._seen_s - self._begin_s if self._begin_s else 0.0
        return State(ahead, running, self._stage, self._share, seconds, self._ended.is_set())

    def watch(self, every_s: float = 0.3) -> Iterator[State]:
        """Its state now and then until it has ended or was cancelled; closing the generator cancels."""
        try:
            while not self._answered.wait(every_s):
                yield self.state()
        finally:
            if not self._ended.is_set():
                self.cancel()

    def result(self) -> Any:
        """What the work returned; waits for it, unless it was cancelled, and raises what it raised.

        Raises:
            Cancelled: nobody wanted it any more.
            InputError: what cannot be used.
        """
        for _ in self.watch():
            pass
        if self._cancelled.is_set():
            raise Cancelled
        if self._error is not None:
            raise self._error
        return self._value

    def _run(self) -> None:
        try:
            with self._line.turn(self):
                self._begin_s = time.monotonic()
                self._value = self._work(self._tell)
        except BaseException as error:  # carried to whoever asks for the result
            self._error = error
        finally:
            self._work = _nothing  # it holds what it was made from
            self._ended.set()
            self._answered.set()
            give_memory_back()

    def _tell(self, stage: str, share: float) -> None:
        self._stage, self._share = stage, share
        if self.unwanted:
            raise Cancelled
        self._line.step_aside(self)


def _nothing(_: Tell) -> None:
    """What is left to do when the work is done."""


def give_memory_back() -> None:
    """Hand what the last job used back to the system, where the C library keeps it for itself (glibc)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


class _Turn:
    """The device, for as long as the block lasts."""

    def __init__(self, line: Line, job: Job) -> None:
        self._line, self._job = line, job

    def __enter__(self) -> None:
        self._line.await_turn(self._job)

    def __exit__(self, *_: object) -> None:
        self._line.leave(self._job)


class Line:
    """The jobs that wait for the one device, and the one that has it."""

    def __init__(self, most_waiting: int) -> None:
        self._most = most_waiting
        self._changed = threading.Condition()
        self._waiting: list[Job] = []
        self._on: Job | None = None

    def submit(
        self, work: Callable[[Tell], Any], *, owner: str = "", part: str = "", quick: bool = False
    ) -> Job:
        """A job that does the work when its turn has come.

        Args:
            work: called with a function to be told of stages; that raises `Cancelled` when it should stop.
            owner: for ``cancel_all`` and ``cancel_long``.
            part: for ``cancel_long``.
            quick: it goes before what isn't, and a running film steps aside for it.

        Raises:
            InputError: too many wait already.
        """
        job = Job(self, work, owner, part, quick)
        with self._changed:
            if len(self._waiting) >= self._most:
                raise InputError(
                    f"{len(self._waiting)} jobs are waiting already; try again in a few minutes."
                )
            place = sum(other.quick for other in self._waiting) if quick else len(self._waiting)
            self._waiting.insert(place, job)
        job.start()
        return job

    def cancel_all(self, owner: str) -> None:
        """Cancel every job of a page that was closed."""
        for job in self._jobs_of(owner):
            job.cancel()

    def cancel_long(self, owner: str, part: str = "") -> None:
        """Cancel the films and scenes of one part of a page.

        Those of its other parts have buttons of their own, its quick looks belong to other controls; both go on.
        """
        for job in self._jobs_of(owner):
            if job.part == part and not job.quick:
                job.cancel()

    def place_of(self, job: Job) -> tuple[int, bool]:
        """How many jobs are before it, and whether it has the device."""
        with self._changed:
            if job is self._on:
                return 0, True
            if job not in self._waiting:
                return 0, False
            return self._waiting.index(job) + (self._on is not None), False

    def _jobs_of(self, owner: str) -> list[Job]:
        with self._changed:
            return [job for job in (self._on, *self._waiting) if job is not None and job.owner == owner]

    def turn(self, job: Job) -> _Turn:
        """A context: the device is the job's inside it."""
        return _Turn(self, job)

    def await_turn(self, job: Job) -> None:
        """Return when the device is the job's.

        Raises:
            Cancelled: nobody wants it any more.
        """
        with self._changed:
            while True:
                if job.unwanted:
                    self._waiting.remove(job)
                    self._changed.notify_all()
                    raise Cancelled
                if self._on is None and self._waiting[0] is job:
                    break
                self._changed.wait(1.0)
            self._waiting.remove(job)
            self._on = job

    def leave(self, job: Job) -> None:
        """Give the device back."""
        with self._changed:
            if self._on is job:
                self._on = None
            self._changed.notify_all()

    def step_aside(self, job: Job) -> None:
        """Let the quick ones that wait go first, then go on."""
        with self._changed:
            if job.quick or not any(other.quick for other in self._waiting):
                return
            self._on = None
            self._waiting.insert(sum(other.quick for other in self._waiting), job)
            self._changed.notify_all()
        self.await_turn(job)

    def wake(self) -> None:
        """Have those that wait look whether they are still wanted."""
        with self._changed:
            self._changed.notify_all()
