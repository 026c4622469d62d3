"""ICC profiles made of numbers: of a gamma and chromaticities, as PNG names them, or of ITU-T H.273 code points.

Place in the flow: `colour_source` turns whatever a file says about its colours into one profile, so that one engine
converts it. The law: a profile made here has a matrix and one curve for its three channels, its white brought to
D50 as ICC wants it.
Sources: ICC.1:2022 §8.3, §10.6 (`curv`), annex E (Bradford); ITU-T H.273 tables 2 and 3; ITU-R BT.2100 (PQ, HLG) and
BT.2408 §2.1 (reference white: 203 cd/m², 75 % of HLG's signal).
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float64]
"""Light, 0 to 1, of signals that lie evenly from 0 to 1."""

CURVE_POINTS = 4096
D65 = (0.3127, 0.3290)
SRGB_PRIMARIES = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06)  # x and y of red, green, blue
REFERENCE_WHITE_PQ, REFERENCE_WHITE_HLG = 203.0 / 10_000, 0.75

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_PRIMARIES: dict[int, tuple[tuple[float, ...], tuple[float, float]]] = {  # H.273 table 2
    1: (SRGB_PRIMARIES, D65),
    4: ((0.67, 0.33, 0.21, 0.71, 0.14, 0.08), (0.310, 0.316)),
    5: ((0.64, 0.33, 0.29, 0.60, 0.15, 0.06), D65),
    6: ((0.63, 0.34, 0.31, 0.595, 0.155, 0.07), D65),
    7: ((0.63, 0.34, 0.31, 0.595, 0.155, 0.07), D65),
    8: ((0.681, 0.319, 0.243, 0.692, 0.145, 0.049), (0.310, 0.316)),
    9: ((0.708, 0.292, 0.170, 0.797, 0.131, 0.046), D65),
    11: ((0.68, 0.32, 0.265, 0.69, 0.15, 0.06), (0.314, 0.351)),
    12: ((0.68, 0.32, 0.265, 0.69, 0.15, 0.06), D65),
    22: ((0.63, 0.34, 0.295, 0.605, 0.155, 0.077), D65),
}
PQ, HLG = 16, 18
BRIGHTER_THAN_WHITE = (PQ, HLG)  # transfers whose light above the reference white is cut off


def gamma_curve(gamma: float) -> Curve:
    """Returns the light of a signal that was encoded with exponent `gamma`, such as 0.45455."""
    signal = np.linspace(0, 1, CURVE_POINTS)
    return np.asarray(signal ** (1 / gamma))


def cicp_curve(transfer: int, *, is_full_range: bool) -> Curve | None:
    """Returns the light of each signal by H.273 table 3, reference white 1; None for a transfer without a rule here."""
    signal = np.linspace(0, 1, CURVE_POINTS)
    if not is_full_range:
        signal = np.clip((255 * signal - 16) / 219, 0, 1)
    if transfer in (1, 6, 14, 15):
        light = np.where(signal < 0.081, signal / 4.5, ((signal + 0.099) / 1.099) ** (1 / 0.45))
    elif transfer == 13:
        light = srgb_to_linear(signal)
    elif transfer in (4, 5):
        light = signal ** (2.2 if transfer == 4 else 2.8)
    elif transfer == 8:
        light = signal
    elif transfer == PQ:
        power = signal ** (1 / 78.84375)
        light = (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)
        light = light / REFERENCE_WHITE_PQ
    elif transfer == HLG:
        light = _hlg(signal) / _hlg(np.array(REFERENCE_WHITE_HLG))
    else:
        return None
    return np.clip(light, 0, 1)


def _hlg(signal: Curve) -> Curve:
    high = (np.exp((np.maximum(signal, 0.5) - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return np.asarray(np.where(signal <= 0.5, signal**2 / 3, high))


def srgb_to_linear(signal: Curve) -> Curve:
    """Returns the light of an sRGB signal, both 0 to 1 (IEC 61966-2-1)."""
    return np.asarray(np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4))


def cicp_profile(primaries: int, transfer: int, *, is_full_range: bool) -> bytes | None:
    """Returns the ICC profile of an RGB picture by its H.273 code points; None for one that has no rule here."""
    curve = cicp_curve(transfer, is_full_range=is_full_range)
    if curve is None or primaries not in _PRIMARIES:
        return None
    return rgb_profile(curve, *_PRIMARIES[primaries])


def rgb_profile(curve: Curve, primaries: tuple[float, ...], white: tuple[float, float]) -> bytes | None:
    """Returns the ICC profile of an RGB picture; None for chromaticities that are no colour space.

    Args:
        curve: of all three channels.
        primaries: x and y of red, green and blue.
        white: x and y.
    """
    if min(white[1], *primaries[1::2]) <= 0:
        return None
    columns = np.array([_xyz(*primaries[at : at + 2]) for at in (0, 2, 4)]).T
    try:
        columns = columns * np.linalg.solve(columns, _xyz(*white))
    except np.linalg.LinAlgError:
        return None
    cone = _BRADFORD @ _xyz(*white)
    adapted = np.linalg.solve(_BRADFORD, np.diag(_BRADFORD @ _D50 / cone)) @ _BRADFORD @ columns
    if not np.isfinite(adapted).all() or np.abs(adapted).max() > 4:
        return None
    tags = {b"rXYZ": adapted[:, 0], b"gXYZ": adapted[:, 1], b"bXYZ": adapted[:, 2]}
    content = {name: _xyz_tag(value) for name, value in tags.items()}
    return _profile(b"RGB ", content | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve_tag(curve)))


def grey_profile(curve: Curve) -> bytes:
    """Returns the ICC profile of a grey picture."""
    return _profile(b"GRAY", {b"kTRC": _curve_tag(curve)})


def _xyz(x: float, y: float) -> NDArray[np.float64]:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _xyz_tag(value: NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * part) for part in value))


def _curve_tag(curve: Curve) -> bytes:
    values = np.rint(curve * 65535).astype(">u2").tobytes()
    return b"curv" + bytes(4) + struct.pack(">I", len(curve)) + values


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Returns a version 2.4 display profile."""
    described = b"desc" + bytes(4) + struct.pack(">I", 5) + b"file\0" + bytes(79)
    tags = {b"desc": described, b"wtpt": _xyz_tag(_D50), **tags}
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    placed: dict[bytes, int] = {}
    for name, content in tags.items():
        if content not in placed:  # three channels share one curve
            placed[content] = start + len(body)
            body += content + bytes(-len(content) % 4)
        table += name + struct.pack(">II", placed[content], len(content))
    white = struct.pack(">3i", *(round(65536 * part) for part in _D50))
    head = (
        struct.pack(">I4xI", start + len(body), 0x02400000) + b"mntr" + space + b"XYZ " + bytes(12) + b"acsp"
    )
    return (head + bytes(28) + white).ljust(128, b"\0") + table + body
