"""Negative-quality samples: what they are, and the worker that makes those of one part.

Place in the flow: `negative_job` runs the workers. The prior redraws photos of the dataset under words such
as "oil painting" or "over-smooth"; training on the results with these words as the caption teaches the model
what the negative prompt means. The law it keeps: prompt and noise of a sample follow from (seed, source key).
Source: SUPIR (arXiv 2401.13627) §3.3: SDXL img2img, strength 0.5, on 100 K images of the training set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator

from supir_console import Config, Text, UserError, limit_threads
from supir_degrade.draw import sample_generator
from supir_degrade.job import CLEAN, UNREADABLE, Outcome, write_outcomes
from supir_degrade.quality import SHARPNESS, Score, load_score
from supir_degrade.sources import (
    Source,
    UnreadablePhotoError,
    encode_png,
    made_from,
    read_photo,
)
from supir_model import PRESETS
from supir_model.prompts import NEGATIVE_QUALITY_WORDS
from supir_shards import Box, Dataset, Record, Role, Sample, Store, sample_key, write_part

if TYPE_CHECKING:
    from supir_model import Supir

COMMAND = "supir-degrade negatives"
SIDE_MULTIPLE_PX = 32
QUALITY_SCORES = ("quality", "source_quality")


def _word_chances(words: dict[str, float]) -> dict[str, float]:
    if not words or max(words.values()) != 1 or min(words.values()) < 0:
        raise ValueError(
            "each word has a chance in 0..1, and one of them chance 1 so that no prompt is empty"
        )
    return words


def _side(size_px: int) -> int:
    if size_px < SIDE_MULTIPLE_PX or size_px % SIDE_MULTIPLE_PX:
        raise ValueError(f"a side is a multiple of {SIDE_MULTIPLE_PX} px, e.g. 512 or 1024")
    return size_px


class NegativesConfig(Config):
    """Everything that decides what the negative samples are."""

    words: Annotated[dict[Text, float], AfterValidator(_word_chances)] = Field(
        dict.fromkeys(NEGATIVE_QUALITY_WORDS, 1.0),
        description="negative-quality words, each with the chance that it stands in a sample's prompt",
    )
    count: int = Field(100, ge=1, description="number of samples; the paper made 100000")
    strength: float = Field(0.5, gt=0, le=1, description="share of the schedule that is run")
    steps: int = Field(50, ge=1, le=1000, description="steps of the whole schedule")
    guidance_scale: float = Field(7.5, ge=0, description="classifier-free guidance")
    size_px: Annotated[int, AfterValidator(_side)] = Field(512, description="side of the square samples, px")
    seed: int = Field(0, description="chooses photos, prompts and noise")
    preset: str = Field("mini", description="model size: mini, tiny or sdxl (sdxl needs base)")
    base: str | None = Field(None, description="folder of a diffusers SDXL pipeline, for preset sdxl")
    folder: str | None = Field(None, description="folder of a saved supir-stack model, instead of preset")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="precision of the networks")
    batch_size: int = Field(4, ge=1, description="images a network call")
    filter: bool = Field(
        True, description="drop a sample that came out clean: its score is not lower than its source's"
    )
    filter_margin: float = Field(0.0, ge=0, description="how much lower a score has to be, in its own unit")
    score: str = Field(
        SHARPNESS,
        description="quality score: sharpness, niqe, or a no-reference metric of pyiqa (extra [iqa])",
    )

    @model_validator(mode="after")
    def _check_model(self) -> NegativesConfig:
        if self.folder is None and self.preset not in PRESETS:
            raise ValueError(f"preset {self.preset!r} is unknown; use one of {', '.join(PRESETS)}")
        if self.folder is None and self.preset == "sdxl" and self.base is None:
            raise ValueError("preset sdxl needs base, the folder of a diffusers SDXL pipeline")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One sample to make: the source's pixels (size, size, 3) uint8 and what is drawn for it."""

    source: Source
    image: NDArray[np.uint8]
    prompt: str
    seed: int


