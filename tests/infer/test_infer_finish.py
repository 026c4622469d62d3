"""The last step of a restoration: size, mixture, greyness, and results that are none."""

from __future__ import annotations

import numpy as np
import pytest

from supir_console import UserError
from supir_infer.finish import finished


@pytest.fixture
def picture():
    return np.random.default_rng(0).uniform(0.2, 0.8, (40, 60, 3)).astype(np.float32)


def test_strength_zero_gives_the_picture_and_looks_at_nothing_else(picture):
    result = finished(np.full_like(picture, np.nan), picture, (60, 40), 0.0)
    assert np.array_equal(result, np.round(picture * 255).astype(np.uint8))


def test_strength_mixes_linearly(picture):
    made = np.clip(picture + 0.1, 0, 1)
    result = finished(made, picture, (60, 40), 0.5).astype(int)
    assert np.abs(result - (picture + 0.05) * 255).max() <= 0.51


def test_a_grey_picture_stays_grey(picture):
    grey = np.repeat(picture[..., :1], 3, axis=2)
    tinted = np.clip(grey + np.float32([0.05, 0.0, -0.05]), 0, 1)
    result = finished(tinted, grey, (60, 40), 1.0)
    assert np.ptp(result, axis=2).max() == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_a_failure(picture, value):
    made = picture.copy()
    made[3, 5, 1] = value
    with pytest.raises(UserError, match=r"numbers that are none .* --dtype float32"):
        finished(made, picture, (60, 40), 1.0)


def test_another_picture_is_a_failure(picture):
    with pytest.raises(UserError, match=r"0\.[0-9]+ .* more than 0\.5"):
        finished(np.zeros_like(picture), picture**0.1, (60, 40), 1.0)
    assert finished(picture[:, ::-1], picture, (60, 40), 1.0).shape == (40, 60, 3)
