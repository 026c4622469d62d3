"""Draws the trace of one sample: every random number of a degradation, before any pixel is touched.

Place in the flow: recipe + image size + generator → trace. The law it keeps: results depend on the generator
alone, and the generator on (seed, sample key, epoch) alone, so no number of workers changes a sample.
Source: parameter distributions of Real-ESRGAN (arXiv 2107.10833, §3 and its training options).
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from supir_degrade import trace as ops
from supir_degrade.recipe import Branch, OneOfStep, Recipe, SharesStep, Step
from supir_degrade.steps import (
    AvifStep,
    BlurStep,
    CameraNoiseStep,
    DefocusStep,
    JpegStep,
    MoireStep,
    MotionStep,
    NoiseStep,
    ResizeStep,
    SharpenStep,
    SincStep,
    ToOutputStep,
    UpscalerStep,
    VaeStep,
    VideoStep,
    WebpStep,
)
from supir_degrade.trace import Op, Trace
from supir_degrade.vae import weights_digest

Choice = TypeVar("Choice")
Size = tuple[int, int]


def sample_generator(seed: int, key: str, epoch: int) -> np.random.Generator:
    """Returns the generator of one sample in one epoch; equal arguments give equal streams in any process.

    Args:
        seed: the run's seed.
        key: the sample's key.
        epoch: number of the pass over the data.
    """
    digest = hashlib.sha256(f"{seed}\n{key}\n{epoch}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def draw(recipe: Recipe, size: Size, rng: np.random.Generator) -> Trace:
    """Returns the operations, with their numbers, that one sample of `size` will go through.

    Args:
        recipe: the ranges.
        size: (height, width) of the image, px.
        rng: the sample's own generator, see `sample_generator`.
    """
    height, width = size
    clean = rng.random() < recipe.clean_share  # the first number of all: `draws_clean` looks at it
    scale = _weighted(rng, recipe.scale)
    output = (max(1, int(height / scale)), max(1, int(width / scale)))
    canvas = _Canvas(input=size, output=output, current=size)
    drawn: list[Op] = [] if clean else _draw_steps(recipe.steps, rng, canvas)
    if not clean and canvas.current != size:
        drawn.append(canvas.resize(size, _even(rng, recipe.enlarge)))
    return Trace(recipe=recipe.name, height=height, width=width, ops=tuple(drawn))


def draws_clean(recipe: Recipe, rng: np.random.Generator) -> bool:
    """Returns whether `draw` would give this generator's sample to the clean share; the generator is left as it is."""
    return bool(copy.deepcopy(rng).random() < recipe.clean_share)


@dataclass(slots=True)
class _Canvas:
    """Sizes (height, width) in px while the steps are drawn; only `current` changes."""

    input: Size
    output: Size
    current: Size

    def resize(self, size: Size, interpolation: ops.Interpolation) -> ops.Resize:
        self.current = size
        return ops.Resize(height=size[0], width=size[1], interpolation=interpolation)


def _draw_steps(steps: Sequence[Step], rng: np.random.Generator, canvas: _Canvas) -> list[Op]:
    drawn: list[Op] = []
    for step in steps:
        if rng.random() < step.probability:
            drawn += _draw_step(step, rng, canvas)
    return drawn


