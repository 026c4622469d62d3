"""How a picture is given to a model: by the settings of its own processor, whatever the family."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageOps

from supir_caption.views import View, stepped_size, view_of

QWEN = {
    "patch_size": 14,
    "merge_size": 2,
    "size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280},
    "resample": 3,
}
CLIP = {
    "do_center_crop": True,
    "crop_size": {"height": 336, "width": 336},
    "size": {"shortest_edge": 336},
    "image_mean": [0.5, 0.25, 0.0],
}
SIGLIP = {"size": {"height": 384, "width": 384}, "do_resize": True}
NEXT = CLIP | {"image_grid_pinpoints": [[336, 672], [672, 336], [672, 672]]}
INTERN = {"size": {"height": 448, "width": 448}, "crop_to_patches": True}


def shown(settings: dict, size: tuple[int, int], megapixels: float | None = None) -> tuple[int, int]:
    return view_of(settings, megapixels).of(Image.new("RGB", size)).size


@pytest.mark.parametrize(
    ("settings", "size", "given"),
    [
        (QWEN, (1024, 768), (1036, 756)),  # steps of 28 px, no square
        (QWEN, (4000, 3000), (1148, 840)),  # 1280 x 28 x 28 px at most
        (QWEN, (40, 40), (56, 56)),  # 56 x 56 px at least
        (CLIP, (1000, 500), (336, 336)),
        (SIGLIP, (1000, 500), (384, 384)),
        (NEXT, (600, 600), (600, 600)),
        (NEXT, (1344, 600), (672, 300)),
        (INTERN, (3000, 900), (3000, 900)),
        ({}, (3000, 900), (3000, 900)),
    ],
)
def test_each_family_is_given_what_its_processor_keeps(settings: dict, size: tuple, given: tuple):
    assert shown(settings, size) == given


def test_a_square_model_sees_the_ends_of_a_long_picture_between_its_mean_colour():
    wide = np.zeros((100, 300, 3), np.uint8)
    wide[:, :10], wide[:, -10:] = (255, 0, 0), (0, 0, 255)
    square = np.asarray(view_of(CLIP).of(Image.fromarray(wide)))
    assert tuple(square[168, 2]) == (255, 0, 0)
    assert tuple(square[168, -3]) == (0, 0, 255)
    assert tuple(square[5, 168]) == (127, 63, 0)


def test_what_is_given_to_qwen_is_left_as_it_is_by_its_processor():
    from transformers import Qwen2VLImageProcessor

    processor = Qwen2VLImageProcessor(size=QWEN["size"])
    view = view_of(processor.to_dict())
    for size in ((1024, 768), (3000, 200), (33, 700), (4000, 3000)):
        given = view.of(Image.new("RGB", size))
        rows, columns = processor(images=given, return_tensors="pt")["image_grid_thw"][0, 1:].tolist()
        assert (columns * 14, rows * 14) == given.size


@pytest.mark.parametrize("size", [(512, 512), (512, 300), (301, 512), (100, 77)])
def test_a_square_model_and_one_of_tiles_get_what_pillow_fits_in_nearly(size: tuple[int, int]):
    photo = Image.fromarray(skimage.data.astronaut()).resize(size)
    for box in ((64, 64), (72, 48)):
        fitted = View("tiles", size=box, resample=3).of(photo)
        expected = ImageOps.contain(photo, box, method=Image.Resampling.BICUBIC)
        assert fitted.size == expected.size
        assert np.abs(np.asarray(fitted, float) - np.asarray(expected)).mean() < 0.6
        padded = View("square", size=box, resample=3).of(photo)
        assert padded.size == box


def test_the_users_bound_holds_where_the_model_would_take_more():
    assert np.prod(shown(QWEN, (4000, 3000), 0.25)) <= 260_000
    assert np.prod(shown(INTERN, (4000, 3000), 0.25)) <= 250_000
    assert shown(INTERN, (400, 300), 0.25) == (400, 300)


def test_a_picture_of_one_row_is_widened_for_no_processor_takes_it():
    assert shown(QWEN, (5000, 1))[1] >= 28
    assert View().of(Image.new("RGB", (5000, 1))).size == (5000, 50)


@pytest.mark.parametrize("size", [(28, 28), (29, 280), (500, 50), (777, 333)])
def test_sides_are_steps_and_the_area_is_within_bounds(size: tuple[int, int]):
    width, height = stepped_size(size, (3136, 12544), 28)
    assert width % 28 == height % 28 == 0
    assert 3136 <= width * height <= 12544
