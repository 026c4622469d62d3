"""An AutoencoderKL run strip by strip: the untiled result, with only a strip of the maps on the device.

Place in the flow: `restore` uses it for encoding and decoding when `vae_strip_px` is set. Shape legend: B C
H W maps.
The law it keeps: exactness. Layers are walked one after the other over the whole map, so every convolution
sees its true neighbours, every GroupNorm its true global statistics (Chan's parallel variance) and the
middle block, at an eighth of the resolution, runs whole. Only float rounding differs from the plain forward
pass; there are no seams.
Cost: whole feature maps lie in host memory (about 3 maps of C * H * W at the finest level) and travel to
the device and back once a layer. Compare `tilevae` (SUPIR) which averages tile statistics and tiles the
attention.
Source: the layer order is that of diffusers' Encoder and Decoder, whose modules are used as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

Pointwise = Callable[[Tensor], Tensor]


def encode_moments(vae: AutoencoderKL, encoder: Any, image: Tensor, rows: int) -> Tensor:
    """Returns the posterior's mean and log-variance, (B, 2 C, H/8, W/8), on the image's device.

    Args:
        vae: gives `quant_conv`.
        encoder: the VAE's own encoder or a degradation-robust one of the same make.
        image: (B, 3, H, W) in [-1, 1].
        rows: image rows a strip, at least 8.
    """
    hidden = _convolve(image.cpu(), encoder.conv_in, rows)
    for level, block in enumerate(encoder.down_blocks):
        for resnet in block.resnets:
            hidden = _resnet(hidden, resnet, _rows_at(rows, level))
        for downsampler in block.downsamplers or ():
            hidden = _convolve(hidden, downsampler.conv, _rows_at(rows, level + 1), pads=(0, 1))
    hidden = _whole(encoder.mid_block, hidden)
    hidden = _finish(encoder, hidden, _rows_at(rows, len(encoder.down_blocks) - 1))
    moments = hidden if vae.quant_conv is None else _whole(vae.quant_conv, hidden)
    return moments.to(image.device)


def decode(vae: AutoencoderKL, latent: Tensor, rows: int) -> Tensor:
    """Returns the image of an unscaled latent, (B, 3, 8 h, 8 w) in about [-1, 1], on the latent's device.

    Args:
        vae: its decoder and `post_quant_conv` are used.
        latent: (B, C, h, w), already divided by the scaling factor.
        rows: image rows a strip, at least 8.
    """
    decoder, levels = vae.decoder, len(vae.decoder.up_blocks)
    hidden = latent.cpu() if vae.post_quant_conv is None else _whole(vae.post_quant_conv, latent)
    hidden = _whole(decoder.mid_block, _whole(decoder.conv_in, hidden))
    for index, block in enumerate(decoder.up_blocks):
        strip = _rows_at(rows, levels - 1 - index)
        for resnet in block.resnets:
            hidden = _resnet(hidden, resnet, strip)
        for upsampler in block.upsamplers or ():
            hidden = _convolve_upsampled(hidden, upsampler.conv, strip)
    return _finish(decoder, hidden, rows).to(latent.device)


def _rows_at(rows: int, level: int) -> int:
    return max(1, rows >> level)


def _whole(module: nn.Module, hidden: Tensor) -> Tensor:
    weight = next(module.parameters())
    return module(hidden.to(weight)).cpu()


def _resnet(hidden: Tensor, block: Any, rows: int) -> Tensor:
    inner = _convolve(hidden, block.conv1, rows, _norm_silu(hidden, block.norm1, rows))
    result = _convolve(inner, block.conv2, rows, _norm_silu(inner, block.norm2, rows))
    shortcut = hidden if block.conv_shortcut is None else _convolve(hidden, block.conv_shortcut, rows)
    return result.add_(shortcut).div_(block.output_scale_factor)


def _finish(coder: Any, hidden: Tensor, rows: int) -> Tensor:
    return _convolve(hidden, coder.conv_out, rows, _norm_silu(hidden, coder.conv_norm_out, rows))


def _convolve(
    source: Tensor,
    conv: nn.Conv2d,
    rows: int,
    before: Pointwise | None = None,
    pads: tuple[int, int] | None = None,
) -> Tensor:
    """Returns conv(before(source)) on the host, `rows` output rows at once, `pads` zeros (before, after)."""
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    first_pad, last_pad = pads or (kernel // 2, kernel // 2)
    height = (source.shape[2] + first_pad + last_pad - kernel) // stride + 1
    width = (source.shape[3] + first_pad + last_pad - kernel) // stride + 1
    result = source.new_empty((source.shape[0], conv.out_channels, height, width), dtype=conv.weight.dtype)
    for start, end in _strips(height, rows):
        top, bottom = start * stride - first_pad, (end - 1) * stride - first_pad + kernel
        crop = source[:, :, max(top, 0) : bottom].to(conv.weight)
        crop = before(crop) if before else crop
        zeros = (first_pad, last_pad, max(-top, 0), max(bottom - source.shape[2], 0))
        result[:, :, start:end] = functional.conv2d(
            functional.pad(crop, zeros), conv.weight, conv.bias, conv.stride
        )
    return result


def _convolve_upsampled(source: Tensor, conv: nn.Conv2d, rows: int) -> Tensor:
    """Returns conv(nearest-neighbour x2 of source) on the host, `rows` source rows at a time."""
    batch, _, height, width = source.shape
    shape = (batch, conv.out_channels, 2 * height, 2 * width)
    result = source.new_empty(shape, dtype=conv.weight.dtype)
    for start, end in _strips(height, rows):
        top, bottom = max(start - 1, 0), min(end + 1, height)
        doubled = functional.interpolate(
            source[:, :, top:bottom].to(conv.weight), scale_factor=2.0, mode="nearest"
        )
        first = 2 * (start - top)
        convolved = functional.conv2d(functional.pad(doubled, (1, 1, 1, 1)), conv.weight, conv.bias)
        result[:, :, 2 * start : 2 * end] = convolved[:, :, first : first + 2 * (end - start)]
    return result


def _norm_silu(source: Tensor, norm: nn.GroupNorm, rows: int) -> Pointwise:
    """Returns the pointwise function SiLU(GroupNorm(.)) with the statistics of the whole map `source`."""
    mean, variance = _group_moments(source, norm, rows)
    deviation = (variance + norm.eps).rsqrt()
    per_channel = norm.num_channels // norm.num_groups
    mean, deviation = (
        value.repeat_interleave(per_channel, dim=1)[..., None, None] for value in (mean, deviation)
    )
    scale = deviation * norm.weight.to(deviation)[:, None, None]
    shift = norm.bias.to(deviation)[:, None, None] - mean * scale

    def apply(crop: Tensor) -> Tensor:
        return functional.silu(crop * scale.to(crop) + shift.to(crop))

    return apply


def _group_moments(source: Tensor, norm: nn.GroupNorm, rows: int) -> tuple[Tensor, Tensor]:
    """Returns mean and biased variance per sample and group, (B, groups) float64 on the norm's device."""
    shape = (source.shape[0], norm.num_groups)
    mean = torch.zeros(shape, dtype=torch.float64, device=norm.weight.device)
    spread, count = torch.zeros_like(mean), 0
    for start, end in _strips(source.shape[2], rows):
        crop = source[:, :, start:end].to(norm.weight.device, torch.float32).reshape(*shape, -1)
        added = crop.shape[2]
        variance, centre = torch.var_mean(crop, dim=2, correction=0)
        shift = centre.double() - mean
        mean = mean + shift * added / (count + added)
        spread = spread + variance.double() * added + shift**2 * count * added / (count + added)
        count += added
    return mean, spread / count


def _strips(height: int, rows: int) -> Iterator[tuple[int, int]]:
    for start in range(0, height, rows):
        yield start, min(start + rows, height)
