"""How many bytes a phase takes, counted on the meta device: its real loss and backward pass, run without any data.

Place in the flow: `rehearsal.py` asks for the footprint of a setting before weights are loaded. The law it keeps: what
is counted is what the phase's own code allocates, storage by storage and until its last user lets go, so a changed loss
or network needs no change here.

Meta tensors know neither autocast nor which attention kernel a device takes; two modes stand in for them: matrix
products in bfloat16, normalisations in float32 on GPUs, and attention that keeps no matrix of weights. Not counted are
what lies outside torch's allocator (the CUDA context, workspaces of convolutions) and its fragmentation.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from supir_model import Supir
from supir_model.prompts import positive_prompt
from supir_train.batch import Batch
from supir_train.config import TrainConfig
from supir_train.image_noise import ImageNoise, image_noise
from supir_train.live_bytes import LiveBytes, Results
from supir_train.metrics import Means
from supir_train.micro_batch import StepSplit
from supir_train.order import Position
from supir_train.phase import Phase
from supir_train.world import ALONE

CAPTION = "a photo of " + "many things and " * 20
"""With the quality suffix two to three chunks of text, as dense captions have."""
PRODUCTS = frozenset(
    {
        functional.linear,
        torch.conv2d,
        torch.matmul,
        torch.Tensor.matmul,
        torch.Tensor.__matmul__,
        torch.bmm,
        torch.baddbmm,
    }
)
NORMALISATIONS = frozenset({functional.group_norm, functional.layer_norm})


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMoments:
    """Bytes on top of weights, optimizer and average at the times of a step when most is held.

    `step` is the highest of a forward and backward pass with the gradients, `lesson` that of the discriminator's own
    step (0 without one).
    """

    step: int
    lesson: int


class _Autocast(TorchFunctionMode):
    """What bfloat16 autocast does to meta tensors, and attention without a matrix of weights."""

    def __init__(self, *, is_bf16: bool, is_gpu: bool) -> None:
        super().__init__()
        self._is_bf16, self._is_gpu = is_bf16, is_gpu
        self._cast_weights: dict[int, torch.Tensor] | None = None

    @contextmanager
    def region(self) -> Iterator[None]:
        """Keeps each weight's bfloat16 copy for the length of a `with` block, as autocast does."""
        self._cast_weights = {}
        try:
            yield
        finally:
            self._cast_weights = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        if self._is_bf16 and func in PRODUCTS:
            return func(*map(self._bf16, args), **{key: self._bf16(value) for key, value in kwargs.items()})
        if self._is_bf16 and func in NORMALISATIONS:
            kind = torch.float32 if self._is_gpu else args[0].dtype
            named = {key: _floating_to(value, kind) for key, value in kwargs.items()}
            return func(*(_floating_to(value, kind) for value in args), **named)
        return func(*args, **kwargs)

    def _attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **_others: Any,
    ) -> torch.Tensor:
        if self._is_bf16:
            query, key, value = map(self._bf16, (query, key, value))
        if attn_mask is not None:
            attn_mask = attn_mask.to(query.dtype)
        attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        result: torch.Tensor = attend(query, key, value, dropout_p, is_causal, attn_mask=attn_mask)[0]
        return result

    def _bf16(self, value: Any) -> Any:
        if (
            not isinstance(value, torch.Tensor)
            or not value.is_floating_point()
            or value.dtype == torch.bfloat16
        ):
            return value
        if self._cast_weights is None or not (value.is_leaf and value.requires_grad):
            return value.to(torch.bfloat16)
        return self._cast_weights.setdefault(id(value), value.to(torch.bfloat16))


