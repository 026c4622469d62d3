"""The page as its visitors use it: clicked through in a headless Chromium.

Every wait ends: one for a thing on the page after `WAITS_S`, a test after `HANGS_AFTER_S`, when its browser is killed.
"""

from __future__ import annotations

import io
import json
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from served_page import WAITS_S, ServedPage, headless_chromium, no_longer, served_page

OPTIONS = ("min_size_px=64", "strength=0.5", "start_sigma=null", "s_churn=5", "max_megapixels=1")
DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
FINGER_PX = 40
SPREAD_TWO_FINGERS = """() => {
  const stage = document.querySelector('.stage');
  const box = stage.getBoundingClientRect();
  stage.setPointerCapture = () => {};  // it takes no made-up pointers
  const send = (kind, id, x) => stage.dispatchEvent(new PointerEvent(kind,
    { pointerId: id, clientX: box.left + x, clientY: box.top + 100, bubbles: true }));
  send('pointerdown', 1, 100); send('pointerdown', 2, 150); send('pointermove', 2, 250);
  send('pointerup', 1, 100); send('pointerup', 2, 250);
}"""


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    with no_longer():
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with headless_chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def served(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPage]:
    overrides = [word for option in OPTIONS for word in ("--set", option)]
    with served_page(tmp_path_factory.mktemp("web"), *overrides) as page:
        yield page


@pytest.fixture
def visit(browser: Any, served: ServedPage) -> Iterator[Callable[[], Any]]:
    """Opens the page as a new visitor; no error of the page's own code is overlooked."""
    errors: list[str] = []
    contexts = []

    def opened() -> Any:
        context = browser.new_context(viewport=DESK, accept_downloads=True, has_touch=True)
        contexts.append(context)
        context.set_default_timeout(WAITS_S * 1000)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(served.url)
        page.wait_for_selector(".stage")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture
def small(tmp_path: Path, face: np.ndarray) -> Path:
    path = tmp_path / "face.png"
    Image.fromarray(face).save(path)
    return path


@pytest.fixture
def many(tmp_path: Path, face: np.ndarray) -> list[Path]:
    """Photos that keep the fastest machine busy with a hundred steps each, while one step is short on the slowest."""
    paths = [tmp_path / f"many-{number}.png" for number in range(20)]
    for path in paths:
        Image.fromarray(face).save(path)
    return paths


def upload(page: Any, *paths: Path) -> None:
    page.set_input_files("#uploads input[type=file]", [str(path) for path in paths])
    waits_for(page, "ready")


def clear(page: Any) -> None:
    page.locator("#uploads").get_by_label("Clear").click()
    page.wait_for_selector(".hint:visible")


def set_number(page: Any, label: str, value: int) -> None:
    field = page.get_by_label(f"number input for {label}")
    field.fill(str(value))
    field.press("Tab")


def restore(page: Any, steps: int) -> None:
    set_number(page, "Steps", steps)
    page.get_by_role("button", name="Restore", exact=True).click()


def words(page: Any) -> str:
    return page.locator(".words").inner_text()


def steps_done(told: str) -> int:
    """Of all photos, by `Photo 2 of 20: step 3 of 100, about 4 s left`."""
    photo, step, of = map(int, re.fullmatch(r"Photo (\d+) of 20: step (\d+) of (\d+), .*", told).groups())
    return (photo - 1) * of + step


def waits_for(page: Any, text: str) -> None:
    page.wait_for_selector(f'.words:has-text("{text}")')


def downloaded(page: Any, link: str) -> tuple[str, bytes]:
    with page.expect_download() as download:
        page.get_by_role("link", name=link).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def on_show(page: Any, served: ServedPage, layer: str) -> np.ndarray:
    """The pixels of what lies on the slider's one side, once the browser has it."""
    page.wait_for_function(
        "layer => { const image = document.querySelector(`.layer.${layer} img`); "
        "return !image.hidden && image.complete && image.naturalWidth }",
        arg=layer,
    )
    url = page.locator(f".layer.{layer} img").get_attribute("src")
    return pixels(page.request.get(f"{served.url}/{url}", timeout=WAITS_S * 1000).body())


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAITS_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def transform(page: Any, layer: str = "after") -> str:
    return page.locator(f".layer.{layer} img").evaluate("image => image.style.transform")


def zoom(page: Any) -> int:
    return int(page.locator(".zoom").inner_text().split()[0])


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=4)
    page.mouse.up()