def _draw_step(step: Step, rng: np.random.Generator, canvas: _Canvas) -> list[Op]:
    match step:
        case BlurStep():
            return [_draw_blur(step, rng)]
        case SincStep():
            size = _odd(rng, step.kernel_sizes)
            return [ops.Sinc(size=size, cutoff=_uniform(rng, step.min_cutoff, math.pi))]
        case DefocusStep():
            return [ops.Defocus(radius_px=_uniform(rng, *step.radius_px))]
        case MotionStep():
            return [ops.Motion(length_px=_uniform(rng, *step.length_px), angle=_uniform(rng, 0, math.pi))]
        case ResizeStep():
            return _draw_resize(step, rng, canvas)
        case ToOutputStep():
            interpolation = _even(rng, step.interpolations)
            return [canvas.resize(canvas.output, interpolation)] if canvas.current != canvas.output else []
        case NoiseStep():
            return [_draw_noise(step, rng)]
        case CameraNoiseStep():
            return [_draw_camera_noise(step, rng)]
        case MoireStep():
            return [_draw_moire(step, rng)]
        case SharpenStep():
            return [_draw_sharpen(step, rng, step.threshold)]
        case UpscalerStep():
            return _draw_upscaler(step, rng, canvas)
        case JpegStep() | WebpStep() | AvifStep():
            return [_draw_codec(step, rng)]
        case VideoStep():
            crf, matrix = _integer(rng, *step.crf), _weighted(rng, step.matrices)
            return [ops.Video(codec=step.codec, crf=crf, preset=step.preset, matrix=matrix)]
        case VaeStep():
            return [ops.Vae(weights=step.weights, digest=weights_digest(step.weights))]
        case OneOfStep():
            return _draw_branch(step.branches, rng, canvas)
        case SharesStep():
            return _draw_shares(step, rng, canvas)


def _draw_blur(step: BlurStep, rng: np.random.Generator) -> Op:
    size = _odd(rng, step.kernel_sizes)
    if rng.random() < step.sinc_probability:
        # A small kernel cannot hold the long ripples of a low cutoff.
        return ops.Sinc(size=size, cutoff=_uniform(rng, math.pi / 3 if size < 13 else math.pi / 5, math.pi))
    kernel = _weighted(rng, step.kernels)
    sigma_x = _uniform(rng, *step.sigma)
    sigma_y, rotation, beta = sigma_x, 0.0, 1.0
    if kernel.endswith("aniso"):
        sigma_y, rotation = _uniform(rng, *step.sigma), _uniform(rng, -math.pi, math.pi)
    if kernel.startswith("gen"):
        beta = _around_one(rng, *step.beta_generalised)
    elif kernel.startswith("plateau"):
        beta = _around_one(rng, *step.beta_plateau)
    return ops.Blur(kernel=kernel, size=size, sigma_x=sigma_x, sigma_y=sigma_y, rotation=rotation, beta=beta)


def _draw_resize(step: ResizeStep, rng: np.random.Generator, canvas: _Canvas) -> list[Op]:
    direction, position = rng.random(), rng.random()
    factor = 1.0
    if direction < step.up_probability:
        factor = 1 + position * (step.factor[1] - 1)
    elif direction < step.up_probability + step.down_probability:
        factor = 1 - position * (1 - step.factor[0])
    base = canvas.input if step.of == "input" else canvas.output
    target = (max(1, int(base[0] * factor)), max(1, int(base[1] * factor)))
    interpolation = _even(rng, step.interpolations)
    return [canvas.resize(target, interpolation)] if target != canvas.current else []


def _draw_noise(step: NoiseStep, rng: np.random.Generator) -> Op:
    gaussian = rng.random() < step.gaussian_probability
    gray = bool(rng.random() < step.gray_probability)
    # JSON numbers keep 53 bits in every reader.
    seed = _integer(rng, 0, 2**53 - 1)
    if gaussian:
        return ops.GaussianNoise(sigma=_uniform(rng, *step.sigma), gray=gray, seed=seed)
    return ops.PoissonNoise(scale=_uniform(rng, *step.poisson_scale), gray=gray, seed=seed)


def _draw_camera_noise(step: CameraNoiseStep, rng: np.random.Generator) -> Op:
    shot = float(f"{math.exp(_uniform(rng, *map(math.log, step.shot))):.5g}")
    read_sigma = _uniform(rng, *step.read_sigma)
    return ops.CameraNoise(shot=shot, read_sigma=read_sigma, seed=_integer(rng, 0, 2**53 - 1))


