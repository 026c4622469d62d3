"""The pages about stored captions: what they count and show, what they escape, and what the commands refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from supir_caption.cli import dispatch
from supir_caption.pages.compare import compare
from supir_caption.pages.marking import agreement, marked, said, with_own_words
from supir_caption.pages.report import report
from supir_caption.pages.stored import open_both, open_captions, split_place, spread
from supir_caption.pages.tally import Example, Fewest, quantile
from supir_console import UserError
from supir_shards import Caption, Dataset, write_captions

WHOLE, LEFT = (0, 0, 64, 48), (0, 0, 32, 48)


def caption(key: str, text: str, region: int = 0, **checks: str) -> Caption:
    return Caption(
        key=key,
        region=region,
        box=LEFT if region else WHOLE,
        text=text,
        short_text=text[:40],
        num_tokens_clip_l=region + 10,
        num_tokens_clip_g=region + 9,
        checks={"facts_in_short": "1/2", **checks},
        model="m",
        prompt="dense@1",
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, as_sample, write_dataset) -> Dataset:
    colours = ["red", "green", "blue", "white"]
    samples = [as_sample(Image.new("RGB", (64, 48), colour)) for colour in colours]
    store = write_dataset(tmp_path_factory.mktemp("pages") / "d", [samples[:2], samples[2:]])
    keys = [sample.key for sample in samples]
    one = [
        [
            caption(keys[0], "A <b>blurry</b> photo.", degradation="blurry"),
            caption(keys[0], "A red wall.", 1),
        ],
        [caption(keys[2], "A blue door.", cleaned="heading 2, think 1")],
    ]
    other = [
        [caption(keys[0], "A red wall in the sun."), caption(keys[1], "A green field.")],
        [caption(keys[2], "Perhaps a blue gate.", hedging="perhaps")],
    ]
    for name, parts in (("one", one), ("other", other)):
        for part, captions in zip(Dataset(store).parts(), parts, strict=True):
            write_captions(store, name, part, captions)
    store.write(
        "report/captions/one/failures.jsonl",
        b'{"part": "p", "sample": "s", "reason": "truncated", "detail": "<cut>"}\nno json\n',
    )
    return Dataset(store)


def test_a_report_counts_each_check_by_whole_pictures_and_regions_and_shows_it(dataset: Dataset):
    page, summary = report(open_captions(dataset, "one", 9), examples=4)
    text = page.decode()
    assert (summary["captions"], summary["with_check"]) == (3, 1)
    assert summary["checks"] == {"degradation": {"captions": 1, "rate": 0.33333}}
    assert "A &lt;b&gt;<mark>blurry</mark>&lt;/b&gt; photo." in text
    assert "<b>blurry" not in text
    assert "heading (2), think (1)" in text
    assert re.search(r"truncated</td><td class=\"number\">1</td><td class=\"words\">&lt;cut&gt;", text)
    assert "unreadable line" in text
    assert text.count("data:image/jpeg;base64,") == 3
    assert not re.search(r"<script|https?://", text)
    assert report(open_captions(dataset, "one", 9), examples=4)[0] == page


def test_two_captioners_are_compared_where_both_say_something(dataset: Dataset):
    page, summary = compare(*open_both(dataset, ("one", "other"), 9), examples=4)
    assert (summary["both"], summary["only"]) == (2, {"one": 1, "other": 1})
    assert summary["checks"] == {
        "degradation": {"one": 1, "other": 0, "both": 0},
        "hedging": {"one": 0, "other": 1, "both": 0},
    }
    text = page.decode()
    assert "A blue <b>door</b>." in text
    assert "<b>Perhaps</b> a blue <b>gate</b>." in text
    assert "found by a check in other alone (1)" in text


def test_a_picture_that_is_gone_is_told_and_its_caption_is_shown(dataset: Dataset, tmp_path: Path):
    import shutil

    folder = tmp_path / "d"
    shutil.copytree(dataset.store.url, folder)
    (folder / "shards/part-000000.tar").write_bytes(b"")
    text = report(open_captions(Dataset(folder), "one", 9), examples=4)[0].decode()
    assert text.count("picture cannot be read") == 2
    assert "A red wall." in text


def test_the_commands_write_their_pages_and_refuse_in_words(dataset: Dataset, tmp_path: Path, capsys):
    url = dataset.store.url
    for arguments, page in (
        (["report", f"{url}/captions/one"], f"{url}/report/captions/one/index.html"),
        (
            ["compare", f"{url}/captions/one", f"{url}/captions/other"],
            f"{url}/report/captions/one-and-other.html",
        ),
        (["report", url, "other", "-o", f"{tmp_path}/new/page.html"], f"{tmp_path}/new/page.html"),
    ):
        with pytest.raises(SystemExit) as left:
            dispatch([*arguments, "--json"])
        assert left.value.code == 0
        assert json.loads(capsys.readouterr().out)["page"] == page
        assert Path(page).read_text().startswith("<!doctype html>")
    for arguments, words in (
        (["report", url], r"has captions of one, other; type: supir-caption report \S+ NAME"),
        (["report", url, "none"], "has no captions 'none'; it has one, other"),
        (["compare", url, "one", "one"], "'one' is compared with itself"),
        (["compare", url], "1 arguments; type: supir-caption compare DATASET NAME OTHER"),
        (["compare", f"{url}/captions/one", f"{tmp_path}/captions/one"], "lie in two datasets"),
        (["report", url, "one", "-o", str(tmp_path)], "is a folder; give the name of a file"),
    ):
        with pytest.raises(UserError, match=words):
            dispatch(arguments)


def test_of_many_parts_evenly_spread_ones_are_read():
    parts = [f"part-{number:06d}" for number in range(10)]
    assert spread(parts, 3) == ["part-000000", "part-000003", "part-000006"]
    assert spread(parts, 20) == parts
    with pytest.raises(UserError, match="is no folder DATASET/captions/NAME"):
        split_place("/data/captions")


def test_the_same_few_are_chosen_in_any_order():
    examples = [Example("p", caption(f"{number:032x}", "A fox.")) for number in range(50)]
    chosen = []
    for order in (examples, examples[::-1]):
        few = Fewest(5, "blur")
        for example in order:
            few.add(example)
        chosen.append([one.caption.key for one in few.examples()])
    assert chosen[0] == chosen[1]
    assert len(set(chosen[0])) == 5


def test_words_are_marked_as_they_stand_and_told_apart_by_their_root():
    assert marked("Out-of-focus, out of focus; unfocused & <i>", ["out of focus"]) == (
        "<mark>Out-of-focus</mark>, <mark>out of focus</mark>; unfocused &amp; &lt;i&gt;"
    )
    assert marked("A fox.", []) == "A fox."
    assert with_own_words("Two benches behind a dark berry.", said("A bench with berries.")) == (
        "Two benches behind a <b>dark</b> berry."
    )
    assert agreement("A wooden table.", "Wooden tables and chairs.") == pytest.approx(2 / 3)
    assert agreement("A fox.", "An owl.") == 1.0  # neither says a word of four letters


def test_quantiles_are_values_that_were_counted():
    from collections import Counter

    assert [quantile(Counter([1, 2, 3, 9]), share) for share in (0.1, 0.5, 0.9)] == [1, 2, 9]
    assert quantile(Counter(), 0.5) == 0