def assert_fits(page: Any, screen: dict[str, int]) -> None:
    page.set_viewport_size(screen)
    page.wait_for_function(f"() => document.documentElement.scrollWidth <= {screen['width']}")
    stage = page.locator(".stage").bounding_box()
    assert stage["x"] >= 0
    assert stage["x"] + stage["width"] <= screen["width"]
    assert stage["height"] <= 0.8 * screen["height"]
    for button in page.locator(".tools button:visible, .tools .file:visible").all():
        assert button.bounding_box()["height"] >= FINGER_PX


def test_a_photo_is_restored_looked_at_closely_and_taken_home(visit, small, face):
    page = visit()
    upload(page, small)
    assert page.locator(".layer.before img").is_visible()
    assert not page.locator(".divider").is_visible()
    restore(page, steps=2)
    waits_for(page, "1 restored")
    assert page.locator(".tag.right").inner_text() == "After"

    page.get_by_role("button", name="1:1").click()
    assert zoom(page) == 100
    assert page.locator(".layer.after img").bounding_box()["width"] == pytest.approx(face.shape[1], abs=0.1)
    box = page.locator(".stage").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.wheel(0, -1200)
    page.wait_for_function("() => parseInt(document.querySelector('.zoom').textContent) > 1000")
    zoomed = transform(page)
    drag(page, (box["x"] + 200, box["y"] + 200), (box["x"] + 120, box["y"] + 160))
    assert transform(page) != zoomed
    assert transform(page, "before") == transform(page)

    divider = page.get_by_role("slider", name="Where before ends")
    grip = divider.bounding_box()
    middle = (grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2)
    drag(page, middle, (page.locator(".stage").bounding_box()["x"] + 10, grip["y"] + 100))
    assert int(divider.get_attribute("aria-valuenow")) < 5
    divider.press("End")
    assert divider.get_attribute("aria-valuenow") == "100"

    name, png = downloaded(page, "Download PNG")
    assert name == "face-restored.png"
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.size) == ("PNG", (face.shape[1], face.shape[0]))
        assert json.loads(image.text["supir"])["settings"]["steps"] == 2
    name, jpeg = downloaded(page, "Download JPEG")
    assert (name, Image.open(io.BytesIO(jpeg)).format) == ("face-restored.jpg", "JPEG")

    assert_fits(page, DESK)
    assert_fits(page, PHONE)
    page.get_by_role("button", name="Fit").click()
    before = zoom(page)
    page.evaluate(SPREAD_TWO_FINGERS)
    assert zoom(page) == pytest.approx(3 * before, rel=0.02)


def test_the_slider_shows_this_photo_and_its_result_after_a_second_of_the_same_name(
    visit, served, small, tmp_path, face
):
    page = visit()
    upload(page, small)
    restore(page, steps=1)
    waits_for(page, "1 restored")
    first = on_show(page, served, "after")
    assert np.array_equal(on_show(page, served, "before"), face)
    assert np.array_equal(first, pixels(downloaded(page, "Download PNG")[1]))

    clear(page)
    other = tmp_path / "other" / small.name
    other.parent.mkdir()
    Image.fromarray(face[:, ::-1]).save(other)
    upload(page, other)
    assert not page.locator(".layer.after img").is_visible()
    assert np.abs(on_show(page, served, "before") - face[:, ::-1]).mean() < 8  # a JPEG of it
    restore(page, steps=1)
    waits_for(page, "1 restored")
    assert np.array_equal(on_show(page, served, "before"), face[:, ::-1])
    second = on_show(page, served, "after")
    assert np.array_equal(second, pixels(downloaded(page, "Download PNG")[1]))
    assert np.abs(second - first).mean() > 8


def test_the_estimate_is_shown_stop_ends_the_work_and_nothing_stays_after_a_new_upload(visit, many, small):
    page = visit()
    upload(page, *many)
    page.get_by_role("button", name="More").click()
    set_number(page, "Preview every", 1)
    restore(page, steps=100)
    page.wait_for_selector('.tag.right:has-text("So far")')
    assert page.locator(".layer.after img").get_attribute("src").startswith("data:image/jpeg;base64,")
    assert "of 100" in words(page)
    page.get_by_role("button", name="Stop", exact=True).click()
    waits_for(page, "Stopped")
    assert not page.locator(".layer.after img").is_visible()

    restore(page, steps=100)
    waits_for(page, "of 100")
    clear(page)  # work goes on, and what it still sends must not come back
    upload(page, small)
    time.sleep(1)
    assert words(page) == "1 photo ready: press Restore"
    assert not page.locator(".divider").is_visible()
    assert page.locator(".bar").is_hidden()
    restore(page, steps=1)
    waits_for(page, "1 restored")
    clear(page)
    for part in (".layer img", ".file", ".made", ".tools"):
        assert page.locator(f"{part}:visible").count() == 0


