"""The same functions for programs, as Gradio's HTTP interface: files and settings in, files out.

They share the line with the page, tell of their stages as Gradio's progress, and answer what cannot be
used with the page's sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kinephoto.app.web.following import stage_in_words
from kinephoto.app.web.photo_panel import with_request
from kinephoto.app.web.scenes import Marks, candidates
from kinephoto.app.web.work import Made, Studio, sentence_of
from kinephoto.errors import InputError


def endpoints(studio: Studio) -> None:
    """Add them to the page that is being built, where nobody sees them."""
    import gradio as gr

    def run(request: Any, progress: Any, work: Callable[[Any], Any], quick: bool = False) -> Any:
        try:
            job = studio.line.submit(work, owner=request.session_hash or "", quick=quick)
            for state in job.watch():
                waits = f"waiting, {state.ahead} before" if not state.running else stage_in_words(state.stage)
                progress(state.share, desc=waits)
            return job.result()
        except Exception as error:  # every program gets the sentence, and the server lives on
            raise gr.Error(sentence_of(error), print_exception=False) from None

    @with_request
    def depth(request: Any, photo: str, progress: Any = gr.Progress()) -> tuple[str, str]:  # noqa: B008
        """The photo's depth: a coloured picture to look at, and 16 bits, near is white."""
        found = run(request, progress, lambda tell: studio.depth_files(studio.look(photo)), quick=True)
        return str(found[0]), str(found[1])

    @with_request
    def preview(
        request: Any,
        photo: str,
        settings: dict | None,
        depth_map: str | None,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> str:
        """The move as a small, quick film."""

        def work(tell: Any) -> Any:
            wanted = studio.settings(_object(settings, "settings"))
            return studio.preview(studio.look(photo, wanted.depth, depth_map), wanted, tell)

        return str(run(request, progress, work, quick=True))

    @with_request
    def animate(
        request: Any,
        photo: str,
        settings: dict | None,
        depth_map: str | None,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> tuple[list[str], str, str, str]:
        """The film (two for "pair"), the settings that make it again, the depth, and the command line."""

        def work(tell: Any) -> Made:
            return studio.film(photo, studio.settings(_object(settings, "settings")), depth_map, tell)

        made: Made = run(request, progress, work)
        *films, again, depth_used = (str(file) for file in made.files)
        return films, again, depth_used, made.command

    @with_request
    def scene(
        request: Any,
        photo: str,
        settings: dict | None,
        depth_map: str | None,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> list[str]:
        """The scene as .html, .glb, .ply and .splat.ply."""
        wanted = {"path": "circle", **_checked_object(settings)}
        made: Made = run(request, progress, lambda tell: studio.scene(photo, wanted, depth_map, tell))
        return [str(file) for file in made.files]

    @with_request
    def scenes(
        request: Any,
        photo: str,
        mask: str | None,
        marks: dict | None,
        prompt: str,
        count: float,
        place: str,
        seed: float,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> list[str]:
        """Scenes painted around an object of the photo; any of them can be animated as a photo."""

        def work(tell: Any) -> Any:
            where = _marks(studio, photo, mask, marks)
            return candidates(studio, photo, where, prompt or "", int(count), place, int(seed), tell)

        return [str(made.file) for made in run(request, progress, work)]

    def _checked_object(settings: dict | None) -> Mapping[str, Any]:
        try:
            return _object(settings, "settings")
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None

    with gr.Row(visible=False):
        photo_in, depth_in, mask_in = (
            gr.File(label=label, type="filepath") for label in ("photo", "depth map", "mask")
        )
        settings_in, marks_in = gr.JSON(label="settings"), gr.JSON(label="marks")
        prompt_in, place_in = gr.Textbox(label="prompt"), gr.Textbox("centre", label="place")
        count_in, seed_in = gr.Number(3, label="count"), gr.Number(0, label="seed")
        file_out = [gr.File() for _ in range(2)]
        files_out, text_out = gr.File(file_count="multiple"), gr.Textbox()
        asked = [photo_in, settings_in, depth_in]
        for function, inputs, outputs in (
            (depth, [photo_in], file_out),
            (preview, asked, file_out[:1]),
            (animate, asked, [files_out, *file_out, text_out]),
            (scene, asked, [files_out]),
            (
                scenes,
                [photo_in, mask_in, marks_in, prompt_in, count_in, place_in, seed_in],
                [files_out],
            ),
        ):
            gr.Button().click(function, inputs, outputs, api_name=function.__name__, concurrency_limit=None)


def _object(value: Any, what: str) -> Mapping[str, Any]:
    """A JSON object, an empty one for nothing.

    Raises:
        InputError: it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"The {what} must be a JSON object, such as {{}}; got {type(value).__name__}.")
    return value


def _marks(studio: Studio, photo: str, mask: str | None, marks: Any) -> Marks:
    """Where the object is: from a black and white picture, or {"points": [[x, y], …], "box": [x0, y0, x1, y1]}."""
    if mask:
        from kinephoto.scene.depth import read_disparity

        return Marks(strokes=read_disparity(studio.results.own(mask)).numpy() > 127)
    told = _object(marks, "marks")
    unknown = set(told) - {"points", "box"}
    try:
        points = tuple((float(x), float(y)) for x, y in told.get("points") or ())
        box = tuple(float(side) for side in told["box"]) if told.get("box") else None
    except (TypeError, ValueError):
        unknown = {"points and box that aren't numbers"}
        points, box = (), None
    if unknown or (box is not None and len(box) != 4):
        raise InputError('The marks must be {"points": [[x, y], …]} or {"box": [x0, y0, x1, y1]}, in px.')
    return Marks(points=points, box=box)  # type: ignore[arg-type]
