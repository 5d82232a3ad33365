"""Objects are cut out, scenes painted around them, photos continued: the object's own pixels never change."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import kinephoto as kp
from kinephoto.errors import InputError
from kinephoto.painter import get_painter
from kinephoto.scene.photo import photo_from_array
from kinephoto.studio.animate import film
from kinephoto.studio.build import build_world
from kinephoto.studio.cutout import Cutout, as_cutout, cut_out, get_segmenter, read_cutout, read_mask
from kinephoto.studio.extension import checked_prompt, extended, margins_shown, parsed_margins
from kinephoto.studio.out_animate import candidates, out_animate, sheet
from kinephoto.studio.outpaint import outpaint, placed, seam
from kinephoto.studio.outpaint_settings import OutpaintSettings, scene_hw
from kinephoto.studio.outputs import extend_of
from kinephoto.studio.settings import AnimateSettings

HW = (120, 160)


@pytest.fixture(scope="module")
def disc() -> np.ndarray:
    """[H, W] uint8, a disc of radius 30 in the middle."""
    return cv2.circle(np.zeros(HW, np.uint8), (80, 60), 30, 255, -1)


@pytest.fixture(scope="module")
def photo(disc):
    """A red disc with texture before a blue slope."""
    rng = np.random.default_rng(0)
    red = np.array([210, 40, 30]) + rng.integers(-20, 20, (*HW, 3))
    blue = np.array([20, 60, 180]) + np.linspace(-20, 60, HW[1])[None, :, None]
    rgb = np.where(disc[..., None] > 0, red, blue).clip(0, 255).astype(np.uint8)
    return photo_from_array(rgb)


@pytest.fixture(scope="module")
def cutout(photo, disc) -> Cutout:
    return cut_out(photo, mask=torch.from_numpy(disc > 0))


@pytest.fixture
def rgba(photo, disc, tmp_path):
    """The disc as a PNG with soft alpha at its border."""
    alpha = cv2.GaussianBlur(disc, (5, 5), 0)
    rgb = (photo.rgb.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    path = tmp_path / "disc.png"
    Image.fromarray(np.dstack([rgb, alpha])).save(path)
    return path


@pytest.mark.parametrize("painter", ["classical", "builtin", "opencv:telea"])
def test_the_objects_own_pixels_stay_bit_for_bit(cutout, painter):
    made = outpaint(cutout, hw=(88, 120), scale=1.0, painter=painter, steps=2)
    rgb, alpha = placed(cutout, (88, 120), "centre", 1.0)
    assert torch.equal(made.object_mask, alpha >= 1)
    assert int(made.object_mask.sum()) == int(cutout.opaque.sum())
    assert torch.equal(made.photo.rgb[:, made.object_mask], rgb[:, made.object_mask])
    assert torch.equal(
        made.photo.rgb[:, made.object_mask].sort(1).values, cutout.rgb[:, cutout.opaque].sort(1).values
    )
    assert torch.isfinite(made.photo.rgb).all() and float(made.photo.rgb.min()) >= 0


def test_the_same_seed_is_the_same_scene_and_another_is_another(cutout):
    first, again, other = (outpaint(cutout, hw=(64, 64), seed=seed, steps=2) for seed in (1, 1, 2))
    assert torch.equal(first.photo.rgb, again.photo.rgb)
    assert not torch.equal(first.photo.rgb, other.photo.rgb)


@pytest.mark.parametrize(("place", "x"), [("left", 0.28), ("centre", 0.5), ("right", 0.72), ("0.4,0.5", 0.4)])
def test_the_objects_middle_comes_where_it_was_asked_for(cutout, place, x):
    _, alpha = placed(cutout, (200, 400), place, None)
    columns = torch.nonzero(alpha.any(0))[:, 0].float()
    assert float(columns.mean() + 0.5) / 400 == pytest.approx(x, abs=0.01)


def test_scale_is_the_objects_own(cutout):
    _, whole = placed(cutout, (300, 300), "centre", 1.0)
    _, half = placed(cutout, (300, 300), "centre", 0.5)
    assert float(half.sum()) == pytest.approx(float(whole.sum()) / 4, rel=0.05)
    # What doesn't fit is made smaller by itself.
    _, small = placed(cutout, (64, 64), "centre", None)
    assert int(small.any(0).sum()) <= 52 and int(small.any(0).sum()) > 40


def test_soft_edges_keep_their_own_colour(rgba):
    cutout = read_cutout(rgba)
    soft = (cutout.alpha > 0.3) & (cutout.alpha < 1)
    assert bool(soft.any())
    # Red without the white that transparent photos are laid on.
    assert float(cutout.rgb[0, soft].mean()) > 0.6 > 0.4 > float(cutout.rgb[1, soft].mean())
    made = outpaint(cutout, hw=(128, 128), painter="classical")
    assert int(made.object_mask.sum()) == int(cutout.opaque.sum())


@pytest.mark.parametrize("hint", [{"points": [(80.0, 60.0)]}, {"box": (40.0, 20.0, 120.0, 100.0)}])
def test_grabcut_finds_what_is_pointed_at(photo, disc, hint):
    found = cut_out(photo, **hint).opaque.numpy()
    both, either = (found & (disc > 0)).sum(), (found | (disc > 0)).sum()
    assert both / either > 0.95


def test_a_sam_from_a_folder_answers_with_a_mask_of_the_photos_size(photo, tmp_path):
    from transformers import (
        SamConfig,
        SamMaskDecoderConfig,
        SamModel,
        SamPromptEncoderConfig,
        SamVisionConfig,
    )

    torch.manual_seed(0)
    config = SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=16,
            output_channels=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=64,
            patch_size=16,
            window_size=2,
            global_attn_indexes=[0],
            mlp_dim=16,
            num_pos_feats=8,
        ),
        prompt_encoder_config=SamPromptEncoderConfig(
            hidden_size=16, image_size=64, patch_size=16, mask_input_channels=4
        ),
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=16, mlp_dim=16, num_hidden_layers=1, num_attention_heads=2, iou_head_hidden_dim=16
        ),
    )
    SamModel(config).save_pretrained(tmp_path / "sam")
    segmenter = get_segmenter(str(tmp_path / "sam"))
    for points, box in (([(80.0, 60.0)], None), ([], (40.0, 20.0, 120.0, 100.0))):
        found = segmenter.segment(photo.rgb, points, box)
        assert found.shape == HW and found.dtype == torch.bool
    with pytest.raises(InputError, match="can't be loaded as a SAM"):
        get_segmenter(f"hub:{tmp_path / 'none'}", offline=True)


def test_an_extended_photo_holds_the_photo_and_its_camera(photo):
    made = extended(photo, {"left": 20, "bottom": 12}, painter="classical")
    assert made.photo.camera.hw == (132, 180)
    assert torch.equal(made.photo.rgb[:, :120, 20:], photo.rgb)
    assert torch.equal(made.photo.invented, ~made.object_mask)
    assert made.photo.camera.focal_px == photo.camera.focal_px
    assert made.photo.camera.centre_px == (photo.camera.centre_px[0] + 20, photo.camera.centre_px[1])


def test_a_film_of_a_scene_says_that_all_but_the_object_is_invented(cutout):
    made = outpaint(cutout, hw=(96, 128), painter="classical")
    depth = torch.where(made.object_mask, 1.0, 0.3)
    world = build_world(made.photo, kp.path("still"), depth=kp_disparity(depth), painter="classical")
    (frame,) = film(world, seconds=0.04, fps=25)
    assert float(frame.invented[~made.object_mask].min()) > 0.99
    inside = torch.from_numpy(cv2.erode(made.object_mask.byte().numpy(), np.ones((3, 3), np.uint8)) > 0)
    assert float(frame.invented[inside].max()) < 0.01


def test_a_move_shows_what_lies_beyond_the_border_it_uncovers(photo):
    depth = kp_disparity(torch.linspace(0.1, 1, HW[0])[:, None].expand(HW).contiguous())
    move = kp.path("slide-right", amount=0.1, focus="far")
    plain = build_world(photo, move, depth=depth, painter="classical")
    shown = margins_shown(plain.layers[0], plain.trajectory)
    assert shown["right"] == shown["left"] > 2 and shown["top"] == shown["bottom"] == 0
    wide = build_world(photo, move, depth=depth, painter="classical", extend="auto")
    assert wide.layers[0].camera.hw == (HW[0], HW[1] + 2 * shown["right"])
    assert wide.camera == plain.camera
    # All that comes into view is there already; nothing is left to paint.
    assert len(wide.layers) == 1 < len(plain.layers)
    frames = [list(film(world, seconds=0.2, fps=10)) for world in (plain, wide)]
    own = cv2.erode((frames[0][0].invented == 0).byte().numpy(), np.ones((5, 5), np.uint8)) > 0
    assert own.mean() > 0.5
    # Where the photo itself is seen, nothing changes but how its last column is continued.
    assert torch.equal(frames[0][0].rgb[:, own], frames[1][0].rgb[:, own])
    # What was added counts as invented.
    assert float(frames[1][-1].invented.mean()) == pytest.approx(
        float(frames[0][-1].invented.mean()), abs=0.01
    )


def kp_disparity(values: torch.Tensor):
    from kinephoto.scene.values import Disparity

    return Disparity(values, metric=True)


def test_out_animate_is_both_stages(cutout, rgba):
    frames = out_animate(cutout, kp.path("swing"), hw=(64, 96), seconds=0.2, fps=10, painter="classical")
    assert len(frames) == 2 and frames.hw == (64, 96)
    shown = list(frames)
    assert 0.5 < float(shown[0].invented.mean()) < 1
    assert out_animate(rgba, hw=(64, 64), seconds=0.2, painter="classical").hw == (64, 64)


def test_a_seam_is_seen_and_none_is_not():
    rng = torch.Generator().manual_seed(0)
    rgb = torch.rand(3, 64, 64, generator=rng)
    known = torch.zeros(64, 64, dtype=torch.bool)
    known[16:48, 16:48] = True
    assert seam(rgb, known) == pytest.approx(1, abs=0.1)
    assert seam(rgb + known, known) > 2


def test_candidates_are_successive_seeds_on_one_sheet(rgba):
    made = list(candidates(rgba, OutpaintSettings(candidates=3, seed=5, size="64", painter="classical")))
    assert [scene.seed for scene in made] == [5, 6, 7]
    assert sheet(made).shape[2] > 2 * 480


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("left=20", {"left": 20}),
        ("right=25%, top=50%", {"right": 40, "top": 60}),
        ("bottom=1", {"bottom": 1}),
    ],
)
def test_margins_are_px_or_shares(text, found):
    assert parsed_margins(text, HW) == found


@pytest.mark.parametrize("text", ["", "left", "left=x", "up=3", "left=-3", "left=0", "left=900%", "left=nan"])
def test_other_margins_are_refused(text):
    with pytest.raises(InputError, match="--extend"):
        parsed_margins(text, HW)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mask": torch.zeros(HW)}, "0 opaque pixels"),
        ({"mask": torch.ones(HW)}, "fills its whole picture"),
        ({"mask": torch.ones(3, 3)}, "they must agree"),
        ({"points": [(500.0, 2.0)]}, "lies outside the picture"),
        ({"points": [(float("nan"), 2.0)]}, "lies outside the picture"),
        ({"box": (5.0, 5.0, 5.0, 9.0)}, "x0 < x1"),
        ({"box": (0.0, 0.0, 160.0, 120.0)}, "draw it closer"),
        ({"box": (0.0, 0.0, 160.0, 120.0), "points": [(80.0, 60.0)]}, "draw it closer"),
        ({"box": (10.0, 10.0, 10.4, 10.4)}, "holds not one whole pixel"),
        ({}, "Where is the object"),
    ],
)
def test_a_wrong_selection_is_one_sentence(photo, change, says):
    with pytest.raises(InputError, match=says):
        cut_out(photo, **change)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hw": (10, 10)}, "sides go from"),
        ({"place": "nowhere"}, "must be left, centre, right"),
        ({"place": (1.0, 2.0)}, "must be left, centre, right"),
        ({"scale": 1000.0}, "from 0.01 to 100"),
        ({"scale": 40.0}, "covers the whole scene"),
        ({"prompt": "x" * 10_000}, "10000 characters"),
        ({"painter": "nobody"}, "no painter called"),
    ],
)
def test_a_wrong_scene_is_one_sentence(cutout, change, says):
    with pytest.raises(InputError, match=says):
        outpaint(cutout, **({"hw": (64, 64), "painter": "classical"} | change))


def test_prompts_lose_control_characters_and_keep_the_rest():
    assert checked_prompt("a\x00 cat\n\u2028on  a 🏖️ beach ") == "a cat on a 🏖️ beach"
    assert checked_prompt(" \n ") is None


def test_files_that_hold_no_object_are_refused(photo, tmp_path):
    plain = tmp_path / "plain.png"
    Image.fromarray((photo.rgb.permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(plain)
    with pytest.raises(InputError, match="no transparent parts"):
        as_cutout(plain)
    small = tmp_path / "mask.png"
    Image.new("L", (20, 20)).save(small)
    with pytest.raises(InputError, match="a mask is as large as its photo"):
        read_mask(small, HW)
    with pytest.raises(InputError, match="goes with no --mask"):
        list(candidates(plain, OutpaintSettings(extend="left=3", mask=small)))
    with pytest.raises(InputError, match="it goes with no --place and no --scale and no --size"):
        list(candidates(plain, OutpaintSettings(extend="left=3", size="64", scale=2, place="left")))
    with pytest.raises(InputError, match="The seed is 4294967296"):
        list(candidates(plain, OutpaintSettings(seed=2**32 - 2, candidates=3)))
    with pytest.raises(InputError, match="WIDTHxHEIGHT"):
        scene_hw("12xx3")


class Stopped(Exception):
    """What somebody raises who wants no more of it."""


def test_painting_can_be_stopped_between_any_two_steps(cutout):
    asked = []
    painter = get_painter("builtin", on_step=lambda: asked.append(len(asked)))
    whole = outpaint(cutout, hw=(64, 64), painter=painter)
    count = len(asked)
    assert count > 8 and asked == list(range(count))

    def stop() -> None:
        asked.append(0)
        if len(asked) == 3:
            raise Stopped

    asked.clear()
    stopping = get_painter("builtin", on_step=stop)
    with pytest.raises(Stopped):
        outpaint(cutout, hw=(64, 64), painter=stopping)
    assert len(asked) == 3
    # A painter that was stopped paints the next scene as any other does.
    assert torch.equal(outpaint(cutout, hw=(64, 64), painter=stopping).photo.rgb, whole.photo.rgb)


def test_a_classical_painter_paints_a_scene_through_the_same_door(cutout):
    assert not hasattr(get_painter("classical"), "paint_scene")
    made = outpaint(cutout, hw=(64, 64), painter=get_painter("classical"))
    assert made.painter == "classical" and float(made.photo.rgb[:, ~made.object_mask].std()) > 0


def test_px_beyond_the_border_are_the_photos_whatever_the_films_size() -> None:
    photo_hw = (400, 600)
    for size, left in ((200, 100), (400, 200), (800, 400)):
        settings = AnimateSettings(extend="left=200,top=50%", size=size)
        assert extend_of(settings, photo_hw) == {"left": left, "top": size // 2}
    # As many px as outpaint takes are taken at any size.
    assert extend_of(AnimateSettings(extend="left=1100", size=100), photo_hw) == {"left": 275}
