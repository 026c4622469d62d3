"""The small autoencoder: its face, and that a tile with enough margin gives the untiled result."""

from __future__ import annotations

import pytest
import torch

from supir_model.mini_vae import MiniVAE
from supir_model.presets import PRESETS

ENCODER_MARGIN_PX = 64
DECODER_MARGIN_LATENT = 12


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    vae = MiniVAE(**PRESETS["mini"].vae).double().requires_grad_(False)
    for parameter in vae.parameters():
        if parameter.ndim == 4 and not parameter.any():
            torch.nn.init.kaiming_normal_(parameter)
    return vae


def test_the_face_is_that_of_autoencoder_kl(vae):
    image = torch.zeros(2, 3, 40, 64).double()
    posterior = vae.encode(image).latent_dist
    assert posterior.mode().shape == (2, 8, 5, 8)
    assert vae.decode(posterior.mode()).sample.shape == image.shape
    assert vae.config["scaling_factor"] == 1.0
    moments = vae.quant_conv(vae.encoder(image))
    assert torch.equal(moments.chunk(2, dim=1)[0], posterior.mode())
    latent = torch.ones(1, 8, 4, 4).double()
    image = vae.decoder(vae.post_quant_conv(latent))
    assert torch.equal(vae.decode(latent).sample, image)
    assert not torch.equal(vae.decoder(latent), image)


def test_a_tile_with_margin_encodes_as_the_whole_does(vae):
    image = torch.randn(1, 3, 256, 32, generator=torch.Generator().manual_seed(1)).double()
    whole, tile = (vae.encode(value).latent_dist.mode() for value in (image, image[:, :, 64:]))
    margin = ENCODER_MARGIN_PX // 8
    torch.testing.assert_close(tile[:, :, margin:], whole[:, :, 8 + margin :], rtol=1e-9, atol=1e-9)
    assert (tile[:, :, 0] - whole[:, :, 8]).abs().max() > 1e-3


def test_a_tile_with_margin_decodes_as_the_whole_does(vae):
    latent = torch.randn(1, 8, 32, 4, generator=torch.Generator().manual_seed(1)).double()
    whole, tile = (vae.decode(value).sample for value in (latent, latent[:, :, 8:]))
    margin = 8 * DECODER_MARGIN_LATENT
    torch.testing.assert_close(tile[:, :, margin:], whole[:, :, 64 + margin :], rtol=1e-9, atol=1e-9)
    assert (tile[:, :, 0] - whole[:, :, 64]).abs().max() > 1e-3


def test_a_few_steps_of_training_halve_the_error():
    torch.manual_seed(0)
    vae = MiniVAE(**PRESETS["tiny"].vae)
    image = torch.nn.functional.interpolate(torch.rand(8, 3, 8, 8) * 2 - 1, size=64, mode="bilinear")
    optimizer = torch.optim.AdamW(vae.parameters(), lr=3e-3)
    errors = []
    for _ in range(40):
        error = (vae.decode(vae.encode(image).latent_dist.mode()).sample - image).abs().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.5 * errors[0]