def _draw_moire(step: MoireStep, rng: np.random.Generator) -> Op:
    return ops.Moire(
        pitch=_uniform(rng, *step.pitch),
        angle=_uniform(rng, -step.max_angle, step.max_angle),
        lens_sigma=_uniform(rng, *step.lens_sigma),
        blur_sigma_px=_uniform(rng, *step.blur_sigma_px),
    )


def _draw_sharpen(step: SharpenStep | UpscalerStep, rng: np.random.Generator, threshold: float) -> Op:
    radius_px = _integer(rng, *step.radius_px)
    return ops.Sharpen(weight=_uniform(rng, *step.weight), radius_px=radius_px, threshold=threshold)


def _draw_upscaler(step: UpscalerStep, rng: np.random.Generator, canvas: _Canvas) -> list[Op]:
    factor, interpolation = _weighted(rng, step.factor), _even(rng, step.interpolations)
    large = canvas.current
    small = (max(1, int(large[0] / factor)), max(1, int(large[1] / factor)))
    resizes: list[Op] = []
    if small != large:
        resizes = [canvas.resize(small, "area"), canvas.resize(large, interpolation)]
    return [*resizes, _draw_sharpen(step, rng, threshold=0.0)]


def _draw_codec(step: JpegStep | WebpStep | AvifStep, rng: np.random.Generator) -> Op:
    quality = _integer(rng, *step.quality)
    match step:
        case JpegStep():
            subsampling = _weighted(rng, step.subsampling)
            progressive = bool(rng.random() < step.progressive_probability)
            return ops.Jpeg(quality=quality, subsampling=subsampling, progressive=progressive)
        case WebpStep():
            return ops.Webp(quality=quality, method=_even(rng, step.methods))
        case AvifStep():
            return ops.Avif(quality=quality, speed=step.speed)


def _draw_branch(branches: Sequence[Branch], rng: np.random.Generator, canvas: _Canvas) -> list[Op]:
    index = _weighted(rng, {index: branch.weight for index, branch in enumerate(branches)})
    return _draw_steps(branches[index].steps, rng, canvas)


def _draw_shares(step: SharesStep, rng: np.random.Generator, canvas: _Canvas) -> list[Op]:
    low, high = step.photo_side_px
    side_px = math.exp(math.log(low) + rng.random() * math.log(high / low))
    drawn: list[Op] = []
    for _ in range(_integer(rng, *step.rounds)):
        cap_px, interpolation = _even(rng, step.caps_px), _even(rng, step.interpolations)
        if cap_px < side_px:
            height, width = canvas.current
            factor, side_px = cap_px / side_px, cap_px
            target = (max(1, round(height * factor)), max(1, round(width * factor)))
            drawn.append(canvas.resize(target, interpolation))
        drawn += _draw_branch(step.codecs, rng, canvas)
    return drawn


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Five digits are finer than any effect on a pixel and keep the trace short."""
    return float(f"{low + rng.random() * (high - low):.5g}")


def _integer(rng: np.random.Generator, low: int, high: int) -> int:
    """Both ends included. Always one number of the stream, so that narrower ranges keep the later draws."""
    return low + int(rng.random() * (high - low + 1))


def _around_one(rng: np.random.Generator, low: float, high: float) -> float:
    return _uniform(rng, low, 1.0) if rng.random() < 0.5 else _uniform(rng, 1.0, high)


def _odd(rng: np.random.Generator, sizes: tuple[int, int]) -> int:
    return 2 * _integer(rng, sizes[0] // 2, sizes[1] // 2) + 1


def _even(rng: np.random.Generator, choices: Sequence[Choice]) -> Choice:
    return choices[_integer(rng, 0, len(choices) - 1)]


def _weighted(rng: np.random.Generator, weights: Mapping[Choice, float]) -> Choice:
    position = rng.random() * sum(weights.values())
    for choice, weight in weights.items():
        position -= weight
        if position < 0:
            return choice
    return choice
