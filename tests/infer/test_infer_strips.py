from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL

from supir_console import UserError
from supir_infer import RestoreSettings, strips
from supir_infer.restore import Restorer


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoencoderKL(
            block_out_channels=(16, 32, 32, 32),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
            norm_num_groups=8,
        )
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(2, 3, 72, 104, generator=torch.Generator().manual_seed(5)) * 2 - 1


@pytest.mark.parametrize("rows", [8, 16, 40, 500])
def test_encoding_in_strips_equals_encoding_whole(vae, image, rows):
    whole = vae.encode(image).latent_dist.parameters
    assert (
        strips.encode_moments(vae, vae.encoder, image, rows) - whole
    ).abs().max() < 2e-5 * whole.abs().max()


@pytest.mark.parametrize("rows", [8, 24, 40, 500])
def test_decoding_in_strips_equals_decoding_whole(vae, rows):
    latent = torch.randn(2, 4, 9, 13, generator=torch.Generator().manual_seed(6))
    whole = vae.decode(latent).sample
    assert (strips.decode(vae, latent, rows) - whole).abs().max() < 2e-5 * whole.abs().max()


def test_the_statistics_are_those_of_the_whole_map_not_of_a_strip(vae):
    # bright upper, dark lower half: strip statistics would normalise the difference away
    latent = torch.cat([torch.full((1, 4, 4, 8), 2.0), torch.full((1, 4, 4, 8), -2.0)], dim=2)
    whole = vae.decode(latent).sample
    halves = torch.cat([vae.decode(half).sample for half in latent.chunk(2, dim=2)], dim=2)
    assert (halves - whole).abs().max() > 0.05
    assert (strips.decode(vae, latent, 32) - whole).abs().max() < 1e-4


def test_a_vae_without_strips_refuses_the_setting(supir):
    with pytest.raises(UserError, match=r"vae_strip_px=64: this model's MiniVAE has no strips; leave it 0"):
        Restorer(supir, RestoreSettings(vae_strip_px=64))
