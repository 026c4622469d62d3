"""Image-to-image by the plain prior: noise a picture part of the way, denoise it under a prompt.

Place in the flow: `negative_job` makes the negative-quality samples with it.
Source: SDEdit (Meng et al., arXiv 2108.01073); SUPIR (arXiv 2401.13627) §3.3 uses it at strength 0.5.

Legend: B images, H W pixels, C h w latent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from supir_model.diffusion import sampling_sigmas
from supir_model.guidance import LinearScale, guided
from supir_model.sampler import generator_noise, sample_edm

if TYPE_CHECKING:
    from supir_model import Supir

NO_CONTROL = LinearScale(0.0, 0.0)


def img2img_sigmas(steps: int, strength: float) -> torch.Tensor:
    """Returns the last `strength` of a `steps`-step schedule, (n + 1,) descending to 0; n is at least 1.

    Args:
        steps: steps of the whole schedule.
        strength: share of it that is run, in (0, 1].
    """
    num_steps = max(1, round(steps * strength))
    return sampling_sigmas(steps)[steps - num_steps :]


@torch.no_grad()
def img2img(
    supir: Supir,
    images: torch.Tensor,
    prompts: Sequence[str],
    *,
    sigmas: torch.Tensor,
    guidance_scale: float,
    seeds: Sequence[int],
) -> torch.Tensor:
    """Returns the images (B, 3, H, W), about [-1, 1] and not clipped, redrawn under their prompts.

    Args:
        supir: the model; its control encoder and connectors do not run.
        images: (B, 3, H, W) in [-1, 1], sides multiples of 32.
        prompts: B prompts; the guidance's other branch is the empty prompt.
        sigmas: from `img2img_sigmas`.
        guidance_scale: g of D_u + g (D_c - D_u).
        seeds: B seeds of the noise; an image does not depend on its neighbours' seeds.
    """
    batch, _, height, width = images.shape
    latent = supir.encode(images)
    noise = generator_noise([torch.Generator().manual_seed(seed) for seed in seeds])
    both = supir.encode_prompt([*prompts, *[""] * batch])
    denoise = guided(
        supir,
        latent,  # stands where the LQ latent goes; without control nothing reads it
        both[:batch],
        both[batch:],
        supir.time_ids(height, width, batch),
        guidance_scale=LinearScale(guidance_scale, guidance_scale),
        control_scale=NO_CONTROL,
    )
    start = latent + sigmas[0].to(latent) * noise(latent)
    return supir.decode(sample_edm(denoise, start, sigmas, noise=noise, s_churn=0.0))
