"""How large a film's frames are."""

from __future__ import annotations

from kinephoto.errors import InputError

DEFAULT_SHORT_SIDE_PX = 720
SIZE_RANGE = (64, 4320)


def hw_of(hw: tuple[int, int], size: int | None) -> tuple[int, int]:
    """Height and width with the short side ``size``, both even, since most video has half as much colour.

    Raises:
        InputError: the size is out of range.
    """
    if size is not None and not SIZE_RANGE[0] <= size <= SIZE_RANGE[1]:
        raise InputError(
            f"The size is {size} px; the short side goes from {SIZE_RANGE[0]} to {SIZE_RANGE[1]}."
        )
    short = size or min(*hw, DEFAULT_SHORT_SIDE_PX)
    scale = short / min(hw)
    height, width = (max(2, 2 * round(side * scale / 2)) for side in hw)
    return height, width
