"""One labelled control for each setting that the page offers; sentences and ranges are the settings' own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from kinephoto.app.web.limits import PAINTERS, AppSettings
from kinephoto.studio.settings import PATH_NAMES, AnimateSettings

AMOUNTS = ("auto", "small", "medium", "large")
FOCUSES = ("near", "middle", "far")
QUALITIES = ("draft", "good", "best")
SIZES_PX = (360, 480, 720, 1080, 1440, 2160)
AS_THE_PHOTO = "as the photo"
LABELS = {
    "path": "Camera move",
    "amount": "Amount",
    "seconds": "Duration, s",
    "size": "Size, px",
    "prompt": "Prompt",
    "loop": "Loop",
    "ease": "Ease",
    "hold": "Hold, s",
    "focus": "Focus",
    "fps": "Frames per second",
    "quality": "Quality",
    "painter": "Painter",
    "seed": "Seed",
    "depth_range": "Depth range",
    "stereo": "Stereo",
}


def controls(names: Sequence[str], limits: AppSettings) -> dict[str, Any]:
    """A component for each named setting, placed where this is called."""
    return {name: _control(name, limits) for name in names if name in AnimateSettings.model_fields}


def values_of(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """What the controls say, as settings take it."""
    plain: dict[str, Any] = dict(zip(names, values, strict=True))
    if "size" in plain:
        plain["size"] = None if plain["size"] == AS_THE_PHOTO else int(plain["size"])
    if not plain.get("prompt", "") and "prompt" in plain:
        plain["prompt"] = None
    if "seed" in plain:
        plain["seed"] = int(plain["seed"] or 0)
    return plain


def command_box(elem_id: str) -> Any:
    """Where the command line stands that does the same, hidden until there is one."""
    import gradio as gr

    return gr.Textbox(
        label="The same on the command line",
        interactive=False,
        visible=False,
        buttons=["copy"],
        lines=2,
        elem_id=elem_id,
    )


def _control(name: str, limits: AppSettings) -> Any:
    import gradio as gr

    field = AnimateSettings.model_fields[name]
    common: Mapping[str, Any] = {
        "label": LABELS[name],
        "info": _info(name, field.description or ""),
        "value": field.default,
        "elem_id": f"setting-{name.replace('_', '-')}",
    }
    if name == "path":
        return gr.Dropdown(list(PATH_NAMES), **common)
    if name == "amount":
        return gr.Radio(list(AMOUNTS), **common)
    if name == "seconds":
        longest = limits.max_seconds
        return gr.Slider(0.5, longest, step=0.5, **{**common, "value": min(4.0, longest)})
    if name == "size":
        sizes = [str(size) for size in SIZES_PX if size <= limits.max_size]
        return gr.Dropdown([AS_THE_PHOTO, *sizes], **{**common, "value": AS_THE_PHOTO})
    if name == "prompt":
        return gr.Textbox(**{**common, "value": ""}, lines=1, placeholder="a raccoon between green leaves")
    if name == "loop":
        return gr.Checkbox(**common)
    if name in ("hold", "fps", "depth_range"):
        low, high, step = {"hold": (0, 5, 0.5), "fps": (8, 60, 1), "depth_range": (0.02, 0.5, 0.01)}[name]
        return gr.Slider(low, high, step=step, **common)
    if name == "seed":
        return gr.Number(precision=0, **common)
    words = {"focus": FOCUSES, "quality": QUALITIES, "painter": PAINTERS}
    return gr.Dropdown(list(words.get(name) or get_args(field.annotation)), **common)


def _info(name: str, description: str) -> str:
    """The setting's sentence, shortened where the control itself shows what it lists."""
    own = {
        "path": "",
        "fps": "",
        "quality": "",
        "amount": "auto goes as far as little has to be painted.",
        "size": "The short side; a photo's own is at most 720.",
        "prompt": "Used by painters that read text.",
        "painter": "Who fills what comes into view.",
        "focus": "What stays put.",
    }
    return own.get(name, description)