class NegativeWorker:
    """Holds the model and makes the samples of one part a call; Ray runs several of them.

    Args:
        dataset_url: where the photos are.
        out_url: where the samples go.
        config: see `NegativesConfig`.
    """

    def __init__(self, dataset_url: str, out_url: str, config: NegativesConfig) -> None:
        # Sums split over threads round differently: with one, samples do not depend on the number of workers.
        limit_threads(1)
        self._dataset, self._out, self._config = Dataset(dataset_url), Store(out_url), config

    @cached_property
    def _supir(self) -> Supir:
        return load_prior(self._config)

    @cached_property
    def _score(self) -> Score:
        return load_score(self._config.score)

    def make_part(self, part: str, members: list[Source]) -> Iterator[int]:
        """Yields the number of redrawn photos after each batch; when it ends, the part is committed.

        Args:
            part: name of the part, here and in the dataset.
            members: the photos to redraw.

        Raises:
            UserError: the model or the score cannot be loaded.
            DatasetError: the part's index cannot be read.
        """
        supir, score = self._supir, self._score
        requests, photos, outcomes = self._read(part, members)
        size = self._config.batch_size
        samples: list[Sample] = []
        for start in range(0, len(requests), size):
            batch = requests[start : start + size]
            images = redraw(supir, batch, self._config)
            for request, image in zip(batch, images, strict=True):
                outcome = judge(request, image, score, self._config)
                outcomes[request.source] = outcome
                if not outcome.reason:
                    photo = photos[request.source]
                    samples.append(_sample(photo, request, image, outcome.scores, self._config))
            yield len(batch)
        write_outcomes(self._out, part, list(outcomes.values()), QUALITY_SCORES)
        write_part(self._out, part, samples)

    def _read(
        self, part: str, members: list[Source]
    ) -> tuple[list[Request], dict[Source, Record], dict[Source, Outcome]]:
        index = self._dataset.index(part).to_pylist()
        requests, photos, outcomes = [], {}, {}
        for source in members:
            try:
                photo = read_photo(self._dataset, source, index[source.row])
            except UnreadablePhotoError as error:
                outcomes[source] = Outcome(source, UNREADABLE, str(error))
                continue
            requests.append(make_request(photo.pixels, source, self._config))
            photos[source] = replace(photo.record, image=b"")  # what it says of itself is enough
            outcomes[source] = Outcome(source)
        return requests, photos, outcomes


def load_prior(config: NegativesConfig) -> Supir:
    """Returns the model of the config, on a GPU where there is one.

    Raises:
        UserError: no such folder, or it cannot be read.
        ModelFileError: its files are damaged or do not fit together.
    """
    import torch

    from supir_model import load_supir

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[config.dtype]
    try:
        if config.folder:
            return load_supir(config.folder, device=device, dtype=dtype)
        return load_supir(preset=config.preset, base=config.base, device=device, dtype=dtype)
    except OSError as error:
        raise UserError(f"the prior cannot be read: {error}; give another folder or base (--set)") from error


def make_request(photo: NDArray[np.uint8], source: Source, config: NegativesConfig) -> Request:
    """Returns the source brought to size, with the prompt and the noise seed that (seed, key) give it.

    Args:
        photo: uint8 (H, W, 3), no side shorter than `size_px`.
        source: where it comes from.
        config: see `NegativesConfig`.
    """
    rng = sample_generator(config.seed, source.key, 0)
    seed = int(rng.random() * 2**53)
    words = [word for word, chance in config.words.items() if rng.random() < chance]
    return Request(source=source, image=_square(photo, config.size_px), prompt=", ".join(words), seed=seed)


def redraw(supir: Supir, requests: Sequence[Request], config: NegativesConfig) -> list[NDArray[np.uint8]]:
    """Returns the negative pictures, uint8 (size, size, 3) RGB, one a request."""
    import torch

    from supir_degrade.img2img import img2img, img2img_sigmas

    pixels = np.stack([request.image for request in requests])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(supir.device, torch.float32) / 127.5 - 1
    redrawn = img2img(
        supir,
        images,
        [request.prompt for request in requests],
        sigmas=img2img_sigmas(config.steps, config.strength),
        guidance_scale=config.guidance_scale,
        seeds=[request.seed for request in requests],
    )
    rounded = ((redrawn.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return list(rounded.permute(0, 2, 3, 1).cpu().numpy())


def judge(request: Request, image: NDArray[np.uint8], score: Score, config: NegativesConfig) -> Outcome:
    """Returns the outcome of a redrawn photo with both scores; its reason is "clean" where the filter drops it.

    Args:
        request: holds the photo as it was redrawn from, of the same size.
        image: uint8 (size, size, 3) RGB, what came out.
        score: higher is better.
        config: see `NegativesConfig`.
    """
    quality, source_quality = score(image), score(request.image)
    scores = dict(zip(QUALITY_SCORES, (quality, source_quality), strict=True))
    if config.filter and quality >= source_quality - config.filter_margin:
        detail = f"{config.score} {quality:.4g} is not below the source's {source_quality:.4g}"
        return Outcome(request.source, CLEAN, detail, scores)
    return Outcome(request.source, scores=scores)


def _centre_square(width: int, height: int) -> Box:
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def _square(photo: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """The centre square of the photo, shrunk to the side."""
    from PIL import Image, ImageOps

    fitted = ImageOps.fit(Image.fromarray(photo), (side_px, side_px), Image.Resampling.LANCZOS)
    return np.asarray(fitted)


def _sample(
    photo: Record,
    request: Request,
    image: NDArray[np.uint8],
    scores: Mapping[str, float],
    config: NegativesConfig,
) -> Sample:
    data = encode_png(image)
    made = {"prompt": request.prompt, "seed": request.seed, **scores}
    made |= config.model_dump(include={"strength", "steps", "guidance_scale", "preset", "dtype", "score"})
    return made_from(
        photo,
        _centre_square(photo.width, photo.height),
        COMMAND,
        key=sample_key(data),
        image=data,
        width=image.shape[1],
        role=Role.NEGATIVE,
        scores=dict(scores),
        trace=json.dumps(made, sort_keys=True),
    )
