"""The one exception for everything a person can get wrong."""

from __future__ import annotations


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one sentence: the thing, the value found, and what would be right. The command
    line prints it without a traceback and exits with code 2; the web app answers 400 with it.
    """
