from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from kinephoto.errors import InputError
from kinephoto.measure.methods import depthflow as depthflow_method
from kinephoto.measure.methods import film_modes
from kinephoto.measure.methods.depthflow import HEIGHT, VARIABLE, DepthFlow, sideways_shift
from kinephoto.measure.methods.painter_names import painter_named, parted
from kinephoto.measure.methods.predictions import Predictions, prediction_file
from kinephoto.measure.methods.view_methods import (
    DEFAULT,
    PLAIN,
    SIDEWAYS,
    default_names,
    view_methods_named,
)
from kinephoto.measure.metrics import psnr
from kinephoto.measure.scenes import PosedCamera, Scene
from kinephoto.measure.view_case import ViewCase, ViewPair
from kinephoto.measure.view_warp import StretchedPose, default_warp, warped
from kinephoto.painter import get_painter
from kinephoto.scene.values import Frame

HW = (40, 56)
FOCAL_PX = 50.0
FAR, NEAR = 10.0, 4.0


def camera(
    t: tuple[float, float, float], yaw: float = 0.0, roll: float = 0.0, squash: float = 1.0
) -> PosedCamera:
    """A camera with its principal point in the middle; ``squash``: how much narrower the picture was made."""
    turns = ((yaw, "y"), (roll, "z"))
    R = np.linalg.multi_dot([Rotation.from_euler(axis, angle).as_matrix() for angle, axis in turns])
    focal = (squash * FOCAL_PX / HW[1], FOCAL_PX / HW[0])
    return PosedCamera(0, focal, (0.5, 0.5), R, np.array(t))


def wave(x: np.ndarray, y: np.ndarray, tone: float) -> np.ndarray:
    return tone + 0.2 * np.stack([np.sin(2 * x), np.sin(2 * y + 1), np.sin(1.5 * (x + y))])


def two_planes(seen_by: PosedCamera) -> tuple[torch.Tensor, torch.Tensor]:
    """rgb and disparity of a dark near square before a bright far wall, exact at every pixel's centre."""
    rows, columns = np.mgrid[: HW[0], : HW[1]] + 0.5
    rays = np.stack([columns, rows, np.ones(HW)], axis=-1) @ np.linalg.inv(seen_by.matrix(HW)).T
    origin, rays = -seen_by.R.T @ seen_by.t, rays @ seen_by.R
    rgb, disparity = np.zeros((3, *HW)), np.zeros(HW)
    for plane, tone in ((FAR, 0.7), (NEAR, 0.25)):
        reach = (plane - origin[2]) / rays[..., 2]
        x, y = (origin[axis] + reach * rays[..., axis] for axis in (0, 1))
        here = (np.abs(x) < 0.7) & (np.abs(y) < 0.7) if plane == NEAR else np.ones(HW, bool)
        rgb = np.where(here, wave(x, y, tone), rgb)
        disparity = np.where(here, 1 / reach, disparity)
    return torch.from_numpy(rgb).float().clamp(0, 1), torch.from_numpy(disparity).float()


def case_of(
    target: PosedCamera, source: PosedCamera | None = None, frames: tuple[int, ...] = (0, 1)
) -> ViewCase:
    source = source or camera((0, 0, 0))
    rgb, disparity = two_planes(source)
    scene = Scene("stereo-two", (Path("000.png"), Path("001.png")), (source, target), frames=frames)
    view = warped(rgb, disparity, source, target, default_warp())
    return ViewCase(ViewPair("stereo-two", 0, 1, "right"), scene, rgb, disparity, source, target, view)


@pytest.fixture(scope="module")
def aside() -> ViewCase:
    """A shift to the right, which opens a hole beside the square and a strip along the border."""
    return case_of(camera((-0.5, 0, 0)))


@pytest.fixture(scope="module")
def forward() -> ViewCase:
    """Everything that the target sees, the source saw: forward, and the wall alone."""
    case = case_of(camera((0, 0, -1.0)), frames=(0, 3))
    wall = wave(*(np.mgrid[: HW[0], : HW[1]][::-1] / 5), 0.6)
    rgb, flat = torch.from_numpy(wall).float(), torch.full(HW, 1 / FAR)
    view = warped(rgb, flat, case.source_camera, case.target_camera, default_warp())
    return replace(case, source=rgb, disparity=flat, view=view)


