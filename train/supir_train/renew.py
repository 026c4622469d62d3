"""Starting points: parts that hang on a prior are put back to theirs, a new estimator is made.

Place in the flow: `stage: prior` renews what its fits made worthless; `stage: adapter` renews on request.
"""

from __future__ import annotations

import torch

from supir_model import Supir
from supir_model.connectors import Connectors
from supir_model.estimator import DegradationEstimator
from supir_model.supir import new_robust_encoder


def renew_robust_encoder(supir: Supir) -> None:
    """Makes the degradation-robust encoder compute what the VAE's encoder does (paper section 3.1)."""
    supir.robust_encoder.load_state_dict(new_robust_encoder(supir.vae).state_dict())


def fresh_estimator(seed: int) -> DegradationEstimator:
    """An untrained degradation estimator, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DegradationEstimator()


def renew_adapter(supir: Supir, seed: int) -> None:
    """Makes the control encoder a copy of the UNet's encoder half and starts the connectors again.

    Args:
        seed: seed of the connectors' random weights.
    """
    supir.init_control_from_unet()
    for parameter in supir.control.hint.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = Connectors.from_config(supir.connectors.config)
    supir.connectors.load_state_dict(fresh.state_dict())
