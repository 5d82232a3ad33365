"""Times as a person would say them."""

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
