"""The tab where one looks around in the scene, and takes it along for other programs."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from kinephoto.app.web.controls import controls, values_of
from kinephoto.app.web.following import NOTHING, follow, note
from kinephoto.app.web.jobs import Job
from kinephoto.app.web.photo_panel import Panel, with_request
from kinephoto.app.web.work import Studio

SCENE_S = 20.0
PART = "scene"
LOOKING_AROUND = "circle"
"""A scene is painted for the places that this move passes; the page moves the camera among them."""

SETTINGS = ("amount", "size", "prompt")


def scene_tab(studio: Studio, panel: Panel) -> None:
    """Build it inside a tab of the page."""
    import gradio as gr

    gr.Markdown("Make the scene once, then look around in it with the mouse, a finger or the arrow keys.")
    view = gr.HTML(NOTHING, elem_id="scene")
    status = gr.HTML(NOTHING, elem_id="scene-status", elem_classes="status")
    with gr.Row():
        make = gr.Button("Make the scene", variant="primary", elem_id="make-scene")
        cancel = gr.Button("Cancel", interactive=False, elem_id="cancel-scene")
    with gr.Row(elem_classes="settings"):
        chosen = controls(SETTINGS, studio.limits)
    files = gr.File(
        label="Download: page, textured mesh, coloured mesh, splats",
        file_count="multiple",
        interactive=False,
        visible=False,
        elem_id="scene-files",
    )
    names = list(chosen)

    @with_request
    def make_scene(
        request: Any, path: str | None, depth: str | None, *values: Any
    ) -> Iterator[dict[Any, Any]]:
        def submit() -> tuple[Job, float]:
            wanted = values_of(names, values) | {"path": LOOKING_AROUND}
            studio.settings(wanted)
            job = studio.line.submit(
                lambda tell: studio.scene(path or "", wanted, depth, tell),
                owner=request.session_hash or "",
                part=PART,
            )
            return job, SCENE_S

        made = yield from follow(submit, status, (make, cancel))
        if made is not None:
            yield {
                status: note(made.says),
                view: frame_of(made.files[0]),
                files: gr.update(value=[str(file) for file in made.files], visible=True),
            }

    @with_request
    def stop(request: Any) -> None:
        studio.line.cancel_long(request.session_hash or "", PART)

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    make.click(
        make_scene,
        [panel.photo, panel.depth_file, *chosen.values()],
        [status, make, cancel, view, files],
        concurrency_limit=None,
        **private,
    )
    cancel.click(stop, queue=False, **private)
    panel.photo.change(
        lambda: (NOTHING, NOTHING, gr.update(value=None, visible=False)),
        None,
        [view, status, files],
        **private,
    )


def frame_of(page: Path) -> str:
    """The page in a frame of its own, which may run its script and touch nothing else."""
    return (
        '<iframe class="scene" title="The scene: move the mouse, a finger or the arrow keys to look around" '
        'sandbox="allow-scripts" allow="accelerometer; gyroscope; fullscreen" '
        f'srcdoc="{escape(page.read_text(encoding="utf-8"))}"></iframe>'
    )
