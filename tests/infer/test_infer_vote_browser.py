"""The page of a vote, clicked through in a headless Chromium at the width of a desk and of a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from limits import HANGS_AFTER_S
from PIL import Image
from served_votes import served
from skimage import data

from supir_infer.ballot import BallotBox
from supir_infer.vote_session import VoteSession

api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
READY = (
    "!document.getElementById('left').disabled && document.getElementById('count').textContent"
    " && [...document.images].every(one => one.complete && one.naturalWidth)"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def asked(tmp_path: Path) -> VoteSession:
    photo = data.coffee()
    for name in ("x", "y"):
        for number, run in enumerate(("a", "b")):
            (tmp_path / run).mkdir(exist_ok=True)
            Image.fromarray(np.clip(photo, 0, 200) + np.uint8(9 * number)).save(
                tmp_path / run / f"{name}.png"
            )
    Image.fromarray(photo[::4, ::4]).save(tmp_path / "lq.png")
    files = {run: {name: tmp_path / run / f"{name}.png" for name in ("x", "y")} for run in ("a", "b")}
    given = dict.fromkeys(("x", "y"), tmp_path / "lq.png")
    return VoteSession(files, given, BallotBox(tmp_path / "votes.jsonl"), "v", 0)


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
def test_votes_by_button_and_key_back_the_given_picture_and_pixels(browser, asked, size):
    with served(asked) as url:
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        page.set_default_timeout(HANGS_AFTER_S * 1000)
        troubles: list[str] = []
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(url)
        page.wait_for_function(READY)
        assert page.evaluate("document.documentElement.scrollWidth") == size[0]
        assert page.evaluate("document.querySelector('footer').getBoundingClientRect().bottom") <= size[1]
        restored = page.get_attribute("#one img", "src")
        page.click("#given")
        shown = {page.get_attribute(f"#{side} img", "src") for side in ("one", "two")}
        assert len(shown) == 1
        page.keyboard.press("l")
        assert page.get_attribute("#one img", "src") == restored
        page.click("#pixels")
        page.evaluate("document.getElementById('one').scrollLeft = 5")
        page.wait_for_function(
            "document.getElementById('two').scrollLeft === document.getElementById('one').scrollLeft"
        )
        assert page.evaluate("document.querySelector('#one img').width") == data.coffee().shape[1]
        page.click("#tie")
        page.wait_for_function(f"document.getElementById('count').textContent === '1 / 2' && {READY}")
        page.keyboard.press("Backspace")
        page.wait_for_function(f"document.getElementById('count').textContent === '0 / 2' && {READY}")
        page.click("#right")
        page.wait_for_function(f"document.getElementById('count').textContent === '1 / 2' && {READY}")
        page.keyboard.press("ArrowLeft")
        page.wait_for_selector("#done", state="visible")
        assert [answer.choice for answer in asked.answers()] == ["right", "left"]
        assert all(answer.seconds > 0 for answer in asked.answers())
        assert troubles == []
        page.close()
