"""The page of a vote, clicked through in a headless Chromium at the width of a desk and of a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from served_page import WAITS_S, headless_chromium, no_longer
from served_votes import served
from skimage import data

from supir_infer.ballot import BallotBox
from supir_infer.vote_session import VoteSession

READY = (
    "!document.getElementById('left').disabled && document.getElementById('count').textContent"
    " && [...document.images].every(one => one.complete && one.naturalWidth)"
)


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    with no_longer():
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with headless_chromium() as opened:
        yield opened


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
        page.set_default_timeout(WAITS_S * 1000)
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


def test_a_page_that_another_was_faster_than_catches_up_and_says_when_the_vote_has_ended(browser, asked):
    with served(asked) as url:
        first, second = (browser.new_page() for _ in range(2))
        for page in (first, second):
            page.set_default_timeout(WAITS_S * 1000)
            page.goto(url)
            page.wait_for_function(READY)
        first.click("#left")
        first.wait_for_function(f"document.getElementById('count').textContent === '1 / 2' && {READY}")
        second.click("#right")
        second.wait_for_function(f"document.getElementById('count').textContent === '1 / 2' && {READY}")
        assert "has its answer already" in second.text_content("#error")
        second.click("#tie")
        second.wait_for_selector("#done", state="visible")
        assert second.text_content("#error") == ""
        assert [answer.choice for answer in asked.answers()] == ["left", "tie"]
        first.context.set_offline(True)
        first.click("#right")
        first.wait_for_function("document.getElementById('error').textContent.includes('has ended')")
        first.close()
        second.close()
