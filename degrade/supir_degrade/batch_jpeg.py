"""One round of many images through JPEG, computed in tensors: the bytes that libjpeg-turbo's decoder would return.

Place in the flow: called by `batch`; the twin of `codecs.jpeg`, to the last bit. Entropy coding loses nothing and is
left out, so that progressive files are the same. Everything is integer arithmetic: chroma and colour in float32,
whose whole numbers are exact below 2^24, the transforms in float64; so no batch and no device changes a bit.
Source: ITU-T T.81 (tables of annex K) with the fixed-point arithmetic of libjpeg: colour of 16 bits, the accurate
integer DCT, smoothed enlarging of chroma.

Legend: B images, C planes, block rows y and columns x of 8, their frequencies v and u.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from supir_degrade.batch_canvas import (
    COLUMNS,
    ROWS,
    cut_out,
    lengths,
    mix,
    moved,
    on_canvas,
    picked,
    sizes_of,
)
from supir_degrade.sampling import Size
from supir_degrade.trace import Subsampling

Images = Sequence[torch.Tensor]
BLOCK_PX = 8
HALF_DCT = (
    (8192, 8192, 8192, 8192),
    (11363, 9633, 6437, 2260),
    (10703, 4433, -4433, -10703),
    (9633, -2259, -11362, -6436),
    (8192, -8192, -8192, 8192),
    (6437, -11362, 2261, 9633),
    (4433, -10704, 10704, -4433),
    (2260, -6436, 9633, -11363),
)
"""Left half of libjpeg's DCT, 2^13 √2 cos(..): its butterflies multiplied out, with their rounded factors."""
LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * BLOCK_PX for _ in range(4)),
)
CHROMA_FACTORS: dict[Subsampling, tuple[int, int]] = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:2:0": (2, 2)}
"""Pixels of a chroma sample, down and across."""


def jpeg(images: Images, qualities: Sequence[int], *, subsampling: Subsampling) -> list[torch.Tensor]:
    """Returns each image after a JPEG file of its own quality (1..100) and that chroma layout.

    Args:
        images: float32 (3, h, w) each; clipped to 0..1 and rounded to 8 bits.
        qualities: of each image.
        subsampling: of all of them.
    """
    factors = CHROMA_FACTORS[subsampling]
    sizes = sizes_of(images)
    pixels = on_canvas(images).clamp_(0, 1).mul_(255).round_()
    luma, chroma = _to_ycc(pixels)
    luma = _coded(_shrunk(luma, sizes, (1, 1)), _tables(LUMA_TABLE, qualities, pixels.device))
    chroma = _coded(_shrunk(chroma, sizes, factors), _tables(CHROMA_TABLE, qualities, pixels.device))
    height, width = pixels.shape[2:]
    rgb = _to_rgb(luma[:, 0, :height, :width], _enlarged(chroma, sizes, factors, (height, width)))
    return cut_out(rgb.div_(255), sizes)