def step_moments(
    supir: Supir,
    phase: Phase,
    parameters: Mapping[str, nn.Parameter],
    config: TrainConfig,
    *,
    images: int,
    micro_batches: int,
    is_gpu: bool,
    results: Results,
) -> StepMoments:
    """Returns the bytes that a step of the phase takes at most.

    Args:
        supir: on the meta device, with its checkpointing switched on or off.
        phase: of this model, not counted before.
        parameters: the trained parameters.
        images: in a forward pass.
        micro_batches: forward passes of a process in a step.
        is_gpu: whether the run's device is one.
        results: what operations were found to make.
    """
    live, cast = _modes(supir, phase, is_gpu=is_gpu, results=results)
    with live, cast:
        for parameter in parameters.values():
            # from the second forward pass on, gradients are there to be added to
            parameter.grad = torch.empty_like(parameter) if micro_batches > 1 else None
        batch = _batch(config, images, degraded=phase.degraded)
        with cast.region():
            loss = _loss(phase, batch, config)
        _backward(loss * images)
        del loss
        waiting = (micro_batches - 1) * batch.hq.nbytes * 2 if phase.adversary else 0
        step = live.peak + waiting
        for parameter in parameters.values():
            parameter.grad = None
        split = StepSplit(images, micro_batches, config.data.crop_px, ALONE)
        lesson = _lesson_bytes(phase, split, live, cast) + waiting if phase.adversary else 0
    return StepMoments(step=step, lesson=lesson)


def validation_bytes(
    supir: Supir, phase: Phase, config: TrainConfig, *, images: int, is_gpu: bool, results: Results
) -> int:
    """Returns the bytes that a validation of the phase takes at most; arguments as of `step_moments`."""
    live, cast = _modes(supir, phase, is_gpu=is_gpu, results=results)
    with live, cast, torch.no_grad():
        batch = _batch(config, images, degraded=phase.degraded)
        with cast.region():
            _loss(phase, batch, config)
        restored = min(images, config.validation.pictures)
        if phase.restore and restored:
            del batch
            batch = _batch(config, restored, degraded=phase.degraded)
            with cast.region():
                phase.restore(batch, _noise(phase, batch, config))
    return live.peak


def _modes(supir: Supir, phase: Phase, *, is_gpu: bool, results: Results) -> tuple[LiveBytes, _Autocast]:
    if phase.adversary:
        phase.adversary.to(torch.device("meta"))
    networks = [supir, *([phase.teacher] if phase.teacher else [])]
    held = itertools.chain(*((*one.parameters(), *one.buffers()) for one in networks))
    live = LiveBytes(held, results)
    return live, _Autocast(is_bf16=phase.optimize.precision == "bf16", is_gpu=is_gpu)


def _backward(loss: torch.Tensor) -> None:
    """Runs the engine itself: within `Tensor.backward` modes are off, also while blocks are computed again."""
    engine = torch.autograd.Variable._execution_engine
    engine.run_backward((loss,), (torch.ones_like(loss),), False, False, (), True, True)


def _lesson_bytes(phase: Phase, split: StepSplit, live: LiveBytes, cast: _Autocast) -> int:
    assert phase.adversary, "asked for only where there is one"
    live.peak = live.now
    with cast.region():
        phase.adversary.learn(ALONE, 1, Means(ALONE), split)
    return live.peak


def _loss(phase: Phase, batch: Batch, config: TrainConfig) -> torch.Tensor:
    return phase.loss(batch, _noise(phase, batch, config))["loss"]


def _noise(phase: Phase, batch: Batch, config: TrainConfig) -> ImageNoise:
    images_a_step = max(phase.optimize.batch, len(batch.keys))
    return image_noise(config.seed, phase.name, batch.numbers, images_a_step=images_a_step)


def _batch(config: TrainConfig, images: int, *, degraded: bool) -> Batch:
    side = config.data.crop_px

    def pictures() -> torch.Tensor:
        return torch.empty(images, 3, side, side, device="meta").to(memory_format=torch.channels_last)

    return Batch(
        numbers=tuple(range(images)),
        keys=("",) * images,
        boxes=(),
        traces=(),
        hq=pictures(),
        lq=pictures() if degraded else None,
        prompts=(positive_prompt(CAPTION),) * images,
        bad=(),
        position=Position(),
    )


def _floating_to(value: Any, kind: torch.dtype) -> Any:
    return value.to(kind) if isinstance(value, torch.Tensor) and value.is_floating_point() else value
