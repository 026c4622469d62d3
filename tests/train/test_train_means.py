"""Means of training and validation figures: an image that is its reference is counted apart from their PSNR."""

from __future__ import annotations

import math

import pytest
import torch

from supir_train.metrics import Means
from supir_train.phase import psnr_db
from supir_train.world import World


def images(*errors: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey images with a constant error each, and their references."""
    reference = torch.zeros(len(errors), 3, 4, 4)
    return reference + torch.tensor(errors).reshape(-1, 1, 1, 1), reference


def test_psnr_of_each_image_is_its_closed_form_and_infinite_for_the_reference_itself():
    found = psnr_db(*images(0.02, 0.2, 0.0))
    assert found[:2].tolist() == pytest.approx([40.0, 20.0], abs=1e-4)
    assert found[2] == math.inf


def test_an_identical_image_is_in_no_mean_and_counted():
    means = Means(World())
    means.add({"loss": torch.tensor(1.0), "psnr_db": psnr_db(*images(0.02, 0.0))}, count=2)
    means.add({"loss": torch.tensor(4.0), "psnr_db": psnr_db(*images(0.2))}, count=1)
    expected = {"loss": 2.0, "psnr_db": 30.0, "psnr_db_infinite": 1 / 3}
    assert means.take() == pytest.approx(expected, abs=1e-4)
    means.add({"psnr_db": psnr_db(*images(0.2))})
    assert means.take() == pytest.approx({"psnr_db": 20.0, "psnr_db_infinite": 0.0}, abs=1e-4)


def test_where_all_images_are_identical_there_is_no_mean():
    means = Means(World())
    means.add({"loss": torch.tensor(0.0), "psnr_db": psnr_db(*images(0.0, 0.0))}, count=2)
    assert means.take() == {"loss": 0.0, "psnr_db_infinite": 1.0}


def test_means_go_on_from_the_sums_of_an_earlier_start():
    before = Means(World())
    before.add({"psnr_db": psnr_db(*images(0.02, 0.0))})
    after = Means(World(), before.merged())
    after.add({"psnr_db": psnr_db(*images(0.2, 0.2))})
    assert after.take() == pytest.approx({"psnr_db": 80 / 3, "psnr_db_infinite": 0.25}, abs=1e-4)


def test_a_figure_that_is_no_number_stays_one_so_that_the_run_is_stopped():
    means = Means(World())
    means.add({"psnr_db": torch.tensor([20.0, math.nan, math.inf])})
    assert math.isnan(means.take()["psnr_db"])
