"""Flags from settings: each field of a settings model becomes one flag, with its default, range and sentence."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from pydantic import BaseModel

from kinephoto.studio.settings import checked, flag_of, read_settings


def with_settings(
    model: type[BaseModel], name: str = "settings", *, from_file: bool = False, only: Sequence[str] = ()
) -> Callable[[Callable], Callable]:
    """The command's parameter ``name`` becomes one flag for every field of ``model``; it is given checked.

    Ranges are checked by the model, not by the parser, so that a number out of range is answered by the
    same sentence on the command line as from Python.

    Args:
        from_file: whether a flag ``--settings FILE`` reads a JSON file with values for the fields; a flag
            that the user gives wins over the file. Only what was asked for is in ``model_fields_set`` then.
        only: the fields that become flags, where not all do; the others keep their defaults.
    """

    def decorate(command: Callable) -> Callable:
        names = tuple(only or model.model_fields)
        flags = [_parameter(field, model) for field in names]
        flags += [_CONTEXT, _SETTINGS_FILE] if from_file else []

        @functools.wraps(command)
        def run(**values: Any) -> Any:
            chosen = {field: values.pop(field) for field in names}
            if from_file:
                context, file = values.pop(_CONTEXT.name), values.pop(_SETTINGS_FILE.name)
                given = {field: value for field, value in chosen.items() if _is_given(context, field)}
                chosen = (_asked_in(file, model) if file else {}) | given
            return command(**values, **{name: checked(model, chosen)})

        return _said(run, command, name, flags)

    return decorate


def with_flags(group: type, name: str = "asked") -> Callable[[Callable], Callable]:
    """The command's parameter ``name`` becomes one flag for every field of the dataclass ``group``.

    The fields' annotations say how typer reads them; the command is given one ``group``.
    """
    hints = get_type_hints(group, include_extras=True)
    flags = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(group)
    ]

    def decorate(command: Callable) -> Callable:
        @functools.wraps(command)
        def run(**values: Any) -> Any:
            given = {flag.name: values.pop(flag.name) for flag in flags}
            return command(**values, **{name: group(**given)})

        return _said(run, command, name, flags)

    return decorate


def _said(run: Callable, command: Callable, name: str, flags: Sequence[inspect.Parameter]) -> Callable:
    """``run``, telling typer that it has the command's parameters, and the flags instead of ``name``."""
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != name]
    run.__signature__ = signature.replace(parameters=[*own, *flags])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *flags]}
    return run


_CONTEXT = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
_SETTINGS_FILE = inspect.Parameter(
    "settings_file",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        Path | None,
        typer.Option(
            "--settings",
            metavar="FILE",
            help="JSON with settings, as kinephoto app writes it; flags win over it.",
        ),
    ],
)


def _asked_in(file: Path, model: type[BaseModel]) -> dict[str, Any]:
    """What a settings file asks for: kinephoto app writes them all, also those left as they are by default."""
    return {
        name: value
        for name, value in read_settings(model, file).items()
        if value != model.model_fields[name].default
    }


def _is_given(context: typer.Context, field: str) -> bool:
    """Whether the field's flag stands on the command line."""
    source = context.get_parameter_source(field)
    return source is not None and source.name == "COMMANDLINE"


def _parameter(field: str, model: type[BaseModel]) -> inspect.Parameter:
    info = model.model_fields[field]
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    kind, words = _plain(info.annotation)
    says = info.description or ""
    if words:
        says = f"{says} ({', '.join(words)})"
    flag = flag_of(field, model)
    flags = [f"{flag}/--no-{flag[2:]}"] if kind is bool and info.default is True else [flag]
    option = typer.Option(
        *flags,
        help=says,
        rich_help_panel=str(extra.get("panel") or "Options"),
        show_default=info.default is not None and not info.is_required(),
    )
    default = inspect.Parameter.empty if info.is_required() else info.get_default(call_default_factory=True)
    return inspect.Parameter(
        field, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def _plain(annotation: Any) -> tuple[Any, tuple[str, ...]]:
    """The type that the parser reads, and the words of a Literal, which the model checks."""
    if get_origin(annotation) is not None and all(isinstance(word, str) for word in get_args(annotation)):
        return str, get_args(annotation)
    return annotation, ()
