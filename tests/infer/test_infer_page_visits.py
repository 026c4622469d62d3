"""Visitors of the page: one work each, however they click, and nothing of theirs left when they are gone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supir_console import UserError
from supir_infer import RestoreSettings
from supir_infer.interrupt import Stopped, stoppable
from supir_infer.page_view import Row
from supir_infer.page_visits import Visit, Visits
from supir_infer.page_work import Order, Work
from supir_infer.plan import Recipe
from supir_infer.restore import Restorer
from supir_infer.waiting_line import WaitingLine
from supir_model import Supir

MEGAPIXELS = 1.0
ENDS_AFTER_S = 60.0


@pytest.fixture
def visits(tmp_path: Path) -> Visits:
    return Visits(tmp_path / "results")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(np.full((40, 60, 3), 99, np.uint8)).save(path)
    return path


class Held:
    """A line whose turn comes when the test lets it, so that work goes on as long as the test needs."""

    def __init__(self) -> None:
        self.line = WaitingLine(4)
        self._free = threading.Event()
        self._taken = threading.Event()
        threading.Thread(target=self._hold, daemon=True).start()
        assert self._taken.wait(ENDS_AFTER_S)

    def _hold(self) -> None:
        with self.line.turn(lambda: False, lambda ahead: None):
            self._taken.set()
            self._free.wait(ENDS_AFTER_S)

    def free(self) -> None:
        self._free.set()


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def maker(supir: Supir, held: Held, visits: Visits, photo: Path) -> Callable[[Order], Callable[[Path], Work]]:
    rows = (Row(photo.name, "ready"),)
    return lambda order: lambda folder: Work(supir, held.line, order, rows, folder)


def order(photo: Path, seed: int = 0) -> Order:
    recipe = Recipe(RestoreSettings(min_size_px=64, steps=1), seed, "tiny", "0")
    return Order((photo,), "", recipe, 0)


def test_the_same_order_twice_is_one_work_and_another_ends_the_first(visits, photo, maker):
    visit = visits.of("ann", [photo])
    first = visit.begin(order(photo), maker(order(photo)))
    assert visit.begin(order(photo), maker(order(photo))) is first
    (folder,) = (visit.folder / "results").iterdir()
    second = visit.begin(order(photo, seed=1), maker(order(photo, seed=1)))
    assert second is not first
    assert not first.running
    assert second.running
    assert not folder.exists()
    second.stop()
    again = visit.begin(order(photo, seed=1), maker(order(photo, seed=1)))
    assert again is not second  # a stopped one is begun anew
    visits.stop_all()


def test_clicks_at_the_same_moment_are_one_work(visits, photo, maker):
    visit, begun = visits.of("ann", [photo]), []
    clicks = [
        threading.Thread(target=lambda: begun.append(visit.begin(order(photo), maker(order(photo)))))
        for _ in range(8)
    ]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join(ENDS_AFTER_S)
    assert len(begun) == 8
    assert len(set(map(id, begun))) == 1
    visits.stop_all()


def test_stop_that_comes_while_the_last_work_ends_is_for_the_new_one_too(visits, photo, maker):
    visit = visits.of("ann", [photo])

    def stopped_meanwhile(folder: Path) -> Work:
        visit.stop()
        return maker(order(photo))(folder)

    work = visit.begin(order(photo), stopped_meanwhile)
    work.join()
    assert [view.status for view in work.views()] == ["Stopped"]


def test_stop_is_said_at_once_and_by_its_end_once_it_came(visits, photo, maker, held):
    work = visits.of("ann", [photo]).begin(order(photo), maker(order(photo)))
    views = work.views()
    assert next(views).status in ("Starting", "Waiting: 1 other is before you")
    work.stop()
    said = [view.status for view in views]
    assert said[-1] == "Stopped"
    assert set(said) <= {"Waiting: 1 other is before you", "Stopping", "Stopped"}
    work.stop()
    assert [view.status for view in work.views()] == ["Stopped"]


def test_who_leaves_ends_the_work_and_keeps_nothing_here(visits, photo, maker):
    visit = visits.of("ann", [photo])
    (row,) = visit.rows_of([photo], MEGAPIXELS)
    assert row.state == "ready"
    assert any(visit.folder.rglob("*.jpg"))
    work = visit.begin(order(photo), maker(order(photo)))
    visits.leave("ann")
    assert not work.running
    assert not visit.folder.exists()
    assert not photo.exists()
    with pytest.raises(UserError, match="the page lost its connection; bring the photos again"):
        visit.begin(order(photo), maker(order(photo)))
    (row,) = visits.of("ann", [photo]).rows_of([photo], MEGAPIXELS)
    assert row.state == "failed"
    assert row.note == (
        "a.png is not here any more: it was deleted when the page lost its connection; bring it again"
    )


def test_a_photo_deleted_while_it_waited_is_a_row_with_the_reason(visits, photo, maker, held):
    visit = visits.of("ann", [photo])
    work = visit.begin(order(photo), maker(order(photo)))
    photo.unlink()
    held.free()
    work.join()
    *_, last = work.views()
    assert (last.rows[0].state, last.rows[0].note.partition(":")[0]) == (
        "failed",
        "a.png is not here any more",
    )


def test_a_photo_is_looked_at_once_and_a_bad_one_again(visits, photo, tmp_path):
    visit = Visit(tmp_path / "visit")
    bad = tmp_path / "b.png"
    bad.write_bytes(b"no picture")
    first = visit.rows_of([photo, bad], MEGAPIXELS)
    assert [row.state for row in first] == ["ready", "failed"]
    Image.new("RGB", (8, 9)).save(
        bad
    )  # gradio names an upload by its bytes: the same name, brought whole this time
    second = visit.rows_of([photo, bad], MEGAPIXELS)
    assert second[0] is first[0]
    assert (second[1].state, second[1].width, second[1].height) == ("ready", 8, 9)


@pytest.mark.parametrize("asked", [1, 2])
def test_a_photo_that_no_network_sees_is_stopped_too(supir, face, asked):
    told = []
    restorer = Restorer(supir, RestoreSettings(min_size_px=64, strength=0.0))
    with stoppable(supir, lambda: told.append(1) or len(told) == asked), pytest.raises(Stopped):
        restorer.restore(face)
    assert restorer.restore(face).strength == 0  # and nothing of it stays
