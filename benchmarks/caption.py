"""Captions a second of `supir-caption`'s worker beside bare `vllm.LLM.chat` and transformers' generate.

    OMP_NUM_THREADS=1 python benchmarks/caption.py                    # a tiny Qwen2.5-VL with random weights, on a CPU
    python benchmarks/caption.py --model FOLDER --dtype bfloat16 --gpus 1

Ours is the whole of a part: read the shard, decode, scale, ask, check, count tokens, store batches, write Parquet. The
peers only ask: they get the pictures' bytes and give text. All three have the same model, pictures, question, greedy
decoding and limit of tokens; ours and `chat` have the same `vllm.LLM`, whose prefix cache is emptied before each turn.
Two cases: small pictures with long answers, where the model binds, and large pictures with short answers, where what
comes before the model binds. Figures move with what else a machine does: the ratio in turns is what counts.
"""

from __future__ import annotations

import argparse
import base64
import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import race, show
from PIL import Image

from supir_caption.asking import AskingEngine
from supir_caption.config import CaptionConfig
from supir_caption.question_files import load_question
from supir_caption.vllm_model import VllmModel
from supir_caption.worker import PartCaptioner
from supir_console import load_config
from supir_shards import (
    Dataset,
    Role,
    Sample,
    Store,
    caption_path,
    finish_dataset,
    part_name,
    sample_key,
    write_part,
)

PART = part_name(0)
QUESTION = load_question("paper").words({})
CASES = {"the model binds": ((256, 192), 64, 24), "preprocessing binds": ((4000, 3000), 2, 2)}
"""Size of the pictures (width, height), px, tokens of an answer, all of which are said, and layers of the tiny model:
of 24 it takes tens of ms a caption, as a real one takes a GPU; of 2, nothing would bind."""
TRANSFORMERS_BATCH = 8


def pictures(folder: Path, size: tuple[int, int], count: int) -> Store:
    """A dataset of JPEGs, each another cut-out of a photo with some noise."""
    import skimage.data

    photo = Image.fromarray(skimage.data.astronaut())
    rng = np.random.default_rng(0)
    samples = []
    for number in range(count):
        image = photo.crop((number, number, number + 400, number + 300)).resize(size)
        noisy = np.asarray(image, np.int16) + rng.integers(-8, 9, (size[1], size[0], 1))
        buffer = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=92)
        data = buffer.getvalue()
        samples.append(
            Sample(
                key=sample_key(data),
                image=data,
                extension="jpg",
                role=Role.PHOTO,
                width=size[0],
                height=size[1],
            )
        )
    store = Store(folder)
    write_part(store, PART, samples)
    finish_dataset(store, command="supir-curate run", config={}, config_hash="0" * 16)
    return store


def config(options: argparse.Namespace, model: str, max_tokens: int) -> CaptionConfig:
    """Our side: whole pictures, one question, greedy."""
    settings = {
        "name": "ours",
        "vllm.model": model,
        "vllm.dtype": options.dtype,
        "vllm.max_model_len": 600,
        "run.kv_cache_gib": options.cache_gib,
        "run.prepare_threads": 2,
        "questions.photo": "[paper]",
        "questions.region": "[paper]",
        "questions.face": "[paper]",
        "ask.temperature": 0,
        "ask.retry_temperatures": "[]",
        "ask.max_tokens": max_tokens,
        "regions.max_regions": 0,
    }
    return load_config(CaptionConfig, None, [f"{key}={value}" for key, value in settings.items()])


def ours(store: Store, worker: PartCaptioner, model: VllmModel) -> None:
    """A part from its shard to its Parquet file, by a worker that has captioned parts before."""
    store.delete(caption_path("ours", PART))
    model.llm.reset_prefix_cache()
    assert sum(batch.captions for batch in worker.caption_part(PART)) == len(_bytes(store))


def chat(store: Store, settings: CaptionConfig, model: VllmModel) -> list[str]:
    """Bare vLLM: all pictures as data URLs in one call."""
    from vllm import SamplingParams

    model.llm.reset_prefix_cache()
    asked = []
    for data in _bytes(store):
        url = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": QUESTION}]
        asked.append([{"role": "user", "content": content}])
    sampling = SamplingParams(temperature=0, max_tokens=settings.ask.max_tokens)
    return [output.outputs[0].text for output in model.llm.chat(asked, sampling, use_tqdm=False)]


class Generate:
    """Bare transformers: batches of pictures through the processor and `generate`."""

    def __init__(self, folder: str, dtype: str, gpus: int) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self._processor = AutoProcessor.from_pretrained(folder)
        self._device = "cuda" if gpus else "cpu"
        self._model = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype).to(self._device).eval()
        content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
        self._prompt = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )

    @torch.inference_mode()
    def __call__(self, store: Store, max_tokens: int) -> list[str]:
        """The texts of a part's pictures."""
        texts: list[str] = []
        data = _bytes(store)
        for start in range(0, len(data), TRANSFORMERS_BATCH):
            batch = [
                Image.open(io.BytesIO(one)).convert("RGB") for one in data[start : start + TRANSFORMERS_BATCH]
            ]
            inputs = self._processor(
                images=[[image] for image in batch],
                text=[self._prompt] * len(batch),
                padding=True,
                padding_side="left",
                return_tensors="pt",
            ).to(self._device, dtype=self._model.dtype)
            tokens = self._model.generate(**inputs, do_sample=False, max_new_tokens=max_tokens)
            texts += self._processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :])
        return texts


def _bytes(store: Store) -> list[bytes]:
    return [record.image for record in Dataset(store).samples([PART])]


def main() -> None:
    """Prints a table a case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="", help="folder of a Qwen2.5-VL or the like; tiny ones are made")
    parser.add_argument("--case", choices=tuple(CASES), help="one case alone")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--cache-gib", type=float, default=0.25)
    parser.add_argument("--count", type=int, default=24, help="pictures of a turn")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES if options.case is None else [options.case]:
            _race(case, Path(folder) / case.replace(" ", "-"), options)


def _race(case: str, folder: Path, options: argparse.Namespace) -> None:
    size, max_tokens, layers = CASES[case]
    model_folder = options.model or _tiny(folder / "tiny-qwen", layers)
    settings = config(options, model_folder, max_tokens)
    model = VllmModel(settings, options.gpus)
    generate = Generate(model_folder, options.dtype, options.gpus)
    store = pictures(folder / "dataset", size, options.count)
    worker = PartCaptioner(store.url, settings, 0, AskingEngine(settings, model))
    sides: dict[str, Any] = {
        "supir-caption, end to end": lambda: ours(store, worker, model),
        "vllm.LLM.chat": lambda: chat(store, settings, model),
        "transformers generate": lambda: generate(store, max_tokens),
    }
    timings = race(sides, options.rounds)
    title = f"{case}: {options.count} pictures of {size[0]}x{size[1]} px, {max_tokens} tokens each"
    show(title, timings, peer="vllm.LLM.chat", count=options.count, unit="captions")


def _tiny(folder: Path, layers: int) -> str:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))
    from tiny_vlm import TinyQwen

    TinyQwen(folder, layers).save()
    return str(folder)


if __name__ == "__main__":
    main()
