"""What a world's views are painted from."""

from __future__ import annotations

import torch

from kinephoto.painter import get_painter
from kinephoto.scene.camera import Camera, Pose
from kinephoto.scene.render import Renderer
from kinephoto.scene.world import photo_layer
from kinephoto.studio.build import paint_view

NEAR, FAR = 1.0, 0.3


def test_a_silhouette_that_depth_missed_is_not_smeared_across_the_hole() -> None:
    """A red thing before a blue wall, whose outermost column depth takes for the wall."""
    hw = (64, 96)
    disparity = torch.full(hw, FAR)
    disparity[:, 40:] = NEAR
    rgb = torch.zeros(3, *hw)
    rgb[2] = 1
    rgb[:, :, 39:] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    camera = Camera.from_field_of_view(hw)
    view = Renderer([photo_layer(rgb, disparity, camera)]).render(
        camera, Pose(torch.eye(3), torch.tensor([0.15, 0.0, 0.0]))
    )
    assert int((~view.known[:, 20:76]).sum()) > 300
    painting, _, wanted = paint_view(view, get_painter("classical"))
    made_up = painting[:, :, 20:76][:, wanted[:, 20:76]]
    # Red could only come from the one column that stayed behind; what is painted is the wall.
    assert float((made_up[0] > made_up[2]).float().mean()) < 0.02
    assert torch.equal(painting[:, ~wanted], view.rgb[:, ~wanted])
