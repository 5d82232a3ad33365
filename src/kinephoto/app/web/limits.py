"""What the app's server may do: where it listens, how much it takes on, and what visitors may ask of it."""

from __future__ import annotations

import ipaddress
import unicodedata
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from kinephoto.errors import InputError
from kinephoto.setting import setting
from kinephoto.studio.settings import PATH_NAMES, AnimateSettings

DEPTHS = ("auto", "builtin", "embedded")
PAINTERS = ("auto", "builtin", "classical", "opencv:telea", "opencv:ns")
"""What a visitor may name; networks in folders or on a hub are the server's business."""

LONGEST_PROMPT = 1000


class AppSettings(BaseModel):
    """The app."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = setting("127.0.0.1", "Address to listen on; others can't reach 127.0.0.1.", "Server")
    port: int = setting(7860, "Port to listen on.", "Server", ge=1, le=65535)
    auth: str | None = setting(None, "USER:PASSWORD that visitors must give.", "Server")
    insecure: bool = setting(False, "Let anybody in, on another host than this one.", "Server")
    results: Path | None = setting(
        None, "Folder for uploads and results; a temporary one, removed at the end, otherwise.", "Server"
    )
    keep_hours: float = setting(24.0, "Remove uploads and results after so long.", "Server", gt=0, le=8760)
    max_upload_mb: float = setting(50.0, "Refuse larger uploads.", "Limits", gt=0, le=4096)
    max_megapixels: float = setting(50.0, "Refuse photos larger than this.", "Limits", gt=0)
    max_seconds: float = setting(20.0, "Refuse longer films.", "Limits", ge=0.5, le=600)
    max_size: int = setting(1080, "Refuse films whose short side is larger, px.", "Limits", ge=64, le=4320)
    max_queue: int = setting(8, "Jobs that may wait.", "Limits", ge=1, le=1000)
    device: str | None = setting(None, "Where to compute, such as cuda; the processor otherwise.", "Machine")
    threads: int | None = setting(
        None, "Threads for the renderer; all processors otherwise.", "Machine", ge=1, le=1024
    )
    offline: bool = setting(False, "Never touch the network.", "Machine")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address.

    Example:
        >>> is_loopback("localhost"), is_loopback("0.0.0.0")
        (True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_door(settings: AppSettings) -> tuple[str, str] | None:
    """The user and password that visitors must give, None where nobody is asked.

    Raises:
        InputError: others could come in and nothing would stop them, or ``--auth`` isn't USER:PASSWORD.
    """
    if settings.auth is not None:
        user, colon, password = settings.auth.partition(":")
        if not (user and colon and password):
            raise InputError("--auth must be USER:PASSWORD, neither of them empty.")
        return user, password
    if not is_loopback(settings.host) and not settings.insecure:
        raise InputError(
            f"--host {settings.host} lets others in; add --auth USER:PASSWORD, or --insecure to let in anybody."
        )
    return None


def check_film(wanted: AnimateSettings, limits: AppSettings) -> None:
    """Refuse what a visitor may not ask for: too much, or a file or network of the server's.

    Raises:
        InputError: one sentence about the first such thing.
    """
    defaults = AnimateSettings()
    words = (("path", PATH_NAMES), ("depth", DEPTHS), ("painter", PAINTERS))
    for name, allowed in words:
        value = getattr(wanted, name)
        if value not in allowed:
            raise InputError(f"Here the {name} is one of {', '.join(allowed)}; got {_short(value)}.")
    for name in ("device", "threads", "offline", "max_megapixels"):
        if getattr(wanted, name) != getattr(defaults, name):
            raise InputError(f"The setting {name} belongs to the server; leave it out.")
    if wanted.seconds > limits.max_seconds:
        raise InputError(f"A film here is at most {limits.max_seconds:g} s long; got {wanted.seconds:g}.")
    if wanted.size is not None and wanted.size > limits.max_size:
        raise InputError(f"A film's short side is at most {limits.max_size} px here; got {wanted.size}.")
    if wanted.seconds * wanted.fps > limits.max_seconds * 60:
        raise InputError(f"{wanted.fps:g} frames per second are too many for {wanted.seconds:g} s here.")
    check_prompt(wanted.prompt)


def check_prompt(prompt: str | None) -> None:
    """Refuse what no painter could read.

    Raises:
        InputError: too long, or with control characters.
    """
    if prompt is None:
        return
    if len(prompt) > LONGEST_PROMPT:
        raise InputError(f"The prompt has {len(prompt)} characters; it may have {LONGEST_PROMPT}.")
    if any(unicodedata.category(letter) == "Cc" and letter not in "\n\t" for letter in prompt):
        raise InputError("The prompt holds control characters; write it in plain text.")


def _short(value: str) -> str:
    """The value as it may stand in a sentence: no longer than a line."""
    return repr(value if len(value) <= 40 else value[:40] + "…")
