"""What was asked for last, as much of it as a bound allows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Values by key, made when they are not there; the ones asked for longest ago make room for others.

    Args:
        most_bytes: that all values may take together; the last one stays whatever it takes.
        size_of: a value's bytes.

    Example:
        >>> recent = Recent(4, len)
        >>> [recent.get(word, str.upper) for word in ("ab", "cd", "ef")]
        ['AB', 'CD', 'EF']
        >>> len(recent)
        2
    """

    def __init__(self, most_bytes: int, size_of: Callable[[Value], int]) -> None:
        self._most_bytes, self._size_of = most_bytes, size_of
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Key, make: Callable[[Key], Value]) -> Value:
        """The value; two threads may make the same one at once, and one of both is kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make(key)
        with self._lock:
            if key not in self._values:
                self._values[key] = value
                self._bytes += self._size_of(value)
            while self._bytes > self._most_bytes and len(self._values) > 1:
                self._bytes -= self._size_of(self._values.popitem(last=False)[1])
        return value
