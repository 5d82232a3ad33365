"""A camera move is a function of time, the same for every photo and size."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from kinephoto.errors import InputError
from kinephoto.scene.camera import Camera, projection
from kinephoto.scene.path import AMOUNTS, PRESETS, Rig, path, rig_for

CAMERA = Camera.from_field_of_view((300, 400))
FOCUS_DISPARITY = 0.5


def rig(amount: float = 0.05, focus_px: tuple[float, float] = (200.0, 150.0)) -> Rig:
    return Rig(CAMERA, amount, focus_px, FOCUS_DISPARITY)


def landing(name: str, time: float, px: tuple[float, float], disparity: float, chosen: Rig) -> np.ndarray:
    """Where a point of the photo lands in the view at that time, px."""
    camera, pose = PRESETS[name].move(time, chosen)
    x, y, w = projection(camera, pose, CAMERA) @ np.array([*px, 1.0, disparity])
    return np.array([x / w, y / w])


def is_identity(name: str, time: float) -> bool:
    camera, pose = PRESETS[name].move(time, rig())
    same_camera = np.allclose(camera.matrix, CAMERA.matrix, atol=1e-9)
    return same_camera and torch.allclose(pose.R, torch.eye(3).double()) and bool(pose.t.abs().max() < 1e-12)


def test_convention_time_runs_from_0_to_1() -> None:
    assert all(is_identity("still", time) for time in (0.0, 0.3, 1.0))
    assert is_identity("swing", 0.0) and is_identity("swing", 1.0) and not is_identity("swing", 0.25)
    assert is_identity("zoom-in", 0.0) and not is_identity("zoom-in", 1.0)
    assert is_identity("zoom-out", 1.0) and is_identity("dolly-zoom-in", 1.0)
    assert (
        is_identity("dolly-zoom-out", 0.0) and is_identity("spiral", 0.0) and is_identity("lemniscate", 0.5)
    )
    times = path("slide-left", ease="linear").frame_times(1, 5)
    assert times[0] == 0 and times[-1] == 1 and times == sorted(times)


def test_convention_a_loop_does_not_show_its_start_twice() -> None:
    once, looped = path("circle"), path("circle", loop=True)
    assert once.frame_times(1, 4) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert looped.frame_times(1, 4) == pytest.approx([0, 1 / 4, 2 / 4, 3 / 4])


def test_an_open_path_loops_there_and_back() -> None:
    times = path("zoom-in", loop=True, ease="linear").frame_times(1, 8)
    assert times == pytest.approx([0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25])


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.closed])
def test_a_closed_path_ends_where_it_begins(name: str) -> None:
    first, last = (landing(name, time, (50, 60), 0.9, rig()) for time in (0.0, 1.0))
    assert first == pytest.approx(last, abs=1e-9)


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_at_the_focus_stays_put(name: str) -> None:
    """Its place for moves to the side, its size for a dolly zoom; it is in the middle, so both hold."""
    for time in np.linspace(0, 1, 9):
        assert landing(name, time, (200, 150), FOCUS_DISPARITY, rig()) == pytest.approx([200, 150], abs=1e-6)


@pytest.mark.parametrize(
    "name", ["swing", "circle", "zoom-in", "zoom-out", "spiral", "slide-up", "orbit", "rise"]
)
def test_a_focus_off_the_middle_stays_put_too(name: str) -> None:
    chosen = rig(focus_px=(80.0, 220.0))
    for time in np.linspace(0, 1, 9):
        assert landing(name, time, (80, 220), FOCUS_DISPARITY, chosen) == pytest.approx([80, 220], abs=1e-6)


def test_a_dolly_zoom_keeps_the_size_of_what_is_at_the_focus() -> None:
    for time in np.linspace(0, 1, 5):
        left, right = (landing("dolly-zoom-in", time, (u, 150), FOCUS_DISPARITY, rig()) for u in (150, 250))
        assert right[0] - left[0] == pytest.approx(100, abs=1e-6)
    near, far = (
        np.ptp([landing("dolly-zoom-in", 0.0, (u, 150), d, rig())[0] for u in (150, 250)])
        for d in (1.0, 0.06)
    )
    assert near < 100 < far  # far away and with a long lens the background is large


def test_the_amount_is_how_far_near_moves_against_infinity() -> None:
    for hw in ((300, 400), (900, 600)):
        camera = Camera.from_field_of_view(hw, 70)
        chosen = Rig(camera, 0.05, camera.centre_px, FOCUS_DISPARITY)
        moved = []
        for disparity in (1.0, 1e-9):
            view, pose = PRESETS["swing"].move(0.25, chosen)
            x, _, w = projection(view, pose, camera) @ np.array([*camera.centre_px, 1.0, disparity])
            moved.append(x / w - camera.centre_px[0])
        assert abs(moved[0] - moved[1]) == pytest.approx(0.05 * max(hw), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "axis", "sign"),
    [("slide-left", 0, 1), ("slide-right", 0, -1), ("slide-up", 1, 1), ("slide-down", 1, -1), ("rise", 1, 1)],
)
def test_slides_go_where_they_say(name: str, axis: int, sign: int) -> None:
    """The camera goes left, so what is near goes right against what is at the focus."""
    first, last = (landing(name, time, (200, 150), 1.0, rig())[axis] for time in (0.0, 1.0))
    assert sign * (last - first) > 5


@pytest.mark.parametrize("name", PRESETS)
def test_paths_move_smoothly_and_stay_rotations(name: str) -> None:
    places = [landing(name, time, (40, 30), 1.0, rig()) for time in np.linspace(0, 1, 241)]
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    assert steps.max() < 3  # px per 1/240 of the move
    for time in (0.1, 0.7):
        _, pose = PRESETS[name].move(time, rig())
        assert torch.allclose(pose.R @ pose.R.T, torch.eye(3).double(), atol=1e-12)


def test_smooth_starts_and_stops_gently_and_linear_does_not() -> None:
    smooth, linear = (path("slide-left", ease=ease).frame_times(4, 24) for ease in ("smooth", "linear"))
    assert np.diff(smooth)[0] < 0.1 * np.diff(smooth).max()
    assert np.ptp(np.diff(linear)) < 1e-9


def test_holding_rests_at_both_ends() -> None:
    times = path("zoom-in", hold=1).frame_times(4, 10)
    assert times[:10] == [0.0] * 10 and times[-10:] == [1.0] * 10 and 0 < times[20] < 1


def test_the_focus_words_are_percentiles_of_the_disparity() -> None:
    disparity = np.linspace(0.06, 1, 101)[None].repeat(3, 0)
    near, middle, far = (
        rig_for(CAMERA, disparity, word, 0.05).focus_disparity for word in ("near", "middle", "far")
    )
    assert (far, near) == pytest.approx(np.percentile(disparity, [10, 90])) and middle == pytest.approx(
        (near + far) / 2
    )
    point = rig_for(CAMERA, disparity, (0.25, 0.5), 0.05)
    assert point.focus_px == (100.0, 150.0) and point.focus_disparity == pytest.approx(disparity[0, 25])


def test_words_for_amounts_rise() -> None:
    values = [path("swing", amount=word).amount for word in ("small", "medium", "large")]
    assert values == sorted(values) and values == list(AMOUNTS.values())
    assert path("swing").amount is None and path("swing", amount="0.1").amount == 0.1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "wobble"}, "There is no path 'wobble'; there are swing, circle"),
        ({"name": "nowhere.json"}, "There is no path file nowhere.json"),
        ({"amount": "huge"}, "There is no amount 'huge'; there are auto, small"),
        ({"amount": 0.9}, "The amount is 0.9; it must be from 0 to 0.5"),
        ({"amount": math.nan}, "The amount is nan"),
        ({"ease": "bouncy"}, "There is no ease 'bouncy'"),
        ({"hold": -1}, "Holding takes -1 s"),
        ({"focus": "left"}, "There is no focus 'left'"),
        ({"focus": "0.5,1.2"}, "lies outside the picture"),
        ({"max_hole": 0}, "The largest hole is 0"),
        ({"name": None}, "The path is None; it must be one of swing, circle"),
        ({"name": 3}, "The path is 3; it must be one of swing, circle"),
        ({"amount": None}, "There is no amount None; there are auto, small"),
        ({"amount": [0.1]}, r"There is no amount \[0.1\]; there are auto, small"),
        ({"hold": "x"}, "Holding takes 'x' s; it must be a number, 0 or more"),
        ({"focus": None}, "There is no focus None; there are near, middle"),
        ({"focus": 0.5}, "There is no focus 0.5; there are near, middle"),
        ({"max_hole": "0.1"}, "The largest hole is '0.1'; it must be a number between 0 and 1"),
    ],
)
def test_what_cannot_be_a_path_is_said_in_one_sentence(arguments: dict, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        path(**arguments)
    assert str(caught.value).count("\n") == 0


def test_a_film_needs_frames_and_more_than_its_rests() -> None:
    with pytest.raises(InputError, match="has no frames"):
        path().frame_times(0.01, 24)
    with pytest.raises(InputError, match="leaves nothing of a film"):
        path(hold=2).frame_times(4, 24)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_even_the_largest_amount_stays_before_what_is_in_focus(name):
    widest = Rig(CAMERA, 0.5, (200.0, 150.0), 1.0)
    move = path(name).move
    for time in np.linspace(0, 1, 41):
        camera, pose = move(float(time), widest)
        focus = pose.R.numpy() @ widest.ray + pose.t.numpy()
        assert focus[2] > 0.1 and 0 < camera.focal_px < math.inf
