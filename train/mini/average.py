"""The weighted mean of several runs' robust encoders and autoencoders: what a further leg of the encoder begins from.

    python train/mini/average.py OUT 0.65=runs/leg-2/model 0.35=runs/leg-1/model

The weights of each leg wander about a common middle while the rate is high; their mean lies nearer to it (Izmailov et
al. 2018, "Averaging weights leads to wider optima"). Everything else is the first model's. Negative shares extrapolate.
"""

from __future__ import annotations

import sys

import torch

from supir_console import UserError
from supir_infer.model_source import load_model, resolve_model
from supir_model import Supir

PARTS = ("robust_encoder", "vae")


def main() -> None:
    """Writes the model folder that the command line names."""
    if len(sys.argv) < 3:
        sys.exit(f"error: type python {sys.argv[0]} OUT SHARE=MODEL SHARE=MODEL ...")
    out, *asked = sys.argv[1:]
    try:
        shares, models = zip(*(_read(text) for text in asked), strict=True)
        average(shares, models).save_pretrained(out)
    except UserError as error:
        sys.exit(f"error: {error}")


def average(shares: tuple[float, ...], models: tuple[Supir, ...]) -> Supir:
    """Returns the first model, changed in place, with the mean of all.

    Raises:
        UserError: the shares do not add up to 1, or the models' shapes differ.
    """
    if abs(sum(shares) - 1) > 1e-6:
        raise UserError(f"the shares add up to {sum(shares):g}, not to 1")
    for part in PARTS:
        states = [getattr(model, part).state_dict() for model in models]
        if any(_shapes(state) != _shapes(states[0]) for state in states):
            raise UserError(f"the models' {part} differ in shape, so that they have no mean")
        mean = {
            name: sum(share * state[name] for share, state in zip(shares, states, strict=True))
            for name in states[0]
        }
        getattr(models[0], part).load_state_dict(mean)
    return models[0]


def _read(text: str) -> tuple[float, Supir]:
    share, _, name = text.partition("=")
    try:
        return float(share), load_model(resolve_model(name), "cpu", "float32")
    except ValueError as error:
        raise UserError(f"{text}: type SHARE=MODEL, as 0.5=mini") from error


def _shapes(state: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


if __name__ == "__main__":
    main()
