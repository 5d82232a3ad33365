"""Pictures that anybody's code has made: ``predictions:FOLDER``.

``FOLDER/SCENE/SSS_TTT.png`` is the view of the scene's picture TTT made from its picture SSS. Both numbers are places
in the scene's ``images/`` folder in the order of names, counted from 0, with three digits; they are not frame numbers
of the clip, nor names such as t5. ``docs/published-methods.md`` says how published code makes them.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.measure.photos import read_rgb
from kinephoto.measure.view_case import ViewCase, ViewPair
from kinephoto.measure.view_warp import squashed


def prediction_file(folder: Path, pair: ViewPair) -> Path:
    """Where a pair's picture belongs.

    Example:
        >>> prediction_file(Path("sharp"), ViewPair("re10k-a", 0, 4, "t5")).as_posix()
        'sharp/re10k-a/000_004.png'
    """
    return folder / pair.scene / f"{pair.source:03d}_{pair.target:03d}.png"


class Predictions:
    """Reads each pair's picture.

    A larger picture is brought to the measured size by averaging areas; a smaller one is refused, since blowing it up
    would be measured with it.

    Args:
        folder: see the module.

    Raises:
        InputError: it is no folder, or no picture of that form lies in it.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InputError(f"There is no folder {folder} of predictions.")
        if not any(folder.glob("*/[0-9][0-9][0-9]*_[0-9][0-9][0-9]*.png")):
            raise InputError(
                f"{folder} holds no prediction; the picture of a scene's view 4 made from its view 0 is "
                f"{folder / 'SCENE' / '000_004.png'}."
            )
        self._folder = folder

    def __call__(self, case: ViewCase) -> Tensor:
        """[3, H, W] in [0, 1].

        Raises:
            InputError: this pair's picture is missing, can't be read, or is smaller than what is measured.
        """
        path = prediction_file(self._folder, case.pair)
        if not path.is_file():
            raise InputError(f"{path} is missing.")
        rgb = read_rgb(path)
        (height, width), (high, wide) = rgb.shape[1:], case.source.shape[1:]
        if height < high or width < wide:
            raise InputError(
                f"{path} is {width} x {height} px, what is measured {wide} x {high}; give it as large, or larger."
            )
        return squashed(rgb, (high, wide))