def test_several_photos_are_listed_and_come_as_archives_of_their_results(visit, small, tmp_path, face):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    Image.fromarray(face[:, ::-1]).save(tmp_path / "mirror.png")
    page = visit()
    upload(page, small, tmp_path / "bad.png", tmp_path / "mirror.png")
    assert words(page) == "2 photos ready: press Restore"
    restore(page, steps=1)
    waits_for(page, "2 restored, 1 failed")
    rows = page.locator(".photos button")
    assert rows.count() == 3
    assert "no kind of picture that is known" in rows.nth(1).inner_text()
    alone = {}
    for index in (0, 2):
        rows.nth(index).click()
        alone |= dict(downloaded(page, f"Download {kind}") for kind in ("PNG", "JPEG"))
    for kind, suffix in (("PNG", "png"), ("JPEG", "jpg")):
        name, data = downloaded(page, f"All as {kind}")
        assert name == f"restored-{kind.lower()}.zip"
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [f"face-restored.{suffix}", f"mirror-restored.{suffix}"]
            assert archive.namelist() == [*names, "results.json"]
            assert [archive.read(name) == alone[name] for name in names] == [True, True]
            assert [row["state"] for row in json.loads(archive.read("results.json"))] == [
                "done",
                "failed",
                "done",
            ]
    assert np.abs(pixels(alone["face-restored.png"]) - pixels(alone["mirror-restored.png"])).mean() > 8


def test_a_file_that_is_no_picture_is_said_in_words_and_the_page_goes_on(visit, small, tmp_path):
    (tmp_path / "letter.jpg").write_text("Dear all,\nthis is no picture.\n")
    page = visit()
    page.get_by_role("button", name="Restore", exact=True).click()
    page.wait_for_selector("text=/no photo yet, or it is still on its way/")
    page.set_input_files("#uploads input[type=file]", tmp_path / "letter.jpg")
    reason = "letter.jpg: no kind of picture that is known; the bytes begin 4465617220616c6c: it is text, 'Dear all,"
    page.wait_for_selector(f'.photos .note:has-text("{reason}")')
    page.get_by_role("button", name="Restore", exact=True).click()
    page.wait_for_selector(f'[data-testid=toast-body]:has-text("{reason}")')
    clear(page)
    upload(page, small)
    restore(page, steps=1)
    waits_for(page, "1 restored")


def test_a_second_click_on_restore_does_not_begin_anew_and_other_settings_do(visit, many):
    page = visit()
    upload(page, *many)
    restore(page, steps=100)
    page.wait_for_function(
        "() => /step [2-9]\\d? of 100,/.test(document.querySelector('.words').textContent)"
    )
    place = page.locator(".photos button:has-text('working')").count(), words(page)
    page.get_by_role("button", name="Restore", exact=True).dblclick()
    time.sleep(1)
    assert place[0] == 1
    assert steps_done(words(page)) >= steps_done(place[1])
    page.get_by_label("Preset").click()
    page.get_by_role("option", name="few-step-mini").click()
    time.sleep(1)
    assert "of 100," in words(page)  # what goes on keeps its settings
    page.get_by_role("button", name="Restore", exact=True).click()
    page.wait_for_function("() => /step [12] of 2,/.test(document.querySelector('.words').textContent)")
    page.get_by_role("button", name="Stop", exact=True).click()
    waits_for(page, "Stopped")


def test_who_waits_sees_the_place_and_who_leaves_frees_it(visit, served, many, small):
    first, second = visit(), visit()
    upload(first, *many)
    restore(first, steps=100)
    waits_for(first, "of 100")
    upload(second, small)
    restore(second, steps=1)
    waits_for(second, "Waiting: 1 other is before you")
    assert any(path.name.startswith("many-") for path in served.visitors_files())
    first.close()
    waits_for(second, "1 restored")
    until(lambda: not any(path.name.startswith("many-") for path in served.visitors_files()))
    assert any(path.name == "face.png" for path in served.visitors_files())


def test_a_preset_moves_the_sliders_and_says_what_it_does(visit):
    page = visit()
    page.get_by_label("Preset").click()
    page.get_by_role("option", name="few-step-mini").click()
    page.wait_for_selector("text=/2 steps; only for models taught .*distill-mini.*Sets the sliders below/")
    page.wait_for_function(
        "() => document.querySelector('input[aria-label=\"number input for Steps\"]').value === '2'"
    )


def test_the_end_of_the_command_deletes_what_visitors_brought(visit, served, small):
    """Last: it ends the page that the others share."""
    page = visit()
    upload(page, small)
    assert any(path.name == "face.png" for path in served.visitors_files())
    served.end()
    assert list(served.temporary.glob("supir-web-*")) == []
