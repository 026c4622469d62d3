"""One part through the worker: regions joined to crops, failures recorded, roles skipped, commit last."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from supir_caption.ahead import Ahead
from supir_caption.config import CaptionConfig, RegionConfig, RunConfig
from supir_caption.forecast import forecast
from supir_caption.tags_engine import TagsEngine
from supir_caption.worker import PartCaptioner
from supir_shards import Dataset, Role, Store, read_captions, shard_path

CONFIG = CaptionConfig(
    name="t", engine="tags", regions=RegionConfig(size_px=256), run=RunConfig(batch_images=2, workers=1)
)
# Its width is a text and its orientation 6: turning such a photo upright raises struct.error in Pillow.
QUIRKY_EXIF = (
    b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\0\0\x02\0\0\0\x06\0\0\0&\x01\x12\0\x03\0\0\0\x01\0\x06"
    b"\0\0\0\0\0\0hello\0"
)
FAILURES = "report/captions/t/failures/part-000000.jsonl"


@pytest.fixture
def captioner(tags: TagsEngine) -> Callable[[Store], PartCaptioner]:
    def make(store: Store) -> PartCaptioner:
        return PartCaptioner(store.url, CONFIG, 0, tags)  # the engine that this process has loaded already

    return make


@pytest.fixture
def store(tmp_path: Path, photo, as_sample, write_dataset) -> Store:
    pictures = [as_sample(photo("coffee")), as_sample(photo("chelsea"))]
    negative = as_sample(photo("rocket"), role=Role.NEGATIVE)
    return write_dataset(tmp_path / "d", [[*pictures, negative]])


def test_a_part_gets_captions_of_images_and_regions_but_not_of_negatives(store: Store, captioner):
    batches = list(captioner(store).caption_part("part-000000"))
    captions = read_captions(store, "t", "part-000000")
    assert [(batch.images, batch.captions) for batch in batches] == [(2, 8)]
    assert sorted(len(of_sample) for of_sample in captions.values()) == [3, 5]
    assert batches[0].checks["facts_in_short"] == 8
    assert all(caption.num_tokens_clip_l <= 75 for of_sample in captions.values() for caption in of_sample)
    assert not store.exists(FAILURES)


def test_a_crop_joins_the_caption_of_its_region_and_else_the_whole(store: Store, captioner):
    list(captioner(store).caption_part("part-000000"))
    coffee = next(record for record in Dataset(store).samples(captions="t") if record.width == 600)
    assert coffee.caption_for((310, 210, 590, 390)).region == 4
    assert coffee.caption_for((0, 0, 300, 200)).region == 1
    assert coffee.caption_for((100, 50, 500, 350)).box == (0, 0, 600, 400)
    assert coffee.caption_for((0, 0, 600, 400)).text.startswith("An espresso.")


def test_bad_samples_are_recorded_and_the_rest_is_captioned(
    tmp_path, photo, as_sample, write_dataset, captioner
):
    half = as_sample(photo("rocket"))
    half = type(half)(
        key="f" * 32, image=half.image[:9000], extension="jpg", role=half.role, width=640, height=427
    )
    altered, good = as_sample(photo("coffee")), as_sample(photo("chelsea"))
    store = write_dataset(tmp_path / "d", [[half, altered, good]])
    tar = tmp_path / "d" / shard_path("part-000000")
    data = tar.read_bytes()
    where = data.index(altered.image) + 5000
    tar.write_bytes(data[:where] + b"\0\0\0\0" + data[where + 4 :])
    list(captioner(store).caption_part("part-000000"))
    failures = [json.loads(line) for line in store.read(FAILURES).splitlines()]
    assert list(read_captions(store, "t", "part-000000")) == [good.key]
    assert sorted(failure["reason"] for failure in failures) == ["altered", "undecodable"]
    by_reason = {failure["reason"]: failure for failure in failures}
    assert by_reason["undecodable"]["sample"] == half.key
    assert "truncated" in by_reason["undecodable"]["detail"]
    assert altered.key in by_reason["altered"]["sample"]


def test_a_photo_with_a_broken_exif_block_is_captioned(
    tmp_path, photo, as_jpeg, as_sample, write_dataset, captioner
):
    cat = as_sample(photo("chelsea"))
    data = as_jpeg(photo("chelsea"), exif=QUIRKY_EXIF)
    store = write_dataset(tmp_path / "d", [[dataclasses.replace(cat, image=data)]])
    list(captioner(store).caption_part("part-000000"))
    whole = read_captions(store, "t", "part-000000")[cat.key][0]
    assert whole.text.startswith("A cat")
    assert not store.exists(FAILURES)


def test_two_runs_of_a_part_write_the_same_bytes_whatever_the_batch(
    store: Store, tags: TagsEngine, captioner
):
    path = "captions/t/part-000000.parquet"
    list(captioner(store).caption_part("part-000000"))
    first = store.read(path)
    store.delete(path)
    worker = PartCaptioner(store.url, CONFIG.model_copy(update={"run": RunConfig(batch_images=1)}), 0, tags)
    assert len(list(worker.caption_part("part-000000"))) == 2
    assert store.read(path) == first


class Deadly:
    """The tags engine, but a picture of a width in `deadly` ends the process that takes it, as a killed worker does."""

    def __init__(self, engine: TagsEngine, deadly: Sequence[int]) -> None:
        self._engine, self._deadly, self.seen = engine, deadly, Counter()
        self.model, self.num_ahead = engine.model, engine.num_ahead

    def prepare(self, picture):
        return self._engine.prepare(picture)

    def describe(self, pictures):
        def watched():
            for picture in pictures:
                self.seen[picture.key] += 1
                if picture.boxes[0][2] in self._deadly:
                    raise SystemExit(f"killed by {picture.key}")
                yield picture

        return self._engine.describe(watched())


def tries_until_it_lives(store: Store, engine: Deadly, config: CaptionConfig) -> list[list[int]]:
    """Images of each batch of every worker that the part took."""
    tries: list[list[int]] = []
    while True:
        worker = PartCaptioner(store.url, config, 0, engine)
        tries.append([])
        try:
            for batch in worker.caption_part("part-000000"):
                tries[-1].append(batch.images)
            return tries
        except SystemExit:
            assert len(tries) < 9
            continue


@pytest.fixture
def strips(tmp_path: Path, photo, as_sample, write_dataset) -> Store:
    """A part of ten narrow cut-outs, 101 to 110 px wide, that take no regions."""
    rocket = photo("rocket")
    return write_dataset(
        tmp_path / "d", [[as_sample(rocket.crop((40 * n, 0, 40 * n + 101 + n, 90))) for n in range(10)]]
    )


def test_a_worker_that_dies_costs_the_pictures_in_its_hands_and_leaves_the_same_bytes(
    strips: Store, tags: TagsEngine
):
    path = "captions/t/part-000000.parquet"
    assert tries_until_it_lives(strips, Deadly(tags, []), CONFIG) == [[2, 2, 2, 2, 2]]
    undisturbed = strips.read(path)
    strips.delete(path)
    once = Deadly(tags, [108])
    worker = PartCaptioner(strips.url, CONFIG, 0, once)
    with pytest.raises(SystemExit):
        list(worker.caption_part("part-000000"))
    stored = {key for key, times in once.seen.items() if times}
    after = Deadly(tags, [])
    assert tries_until_it_lives(strips, after, CONFIG) == [[6, 2, 2]]
    assert len(stored & after.seen.keys()) == 2  # the seventh, and the one that died of the eighth
    assert strips.read(path) == undisturbed
    assert strips.list("report/captions/t") == []
    assert set(once.seen.values()) | set(after.seen.values()) == {1}


def test_a_poisoned_picture_is_found_listed_and_costs_no_other(strips: Store, tags: TagsEngine):
    engine = Deadly(tags, [104, 109])
    tries = tries_until_it_lives(strips, engine, CONFIG)
    failures = [json.loads(line) for line in strips.read(FAILURES).splitlines()]
    rows = {row["key"]: row["width"] for row in Dataset(strips).index("part-000000").to_pylist()}
    assert [rows[failure["sample"]] for failure in failures] == sorted(
        [104, 109], key=lambda w: rows_key(rows, w)
    )
    assert {failure["reason"] for failure in failures} == {"engine_died"}
    captions = read_captions(strips, "t", "part-000000")
    assert sorted(rows[key] for key in captions) == [101, 102, 103, 105, 106, 107, 108, 110]
    # Two deaths among others, one alone, for each of the two.
    assert len(tries) == 7


def rows_key(rows: dict[str, int], width: int) -> str:
    return next(key for key, value in rows.items() if value == width)


def test_what_another_config_left_unfinished_is_not_taken(strips: Store, tags: TagsEngine):
    worker = PartCaptioner(strips.url, CONFIG, 0, Deadly(tags, [110]))
    with pytest.raises(SystemExit):
        list(worker.caption_part("part-000000"))
    other = CONFIG.model_copy(update={"short_tokens": 20})
    assert tries_until_it_lives(strips, Deadly(tags, []), other) == [[2, 2, 2, 2, 2]]


def test_a_torn_line_of_what_is_unfinished_is_captioned_again(strips: Store, tags: TagsEngine):
    worker = PartCaptioner(strips.url, CONFIG, 0, Deadly(tags, [110]))
    with pytest.raises(SystemExit):
        list(worker.caption_part("part-000000"))
    chunks = [path for path in strips.list("report/captions/t") if path.endswith("000000.jsonl")]
    strips.write(chunks[0], strips.read(chunks[0])[:-40])
    assert tries_until_it_lives(strips, Deadly(tags, []), CONFIG) == [[7, 2, 1]]
    assert len(read_captions(strips, "t", "part-000000")) == 10


@pytest.mark.parametrize("depth", [0, 1, 3, 50])
def test_work_made_ahead_keeps_its_order_and_its_error(depth: int):
    def numbers():
        yield from range(20)
        raise OSError("the disk is gone")

    made = Ahead(numbers(), lambda number: number, depth=depth, threads=3)
    assert [next(made) for _ in range(20)] == list(range(20))
    with pytest.raises(OSError, match="the disk is gone"):
        next(made)


@pytest.mark.parametrize(("depth", "most"), [(0, 1), (2, 3)])
def test_work_is_begun_no_further_ahead_than_it_may_be(depth: int, most: int):
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        return number

    made = Ahead(range(20), work, depth=depth, threads=1)
    for taken, number in enumerate(made, start=1):
        time.sleep(0.01)  # what may be begun, is
        assert number + 1 == taken <= len(begun) < taken + most
    assert begun == list(range(20))


def test_nothing_is_read_or_worked_on_once_it_is_closed():
    under_way: set[str] = set()

    def slowly(name: str, number: int) -> int:
        under_way.add(name)
        time.sleep(0.05)
        under_way.remove(name)
        return number

    made = Ahead((slowly("read", n) for n in range(20)), lambda n: slowly("work", n), depth=3)
    assert next(made) == 0
    made.close()
    assert under_way == set()


@pytest.mark.parametrize(("num_images", "measured"), [(3, 3), (16, 9)])
def test_a_try_measures_some_pictures_after_one_that_warms_up_and_stores_nothing(
    strips: Store, tags: TagsEngine, num_images: int, measured: int
):
    before = strips.list("")
    tried = PartCaptioner(strips.url, CONFIG, 0, tags).measure("part-000000", num_images)
    assert (tried.batch.images, tried.batch.captions) == (measured, measured)
    assert tried.seconds > 0
    assert strips.list("") == before


def test_a_try_of_a_part_of_one_picture_measures_that_one(
    tmp_path: Path, tags: TagsEngine, photo, as_sample, write_dataset
):
    store = write_dataset(tmp_path / "d", [[as_sample(photo("chelsea"))]])
    tried = PartCaptioner(store.url, CONFIG, 0, tags).measure("part-000000", 16)
    assert tried.batch.images == 1
    figures = forecast(30, tried, CONFIG, workers=2, num_gpus=0)
    assert figures["worker_hours"] == pytest.approx(
        30 / tried.batch.captions * tried.seconds / 3600, abs=1e-3
    )
    assert figures["elapsed_hours"] == pytest.approx(figures["worker_hours"] / 2, abs=1e-3)
