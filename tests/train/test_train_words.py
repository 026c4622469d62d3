"""Which words a crop is trained with, and that they are true of it."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from supir_console import UserError
from supir_model.prompts import NEGATIVE_PROMPT, POSITIVE_SUFFIX
from supir_shards import Caption, Dataset, Role, Store, finish_dataset, write_captions
from supir_train.data import check_data, training_batches
from supir_train.held_out_batches import choose_held_out, validation_batches
from supir_train.order import Position
from supir_train.words import CaptionWeights, names_a_side, negative_prompt, photo_prompt
from supir_train.world import ALONE

WHOLE, CROP = (0, 0, 100, 100), (10, 10, 40, 40)
KINDS = {"": "empty", "a garden": "long", "the gate of a garden": "region", "gate": "short"}


def caption(region: int, box: tuple[int, int, int, int], text: str, short_text: str) -> Caption:
    return Caption(
        key="k",
        region=region,
        box=box,
        text=text,
        short_text=short_text,
        num_tokens_clip_l=1,
        num_tokens_clip_g=1,
    )


CAPTIONS = (caption(0, WHOLE, "a garden", "garden"), caption(1, CROP, "the gate of a garden", "gate"))


def drawn(weights: CaptionWeights, captions=CAPTIONS, count: int = 2000) -> Counter[str]:
    rng = np.random.default_rng(0)
    return Counter(photo_prompt(captions, CROP, rng, weights=weights, suffix_share=0.0) for _ in range(count))


def test_kinds_of_captions_come_by_their_weights():
    weights = CaptionWeights(region=4, long=3, short=2, empty=1)
    shares = {KINDS[text]: count / 2000 for text, count in drawn(weights).items()}
    # three standard deviations of a share of 0.4 among 2000
    assert shares == pytest.approx({"region": 0.4, "long": 0.3, "short": 0.2, "empty": 0.1}, abs=0.033)


@pytest.mark.parametrize("kind", ["region", "long", "short", "empty"])
def test_a_kind_without_weight_never_comes(kind):
    weights = CaptionWeights(**{name: float(name != kind) for name in ("region", "long", "short", "empty")})
    assert set(KINDS.values()) - {KINDS[text] for text in drawn(weights)} == {kind}


def test_a_crop_under_no_region_takes_the_whole_pictures_words():
    seen = drawn(CaptionWeights(region=1, long=1, short=1, empty=0), CAPTIONS[:1])
    assert seen.keys() == {"a garden", "garden"}


def test_the_default_drops_one_caption_in_ten_as_the_paper_does():
    assert drawn(CaptionWeights())[""] / 2000 == pytest.approx(0.1, abs=0.02)


def test_weights_that_choose_nothing_are_refused(configure, tmp_path):
    with pytest.raises(
        UserError, match="every weight is 0, so no prompt can be chosen; give one of them weight"
    ):
        configure("adapter", tmp_path, data__caption_weights__region=0, data__caption_weights__empty=0)


@pytest.mark.parametrize(
    "text",
    [
        "a man on the left",
        "Left-hand drive",
        "the RIGHTMOST window",
        "a left-handed player",
        "right, a dog",
        "upper_left corner",
        "in the righthand lane",
        "turning leftwards",
        "to the viewer's right.",
    ],
)
def test_captions_that_name_a_side_are_found(text):
    assert names_a_side(text)


@pytest.mark.parametrize(
    "text",
    ["a bright sky", "copyright notice", "a cleft rock", "an upright piano", "frightened leftovers", ""],
)
def test_words_that_only_hold_a_side_are_not(text):
    assert not names_a_side(text)


@pytest.mark.parametrize(
    "trace", ["", "no json", "[1]", "{}", '{"prompt": 3}', '{"prompt": " "}', "[" * 100_000]
)
def test_a_negative_of_which_no_words_are_noted_carries_the_negative_prompt(trace):
    assert negative_prompt(trace) == NEGATIVE_PROMPT


def batch_of(config, images: int = 200):
    return next(training_batches(config, images=images, degraded=False, start=Position()))


def mirrored_share(configure, run, dataset: str) -> float:
    config = configure(
        "adapter", run, data__dataset=dataset, data__captions="plain", data__caption_weights__empty=0
    )
    return float(np.mean([box.flip for box in batch_of(config).boxes]))


def test_crops_are_mirrored_unless_their_caption_names_a_side(
    configure, few_samples, store_samples, tmp_path
):
    plain = store_samples(tmp_path / "plain", few_samples, captions="plain", words="a bright photo")
    sided = store_samples(tmp_path / "sided", few_samples, captions="plain", words="Left, a photo")
    assert mirrored_share(configure, tmp_path / "run", plain) == pytest.approx(0.5, abs=0.11)
    assert mirrored_share(configure, tmp_path / "run", sided) == 0.0


def test_negatives_carry_the_words_that_they_were_made_with(configure, few_samples, store_samples, tmp_path):
    made = [
        replace(item, role=Role.NEGATIVE, trace=json.dumps({"prompt": f"dirty, frames {number}"}))
        for number, item in enumerate(few_samples)
    ]
    folder = store_samples(tmp_path / "negatives", made)
    config = configure(
        "adapter",
        tmp_path / "run",
        data__negatives=folder,
        data__negative_share=0.5,
        data__captions="plain",
        data__workers=1,
        validation__crops=0,  # those of held-out photos are held out
    )
    batch = batch_of(config, 64)
    seen = {(key, text) for key, text in zip(batch.keys, batch.prompts, strict=True) if "dirty" in text}
    assert seen == {(item.key, json.loads(item.trace)["prompt"]) for item in made}


def prompts(configure, run, **keys) -> list[str]:
    return list(batch_of(configure("adapter", run, data__captions="plain", **keys)).prompts)


def test_prompts_are_the_caption_of_the_sample(configure, tmp_path):
    batch = batch_of(
        configure(
            "adapter",
            tmp_path,
            data__captions="plain",
            data__caption_weights__empty=0,
            data__suffix_share=0,
        ),
        8,
    )
    assert list(batch.prompts) == [f"photo {key}" for key in batch.keys]


def test_captions_are_dropped_and_suffixed_by_their_shares(configure, tmp_path):
    keys = {"data__caption_weights__region": 0.7, "data__caption_weights__empty": 0.3}
    seen = prompts(configure, tmp_path, data__suffix_share=0.5, **keys)
    assert sum(not text for text in seen) == pytest.approx(60, abs=20)
    assert sum(text.endswith(POSITIVE_SUFFIX) for text in seen) == pytest.approx(70, abs=20)


def test_negative_samples_without_words_always_carry_the_negative_prompt(configure, negatives, tmp_path):
    keys = {"data__negatives": negatives, "data__negative_share": 0.5, "data__caption_weights__region": 0}
    seen = prompts(configure, tmp_path, **keys)
    assert sum(text == NEGATIVE_PROMPT for text in seen) == 100
    assert sum(text == "" for text in seen) == 100


def test_held_out_crops_are_validated_with_words(configure, tmp_path):
    config = configure("adapter", tmp_path, data__captions="plain", data__caption_weights__empty=9)
    batches = validation_batches(config, choose_held_out(config), images=16, degraded=False, world=ALONE)
    assert [text for batch in batches for text in batch.prompts if not text] == []


def test_fewer_captions_than_samples_are_told(configure, tmp_path, caplog):
    own = tmp_path / "dataset"
    shutil.copytree(configure("adapter", tmp_path / "run").data.dataset, own)
    store = Store(own)
    for part in Dataset(store).parts():
        row = Dataset(store).index(part).to_pylist()[0]
        write_captions(store, "few", part, [_caption(row["key"], row["width"], row["height"])])
    finish_dataset(store, command="tests", config={}, config_hash="0")
    check_data(configure("adapter", tmp_path / "run", data__dataset=str(own), data__captions="few"))
    assert "at least 20 of 24 samples have no caption by few" in caplog.text


def _caption(key: str, width: int, height: int) -> Caption:
    return Caption(
        key=key,
        region=0,
        box=(0, 0, width, height),
        text="a cat",
        short_text="a cat",
        num_tokens_clip_l=2,
        num_tokens_clip_g=2,
    )
