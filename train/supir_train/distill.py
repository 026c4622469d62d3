"""`stage: distill`: the adapter as a student that restores in 1 to 4 network calls.

Place in the flow: after the adapter, which is its teacher. The student starts from what the robust encoder sees, z_lq,
plus noise of `start_sigma`, as the restorer does with the same keys. Control encoder and connectors move, from the
teacher's weights on; the UNet stays, so that a student is an adapter like any other: it has the official layout, and
goes with any finetune of its SDXL. What it must learn anew is how far to go, which the connectors' scales and shifts
of every decoder input can say.

Multistep consistency (`consistency.py`), not shortcuts (Frans et al. 2024, arXiv 2410.12557): a shortcut network is
told its step's length, for which neither SDXL's time embedding nor the official files have a place, and it learns
lengths of all powers of two, most of which no restorer asks for. Here the lengths are fixed by the levels, the
student keeps the teacher's inputs and begins as the teacher, and a training step takes few of the teacher's calls.

The points that it learns at lie between z_lq and the photo's latent with noise shrinking alike, x = z + s (z_lq - z +
start_sigma eps) at sigma = s start_sigma (the path of Delbracio and Milanfar 2023, arXiv 2303.11435): at s = 1 that is
the restorer's start, and diffusion's own points alone would never show it. The photo is no target. Guidance of the
teacher is folded into the student's one call, as Meng et al. 2023 (2210.03142) and Luo et al. 2023 (2310.04378) do.
"""

from __future__ import annotations

import torch

from supir_console import UserError
from supir_model import Supir
from supir_model.diffusion import SIGMA_MAX, nearest_timestep, sampling_sigmas, scale_input, sigma_at
from supir_model.guidance import LinearScale
from supir_model.prompts import NEGATIVE_PROMPT
from supir_model.sampler import generator_noise, sample_edm, start_latent
from supir_model.text import TextConditioning
from supir_train.adapter import restoring
from supir_train.batch import Batch
from supir_train.config import TrainConfig
from supir_train.consistency import Estimate, Levels, bridged, landing_errors, large_steps
from supir_train.distill_config import DistillConfig
from supir_train.image_noise import ImageNoise
from supir_train.noise_loss import drawn_sizes
from supir_train.phase import Losses, Phase
from supir_train.teacher import adapter_teacher


def distill_phase(supir: Supir, config: TrainConfig) -> Phase:
    """Returns the fit of the student by the distance of its landings; its teacher is a copy of the weights in `supir`.

    Raises:
        UserError: there is no teacher, or `start_sigma` has too few noise levels below it.
    """
    levels = _levels(config.distill)
    teacher = adapter_teacher(supir, config)

    def loss(batch: Batch, noise: ImageNoise) -> Losses:
        assert batch.lq is not None, "stage distill loads degraded pairs"
        with torch.no_grad():
            latent = supir.encode(batch.hq, noise.generators)
            z_lq = supir.encode_lq(batch.lq)
            text = supir.encode_prompt(list(batch.prompts))
            sizes = drawn_sizes(supir, config.data.size_condition_px, noise)
        step, first = _drawn_intervals(noise, config.distill)
        ahead = levels.interval(step, first, config.distill.interval_steps).to(latent.device)
        start = z_lq + levels.sigmas[0, 0] * noise.normal(latent)
        x = bridged(latent, start, ahead.sigmas[:, 0] / levels.sigmas[0, 0])
        errors = landing_errors(
            estimate(supir, z_lq, text, sizes),
            guided_estimate(teacher, z_lq, text, sizes, config.distill),
            x,
            ahead,
        )
        return {"loss": errors.mean(), **_by_step(errors.detach(), step)}

    return Phase(
        name="distill",
        optimize=config.optimize,
        degraded=True,
        loss=loss,
        restore=lambda batch, noise: _restored(supir, config, batch, noise),
        teacher=teacher,
    )


def estimate(supir: Supir, z_lq: torch.Tensor, text: TextConditioning, sizes: torch.Tensor) -> Estimate:
    """Returns the network's estimate of the clean latent under one prompt an image, differentiable in the adapter.

    Args:
        z_lq: (B, C, h, w).
        text: B prompts.
        sizes: (B, 6) size vectors.
    """

    def clean(x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        sigma = sigma_at(timestep, x.ndim)
        eps = supir.predict_eps(scale_input(x, sigma), timestep, z_lq, text, sizes)
        return x - sigma * eps.float()

    return clean


def guided_estimate(
    supir: Supir, z_lq: torch.Tensor, text: TextConditioning, sizes: torch.Tensor, config: DistillConfig
) -> Estimate:
    """Returns the estimate with the teacher's guidance away from the negative prompt, as `guidance.guided` has it."""
    start = config.guidance_scale if config.guidance_scale_start is None else config.guidance_scale_start
    scale = LinearScale(start, config.guidance_scale)
    plain = estimate(supir, z_lq, text, sizes)
    if scale == LinearScale(1.0, 1.0):
        return plain
    away = estimate(supir, z_lq, supir.encode_prompt([NEGATIVE_PROMPT] * len(z_lq)), sizes)

    def clean(x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        unwanted, wanted = away(x, timestep), plain(x, timestep)
        strength = (scale.start - scale.end) * sigma_at(timestep, x.ndim) / SIGMA_MAX + scale.end
        return unwanted + strength * (wanted - unwanted)

    return clean


@torch.no_grad()
def _restored(supir: Supir, config: TrainConfig, batch: Batch, noise: ImageNoise) -> torch.Tensor:
    """The batch as the restorer's preset for students makes it, without its colour fix."""
    assert batch.lq is not None, "stage distill loads degraded pairs"
    z_lq = supir.encode_lq(batch.lq)
    denoise = restoring(supir, config, batch, z_lq, guidance_scale=1.0)
    sigmas = sampling_sigmas(config.distill.steps, config.distill.start_sigma)
    start = start_latent(noise.normal(z_lq), sigmas, z_lq)
    return supir.decode(
        sample_edm(denoise, start, sigmas, noise=generator_noise(noise.generators), s_churn=0.0)
    )


def _levels(config: DistillConfig) -> Levels:
    start = int(nearest_timestep(torch.tensor(config.start_sigma)))
    try:
        return large_steps(start, config.steps, config.small_steps)
    except ValueError as error:
        raise UserError(
            f"distill.start_sigma={config.start_sigma}: {error}; use fewer teacher_steps (now {config.teacher_steps}), "
            "or start higher"
        ) from error


def _drawn_intervals(noise: ImageNoise, config: DistillConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Large step and first small step, int64 (B,) each: all intervals alike often, spread over the images of a step."""
    chosen = (noise.stratified() * (config.steps * config.intervals)).long()
    return chosen // config.intervals, chosen % config.intervals * config.interval_steps


def _by_step(errors: torch.Tensor, step: torch.Tensor) -> Losses:
    """The errors (B,) of the images of each large step that there is one of; `step` is (B,) on the CPU."""
    numbers = step.tolist()
    return {
        f"loss_step{chosen + 1}": errors[[image for image, own in enumerate(numbers) if own == chosen]]
        for chosen in sorted(set(numbers))
    }
