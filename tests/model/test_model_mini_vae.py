"""The small autoencoder: its face, its fixed transform, and that a tile with enough margin gives the untiled result."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from supir_model.mini_vae import MiniVAE, block_transform
from supir_model.presets import PRESETS

ENCODER_MARGIN_PX = 64
DECODER_MARGIN_LATENT = 12


def drawn(vae: MiniVAE) -> MiniVAE:
    """The same with random numbers where it starts at zero, so that every path is walked."""
    generator = torch.Generator().manual_seed(0)
    for parameter in vae.parameters():
        if parameter.ndim == 4 and not parameter.any():
            parameter.data = 0.05 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return vae


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return drawn(MiniVAE(**PRESETS["mini"].vae).double().requires_grad_(False))


def test_the_face_is_that_of_autoencoder_kl(vae):
    image = torch.zeros(2, 3, 40, 64).double()
    posterior = vae.encode(image).latent_dist
    assert posterior.mode().shape == (2, 64, 5, 8)
    assert vae.decode(posterior.mode()).sample.shape == image.shape
    assert vae.config["scaling_factor"] == 1.0
    moments = vae.quant_conv(vae.encoder(image))
    assert torch.equal(moments.chunk(2, dim=1)[0], posterior.mode())
    latent = torch.ones(1, 64, 4, 4).double()
    assert torch.equal(vae.decode(latent).sample, vae.decoder(vae.post_quant_conv(latent)))


def test_the_whole_transform_is_without_loss_and_its_basis_orthogonal():
    analysis, synthesis = block_transform(192)
    torch.testing.assert_close(synthesis @ analysis, torch.eye(192), rtol=0, atol=1e-5)
    product = analysis @ analysis.T
    torch.testing.assert_close(product, product.diag().diag(), rtol=0, atol=1e-4)


def test_the_transform_is_jpegs_cosine_transform_of_the_grey_picture():
    import cv2

    block = torch.rand(8, 8, generator=torch.Generator().manual_seed(0))
    analysis, _ = block_transform(64)
    found = analysis @ block.expand(1, 3, 8, 8).reshape(192)
    frequencies = torch.from_numpy(cv2.dct(block.numpy()))
    lowest = math.sqrt(3) * float(frequencies[0, 0]) / 8.0
    assert float(found[0]) == pytest.approx(lowest, rel=1e-5)
    usual = 8.0 / math.sqrt(1 + 48.0)
    for value in (frequencies[0, 1], frequencies[1, 0]):
        expected = math.sqrt(3) * float(value) / usual
        assert (found - expected).abs().min() < 1e-5


@pytest.mark.parametrize("count", [0, 193])
def test_a_number_of_channels_that_a_block_has_not_is_refused(count):
    with pytest.raises(ValueError, match=f"latent_channels={count} is not 1 to 192"):
        block_transform(count)


def test_an_untrained_autoencoder_is_a_fair_codec():
    from skimage import data

    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None] / 127.5 - 1
    vae = MiniVAE(**PRESETS["mini"].vae).requires_grad_(False)
    error = (vae.decode(vae.encode(photo).latent_dist.mode()).sample - photo).square().mean()
    assert 10 * math.log10(4 / float(error)) > 33


def test_standardized_latents_decode_to_the_same_image(vae):
    torch.manual_seed(1)
    moved = drawn(MiniVAE(**PRESETS["tiny"].vae).double().requires_grad_(False))
    image = functional.interpolate(torch.rand(4, 3, 8, 8) * 2 - 1, size=64, mode="bilinear").double()
    before = moved.encode(image).latent_dist
    shown = moved.decode(before.mode()).sample
    statistics = [getattr(before.mode(), name)(dim=(0, 2, 3)) for name in ("mean", "std")]
    moved.standardize(*statistics)
    after = moved.encode(image).latent_dist
    torch.testing.assert_close(after.mode().mean(dim=(0, 2, 3)), torch.zeros(8).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(after.mode().std(dim=(0, 2, 3)), torch.ones(8).double(), rtol=1e-9, atol=0)
    torch.testing.assert_close(moved.decode(after.mode()).sample, shown, rtol=1e-9, atol=1e-9)
    expected = before.std / statistics[1][:, None, None]
    torch.testing.assert_close(after.std, expected, rtol=1e-9, atol=0)


def test_a_robust_encoder_has_more_blocks_and_starts_as_the_encoder(vae):
    image = torch.rand(1, 3, 64, 64).double() * 2 - 1
    robust = vae.new_robust_encoder().requires_grad_(False)
    assert (len(robust.at_quarter), len(robust.at_eighth)) == PRESETS["mini"].vae["robust_layers"]
    assert torch.equal(robust(image), vae.encoder(image))
    robust.at_eighth[-1].conv2.weight.add_(0.01)
    assert not torch.equal(robust(image), vae.encoder(image))
    robust.copy_from(vae.encoder)
    assert torch.equal(robust(image), vae.encoder(image))


def test_a_tile_with_margin_encodes_as_the_whole_does(vae):
    image = torch.randn(1, 3, 256, 32, generator=torch.Generator().manual_seed(1)).double()
    whole, tile = (vae.encode(value).latent_dist.mode() for value in (image, image[:, :, 64:]))
    margin = ENCODER_MARGIN_PX // 8
    torch.testing.assert_close(tile[:, :, margin:], whole[:, :, 8 + margin :], rtol=1e-9, atol=1e-9)
    assert (tile[:, :, 0] - whole[:, :, 8]).abs().max() > 1e-3


def test_a_tile_with_margin_decodes_as_the_whole_does(vae):
    latent = torch.randn(1, 64, 32, 4, generator=torch.Generator().manual_seed(1)).double()
    whole, tile = (vae.decode(value).sample for value in (latent, latent[:, :, 8:]))
    margin = 8 * DECODER_MARGIN_LATENT
    torch.testing.assert_close(tile[:, :, margin:], whole[:, :, 64 + margin :], rtol=1e-9, atol=1e-9)
    assert (tile[:, :, 0] - whole[:, :, 64]).abs().max() > 1e-3


def test_training_adds_what_the_first_coefficients_lack():
    torch.manual_seed(0)
    vae = MiniVAE(**PRESETS["tiny"].vae)
    image = functional.interpolate(torch.rand(8, 3, 8, 8) * 2 - 1, size=64, mode="bilinear")
    optimizer = torch.optim.AdamW(vae.parameters(), lr=3e-3)
    errors = []
    for _ in range(60):
        error = (vae.decode(vae.encode(image).latent_dist.mode()).sample - image).abs().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.6 * errors[0]
