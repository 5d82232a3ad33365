"""The page: the photo on the left, three tabs on the right; on a phone one below the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kinephoto.app.web.animate_tab import animate_tab
from kinephoto.app.web.endpoints import endpoints
from kinephoto.app.web.out_animate_tab import out_animate_tab
from kinephoto.app.web.photo_panel import photo_panel, with_request
from kinephoto.app.web.scene_tab import scene_tab
from kinephoto.app.web.work import Studio

STYLE = Path(__file__).parent / "style.css"
SYSTEM_FONTS = ("system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif")
SYSTEM_MONOSPACE = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
HEADING = """<header class="heading"><h1>kinephoto</h1>
<p>One photo becomes a video in which the camera really moves. Nothing leaves this server.</p></header>"""


def theme() -> Any:
    """Gradio's plain theme with the system's own fonts: nothing is fetched from elsewhere."""
    import gradio as gr

    return gr.themes.Default(
        primary_hue="teal", neutral_hue="slate", font=list(SYSTEM_FONTS), font_mono=list(SYSTEM_MONOSPACE)
    )


def page(studio: Studio) -> Any:
    """Gradio's Blocks, ready to be launched."""
    import gradio as gr

    with gr.Blocks(title="kinephoto", analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(HEADING, elem_id="heading")
        with gr.Row(elem_id="desk"):
            with gr.Column(scale=4, min_width=320):
                panel = photo_panel(studio)
            with gr.Column(scale=6, min_width=320), gr.Tabs():
                with gr.Tab("Animate", id="animate"):
                    animate_tab(studio, panel)
                with gr.Tab("Out-animate", id="out-animate"):
                    out_animate_tab(studio, panel)
                with gr.Tab("Scene", id="scene"):
                    scene_tab(studio, panel)
        endpoints(studio)

        @with_request
        def gone(request: Any) -> None:
            studio.line.cancel_all(request.session_hash or "")

        blocks.unload(gone)
    return blocks
