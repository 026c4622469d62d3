"""Where crops lie, what is made of them, and which prompt they get."""

from __future__ import annotations

import numpy as np
import pytest

from supir_train.crops import CropBox, TooSmallError, choose_box, cut


def boxes(texture=None, max_downscale: float = 3.0, count: int = 300) -> list[CropBox]:
    rng = np.random.default_rng(0)
    return [
        choose_box(rng, 200, 100, crop_px=32, max_downscale=max_downscale, texture=texture)
        for _ in range(count)
    ]


@pytest.mark.parametrize("texture", [None, np.full((4, 8), 9, np.uint8)])
def test_boxes_fill_the_image_and_stay_inside(texture):
    corners = np.array([box.corners for box in boxes(texture)])
    assert corners.min(axis=0)[:2].tolist() == [0, 0]
    assert corners.max(axis=0)[2:].tolist() == [200, 100]


def test_sides_are_log_uniform_up_to_the_largest_downscale():
    sides = [box.side for box in boxes(max_downscale=2.0)]
    assert (min(sides), max(sides)) == (32, 64)
    assert np.median(sides) == pytest.approx(32 * 2**0.5, abs=2)
    assert {box.side for box in boxes(max_downscale=1.0)} == {32}


def test_half_of_the_boxes_are_flipped():
    assert sum(box.flip for box in boxes()) == pytest.approx(150, abs=30)


def test_textured_cells_draw_crops():
    texture = np.zeros((4, 8), np.uint8)
    texture[1, 6] = 255
    hits = [
        box
        for box in boxes(texture, max_downscale=1.0)
        if box.x <= 162 <= box.x + 32 and box.y <= 37 <= box.y + 32
    ]
    # The cell has weight 271 of 767; a uniform choice would put about 4 % of the crops over its centre.
    assert len(hits) > 0.25 * 300


def test_an_image_smaller_than_the_crop_is_refused_with_both_sizes():
    with pytest.raises(TooSmallError, match="300x60 px is smaller than the crop of 64 px"):
        choose_box(np.random.default_rng(0), 300, 60, crop_px=64, max_downscale=1, texture=None)


def test_a_cut_of_native_size_keeps_the_pixels():
    image = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    assert np.array_equal(cut(image, CropBox(x=1, y=2, side=4, flip=False), 4), image[2:6, 1:5])
    assert np.array_equal(cut(image, CropBox(x=1, y=2, side=4, flip=True), 4), image[2:6, 4:0:-1])


def test_a_larger_cut_is_averaged_by_area():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, 1::2] = 200
    assert np.array_equal(cut(image, CropBox(x=0, y=0, side=4, flip=False), 2), np.full((2, 2, 3), 100))
