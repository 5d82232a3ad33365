"""The page's left side: the photo that all tabs work on, and its depth, to be looked at and changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinephoto.app.web.following import NOTHING, follow, outcome
from kinephoto.app.web.jobs import Job, Tell
from kinephoto.app.web.work import DEPTH_FILE_SUFFIXES, Studio
from kinephoto.errors import InputError

EXAMPLES = Path(__file__).parent / "examples"
LOOK_S = 3.0
GREYS = ("#ffffff", "#c8c8c8", "#969696", "#646464", "#323232", "#000000")


@dataclass(frozen=True, eq=False)
class Panel:
    """What the tabs need of the left side.

    Attributes:
        photo: component; its value is the uploaded file's path.
        depth_file: state; the path of a depth map that wins over the estimated one, or None.
        ready: state; whether there is a photo whose depth is known.
        looked: events; each says that another photo or depth has been looked at.
    """

    photo: Any
    depth_file: Any
    ready: Any
    looked: tuple[Any, ...]


def with_request(function: Callable) -> Callable:
    """Have Gradio give the first argument, ``request``, though Gradio isn't imported when this is read."""
    import gradio as gr

    function.__annotations__ = {"request": gr.Request}
    return function


def uploaded_picture(**options: Any) -> Any:
    """A component for a picture whose value is the uploaded file itself, whatever is in it."""
    import gradio as gr

    component = gr.Image(type="filepath", image_mode=None, **options)
    # Gradio opens the file here and fails with a traceback where it can't; read_photo says what is wrong.
    component.preprocess = lambda payload: payload.path if payload else None  # type: ignore[method-assign]
    return component


def photo_panel(studio: Studio) -> Panel:
    """Build it inside a Gradio page."""
    import gradio as gr

    photo = uploaded_picture(
        label="Photo",
        sources=["upload", "clipboard"],
        buttons=["fullscreen"],
        height=300,
        elem_id="photo",
        placeholder="Drop a photo here, or click to choose one",
    )
    gr.Examples(
        [[str(path)] for path in sorted(EXAMPLES.glob("*.jpg"))],
        [photo],
        label="Or take one of these",
        elem_id="examples",
        cache_examples=False,
        api_visibility="private",
    )
    status = gr.HTML(NOTHING, elem_id="photo-status", elem_classes="status")
    depth_file, ready = gr.State(None), gr.State(False)
    # Why the last change of the depth was none: the look that follows it says so in the end.
    refused = gr.State(NOTHING)
    shown = gr.Image(
        label="Depth: near is bright",
        interactive=False,
        visible=False,
        height=300,
        buttons=["download", "fullscreen"],
        elem_id="depth",
    )
    with gr.Accordion("Change the depth", open=False, visible=False, elem_id="change-depth") as change:
        upload = gr.File(
            label="Use a depth map of your own (grey, near is white)",
            file_types=list(DEPTH_FILE_SUFFIXES),
            type="filepath",
            height=160,
            elem_id="depth-file",
        )
        editor = gr.ImageEditor(
            label="Or paint on it: white is near, black is far",
            type="numpy",
            sources=(),
            transforms=(),
            layers=False,
            brush=gr.Brush(default_size=24, colors=list(GREYS), default_color=GREYS[0], color_mode="fixed"),
            buttons=[],
            elem_id="depth-editor",
        )
        with gr.Row():
            apply = gr.Button("Use what I painted", size="sm")
            reset = gr.Button("Back to the estimated depth", size="sm")
    depth_status = gr.HTML(NOTHING, elem_id="depth-status", elem_classes="status")
    outputs = [status, depth_status, shown, change, editor, depth_file, ready]

    @with_request
    def look(request: Any, path: str | None, chosen: str | None, why: str) -> Iterator[dict[Any, Any]]:
        hidden: dict[Any, Any] = {
            shown: gr.update(value=None, visible=False),
            change: gr.update(visible=False),
            ready: False,
        }
        if path is None:
            yield {status: NOTHING, depth_status: NOTHING, **hidden}
            return
        where = status if chosen is None else depth_status

        def work(tell: Tell) -> Any:
            tell("depth", 0.0)
            return studio.depth_files(studio.look(path, depth_file=chosen))

        def submit() -> tuple[Job, float]:
            return studio.line.submit(work, owner=request.session_hash or "", quick=True), LOOK_S

        files = yield from follow(submit, where)
        if files is None:
            # A depth map that doesn't fit leaves the one before in sight.
            yield {depth_file: None} if chosen else hidden
            return
        coloured, _, grey = (str(file) for file in files)
        yield {
            status: NOTHING,
            depth_status: why,
            shown: gr.update(value=coloured, visible=True),
            change: gr.update(visible=True),
            ready: True,
            editor: {"background": grey, "layers": [], "composite": None},
        }

    def painted(path: str | None, chosen: str | None, drawing: dict | None) -> tuple[str, Any]:
        from kinephoto.studio.pictures import origin_of_depth, write_depth
        from kinephoto.studio.strokes import retouched

        def work() -> str:
            seen = studio.seen(path, depth_file=chosen)
            if seen is None or drawing is None:
                raise InputError("There is no depth to paint on; choose the photo again.")
            target = studio.results.new() / f"{seen.name}_depth.png"
            depth = retouched(seen.depth, drawing["layers"])
            return str(write_depth(depth, target, provenance=origin_of_depth(depth)))

        said, target = outcome(work)
        return said, target or chosen

    def own_depth(path: str | None) -> tuple[str, Any]:
        said, place = outcome(lambda: str(studio.results.own(path)) if path else None)
        return said, place

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    look_at = {"fn": look, "inputs": [photo, depth_file, refused], "outputs": outputs, **private}
    afresh = {"fn": lambda: (None, None, NOTHING), "inputs": None, "outputs": [depth_file, upload, refused]}
    fresh = photo.change(**afresh, **private).then(**look_at)
    by_file = upload.upload(own_depth, [upload], [refused, depth_file], **private).then(**look_at)
    by_hand = apply.click(painted, [photo, depth_file, editor], [refused, depth_file], **private).success(
        **look_at
    )
    back = gr.on([reset.click, upload.clear], **afresh, **private)
    return Panel(photo, depth_file, ready, (fresh, by_file, by_hand, back.then(**look_at)))
