"""What can be set for a film: each setting declared once, with its default, range and sentence.

The command line makes its flags from these, and whatever else takes settings checks them here. Nothing
heavy is imported, so that ``--help`` comes at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kinephoto.errors import InputError

PATH_NAMES = (
    *("swing", "circle", "zoom-in", "zoom-out", "dolly-zoom-in", "dolly-zoom-out", "orbit", "spiral"),
    *("lemniscate", "slide-left", "slide-right", "slide-up", "slide-down", "rise", "still"),
)


def setting(default: Any, says: str, panel: str, flag: str | None = None, **limits: Any) -> Any:
    """A field: its default, the sentence for the help, the group it is shown in, and limits such as ge and le.

    ``flag``: the flag's name where it isn't the field's.
    """
    return Field(default, description=says, json_schema_extra={"panel": panel, "flag": flag}, **limits)


class MoveSettings(BaseModel):
    """The camera's move through the photo."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = setting("swing", f"Camera move: {', '.join(PATH_NAMES)}; or a path file.", "Camera")
    amount: str = setting(
        "auto",
        "How far: auto, small, medium, large, or near against far as a share of the longer side.",
        "Camera",
    )
    ease: Literal["smooth", "linear"] = setting("smooth", "How the move starts and stops.", "Camera")
    loop: bool = setting(False, "There and back, so that the film repeats without a jump.", "Camera")
    hold: float = setting(0.0, "Seconds of rest at the beginning and at the end.", "Camera", ge=0, le=60)
    focus: str = setting(
        "middle", "What stays put: near, middle, far, or X,Y as shares of width, height.", "Camera"
    )
    max_hole: float = setting(
        0.06,
        "With --amount auto: largest share of a frame that may have to be painted.",
        "Camera",
        gt=0,
        lt=1,
    )
    depth: str = setting(
        "auto", "Depth: auto, builtin, embedded, hub:ID, a network's folder, or a file.", "Scene"
    )
    depth_range: float = setting(
        0.06, "Disparity of the farthest where the nearest is 1; larger is flatter.", "Scene", gt=0, lt=1
    )
    max_megapixels: float = setting(200.0, "Refuse photos larger than this.", "Scene", gt=0)
    device: str | None = setting(None, "Where to compute, such as cuda; the processor otherwise.", "Machine")
    threads: int | None = setting(
        None, "Threads for the renderer; all processors otherwise.", "Machine", ge=1, le=1024
    )
    offline: bool = setting(False, "Never touch the network.", "Machine")


class AnimateSettings(MoveSettings):
    """A film."""

    seconds: float = setting(4.0, "Length of the film.", "Film", ge=0.04, le=600)
    fps: float = setting(24.0, "Frames per second.", "Film", ge=1, le=120)
    size: int | None = setting(
        None, "Short side in px; the photo's own, at most 720, otherwise.", "Film", ge=64, le=4320
    )
    quality: str = setting("good", "draft, good, best, or the codec's own number.", "Film")
    codec: str | None = setting(None, "h264, vp9 or av1, where the file can hold it.", "Film")
    painter: str = setting(
        "auto",
        "Who fills what comes into view: auto, builtin, classical, opencv:telea, sd:FOLDER, hub:ID.",
        "Painting",
    )
    mode: Literal["world", "autoregressive"] = setting(
        "world",
        "world paints few views once; autoregressive each frame from the last, as the paper.",
        "Painting",
    )
    prompt: str | None = setting(None, "What the photo shows, for painters that take text.", "Painting")
    steps: int | None = setting(
        None, "Steps of a diffusion painter; its own default otherwise.", "Painting", ge=1, le=1000
    )
    guidance: float = setting(
        0.0, "How much further than usual a diffusion painter follows the prompt.", "Painting", ge=0, le=50
    )
    seed: int = setting(0, "The same seed gives the same bytes.", "Painting", ge=0, lt=2**32)

    def number_or_word(self) -> str | int:
        """The quality as the encoders take it."""
        return int(self.quality) if self.quality.isdigit() else self.quality


def checked(model: type[BaseModel], values: Mapping[str, Any]) -> Any:
    """The settings, when every value is within its range.

    Raises:
        InputError: one sentence about the first that is not.
    """
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "the settings"
        raise InputError(_sentence(model, name, first)) from None


def flag_of(name: str, model: type[BaseModel]) -> str:
    """A field's flag on the command line, such as ``--max-hole``."""
    extra = model.model_fields[name].json_schema_extra
    given = extra.get("flag") if isinstance(extra, dict) else None
    return str(given or "--" + name.replace("_", "-"))


def _sentence(model: type[BaseModel], name: str, error: Any) -> str:
    if name not in model.model_fields:
        return f"There is no setting {name!r}; there are {', '.join(model.model_fields)}."
    limits = {
        key: value for item in model.model_fields[name].metadata for key, value in vars_of(item).items()
    }
    flag, value = flag_of(name, model), error.get("input")
    low, high = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
    if low is not None and high is not None:
        return f"{flag} is {value}; it must be from {low:g} to {high:g}."
    if low is not None:
        return f"{flag} is {value}; it must be {'more than' if 'gt' in limits else 'at least'} {low:g}."
    return f"{flag} is {value!r}: {error['msg'][0].lower()}{error['msg'][1:]}."


def vars_of(item: Any) -> dict[str, Any]:
    """The limit that a piece of pydantic's metadata stands for, such as {"ge": 0}."""
    names = ("ge", "gt", "le", "lt")
    return {name: getattr(item, name) for name in names if getattr(item, name, None) is not None}
