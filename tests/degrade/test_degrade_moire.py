from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from supir_degrade.linear_light import to_linear
from supir_degrade.moire import photograph_screen

LEVEL = np.float32(0.5)


def _screen(
    pitch: float, angle: float = 0.0, lens_sigma: float = 0.3, blur_sigma_px: float = 0.0
) -> np.ndarray:
    """The light of a photographed gray screen, 1 where it is the screen's own."""
    gray = np.full((200, 400, 3), LEVEL)
    seen = photograph_screen(
        gray, pitch=pitch, angle=angle, lens_sigma=lens_sigma, blur_sigma_px=blur_sigma_px
    )
    return to_linear(seen) / to_linear(np.array([LEVEL]))


def _amplitude(light: np.ndarray, frequency: float) -> complex:
    """Of the wave of that many cycles a pixel along x."""
    positions = np.arange(light.shape[1])
    return 2 * np.mean(light.mean(axis=0) * np.exp(-2j * math.pi * frequency * positions))


@pytest.mark.parametrize("lens_sigma", [0.15, 0.25, 0.4])
def test_stripes_are_a_slit_blurred_by_scipy(lens_sigma: float) -> None:
    fine = 300  # samples a screen pixel
    phase = np.arange(8 * fine) / fine
    for channel in range(3):
        # Channel c shines from c / 3 to (c + 1) / 3 of each pixel.
        slit = 3.0 * (np.floor(phase * 3).astype(int) % 3 == channel)
        expected = gaussian_filter1d(slit, lens_sigma * fine, mode="wrap")[:: fine // 50]
        seen = _screen(1 / 50, lens_sigma=lens_sigma)[..., channel]
        rows = seen[:, 0] / expected[0]
        got = seen / rows[:, None]
        np.testing.assert_allclose(got[50], expected[:400], atol=0.03)


def test_bands_have_the_beat_frequency_and_its_closed_form_amplitude() -> None:
    light = _screen(1.1, blur_sigma_px=0.8)
    expected = 2 * np.sinc(1 / 3) * math.exp(-2 * (math.pi * 0.3) ** 2)
    expected *= math.exp(-2 * (math.pi * 0.1 * 0.8) ** 2)  # the blur's share at 0.1 cycles a pixel
    waves = [_amplitude(light[..., channel], 0.1) for channel in range(3)]
    np.testing.assert_allclose(np.abs(waves), expected, rtol=0.02)
    # A third of a stripe apart: the bands are coloured, and white together.
    assert abs(sum(waves)) < 0.02 * expected
    assert abs(_amplitude(light[..., 0], 0.23)) < 0.01


def test_light_is_kept_and_a_blurred_lens_sees_no_stripes() -> None:
    assert _screen(1.07, 0.05).mean() == pytest.approx(1, abs=0.005)
    np.testing.assert_allclose(_screen(1.1, lens_sigma=1.0), 1, atol=1e-3)


def test_a_turned_screen_turns_the_bands() -> None:
    light = _screen(1.0, 0.02)[..., 0]
    # At pitch 1 the bands of a screen turned by θ run along x: sin θ cycles a pixel down, about none across.
    down = np.abs(np.fft.rfft(light.mean(axis=1) - light.mean()))
    assert np.argmax(down) / light.shape[0] == pytest.approx(math.sin(0.02), abs=0.003)


def test_rows_stand_across_the_stripes() -> None:
    angle = 0.04
    white = _screen(0.9, angle).mean(
        axis=2
    )  # the stripes' colours cancel, the dark gaps between rows are left
    y, x = np.indices(white.shape)

    def amplitude(across: float, down: float) -> float:
        return 2 * abs(np.mean((white - 1) * np.exp(-2j * math.pi * (across * x + down * y))))

    expected = 2 * np.sinc(0.8) * math.exp(-2 * (math.pi * 0.3) ** 2)
    across, down = 0.9 * math.sin(angle), 0.9 * math.cos(angle)
    assert amplitude(-across, down) == pytest.approx(expected, rel=0.05)
    assert amplitude(across, down) < 0.1 * expected


def test_the_picture_stays_where_it_is(astronaut: np.ndarray) -> None:
    image = astronaut[100:356, 100:356].astype(np.float32) / 255
    seen = photograph_screen(image, pitch=1.12, angle=0.03, lens_sigma=0.35, blur_sigma_px=0.7)
    assert seen.dtype == np.float32
    here = np.corrcoef(image[8:-8, 8:-8].ravel(), seen[8:-8, 8:-8].ravel())[0, 1]
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        moved = np.roll(seen, (dy, dx), axis=(0, 1))[8:-8, 8:-8]
        assert np.corrcoef(image[8:-8, 8:-8].ravel(), moved.ravel())[0, 1] < here
