"""A job on the page: its place in the line, its stage, what is left, and how it ended; in words and a bar."""

from __future__ import annotations

from collections.abc import Callable, Generator
from html import escape
from typing import Any

from kinephoto.app.show import STAGES
from kinephoto.app.web.jobs import Job, State
from kinephoto.app.web.work import sentence_of
from kinephoto.studio.pace import Pace
from kinephoto.wording import in_words

NOTHING = ""
MORE_STAGES = {"saving": "Writing the files", "cutting": "Finding the object", "scenes": "Painting scenes"}


def follow(
    submit: Callable[[], tuple[Job, float]], status: Any, buttons: tuple[Any, Any] | None = None
) -> Generator[dict[Any, Any], None, Any]:
    """Updates of the page while a job waits and works; in the end what the job's work returned.

    Closing the generator cancels the job. What goes wrong is said in ``status``, and the value is None.

    Args:
        submit: puts the job into the line, and estimates its seconds.
        status: component for the place in the line, the bar and the sentence.
        buttons: the one that starts the job, which is off while it works, and the one that cancels it.
    """
    said, started = outcome(submit)
    if started is None:
        yield {status: said}
        return None
    job, estimate_s = started
    yield {status: _in_html(job.state(), None), **_enabled(buttons, False)}
    pace: Pace | None = None
    for state in job.watch():
        if state.running and pace is None:
            pace = Pace(estimate_s)
        yield {status: _in_html(state, pace)}
    said, value = outcome(job.result)
    yield {status: said, **_enabled(buttons, True)}
    return value


def outcome(work: Callable[[], Any]) -> tuple[str, Any]:
    """What some work returns, and nothing to say; or why it failed, and None."""
    try:
        return NOTHING, work()
    except Exception as error:  # every visitor gets a sentence, and the server lives on
        return problem(sentence_of(error)), None


def problem(sentence: str) -> str:
    """A sentence about what went wrong, for the place next to what caused it."""
    return f'<p class="problem" role="alert">{escape(sentence)}</p>'


def note(sentence: str) -> str:
    """A sentence about what went well."""
    return f'<p class="note" role="status">{escape(sentence)}</p>'


def stage_in_words(stage: str) -> str:
    """Such as "Painting what comes into view"."""
    return STAGES.get(stage) or MORE_STAGES.get(stage) or stage or "Starting"


def _in_html(state: State, pace: Pace | None) -> str:
    if not state.running or pace is None:
        jobs = "one job is" if state.ahead == 1 else f"{state.ahead} jobs are"
        return _bar("Starting …" if not state.ahead else f"Waiting: {jobs} before yours.", 0, "")
    left = in_words(pace.left_s(state.stage, state.share))
    return _bar(f"{stage_in_words(state.stage)} …", pace.done(state.stage, state.share), f"{left} left")


def _enabled(buttons: tuple[Any, Any] | None, ready: bool) -> dict[Any, Any]:
    """Updates: the first button is for those who wait for nothing, the second for those who do."""
    import gradio as gr

    if buttons is None:
        return {}
    start, cancel = buttons
    return {start: gr.update(interactive=ready), cancel: gr.update(interactive=not ready)}


def _bar(says: str, share: float, left: str) -> str:
    percent = f"{100 * share:.0f}"
    return (
        f'<div class="progress"><div class="words"><span>{escape(says)}</span><span>{escape(left)}</span></div>'
        f'<div class="track" role="progressbar" aria-label="{escape(says)}" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{percent}"><div class="done" style="width: {percent}%"></div></div></div>'
    )
