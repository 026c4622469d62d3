"""A vision-language model behind an endpoint that speaks OpenAI's chat completions: `vllm serve` or a service.

Place in the flow: as `vllm_model`, with the model elsewhere. Threads send the requests; which is why this
engine needs few cores and no GPU.
The law: every question gets one answer or one error. What failed for no fault of the question (429, 5xx, no
connection, no answer in time, an answer cut off on its way or not in the protocol) is sent again after growing
waits, or after the wait that the server names; what the endpoint refuses (400, 413, 422) costs that picture
alone; what refuses everybody (401, 403, 404, or no answer to anyone for all tries) ends the run in one line,
and the same command continues it. Keys are read from the environment, and are cut out of whatever is told to
the user.
"""

from __future__ import annotations

import base64
import io
import os
import random
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from supir_caption.models import STOP, Answer, Ask
from supir_caption.pacing import Pacing
from supir_caption.picture import Tokens
from supir_caption.processors import load_processor, short_reason, view_for
from supir_caption.views import View
from supir_console import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

    from supir_caption.config import CaptionConfig

_CAPACITY = 32
_SENT_MEGAPIXELS = 4.0  # of a picture that no processor's settings bound
_REFUSES_THIS = (400, 413, 422)
_REFUSES_ALL = (401, 403, 404)
_FIRST_WAIT_S = 0.5


