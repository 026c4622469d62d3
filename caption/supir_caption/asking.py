"""The engine that asks a vision-language model: questions in stages, picture first, new tries, one text a place.

Place in the flow: between the worker and one of the models (`vllm_model`, `openai_model`,
`transformers_model`), which only answer one question about one picture. The law: an answer depends on the
picture, the question, the config and the seed made of (config seed, key, region, stage, attempt), not on its
company, as far as the arithmetic of the model's kernels allows; every place of every picture gets its answers
once, whatever order they come in, whichever model answers; a picture that cannot be asked about costs itself
alone.

The picture stands before the words in every prompt, so that what a server has computed of it serves the next
question about it. The answer to the first question is the text; the answer to the last is where the short text
is made from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from supir_caption.cleaning import clean, without_thinking
from supir_caption.fitness import findings, reason
from supir_caption.json_answers import object_in
from supir_caption.models import STOP, Answer, Ask, Model, answer_seed
from supir_caption.picture import NO_TOKENS, Described, Description, Picture, Prepared, Tokens
from supir_caption.question_files import Question, load_question
from supir_caption.splitting import finished_part

if TYPE_CHECKING:
    from PIL.Image import Image

    from supir_caption.ahead import Ahead
    from supir_caption.config import CaptionConfig
    from supir_shards import Box

ASK_AGAIN = frozenset({"finish_reason", "not_json"})
"""What is wrong with an answer that is asked for again."""

_WORDS_A_TOKEN = 0.7  # of English, in CLIP's vocabulary
_MOST_AHEAD = 32  # pictures of some ten megabytes each


@dataclass(slots=True)
class _Place:
    """A place of a picture: its questions and what was answered so far."""

    questions: tuple[Question, ...]
    values: dict[str, str]
    image: Image
    texts: list[str] = field(default_factory=list)
    checks: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Open:
    """A picture that is being asked about."""

    picture: Prepared
    places: list[_Place]
    left: int
    tokens: Tokens = NO_TOKENS
    problem: str = ""


class AskingEngine:
    """Asks a model about pictures.

    Args:
        config: questions and decoding.
        model: what answers.
    """

    def __init__(self, config: CaptionConfig, model: Model) -> None:
        self._config = config
        self._ask = config.ask
        self._fit = config.fit
        self._questions = {name: load_question(name) for name in config.questions.all_names()}
        self._answers = model
        self.model = model.name
        self.num_ahead = min(_MOST_AHEAD, max(2, model.capacity // 2))

    def prepare(self, picture: Picture) -> list[tuple[_Place, Ask, Any]]:
        """Returns the places of a picture as the model is given them, each with its first question."""
        prepared = []
        for region, box in enumerate(picture.boxes):
            names = self._config.questions.names_for(picture.role, region)
            place = _Place(
                tuple(self._questions[name] for name in names),
                _values(picture, region, box),
                self._answers.view(picture.crop(box)),
            )
            ask = self._first_ask(picture.key, region, place)
            prepared.append((place, ask, self._answers.prepare(ask)))
        return prepared

    def describe(self, pictures: Ahead[Prepared]) -> Iterator[Described]:
        """Yields each picture once, when the last question about it is answered."""
        opened: dict[str, _Open] = {}
        waiting: deque[tuple[Ask, Any]] = deque()
        in_flight, is_end = 0, False
        while True:
            while in_flight < self._answers.capacity:
                if not waiting and not is_end and (pictures.ready() or not in_flight):
                    is_end = not self._open_next(pictures, opened, waiting)
                if not waiting:
                    break
                self._answers.submit(*waiting.popleft())
                in_flight += 1
            if not in_flight:
                return
            for ask, answer in self._answers.collect():
                in_flight -= 1
                of_picture = opened[ask.key]
                of_picture.tokens += answer.tokens
                following = self._after(ask, answer, of_picture)
                if following is not None:
                    waiting.appendleft((following, self._answers.prepare(following)))
                    continue
                of_picture.left -= 1
                if not of_picture.left:
                    yield _described(opened.pop(ask.key))

    def _open_next(
        self, pictures: Ahead[Prepared], opened: dict[str, _Open], waiting: deque[tuple[Ask, Any]]
    ) -> bool:
        """Takes in the next picture; False at the end."""
        picture = next(pictures, None)
        if picture is None:
            return False
        # The worker's picture holds no pixels of its own from here on: the places do.
        bare = replace(picture, work=None)
        places = [place for place, _, _ in picture.work]
        opened[picture.key] = _Open(bare, places, left=len(places))
        waiting.extend((ask, prepared) for _, ask, prepared in picture.work)
        return True

    def _after(self, ask: Ask, answer: Answer, of_picture: _Open) -> Ask | None:
        """Takes in an answer; returns the next question about its place, None if it was the last."""
        place = of_picture.places[ask.region]
        if answer.error:
            of_picture.problem = of_picture.problem or answer.error
            return None
        question = place.questions[ask.stage]
        text, checks = _read(answer, question)
        found = findings(text, checks)
        if reason(found, self._fit.ask_again) and ask.attempt < len(self._ask.retry_temperatures):
            temperature = self._ask.retry_temperatures[ask.attempt]
            return self._again(ask, ask.attempt + 1, temperature)
        is_fit = not reason(found, self._fit.leave_out)
        if ask.stage and not is_fit:
            return None  # the short text is made from the text then
        place.texts.append(text)
        place.checks |= checks
        if ask.attempt:
            place.checks["tries"] = str(ask.attempt + 1)
        if not is_fit or ask.stage + 1 == len(place.questions):
            return None
        place.values["caption"] = text
        return self._first_ask(ask.key, ask.region, place, ask.stage + 1)

    def _first_ask(self, key: str, region: int, place: _Place, stage: int = 0) -> Ask:
        question = place.questions[stage]
        place.values["short_words"] = str(max(6, round(_WORDS_A_TOKEN * self._config.short_tokens)))
        place.values |= {"width": str(place.image.width), "height": str(place.image.height)}
        return Ask(
            key,
            region,
            stage,
            0,
            question.words(place.values),
            place.image,
            self._ask.temperature,
            min(self._ask.max_tokens, question.max_tokens or self._ask.max_tokens),
            answer_seed(self._config.seed, key, region, stage, 0),
            question.answer.json_schema if question.answer else None,
        )

    def _again(self, ask: Ask, attempt: int, temperature: float) -> Ask:
        seed = answer_seed(self._config.seed, ask.key, ask.region, ask.stage, attempt)
        return replace(ask, attempt=attempt, temperature=temperature, seed=seed)


def place_of(box: Box, whole: Box) -> str:
    """Returns where a region lies in words: "upper left part", "middle part", "whole"."""
    if box == whole:
        return "whole"
    across = (box[0] + box[2]) / 2 / (whole[2] - whole[0])
    down = (box[1] + box[3]) / 2 / (whole[3] - whole[1])
    row = "upper" if down < 0.4 else "lower" if down > 0.6 else ""
    column = "left" if across < 0.4 else "right" if across > 0.6 else ""
    return " ".join(part for part in (row, column, "part") if part) if row or column else "middle part"


def _values(picture: Picture, region: int, box: Box) -> dict[str, str]:
    place = place_of(box, picture.boxes[0]) if region else "whole"
    return {**picture.metadata, "role": picture.role, "place": place}


def _described(done: _Open) -> Described:
    if done.problem:
        return Described(done.picture, (), done.tokens, done.problem)
    return Described(done.picture, tuple(_description(place) for place in done.places), done.tokens)


def _description(place: _Place) -> Description:
    asked = place.questions[: len(place.texts)]
    return Description(
        text=place.texts[0],
        checks=place.checks,
        short=place.texts[-1] if len(place.texts) > 1 else "",
        prompt=" > ".join(question.label for question in asked),
    )


def _read(answer: Answer, question: Question) -> tuple[str, dict[str, str]]:
    """One clean paragraph and what is wrong with the answer; a cut-off one loses its last, unfinished sentence."""
    text, checks = answer.text, {}
    if answer.finish_reason != STOP:
        checks["finish_reason"] = answer.finish_reason
    if question.answer is not None:
        value = object_in(without_thinking(text)).get(question.answer.field)
        if isinstance(value, str):
            text = value
        else:
            checks["not_json"] = question.name
    cleaned = clean(text)
    if cleaned.removed:
        checks["cleaned"] = cleaned.check()
    return cleaned.text if answer.finish_reason == STOP else finished_part(cleaned.text), checks
