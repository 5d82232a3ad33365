"""The tab that takes an object out of its photo, paints scenes around it, and animates the one that is picked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kinephoto.app.web.controls import command_box, controls, values_of
from kinephoto.app.web.following import NOTHING, follow, note, outcome, problem
from kinephoto.app.web.jobs import Job
from kinephoto.app.web.photo_panel import Panel, with_request
from kinephoto.app.web.scenes import HOW, candidates, drawn_marks, scene_photo
from kinephoto.app.web.work import Painted, Studio

SCENES_S = 15.0
FILM_S = 30.0
MOST_CANDIDATES = 6
STROKE = "#ff00cc"
PAINTING, FILMING = "scenes", "scene-film"
"""Parts of the page, each with its Cancel button."""


def out_animate_tab(studio: Studio, panel: Panel) -> None:
    """Build it inside a tab of the page."""
    import gradio as gr

    gr.Markdown("Show what to keep, say what the scene around it should be, pick one, and film it.")
    how = gr.Radio(
        list(HOW),
        value=next(iter(HOW)),
        label="How I show the object",
        info="Brush: paint over all of it. Click: a dot on it. Box: a frame, or a stroke across it.",
        elem_id="how",
    )
    editor = gr.ImageEditor(
        label="The object",
        type="numpy",
        sources=(),
        transforms=(),
        layers=False,
        brush=gr.Brush(default_size=24, colors=[STROKE], default_color=STROKE, color_mode="fixed"),
        buttons=[],
        elem_id="object",
    )
    with gr.Row(elem_classes="settings"):
        prompt = gr.Textbox(
            label="Prompt",
            info="What the scene shows; used by painters that read text.",
            placeholder="a beach at sunset",
            elem_id="scene-prompt",
        )
        count = gr.Slider(1, MOST_CANDIDATES, value=3, step=1, label="Candidates", elem_id="count")
        place = gr.Radio(["left", "centre", "right"], value="centre", label="Place", elem_id="place")
        seed = gr.Number(0, precision=0, label="First seed", elem_id="scene-seed")
    status = gr.HTML(NOTHING, elem_id="scenes-status", elem_classes="status")
    with gr.Row():
        paint = gr.Button("Paint scenes", variant="primary", elem_id="paint")
        cancel = gr.Button("Cancel", interactive=False, elem_id="cancel-scenes")
    gallery = gr.Gallery(
        label="Pick one",
        columns=3,
        height=260,
        object_fit="contain",
        visible=False,
        interactive=False,
        allow_preview=False,
        buttons=[],
        elem_id="candidates",
    )
    scenes, picked = gr.State([]), gr.State(None)
    with gr.Column(visible=False, elem_id="film-scene") as filming:
        with gr.Row(elem_classes="settings"):
            chosen = controls(("path", "amount", "seconds"), studio.limits)
        with gr.Row():
            make = gr.Button("Film the picked scene", variant="primary", elem_id="make-out")
            cancel_film = gr.Button("Cancel", interactive=False, elem_id="cancel-out")
    film_status = gr.HTML(NOTHING, elem_id="out-status", elem_classes="status")
    player = gr.Video(
        label="The film",
        interactive=False,
        autoplay=True,
        loop=True,
        height=380,
        visible=False,
        buttons=["download"],
        elem_id="out-film",
    )
    files = gr.File(
        label="Download: film, settings, depth, scene, object",
        file_count="multiple",
        interactive=False,
        visible=False,
        elem_id="out-files",
    )
    command = command_box("out-command")
    names = list(chosen)

    def fill(ready: bool, path: str | None) -> dict[Any, Any]:
        blank: dict[Any, Any] = {
            gallery: gr.update(value=None, visible=False),
            filming: gr.update(visible=False),
        }
        blank |= {scenes: [], picked: None, status: NOTHING, film_status: NOTHING}
        if not ready or path is None:
            return {editor: None, **blank}
        said, shown = outcome(lambda: scene_photo(studio, path))
        background = None if shown is None else str(shown)
        return {editor: {"background": background, "layers": [], "composite": None}, **blank, status: said}

    @with_request
    def paint_scenes(
        request: Any, path: str | None, kind: str, drawing: Any, says: str, many: int, where: str, first: int
    ) -> Iterator[dict[Any, Any]]:
        def submit() -> tuple[Job, float]:
            marks = drawn_marks(kind, drawing)
            job = studio.line.submit(
                lambda tell: candidates(
                    studio, path or "", marks, says, int(many), where, int(first or 0), tell
                ),
                owner=request.session_hash or "",
                part=PAINTING,
            )
            return job, SCENES_S * int(many)

        found = yield from follow(submit, status, (paint, cancel))
        if found is not None:
            named = [(str(scene.file), f"seed {scene.painting['seed']}") for scene in found]
            yield {
                status: note("Pick the scene to film."),
                gallery: gr.update(value=named, visible=True, selected_index=None),
                scenes: found,
                filming: gr.update(visible=True),
                picked: None,
            }

    def pick(event: Any, found: list[Painted]) -> Painted:
        return found[event.index]

    @with_request
    def film_scene(request: Any, scene: Painted | None, *values: Any) -> Iterator[dict[Any, Any]]:
        if scene is None:
            yield {film_status: problem("No scene is picked yet; pick one above.")}
            return

        def submit() -> tuple[Job, float]:
            settings = studio.settings(values_of(names, values))
            job = studio.line.submit(
                lambda tell: studio.film_scene(scene, settings, tell),
                owner=request.session_hash or "",
                part=FILMING,
            )
            return job, FILM_S

        made = yield from follow(submit, film_status, (make, cancel_film))
        if made is not None:
            yield {
                film_status: note(made.says),
                player: gr.update(value=str(made.files[0]), visible=True),
                files: gr.update(
                    value=[str(file) for file in (*made.files, scene.file, scene.cutout)], visible=True
                ),
                command: gr.update(value=made.command, visible=True),
            }

    @with_request
    def stop(request: Any) -> None:
        studio.line.cancel_long(request.session_hash or "", PAINTING)

    @with_request
    def stop_film(request: Any) -> None:
        studio.line.cancel_long(request.session_hash or "", FILMING)

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    for event in panel.looked:
        event.then(
            fill,
            [panel.ready, panel.photo],
            [editor, gallery, filming, scenes, picked, status, film_status],
            **private,
        )
    paint.click(
        paint_scenes,
        [panel.photo, how, editor, prompt, count, place, seed],
        [status, paint, cancel, gallery, scenes, filming, picked],
        concurrency_limit=None,
        **private,
    )
    pick.__annotations__ = {"event": gr.SelectData}
    gallery.select(pick, [scenes], [picked], **private)
    make.click(
        film_scene,
        [picked, *chosen.values()],
        [film_status, make, cancel_film, player, files, command],
        concurrency_limit=None,
        **private,
    )
    cancel.click(stop, queue=False, **private)
    cancel_film.click(stop_film, queue=False, **private)