class OpenAIModel:
    """Answers through an endpoint.

    Args:
        config: the endpoint, the model's name there, and the decoding.

    Raises:
        UserError: the client is not installed, the model has no name, or a key is missing.
    """

    def __init__(self, config: CaptionConfig) -> None:
        settings, limits = config.openai, config.openai.endpoint
        if not settings.model:
            raise UserError(
                "engine openai needs the model's name at the endpoint; give it with --model (openai.model)"
            )
        self._settings, self._limits = settings, limits
        self._key = _key(limits.key_variable, limits.address())
        self._client = _client(limits.address(), self._key, limits.timeout_s)
        self._top_p = config.ask.top_p
        self._view = _view(settings.processor, config.ask.max_megapixels)
        self.name = settings.model
        self.capacity = config.run.in_flight or _CAPACITY
        share = config.run.workers or 1  # the limits are the run's, and each worker is one of so many
        self._pacing = Pacing(
            limits.requests_per_minute and limits.requests_per_minute / share,
            limits.tokens_per_minute and limits.tokens_per_minute / share,
            clock=time.monotonic,
            sleep=time.sleep,
        )
        self._threads = ThreadPoolExecutor(self.capacity)
        self._open: dict[Future[Answer], Ask] = {}
        self._last_answer: float | None = None

    def view(self, image: Image) -> Image:
        """Returns the picture as it is sent."""
        return self._view.of(image)

    def prepare(self, ask: Ask) -> str:
        """Returns the picture as a data URL, "" without one."""
        if ask.image is None:
            return ""
        buffer = io.BytesIO()
        if self._settings.picture_format == "png":
            ask.image.save(buffer, "PNG", compress_level=1)
        else:
            ask.image.save(buffer, "JPEG", quality=95, subsampling=0)
        data = base64.b64encode(buffer.getvalue()).decode()
        return f"data:image/{self._settings.picture_format};base64,{data}"

    def submit(self, ask: Ask, prepared: str) -> None:
        """Gives the question to a thread."""
        self._open[self._threads.submit(self._answer, ask, prepared)] = ask

    def collect(self) -> list[tuple[Ask, Answer]]:
        """Returns the answers that have come, at least one."""
        done, _ = wait(self._open, return_when=FIRST_COMPLETED)
        try:
            return [(self._open.pop(future), future.result()) for future in done]
        except UserError:
            self._threads.shutdown(wait=False, cancel_futures=True)
            raise

    def _answer(self, ask: Ask, picture: str) -> Answer:
        """The answer to one question, however many requests it takes."""
        began, reason = time.monotonic(), ""
        for attempt in range(self._limits.retries + 1):
            if attempt:
                time.sleep(self._wait_s(attempt))
            entry = self._pacing.begin()
            answer, reason = self._one_request(ask, picture)
            if answer is not None:
                self._pacing.answered(entry, answer.tokens.prompt + answer.tokens.answer)
                self._last_answer = time.monotonic() if not answer.error else self._last_answer
                return answer
        told = f"no answer in {self._limits.retries + 1} tries, the last: {reason}"
        last = self._last_answer
        if (
            last is not None and last > began
        ) or self._answers_a_plain_question():  # it is this question then
            return Answer("", error=told)
        raise UserError(
            f"{self._limits.address()} answers nobody: {told}; look after the server and repeat the command, which"
            " continues"
        )

    def _answers_a_plain_question(self) -> bool:
        """Whether the server answers about a small grey picture: then the fault is another picture's."""
        from PIL import Image

        grey = Image.new("RGB", (64, 64), (128, 128, 128))
        ask = Ask("", 0, 0, 0, "Which colour is this?", grey, temperature=0.0, max_tokens=8, seed=0)
        answer, _ = self._one_request(ask, self.prepare(ask))
        return answer is not None and not answer.error

    def _one_request(self, ask: Ask, picture: str) -> tuple[Answer | None, str]:
        """The answer, or None and why the question is to be sent again."""
        import httpx
        import openai

        garbage = (ValueError, TypeError, AttributeError, LookupError)  # the client checks no answer's fields
        try:
            return self._read(self._client.chat.completions.create(**self._request(ask, picture)))
        except openai.APIStatusError as error:
            reason = self._told(f"{error.status_code} {short_reason(error)}")
            if error.status_code in _REFUSES_ALL:
                raise UserError(
                    f"{self._limits.address()} refuses: {reason}; see openai.model, openai.endpoint.base_url and the"
                    f" key in {self._limits.key_variable}"
                ) from error
            if error.status_code in _REFUSES_THIS:
                return Answer("", error=f"the endpoint refuses the question: {reason}"), ""
            self._pacing.quiet(self._asked_wait_s(error.response.headers.get("retry-after")))
            return None, reason
        except (openai.OpenAIError, httpx.HTTPError, *garbage) as error:
            # No connection, no answer in time, cut off on the way, or no JSON of the protocol.
            return None, self._told(f"{type(error).__name__}: {short_reason(error)}")

    def _read(self, completion: Any) -> tuple[Answer | None, str]:
        """What an answer says, as far as it keeps to the protocol; a server's fault can look like anything."""
        choice = completion.choices[0]
        text, finish_reason = choice.message.content, choice.finish_reason
        if not isinstance(text, str) or not isinstance(finish_reason, str):
            if isinstance(getattr(choice.message, "refusal", None), str) or finish_reason == "content_filter":
                return Answer("", error="the endpoint will not answer about this picture"), ""
            return None, "an answer without text"
        usage = completion.usage
        counts = (usage.prompt_tokens, usage.completion_tokens) if usage is not None else (0, 0)
        return Answer(text, STOP if finish_reason == "stop" else finish_reason, Tokens(*map(int, counts))), ""

    def _request(self, ask: Ask, picture: str) -> dict[str, Any]:
        shown = [{"type": "image_url", "image_url": {"url": picture}}] if picture else []
        content = [*shown, {"type": "text", "text": ask.words}]
        request: dict[str, Any] = {
            "model": self._settings.model,
            "messages": [{"role": "user", "content": content}],
            "temperature": ask.temperature,
            "top_p": self._top_p,
            "max_tokens": ask.max_tokens,
            "seed": ask.seed,
        }
        if ask.schema and self._settings.guided_json:
            schema = {"name": "answer", "schema": dict(ask.schema), "strict": True}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        return request

    def _wait_s(self, attempt: int) -> float:
        """Doubles with every try; by chance between half and whole, so that threads do not come back together."""
        longest = min(self._limits.longest_wait_s, _FIRST_WAIT_S * 2 ** (attempt - 1))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311  # no secret, and no result depends on it

    def _asked_wait_s(self, header: str | None) -> float:
        try:
            return min(self._limits.longest_wait_s, max(0.0, float(header or 0)))
        except ValueError:  # a date: rare, and the growing waits do
            return 0.0

    def _told(self, reason: str) -> str:
        return reason.replace(self._key, "(key)") if self._key else reason


def _key(variable: str, address: str) -> str:
    """The key in the environment; servers of one's own need none."""
    key = os.environ.get(variable, "").strip()
    if not key and "api.openai.com" in address:
        raise UserError(
            f"{address} needs a key: set the environment variable {variable} (on every node), or give the address of"
            " another endpoint (openai.endpoint.base_url)"
        )
    return key


def _client(address: str, key: str, timeout_s: float) -> Any:
    try:
        from openai import OpenAI
    except ImportError as error:
        raise UserError(
            f"engine openai needs the openai client ({error}); type: pip install 'supir-stack[openai]'"
        ) from error
    # Tries again by our own rules: the client's own would hide a server that answers nobody.
    return OpenAI(base_url=address, api_key=key or "none", timeout=timeout_s, max_retries=0)


def _view(processor: str | None, max_megapixels: float | None) -> View:
    if processor is None:
        return View(max_pixels=int((max_megapixels or _SENT_MEGAPIXELS) * 1e6))
    return view_for(load_processor(processor), max_megapixels)
