"""How long a film will still take, told while it is made."""

from __future__ import annotations

import time
from collections.abc import Callable

LAST_STAGE = "frames"
SURE_SHARE = 0.05
"""Of the last stage: from here on its own pace says more than the estimate from before."""


class Pace:
    """What is left, from an estimate before the work and from the work's own pace.

    Args:
        estimate_s: from ``estimate_seconds``.
        clock: seconds that only grow.
    """

    def __init__(self, estimate_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._estimate_s, self._clock = estimate_s, clock
        self._begin_s = self._stage_begin_s = clock()
        self._stage = ""
        self._most = 0.0

    def left_s(self, stage: str, share: float) -> float:
        """Seconds still to go, when the stage has come so far."""
        now_s = self._clock()
        if stage != self._stage:
            self._stage, self._stage_begin_s = stage, now_s
        if stage == LAST_STAGE and share >= SURE_SHARE:
            return (now_s - self._stage_begin_s) * (1 - share) / share
        # What takes longer than it should will go on to do so: never promise the end too soon.
        gone_s = now_s - self._begin_s
        return max(self._estimate_s - gone_s, 0.15 * gone_s, 1.0)

    def done(self, stage: str, share: float) -> float:
        """Share of the whole that is done, in [0, 1); it never goes back."""
        left_s = self.left_s(stage, share)
        gone_s = self._clock() - self._begin_s
        self._most = max(self._most, min(gone_s / (gone_s + left_s), 0.99) if gone_s > 0 else 0.0)
        return self._most
