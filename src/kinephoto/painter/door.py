"""The one door: every painter is asked for here by name, and painted with through ``paint_holes``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from kinephoto.errors import InputError

OnStep = Callable[[], None] | None
"""Called between a painter's steps, to tell of them or to stop it."""


class Painter(Protocol):
    """Fills the holes of one view.

    Attributes:
        name: as the door knows it, for reports.
    """

    name: str

    def paint(
        self, rgb: Tensor, known: Tensor, disparity: Tensor, *, prompt: str | None = None, seed: int = 0
    ) -> Tensor:
        """Make up what is not known.

        Args:
            rgb: [3, H, W] float in [0, 1], sRGB; 0 where not known.
            known: [H, W] bool, at least one True and one False.
            disparity: [H, W] float32 > 0, near is large, complete: the holes' own has been continued
                from the farther side.
            prompt: what the picture shows; painters that take no text leave it.
            seed: the same seed gives the same bytes.

        Returns:
            [3, H, W], finite, dtype and device of ``rgb``. What it holds at known pixels is the
            painter's own rendition of them; ``paint_holes`` puts the true ones back.
        """
        ...


@dataclass(frozen=True)
class Options:
    """What the door hands on to painters that use a network.

    Attributes:
        device: see ``get_painter``; so are the others.
        offline: never touch the network.
        steps: None is the painter's own default.
        guidance: 0 is the plain model.
    """

    device: str | None = None
    offline: bool = False
    steps: int | None = None
    guidance: float = 0.0
    on_step: OnStep = None


def _classical(variant: str, options: Options) -> Painter:
    from kinephoto.painter.classical import ClassicalPainter

    return ClassicalPainter()


def _builtin(variant: str, options: Options) -> Painter:
    from pathlib import Path

    from kinephoto.painter.builtin import BuiltinPainter

    return BuiltinPainter(
        Path(variant) if variant else None,
        device=options.device,
        steps=options.steps,
        guidance=options.guidance,
        on_step=options.on_step,
    )


def _opencv(variant: str, options: Options) -> Painter:
    from kinephoto.painter.opencv import OpenCVPainter

    return OpenCVPainter(variant)  # type: ignore[arg-type]  # the door has checked the variant


def _sd(variant: str, options: Options) -> Painter:
    from kinephoto.painter.networks import StableDiffusionPainter

    return StableDiffusionPainter(variant, **vars(options))


def _hub(variant: str, options: Options) -> Painter:
    from kinephoto.painter.networks import HubPainter

    return HubPainter(variant, **vars(options))


# A painter is asked for as FAMILY or FAMILY:VARIANT. A family names its variants; None stands for
# "none", a word in capitals for whatever the user writes there, such as a folder.
_Maker = Callable[[str, Options], Painter]
_FAMILIES: dict[str, tuple[tuple[str | None, ...], _Maker]] = {
    "auto": ((None,), _builtin),
    "builtin": ((None, "FOLDER"), _builtin),
    "classical": ((None,), _classical),
    "opencv": (("telea", "ns"), _opencv),
    "sd": (("FOLDER-OR-ID",), _sd),
    "hub": (("FOLDER-OR-ID",), _hub),
}


def painter_names() -> list[str]:
    """Everything ``get_painter`` takes, "auto" first."""
    return [
        family if variant is None else f"{family}:{variant}"
        for family, (variants, _) in _FAMILIES.items()
        for variant in variants
    ]


def get_painter(
    name: str = "auto",
    *,
    device: str | None = None,
    offline: bool = False,
    steps: int | None = None,
    guidance: float = 0.0,
    on_step: OnStep = None,
) -> Painter:
    """The painter of that name.

    Args:
        name: "auto" (the built-in one), "builtin" (the network that comes along, or
            "builtin:FOLDER" for one that ``kinephoto train painter`` made), "classical" (patches from the
            farther side, no weights), "opencv:telea" or "opencv:ns", "sd:FOLDER-OR-ID" (Stable Diffusion 1.x as an
            M-UNet) or "hub:FOLDER-OR-ID" (any inpainting pipeline that diffusers loads).
        device: where its network runs, such as "cuda"; None is the processor. Painters without a
            network run on the processor and give back tensors on the device of what they were given.
        offline: never touch the network, not even for weights that are missing.
        steps: of a diffusion network's scheduler, >= 1; None: the painter's own default.
        guidance: >= 0, how much further than the plain model a diffusion network follows the prompt.
        on_step: called between the steps of a diffusion network; what it raises stops the painting.

    Raises:
        InputError: there is no such painter, and the message lists what exists; or its weights can't be
            loaded.

    Example:
        >>> get_painter("classical").name
        'classical'
    """
    family, _, variant = name.partition(":")
    variants, make = _FAMILIES.get(family, ((), _classical))
    takes_any = any(v is not None and v.isupper() for v in variants)
    if (variant or None) not in variants and not (takes_any and variant):
        raise InputError(f"There is no painter called {name!r}; there are {', '.join(painter_names())}.")
    return make(variant, Options(device, offline, steps, guidance, on_step))
