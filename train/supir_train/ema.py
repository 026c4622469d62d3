"""The running average of the trained weights: what is validated and exported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from supir_model.sharding import own_share, share_like


class WeightAverage:
    """Exponential moving average of named parameters.

    Args:
        parameters: the trained parameters; the average starts as a copy of them.
        decay: weight of the old average at each step, 0 to 1. Early on it is (1 + n) / (10 + n) after n steps where
            that is smaller, so that the random start is forgotten.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self._parameters, self._decay = parameters, decay
        self.values = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    @torch.no_grad()
    def update(self, steps_done: int) -> None:
        """Moves the average towards the current weights after step number `steps_done` (1 for the first)."""
        decay = min(self._decay, (1 + steps_done) / (10 + steps_done))
        current = [own_share(self._parameters[name]) for name in self.values]
        torch._foreach_lerp_([own_share(value) for value in self.values.values()], current, 1.0 - decay)

    @torch.no_grad()
    def restore(self, values: Mapping[str, torch.Tensor]) -> None:
        """Overwrites the average with saved values of the same names."""
        for name, value in self.values.items():
            value.copy_(share_like(values[name], value))

    @torch.no_grad()
    def store_in_model(self) -> None:
        """Overwrites the trained weights with the average."""
        for name, parameter in self._parameters.items():
            parameter.copy_(self.values[name])

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """Puts the average in the model's place for the length of a `with` block."""
        trained = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self.store_in_model()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self._parameters.items():
                    parameter.copy_(trained[name])
