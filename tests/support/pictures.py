"""Small picture files made byte by byte, so that what they must decode to is known without any decoder."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from supir_images.profiles import rgb_profile

P3_PRIMARIES = (0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
ADOBE_PRIMARIES = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
D65 = (0.3127, 0.3290)


def saved(image: Image.Image, name: str, **options: Any) -> bytes:
    """The file that Pillow writes."""
    sink = io.BytesIO()
    image.save(sink, name, **options)
    return sink.getvalue()


def exif_of(orientation: int) -> bytes:
    """An EXIF block with an orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def png(
    pixels: np.ndarray, colour: int, depth: int = 8, chunks: tuple[tuple[bytes, bytes], ...] = ()
) -> bytes:
    """A PNG of integer (H, W) or (H, W, C) samples, written without a library.

    Args:
        pixels: samples of that depth.
        colour: PNG's colour type.
        depth: bits a sample.
        chunks: name and content of what stands before the pixels.
    """
    height, width = pixels.shape[:2]
    flat = pixels.reshape(height, -1)
    if depth == 16:
        lines = flat.astype(">u2").view(np.uint8).reshape(height, -1)
    elif depth == 8:
        lines = flat.astype(np.uint8)
    else:
        bits = (flat[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        lines = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    raw = b"".join(b"\0" + line.tobytes() for line in lines)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def iccp(profile: bytes) -> tuple[bytes, bytes]:
    """PNG's chunk of an ICC profile."""
    return b"iCCP", b"x\0\0" + zlib.compress(profile)


def chrm(primaries: tuple[float, ...], white: tuple[float, float] = D65) -> tuple[bytes, bytes]:
    """PNG's chunk of chromaticities."""
    return b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in (*white, *primaries)))


def gama(gamma: float) -> tuple[bytes, bytes]:
    """PNG's chunk of the encoding exponent."""
    return b"gAMA", struct.pack(">I", round(gamma * 100_000))


def p3_profile() -> bytes:
    """An ICC profile of Display P3: its own primaries, sRGB's curve."""
    profile = rgb_profile(to_light(np.linspace(0, 1, 4096)), P3_PRIMARIES, D65)
    assert profile is not None
    return profile


def adobe_profile() -> bytes:
    """An ICC profile like Adobe RGB (1998): a wider green and a plain exponent."""
    profile = rgb_profile(np.linspace(0, 1, 4096) ** 2.19921875, ADOBE_PRIMARIES, D65)
    assert profile is not None
    return profile


def to_light(signal: np.ndarray) -> np.ndarray:
    """sRGB's signal as light, by IEC 61966-2-1, written again."""
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def to_signal(light: np.ndarray) -> np.ndarray:
    """Light as sRGB's signal, cut off at its ends."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def matrix_to_srgb(primaries: tuple[float, ...]) -> np.ndarray:
    """The matrix from light of other primaries with white D65 to sRGB's, straight from CIE's definitions."""

    def to_xyz(corners: tuple[float, ...]) -> np.ndarray:
        x, y = np.array(corners[0::2]), np.array(corners[1::2])
        columns = np.stack([x / y, np.ones(3), (1 - x - y) / y])
        white = np.array([D65[0] / D65[1], 1, (1 - D65[0] - D65[1]) / D65[1]])
        return columns * np.linalg.solve(columns, white)

    return np.linalg.inv(to_xyz((0.64, 0.33, 0.30, 0.60, 0.15, 0.06))) @ to_xyz(primaries)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
