"""What a file says about the meaning of its numbers, as one ICC profile.

Place in the flow: `decode` asks once a picture, `colour` converts by the answer. The law: of several statements the
most exact counts: for PNG cICP before iCCP before sRGB before gAMA with cHRM (third edition §4.3); an ICC profile
before code points for AVIF and HEIC. None means sRGB, said or not.
A gamma within 5 % of 1/2.2 is what encoders write for readers that do not know sRGB (§11.3.2.5), and libpng takes
it for sRGB; so does this.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from supir_images.boxes import cicp_of
from supir_images.profiles import (
    BRIGHTER_THAN_WHITE,
    D65,
    SRGB_PRIMARIES,
    cicp_profile,
    gamma_curve,
    grey_profile,
    rgb_profile,
    srgb_to_linear,
)

_MAX_CHUNKS = 10_000
_SRGB_GAMMA, _SAME_GAMMA = 1 / 2.2, 0.05
_SAME_CHROMATICITY = 0.002
_CUT_OFF = "brighter than the reference white (HDR): cut off there"
_SRGB_CODES = (1, 13)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourSource:
    """How a picture's numbers are meant.

    Args:
        profile: ICC profile; None for sRGB.
        notes: what a user should know about it.
    """

    profile: bytes | None = None
    notes: tuple[str, ...] = ()


def colour_source(kind: str, data: bytes, icc: bytes | None, *, is_grey: bool) -> ColourSource:
    """Returns how a picture's numbers are meant.

    Args:
        kind: of the file, by `formats`.
        data: the file.
        icc: the profile that its reader found; None without one.
        is_grey: whether the pixels have one channel.
    """
    if kind == "png":
        return _of_png(data, icc, is_grey=is_grey)
    if icc or kind not in ("avif", "heic"):
        return ColourSource(profile=icc)
    codes = cicp_of(data)
    # The decoder has undone matrix and range already.
    return _of_codes(codes[0], codes[1], is_full_range=True) if codes and not is_grey else ColourSource()


def _of_codes(primaries: int, transfer: int, *, is_full_range: bool) -> ColourSource:
    if ((primaries, transfer) == _SRGB_CODES and is_full_range) or 2 in (
        primaries,
        transfer,
    ):  # 2: not specified
        return ColourSource()
    profile = cicp_profile(primaries, transfer, is_full_range=is_full_range)
    if profile is None:
        return ColourSource(
            notes=(f"colour space {primaries}/{transfer} (H.273) unknown: pixels taken as sRGB",)
        )
    return ColourSource(profile=profile, notes=(_CUT_OFF,) if transfer in BRIGHTER_THAN_WHITE else ())


def _of_png(data: bytes, icc: bytes | None, *, is_grey: bool) -> ColourSource:
    chunks = dict(png_chunks(data, (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")))
    codes = chunks.get(b"cICP", b"")
    if len(codes) == 4 and codes[2] == 0 and not is_grey:
        return _of_codes(codes[0], codes[1], is_full_range=bool(codes[3]))
    if b"iCCP" in chunks or b"sRGB" in chunks:
        return ColourSource(profile=icc)
    gamma = int.from_bytes(chunks.get(b"gAMA", b""), "big") / 100_000
    if len(chunks.get(b"gAMA", b"")) != 4 or not 0.01 <= gamma <= 10:
        gamma = _SRGB_GAMMA
    corners = struct.unpack(">8I", chunks[b"cHRM"]) if len(chunks.get(b"cHRM", b"")) == 32 else ()
    white, primaries = D65, SRGB_PRIMARIES
    if corners and not is_grey:
        values = tuple(value / 100_000 for value in corners)
        white, primaries = (values[0], values[1]), values[2:]
    return _of_gamma(gamma, primaries, white, is_grey=is_grey)


def _of_gamma(
    gamma: float, primaries: tuple[float, ...], white: tuple[float, float], *, is_grey: bool
) -> ColourSource:
    is_srgb_curve = abs(gamma / _SRGB_GAMMA - 1) <= _SAME_GAMMA
    differences = np.subtract((*white, *primaries), (*D65, *SRGB_PRIMARIES))
    if is_srgb_curve and np.abs(differences).max() <= _SAME_CHROMATICITY:
        return ColourSource()
    curve = srgb_to_linear(np.linspace(0, 1, 4096)) if is_srgb_curve else gamma_curve(gamma)
    profile = grey_profile(curve) if is_grey else rgb_profile(curve, primaries, white)
    if profile is None:
        return ColourSource(notes=("cHRM is no colour space: pixels taken as sRGB",))
    return ColourSource(profile=profile)


def png_chunks(data: bytes, wanted: tuple[bytes, ...]) -> Iterator[tuple[bytes, bytes]]:
    """Yields the wanted chunks before a PNG's pixels, name and content; the last of a name counts."""
    at = 8
    for _ in range(_MAX_CHUNKS):
        if at + 8 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, at)
        if name in (b"IDAT", b"IEND"):
            return
        if name in wanted:
            yield name, data[at + 8 : at + 8 + length]
        at += 12 + length
