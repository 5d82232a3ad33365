"""How a field of a settings model says what a command line and a page show of it."""

from __future__ import annotations

from typing import Any

from pydantic import Field


def setting(default: Any, says: str, panel: str, flag: str | None = None, **limits: Any) -> Any:
    """A field: its default (``...``: must be given), the sentence for the help, the group it is shown in, its limits.

    Args:
        default: the value where none is given.
        says: the sentence for the help.
        panel: the group.
        flag: the flag's name where it isn't the field's.
        limits: such as ge and le, as pydantic's ``Field`` takes them.
    """
    return Field(default, description=says, json_schema_extra={"panel": panel, "flag": flag}, **limits)
