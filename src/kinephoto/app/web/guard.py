"""What every request passes on its way in, and every answer on its way out.

The page may load nothing from elsewhere (a Content-Security-Policy that browsers enforce). A request may
name only files that were uploaded here, never an address to fetch. A server that only this machine can
reach answers only to its own names and to its own pages, so that another site's page can't have a visitor's
browser talk to it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

MOST_JSON_BYTES = 1 << 20
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; frame-src 'self' data: blob:; "
    "frame-ancestors 'self'; object-src 'none'; base-uri 'self'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
OWN_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})

_FILE_FIELDS = {"meta", "url", "orig_name"}
"""Beside "path" in a file's value; the settings have a "path", too, which is a word."""

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Guard:
    """ASGI middleware; see the module.

    Args:
        app: what comes after.
        folder: the only one whose files a request may name.
        loopback: only this machine can reach the server.
        names: those that it has beside ``OWN_NAMES``, an IPv6 address in brackets.
    """

    def __init__(self, app: Any, folder: Path, loopback: bool, names: Iterable[str] = ()) -> None:
        self._app, self._folder, self._loopback = app, folder.resolve(), loopback
        self._names = OWN_NAMES | {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._loopback and not self._names.issuperset(_hosts(scope)):
            await _refuse(send, 403, "This server answers only to localhost and 127.0.0.1.")
            return
        if self._loopback and not self._names.issuperset(_origins(scope)):
            await _refuse(send, 403, "This server answers only to its own page and to programs.")
            return
        if scope["method"] == "POST" and not _is_upload(scope):
            body = await _body(receive)
            if body is None:
                await _refuse(send, 413, "The request is larger than 1 MB; upload files on their own.")
                return
            stranger = self._stranger_in(body)
            if stranger is not None:
                await _refuse(
                    send,
                    400,
                    f"{stranger[:80]!r} was not uploaded here; upload it, then name what came back.",
                )
                return
            receive = _once(body, receive)
        from starlette.requests import ClientDisconnect

        with suppress(ClientDisconnect):  # a browser that goes away in the middle of an upload is no fault
            await self._app(scope, receive, _with_headers(send))

    def _stranger_in(self, body: bytes) -> str | None:
        """The first path of a file that isn't an upload; None when all are, or it isn't JSON at all."""
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            return None
        for path in _named_files(content):
            if not Path(path).resolve().is_relative_to(self._folder):
                return path
        return None


def _named_files(content: Any) -> Iterator[str]:
    """The paths of all file values in a request, however deep."""
    stack = [content]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            path = item.get("path")
            if isinstance(path, str) and (_FILE_FIELDS & item.keys() or "/" in path or "\\" in path):
                yield path
            stack += item.values()
        elif isinstance(item, list):
            stack += item


def _values(scope: Scope, wanted: bytes) -> list[bytes]:
    return [value for name, value in scope["headers"] if name.lower() == wanted]


def _hosts(scope: Scope) -> Iterator[str]:
    """The server's name as the request has it, "" without one."""
    yield from map(_host_of, _values(scope, b"host") or [b""])


def _origins(scope: Scope) -> Iterator[str]:
    """The name of the site whose page asks, "" for a page that hides its own ("null"); programs name none."""
    for origin in _values(scope, b"origin"):
        yield _host_of(origin.partition(b"://")[2])


def _is_upload(scope: Scope) -> bool:
    """Whether the body is a form with files, in which no path means anything.

    Whatever else it says it is may be read as JSON further on; of two types either may be believed there.
    """
    types = _values(scope, b"content-type")
    return bool(types) and all(
        each.split(b";")[0].strip().lower() == b"multipart/form-data" for each in types
    )


def _host_of(header: bytes) -> str:
    text = header.decode("latin-1").lower()
    return text[: text.rindex(":")] if ":" in text and not text.endswith("]") else text


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None when it is too large."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False) and message["type"] == "http.request"
        if len(body) > MOST_JSON_BYTES:
            return None
    return body


def _once(body: bytes, receive: Receive) -> Receive:
    """A receiver that gives the body again, then what else comes."""
    given = False

    async def give() -> dict[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


def _with_headers(send: Send) -> Send:
    async def add(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = message | {"headers": [*message.get("headers", []), *HEADERS]}
        await send(message)

    return add


async def _refuse(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"error": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
