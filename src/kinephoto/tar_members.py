"""The files in a tar file, by their headers alone."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import BinaryIO


def tar_members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The plain files of an uncompressed tar file, one at a time; none is remembered, so memory stays as it is.

    Args:
        file: opened for reading, and able to seek.

    Raises:
        tarfile.TarError, EOFError: it is no tar file, or is cut off.
    """
    with tarfile.open(fileobj=file, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # where tarfile keeps all that it has seen
            if member.isfile():
                yield member
