"""An AutoencoderKL run strip by strip: the whole picture's result, with only a strip of the maps on the device.

Place in the flow: `codec` uses it for encoding and decoding when `vae_strip_px` is set.
The law it keeps: exactness. Every convolution sees its true neighbours (`row_stream`), every GroupNorm the statistics
of the whole map, every query of the middle block's attention all keys. Only float rounding
differs from the plain forward pass; there are no seams.
Cost: a GroupNorm needs its whole map before its first value, so maps are written out (`row_maps`) between two
convolutions, two at a time: a residual block's input and what comes of it. No row is convolved twice. On the device are
strips, and the keys and values of the attention.
Source: the layer order is that of diffusers' Encoder and Decoder, whose modules are used as they are. Compare
`tilevae` (SUPIR), which averages the statistics of tiles and attends within them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from supir_infer.row_maps import Maps, RowMap
from supir_infer.row_stream import Rows, aligned, convolve, joined_rows, split_rows

Pointwise = Callable[[Tensor], Tensor]
DOUBLED = 4
"""Values of a doubled map for each that it had."""


def encode_moments(vae: AutoencoderKL, encoder: Any, image: Tensor, rows: int, maps: Maps) -> Tensor:
    """Returns the posterior's mean and log-variance, (1, 2 C, H/8, W/8), on the image's device.

    Args:
        vae: gives `quant_conv`.
        encoder: the VAE's own encoder or a degradation-robust one of the same make.
        image: (1, 3, H, W) in [-1, 1].
        rows: image rows a strip.
        maps: where whole maps lie.
    """
    walk = _walk(vae, image.shape[3], rows, maps, image.device)
    height, width = image.shape[2:]
    hidden = walk.store(convolve(split_rows(image, rows), encoder.conv_in), height, width)
    for block in encoder.down_blocks:
        for resnet in block.resnets:
            hidden = walk.resnet(hidden, resnet)
        for downsampler in block.downsamplers or ():
            height, width = height // 2, width // 2
            hidden = walk.store(convolve(walk.read(hidden), downsampler.conv, (0, 1)), height, width)
    moments = walk.finish(encoder, walk.middle(hidden, encoder.mid_block))
    return joined_rows(moments if vae.quant_conv is None else convolve(moments, vae.quant_conv), height)


def decode(vae: AutoencoderKL, latent: Tensor, rows: int, maps: Maps) -> Tensor:
    """Returns the image of an unscaled latent, (1, 3, 8 h, 8 w) in about [-1, 1], on the latent's device.

    Args:
        vae: its decoder and `post_quant_conv` are used.
        latent: (1, C, h, w), already divided by the scaling factor.
        rows: image rows a strip.
        maps: where whole maps lie.
    """
    decoder, (height, width) = vae.decoder, latent.shape[2:]
    scale: int = 2 ** (len(decoder.up_blocks) - 1)
    walk = _walk(vae, width * scale, rows, maps, latent.device)
    strips = split_rows(latent, rows)
    strips = strips if vae.post_quant_conv is None else convolve(strips, vae.post_quant_conv)
    hidden = walk.middle(walk.store(convolve(strips, decoder.conv_in), height, width), decoder.mid_block)
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            hidden = walk.resnet(hidden, resnet)
        for upsampler in block.upsamplers or ():
            height, width = height * 2, width * 2
            doubled = map(_doubled, walk.read(hidden, DOUBLED))
            hidden = walk.store(convolve(doubled, upsampler.conv), height, width)
    return joined_rows(walk.finish(decoder, hidden), height)


def _walk(vae: AutoencoderKL, width: int, rows: int, maps: Maps, device: torch.device) -> _Walk:
    config = vae.config
    return _Walk(maps, rows * width * config["block_out_channels"][0], config["norm_num_groups"], device)


def _doubled(strip: Tensor) -> Tensor:
    return functional.interpolate(strip, scale_factor=2.0, mode="nearest")


class _Moments:
    """Mean and variance of each group over all strips that were added, float64.

    Sums are of each channel's difference from its mean in the first strip: torch's own GroupNorm subtracts a mean of
    squares from a squared mean where channels lie innermost, and loses what they have in common.
    """

    def __init__(self, groups: int) -> None:
        self._groups = groups
        self._pixels = 0
        self._centre = self._sum = self._squares = torch.empty(0)

    def add(self, strip: Tensor) -> None:
        """Counts a strip (1, C, rows, W) in."""
        pixels = strip[0].permute(1, 2, 0).flatten(0, 1).float()
        if not self._pixels:
            self._centre = pixels.mean(dim=0)
            self._sum = self._squares = torch.zeros(strip.shape[1], dtype=torch.float64)
        apart = pixels - self._centre
        self._sum = self._sum + apart.sum(dim=0).cpu()
        self._squares = self._squares + apart.square_().sum(dim=0).cpu()
        self._pixels += len(pixels)

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        """The biased moments of each group, (groups,)."""
        shifts = self._sum / self._pixels
        means = self._centre.cpu().double() + shifts
        variances = self._squares / self._pixels - shifts.square()
        mean = means.unflatten(0, (self._groups, -1)).mean(dim=1)
        spread = (means - mean.repeat_interleave(len(means) // self._groups)).square()
        return mean, (variances + spread).unflatten(0, (self._groups, -1)).mean(dim=1)


@dataclass(frozen=True, slots=True)
class _Stored:
    """A whole map with the moments of its groups."""

    rows: RowMap
    moments: _Moments

    def normalised(self, norm: nn.GroupNorm, activation: Pointwise | None) -> Pointwise:
        """The pointwise function activation(norm(.)), with the statistics of the whole map."""
        weight, bias = norm.weight, norm.bias
        per_group = norm.num_channels // norm.num_groups
        mean, variance = (values.repeat_interleave(per_group) for values in self.moments.mean_and_variance())
        scale = (variance + norm.eps).rsqrt() * weight.cpu().double()
        shift = bias.cpu().double() - mean * scale
        scale, shift = (value.float().to(weight.device)[:, None, None] for value in (scale, shift))

        def apply(strip: Tensor) -> Tensor:
            result = torch.addcmul(shift, strip.float(), scale).to(strip.dtype)
            return result if activation is None else activation(result)

        return apply


@dataclass(frozen=True, slots=True)
class _Walk:
    """From map to map, in strips of at most `strip_values` values."""

    maps: Maps
    strip_values: int
    groups: int
    device: torch.device

    def read(self, stored: _Stored, growth: int = 1) -> Rows:
        """Strips of a map, the coarser it is the more rows; fewer where they are to grow."""
        rows = max(1, self.strip_values // (growth * stored.rows.width * stored.rows.channels))
        return stored.rows.read(rows, self.device)

    def store(self, strips: Rows, height: int, width: int, onto: RowMap | None = None) -> _Stored:
        """Writes a stream into a new map, or over one that its rows come from, and takes its moments."""
        moments, top = _Moments(self.groups), 0
        for strip in strips:
            onto = onto or self.maps.new(strip.shape[1], height, width, strip.dtype)
            onto.write(top, strip)
            moments.add(strip)
            top += strip.shape[2]
        assert onto is not None, "a map has rows"
        return _Stored(onto, moments)

    def resnet(self, stored: _Stored, block: Any) -> _Stored:
        """A residual block."""
        height, width = stored.rows.height, stored.rows.width
        first = map(stored.normalised(block.norm1, _silu_here), self.read(stored))
        inner = self.store(convolve(first, block.conv1), height, width)
        second = convolve(map(inner.normalised(block.norm2, _silu_here), self.read(inner)), block.conv2)
        shortcut = self.read(stored)
        if block.conv_shortcut is not None:
            shortcut = convolve(shortcut, block.conv_shortcut)
        factor = block.output_scale_factor
        # a row of the result is written where the convolution has read it long ago
        sums = ((left + right) / factor for left, right in aligned(second, shortcut))
        return self.store(sums, height, width, inner.rows)

    def middle(self, stored: _Stored, block: Any) -> _Stored:
        """The middle block: residual blocks around attention."""
        stored = self.resnet(stored, block.resnets[0])
        for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
            if attention is not None:
                stored = self._attention(stored, attention)
            stored = self.resnet(stored, resnet)
        return stored

    def _attention(self, stored: _Stored, attention: Any) -> _Stored:
        height, width = stored.rows.height, stored.rows.width
        normalise = stored.normalised(attention.group_norm, None)

        def tokens(strip: Tensor) -> Tensor:
            return normalise(strip).flatten(2).transpose(1, 2)

        keys, values = self._keys_and_values(map(tokens, self.read(stored)), attention, height * width)

        def attended(strip: Tensor) -> Tensor:
            query = _heads(attention.to_q(tokens(strip)), attention.heads)
            found = functional.scaled_dot_product_attention(query, keys, values)
            found = attention.to_out[0](found.transpose(1, 2).flatten(2)).transpose(1, 2)
            result = found.unflatten(2, strip.shape[2:])
            return (
                result + strip if attention.residual_connection else result
            ) / attention.rescale_output_factor

        return self.store(map(attended, self.read(stored)), height, width)

    def _keys_and_values(self, strips: Rows, attention: Any, count: int) -> tuple[Tensor, Tensor]:
        kept: tuple[Tensor, Tensor] | None = None
        first = 0
        for strip in strips:
            both = attention.to_k(strip), attention.to_v(strip)
            kept = kept or (
                both[0].new_empty(1, count, both[0].shape[2]),
                both[1].new_empty(1, count, both[1].shape[2]),
            )
            for whole, part in zip(kept, both, strict=True):
                whole[:, first : first + part.shape[1]] = part
            first += strip.shape[1]
        assert kept is not None, "a map has rows"
        return _heads(kept[0], attention.heads), _heads(kept[1], attention.heads)

    def finish(self, coder: Any, stored: _Stored) -> Rows:
        """The last convolution of an encoder or decoder."""
        strips = map(stored.normalised(coder.conv_norm_out, _silu_here), self.read(stored))
        return convolve(strips, coder.conv_out)


def _silu_here(strip: Tensor) -> Tensor:
    return functional.silu(strip, inplace=True)


def _heads(tokens: Tensor, heads: int) -> Tensor:
    return tokens.unflatten(2, (heads, -1)).transpose(1, 2)
