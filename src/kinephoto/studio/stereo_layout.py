"""Where the two eyes of a stereo picture go: beside each other, above each other, or through red and cyan glasses.

What players expect in a file's name is as iw3 writes it and DeoVR, SKYBOX, Pigasus and others read it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kinephoto.errors import InputError
from kinephoto.studio.formats import Packing


@dataclass(frozen=True)
class Layout:
    """One way to show two pictures.

    Attributes:
        suffix: what a file's name ends with, before the dot.
        also: other endings by which players know the same layout, in small letters.
        packing: what is written into the file; None where there is nothing to say.
        grown_hw: how many times as high and as wide as one eye the whole is.
    """

    suffix: str
    also: tuple[str, ...] = ()
    packing: Packing | None = None
    grown_hw: tuple[int, int] = (1, 1)


LAYOUTS = {
    "sbs": Layout(
        "_LRF_Full_SBS",
        ("_full_sbs", "_fullsbs", "_lrf", "_sbs", "_3dhf", "_3dphf"),
        Packing("left_right", 2),
        (1, 2),
    ),
    "half-sbs": Layout("_LR", ("_3dh", "_3dph"), Packing("left_right", 2, squeezed=True)),
    "tb": Layout("_TBF_fulltb", ("_full_tb", "_fulltb", "_tbf", "_3dvf"), Packing("top_bottom", 1), (2, 1)),
    "half-tb": Layout("_TB", ("_3dv", "_3dpv"), Packing("top_bottom", 1, squeezed=True)),
    "cross": Layout("_RLF_cross", ("_rlf", "_cross"), Packing("right_left", 4), (1, 2)),
    "anaglyph": Layout("_redcyan", ("_anaglyph",), Packing("anaglyph_cyan_red", full_chroma=True)),
    "pair": Layout("_L", ("_r",)),
    "rgbd": Layout("_RGBD", (), None, (1, 2)),
}
PAIR = ("_L", "_R")

# E. Dubois, A projection method to generate anaglyph stereo images, ICASSP 2001: for red and cyan glasses and
# linear light; a grey of both eyes stays grey.
_DUBOIS_LEFT = torch.tensor(
    [
        [0.4561, 0.500484, 0.176381],
        [-0.0400822, -0.0378246, -0.0157589],
        [-0.0152161, -0.0205971, -0.00546856],
    ]
)
_DUBOIS_RIGHT = torch.tensor(
    [
        [-0.0434706, -0.0879388, -0.00155529],
        [0.378476, 0.73364, -0.0184503],
        [-0.0721527, -0.112961, 1.2264],
    ]
)


def composed(left: Tensor, right: Tensor, layout: str) -> Tensor:
    """Both eyes in one picture.

    Args:
        left, right: [C, H, W], float in [0, 1], sRGB if C is 3; H and W even for the half layouts.
        layout: one of ``LAYOUTS``; "pair" lies side by side until it is written, "rgbd" takes the depth as ``right``.

    Returns:
        [C, H', W']; where C is not 3 an anaglyph is the larger of both.
    """
    if layout in ("sbs", "pair", "rgbd"):
        return torch.cat([left, right], dim=2)
    if layout == "cross":
        return torch.cat([right, left], dim=2)
    if layout == "tb":
        return torch.cat([left, right], dim=1)
    if layout == "anaglyph":
        return anaglyph(left, right) if left.shape[0] == 3 else torch.maximum(left, right)
    across = layout == "half-sbs"
    pool = (1, 2) if across else (2, 1)
    halves = [torch.nn.functional.avg_pool2d(eye[None], pool)[0] for eye in (left, right)]
    return torch.cat(halves, dim=2 if across else 1)


def anaglyph(left: Tensor, right: Tensor) -> Tensor:
    """For red and cyan glasses, after Dubois: each eye gets the colours nearest to its own picture's.

    Args:
        left, right: [3, H, W] in [0, 1], sRGB.

    Returns:
        [3, H, W] in [0, 1], sRGB.
    """
    shares = [
        torch.einsum("rc,chw->rhw", matrix.to(eye), _linear(eye))
        for matrix, eye in ((_DUBOIS_LEFT, left), (_DUBOIS_RIGHT, right))
    ]
    return _encoded((shares[0] + shares[1]).clamp(0, 1))


def composed_hw(hw: tuple[int, int], layout: str) -> tuple[int, int]:
    """Height and width of the whole, when each eye has ``hw``; of "pair" those of one file."""
    high, wide = LAYOUTS[layout].grown_hw if layout in LAYOUTS else (1, 1)
    return hw[0] * high, hw[1] * wide


def named(target: str | Path, layout: str) -> str:
    """The target's name, ending as players want it: what is there already stays.

    Args:
        target: a file, or a folder (an existing one, or a name that ends with a slash).
        layout: one of ``LAYOUTS``.

    Raises:
        InputError: the name tells players of another layout, or is "." or the like.

    Example:
        >>> named("out/beach.mp4", "sbs"), named("beach_3DH.mp4", "half-sbs")
        ('out/beach_LRF_Full_SBS.mp4', 'beach_3DH.mp4')
    """
    path, (stem, ending) = Path(target), _parts(target)
    if stem in ("", ".."):
        raise InputError(
            f"{target} has no name that --stereo {layout} could add {LAYOUTS[layout].suffix} to; name the folder."
        )
    found = layout_of(stem)
    if found is not None and found != layout:
        raise InputError(
            f"{path.name} tells players of {found}, but --stereo is {layout}; give it another name."
        )
    return str(target) if found else str(path.with_name(stem + LAYOUTS[layout].suffix)) + ending


def layout_of(stem: str) -> str | None:
    """The layout that a file's name tells of: the longest ending that fits; None where there is none.

    Example:
        >>> layout_of("beach_LRF_Full_SBS"), layout_of("beach")
        ('sbs', None)
    """
    endings = {
        ending: name for name, layout in LAYOUTS.items() for ending in (layout.suffix.lower(), *layout.also)
    }
    fitting = [ending for ending in endings if stem.lower().endswith(ending)]
    return endings[max(fitting, key=len)] if fitting else None


def pair_of(target: str | Path) -> tuple[str, str]:
    """The left eye's and the right eye's file, for a target or either of the two.

    Example:
        >>> pair_of("beach_L.png")
        ('beach_L.png', 'beach_R.png')
    """
    left = named(target, "pair")
    path, (stem, ending) = Path(left), _parts(left)
    left, right = (str(path.with_name(stem[: -len(end)] + end)) + ending for end in PAIR)
    return left, right


def _parts(target: str | Path) -> tuple[str, str]:
    """A name without its folder, and what it ends with: a suffix, or a slash for a folder."""
    path = Path(target)
    is_folder = str(target).endswith(("/", os.sep)) or path.is_dir()
    return (path.name, "/") if is_folder else (path.stem, path.suffix)


def _linear(encoded: Tensor) -> Tensor:
    """SRGB to linear light (IEC 61966-2-1)."""
    return torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def _encoded(linear: Tensor) -> Tensor:
    """Linear light to sRGB (IEC 61966-2-1)."""
    return torch.where(
        linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp_min(1e-9) ** (1 / 2.4) - 0.055
    )
