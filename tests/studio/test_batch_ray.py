"""Ray runs the very worker that this machine runs, and says so in one sentence when it can't."""

from __future__ import annotations

import socket

import pytest

from kinephoto.errors import InputError
from kinephoto.studio.batch_ray import check_answers


def test_an_address_without_a_cluster_is_refused_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(InputError, match=f"There is no Ray cluster at 127.0.0.1:{port}: "):
        check_answers(f"127.0.0.1:{port}")
    with pytest.raises(InputError, match="--ray is head; it must be local, auto or HOST:PORT"):
        check_answers("head")


def test_an_address_that_swallows_everything_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(address: object, timeout: float) -> None:
        assert address == ("head", 6379) and timeout <= 10
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", silent)
    with pytest.raises(InputError, match="There is no Ray cluster at ray://head:6379: "):
        check_answers("ray://head:6379")
