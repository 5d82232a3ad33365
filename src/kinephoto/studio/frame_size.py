"""How large a film's frames are."""

from __future__ import annotations

from kinephoto.errors import InputError

DEFAULT_SHORT_SIDE_PX, DEFAULT_LONG_SIDE_PX = 720, 4096
"""Of a film whose size nobody says: what every player plays."""

SIZE_RANGE = (64, 4320)


def hw_of(hw: tuple[int, int], size: int | None) -> tuple[int, int]:
    """Height and width with the short side ``size``, both even, since most video has half as much colour.

    Without a size: the photo's own, at most 720 and its long side at most 4096.

    Raises:
        InputError: the size is out of range.
    """
    if size is not None and not SIZE_RANGE[0] <= size <= SIZE_RANGE[1]:
        raise InputError(
            f"The size is {size} px; the short side goes from {SIZE_RANGE[0]} to {SIZE_RANGE[1]}."
        )
    scale = (
        size / min(hw) if size else min(1.0, DEFAULT_SHORT_SIDE_PX / min(hw), DEFAULT_LONG_SIDE_PX / max(hw))
    )
    height, width = (max(2, 2 * round(side * scale / 2)) for side in hw)
    return height, width
