"""Colours: what a profile, a gamma or a code point makes of numbers, against CIE's and IEC's formulas."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from pictures import (
    ADOBE_PRIMARIES,
    P3_PRIMARIES,
    adobe_profile,
    chrm,
    gama,
    iccp,
    matrix_to_srgb,
    p3_profile,
    png,
    saved,
    to_light,
    to_signal,
)
from PIL import Image, ImageCms

from supir_images import colour, decode, decode_rgb
from supir_images.decoding import UNUSABLE_PROFILE
from supir_images.profiles import grey_profile

LEVELS = np.stack(np.meshgrid(*[np.arange(0, 256, 51)] * 3), axis=-1).reshape(12, 18, 3)
P3 = to_signal(to_light(LEVELS / 255) @ matrix_to_srgb(P3_PRIMARIES).T) * 255
ADOBE = to_signal((LEVELS / 255) ** 2.19921875 @ matrix_to_srgb(ADOBE_PRIMARIES).T) * 255
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def away(rgb: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(rgb.astype(float) - expected).max())


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize(("profile", "expected"), [(p3_profile(), P3), (adobe_profile(), ADOBE)])
def test_a_profile_is_applied_in_every_kind_of_file(name: str, profile: bytes, expected: np.ndarray) -> None:
    big = np.repeat(np.repeat(LEVELS, 8, 0), 8, 1).astype(np.uint8)
    options = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 100},
    }
    decoded = decode(saved(Image.fromarray(big), name, icc_profile=profile, **options.get(name, {})))
    assert decoded.is_converted
    middle = decoded.rgb[4::8, 4::8]
    assert away(middle, expected) <= (2 if name in ("PNG", "WEBP", "TIFF") else 9)
    assert decoded.notes == ()


def test_colours_outside_srgb_are_cut_off_and_inside_stay_what_they_are() -> None:
    pixels = np.array([[[0, 255, 0], [128, 128, 128], [255, 255, 255], [0, 0, 0]]])
    rgb = decode_rgb(png(pixels, 2, 8, (iccp(p3_profile()),)))[0]
    assert rgb[0].tolist() == pytest.approx([0, 255, 0], abs=1)
    assert rgb[1:].tolist() == pytest.approx(np.array([[128] * 3, [255] * 3, [0] * 3]), abs=1)


def test_an_srgb_profile_is_known_for_what_it_is_and_changes_no_pixel() -> None:
    decoded = decode(png(LEVELS, 2, 8, (iccp(SRGB),)))
    assert not decoded.is_converted
    assert np.array_equal(decoded.rgb, LEVELS)
    assert decoded.header.icc_profile == "sRGB built-in"
    assert colour.is_srgb(SRGB, "RGB")
    assert not colour.is_srgb(p3_profile(), "RGB")


@pytest.mark.parametrize("profile", [b"no profile", SRGB[:200], grey_profile(np.linspace(0, 1, 16))])
def test_a_profile_that_cannot_be_used_changes_nothing_and_is_noted(profile: bytes) -> None:
    decoded = decode(saved(Image.fromarray(LEVELS.astype(np.uint8)), "PNG", icc_profile=profile))
    assert np.array_equal(decoded.rgb, LEVELS)
    assert decoded.notes == (UNUSABLE_PROFILE,)
    assert not decoded.is_converted


@pytest.mark.parametrize("depth", [8, 16])
def test_a_profile_of_grey(depth: int) -> None:
    values = np.linspace(0, 2**depth - 1, 4096).astype(int).reshape(64, 64)
    linear = grey_profile(np.linspace(0, 1, 4096))
    decoded = decode(png(values, 0, depth, (iccp(linear),)))
    expected = to_signal(values / (2**depth - 1))
    unit = decoded.rgb / (255 if depth == 8 else 1)
    assert np.abs(unit - expected[..., None]).max() <= (0.6 / 255 if depth == 8 else 1e-4)
    assert decoded.is_converted


@pytest.mark.parametrize(
    ("profile", "primaries"), [(p3_profile(), P3_PRIMARIES), (adobe_profile(), ADOBE_PRIMARIES)]
)
def test_a_profile_of_sixteen_bit_colour_keeps_sixteen_bits(profile: bytes, primaries: tuple) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (40, 50, 3))
    decoded = decode(png(values, 2, 16, (iccp(profile),)))
    unit = values / 65535
    light = to_light(unit) if primaries is P3_PRIMARIES else unit**2.19921875
    assert decoded.rgb.dtype == np.float32
    assert np.abs(decoded.rgb - to_signal(light @ matrix_to_srgb(primaries).T)).max() < 1e-3
    eight = decode(png(np.rint(unit * 255).astype(int), 2, 8, (iccp(profile),))).rgb
    # Where the input's own rounding is stretched the most, at the dark end, it is several levels.
    assert np.abs(eight - decoded.rgb * 255).mean() < 0.5


def test_a_profile_of_tables_gives_up_the_extra_bits_and_says_so() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tables = lab.replace(b"chrm", b"A2B0")  # a tag by that name: the engine ignores what is none
    values = np.random.default_rng(0).integers(0, 65536, (4, 5, 3))
    decoded = decode(png(values, 2, 16, (iccp(exchanged(tables)),)))
    assert decoded.notes == ("its profile has tables: applied to 8 bits a channel",) or decoded.notes == (
        UNUSABLE_PROFILE,
    )


def exchanged(profile: bytes) -> bytes:
    """What is stored as red is green, and the other way round."""
    return profile.replace(b"rXYZ", b"----").replace(b"gXYZ", b"rXYZ").replace(b"----", b"gXYZ")


def test_a_cmyk_profile_decides_over_the_formula() -> None:
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[..., 0] = 255
    image = Image.frombytes("CMYK", (16, 16), inks.tobytes())
    plain = decode_rgb(saved(image, "TIFF"))
    assert plain[0, 0].tolist() == [0, 255, 255]
    wrong = decode(saved(image, "TIFF", icc_profile=SRGB))
    assert wrong.rgb[0, 0].tolist() == [0, 255, 255]
    assert wrong.notes == (UNUSABLE_PROFILE,)


def test_lab_pixels_are_colours() -> None:
    image = Image.merge("LAB", [Image.new("L", (4, 4), value) for value in (255, 128, 128)])
    assert np.abs(decode_rgb(saved(image, "TIFF")).astype(int) - 255).max() <= 3


GREY = np.array([[60, 128, 255, 0]])


@pytest.mark.parametrize("colour_type", [0, 2])
def test_a_linear_png_is_shown_as_browsers_show_it(colour_type: int) -> None:
    pixels = GREY if colour_type == 0 else np.repeat(GREY[..., None], 3, 2)
    rgb = decode_rgb(png(pixels, colour_type, 8, (gama(1.0),)))
    assert away(rgb[0, :, 0], np.array([133, 188, 255, 0])) <= 1
    assert (np.ptp(rgb, axis=2) <= 1).all()


@pytest.mark.parametrize("gamma", [0.45455, 0.45, 0.46])
def test_a_gamma_of_about_one_half_means_srgb(gamma: float) -> None:
    decoded = decode(png(LEVELS, 2, 8, (gama(gamma), chrm((0.64, 0.33, 0.30, 0.60, 0.15, 0.06)))))
    assert np.array_equal(decoded.rgb, LEVELS)
    assert not decoded.is_converted


def test_gamma_and_chromaticities_make_a_colour_space() -> None:
    rgb = decode_rgb(png(LEVELS, 2, 8, (gama(1 / 2.19921875), chrm(ADOBE_PRIMARIES))))
    # the gamma is sRGB's by the rule, the chromaticities are not
    expected = to_signal(to_light(LEVELS / 255) @ matrix_to_srgb(ADOBE_PRIMARIES).T) * 255
    assert away(rgb, expected) <= 2
    sharper = decode_rgb(png(LEVELS, 2, 8, (gama(1 / 1.8), chrm(ADOBE_PRIMARIES))))
    expected = to_signal((LEVELS / 255) ** 1.8 @ matrix_to_srgb(ADOBE_PRIMARIES).T) * 255
    assert away(sharper, expected) <= 2


CICP_P3 = (b"cICP", bytes([12, 13, 0, 1]))
SRGB_CHUNK = (b"sRGB", b"\0")


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ((CICP_P3,), P3),
        ((CICP_P3, iccp(adobe_profile())), P3),
        ((iccp(adobe_profile()), gama(1.0)), ADOBE),
        ((SRGB_CHUNK, gama(1.0), chrm(ADOBE_PRIMARIES)), LEVELS),
        (((b"cICP", bytes([1, 13, 0, 1])), iccp(adobe_profile())), LEVELS),
        (((b"cICP", bytes([12, 13, 0])), SRGB_CHUNK), LEVELS),  # cut: no statement
    ],
)
def test_the_most_exact_chunk_counts(chunks: tuple, expected: np.ndarray) -> None:
    assert away(decode_rgb(png(LEVELS, 2, 8, chunks)), expected) <= 2


def test_code_points_of_more_than_white_are_cut_off_with_a_note() -> None:
    # PQ: 0.58 is 203 cd/m², the reference white; HLG: 0.75
    pq = decode(png(np.array([[[148] * 3, [255] * 3, [0] * 3]]), 2, 8, ((b"cICP", bytes([9, 16, 0, 1])),)))
    assert pq.rgb[0, :, 0].tolist() == pytest.approx([255, 255, 0], abs=2)
    assert pq.notes == ("brighter than the reference white (HDR): cut off there",)
    hlg = decode(png(np.array([[[191] * 3, [96] * 3]]), 2, 8, ((b"cICP", bytes([9, 18, 0, 1])),)))
    assert hlg.rgb[0, 0, 0] == pytest.approx(255, abs=2)
    assert 100 < hlg.rgb[0, 1, 0] < 140


def test_narrow_range_is_stretched_and_unknown_points_are_noted() -> None:
    narrow = decode_rgb(png(np.array([[[16] * 3, [235] * 3]]), 2, 8, ((b"cICP", bytes([1, 13, 0, 0])),)))
    assert narrow[0, :, 0].tolist() == pytest.approx([0, 255], abs=1)
    odd = decode(png(LEVELS, 2, 8, ((b"cICP", bytes([77, 13, 0, 1])),)))
    assert odd.notes == ("colour space 77/13 (H.273) unknown: pixels taken as sRGB",)
    assert np.array_equal(odd.rgb, LEVELS)


@pytest.mark.parametrize("content", [b"\0\0\0\0", b"\xff" * 4])
def test_a_senseless_gamma_says_nothing(content: bytes) -> None:
    assert np.array_equal(decode_rgb(png(LEVELS, 2, 8, ((b"gAMA", content),))), LEVELS)


def test_senseless_chromaticities_are_noted() -> None:
    zero = (b"cHRM", struct.pack(">8I", *[0] * 8))
    decoded = decode(png(LEVELS, 2, 8, (zero,)))
    assert np.array_equal(decoded.rgb, LEVELS)
    assert decoded.notes == ("cHRM is no colour space: pixels taken as sRGB",)


def test_the_intent_keeps_shadows_apart(tmp_path: Path) -> None:
    """A space whose black is not sRGB's: with black point compensation its darkest levels differ still."""
    curve = 0.02 + 0.98 * np.linspace(0, 1, 4096) ** 2.2
    from supir_images.profiles import D65, SRGB_PRIMARIES, rgb_profile

    profile = rgb_profile(curve, SRGB_PRIMARIES, D65)
    assert profile is not None
    rgb = decode_rgb(png(np.array([[[0] * 3, [255] * 3]]), 2, 8, (iccp(profile),)))
    assert rgb[0, :, 0].tolist() == pytest.approx([0, 255], abs=2)