def _to_ycc(rgb: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Luma (B, 1, H, W) and chroma (B, 2, H, W), 0 to 255."""
    r, g, b = rgb.unbind(1)
    luma = _descaled(19595 * r + 38470 * g + 7471 * b, 16)
    centre = 128 * 65536 - 1
    blue = _descaled(centre + 32768 * b - 11059 * r - 21709 * g, 16)
    red = _descaled(centre + 32768 * r - 27439 * g - 5329 * b, 16)
    return luma[:, None], torch.stack((blue, red), dim=1)


def _to_rgb(luma: torch.Tensor, chroma: torch.Tensor) -> torch.Tensor:
    """RGB (B, 3, H, W), 0 to 255, of luma (B, H, W) and chroma (B, 2, H, W)."""
    blue, red = (chroma - 128).unbind(1)
    rgb = (
        luma + _descaled(91881 * red, 16),
        luma + _descaled(-22554 * blue - 46802 * red, 16),
        luma + _descaled(116130 * blue, 16),
    )
    return torch.stack(rgb, dim=1).clamp_(0, 255)


def _shrunk(planes: torch.Tensor, sizes: Sequence[Size], factors: tuple[int, int]) -> torch.Tensor:
    """Means over factors[0] × factors[1] pixels, continued to whole blocks as the encoder does.

    Below a picture its last row of means is repeated, right of it the last column of its pixels.
    """
    for axis, factor in zip((ROWS, COLUMNS), factors, strict=True):
        length = lengths(sizes, axis, planes.device)
        count = -(-planes.shape[axis] // (factor * BLOCK_PX)) * BLOCK_PX
        position = torch.arange(count, device=planes.device).view(1, -1, 1)
        if axis == ROWS:
            position = position.minimum((length - 1) // factor)
        taps = factor * position + torch.arange(factor, device=planes.device)
        planes = mix(planes, taps.minimum(length - 1), planes.new_ones(1), axis)
    total = factors[0] * factors[1]
    if total == 1:
        return planes
    # The rounding alternates along a row, so that it favours neither direction.
    bias = total // 2 - 1 + torch.arange(planes.shape[3], device=planes.device) % 2
    return (planes + bias).div_(total).floor_()


def _enlarged(
    planes: torch.Tensor, sizes: Sequence[Size], factors: tuple[int, int], canvas: Size
) -> torch.Tensor:
    """Chroma at full size: three quarters of the sample that a pixel lies in, one of its neighbour, per axis."""
    ends = [lengths(sizes, axis, planes.device) for axis in (ROWS, COLUMNS)]
    lasts = [(end - 1) // factor for end, factor in zip(ends, factors, strict=True)]
    smooth = lasts[1] >= 2  # the decoder only repeats where a row has two samples or one
    for axis, factor, last, size in zip((ROWS, COLUMNS), factors, lasts, canvas, strict=True):
        position = torch.arange(size, device=planes.device).view(1, -1, 1)
        near = (position // factor).minimum(last)
        if factor == 1:
            planes = picked(planes, near, axis)
            continue
        neighbour = (near + 2 * (position % 2) - 1).clamp(min=0).minimum(last)
        far = torch.where(smooth, neighbour, near)
        planes = mix(
            planes, torch.cat((near, far), dim=-1), moved(torch.tensor([3.0, 1.0]), planes.device), axis
        )
    odd = torch.arange(canvas[1], device=planes.device) % 2
    if factors == (2, 2):
        return (planes + (8 - odd)).div_(16).floor_()
    return (planes + (1 + odd)).div_(4).floor_() if factors == (1, 2) else planes


def _coded(planes: torch.Tensor, tables: torch.Tensor) -> torch.Tensor:
    """The planes after transform, quantisation by tables (B, u, v), and back; (B, C, H, W) in whole blocks."""
    dct = _dct(planes.device)
    blocks = _to_blocks(planes - 128)
    spectrum = _descaled(_descaled(blocks @ dct.T, 11).transpose(-1, -2) @ dct.T, 15)
    tables = tables[:, None, None, None]
    # The transform is 8 times too large. Halves are rounded away from zero.
    quantised = spectrum.add_(spectrum.sign().mul_(4 * tables)).div_(8 * tables).trunc_()
    decoded = _descaled(_descaled(quantised.mul_(tables) @ dct, 11).transpose(-1, -2) @ dct, 18)
    return _to_planes(decoded.float(), planes.shape).add_(128).clamp_(0, 255)


def _tables(
    base: tuple[tuple[int, ...], ...], qualities: Sequence[int], device: torch.device
) -> torch.Tensor:
    """float64 (B, u, v): the divisors of each quality."""
    scales = [5000 // quality if quality < 50 else 200 - 2 * quality for quality in qualities]
    table = torch.tensor(base).T * torch.tensor(scales).view(-1, 1, 1)
    return moved(((table + 50) // 100).clamp(1, 255).double(), device)


def _dct(device: torch.device) -> torch.Tensor:
    """float64 (frequency, position)."""
    left = torch.tensor(HALF_DCT, dtype=torch.float64)
    parity = 1 - 2 * (torch.arange(BLOCK_PX) % 2)
    return moved(torch.cat((left, left.flip(1) * parity[:, None]), dim=1), device)


def _to_blocks(planes: torch.Tensor) -> torch.Tensor:
    """float64 (B, C, rows, columns, y, x)."""
    blocks = planes.unflatten(3, (-1, BLOCK_PX)).unflatten(2, (-1, BLOCK_PX))
    return blocks.transpose(3, 4).double()


def _to_planes(blocks: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    return blocks.transpose(3, 4).reshape(shape)


def _descaled(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Whole numbers divided by 2^bits and rounded, halves up; in place, as they are always fresh."""
    return values.mul_(2.0**-bits).add_(0.5).floor_()
