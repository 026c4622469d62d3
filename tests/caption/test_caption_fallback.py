"""Answers that are no captions: asked again, handed to the fallback, left out; captions examined over an endpoint."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from faulty_endpoint import FaultyEndpoint, completion

from supir_caption.cli import dispatch
from supir_caption.config import CaptionConfig
from supir_caption.fitness import FitConfig, left_out, reason
from supir_caption.inline import InlineCaptioner
from supir_caption.picture import Description
from supir_caption.tags_engine import TagsEngine
from supir_caption.worker import PartCaptioner
from supir_console import UserError, load_config
from supir_shards import Caption, Dataset, Store, read_captions

GOOD = "Sure! Here is a description: A tabby cat rests on a wool blanket. Its fur is striped."
REFUSAL = "I'm sorry, I can't help with that."


def config(url: str, *overrides: str) -> CaptionConfig:
    given = [
        "engine=openai",
        "name=far",
        "openai.model=m",
        f"openai.endpoint.base_url={url}",
        "regions.max_regions=0",
        "questions.photo=[dense]",
        *overrides,
    ]
    return load_config(CaptionConfig, None, given)


@pytest.fixture
def store(tmp_path: Path, photo, as_sample, write_dataset) -> Store:
    return write_dataset(tmp_path / "d", [[as_sample(photo("chelsea"))]])


def captioned(store: Store, settings: CaptionConfig, second: TagsEngine | None = None) -> Caption:
    worker = PartCaptioner(store.url, settings, 0)
    if second is not None:
        worker.__dict__["_second_engine"] = second  # the engine that this process has loaded already
    list(worker.caption_part("part-000000"))
    return next(iter(read_captions(store, "far", "part-000000").values()))[0]


def answering(*texts: str) -> Any:
    """Gives the texts one after the other, the last again and again."""
    given = list(texts)
    return lambda _request: (200, completion(given.pop(0) if len(given) > 1 else given[0]))


def test_a_refusal_is_asked_again_at_a_rising_temperature_until_a_caption_comes(store: Store):
    with FaultyEndpoint(
        answers=answering(REFUSAL, "Ein Hund sitzt auf der Wiese und schaut zum Zaun.", GOOD)
    ) as far:
        caption = captioned(store, config(far.url))
    assert [request["temperature"] for request in far.requests] == [0.2, 0.5, 0.8]
    assert len({request["seed"] for request in far.requests}) == 3
    assert caption.text == "A tabby cat rests on a wool blanket. Its fur is striped."
    assert (caption.checks["tries"], caption.checks["cleaned"]) == ("3", "opening 2")
    assert "refusal" not in caption.checks


def test_what_stays_unfit_has_no_caption_but_the_reason(store: Store):
    with FaultyEndpoint(answers=answering(REFUSAL)) as far:
        caption = captioned(store, config(far.url))
    assert len(far.requests) == 3
    assert (caption.text, caption.short_text, caption.model) == ("", "", "m")
    assert caption.checks == {"no_caption": "refusal: i'm sorry, i can't, help with that", "tries": "3"}
    record = next(Dataset(store).samples(captions="far"))
    assert record.caption_for((0, 0, 100, 100)) is None


def test_the_fallback_answers_where_the_first_engine_does_not(store: Store, tags: TagsEngine):
    with FaultyEndpoint(answers=answering(REFUSAL)) as far:
        caption = captioned(store, config(far.url, "fallback=tags"), tags)
    assert caption.text.startswith("A cat")
    assert caption.model == caption.checks["answered_by"] == tags.model
    assert "no_caption" not in caption.checks


def test_a_picture_that_the_first_engine_refuses_goes_to_the_fallback_too(store: Store, tags: TagsEngine):
    refused = (400, {"error": {"message": "no such pictures"}})
    with FaultyEndpoint(answers=lambda _request: refused) as far:
        caption = captioned(store, config(far.url, "fallback=tags"), tags)
    assert caption.text.startswith("A cat")
    assert not store.exists("report/captions/far/failures/part-000000.jsonl")


def test_a_part_whose_pictures_all_need_the_fallback_has_its_index_read_once(
    tmp_path: Path, photo, as_sample, write_dataset, tags: TagsEngine, monkeypatch
):
    samples = [as_sample(photo(name)) for name in ("chelsea", "coffee", "rocket")]
    store = write_dataset(tmp_path / "d", [samples])
    read, index = [], Dataset.index
    monkeypatch.setattr(Dataset, "index", lambda dataset, part: read.append(part) or index(dataset, part))
    with FaultyEndpoint(answers=answering(REFUSAL)) as far:
        captioned(store, config(far.url, "fallback=tags"), tags)
    captions = read_captions(store, "far", "part-000000")
    assert [captions[sample.key][0].model for sample in samples] == [tags.model] * 3
    assert len({captions[sample.key][0].text for sample in samples}) == 3
    assert len(read) == 2  # by the worker, and by the dataset as it reads the samples


def test_a_short_answer_that_is_none_leaves_the_short_text_to_the_long_one(store: Store):
    def answers(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        is_second = "This is a description of the image" in json.dumps(request)
        return 200, completion(REFUSAL if is_second else GOOD)

    with FaultyEndpoint(answers=answers) as far:
        caption = captioned(store, config(far.url, "questions.photo=[dense, short]"))
    assert len(far.requests) == 4
    assert caption.short_text == "A tabby cat rests on a wool blanket. Its fur is striped."


def test_a_cut_off_answer_is_kept_up_to_its_last_sentence_of_any_language(store: Store):
    settings = ("fit.ask_again=[finish_reason]", "fit.leave_out=[]", "ask.retry_temperatures=[0.5]")
    cut = (200, completion("一只猫在毯子上。它的毛是有条", "length"))
    with FaultyEndpoint(answers=lambda _request: cut) as far:
        caption = captioned(store, config(far.url, *settings))
    assert len(far.requests) == 2
    assert caption.text == "一只猫在毯子上。"
    assert caption.checks["finish_reason"] == "length"


def test_findings_decide_in_the_order_of_their_names():
    found = {"hedging": "perhaps", "refusal": "i cannot"}
    assert reason(found, FitConfig().leave_out) == "refusal: i cannot"
    assert reason({"hedging": "perhaps"}, FitConfig().leave_out) == ""
    assert reason(found, ("hedging", "refusal")) == "hedging: perhaps"
    kept = left_out(
        Description("I cannot.", {"refusal": "i cannot", "tries": "2"}, short="No."), "refusal: i cannot"
    )
    assert kept == Description("", {"tries": "2", "no_caption": "refusal: i cannot"})
    with pytest.raises(UserError, match="'blur' is no finding; known are degradation, refusal"):
        load_config(CaptionConfig, None, ["fit.leave_out=[blur]"])


def test_fallback_and_fitness_are_part_of_the_captions_identity():
    base = load_config(CaptionConfig, None, ["engine=openai", "openai.model=m"])
    tags = base.model_copy(update={"fallback": "tags"})
    assert len({base.made_by_hash(), tags.made_by_hash()}) == 2
    assert "tags" in tags.record()
    assert "tags" not in base.record()


def examined(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """A judge to whom all is shown, a maker of questions, and a reader who finds an option in the text."""
    content = request["messages"][0]["content"]
    words = content[-1]["text"]
    if "numbered sentences" in words:
        assert content[0]["type"] == "image_url"
        return 200, completion(
            json.dumps({"verdicts": ["shown"] * len(re.findall(r"^\d+\. ", words, re.MULTILINE))})
        )
    if "multiple-choice" in words:
        made = [{"question": "What is it?", "right": "cat", "wrong": ["dog", "fox", "owl"]}]
        return 200, completion(f"<think>hm</think>{json.dumps({'questions': made})}")
    assert len(content) == 1
    text, _, options = words.partition("Question")
    found = re.findall(r"^([A-D])\) (\w+)$", options, re.MULTILINE)
    return 200, completion(next((f"{letter})" for letter, option in found if f" {option} " in text), "E"))


def test_audit_and_quiz_ask_a_model_behind_an_endpoint(
    tmp_path: Path, photo, as_sample, write_dataset, capsys
):
    from supir_shards import write_captions

    sample = as_sample(photo("chelsea"))
    store = write_dataset(tmp_path / "d", [[sample]])
    texts = [((0, 0, 451, 300), "Somebody rests. Light falls in."), ((0, 0, 200, 200), "A cat rests.")]
    captions = [
        Caption(
            key=sample.key,
            region=n,
            box=box,
            text=text,
            short_text=text,
            num_tokens_clip_l=1,
            num_tokens_clip_g=1,
        )
        for n, (box, text) in enumerate(texts)
    ]
    write_captions(store, "far", "part-000000", captions)
    with FaultyEndpoint(["500"], answers=examined) as far:
        endpoint = ["--model", "judge", "--set", f"openai.endpoint.base_url={far.url}", "--json"]
        summaries = []
        for command in ("audit", "quiz"):
            with pytest.raises(SystemExit) as left:
                dispatch([command, store.url, "far", *endpoint])
            assert left.value.code == 0
            summaries.append(json.loads(capsys.readouterr().out))
    audit, quiz = summaries
    assert (audit["judge"], audit["captions"], audit["claims"]["shown"]) == ("judge", 2, 3)
    assert (quiz["questions"], quiz["right"]) == (1, {"region": 1, "whole": 0, "without": 0})
    assert len(store.read(audit["rows"]).splitlines()) == 2
    assert Counter(request["temperature"] for request in far.requests).keys() == {0.0}
    with pytest.raises(UserError, match="engine tags answers no questions"):
        dispatch(["audit", store.url, "far", "--engine", "tags"])


def test_a_picture_in_hand_is_settled_as_one_of_a_batch_is(photo):
    image = photo("chelsea")
    with FaultyEndpoint(answers=answering(REFUSAL, "A blurry, pixelated photo of a cat.", GOOD)) as far:
        said = InlineCaptioner(config(far.url)).describe([image])[0]
    assert [request["temperature"] for request in far.requests] == [0.2, 0.5, 0.8]
    assert (said.text, said.abstains) == ("A tabby cat rests on a wool blanket. Its fur is striped.", "")
    assert (said.checks["tries"], said.model) == ("3", "m")
    with FaultyEndpoint(answers=answering(REFUSAL)) as far:
        said = InlineCaptioner(config(far.url)).describe([image])[0]
    assert (said.text, said.dense) == ("", REFUSAL)
    assert said.abstains == "refusal: i'm sorry, i can't, help with that"


@pytest.mark.parametrize("answer", [(200, completion(REFUSAL)), (400, {"error": {"message": "no such"}})])
def test_the_fallback_captions_a_picture_in_hand_that_the_first_engine_does_not(photo, answer):
    with FaultyEndpoint(answers=lambda _request: answer) as far:
        chelsea, coffee = InlineCaptioner(config(far.url, "fallback=tags")).describe(
            [photo("chelsea"), photo("coffee")]
        )
    assert chelsea.text.startswith("A cat")
    assert chelsea.abstains == coffee.abstains == ""
    assert chelsea.model == chelsea.checks["answered_by"]
    assert chelsea.model.startswith("tags: mobilenet_v2")
    assert coffee.text != chelsea.text
