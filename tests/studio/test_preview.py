"""The contact sheet that shows a move before it is filmed."""

from __future__ import annotations

from pathlib import Path

import torch

from kinephoto.scene.photo import read_photo, resized
from kinephoto.studio.preview import preview
from kinephoto.studio.settings import MoveSettings


def test_rests_at_both_ends_change_nothing_of_the_views(example_photo: Path) -> None:
    photo = resized(read_photo(example_photo), (64, 64))
    (still, _), (held, _) = (preview(photo, MoveSettings(hold=hold, amount="0.1")) for hold in (0.0, 0.7))
    assert torch.equal(still, held)
