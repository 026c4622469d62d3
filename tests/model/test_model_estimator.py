"""The degradation estimator: its targets' scale, and what its statistics see."""

from __future__ import annotations

import pytest
import torch

from supir_model import load_supir
from supir_model.estimator import Degradation, DegradationEstimator, denormalised, normalised
from supir_model.load import embedded_estimator

CLEAN = Degradation(0.0, 0.0, 100.0, 1.0, 50.0)
RUINED = Degradation(3.5, 30.0, 12.0, 4.0, 15.0)


def test_a_clean_picture_is_zero_and_every_target_comes_back():
    scores = normalised([CLEAN, RUINED])
    assert torch.equal(scores[0], torch.zeros(5))
    back = denormalised(scores)
    assert back[0] == CLEAN
    for name in Degradation.__slots__:
        assert getattr(back[1], name) == pytest.approx(getattr(RUINED, name), rel=1e-5)


def test_estimates_stay_within_the_bounds_of_their_targets():
    low, high = denormalised(torch.tensor([[-9.0] * 5, [9.0] * 5]))
    assert low == CLEAN
    assert (high.jpeg_quality, high.psnr_db) == (1.0, 10.0)


def test_a_half_precision_model_keeps_its_estimator_in_float32(tmp_path):
    supir = load_supir(preset="tiny")
    supir.estimator = DegradationEstimator(hidden_channels=(8, 8))
    supir.save_pretrained(tmp_path)
    half = load_supir(tmp_path, dtype=torch.float16)
    assert half.estimator is not None
    assert {value.dtype for value in half.estimator.parameters()} == {torch.float32}
    lq = torch.rand(2, 3, 48, 64) * 2 - 1
    assert torch.equal(half.estimator(lq), supir.estimator(lq))


def test_a_model_without_an_estimator_is_saved_without(tmp_path):
    load_supir(preset="tiny").save_pretrained(tmp_path)
    assert not (tmp_path / "estimator").exists()
    assert load_supir(tmp_path).estimator is None


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (256, 40)])
def test_any_size_from_32_px_is_taken(size):
    assert DegradationEstimator()(torch.zeros(1, 3, *size)).shape == (1, 5)


def test_the_embedded_one_tells_noise_blur_and_blocks_apart_on_an_unseen_photo():
    import cv2
    import numpy as np
    from skimage import data

    photo = data.chelsea()[:288, :448]
    noisy = np.clip(photo + np.random.default_rng(0).normal(0, 25, photo.shape), 0, 255).astype(np.uint8)
    blurred = cv2.GaussianBlur(photo, (0, 0), 3.0)
    blocky = cv2.imdecode(cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, 10])[1], cv2.IMREAD_COLOR)
    batch = torch.from_numpy(np.stack([photo, noisy, blurred, blocky])).permute(0, 3, 1, 2) / 127.5 - 1
    as_is, noise, blur, blocks = embedded_estimator().estimate(batch)
    assert noise.noise_sigma == max(each.noise_sigma for each in (as_is, noise, blur, blocks)) > 12
    assert blur.blur_sigma_px == max(each.blur_sigma_px for each in (as_is, noise, blur, blocks)) > 1.5
    assert blocks.jpeg_quality == min(each.jpeg_quality for each in (as_is, noise, blur, blocks)) < 35
    assert as_is.psnr_db > max(noise.psnr_db, blur.psnr_db, blocks.psnr_db) + 5
