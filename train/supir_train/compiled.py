"""Compiled transformer blocks, where a compiler is.

Place in the flow: `run.py` asks before it loads weights, and compiles once the model is where it trains.
"""

from __future__ import annotations

import torch

from supir_console import UserError
from supir_model import Supir
from supir_model.memory import compile_blocks

GRAPHS = 64
"""Of one block's code: its shapes in the network, with and without gradients, and lengths of text. The default is 8,
after which torch quietly compiles no more."""


def require_compiler(device: torch.device) -> None:
    """Refuses a machine on which nothing can be compiled.

    Raises:
        UserError: says what is missing.
    """
    try:
        torch.compile(lambda numbers: numbers * 2 + 1)(torch.ones(8, device=device))
    except Exception as error:  # torch has a class of its own for each tool that may be missing
        reason = next(line for line in (*str(error).splitlines(), type(error).__name__) if line.strip())
        needed = "Triton and a C compiler" if device.type == "cuda" else "a C++ compiler such as g++"
        raise UserError(
            f"compile_blocks=true: torch compiles nothing on {device} here ({reason.strip()}); install {needed}, or "
            "set compile_blocks=false"
        ) from error


def compile_for_training(supir: Supir) -> None:
    """Compiles the transformer blocks of UNet and control encoder, each at its first use."""
    torch._dynamo.config.recompile_limit = max(GRAPHS, torch._dynamo.config.recompile_limit)
    compile_blocks(supir)
