"""Out-animation's work: from what was drawn on a photo to scenes around the object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinephoto.app.web.jobs import Tell
from kinephoto.app.web.limits import check_prompt
from kinephoto.app.web.work import Painted, Studio
from kinephoto.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from kinephoto.scene.values import Photo
    from kinephoto.studio.cutout import Box, Cutout, Point

HOW = ("Brush", "Click", "Box")
MOST_SCENES = 6


@dataclass(frozen=True, eq=False)
class Marks:
    """Where a visitor says that the object is, on the photo as `Studio.look` gives it.

    Attributes:
        strokes: [h, w] bool of any size, what was drawn; or None.
        how: one of ``HOW``, what the strokes mean.
        points: px, on the object.
        box: px, around it; or None.
    """

    strokes: np.ndarray | None = None
    how: str = HOW[0]
    points: tuple[Point, ...] = ()
    box: Box | None = None

    def cut_out(self, photo: Photo) -> Cutout:
        """The object.

        Raises:
            InputError: nothing is marked, or not on the photo.
        """
        from kinephoto.studio.cutout import cut_out
        from kinephoto.studio.strokes import box_of, mask_of, points_of

        hw = photo.camera.hw
        if self.strokes is None:
            return cut_out(photo, points=self.points, box=self.box)
        if self.how == "Click":
            return cut_out(photo, points=points_of(self.strokes, hw))
        if self.how == "Box":
            return cut_out(photo, box=box_of(self.strokes, hw))
        return cut_out(photo, mask=mask_of(self.strokes, hw))


def drawn_marks(how: str, drawing: Mapping[str, Any] | None) -> Marks:
    """The marks that a drawing in the page's editor stands for.

    Raises:
        InputError: nothing is drawn.
    """
    from kinephoto.studio.strokes import drawn

    return Marks(drawn(drawing["layers"] if drawing else []), how)


def scene_photo(studio: Studio, path: str) -> Path | None:
    """The photo as `Studio.look` gives it, as a picture to draw on; None before it has been looked at."""
    from kinephoto.studio.pictures import write_picture

    look = studio.seen(path)
    return write_picture(look.photo.rgb, studio.results.new() / "draw_on.jpg") if look else None


def candidates(
    studio: Studio, path: str, marks: Marks, prompt: str, count: int, place: str, seed: int, tell: Tell
) -> list[Painted]:
    """Scenes around the object, each with its own seed.

    They are painted around the object's picture as it is written, so that others can paint the same of it.

    Raises:
        InputError: what cannot be used.
    """
    from kinephoto.painter import get_painter
    from kinephoto.studio.cutout import read_cutout
    from kinephoto.studio.out_animate import origin_of
    from kinephoto.studio.outpaint import outpaint
    from kinephoto.studio.pictures import write_picture

    check_prompt(prompt)
    if not 1 <= count <= MOST_SCENES:
        raise InputError(f"The number of candidates is {count}; it must be from 1 to {MOST_SCENES}.")
    tell("cutting", 0.0)
    look = studio.look(path)
    folder, scenes, share, said = studio.results.new(), [], 0.0, prompt.strip() or None
    cutout_file = _write_cutout(marks.cut_out(look.photo), folder / f"{look.name}_object.png")
    cutout = read_cutout(cutout_file)
    painter = get_painter(
        device=studio.limits.device,
        offline=studio.limits.offline,
        on_step=lambda: tell("scenes", share),
    )
    for index in range(count):
        share = index / count
        tell("scenes", share)
        made = outpaint(
            cutout,
            prompt=said,
            place=place,
            seed=seed + index,
            painter=painter,
        )
        target = folder / f"{look.name}_scene_{seed + index}.png"
        write_picture(made.photo.rgb, target, provenance=origin_of(made))
        painting = {"prompt": said, "place": place, "seed": seed + index}
        scenes.append(Painted(target, made.photo, cutout_file, painting))
        studio.remember(scenes[-1])
    return scenes


def _write_cutout(cutout: Cutout, target: Path) -> Path:
    """The object as a picture that is transparent elsewhere."""
    import numpy as np
    from PIL import Image

    from kinephoto.studio.files import whole
    from kinephoto.studio.pictures import save_png, to_uint8

    layers = to_uint8(cutout.rgb), to_uint8(cutout.alpha)
    with whole(target) as part:
        save_png(Image.fromarray(np.dstack(layers)), part)
    return target
