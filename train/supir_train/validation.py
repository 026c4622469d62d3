"""Validation of a phase: the held-out loss of the averaged weights, and pairs that they restore.

Place in the flow: `loop.py` calls it at the first step, every `validation.every` steps and at the last. The law it
keeps: crops, timesteps and noise are the same at every call, and for any number of processes, which share the crops.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import torch

from supir_train.batch import Batch
from supir_train.config import TrainConfig
from supir_train.ema import WeightAverage
from supir_train.held_out import HeldOut
from supir_train.held_out_batches import validation_batches
from supir_train.image_noise import image_noise
from supir_train.metrics import Means
from supir_train.micro_batch import StepSplit
from supir_train.phase import Phase, autocast
from supir_train.restoration import Restored, measured, pictures, usable_metrics, write_sheet
from supir_train.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """What one validation found: figures by their names in metrics.jsonl, and the sheet's path in the run folder."""

    figures: dict[str, float]
    sheet: str | None


class Validation:
    """The held-out crops of one phase, ready to be measured.

    Args:
        phase: what is validated.
        config: the run.
        split: of a step, whose forward passes are as large as those of the validation.
        device: where the model is.
        world: the processes that share the crops; rank 0 writes the sheet.
        whole: as in `run_phase`; the processes run different numbers of forward passes.
        held_out: as in `run_phase`.
    """

    def __init__(
        self,
        phase: Phase,
        config: TrainConfig,
        split: StepSplit,
        device: torch.device,
        world: World,
        whole: Callable[[], AbstractContextManager[None]],
        held_out: HeldOut | None,
    ) -> None:
        self.phase = phase
        self._config, self._split, self._device, self._world = config, split, device, world
        self._whole = whole
        self._batches: list[Batch] = []
        if held_out:
            self._batches = validation_batches(
                config, held_out, images=split.images, degraded=phase.degraded, world=world
            )
        restores = phase.restore and config.validation.pictures and held_out
        self._metrics = usable_metrics(device, told=world.writes) if restores else []

    def __call__(
        self, average: WeightAverage, name: str, should_stop: Callable[[], bool]
    ) -> Validated | None:
        """Returns what the averaged weights reach, None if told to stop; to be called by all processes.

        Args:
            average: of the trained weights.
            name: of the sheet.
            should_stop: asked before each forward pass whether to give up.
        """
        with torch.no_grad(), average.in_model(), self._whole():
            means, own = self._split.fitted(partial(self._measured, should_stop=should_stop))
        if self._world.any(should_stop()):
            return None
        if own:
            means.add(measured(own, self._metrics))
        figures = {f"validation_{figure}": value for figure, value in means.take().items()}
        return Validated(figures=figures, sheet=self._sheet(own, name))

    def _measured(self, images: int, should_stop: Callable[[], bool]) -> tuple[Means, list[Restored]]:
        """The figures and the restored pairs of this process's crops, taken so many at a time."""
        means = Means(self._world)
        own: list[Restored] = []
        parts = (part for batch in self._batches if batch.keys for part in batch.parts(images))
        for batch in (part.to(self._device) for part in parts):
            if should_stop():
                break
            crops = self._config.validation.crops
            noise = image_noise(self._config.seed, "validation", batch.numbers, images_a_step=crops)
            with autocast(self.phase.optimize, self._device):
                losses = self.phase.loss(batch, noise)
            means.add(losses, count=len(batch.keys))
            own += self._restored(batch)
        return means, own

    def _restored(self, batch: Batch) -> list[Restored]:
        """The pairs of the batch that are among the first `validation.pictures`."""
        count = sum(number < self._config.validation.pictures for number in batch.numbers)
        if self.phase.restore is None or not count:
            return []
        # The crops of a batch are in the order of their numbers.
        batch = batch.part(slice(count))
        noise = image_noise(
            self._config.seed,
            "restoration",
            batch.numbers,
            images_a_step=self._config.validation.crops,
        )
        with autocast(self.phase.optimize, self._device):
            restored = pictures(self.phase.restore(batch, noise))
        lq = [None] * count if batch.lq is None else list(pictures(batch.lq))
        rows = zip(batch.numbers, lq, restored, pictures(batch.hq), strict=True)
        return [Restored(number=number, lq=low, restored=made, hq=high) for number, low, made, high in rows]

    def _sheet(self, own: list[Restored], name: str) -> str | None:
        everyone = itertools.chain.from_iterable(self._world.gather(own))
        pairs = sorted(everyone, key=lambda pair: pair.number)
        return write_sheet(self._config.run, name, pairs) if pairs and self._world.writes else None
