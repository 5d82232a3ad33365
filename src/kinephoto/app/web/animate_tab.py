"""The tab that makes films: a quick preview after every change, then the film, with everything to download."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kinephoto.app.web.controls import command_box, controls, values_of
from kinephoto.app.web.following import NOTHING, follow, note
from kinephoto.app.web.jobs import Job, Tell
from kinephoto.app.web.photo_panel import Panel, with_request
from kinephoto.app.web.work import Look, Studio
from kinephoto.studio.settings import AnimateSettings

PREVIEW_S, FILM_S = 2.0, 30.0
PART = "film"
FIRST = ("path", "amount", "seconds", "size", "prompt")
MORE = ("loop", "ease", "hold", "focus", "fps", "quality", "painter", "depth_range", "seed", "stereo")
PREVIEWED = ("path", "amount", "loop", "ease", "hold", "focus", "depth_range", "seconds")
"""Settings whose change can be seen in the preview."""


def estimate_s(studio: Studio, look: Look | None, settings: AnimateSettings) -> float:
    """Seconds that a film of the photo will take, as far as one can say before."""
    from kinephoto.studio.estimate import estimate_seconds
    from kinephoto.studio.frame_size import hw_of

    if look is None:
        return FILM_S
    hw, count = hw_of(look.photo.camera.hw, settings.size), round(settings.seconds * settings.fps)
    return estimate_seconds(hw, count, settings.painter, settings.mode, studio.limits.threads)


def animate_tab(studio: Studio, panel: Panel) -> None:
    """Build it inside a tab of the page."""
    import gradio as gr

    player = gr.Video(
        label="Preview",
        interactive=False,
        autoplay=True,
        loop=True,
        height=380,
        buttons=["download"],
        elem_id="film",
    )
    # Previews come and go while a film is made and cancelled: each says what it does in a place of its own.
    preview_status = gr.HTML(NOTHING, elem_id="preview-status", elem_classes="status")
    status = gr.HTML(NOTHING, elem_id="film-status", elem_classes="status")
    with gr.Row():
        make = gr.Button("Make the film", variant="primary", elem_id="make")
        cancel = gr.Button("Cancel", interactive=False, elem_id="cancel")
    with gr.Row(elem_classes="settings"):
        chosen = controls(FIRST, studio.limits)
    with gr.Accordion("More settings", open=False, elem_id="more"), gr.Row(elem_classes="settings"):
        chosen |= controls(MORE, studio.limits)
    files = gr.File(
        label="Download: film, settings, depth",
        file_count="multiple",
        interactive=False,
        visible=False,
        elem_id="files",
    )
    command = command_box("command")
    names = list(chosen)

    @with_request
    def show_preview(
        request: Any, ready: bool, path: str | None, depth: str | None, *values: Any
    ) -> Iterator[dict[Any, Any]]:
        if not ready or path is None:
            yield {player: gr.update(value=None), preview_status: NOTHING}
            return

        def submit() -> tuple[Job, float]:
            settings = studio.settings(values_of(names, values))

            def work(tell: Tell) -> Any:
                return studio.preview(studio.look(path, depth_file=depth), settings, tell)

            return studio.line.submit(work, owner=request.session_hash or "", quick=True), PREVIEW_S

        film = yield from follow(submit, preview_status)
        if film is not None:
            yield {player: gr.update(value=str(film), label="Preview, small and rough")}

    @with_request
    def make_film(
        request: Any, path: str | None, depth: str | None, *values: Any
    ) -> Iterator[dict[Any, Any]]:
        def submit() -> tuple[Job, float]:
            settings = studio.settings(values_of(names, values))
            look = studio.seen(path, depth_file=depth)
            job = studio.line.submit(
                lambda tell: studio.film(path or "", settings, depth, tell),
                owner=request.session_hash or "",
                part=PART,
            )
            return job, estimate_s(studio, look, settings)

        made = yield from follow(submit, status, (make, cancel))
        if made is not None:
            yield {
                status: note(made.says),
                player: gr.update(value=str(made.files[0]), label="The film"),
                files: gr.update(value=[str(file) for file in made.files], visible=True),
                command: gr.update(value=made.command, visible=True),
            }

    @with_request
    def stop(request: Any) -> None:
        studio.line.cancel_long(request.session_hash or "", PART)

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    inputs = [panel.photo, panel.depth_file, *chosen.values()]
    look_at: dict[str, Any] = {
        "fn": show_preview,
        "inputs": [panel.ready, *inputs],
        "outputs": [player, preview_status],
        "concurrency_limit": None,
        **private,
    }
    for event in panel.looked:
        event.then(**look_at)
    changes = [chosen[name].change for name in PREVIEWED if name in chosen and name != "seconds"]
    gr.on([*changes, chosen["seconds"].release], trigger_mode="always_last", **look_at)
    make.click(
        make_film,
        inputs,
        [status, make, cancel, player, files, command],
        concurrency_limit=None,
        **private,
    )
    cancel.click(stop, queue=False, **private)
    panel.photo.change(lambda: NOTHING, None, status, **private)
