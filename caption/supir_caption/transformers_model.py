"""A vision-language model in transformers, in the worker's own process: for models that vLLM has not.

Place in the flow: as `vllm_model`. Greedy questions are answered together, padded on the left; sampled ones one
by one, so that each has its own random numbers. JSON schemas are not enforced here: what comes is read as it
comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from supir_caption.models import STOP, Answer, Ask
from supir_caption.picture import Tokens
from supir_caption.processors import load_processor, prompt_of, short_reason, signature, view_for
from supir_console import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

    from supir_caption.config import CaptionConfig
    from supir_caption.model_config import TransformersConfig

_CAPACITY = 8


class TransformersModel:
    """Answers with a vision-language model.

    Args:
        config: the model and the decoding.
        num_gpus: GPUs this process may use; 0 runs on the CPU.

    Raises:
        UserError: transformers cannot load the model.
    """

    def __init__(self, config: CaptionConfig, num_gpus: int) -> None:
        import torch

        settings = config.transformers
        self.name = signature(settings.model, settings.revision)
        self.capacity = config.run.in_flight or _CAPACITY
        self._top_p = config.ask.top_p
        self._processor = load_processor(
            settings.model, settings.revision, trust_remote_code=settings.trust_remote_code
        )
        self._view = view_for(self._processor, config.ask.max_megapixels)
        self._device = torch.device("cuda" if num_gpus else "cpu")
        self._model = _load(settings).to(self._device).eval()
        self._waiting: list[tuple[Ask, str]] = []

    def view(self, image: Image) -> Image:
        """Returns the picture as the model's processor will have it."""
        return self._view.of(image)

    def prepare(self, ask: Ask) -> str:
        """Returns the prompt."""
        return prompt_of(self._processor, ask.words, num_pictures=int(ask.image is not None))

    def submit(self, ask: Ask, prepared: str) -> None:
        """Puts the question with those that are answered next."""
        self._waiting.append((ask, prepared))

    def collect(self) -> list[tuple[Ask, Answer]]:
        """Returns the answers to all that was submitted."""
        waiting, self._waiting = self._waiting, []
        greedy = [one for one in waiting if one[0].temperature == 0]
        seeing = [one for one in greedy if one[0].image is not None]
        reading = [one for one in greedy if one[0].image is None]
        sampled = [[one] for one in waiting if one[0].temperature > 0]
        return [answer for batch in (seeing, reading, *sampled) if batch for answer in self._together(batch)]

    def _together(self, asked: list[tuple[Ask, str]]) -> list[tuple[Ask, Answer]]:
        """Answers greedy questions in one batch, or a single sampled one."""
        import torch

        first = asked[0][0]
        inputs = self._processor(
            images=None if first.image is None else [[ask.image] for ask, _ in asked],
            text=[prompt for _, prompt in asked],
            padding=True,
            padding_side="left",
            return_tensors="pt",
        ).to(self._device, dtype=self._model.dtype)
        sampling = {"temperature": first.temperature, "top_p": self._top_p} if first.temperature else {}
        most = max(ask.max_tokens for ask, _ in asked)
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(first.seed)
            tokens = self._model.generate(
                **inputs,
                do_sample=bool(sampling),
                max_new_tokens=most,
                pad_token_id=self._end_tokens()[0],
                **sampling,
            )
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        answers = tokens[:, inputs["input_ids"].shape[1] :].tolist()
        return [
            (ask, self._answer(of_one[: ask.max_tokens], length))
            for (ask, _), of_one, length in zip(asked, answers, lengths, strict=True)
        ]

    def _answer(self, tokens: list[int], prompt_tokens: int) -> Answer:
        ends = [index for index, token in enumerate(tokens) if token in self._end_tokens()]
        said = tokens[: ends[0]] if ends else tokens
        text = self._processor.tokenizer.decode(said, skip_special_tokens=True)
        used = Tokens(prompt_tokens, len(said) + bool(ends))
        return Answer(text, STOP if ends else "length", used)

    def _end_tokens(self) -> list[int]:
        end = self._model.generation_config.eos_token_id
        end = self._processor.tokenizer.eos_token_id if end is None else end
        return list(end) if isinstance(end, (list, tuple)) else [end]


def _load(settings: TransformersConfig) -> Any:
    from transformers import AutoModelForImageTextToText

    try:
        return AutoModelForImageTextToText.from_pretrained(
            settings.model,
            revision=settings.revision,
            dtype=settings.dtype,
            trust_remote_code=settings.trust_remote_code,
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise UserError(
            f"transformers cannot load {settings.model!r}: {short_reason(error)}; give the folder or hub id of a vision"
            " model (--model)"
        ) from error
