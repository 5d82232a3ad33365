"""A pair of views as every method gets it: one photo, its depth, two cameras, and what W sees of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from kinephoto.measure.scenes import PosedCamera, Scene
from kinephoto.scene.values import View


@dataclass(frozen=True)
class ViewPair:
    """Source and target picture of a scene, by their places in it; ``name`` is the target's in the tables."""

    scene: str
    source: int
    target: int
    name: str


@dataclass(frozen=True, eq=False)
class ViewCase:
    """What a method may know of a pair; the target picture is not in it.

    Attributes:
        pair: which one.
        scene: it belongs to.
        source: [3, H, W] in [0, 1], at the size that is measured.
        disparity: [H, W] float32 > 0, of the source, in inverse units of the scene.
        source_camera, target_camera: in the scene's world.
        view: what W sees of the source from the target's camera.
        seed: of methods that draw something.
        measured: the disparity's small steps can be believed, see ``scene.values.Disparity``.
    """

    pair: ViewPair
    scene: Scene
    source: Tensor
    disparity: Tensor
    source_camera: PosedCamera
    target_camera: PosedCamera
    view: View
    seed: int = 0
    measured: bool = False

    def with_seed(self, seed: int) -> ViewCase:
        """The same with another seed."""
        return replace(self, seed=seed)


ViewMethod = Callable[[ViewCase], Tensor]
"""A way to a new view: a case to its target's picture, [3, H, W] in [0, 1]; InputError where it has none."""
