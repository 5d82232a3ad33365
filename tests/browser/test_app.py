"""The app in a real browser: what visitors do, what they see, and that nothing is fetched from elsewhere."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

RUN = "import sys; from kinephoto.app.cli import main; sys.argv[0] = 'kinephoto'; main()"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
WAIT_MS = 240_000  # two busy cores; nothing here is a matter of time


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[str]:
    """The app's address."""
    pytest.importorskip("gradio")
    folder = tmp_path_factory.mktemp("app")
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    log = folder / "log.txt"
    words = ["app", "--port", str(port), "--results", str(folder / "results"), "--offline"]
    with log.open("w") as said:
        process = subprocess.Popen([sys.executable, "-c", RUN, *words], stderr=said, stdout=said, cwd=folder)
    try:
        deadline = time.monotonic() + 180
        while "kinephoto is at" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/"
        assert process.poll() is None, "the server died"
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def visit(chromium: Any, server: str) -> Iterator[Any]:
    """Open the page as another visitor; in the end no visitor's page may have asked for anything elsewhere."""
    contexts, asked, complaints = [], [], []

    def open_page(viewport: dict[str, int] = DESKTOP, **options: Any) -> Any:
        context = chromium.new_context(viewport=viewport, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(server)
        page.wait_for_selector("#make")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints
    elsewhere = [url for url in asked if not url.startswith((server, "data:", "blob:", "about:"))]
    assert asked and not elsewhere, elsewhere[:5]


@pytest.fixture(scope="session")
def small_photo(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("photos") / "cup.jpg"
    repository = Path(__file__).resolve().parents[2]
    with Image.open(repository / "examples" / "coffee.jpg") as picture:
        picture.resize((240, 160)).save(place, quality=92)
    return place


def drop(page: Any, photo: Path) -> None:
    """Give the page a photo, and wait for its depth and its preview."""
    page.set_input_files("#photo input[type=file]", str(photo))
    page.wait_for_selector("#depth img")
    page.wait_for_selector("#film video")


def plainly(page: Any) -> None:
    """Choose the plain painter, which is quick."""
    page.click("#more button")
    page.click("#setting-painter input")
    page.get_by_role("option", name="opencv:telea").click()


def seconds(page: Any, length: str) -> None:
    page.fill("#setting-seconds input[type=number]", length)
    page.keyboard.press("Tab")


def test_a_dropped_photo_shows_its_depth_and_a_preview_and_becomes_a_film(visit, small_photo: Path) -> None:
    page = visit()
    drop(page, small_photo)
    assert "Preview" in page.inner_text("#film")
    plainly(page)
    seconds(page, "1")
    page.click("#make")
    page.wait_for_selector("#film-status [role=progressbar]")
    page.wait_for_selector("#command textarea")
    page.wait_for_function("document.querySelector('#film video').duration === 1")
    assert "1 s, 240×160" in page.inner_text("#film-status")
    assert page.input_value("#command textarea").startswith("kinephoto animate cup.jpg -o cup.mp4")
    assert page.input_value("#command textarea").endswith("--seconds 1 --painter opencv:telea")
    names = page.inner_text("#files")
    assert all(name in re.sub(r"\s", "", names) for name in ("cup.mp4", "cup_settings.json", "cup_depth.png"))
    assert page.evaluate("document.querySelector('#film video').play().then(() => true)")


def test_cancelling_says_so_and_the_next_film_can_be_made(visit, small_photo: Path) -> None:
    page = visit()
    drop(page, small_photo)
    plainly(page)
    seconds(page, "20")
    page.click("#make")
    page.wait_for_selector("#film-status [role=progressbar]")
    page.click("#cancel")
    page.wait_for_selector("#film-status [role=alert]")
    assert page.inner_text("#film-status") == "Cancelled; nothing was kept."
    page.wait_for_selector("#make:not([disabled])")
    assert not page.is_visible("#files")


def test_out_animating_keeps_what_was_drawn_on(visit, small_photo: Path) -> None:
    page = visit()
    drop(page, small_photo)
    page.get_by_role("tab", name="Out-animate").click()
    page.click("#paint")
    page.wait_for_selector("#scenes-status [role=alert]")
    assert page.inner_text("#scenes-status") == "Nothing is drawn yet; draw on the picture first."
    page.wait_for_selector("#object canvas")
    page.wait_for_timeout(2000)  # the editor fits its canvas to the picture
    canvas = page.locator("#object canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 50, y - 20)
    page.mouse.down()
    for step in range(20):
        page.mouse.move(x - 50 + 5 * step, y - 20 + 20 * (step % 3))
    page.mouse.up()
    page.fill("#count input[type=number]", "1")
    page.keyboard.press("Tab")
    page.click("#paint")
    page.wait_for_selector("#candidates img")
    assert page.locator("#candidates button img").count() == 1
    page.fill("#film-scene #setting-seconds input[type=number]", "0.5")
    page.keyboard.press("Tab")
    page.click("#make-out")
    page.wait_for_selector("#out-status [role=alert]")
    assert "No scene is picked yet" in page.inner_text("#out-status")
    page.locator("#candidates button img").first.click()
    page.wait_for_timeout(1000)
    page.click("#make-out")
    page.wait_for_selector("#out-film video")
    page.wait_for_function("document.querySelector('#out-film video').duration === 0.5")
    assert page.input_value("#out-command textarea").startswith("kinephoto out-animate ")


def test_why_a_depth_was_not_changed_stays_in_sight(visit, small_photo: Path) -> None:
    page = visit()
    drop(page, small_photo)
    page.get_by_text("Change the depth").click()
    page.get_by_role("button", name="Use what I painted").click()
    page.wait_for_selector("#depth-status [role=alert]")
    page.wait_for_timeout(5000)  # the look that follows is over
    assert page.inner_text("#depth-status") == "Nothing is drawn yet; draw on the picture first."
    page.get_by_role("button", name="Back to the estimated depth").click()
    page.wait_for_selector("#depth-status [role=alert]", state="detached")


def test_the_scene_is_looked_around_in_and_taken_along(visit, small_photo: Path) -> None:
    page = visit(PHONE, has_touch=True)
    drop(page, small_photo)
    page.get_by_role("tab", name="Scene").click()
    page.click("#make-scene")
    page.wait_for_selector("#scene iframe")
    frame = page.frame_locator("#scene iframe")
    frame.locator("body.ready, .ready #view, canvas").first.wait_for(state="attached")
    assert frame.locator("canvas").get_attribute("aria-label").startswith("cup")
    names = re.sub(r"\s", "", page.inner_text("#scene-files"))
    assert all(name in names for name in ("cup.html", "cup.glb", "cup.ply", "cup.splat.ply"))


def test_a_file_that_is_no_picture_is_one_sentence_beside_the_photo(visit, tmp_path: Path) -> None:
    bad = tmp_path / "holiday.jpg"
    bad.write_text("not a picture")
    page = visit()
    page.set_input_files("#photo input[type=file]", str(bad))
    page.wait_for_selector("#photo-status [role=alert]")
    said = page.inner_text("#photo-status")
    assert "holiday.jpg" in said and "Traceback" not in said and len(said) < 250
    page.click("#make")
    page.wait_for_selector("#film-status [role=alert]")
    assert "Traceback" not in page.inner_text("#film-status")


def test_two_visitors_take_turns_and_see_it(visit, small_photo: Path) -> None:
    one, two = visit(), visit()
    for page, length in ((one, "6"), (two, "0.5")):
        drop(page, small_photo)
        plainly(page)
        seconds(page, length)
    one.click("#make")
    one.wait_for_selector("#film-status [role=progressbar]")
    two.click("#make")
    two.wait_for_function(
        "document.querySelector('#film-status').innerText.includes('one job is before yours')"
    )
    one.close()  # which cancels
    two.wait_for_selector("#command textarea")
    two.wait_for_function("document.querySelector('#film video').duration === 0.5")


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_sticks_out_and_every_control_has_a_label(visit, viewport: dict[str, int]) -> None:
    page = visit(viewport, color_scheme="dark")
    assert page.evaluate("document.body.classList.contains('dark') || !!document.querySelector('.dark')")
    for tab in ("Animate", "Out-animate", "Scene"):
        page.get_by_role("tab", name=tab, exact=True).click()
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input:not([type=file]), textarea, [role=tab]')]
        .filter(one => one.offsetParent !== null)
        .filter(one => !(one.getAttribute('aria-label') || one.getAttribute('aria-labelledby') || one.title
          || one.innerText || one.labels?.length || one.closest('label') || one.placeholder
          || one.querySelector('img[alt], svg title')))
        .map(one => one.outerHTML.slice(0, 200))"""
    )
    assert not nameless, nameless


def test_a_film_is_made_with_the_keyboard_alone(visit, small_photo: Path) -> None:
    page = visit()
    drop(page, small_photo)
    page.focus("#setting-amount input[value=small]")
    page.keyboard.press("Space")
    assert page.is_checked("#setting-amount input[value=small]")
    page.focus("#setting-seconds input[type=number]")
    page.keyboard.press("Control+A")
    page.keyboard.type("20")  # long enough not to be done before it is cancelled
    page.keyboard.press("Tab")
    page.focus("#make")
    page.keyboard.press("Enter")
    page.wait_for_selector("#cancel:not([disabled])")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "cancel":
            break
    assert page.evaluate("document.activeElement.id") == "cancel"
    page.keyboard.press("Enter")
    # The sentence comes and stays, whatever becomes of the previews that the other amount and length have begun.
    said = "document.querySelector('#film-status').innerText.trim() === 'Cancelled; nothing was kept.'"
    page.wait_for_function(said)
    page.wait_for_timeout(1500)
    page.wait_for_selector("#preview-status [role=progressbar]", state="detached")
    assert page.evaluate(said)
