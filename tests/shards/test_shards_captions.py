"""Captions: round trip, order, and which one describes a crop."""

from __future__ import annotations

import tempfile
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supir_shards import (
    Caption,
    Dataset,
    DatasetError,
    Store,
    caption_for,
    caption_path,
    part_name,
    read_captions,
    write_captions,
)

PART = part_name(0)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@st.composite
def captions(draw: st.DrawFn) -> Caption:
    x0, y0 = draw(st.integers(0, 5000)), draw(st.integers(0, 5000))
    return Caption(
        key=draw(st.sampled_from(["a" * 32, "b" * 32, "0" * 32])),
        region=draw(st.integers(0, 9)),
        box=(x0, y0, x0 + draw(st.integers(1, 5000)), y0 + draw(st.integers(1, 5000))),
        text=draw(TEXT),
        short_text=draw(TEXT),
        num_tokens_clip_l=draw(st.integers(0, 2000)),
        num_tokens_clip_g=draw(st.integers(0, 2000)),
        checks=draw(st.dictionaries(TEXT, TEXT, max_size=3)),
        model=draw(TEXT),
        prompt=draw(TEXT),
    )


def whole(text: str = "whole", key: str = "a" * 32) -> Caption:
    return Caption(
        key=key,
        region=0,
        box=(0, 0, 1024, 1024),
        text=text,
        short_text=text,
        num_tokens_clip_l=1,
        num_tokens_clip_g=1,
    )


@settings(max_examples=40, deadline=None)
@given(written=st.lists(captions(), max_size=8, unique_by=lambda caption: (caption.key, caption.region)))
def test_captions_come_back_and_their_order_does_not_change_the_bytes(written: list[Caption]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        assert write_captions(store, "one", PART, written) == len(written)
        write_captions(store, "two", PART, reversed(written))
        read = [caption for group in read_captions(store, "one", PART).values() for caption in group]
        assert read == sorted(written, key=lambda caption: (caption.key, caption.region))
        assert store.read(caption_path("one", PART)) == store.read(caption_path("two", PART))


def test_a_record_carries_the_captions_of_the_captioner_that_was_asked_for(
    dataset: Store, make_sample
) -> None:
    other = replace(whole("other words", make_sample(1).key), box=(0, 0, 24, 16))
    write_captions(dataset, "other", PART, [other])
    records = list(Dataset(dataset).samples([PART], captions="other"))
    assert [len(record.captions) for record in records] == [0, 1, 0]
    assert records[1].caption_for((0, 0, 8, 8)) == other
    assert records[0].caption_for((0, 0, 8, 8)) is None


def test_a_captioner_that_was_never_run_is_named_with_the_command(dataset: Store) -> None:
    told = r"no captions 'llava' for part-000000; it has plain; make them with supir-caption"
    with pytest.raises(DatasetError, match=told):
        next(Dataset(dataset).samples([PART], captions="llava"))


def test_a_region_that_comes_twice_is_refused(store: Store) -> None:
    with pytest.raises(DatasetError, match=f"the caption of sample {'a' * 32}, region 0 came twice"):
        write_captions(store, "plain", PART, [whole(), whole("again")])


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (-1, 0, 5, 5), (3, 3, 2, 9)])
def test_an_empty_or_reversed_box_is_refused(store: Store, box: tuple[int, int, int, int]) -> None:
    with pytest.raises(DatasetError, match="a box is x0, y0, x1, y1"):
        write_captions(store, "plain", PART, [replace(whole(), box=box)])


def test_a_captioner_name_cannot_leave_its_folder(store: Store) -> None:
    with pytest.raises(DatasetError, match=r"caption name '\.\./up' may hold only letters"):
        write_captions(store, "../up", PART, [])


LEFT = replace(whole("left"), region=1, box=(0, 0, 512, 1024))
CENTRE = replace(whole("centre"), region=2, box=(256, 256, 768, 768))
CORNER = replace(whole("corner"), region=3, box=(0, 0, 512, 512))


@pytest.mark.parametrize(
    ("crop", "text"),
    [
        ((256, 256, 768, 768), "centre"),  # exactly a region
        ((0, 0, 512, 512), "corner"),  # two regions hold it whole: the smaller one wins
        ((0, 400, 512, 912), "left"),
        ((128, 0, 640, 1024), "left"),  # three quarters of the crop
        ((256, 0, 769, 1024), "whole"),  # just under half of it
        ((900, 900, 1000, 1000), "whole"),  # no region at all
        ((0, 0, 1024, 1024), "whole"),  # the picture itself, although a region holds half of it
    ],
)
def test_the_region_that_covers_most_of_the_crop_describes_it(
    crop: tuple[int, int, int, int], text: str
) -> None:
    for order in ([whole(), LEFT, CENTRE, CORNER], [CORNER, CENTRE, LEFT, whole()]):
        found = caption_for(order, crop)
        assert found is not None
        assert found.text == text


def test_of_equal_regions_the_lower_number_wins() -> None:
    twins = [replace(CORNER, region=5, text="later"), replace(CORNER, region=4, text="earlier")]
    found = caption_for([whole(), *twins], (0, 0, 500, 500))
    assert found is not None
    assert found.text == "earlier"


def test_a_region_without_text_gives_way() -> None:
    assert caption_for([whole(), replace(CORNER, text="")], (0, 0, 512, 512)) == whole()
    assert caption_for([replace(whole(), text="")], (0, 0, 512, 512)) is None


def test_a_crop_that_nothing_describes_has_no_caption() -> None:
    assert caption_for([], (0, 0, 1, 1)) is None
    assert caption_for([LEFT], (600, 0, 1000, 400)) is None
