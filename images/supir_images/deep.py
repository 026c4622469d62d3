"""Pixels of more than 8 bits brought to sRGB by a profile's own matrix and curves, which Pillow knows for 8 bits alone.

Place in the flow: `decode`, for 16-bit PNG and TIFF and 10-bit HEIC. The law: the same colours as `colour` within its
rounding. Limits: a profile of tables instead of a matrix (printers, some scanners) is not evaluated here; `decode`
then gives up the extra bits and says so.
Source: ICC.1:2022 §8.3.3, annex F.3 (matrix and curves), §10.6 (`curv`), §10.18 (`para`).
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from supir_images.colour import linear_to_srgb
from supir_images.profiles import D65, SRGB_PRIMARIES, rgb_profile

_MAX_TAGS = 200
_PARA_COUNTS = (1, 3, 4, 5, 7)
_TABLES = (b"A2B0", b"A2B1", b"A2B2", b"D2B0", b"D2B1")


def deep_to_srgb(values: NDArray[np.float32], profile: bytes) -> NDArray[np.float32] | None:
    """Returns float32 (H, W, 3) sRGB in 0 to 1; None if the profile has no matrix, or none for that many channels.

    Args:
        values: float32 (H, W) grey or (H, W, 3), 0 to 1.
        profile: an ICC profile that `colour.is_usable`.
    """
    try:
        tags = _tags(profile)
        if values.ndim == 2:
            light = _curve(tags[b"kTRC"], values)
            return np.repeat(linear_to_srgb(light)[..., None], 3, axis=2)
        if profile[16:20] != b"RGB " or any(name in tags for name in _TABLES):
            return None
        matrix = np.linalg.solve(_matrix(_tags(_srgb())), _matrix(tags)).astype(np.float32)
        channels = [
            _curve(tags[name], values[..., at]) for at, name in enumerate((b"rTRC", b"gTRC", b"bTRC"))
        ]
    except (KeyError, struct.error, ValueError, np.linalg.LinAlgError):
        return None
    return linear_to_srgb(np.stack(channels, axis=-1) @ matrix.T)


def _srgb() -> bytes:
    profile = rgb_profile(np.linspace(0, 1, 2), SRGB_PRIMARIES, D65)
    assert profile is not None, "sRGB is a colour space"
    return profile


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    tags = {}
    for at in range(132, 132 + 12 * min(count, _MAX_TAGS), 12):
        name, start, length = struct.unpack_from(">4sII", profile, at)
        tags[name] = profile[start : start + length]
    return tags


def _matrix(tags: dict[bytes, bytes]) -> NDArray[np.float64]:
    columns = [struct.unpack_from(">3i", tags[name], 8) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    return np.array(columns, np.float64).T / 65536


def _curve(tag: bytes, signal: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the light of a signal by a `curv` or `para` tag."""
    if tag[:4] == b"para":
        return _parametric(tag, signal)
    if tag[:4] != b"curv":
        raise ValueError("no curve")
    (count,) = struct.unpack_from(">I", tag, 8)
    if count == 0:
        return signal
    points = np.frombuffer(tag, ">u2", count, 12)
    if count == 1:
        return np.power(signal, np.float32(points[0] / 256))
    at = np.linspace(0, 1, count)
    return np.interp(signal, at, points / 65535).astype(np.float32)


def _parametric(tag: bytes, signal: NDArray[np.float32]) -> NDArray[np.float32]:
    (kind,) = struct.unpack_from(">H", tag, 8)
    if kind >= len(_PARA_COUNTS):
        raise ValueError(f"no parametric curve {kind}")
    count = _PARA_COUNTS[kind]
    numbers = [value / 65536 for value in struct.unpack_from(f">{count}i", tag, 12)]
    g, a, b, c, d, e, f = (numbers + [0.0] * 7)[:7]
    if kind == 0:
        a, b, d = 1.0, 0.0, -1.0
    elif kind in (1, 2):  # Y = (aX + b)^g + c from X = -b/a on, c below
        e, f, c, d = c, c, 0.0, -b / a if a else 0.0
    curve = np.where(signal >= d, np.maximum(a * signal + b, 0) ** g + e, c * signal + f)
    return np.clip(curve, 0, 1).astype(np.float32)
