"""The server: checks first, then listens until Ctrl-C or another request to end."""

from __future__ import annotations

import os
import socket
import sys
import time
from typing import Any

from kinephoto.app.web.jobs import Line
from kinephoto.app.web.limits import AppSettings, check_door, is_loopback
from kinephoto.app.web.results import Results
from kinephoto.errors import InputError
from kinephoto.interrupts import ending_cleanly

MOST_THREADS = 64
GRADIOS_HOST = "127.0.0.1"
"""Gradio takes a port only where it is free here, too, whatever address it is to listen on."""


def serve(settings: AppSettings, say: Any) -> None:
    """Serve the app until Ctrl-C, SIGTERM or SIGHUP; then a temporary folder of results goes.

    Args:
        settings: checked ones.
        say: called with lines for people.

    Raises:
        InputError: Gradio isn't installed, the port is taken, or others could come in unasked.
    """
    door = check_door(settings)
    for host in dict.fromkeys((settings.host, GRADIOS_HOST)):
        _check_port(host, settings.port)
    try:
        with ending_cleanly(), Results(settings.results, settings.keep_hours * 3600) as results:
            _prepare(results)
            blocks = _launch(settings, results, door)
            try:
                name = _in_url(settings.host)
                say(
                    f"kinephoto is at http://{name}:{settings.port} (Ctrl-C stops it); results: {results.folder}"
                )
                while True:
                    time.sleep(3600)
            finally:
                blocks.close(verbose=False)
    except SystemExit as leaving:
        # All is put away. Threads of other libraries may still be loading, and make an interpreter that ends abort.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(leaving.code or 0))


def _in_url(host: str) -> str:
    """The address as it stands in a URL: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def _prepare(results: Results) -> None:
    """Settle what Gradio reads when it is imported, and import it.

    Raises:
        InputError: it isn't installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(results.folder)
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio  # noqa: F401
    except ImportError:
        raise InputError("The app needs Gradio: pip install 'kinephoto[app]'.") from None


def _launch(settings: AppSettings, results: Results, door: tuple[str, str] | None) -> Any:
    """Gradio's Blocks, listening."""
    from starlette.middleware import Middleware

    from kinephoto.app.web.guard import Guard
    from kinephoto.app.web.page import STYLE, page, theme
    from kinephoto.app.web.photo_panel import EXAMPLES
    from kinephoto.app.web.work import Studio

    studio = Studio(settings, results, Line(settings.max_queue))
    with results.keeping_what_comes():
        blocks = page(studio)
    results.sweep_for_ever()
    blocks.queue(max_size=None, default_concurrency_limit=None)
    name = _in_url(settings.host)
    guard = Middleware(Guard, folder=results.folder, loopback=is_loopback(settings.host), names=(name,))
    blocks.launch(
        server_name=name,
        server_port=settings.port,
        auth=door,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        show_error=False,
        ssr_mode=False,
        pwa=False,
        allowed_paths=[],
        max_file_size=int(settings.max_upload_mb * 1e6),
        max_threads=MOST_THREADS,
        footer_links=["api"],
        theme=theme(),
        css_paths=[STYLE],
        app_kwargs={"middleware": [guard]},
    )
    studio.warm_up(min(EXAMPLES.glob("*.jpg")))
    return blocks


def _check_port(host: str, port: int) -> None:
    """Refuse a port that somebody else listens on, or an address that isn't this machine's.

    Raises:
        InputError: see above.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise InputError(f"There is no address {host} here; --host 127.0.0.1 always works.") from None
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(address)
        except OSError as error:
            raise InputError(
                f"Port {port} of {host} can't be used ({error.strerror}); try --port {port + 1}."
            ) from None
