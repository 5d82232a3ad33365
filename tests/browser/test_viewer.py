"""The scene's page in a real browser, from a file, without a network, on a desktop and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import kinephoto as kp
from kinephoto.scene.camera import Camera
from kinephoto.scene.values import Disparity, Photo
from kinephoto.studio.viewer import ZOOM

SIDE = 192
DESKTOP, PHONE = (1280, 720), (390, 844)
SMALL = (720, 450)
WINDOWS = pytest.mark.parametrize("window", [DESKTOP, PHONE], ids=["desktop", "phone"])
WAIT_MS = 60_000  # software WebGL on a busy machine


@pytest.fixture(scope="session")
def page_file(tmp_path_factory) -> Path:
    """A portrait whose person is near and whose wall is far, with a red and a blue square to measure by."""
    repository = Path(__file__).resolve().parents[2]
    rgb = kp.read_photo(repository / "examples" / "astronaut.jpg").rgb
    rgb = torch.nn.functional.interpolate(rgb[None], (SIDE, SIDE), mode="area")[0].contiguous()
    values = torch.full((SIDE, SIDE), 0.1)
    values[70:, 60:132] = 1.0
    rgb[:, 100:116, 88:104] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]  # near
    rgb[:, 40:56, 88:104] = torch.tensor([0.0, 0.0, 1.0])[:, None, None]  # far
    photo = Photo(rgb, Camera.from_field_of_view((SIDE, SIDE)))
    move = kp.path("circle", amount=0.05)
    depth = Disparity(values, metric=True)
    world = kp.build_world(photo, move, size=SIDE, depth=depth, painter="classical", threads=1)
    target = tmp_path_factory.mktemp("page") / "portrait.html"
    kp.save_scene(world, target)
    Image.fromarray((rgb.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)).save(
        target.with_suffix(".png")
    )
    return target


@contextmanager
def opened(chromium: Any, file: Path, window: tuple[int, int], calm: bool = True) -> Iterator[Any]:
    """The page when it is ready, and a list of what it said and asked for."""
    context = chromium.new_context(
        viewport={"width": window[0], "height": window[1]},
        offline=True,
        reduced_motion="reduce" if calm else "no-preference",
        has_touch=window == PHONE,
        is_mobile=window == PHONE,
    )
    page, heard = context.new_page(), []
    page.on("console", lambda said: heard.append(said.text) if not is_of_the_driver(said.text) else None)
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda asked: heard.append(asked.url) if not asked.url.startswith("data:") else None)
    page.goto(file.as_uri())
    page.wait_for_selector("html.ready", timeout=WAIT_MS)
    try:
        yield page, heard
    finally:
        context.close()


def is_of_the_driver(text: str) -> bool:
    """Reading pixels back for a screenshot stalls a GPU, which software WebGL reports as a matter of speed."""
    return "GL Driver Message (OpenGL, Performance" in text


def seen(page: Any) -> np.ndarray:
    """[H, W, 3], the window in CSS pixels, when two pictures in a row are the same."""
    last = None
    for _ in range(20):
        page.wait_for_timeout(250)
        shot = page.screenshot(scale="css")
        if shot == last:
            break
        last = shot
    return np.asarray(Image.open(BytesIO(shot)).convert("RGB")).astype(np.float64)


def expected(file: Path, window: tuple[int, int]) -> np.ndarray:
    """The photo as the page shows it at rest: its middle, filling the window."""
    width, height = window
    scale = max(width, height) / SIDE * ZOOM
    w, h = width / scale, height / scale
    box = ((SIDE - w) / 2, (SIDE - h) / 2, (SIDE + w) / 2, (SIDE + h) / 2)
    photo = Image.open(file.with_suffix(".png"))
    return np.asarray(photo.resize(window, Image.Resampling.BILINEAR, box=box)).astype(np.float64)


def middle_of(picture: np.ndarray, channel: int) -> np.ndarray:
    """Column and row, px, of the square that is all in this channel."""
    others = np.delete(picture, channel, axis=2).max(2)
    rows, columns = np.nonzero((picture[..., channel] > 190) & (others < 70))
    assert len(rows) > 100
    return np.array([np.median(columns), np.median(rows)])


@WINDOWS
def test_the_page_opens_offline_says_nothing_and_asks_for_nothing(chromium, page_file, window) -> None:
    with opened(chromium, page_file, window) as (page, heard):
        seen(page)
        assert heard == [page_file.as_uri()]
        assert page.evaluate("[scrollX, document.documentElement.scrollWidth - innerWidth]") == [0, 0]
        canvas = page.locator("canvas").bounding_box()
        assert (canvas["width"], canvas["height"]) == window
        assert page.locator("#hint").is_visible() and page.locator("canvas").get_attribute("aria-label")


@WINDOWS
def test_at_rest_the_page_shows_the_photo(chromium, page_file, window) -> None:
    with opened(chromium, page_file, window) as (page, _):
        page.locator("#help").evaluate("element => element.remove()")
        picture, photo = seen(page), expected(page_file, window)
    # WebP of quality 88 costs about 34 dB at this size, corners of one pixel beside tears the rest.
    assert -10 * np.log10(np.mean((picture - photo) ** 2) / 255**2) > 25
    assert np.corrcoef(picture.ravel(), photo.ravel())[0, 1] > 0.98


@WINDOWS
def test_near_things_move_farther_than_far_ones(chromium, page_file, window) -> None:
    """Along the side that the window shows whole; along the other, the photo moves through the window, too."""
    axis = 0 if window == DESKTOP else 1
    with opened(chromium, page_file, window) as (page, _):
        before = seen(page)
        if window == DESKTOP:
            page.mouse.move(window[0] - 2, window[1] / 2)
        else:
            page.keyboard.press("ArrowDown")
            page.keyboard.press("ArrowDown")
        after = seen(page)
    near = (middle_of(after, 0) - middle_of(before, 0))[axis]
    far = (middle_of(after, 2) - middle_of(before, 2))[axis]
    assert near - far < -0.01 * max(window)  # the camera goes right or down, so what is near goes left or up
    assert near < -3 and abs(far) < 1.5 * abs(near)


def test_a_finger_takes_the_scene_along(chromium, page_file) -> None:
    with opened(chromium, page_file, PHONE) as (page, heard):
        before = seen(page)
        client = page.context.new_cdp_session(page)
        places = [(200, 400), (220, 400), (260, 400), (300, 400)]
        for kind, (x, y) in zip(["touchStart", *["touchMove"] * 3], places, strict=True):
            client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        after = seen(page)
        client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        assert (middle_of(after, 0) - middle_of(before, 0))[0] > 20
        assert len(heard) == 1


def test_the_tilt_of_the_phone_moves_the_camera(chromium, page_file) -> None:
    with opened(chromium, page_file, PHONE) as (page, _):
        before = seen(page)
        for gamma in (0, 9):
            page.evaluate(
                f"dispatchEvent(new DeviceOrientationEvent('deviceorientation', {{beta: 40, gamma: {gamma}}}))"
            )
        assert (middle_of(seen(page), 0) - middle_of(before, 0))[0] < -20


def test_the_camera_stays_where_the_set_is_whole(chromium, page_file) -> None:
    """However often a key is pressed, and nothing dark as the page's background comes into view."""
    with opened(chromium, page_file, SMALL) as (page, _):
        pictures = []
        for count in (4, 12):
            for _ in range(count):
                page.keyboard.press("ArrowRight")
            pictures.append(seen(page))
        assert np.array_equal(*pictures)
        background = np.array([0x0B, 0x0C, 0x0E])
        assert (np.abs(pictures[0] - background).max(2) <= 1).mean() < 0.001


def test_it_moves_by_itself_until_somebody_touches_it_or_wants_rest(chromium, page_file) -> None:
    with opened(chromium, page_file, SMALL, calm=False) as (page, _):
        one = np.asarray(Image.open(BytesIO(page.screenshot())).convert("L")).astype(float)
        page.wait_for_timeout(2500)
        other = np.asarray(Image.open(BytesIO(page.screenshot())).convert("L")).astype(float)
        assert np.abs(one - other).mean() > 1
        page.keyboard.press("Home")
        assert page.locator("#hint.over").count() == 1
        still = seen(page)
        assert np.array_equal(still, seen(page))
    with opened(chromium, page_file, SMALL) as (page, _):
        assert np.array_equal(seen(page), seen(page))
