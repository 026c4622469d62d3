"""The last step of a restoration: size, mixture, greyness, and results that are none."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from supir_console import UserError
from supir_infer import RestoreSettings
from supir_infer.finish import finished
from supir_infer.strength import Taken
from supir_model.estimator import Degradation
from supir_model.strength_map import StrengthMap

CLEAN = Degradation(0.0, 0.0, 100.0, 1.0, 50.0)
SETTINGS = RestoreSettings(guidance_scale=1.0)


@pytest.fixture
def picture():
    return np.random.default_rng(0).uniform(0.2, 0.8, (40, 60, 3)).astype(np.float32)


def test_strength_zero_gives_the_picture_and_looks_at_nothing_else(picture):
    result, share = finished(np.full_like(picture, np.nan), picture, (60, 40), Taken(0.0), SETTINGS)
    assert share == 0
    assert np.array_equal(result, np.round(picture * 255).astype(np.uint8))


def test_strength_mixes_linearly(picture):
    made = np.clip(picture + 0.1, 0, 1)
    result, share = finished(made, picture, (60, 40), Taken(0.5), SETTINGS)
    assert share == 0.5
    assert np.abs(result.astype(int) - (picture + 0.05) * 255).max() <= 0.51


def test_a_strength_map_says_how_much_of_the_strength_is_taken(picture):
    a_quarter = StrengthMap()
    torch.nn.init.zeros_(a_quarter.share.weight)
    torch.nn.init.constant_(a_quarter.share.bias, -math.log(3))
    made = np.clip(picture + 0.1, 0, 1)
    result, share = finished(made, picture, (60, 40), Taken(0.8, a_quarter, CLEAN), SETTINGS)
    assert share == pytest.approx(0.2)
    assert np.abs(result.astype(int) - (picture + 0.02) * 255).max() <= 0.51


def test_the_mean_colour_is_kept_though_the_restored_picture_is_cut_off_and_taken_in_parts():
    rng = np.random.default_rng(0)
    picture = np.where(rng.random((40, 60, 1)) < 0.8, 1.0, rng.random((40, 60, 3)) * 0.5).astype(np.float32)
    made = picture + rng.normal(0, 0.2, picture.shape).astype(np.float32)
    made += (picture - made).mean(axis=(0, 1))  # what `colour_fix: mean` gives, before anything is cut off
    by_mean = RestoreSettings(guidance_scale=1.0, colour_fix="mean", colour_reference="lq")
    for taken in (Taken(1.0), Taken(0.3), Taken(1.0, StrengthMap(), CLEAN)):
        result, share = finished(made, picture, (60, 40), taken, by_mean)
        assert 0 < share <= 1
        assert np.abs(result.mean(axis=(0, 1)) - 255 * picture.mean(axis=(0, 1))).max() < 0.3
        as_given, _ = finished(made, picture, (60, 40), taken, SETTINGS)  # wavelet: what is cut off is missed
        assert np.abs(as_given.mean(axis=(0, 1)) - 255 * picture.mean(axis=(0, 1))).max() > 0.3


def test_a_grey_picture_stays_grey(picture):
    grey = np.repeat(picture[..., :1], 3, axis=2)
    tinted = np.clip(grey + np.float32([0.05, 0.0, -0.05]), 0, 1)
    result, _ = finished(tinted, grey, (60, 40), Taken(1.0), SETTINGS)
    assert np.ptp(result, axis=2).max() == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_a_failure(picture, value):
    made = picture.copy()
    made[3, 5, 1] = value
    with pytest.raises(UserError, match=r"numbers that are none .*: its weights are damaged$"):
        finished(made, picture, (60, 40), Taken(1.0), SETTINGS)
    with pytest.raises(UserError, match=r"its precision \(float16\) is too low: try --dtype float32$"):
        finished(made, picture, (60, 40), Taken(1.0), SETTINGS, "float16")


def test_another_picture_is_a_failure(picture):
    with pytest.raises(UserError, match=r"0\.[0-9]+ .* more than 0\.5"):
        finished(np.zeros_like(picture), picture**0.1, (60, 40), Taken(1.0), SETTINGS)
    assert finished(picture[:, ::-1], picture, (60, 40), Taken(1.0), SETTINGS)[0].shape == (40, 60, 3)


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"control_scale": 0.5, "guidance_scale": 4.0}, "use more control (--control-scale 1, now 0.5)"),
        ({"guidance_scale": 4.0}, "use less guidance (--guidance-scale 1, now 4)"),
        ({"guidance_scale": 1.0}, "damaged or not trained: use another --model"),
    ],
)
def test_the_advice_is_one_that_the_settings_have_not_taken_yet(picture, settings, advice):
    with pytest.raises(UserError, match=re.escape(advice)):
        finished(np.zeros_like(picture), picture**0.1, (60, 40), Taken(1.0), RestoreSettings(**settings))


def test_sixteen_bits_keep_what_eight_round_away(picture):
    settings = RestoreSettings(output_bits=16)
    result, _ = finished(picture, picture, (60, 40), Taken(0.0), settings)
    assert result.dtype == np.uint16
    assert np.abs(result - picture * 65535).max() <= 0.51
