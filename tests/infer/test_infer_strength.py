"""How much of a restoration is taken, and that a clean picture comes back as it was."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage import data

from supir_infer.restore import Restorer
from supir_infer.settings import PRESETS
from supir_infer.sizes import largest_sizes, plan_sizes
from supir_infer.strength import automatic_strength, degradation
from supir_model import load_supir
from supir_model.estimator import Degradation


@pytest.fixture(scope="module")
def supir():
    return load_supir(preset="mini")


@pytest.mark.parametrize(
    ("fault", "strength"),
    [
        ({}, 0.0),
        ({"noise_sigma": 1.0}, 0.0),
        ({"noise_sigma": 5.0}, 0.5),
        ({"noise_sigma": 25.0}, 1.0),
        ({"noise_sigma": 3.25, "jpeg_quality": 75.0}, 0.5),
        ({"blur_sigma_px": 0.8}, 0.0),
        ({"blur_sigma_px": 1.25}, 0.5),
        ({"blur_sigma_px": 1.15, "jpeg_quality": 75.0}, 0.5),
        ({"blur_sigma_px": 2.0}, 1.0),
        ({"jpeg_quality": 55.0}, 0.0),
        ({"jpeg_quality": 20.0}, 0.5),
        ({"jpeg_quality": 20.0, "noise_sigma": 25.0}, 1.0),
        ({"noise_sigma": 25.0, "psnr_db": 37.0}, 0.5),
        ({"noise_sigma": 25.0, "psnr_db": 40.0}, 0.0),
    ],
)
def test_strength_is_that_of_the_worst_fault_unless_the_picture_seems_clean(fault, strength):
    clean = {"blur_sigma_px": 0.0, "noise_sigma": 0.0, "jpeg_quality": 100.0, "scale": 1.0, "psnr_db": 20.0}
    assert automatic_strength(Degradation(**clean | fault)) == pytest.approx(strength)


@pytest.mark.parametrize(("blur", "gains"), [(0.5, True), (2.1, True), (2.3, False)])
def test_a_picture_gains_by_enlarging_unless_it_is_very_blurred(blur, gains):
    assert Degradation(blur, 10.0, 100.0, 4.0, 25.0).gains_by_enlarging == gains


@pytest.mark.parametrize(
    ("source", "working", "most"),
    [((256, 256), (512, 512), 128.0), ((3968, 3968), (7936, 7936), 128.0), ((4032, 4032), (4032, 4032), 128.0),
     ((256, 256), (256, 256), 0.2)],
)  # fmt: skip
def test_automatic_working_scale_is_two_up_to_sixteen_megapixels_and_within_the_most(source, working, most):
    settings = PRESETS["mini"].model_copy(update={"max_megapixels": most})
    assert plan_sizes(source, settings).working == source
    assert largest_sizes(source, settings).working == working


def test_pictures_of_a_batch_are_worked_on_at_the_sizes_that_fit_each_and_as_they_are_alone(supir):
    photo = data.astronaut()[:256, 64:320]
    blurred = np.asarray(Image.fromarray(photo).filter(ImageFilter.GaussianBlur(5)))
    noisy = np.clip(photo + np.random.default_rng(0).normal(0, 25, photo.shape), 0, 255).astype(np.uint8)
    restorer = Restorer(supir, PRESETS["mini"])
    together = restorer.restore_batch([blurred, noisy, blurred], ["", "", ""], [0, 0, 1])
    assert [result.sizes.working for result in together] == [(256, 256), (512, 512), (256, 256)]
    assert all(result.image.shape == photo.shape for result in together)
    for result, picture, seed in zip(together, (blurred, noisy, blurred), (0, 0, 1), strict=True):
        alone = restorer.restore(picture, seed=seed).image.astype(int)
        assert np.abs(alone - result.image).max() <= 1


def test_working_scale_is_of_the_output_and_min_size_counts_where_it_asks_for_more(supir):
    settings = PRESETS["mini"].model_copy(update={"working_scale": 2.0, "min_size_px": 256, "strength": 1.0})
    assert plan_sizes((192, 300), settings).working == (384, 608)
    assert plan_sizes((100, 100), settings).working == (256, 256)
    assert Restorer(supir, settings).restore(data.astronaut()[:64, :96]).image.shape == (64, 96, 3)


def test_a_clean_photo_comes_back_bit_for_bit_and_a_noisy_one_better(supir):
    photo = data.astronaut()[:256, 64:320]
    noisy = np.clip(photo + np.random.default_rng(0).normal(0, 25, photo.shape), 0, 255).astype(np.uint8)
    restorer = Restorer(supir, PRESETS["mini"])
    clean = restorer.restore(photo)
    assert clean.strength == 0.0
    assert np.array_equal(clean.image, photo)
    restored = restorer.restore(noisy)
    assert 0.9 < restored.strength < 1.0  # the mean of the map
    errors = [np.square(image.astype(float) - photo).mean() for image in (restored.image, noisy)]
    assert errors[0] < 0.5 * errors[1]


def test_a_given_strength_mixes_the_result_with_the_picture(supir):
    photo, mini = data.astronaut()[:128, :160], PRESETS["mini"]
    whole, half = (
        Restorer(supir, mini.model_copy(update={"strength": share})).restore(photo).image.astype(int)
        for share in (1.0, 0.5)
    )
    assert np.abs(2 * half - whole - photo).max() <= 2


def test_an_estimate_is_the_mean_over_the_picture_whatever_its_size(supir):
    rng = np.random.default_rng(0)
    clean = np.full((600, 600, 3), 0.5, np.float32)
    noisy = np.clip(clean + rng.normal(0, 0.1, clean.shape), 0, 1).astype(np.float32)
    both = np.concatenate([clean[:, :300], noisy[:, 300:]], axis=1)
    sigmas = [degradation(supir, picture).noise_sigma for picture in (clean, both, noisy)]
    assert sigmas[0] < sigmas[1] < sigmas[2]
    assert degradation(supir, clean[:5, :7]).psnr_db > 10
