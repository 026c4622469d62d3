"""The page as its visitors use it: clicked through in a headless Chromium."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from limits import HANGS_AFTER_S
from PIL import Image
from served_page import ServedPage, chromium, served_page

api = pytest.importorskip("playwright.sync_api")

OPTIONS = ("min_size_px=64", "strength=1", "start_sigma=null", "guidance_scale=1", "s_churn=5")
HANGS_AFTER_MS = HANGS_AFTER_S * 1000
DESK = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPage]:
    chromium()
    overrides = [word for option in OPTIONS for word in ("--set", option)]
    with served_page(tmp_path_factory.mktemp("web"), *overrides) as page:
        yield page


@pytest.fixture(scope="module")
def browser(served: ServedPage) -> Iterator[api.Browser]:
    with api.sync_playwright() as playwright:
        # the sandbox needs rights that a container's root has not
        yield playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])


@pytest.fixture
def visit(browser: api.Browser, served: ServedPage) -> Iterator[Callable[..., api.Page]]:
    """Opens the page as a new visitor; no error of the page's own code is overlooked."""
    errors: list[str] = []
    contexts = []

    def opened(viewport: dict[str, int] = DESK, **options: object) -> api.Page:
        context = browser.new_context(viewport=viewport, accept_downloads=True, **options)
        contexts.append(context)
        context.set_default_timeout(HANGS_AFTER_MS)
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


def upload(page: api.Page, *paths: Path) -> None:
    page.set_input_files("#uploads input[type=file]", [str(path) for path in paths])
    page.wait_for_selector('.words:has-text("ready")')


def set_steps(page: api.Page, steps: int) -> None:
    field = page.get_by_label("number input for Steps")
    field.fill(str(steps))
    field.press("Tab")


def restore(page: api.Page) -> None:
    page.get_by_role("button", name="Restore", exact=True).click()


def waits_for(page: api.Page, text: str) -> None:
    page.wait_for_selector(f'.words:has-text("{text}")')


def downloaded(page: api.Page, link: str) -> tuple[str, bytes]:
    with page.expect_download() as download:
        page.get_by_role("link", name=link).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def transform(page: api.Page) -> str:
    return page.locator(".layer.after img").evaluate("image => image.style.transform")


def test_a_photo_is_restored_looked_at_closely_and_taken_home(visit, small, face):
    page = visit()
    upload(page, small)
    assert page.locator(".layer.before img").is_visible()
    assert not page.locator(".divider").is_visible()
    set_steps(page, 2)
    restore(page)
    waits_for(page, "1 restored")
    assert page.locator(".tag.right").inner_text() == "After"

    page.get_by_role("button", name="1:1").click()
    assert page.locator(".zoom").inner_text() == "100 %"
    assert page.locator(".layer.after img").bounding_box()["width"] == pytest.approx(face.shape[1], abs=0.1)
    box = page.locator(".stage").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.wheel(0, -1200)
    page.wait_for_function("() => parseInt(document.querySelector('.zoom').textContent) > 1000")
    zoomed = transform(page)
    page.mouse.down()
    page.mouse.move(box["x"] + 120, box["y"] + 160, steps=4)
    page.mouse.up()
    assert transform(page) != zoomed
    before = page.locator(".layer.before img").evaluate("image => image.style.transform")
    assert before == transform(page)

    divider = page.get_by_role("slider", name="Where before ends")
    box = divider.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(page.locator(".stage").bounding_box()["x"] + 10, box["y"] + 100, steps=4)
    page.mouse.up()
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
