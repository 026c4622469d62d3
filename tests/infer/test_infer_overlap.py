"""Reading ahead and saving behind: order, bounds, errors in their turn, and the same results as one after another."""

from __future__ import annotations

import gc
import json
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from limits import HANGS_AFTER_S
from PIL import Image

from supir_infer import RestoreSettings, batching, folder, outcomes
from supir_infer.images import Picture
from supir_infer.overlap import Room, ahead, behind
from supir_infer.plan import Recipe, find_jobs, plan_jobs
from supir_infer.restore import Restorer
from supir_infer.saving import read_metadata

ANY = Room(items=3, num_bytes=100)
SLOW_S = 0.3  # of a save that others need not wait for


class Watched:
    """Doubles numbers, later ones faster, and counts how many are under way or not yet taken."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.done = threading.Semaphore(0)

    def __call__(self, number: int) -> int:
        self.begun.append(number)
        time.sleep(0.02 if number % 2 == 0 else 0)
        if number == 13:
            raise OSError("13 is no good")
        self.done.release()
        return 2 * number


@pytest.mark.parametrize("stage", [ahead, behind])
def test_results_come_in_order_whatever_takes_longest(stage: Callable[..., Iterator[int]]) -> None:
    assert list(stage(range(12), Watched(), lambda _: 1, ANY, 3)) == [2 * number for number in range(12)]
    assert list(stage([], Watched(), lambda _: 1, ANY)) == []


@pytest.mark.parametrize("stage", [ahead, behind])
def test_an_error_comes_in_its_turn(stage: Callable[..., Iterator[int]]) -> None:
    results = stage(range(10, 20), Watched(), lambda _: 1, ANY, 3)
    assert [next(results), next(results), next(results)] == [20, 22, 24]
    with pytest.raises(OSError, match="13 is no good"):
        next(results)


@pytest.mark.parametrize(("weight", "begun"), [(1, 4), (50, 3), (100, 2), (101, 1)])
def test_no_more_is_read_ahead_than_there_is_room_for(weight: int, begun: int) -> None:
    watched = Watched()
    with closing(ahead(range(100), watched, lambda _: weight, ANY, 4)) as results:
        assert next(results) == 0
        for _ in range(begun):
            watched.done.acquire()
        time.sleep(0.05)
        assert len(watched.begun) == begun  # the one that was taken, and what fits into 3 items and 100 bytes
        assert next(results) == 2
    assert len(watched.begun) <= begun + 1  # closed: nothing is begun any more


@pytest.mark.parametrize(("weight", "waiting"), [(1, 3), (50, 2), (101, 0)])
def test_the_next_item_is_not_asked_for_while_too_many_are_saved(weight: int, waiting: int) -> None:
    may_end = threading.Event()
    asked = []

    def items() -> Iterator[int]:
        for number in range(8):
            asked.append(number)
            yield number
        may_end.set()

    def save(number: int) -> int:
        may_end.wait(timeout=SLOW_S)
        return number

    results = behind(items(), save, lambda _: weight, ANY, 8)
    assert next(results) == 0
    assert len(asked) == waiting + 1
    assert list(results) == [1, 2, 3, 4, 5, 6, 7]


def test_what_was_restored_is_saved_where_the_run_is_interrupted() -> None:
    saved = []

    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyboardInterrupt

    def save(number: int) -> int:
        time.sleep(0.05)
        saved.append(number)
        return number

    with pytest.raises(KeyboardInterrupt):
        list(behind(items(), save, lambda _: 1, ANY, 2))
    assert sorted(saved) == [1, 2]


def test_ten_thousand_items_that_are_each_too_large_are_no_deep_recursion() -> None:
    results = ahead(range(10_000), lambda number: number, lambda _: 101, ANY)
    assert sum(results) == 10_000 * 9_999 // 2


@pytest.fixture
def many(tmp_path: Path, face: np.ndarray) -> Path:
    """Twelve photos, one of which is none."""
    source = tmp_path / "many"
    source.mkdir()
    for index in range(12):
        Image.fromarray(np.roll(face, 8 * index, axis=0)[:64, :64]).save(source / f"{index:02}.png")
    (source / "05.png").write_bytes(b"no picture")
    return source


CLEAN = RestoreSettings(strength=0.0, min_size_px=64)
"""No network runs: what is left is files."""


def recipe_of(settings: RestoreSettings) -> Recipe:
    return Recipe(settings, 0, "tiny", "0" * 64)


def test_a_folder_gives_the_pixels_and_lines_of_one_picture_after_the_other(supir, many, tmp_path):
    for index in (0, 1, 2, 3, 8, 9, 10, 11):
        (many / f"{index:02}.png").unlink()
    settings = RestoreSettings(steps=1, start_sigma=0.03, min_size_px=64, restore_guidance=0, strength=0.5)
    restorer, recipe = Restorer(supir, settings), recipe_of(settings)
    alone = [tmp_path / "alone", tmp_path / "together"]
    plans = [plan_jobs(find_jobs(many, out, lambda *_: ""), recipe) for out in alone]
    for out in alone:
        out.mkdir()
    for job in plans[0].open:
        folder.run_jobs(restorer, [job], recipe, alone[0] / "results.jsonl", 1)
    failed = folder.run_jobs(restorer, plans[1].open, recipe, alone[1] / "results.jsonl", 1)
    assert [ended.job.source.name for ended in failed] == ["05.png"]
    one, other = ([json.loads(line) for line in (out / "results.jsonl").open()] for out in alone)
    assert [Path(line["input"]).name for line in other] == ["04.png", "05.png", "06.png", "07.png"]
    for lines in (one, other):
        for line in lines:
            line.pop("seconds", None), line.pop("output", None)
    assert one == other
    for job, again in zip(plans[0].open, plans[1].open, strict=True):
        if job.target.exists():
            pixels = [np.asarray(Image.open(path)) for path in (job.target, again.target)]
            np.testing.assert_array_equal(*pixels)


def test_a_result_that_cannot_be_saved_is_a_row_and_its_neighbours_are_not(
    supir, many, tmp_path, monkeypatch
):
    write = outcomes.write_result

    def failing(job, *arguments):
        if job.source.name == "07.png":
            raise PermissionError(13, "Permission denied")
        return write(job, *arguments)

    monkeypatch.setattr(outcomes, "write_result", failing)
    (tmp_path / "out").mkdir()
    plan = plan_jobs(find_jobs(many, tmp_path / "out", lambda *_: ""), recipe_of(CLEAN))
    failed = folder.run_jobs(
        Restorer(supir, CLEAN), plan.open, recipe_of(CLEAN), tmp_path / "out/results.jsonl", 4
    )
    assert {ended.job.source.name: ended.reason.partition(" ")[2][:37] for ended in failed} == {
        "05.png": "no kind of picture that is known; the",
        "07.png": "cannot be written: Permission denied",
    }
    assert len(list((tmp_path / "out").glob("*.png"))) == 10


def test_pictures_are_read_while_others_are_restored_and_saved(supir, many, tmp_path, monkeypatch):
    """No clock: the restoration of a picture waits until the next one has been read and the last one is being saved."""
    (many / "05.png").unlink()
    read, saving = threading.Semaphore(0), threading.Semaphore(0)
    load, write = folder.load, outcomes.write_result

    def told_load(*arguments, **options):
        loaded = load(*arguments, **options)
        read.release()
        return loaded

    def told_write(*arguments):
        saving.release()
        return write(*arguments)

    class Waiting(Restorer):
        number = 0

        def restore_batch(self, *arguments, **options):
            self.number += 1
            if self.number < 11:
                assert read.acquire(timeout=HANGS_AFTER_S)
            if self.number > 1:
                assert saving.acquire(timeout=HANGS_AFTER_S)
            return super().restore_batch(*arguments, **options)

    monkeypatch.setattr(folder, "load", told_load)
    monkeypatch.setattr(outcomes, "write_result", told_write)
    (tmp_path / "out").mkdir()
    plan = plan_jobs(find_jobs(many, tmp_path / "out", lambda *_: ""), recipe_of(CLEAN))
    read.acquire(blocking=False)
    failed = folder.run_jobs(
        Waiting(supir, CLEAN), plan.open, recipe_of(CLEAN), tmp_path / "out/results.jsonl", 1
    )
    assert failed == []


def test_an_interrupted_run_leaves_no_thread_and_is_completed_by_the_next(supir, many, tmp_path):
    class Interrupted(Restorer):
        def restore_batch(self, images, *arguments, **options):
            if (np.asarray(images[0]) == np.asarray(stop_at.rgb)).all():
                raise KeyboardInterrupt
            return super().restore_batch(images, *arguments, **options)

    stop_at = folder.load(
        [folder.look_up(find_jobs(many / "08.png", tmp_path, lambda *_: "")[0], CLEAN)], CLEAN
    )[0].picture
    assert stop_at is not None
    out = tmp_path / "out"
    out.mkdir()
    before = set(threading.enumerate())
    jobs = find_jobs(many, out, lambda *_: "")
    with pytest.raises(KeyboardInterrupt):
        folder.run_jobs(Interrupted(supir, CLEAN), jobs, recipe_of(CLEAN), out / "results.jsonl", 1)
    gc.collect()
    assert set(threading.enumerate()) <= before  # some of the tests before end theirs meanwhile
    names = sorted(path.name for path in out.iterdir())
    assert names == [*(f"{index:02}.png" for index in (0, 1, 2, 3, 4, 6, 7)), "results.jsonl"]
    assert all(read_metadata(out / name) for name in names[:-1])
    plan = plan_jobs(jobs, recipe_of(CLEAN))
    assert (len(plan.finished), len(plan.open)) == (7, 5)


def test_few_pictures_are_in_memory_however_many_a_folder_has(supir, many, tmp_path, monkeypatch):
    pixels: list[weakref.ref[np.ndarray]] = []
    held = []
    decode = batching.picture_in

    def watched(data: bytes, name: str, sha256: str) -> Picture:
        picture = decode(data, name, sha256)
        pixels.append(weakref.ref(picture.rgb))
        return picture

    class Counting(Restorer):
        def restore_batch(self, *arguments, **options):
            held.append(sum(one() is not None for one in pixels))
            return super().restore_batch(*arguments, **options)

    monkeypatch.setattr(batching, "picture_in", watched)
    for index in range(12, 60):
        Image.fromarray(np.full((64, 64, 3), index, np.uint8)).save(many / f"{index:02}.png")
    (tmp_path / "out").mkdir()
    jobs = find_jobs(many, tmp_path / "out", lambda *_: "")
    folder.run_jobs(Counting(supir, CLEAN), jobs, recipe_of(CLEAN), tmp_path / "out/results.jsonl", 1)
    assert len(held) == 59
    assert max(held) <= 2 + folder.READ.items  # the one at work, the one before it, and those that wait


def test_few_files_wait_in_memory_however_many_a_folder_has(supir, many, tmp_path, monkeypatch):
    (many / "05.png").unlink()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for index in range(60):
        Image.fromarray(np.roll(noise, index, axis=0)).save(many / f"{index:02}.png")
    size = max(path.stat().st_size for path in many.iterdir())
    monkeypatch.setattr(folder, "FILES", Room(items=64, num_bytes=3 * size))
    waiting, most = [], []
    read, decode = batching.read_file, batching.picture_in

    def watched_read(path: Path) -> bytes:
        waiting.append(path.name)
        most.append(len(waiting))
        return read(path)

    def watched_decode(data: bytes, name: str, sha256: str) -> Picture:
        waiting.remove(name)
        return decode(data, name, sha256)

    monkeypatch.setattr(batching, "read_file", watched_read)
    monkeypatch.setattr(batching, "picture_in", watched_decode)
    (tmp_path / "out").mkdir()
    jobs = find_jobs(many, tmp_path / "out", lambda *_: "")
    failed = folder.run_jobs(
        Restorer(supir, CLEAN), jobs, recipe_of(CLEAN), tmp_path / "out/results.jsonl", 1
    )
    assert (failed, len(most)) == ([], 60)
    # those that wait, the one of the batch that is complete, that of the next, and those that are being decoded
    assert max(most) <= 3 + 2 + folder.READ.items + 1
