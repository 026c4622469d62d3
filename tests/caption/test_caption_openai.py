"""The `openai` engine against an endpoint on loopback that fails in every way: nothing lost, nothing doubled."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faulty_endpoint import FAULTS, FaultyEndpoint, completion, echo
from PIL import Image

from supir_caption.config import CaptionConfig
from supir_caption.forecast import money
from supir_caption.openai_model import OpenAIModel
from supir_caption.pacing import Pacing
from supir_caption.picture import Tokens
from supir_caption.worker import PartCaptioner
from supir_console import UserError, load_config
from supir_shards import Dataset, Role, Store, read_captions

PATH = "captions/far/part-000000.parquet"
FAILURES = "report/captions/far/failures/part-000000.jsonl"
NUM_PICTURES, NUM_REGIONS = 6, 3


def far(url: str, *overrides: str) -> CaptionConfig:
    return load_config(
        CaptionConfig,
        None,
        [
            "engine=openai",
            "name=far",
            "openai.model=m",
            f"openai.endpoint.base_url={url}",
            "openai.endpoint.longest_wait_s=0.1",
            "openai.endpoint.timeout_s=6",  # one request hangs so long
            "regions.size_px=128",
            "regions.max_regions=2",
            "run.batch_images=2",
            "run.in_flight=4",
            *overrides,
        ],
    )


@pytest.fixture
def store(tmp_path: Path, photo, as_sample, write_dataset) -> Store:
    rocket = photo("rocket")
    crops = [rocket.crop((60 * n, 0, 60 * n + 256, 128)) for n in range(NUM_PICTURES)]
    return write_dataset(tmp_path / "d", [[as_sample(crop) for crop in crops]])


def caption(store: Store, config: CaptionConfig) -> list[Any]:
    return list(PartCaptioner(store.url, config, 0).caption_part("part-000000"))


def test_whatever_befalls_the_requests_the_rows_are_those_of_a_quiet_day(store: Store):
    with FaultyEndpoint() as quiet:
        tokens = sum((batch.tokens for batch in caption(store, far(quiet.url))), Tokens())
        rows = store.read(PATH)
    store.delete(PATH)
    others = [fault for fault in FAULTS if fault != "hang"]
    with FaultyEndpoint([*FAULTS, *others * 4]) as faulty:
        batches = caption(store, far(faulty.url))
    asked = NUM_PICTURES * NUM_REGIONS * 2  # each place has two questions
    assert store.read(PATH) == rows
    assert not store.exists(FAILURES)
    assert sum(faulty.meetings.values()) == asked
    assert set(faulty.meetings) == set(FAULTS)
    assert len(faulty.answered) == asked
    assert set(faulty.answered.values()) == {1}
    assert sum((batch.tokens for batch in batches), Tokens()) == tokens
    assert tokens.prompt == 100 * asked
    captions = [one for of_sample in read_captions(store, "far", "part-000000").values() for one in of_sample]
    assert len(captions) == NUM_PICTURES * NUM_REGIONS
    assert len({one.text for one in captions}) == len(captions)


def test_the_picture_comes_first_and_the_question_quotes_what_is_known(
    tmp_path: Path, photo, as_sample, write_dataset
):
    import dataclasses

    cat = dataclasses.replace(as_sample(photo("chelsea")), text='my "cat"\nin the sun')
    store = write_dataset(tmp_path / "d", [[cat]])
    with FaultyEndpoint() as endpoint:
        caption(
            store,
            far(endpoint.url, "regions.max_regions=0", "openai.picture_format=png", "short_tokens=75"),
        )
    first, second = endpoint.requests
    picture, question = first["messages"][0]["content"]
    shown = Image.open(io.BytesIO(base64.b64decode(picture["image_url"]["url"].partition(",")[2])))
    assert (shown.format, shown.size) == ("PNG", photo("chelsea").size)
    assert "A text that came with the image, which may be wrong: \"my 'cat' in the sun\"" in question["text"]
    assert question["text"].startswith("Describe this image for someone who must paint it again")
    said = echo(first)[1]["choices"][0]["message"]["content"]
    assert second["messages"][0]["content"][0] == picture
    assert f'This is a description of the image: "{said}"' in second["messages"][0]["content"][1]["text"]
    row = read_captions(store, "far", "part-000000")[cat.key][0]
    assert row.text == said
    short = echo(second)[1]["choices"][0]["message"]["content"]
    assert short != said
    assert short.startswith(row.short_text)
    assert row.checks["facts_in_short"] == "3/3"
    assert [label.partition("#")[0] for label in row.prompt.split(" > ")] == ["dense@1", "short@1"]
    assert (first["temperature"], first["top_p"], first["max_tokens"], second["max_tokens"]) == (
        0.2,
        0.7,
        512,
        128,
    )
    assert first["seed"] != second["seed"]


def test_what_the_endpoint_refuses_costs_that_picture_alone(store: Store):
    key = Dataset(store).index("part-000000").to_pylist()[2]["key"]
    victim = next(record for record in Dataset(store).samples() if record.key == key)
    refused = []

    def answers(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        url = request["messages"][0]["content"][0]["image_url"]["url"]
        shown = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
        if shown.tobytes() == Image.open(io.BytesIO(victim.image)).convert("RGB").tobytes():
            refused.append(url)
            return 400, {"error": {"message": "this picture is too large"}}
        return echo(request)

    with FaultyEndpoint(answers=answers) as endpoint:
        caption(store, far(endpoint.url, "openai.picture_format=png"))
    failure = json.loads(store.read(FAILURES))
    assert (failure["sample"], failure["reason"]) == (key, "unanswered")
    assert "400" in failure["detail"]
    assert "too large" in failure["detail"]
    assert len(refused) == 1
    captions = read_captions(store, "far", "part-000000")
    assert len(captions) == NUM_PICTURES - 1
    assert key not in captions


def test_a_picture_that_breaks_the_server_is_given_up_though_it_is_the_first(store: Store):
    deadly = []

    def answers(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        url = request["messages"][0]["content"][0]["image_url"]["url"]
        deadly.append(url)
        return (500, {"error": {"message": "out of memory"}}) if url == deadly[0] else echo(request)

    config = ("regions.max_regions=0", "openai.endpoint.retries=2", "run.in_flight=1")
    with FaultyEndpoint(answers=answers) as endpoint:
        caption(store, far(endpoint.url, *config))
    failure = json.loads(store.read(FAILURES))
    assert failure["detail"].startswith("no answer in 3 tries, the last: 500")
    assert len(read_captions(store, "far", "part-000000")) == NUM_PICTURES - 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_of_everybody_ends_the_run_without_the_key(
    store: Store, monkeypatch: pytest.MonkeyPatch, status: int
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-7")

    def refuses(_request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return status, {"error": {"message": "bad key sk-secret-7"}}

    with FaultyEndpoint(answers=refuses) as endpoint:
        with pytest.raises(
            UserError, match=rf"refuses: {status} .*bad key \(key\).*OPENAI_API_KEY"
        ) as caught:
            caption(store, far(endpoint.url))
        assert endpoint.keys == {"Bearer sk-secret-7"}
    assert "sk-secret" not in str(caught.value)
    assert not store.exists(PATH)


def test_a_server_that_answers_nobody_ends_the_run_and_the_same_command_continues(store: Store):
    answered = []

    def dies(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if len(answered) < 8:
            answered.append(request)
            return echo(request)
        return 503, {"error": {"message": "shutting down"}}

    settings = ("openai.endpoint.retries=2", "regions.max_regions=0", "run.in_flight=1", "run.batch_images=1")
    with (
        FaultyEndpoint(answers=dies) as endpoint,
        pytest.raises(UserError, match=r"answers nobody: no answer in 3 tries.*503.*repeat the command"),
    ):
        caption(store, far(endpoint.url, *settings))
    with FaultyEndpoint() as endpoint:
        batches = caption(store, far(endpoint.url, *settings))
        assert len(endpoint.asked) == 2 * (NUM_PICTURES - 4)  # four were done, with two questions each
    assert sum(batch.images for batch in batches) == NUM_PICTURES
    assert len(read_captions(store, "far", "part-000000")) == NUM_PICTURES


def test_a_negative_is_asked_for_json_and_the_field_is_kept(tmp_path: Path, photo, as_sample, write_dataset):
    bad = as_sample(photo("coffee"), role=Role.NEGATIVE)
    store = write_dataset(tmp_path / "d", [[bad]])
    texts = iter(['{"caption": "Blurred on the left."}', "Blurred. No JSON.", "No.", "Still none."])

    def answers(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        asked.append(request)
        return 200, completion(next(texts))

    asked: list[dict[str, Any]] = []
    settings = ("roles=[negative]", "regions.max_regions=2", "regions.size_px=300", "run.in_flight=1")
    with FaultyEndpoint(answers=answers) as endpoint:
        caption(store, far(endpoint.url, *settings, "regions.max_regions=0"))
        schema = asked[0]["response_format"]["json_schema"]["schema"]
        assert schema["required"] == ["caption"]
        assert read_captions(store, "far", "part-000000")[bad.key][0].text == "Blurred on the left."
        store.delete(PATH)
        caption(store, far(endpoint.url, *settings, "regions.max_regions=0", "openai.guided_json=false"))
    assert "response_format" not in asked[1]
    row = read_captions(store, "far", "part-000000")[bad.key][0]
    assert (row.text, row.checks["not_json"]) == ("Still none.", "negative")
    assert [request["temperature"] for request in asked] == [0.2, 0.2, 0.5, 0.8]


def test_an_answer_that_is_cut_off_is_asked_for_again_and_then_kept_to_its_last_sentence(
    tmp_path: Path, photo, as_sample, write_dataset
):
    cat = as_sample(photo("chelsea"))
    store = write_dataset(tmp_path / "d", [[cat]])
    seeds = []

    def answers(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        seeds.append((request["temperature"], request["seed"]))
        return 200, completion(f"A cat of {len(seeds)}. It lies on a", "length")

    settings = ("regions.max_regions=0", "questions.photo=[paper]", "ask.retry_temperatures=[0.4, 0.9]")
    with FaultyEndpoint(answers=answers) as endpoint:
        caption(store, far(endpoint.url, *settings))
    row = read_captions(store, "far", "part-000000")[cat.key][0]
    assert (row.text, row.checks["finish_reason"]) == ("A cat of 3.", "length")
    assert [temperature for temperature, _ in seeds] == [0.2, 0.4, 0.9]
    assert len({seed for _, seed in seeds}) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["openai.endpoint.base_url=http://me:secret@h/v1"], "must hold no name or password"),
        (["openai.endpoint.base_url=h/v1"], "is no http"),
        (["questions.photo=[]"], "at least one question"),
        (["questions.photo=[dence]"], "use one of dense, face, negative, paper, region, short"),
    ],
)
def test_a_wrong_setting_is_named(settings: list[str], message: str):
    with pytest.raises(UserError, match=message):
        load_config(CaptionConfig, None, settings)


def test_openais_own_address_needs_a_key_and_any_endpoint_a_models_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(UserError, match="set the environment variable OPENAI_API_KEY"):
        OpenAIModel(load_config(CaptionConfig, None, ["engine=openai", "openai.model=m"]))
    with pytest.raises(UserError, match="needs the model's name at the endpoint; give it with --model"):
        OpenAIModel(load_config(CaptionConfig, None, ["engine=openai"]))


@pytest.fixture
def clock() -> tuple[Callable[[], float], Callable[[float], None]]:
    now = [1000.0]

    def sleep(seconds: float) -> None:
        assert seconds > 0
        now[0] += seconds

    return lambda: now[0], sleep


def test_no_minute_sees_more_requests_than_allowed(clock):
    time, sleep = clock
    pacing = Pacing(3, None, clock=time, sleep=sleep)
    begun = []
    for _ in range(8):
        pacing.begin()
        begun.append(time() - 1000)
        sleep(1.0)
    assert begun == [0, 1, 2, 60, 61, 62, 120, 121]


def test_no_minute_sees_more_tokens_than_allowed_and_a_pause_holds_for_all(clock):
    time, sleep = clock
    pacing = Pacing(None, 250, clock=time, sleep=sleep)
    begun = []
    for _ in range(4):
        entry = pacing.begin()
        begun.append(time() - 1000)
        pacing.answered(entry, 100)
        sleep(1.0)
    assert begun == [0, 1, 60, 61]
    pacing.quiet(500)
    pacing.begin()
    assert time() - 1000 == 62 + 500


def test_tokens_are_priced_by_the_users_prices():
    prices = (
        "openai.endpoint.price_per_million_prompt_tokens=2",
        "openai.endpoint.price_per_million_answer_tokens=8",
    )
    config = far("http://127.0.0.1:1/v1", *prices)
    assert money(Tokens(1_000_000, 500_000), config) == {
        "prompt_tokens": 1_000_000,
        "answer_tokens": 500_000,
        "cost": 6.0,
    }
    assert money(Tokens(), config) == {}


def test_where_an_endpoint_stands_does_not_shape_captions():
    one, other = far("http://a/v1", "run.in_flight=9"), far("http://b/v1", "openai.endpoint.retries=1")
    assert one.made_by_hash() == other.made_by_hash()
    assert far("http://a/v1", "ask.temperature=0").made_by_hash() != one.made_by_hash()