def test_the_case_has_holes_of_both_kinds_and_exact_depth(aside):
    true, _ = two_planes(aside.target_camera)
    assert psnr(aside.view.rgb, true, aside.view.known) > 30  # bicubic at the square's outline
    assert 0.05 < (~aside.view.known).float().mean() < 0.3
    assert not aside.view.known[5, -1]  # the border's strip
    assert not aside.view.known[HW[0] // 2].all()


FILLS = ("w-nearest", "w-far", "w-push-pull", "w-telea", "w-ns")
PAINTERS = ("classical", "opencv:telea", "builtin+steps=1+strength=1")


@pytest.mark.parametrize("name", [*FILLS, *PAINTERS])
def test_w_with_a_fill_leaves_known_pixels_bit_for_bit(aside, name):
    made = view_methods_named([name])[name](aside)
    known = aside.view.known
    assert made.shape == aside.source.shape and float(made.min()) >= 0 and float(made.max()) <= 1
    assert torch.equal(made[:, known], aside.view.rgb[:, known])
    assert (made[:, ~known] > 0.02).all()  # black holes stayed


@pytest.mark.parametrize("name", ["world:classical", "autoregressive:classical"])
def test_a_film_leaves_what_is_known_as_w_shows_it(aside, name):
    made = view_methods_named([name])[name](aside)
    known = aside.view.known
    assert made.shape == aside.source.shape and float(made.min()) >= 0 and float(made.max()) <= 1
    # A painted layer may reach over the soft outline of what is near, by a pixel here and there.
    assert (made == aside.view.rgb).all(0)[known].float().mean() > 0.97
    assert (made[:, ~known] > 0.02).all()


@pytest.mark.parametrize("name", ["classical", "world:classical", "autoregressive:classical"])
def test_a_painter_continues_the_wall_not_the_square(aside, name):
    made = view_methods_named([name])[name](aside)
    true, _ = two_planes(aside.target_camera)
    beside = ~aside.view.known & (torch.arange(HW[1]) < HW[1] - 8)
    assert beside.any() and float(made[:, beside].mean()) > 0.55 and psnr(made, true, beside) > 12


def test_the_source_is_copied(aside):
    assert torch.equal(view_methods_named(["copy"])["copy"](aside), aside.source)


@pytest.mark.parametrize("name", ["world:classical", "autoregressive:classical"])
def test_films_agree_with_w_where_all_is_visible(forward, name):
    assert forward.view.known.all()
    made = view_methods_named([name])[name](forward)
    if name.startswith("world"):
        assert torch.equal(made, forward.view.rgb)
    # Three frames, each resampled by bicubics from the one before.
    assert psnr(made, forward.view.rgb) > 32


def test_a_squashed_and_turned_pair_is_filmed_right():
    """Poses between stretched scenes are no rotations; a layer painted there must land where it belongs."""
    source, target = camera((0, 0, 0), squash=0.6), camera((-0.4, 0.1, -0.3), roll=0.12, squash=0.6)
    case = case_of(target, source, frames=(0, 4))
    true, _ = two_planes(target)
    # Five frames, each resampled from the one before, soften waves of a few pixels.
    for name, least_db in (("world:classical", 27), ("autoregressive:classical", 22)):
        made = view_methods_named([name])[name](case)
        assert psnr(made, true) > 20 and psnr(made, case.view.rgb, case.view.known) > least_db


def test_an_autoregressive_film_has_a_frame_for_each_of_the_clips(aside, monkeypatch):
    assert film_modes.frame_count(aside) == 2
    clip = replace(aside, scene=replace(aside.scene, frames=(3, 7)))
    assert film_modes.frame_count(clip) == 5
    asked = []

    def counting(*args, **kwargs):
        asked.append(round(args[1] * args[2]))
        last = Frame(aside.source, 0, torch.zeros(HW))
        return film_modes.animate.Film((frame for frame in [last]), 1, 24, HW)

    monkeypatch.setattr(film_modes.animate, "film_autoregressive", counting)
    film_modes.autoregressive(get_painter("classical"))(clip)
    assert asked == [5]


def test_the_camera_travels_straight_and_arrives():
    source, target = camera((0, 0, 0)), camera((-1.0, 0.2, -0.4), yaw=0.3)
    assert film_modes.between(source, target, 0) is source and film_modes.between(source, target, 1) is target
    middle = film_modes.between(source, target, 0.5)
    centre = -middle.R.T @ middle.t
    np.testing.assert_allclose(centre, (-target.R.T @ target.t) / 2, atol=1e-12)
    np.testing.assert_allclose(middle.R @ middle.R, target.R, atol=1e-12)


def test_an_inverse_of_a_stretched_pose_goes_back():
    R = torch.from_numpy(camera((0, 0, 0), yaw=0.4).R) @ torch.diag(torch.tensor([1.0, 1.7, 1.0]).double())
    pose = StretchedPose(R, torch.tensor([1.0, 2.0, 3.0]))
    there_and_back = pose.inverse() @ pose
    np.testing.assert_allclose(there_and_back.R.numpy(), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(there_and_back.t.numpy(), 0, atol=1e-12)


def test_seeds_are_the_cases(aside):
    method = view_methods_named(["classical"])["classical"]
    assert torch.equal(method(aside), method(aside.with_seed(0)))
    assert not torch.equal(method(aside), method(aside.with_seed(5)))


def test_where_nothing_is_known_every_method_shows_the_source(aside):
    nothing = torch.zeros(HW, dtype=torch.bool)
    view = replace(aside.view, rgb=aside.view.rgb * 0, disparity=aside.view.disparity * 0, known=nothing)
    blind = replace(aside, view=view)
    for name in ("w-nearest", "w-far", "classical", "world:classical", "autoregressive:classical"):
        assert torch.equal(view_methods_named([name])[name](blind), aside.source)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ([], "none; name each of them once"),
        (["copy", "copy"], "name each of them once"),
        (["rembrandt"], "no painter called 'rembrandt'.*w-telea.*predictions:FOLDER"),
        (["world:rembrandt"], "no painter called 'rembrandt'"),
        (["builtin:nowhere"], "no painter in nowhere"),
        (["predictions"], "needs the folder"),
        (["predictions:nowhere"], "no folder nowhere"),
        (["builtin+steps=many"], "steps is 'many'"),
        (["builtin+steps=0"], "goes from 1 to 1000"),
        (["builtin+strength=2"], "goes from 0.01 to 1"),
        (["builtin+steps=4+steps=5"], "says steps twice"),
        (["builtin+speed=4"], "takes steps, strength, guidance, not speed"),
        (["classical+steps=4"], "takes no options, not steps"),
        (["sd:folder+strength=1"], "takes steps, guidance, not strength"),
        (["depthflow+speed=1"], "takes quality, not speed"),
        (["depthflow+quality=high"], "quality is 'high'"),
    ],
)
def test_a_mistake_in_a_name_is_one_sentence(names, why):
    with pytest.raises(InputError, match=why):
        view_methods_named(names)


