"""A MiniVAE run strip by strip: the whole picture's result, with memory for some rows of it.

Place in the flow: `codec` uses it for encoding and decoding when `vae_strip_px` is set.
The law it keeps: exactness. The network has no normalisation and no attention, so its rows can be computed as those
that they need come in (`row_stream`); only float rounding differs from the plain forward pass.
Cost: no row is computed twice. Between two layers lies a strip; memory grows with a picture's width and not its height.
Source: the layer order is that of `supir_model.mini_vae`, whose modules are used as they are.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from supir_infer.row_stream import Rows, add, aligned, convolve, forked, joined_rows, residual, split_rows
from supir_model.mini_vae import BLOCK, MiniDecoder, MiniEncoder, MiniVAE, Residual


def encode_moments(vae: MiniVAE, encoder: MiniEncoder, image: Tensor, rows: int) -> Tensor:
    """Returns the posterior's mean and log-variance, (1, 2 C, H/8, W/8).

    Args:
        vae: gives `quant_conv`.
        encoder: the VAE's own encoder or the robust one.
        image: (1, 3, H, W) in [-1, 1].
        rows: image rows a strip, at least 8.
    """
    strips = split_rows(image, max(1, rows // BLOCK) * BLOCK)
    return joined_rows(convolve(_encoded(encoder, strips), vae.quant_conv), image.shape[2] // BLOCK)


def decode(vae: MiniVAE, latent: Tensor, rows: int) -> Tensor:
    """Returns the image of an unscaled latent, (1, 3, 8 h, 8 w) in about [-1, 1].

    Args:
        vae: its decoder and `post_quant_conv` are used.
        latent: (1, C, h, w), already divided by the scaling factor.
        rows: image rows a strip, at least 8.
    """
    strips = convolve(split_rows(latent, max(1, rows // BLOCK)), vae.post_quant_conv)
    return joined_rows(_decoded(vae.decoder, strips), latent.shape[2] * BLOCK)


def _encoded(encoder: MiniEncoder, image: Rows) -> Rows:
    learned, fixed = forked(image)
    hidden = convolve((functional.pixel_unshuffle(strip, 4) for strip in learned), encoder.conv_in)
    hidden = convolve(_residuals(hidden, encoder.at_quarter), encoder.down)
    hidden = _residuals(hidden, encoder.at_eighth)
    changes = convolve(map(functional.silu, hidden), encoder.conv_out)
    blocks = (
        functional.conv2d(functional.pixel_unshuffle(strip, BLOCK), encoder.transform) for strip in fixed
    )
    for change, block in aligned(changes, blocks):
        gain, added, logvar = change.chunk(3, dim=1)
        yield torch.cat([block * (2 * gain.sigmoid()) + added, logvar], dim=1)


def _decoded(decoder: MiniDecoder, latent: Rows) -> Rows:
    learned, fixed = forked(latent)
    blocks, seen = forked(
        functional.pixel_shuffle(functional.conv2d(strip, decoder.transform), BLOCK) for strip in fixed
    )
    double = partial(functional.pixel_shuffle, upscale_factor=2)
    hidden = _residuals(convolve(learned, decoder.conv_in), decoder.at_eighth)
    hidden = _residuals(map(double, convolve(hidden, decoder.up_to_quarter)), decoder.at_quarter)
    hidden = map(double, convolve(hidden, decoder.up_to_half))
    seen = convolve((functional.pixel_unshuffle(strip, 2) for strip in seen), decoder.blocks_in)
    hidden = _residuals(add(hidden, seen), decoder.at_half)
    details = convolve(map(functional.silu, hidden), decoder.conv_out)
    return add(map(double, details), blocks)


def _residuals(strips: Rows, blocks: nn.Sequential) -> Rows:
    for block in blocks:
        assert isinstance(block, Residual), "as MiniVAE is built"
        strips = residual(strips, block.conv1, block.conv2)
    return strips
