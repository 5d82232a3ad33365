from __future__ import annotations

import pytest
import torch

from kinephoto.errors import InputError
from kinephoto.painter import builtin, get_painter, paint_holes
from kinephoto.painter.builtin import BuiltinPainter, builtin_folder, calm_parts, loaded


@pytest.fixture(scope="module")
def painter() -> BuiltinPainter:
    return BuiltinPainter()


@pytest.fixture
def view(example_photo):
    """A photo of 192×192 px with a hole 14 px wide, its near side left of it."""
    import kinephoto as kp

    rgb = torch.nn.functional.interpolate(kp.read_photo(example_photo).rgb[None], (192, 192), mode="area")[0]
    known = torch.ones(192, 192, dtype=torch.bool)
    known[40:150, 90:104] = False
    disparity = torch.full((192, 192), 0.3)
    disparity[:, :90] = 0.9
    return rgb, known, disparity


def test_known_pixels_come_back_bit_for_bit_and_the_hole_is_painted(painter, view):
    rgb, known, disparity = view
    painted = paint_holes(painter, rgb * known, known, disparity)
    assert torch.equal(painted[:, known], rgb[:, known])
    hole = painted[:, ~known]
    assert 0 <= float(hole.min()) <= float(hole.max()) <= 1
    # Not the truth, but far from it would be far from everything beside the hole as well.
    assert float((hole - rgb[:, ~known]).abs().mean()) < 0.25


def test_the_same_seed_paints_the_same_and_another_another(painter, view):
    rgb, known, disparity = view
    one, again, other = (painter.paint(rgb * known, known, disparity, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one[:, ~known], other[:, ~known])


def test_what_lies_under_a_hole_is_never_seen(painter, view):
    rgb, known, disparity = view
    black = paint_holes(painter, rgb * known, known, disparity)
    assert torch.equal(paint_holes(painter, torch.where(known, rgb, 0.9), known, disparity), black)


def test_the_prompt_reaches_the_network(view):
    rgb, known, disparity = view
    guided = BuiltinPainter(guidance=3.0)
    one, other = (guided.paint(rgb * known, known, disparity, prompt=said) for said in ("a red bus", "a dog"))
    assert not torch.equal(one, other)


def test_more_steps_change_the_picture_little(view):
    rgb, known, disparity = view
    few, many = (BuiltinPainter(steps=steps).paint(rgb * known, known, disparity) for steps in (4, 8))
    change = float((few - many)[:, ~known].abs().mean())
    assert 0 < change < 0.1


def test_wide_holes_are_painted_in_a_smaller_picture_first(painter):
    rows = torch.linspace(0, 1, 300).view(1, 300, 1).expand(3, 300, 300).clone()
    known = torch.ones(300, 300, dtype=torch.bool)
    known[60:240, 60:240] = False
    painted = paint_holes(painter, rows * known, known, torch.full((300, 300), 0.3))
    # A slope continues across; a grey or black middle would miss it.
    assert float((painted - rows)[:, 60:240, 60:240].abs().mean()) < 0.2


def test_the_door_opens_it_and_folders_like_it(tmp_path):
    assert get_painter("auto").name == get_painter("builtin").name == "builtin"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model_index.json").write_text("{}")
    # Neither the name of the weights that ship, nor where the folder is.
    assert get_painter(f"builtin:{tmp_path / 'mine'}").name == "builtin:mine"
    with pytest.raises(InputError, match="no painter in"):
        get_painter(f"builtin:{tmp_path}")
    with pytest.raises(InputError, match="0 steps"):
        get_painter("builtin", steps=0)


def test_all_built_in_weights_fit_into_forty_megabytes():
    stored = sum(path.stat().st_size for path in builtin_folder().parent.rglob("*.safetensors"))
    assert stored <= 40e6


def test_the_weights_are_whole_and_finite():
    pipeline = loaded(builtin_folder())
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        assert all(bool(torch.isfinite(value).all()) for value in part.state_dict().values())


def test_where_the_background_is_calm_the_fill_stays_and_where_it_is_not_the_network_paints():
    known = torch.ones(40, 80, dtype=torch.bool)
    known[10:30] = False
    fill = torch.full((3, 40, 80), 0.6)
    fill[:, :, 40:] += 0.2 * torch.rand(40, 40, generator=torch.Generator().manual_seed(0))
    smoothed, share = calm_parts(fill, known)
    assert torch.allclose(smoothed[:, 15:25, 5:30], torch.tensor(0.6), atol=1e-3)
    assert float(share[0, 15:25, 5:30].min()) == 1
    assert float(share[0, 15:25, 50:75].max()) == 0
    assert float(share[0, known].max()) == 0


@pytest.mark.parametrize("share", [0.9999, 0.97, 0.5])
def test_a_hole_hardly_too_wide_is_painted_at_once(monkeypatch, share):
    known = torch.ones(200, 260, dtype=torch.bool)
    known[:, :60] = False
    painter = BuiltinPainter()
    monkeypatch.setattr(builtin, "WIDEST_HOLE_PX", 1.0)
    monkeypatch.setattr(builtin, "SMALLEST_SIDE_PX", 1)
    monkeypatch.setattr(builtin, "WIDEST_HOLE_PX", share * _width(painter, known))
    scale = painter._scale(known)
    assert scale == (1 if share > 0.95 else pytest.approx(share))


def _width(painter: BuiltinPainter, known: torch.Tensor) -> float:
    """The width that the painter sees: its scale goes down to a quarter."""
    for widest in range(20, 200):
        builtin.WIDEST_HOLE_PX = widest
        scale = painter._scale(known)
        if 0.3 < scale < 0.9:
            return widest / scale
    raise AssertionError("no width found")
