"""Times, sizes and counts as a person would say them."""

from __future__ import annotations


def in_words(seconds: float) -> str:
    """Roughly, as a person would say it.

    Example:
        >>> in_words(7.3), in_words(95), in_words(6000)
        ('about 7 s', 'about 2 min', 'about 1.7 h')
    """
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"


def size_in_words(size_bytes: int) -> str:
    """A file's size.

    Example:
        >>> size_in_words(27_300), size_in_words(1_550_000)
        ('27 kB', '1.6 MB')
    """
    return f"{max(1, round(size_bytes / 1e3))} kB" if size_bytes < 999_500 else f"{size_bytes / 1e6:.1f} MB"


def counted(count: int, noun: str) -> str:
    """So many of something that takes an s.

    Example:
        >>> counted(1, "photo"), counted(12_000, "photo")
        ('1 photo', '12000 photos')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
