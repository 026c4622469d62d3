"""The optimizer of a fit: AdamW, or bitsandbytes' with moments of 8 bits.

Place in the flow: `phase_state.py` makes one a phase, `run.py` asks before it loads weights whether it runs here.
Source: Dettmers et al. 2022, "8-bit optimizers via block-wise quantization".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from supir_console import UserError
from supir_train.optimize_config import OptimizeConfig

MIN_8BIT_NUMBERS = 4096
"""Tensors of fewer numbers keep moments of float32: biases and normalisations, which rounding would hurt most."""
BLOCK_NUMBERS = 256
"""Numbers that share a scale."""
PROBLEM = "optimize.optimizer=adamw8bit"


class AdamW8bit(torch.optim.Optimizer):
    """bitsandbytes' AdamW on parameters of any dense layout.

    bitsandbytes reads memory in order and makes each parameter contiguous for that, which would undo channels-last at
    the first step. Here it is given, in each parameter's place, a contiguous view of its memory.

    Args:
        parameters: float32, dense.
        lr, betas, weight_decay: of AdamW.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        from bitsandbytes.optim import AdamW8bit as BlockwiseAdamW

        parameters = list(parameters)
        super().__init__(parameters, {"lr": lr})
        self._views = [nn.Parameter(_in_memory_order(parameter.detach())) for parameter in parameters]
        self._inner = BlockwiseAdamW(
            self._views, lr=lr, betas=betas, weight_decay=weight_decay, min_8bit_size=MIN_8BIT_NUMBERS
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Moves the parameters that have a gradient."""
        assert closure is None, "no loss is computed here"
        (group,) = self.param_groups
        self._inner.param_groups[0]["lr"] = group["lr"]
        for parameter, view in zip(group["params"], self._views, strict=True):
            if parameter.grad is not None:
                view.grad = _in_memory_order(_laid_out_as(parameter.grad, parameter))
        self._inner.step()
        for view in self._views:
            view.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Moments, their scales and step counts, in parameter order."""
        state: dict[str, Any] = self._inner.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a `state_dict`."""
        self._inner.load_state_dict(state_dict)


def make_optimizer(parameters: Iterable[nn.Parameter], fit: OptimizeConfig) -> torch.optim.Optimizer:
    """Returns the fit's optimizer at its beginning."""
    settings: dict[str, Any] = {"lr": fit.lr, "betas": fit.betas, "weight_decay": fit.weight_decay}
    if fit.optimizer == "adamw8bit":
        return AdamW8bit(parameters, **settings)
    return torch.optim.AdamW(parameters, fused=True, **settings)


def optimizer_bytes(parameters: Iterable[torch.Tensor], fit: OptimizeConfig) -> int:
    """Returns the bytes of the moments of these parameters, and of their scales."""
    return sum(_moment_bytes(parameter.numel(), fit) for parameter in parameters)


def require_optimizer(fit: OptimizeConfig, device: torch.device) -> None:
    """Refuses an optimizer that does not run on the device.

    Raises:
        UserError: bitsandbytes is not installed, or makes no step there.
    """
    if fit.optimizer != "adamw8bit":
        return
    if find_spec("bitsandbytes") is None:
        raise UserError(
            f"{PROBLEM} needs bitsandbytes, which is not installed; pip install 'supir-stack[adam8bit]', or use adamw"
        )
    trial = nn.Parameter(torch.zeros(MIN_8BIT_NUMBERS, device=device))
    trial.grad = torch.ones_like(trial)
    try:
        make_optimizer([trial], fit).step()
    except Exception as error:  # whatever a missing library or kernel makes of it
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise UserError(f"{PROBLEM}: bitsandbytes makes no step on {device} ({reason}); use adamw") from error


def _moment_bytes(numbers: int, fit: OptimizeConfig) -> int:
    if fit.optimizer == "adamw8bit" and numbers >= MIN_8BIT_NUMBERS:
        return 2 * (numbers + 4 * -(-numbers // BLOCK_NUMBERS))
    return 8 * numbers


def _in_memory_order(tensor: torch.Tensor) -> torch.Tensor:
    """A contiguous view of a dense tensor's memory."""
    strides = tensor.stride()
    return tensor.permute(sorted(range(tensor.ndim), key=strides.__getitem__, reverse=True))


def _laid_out_as(gradient: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
