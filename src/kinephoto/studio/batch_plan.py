"""What a batch is to do with each photo: said once, checked before the start, sent to every worker."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, get_args

from pydantic import BaseModel

from kinephoto.errors import InputError
from kinephoto.studio.outpaint_settings import ObjectSettings, OutAnimateSettings, OutpaintSettings
from kinephoto.studio.settings import AnimateSettings, MoveSettings, checked, flag_of

Verb = Literal["animate", "out-animate", "depth", "outpaint"]
VERBS: tuple[Verb, ...] = get_args(Verb)

MODELS: dict[Verb, type[BaseModel]] = {
    "animate": AnimateSettings,
    "out-animate": OutAnimateSettings,
    "depth": MoveSettings,
    "outpaint": OutpaintSettings,
}
"""The settings that count for each verb."""

_MACHINE = ("device", "threads", "offline")
USED: dict[Verb, tuple[str, ...]] = {
    "animate": tuple(AnimateSettings.model_fields),
    "out-animate": tuple(OutAnimateSettings.model_fields),
    "depth": ("depth", "depth_range", "max_megapixels", *_MACHINE),
    "outpaint": (
        *ObjectSettings.model_fields,
        *("scene_size", "extend", "prompt", "painter", "steps", "guidance", "seed", "max_megapixels"),
        *_MACHINE,
    ),
}
"""What each verb goes by, by name of `OutAnimateSettings`; on a cluster a worker's threads count for all."""

FORMATS: dict[Verb, tuple[str, ...]] = {
    "animate": ("mp4", "webm", "gif", "webp", "mov", "mkv", "jpg", "png"),
    "out-animate": ("mp4", "webm", "gif", "webp", "mov", "mkv", "jpg", "png"),
    "depth": ("png", "npy", "jpg"),
    "outpaint": ("png", "jpg", "webp"),
}
"""How each verb's outputs may end, the default first; pictures of films are for stereo photos."""

STILLS = ("jpg", "png")


@dataclass(frozen=True)
class Extras:
    """What is written beside each film, as endings without a dot; None and nothing write nothing.

    Attributes:
        depth: of NAME_depth.
        mask: of NAME_mask.
        scenes: of NAME, such as "glb".
        report: whether to write NAME.json.
        credentials: whether to sign with a certificate for development.
        sign_with: the files of certificates and key to sign with instead.
    """

    depth: str | None = None
    mask: str | None = None
    scenes: tuple[str, ...] = ()
    report: bool = False
    credentials: bool = False
    sign_with: tuple[str, str] | None = None


@dataclass(frozen=True)
class Plan:
    """The same for all photos of a batch; small, and made of plain values, so that it travels to workers.

    Attributes:
        verb: what to do.
        target: the folder, or its URL, in which the outputs appear.
        settings: what was set for all, by name of `OutAnimateSettings`; a row's own come on top.
        ending: of the outputs, without a dot.
        extras: what else to write.
        renew: whether outputs of changed photos and settings are made anew; otherwise they are failures.
        threads: of each worker's renderer, if the settings say nothing; None is all processors.
    """

    verb: Verb
    target: str
    settings: dict[str, Any]
    ending: str
    extras: Extras = Extras()
    renew: bool = False
    threads: int | None = None

    def said(self) -> dict[str, Any]:
        """What decides an output beside its photo and its row's own settings, for people and for comparing."""
        model = self.settings_for({})
        signed = "yours" if self.extras.sign_with else self.extras.credentials
        extras = {"depth": self.extras.depth, "mask": self.extras.mask, "scenes": list(self.extras.scenes)}
        return {
            "verb": self.verb,
            "format": self.ending,
            "extras": extras | {"report": self.extras.report, "signed": signed},
            "settings": deciding(model),
        }

    def settings_for(self, own: Mapping[str, Any]) -> Any:
        """The verb's settings for a row that sets these itself.

        Raises:
            InputError: a value out of range, or a setting for objects where the verb has none.
        """
        return settings_of(self.verb, checked(OutAnimateSettings, self.settings | dict(own)))

    def key_of(self, settings: BaseModel, files: Sequence[str] = ()) -> str:
        """A hash of everything that decides an output beside the photo's bytes.

        Args:
            settings: the row's.
            files: hashes of the files that are read beside the photo.
        """
        read = {"files": list(files)} if files else {}
        return _hash(self.said() | {"settings": deciding(settings)} | read)


def plan_of(
    verb: str,
    target: str,
    settings: OutAnimateSettings,
    *,
    ending: str | None = None,
    extras: Extras = Extras(),
    renew: bool = False,
) -> Plan:
    """The plan, when everything in it can be done.

    Raises:
        InputError: an unknown verb or format, settings that don't go together, or extras that the verb doesn't have.
    """
    if verb not in VERBS:
        raise InputError(f"--verb is {verb}; it must be {', '.join(VERBS[:-1])} or {VERBS[-1]}.")
    known: Verb = verb  # type: ignore[assignment]
    chosen = (ending or FORMATS[known][0]).lower().lstrip(".")
    if chosen not in FORMATS[known]:
        raise InputError(f"--format is {chosen}; {verb} writes {', '.join(FORMATS[known])}.")
    if extras != Extras() and known not in ("animate", "out-animate"):
        raise InputError(f"--verb {verb} writes one file a photo; reports, masks and the like go with films.")
    values = {name: value for name, value in settings.model_dump().items() if _is_asked(settings, name)}
    plan = Plan(known, target, values, chosen, extras, renew)
    plan.settings_for({})
    return plan


def settings_of(verb: Verb, settings: OutAnimateSettings) -> Any:
    """What counts for the verb, as its own settings.

    Raises:
        InputError: something for objects is asked for, and the verb has none.
    """
    model, values = MODELS[verb], settings.model_dump()
    if verb == "outpaint":
        values["size"] = values["scene_size"]
    elif verb in ("animate", "depth"):
        for name in (*ObjectSettings.model_fields, "scene_size"):
            if _is_asked(settings, name):
                raise InputError(f"{flag_of(name, OutAnimateSettings)} is for objects; {verb} has none.")
    return checked(model, {name: values[name] for name in model.model_fields if name in values})


def deciding(settings: BaseModel) -> dict[str, Any]:
    """The settings that change what is shown, which threads, devices and limits don't, as plain values."""
    found = {}
    for name, value in settings.model_dump(mode="json").items():
        extra = type(settings).model_fields[name].json_schema_extra
        if not (isinstance(extra, dict) and extra.get("panel") == "Machine") and name != "max_megapixels":
            found[name] = value
    return found


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What two plans' words differ in, such as "seconds: 4.0, now 2.0"."""
    found = []
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new)
        elif old != new:
            found.append(f"{name}: {old}, now {new}")
    return found


def beside(name: str, addition: str, ending: str) -> str:
    """Another file's name beside an output.

    Example:
        >>> beside("sea/beach.mp4", "_depth", "png")
        'sea/beach_depth.png'
    """
    return str(PurePosixPath(name).with_suffix("")) + f"{addition}.{ending}"


def unused(verb: Verb, settings: OutAnimateSettings) -> list[str]:
    """Flags of what is asked for and changes nothing with this verb; tables and settings may serve several."""
    names = [name for name in settings.model_fields_set.difference(USED[verb]) if _is_asked(settings, name)]
    return sorted(flag_of(name, OutAnimateSettings) for name in names)


def _is_asked(settings: BaseModel, name: str) -> bool:
    """Whether somebody said so, be it the default; None says nothing."""
    return name in settings.model_fields_set and getattr(settings, name) is not None


def _hash(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
