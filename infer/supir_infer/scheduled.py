"""Restoring with the steps of a scheduler of diffusers in the place of SUPIR's samplers.

Place in the flow: `pipeline` takes it where it has a scheduler. The levels of noise, the guidance and the pull to the
LQ image are the settings'; the step from one level to the next, and any noise it adds, is the scheduler's.
The law it keeps: the network is asked at the scheduler's own level of noise, whichever of the two scalings its latents
have (variance exploding as Euler's, or preserving as DPM++'s): `scale_model_input` says which.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from typing import Any

import torch

from supir_infer.noise import Noise
from supir_infer.restore import Restorer
from supir_infer.settings import RestoreSettings
from supir_model import Supir
from supir_model.diffusion import nearest_timestep
from supir_model.sampler import Denoise, OnStep, Step, restore_toward, start_latent

RESTORE_SIGMA_MIN = 0.05
PREDICTIONS = ("epsilon", "sample")


class ScheduledRestorer(Restorer):
    """A `Restorer` whose steps are a scheduler's.

    Args:
        supir: the network.
        settings: `sampler`, `s_churn` and `s_noise` have no effect.
        scheduler: its `set_timesteps` takes `sigmas` or `timesteps`, and it predicts `epsilon` or `sample`.

    Raises:
        ValueError: another kind of scheduler.
    """

    def __init__(self, supir: Supir, settings: RestoreSettings, scheduler: Any) -> None:
        super().__init__(supir, settings, self._sample)
        self._scheduler = scheduler
        name = type(scheduler).__name__
        prediction = scheduler.config.get("prediction_type")
        if prediction not in PREDICTIONS:
            raise ValueError(
                f"{name} has prediction_type {prediction!r}; SUPIR needs one of {', '.join(PREDICTIONS)}, as "
                "EulerDiscreteScheduler has"
            )
        self._takes = [
            way
            for way in ("sigmas", "timesteps")
            if way in inspect.signature(scheduler.set_timesteps).parameters
        ]
        if not self._takes or not hasattr(scheduler, "sigmas"):
            raise ValueError(
                f"{name} cannot be told its levels of noise (set_timesteps without sigmas and timesteps); use "
                "EulerDiscreteScheduler, or None for SUPIR's own samplers"
            )

    def _sample(
        self,
        settings: RestoreSettings,
        denoise: Denoise,
        z_lq: torch.Tensor,
        noise: Noise,
        centre: torch.Tensor | None,
        on_step: OnStep | None,
    ) -> torch.Tensor:
        scheduler = self._scheduler
        self._set_levels(z_lq.device)
        x = start_latent(noise.start(z_lq), self._sigmas, None if settings.start_sigma is None else z_lq)
        first = scheduler.timesteps[0]
        scale = float(scheduler.scale_model_input(torch.ones(1), first))
        # what the network gets, x / sqrt(sigma² + 1), is the one thing that both scalings agree on
        latents = x / math.sqrt(1.0 + float(self._sigmas[0]) ** 2) / scale
        options = self._noise_options(noise, len(x))
        for index, timestep in enumerate(scheduler.timesteps):
            x_in = scheduler.scale_model_input(latents, timestep)
            at = index if scheduler.step_index is None else scheduler.step_index
            sigma, sigma_next = float(scheduler.sigmas[at]), float(scheduler.sigmas[at + 1])
            x = x_in * math.sqrt(1.0 + sigma**2)
            denoised = denoise(x, sigma, sigma)
            restored = denoised
            if settings.restore_guidance > 0 and centre is not None and sigma_next > RESTORE_SIGMA_MIN:
                restored = restore_toward(denoised, centre, sigma, settings.restore_guidance)
            output = restored if scheduler.config.prediction_type == "sample" else (x - restored) / sigma
            latents = scheduler.step(output, timestep, latents, **options, return_dict=False)[0]
            if on_step is not None:
                on_step(Step(index, sigma, sigma, sigma_next, denoised, restored, latents))
        return latents

    def _set_levels(self, device: torch.device) -> None:
        if "sigmas" in self._takes:
            self._scheduler.set_timesteps(sigmas=self._sigmas.tolist(), device=device)
        else:
            timesteps = nearest_timestep(self._sigmas[:-1]).tolist()
            self._scheduler.set_timesteps(timesteps=timesteps, device=device)

    def _noise_options(self, noise: Noise, batch: int) -> dict[str, Any]:
        """A generator for each picture, seeded from its own noise, for a scheduler that adds some."""
        if "generator" not in inspect.signature(self._scheduler.step).parameters:
            return {}
        drawn = noise.steps(torch.empty(batch, 4))
        digests = [hashlib.sha256(row.numpy().tobytes()).digest() for row in drawn]
        generators = [
            torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1) for digest in digests
        ]
        return {"generator": generators if batch > 1 else generators[0]}