def test_a_folder_with_a_plus_is_no_option():
    assert parted("builtin:a+b") == ("builtin:a+b", {})
    assert parted("builtin:a+b+guidance=2+steps=8") == ("builtin:a+b", {"guidance": "2", "steps": "8"})


def test_options_reach_the_painter(aside):
    few, noise = painter_named("builtin+steps=3"), painter_named("builtin+steps=3+strength=1+guidance=2")
    assert (few._steps, few._strength, few._guidance) == (3, 0.4, 0)
    assert (noise._steps, noise._strength, noise._guidance) == (3, 1.0, 2.0)


def test_one_painter_is_loaded_once_for_all_methods_that_paint_with_it(monkeypatch):
    loaded = []
    from kinephoto.measure.methods import view_methods

    def loading(name, **options):
        loaded.append(name)
        return painter_named(name, **options)

    monkeypatch.setattr(view_methods, "painter_named", loading)
    view_methods_named(["classical", "world:classical", "autoregressive:classical"])
    assert loaded == ["classical"]


def test_what_this_installation_lacks_is_named_in_one_sentence_each(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    names, left_out = default_names(sideways=True)
    assert names == list(DEFAULT) and set(PLAIN) < set(names)
    assert [line.split(" is left out: ")[0] for line in left_out] == list(SIDEWAYS)
    assert all("pip install depthflow==1.0.1" in line for line in left_out)
    assert default_names() == (names, [])


# Predictions


@pytest.fixture
def predicted(tmp_path, aside) -> Path:
    path = prediction_file(tmp_path, aside.pair)
    path.parent.mkdir()
    pixels = (aside.source * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(path)
    return path


def test_predictions_are_read_back(predicted, tmp_path, aside):
    assert predicted == tmp_path / "stereo-two" / "000_001.png"
    name = f"predictions:{tmp_path}"
    assert torch.equal(view_methods_named([name])[name](aside), (aside.source * 255).round() / 255)


def test_a_larger_prediction_is_averaged_and_a_smaller_one_refused(predicted, tmp_path, aside):
    whole = np.asarray(Image.open(predicted))
    Image.fromarray(whole.repeat(2, axis=0).repeat(3, axis=1)).save(predicted)
    np.testing.assert_allclose(
        Predictions(tmp_path)(aside).numpy(), whole.transpose(2, 0, 1) / 255, atol=1e-6
    )
    Image.fromarray(whole[:, :-1]).save(predicted)
    with pytest.raises(InputError, match="000_001.png is 55 x 40 px, what is measured 56 x 40"):
        Predictions(tmp_path)(aside)


def test_a_folder_without_predictions_is_refused_beforehand_and_a_missing_one_alone(
    predicted, tmp_path, aside
):
    predicted.rename(predicted.with_name("000_002.png"))
    with pytest.raises(InputError, match="000_001.png is missing"):
        Predictions(tmp_path)(aside)
    predicted.with_name("000_002.png").rename(predicted.with_name("t5.png"))
    with pytest.raises(InputError, match="holds no prediction.*000_004.png"):
        Predictions(tmp_path)


def test_a_broken_prediction_is_named(predicted, tmp_path, aside):
    predicted.write_bytes(b"no picture")
    with pytest.raises(InputError, match="000_001.png"):
        Predictions(tmp_path)(aside)


# DepthFlow: a stand-in with its command line and its geometry, and, where it is installed, the program itself

STAND_IN = """#!{python}
import shutil, subprocess, sys
import numpy as np
from PIL import Image

words = sys.argv[1:]
if words == ["--version"]:
    print("{version}")
    sys.exit(0)
value = lambda flag, after: words[words.index(flag, after) + 1]
image = np.asarray(Image.open(value("-i", 0)))
heights = np.asarray(Image.open(value("-d", 0)))
assert heights.dtype == np.float32 and image.shape[:2] == heights.shape
for at in [n for n, word in enumerate(words) if word == "state"]:
    h, steady = float(value("--height", at)), float(value("--steady", at))
    assert float(value("--isometric", at)) == 1
    offset = float(value("--offset", at)) * {unit}
    shift = offset * h * (heights - steady) / (1 - h * steady) * image.shape[0] / 2
    frame = image[:, ::-1] * 0
    order = np.argsort(heights, axis=None)
    rows, columns = np.unravel_index(order, heights.shape)
    to = np.clip(np.floor(columns - shift[rows, columns] + 0.5).astype(int), 0, image.shape[1] - 1)
    frame[rows, to] = image[rows, columns]
    assert (int(value("-h", at)), int(value("-w", at))) == image.shape[:2]
    keeper = subprocess.Popen(
        [shutil.which("ffmpeg"), "-f", "rawvideo", "-i", "-", value("-o", at), "-y"], stdin=subprocess.PIPE
    )
    keeper.communicate(frame[::-1].tobytes())
"""


def stand_in(folder: Path, unit: float = 1.0, version: str = "1.0.1") -> Path:
    folder.mkdir(exist_ok=True)
    program = folder / "depthflow"
    program.write_text(STAND_IN.format(python=sys.executable, unit=unit, version=version), encoding="utf-8")
    program.chmod(0o755)
    return program


posix = pytest.mark.skipif(os.name != "posix", reason="DepthFlow's frames are kept by a shell script")


@posix
@pytest.mark.parametrize("move", [-0.4, 0.4])
def test_depthflow_is_told_the_shift_that_geometry_gives(tmp_path, monkeypatch, move):
    case = case_of(camera((move, 0, 0)))
    monkeypatch.setenv(VARIABLE, str(stand_in(tmp_path)))
    made = view_methods_named(["depthflow"])["depthflow"](case)
    assert made.shape == case.source.shape and float(made.min()) >= 0 and float(made.max()) <= 1
    # The wall moves by 2 px, the square by 5, and the stand-in by whole pixels; only outlines differ.
    assert psnr(made, case.view.rgb, case.view.known) > 30


@posix
def test_a_wrong_unit_is_calibrated_away_on_visible_pixels(tmp_path):
    target = camera((-1.2, 0, 0))
    case, (true, _) = case_of(target), two_planes(target)
    method = DepthFlow(program=stand_in(tmp_path, unit=1.25))
    calibrated = method.calibrated(case, true)
    known = case.view.known
    assert psnr(calibrated(case), true, known) > psnr(method(case), true, known) + 3
    hidden = torch.where(known, true, torch.rand(3, *HW))
    assert torch.equal(method.calibrated(case, hidden)(case), calibrated(case))


def test_crossed_axes_shift_and_steady_follow_from_the_principal_points():
    source, target = camera((0, 0, 0)), camera((-0.5, 0, 0))
    crossed = replace(target, centre=(0.5 + 4 / HW[1], 0.5))
    shift = sideways_shift(case_of(crossed, source))
    # Far: 50 · 0.5 / 10 - 4 = -1.5 px to the left; near: 6.25 - 4 = 2.25 px.
    assert shift.steady == pytest.approx(1.5 / 3.75)
    moved = shift.offset * HEIGHT * (1 - shift.steady) / (1 - HEIGHT * shift.steady) * HW[0] / 2
    assert moved == pytest.approx(2.25)
    assert sideways_shift(case_of(target, source)).steady == 0


@pytest.mark.parametrize(
    "target",
    [
        camera((-0.5, 0, -1.0)),
        camera((-0.5, 0.5, 0)),
        camera((-0.5, 0, 0), yaw=0.05),
        replace(camera((-0.5, 0, 0)), focal=(1.0, 1.3)),
        camera((0, 0, 0)),
    ],
)
def test_depthflow_answers_shifts_to_the_side_only(target):
    with pytest.raises(InputError, match="more than a shift to the side"):
        sideways_shift(case_of(target))


@posix
def test_another_version_of_depthflow_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(stand_in(tmp_path, version="0.9.0")))
    with pytest.raises(InputError, match="is DepthFlow 0.9.0; its options are those of 1.0.1"):
        view_methods_named(["depthflow"])


@posix
def test_a_depthflow_that_fails_says_why(tmp_path, aside):
    program = tmp_path / "depthflow"
    program.write_text('#!/bin/sh\n[ "$1" = --version ] && echo 1.0.1 && exit 0\necho no display\nexit 3\n')
    program.chmod(0o755)
    with pytest.raises(InputError, match="exit code 3: no display"):
        DepthFlow(program=program)(aside)
    program.write_text('#!/bin/sh\n[ "$1" = --version ] && echo 1.0.1 && exit 0\necho nothing drawn\n')
    with pytest.raises(InputError, match="made 0 bytes of a frame of 56 x 40 px: nothing drawn"):
        DepthFlow(program=program)(aside)


@posix
def test_depthflow_is_found_by_its_environment_its_python_or_on_the_path(tmp_path, monkeypatch):
    program = stand_in(tmp_path / "bin")
    (tmp_path / "bin" / "python3").touch()
    for named in (tmp_path, program, tmp_path / "bin" / "python3"):
        monkeypatch.setenv(VARIABLE, str(named))
        assert depthflow_method.program_path() == program
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert depthflow_method.program_path() == program
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="not installed.*pip install depthflow==1.0.1"):
        depthflow_method.program_path()


@pytest.mark.slow
@pytest.mark.skipif(
    not (os.environ.get(VARIABLE) or shutil.which("depthflow")), reason=f"needs DepthFlow ({VARIABLE})"
)
def test_depthflow_itself_shifts_as_w_does(aside):
    made = view_methods_named(["depthflow"])["depthflow"](aside)
    inner = aside.view.known.clone()
    inner[:, :4] = inner[:, -8:] = False
    assert psnr(made, aside.view.rgb, inner) > 22
    assert psnr(made, aside.view.rgb, inner) > psnr(aside.source, aside.view.rgb, inner) + 5
