"""What can be set for a film: each setting declared once, with its default, range and sentence.

The command line makes its flags from these, and whatever else takes settings checks them here. Nothing
heavy is imported, so that ``--help`` comes at once.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from kinephoto.errors import InputError
from kinephoto.setting import setting

PATH_NAMES = (
    *("swing", "circle", "zoom-in", "zoom-out", "dolly-zoom-in", "dolly-zoom-out", "orbit", "spiral"),
    *("lemniscate", "slide-left", "slide-right", "slide-up", "slide-down", "rise", "still"),
)
StereoWord = Literal["mono", "sbs", "half-sbs", "tb", "half-tb", "cross", "anaglyph", "pair", "rgbd"]


class MoveSettings(BaseModel):
    """The camera's move through the photo."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = setting("swing", f"Camera move: {', '.join(PATH_NAMES)}; or a path file.", "Camera")
    amount: str = setting(
        "auto",
        "How far: auto, small (0.02), medium (0.04), large (0.08), or near against far as a share of the longer side.",
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
        None,
        "Short side in px; otherwise the photo's own, at most 720, the long one at most 4096.",
        "Film",
        ge=64,
        le=4320,
    )
    quality: str = setting("good", "draft, good, best, or the codec's own number.", "Film")
    codec: str | None = setting(None, "h264, vp9 or av1, where the file can hold it.", "Film")
    stereo: StereoWord = setting(
        "mono",
        "Two eyes beside or above each other, through red and cyan glasses, or in two files.",
        "Stereo",
    )
    divergence: float = setting(
        2.0,
        "What near and far differ between the eyes, % of the width; 3.3 is used at most.",
        "Stereo",
        ge=0,
        le=50,
    )
    convergence: float = setting(
        0.5, "What lies in the screen: 0 the farthest, 1 the nearest.", "Stereo", ge=0, le=1
    )
    painter: str = setting(
        "auto",
        "Who fills what comes into view: auto, builtin, builtin:FOLDER, classical, opencv:telea, sd:FOLDER, hub:ID.",
        "Painting",
    )
    mode: Literal["world", "autoregressive"] = setting(
        "world",
        "world paints few views once; autoregressive each frame from the last, as the paper.",
        "Painting",
    )
    extend: str | None = setting(
        None,
        "Continue the photo beyond its border first: auto, as far as the move shows, or left=128,right=20% of it.",
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
        return int(self.quality) if self.quality.isdecimal() else self.quality


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


def read_settings(model: type[BaseModel], file: str | Path) -> dict[str, Any]:
    """The settings of a JSON file, each within its range.

    Raises:
        InputError: there is no such file, it isn't a JSON object, or it holds what the model doesn't.
    """
    name = Path(file).name
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(f"The settings file {file} cannot be read: {why}.") from None
    except ValueError as error:  # JSON's own sentence says where
        raise InputError(f"The settings file {name} is not JSON: {error}.") from None
    except RecursionError:
        raise InputError(
            f"The settings file {name} is nested too deeply; it must be one flat object."
        ) from None
    if not isinstance(content, dict):
        raise InputError(f'The settings file {name} must hold one object, such as {{"path": "circle"}}.')
    if isinstance(content.get("settings"), dict) and "video" in content:
        raise InputError(
            f"{name} is a film's report (--report), not settings; a settings file is what kinephoto app saves "
            'beside a film, or the object under "settings" in the report, in a file of its own.'
        )
    try:
        checked(model, content)
    except InputError as error:
        raise InputError(f"The settings file {name} can't be used: {error}") from None
    return content


def command_of(settings: BaseModel, *words: str) -> str:
    """The command line that does the same: these words, then every setting that isn't the default.

    Example:
        >>> command_of(AnimateSettings(path="circle", loop=True), "kinephoto", "animate", "my beach.jpg")
        "kinephoto animate 'my beach.jpg' --path circle --loop"
    """
    parts = list(words)
    for name in type(settings).model_fields:
        if is_default(settings, name):
            continue
        value = getattr(settings, name)
        flag = flag_of(name, type(settings))
        if isinstance(value, bool):
            parts.append(flag if value else f"--no-{flag[2:]}")
        else:
            parts += [flag, str(value).removesuffix(".0") if isinstance(value, float) else str(value)]
    return shlex.join(parts)


def is_default(settings: BaseModel, name: str) -> bool:
    """Whether a setting is as it is when nobody says anything."""
    return bool(getattr(settings, name) == type(settings).model_fields[name].default)


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
        if model.model_fields[name].annotation is int or not {"gt", "lt"} & set(limits):
            # A whole number below the limit.
            most = str(int(high) - 1) if "lt" in limits else f"{high:g}"
            return f"{flag} is {value}; it must be from {low:g} to {most}."
        above, below = (
            "more than" if "gt" in limits else "at least",
            "less than" if "lt" in limits else "at most",
        )
        return f"{flag} is {value}; it must be {above} {low:g} and {below} {high:g}."
    if low is not None:
        return f"{flag} is {value}; it must be {'more than' if 'gt' in limits else 'at least'} {low:g}."
    return f"{flag} is {value!r}: {error['msg'][0].lower()}{error['msg'][1:]}."


def vars_of(item: Any) -> dict[str, Any]:
    """The limit that a piece of pydantic's metadata stands for, such as {"ge": 0}."""
    names = ("ge", "gt", "le", "lt")
    return {name: getattr(item, name) for name in names if getattr(item, name, None) is not None}
