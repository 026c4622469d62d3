"""Crops: where a photo is cut, at what scale, and what is stored of it."""

from __future__ import annotations

import hashlib
import io
import math

import numpy as np
import pytest
from PIL import Image
from PIL.ImageOps import exif_transpose

from supir_curate.config.pack import PackConfig
from supir_curate.packing.crops import Layout, choose_boxes, crop_scale, cut_texture, lay_out
from supir_curate.packing.pack import make_samples
from supir_curate.scores import SCORE_NAMES
from supir_curate.sources.originals import Original
from supir_shards import Role, crop_key

CROPS = PackConfig(mode="crops")
RICH, FLAT = 180, 40


def map_with(*rich: tuple[slice, slice]) -> np.ndarray:
    cells = np.full((32, 64), FLAT, np.uint8)
    for place in rich:
        cells[place] = RICH
    return cells


def test_the_first_crop_holds_the_texture_and_a_flat_rest_gives_no_other():
    # 4096 x 2048 px in cells of 64 px: the texture lies at x 2560 to 3584, y 512 to 1536.
    texture = map_with((slice(8, 24), slice(40, 56)))
    assert choose_boxes(4096, 2048, texture, CROPS) == ((2560, 512, 3584, 1536),)
    assert choose_boxes(4096, 2048, map_with(), CROPS) == ((0, 0, 1024, 1024),)


def test_texture_in_two_places_gives_a_crop_each_and_the_richer_comes_first():
    texture = map_with((slice(8, 24), slice(40, 56)), (slice(0, 16), slice(4, 20)))
    texture[0:16, 4:20] += 20
    assert choose_boxes(4096, 2048, texture, CROPS) == ((256, 0, 1280, 1024), (2560, 512, 3584, 1536))
    one = PackConfig(mode="crops", max_crops=1)
    assert choose_boxes(4096, 2048, texture, one) == ((256, 0, 1280, 1024),)


def test_a_second_crop_may_be_as_flat_as_the_limit_and_no_flatter():
    texture = map_with(
        (slice(8, 24), slice(40, 56)), (slice(0, 8), slice(0, 16))
    )  # the second: half of a crop
    assert len(choose_boxes(4096, 2048, texture, PackConfig(mode="crops", max_flat_share=0.5))) == 2
    assert len(choose_boxes(4096, 2048, texture, PackConfig(mode="crops", max_flat_share=0.49))) == 1


@pytest.mark.parametrize("distance", [0.5, 1.0, 1.25])
@pytest.mark.parametrize("seed", range(5))
def test_crops_lie_apart_on_the_grid_and_inside(seed, distance):
    rng = np.random.default_rng(seed)
    width, height = (int(side) for side in rng.integers(1024, 6000, 2))
    texture = rng.integers(110, 255, (int(rng.integers(10, 60)), int(rng.integers(10, 60))), np.uint8)
    boxes = choose_boxes(width, height, texture, PackConfig(mode="crops", max_crops=9, min_distance=distance))
    assert 1 <= len(boxes) <= 9
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        assert x0 % 64 == y0 % 64 == 0
        assert 0 <= x0 < x1 == x0 + 1024 <= width
        assert 0 <= y0 < y1 == y0 + 1024 <= height
        for other in boxes[:number]:
            assert max(abs(x0 - other[0]), abs(y0 - other[1])) >= distance * 1024


@pytest.mark.parametrize(
    ("short_side_px", "ratio", "scale"),
    [
        (4000, 0.7, 1.0),
        (4000, 0.6, 1.0),  # the limit itself is enough
        (4000, 0.5, 0.5),
        (1280, 0.5, 0.8),  # a crop is never larger than the picture
        (1024, 0.1, 1.0),
        (4096, 1.0, 1.0),
        (4500, 1.0, 1.0),  # 0.91: not worth an encoding
        (1100, 0.2, 1.0),
        (8192, 1.0, 0.5),  # a crop shows a quarter of the short side at least
        (8192, 0.3, 0.3),
        (4000, math.nan, 1.0),
    ],
)
def test_a_photo_is_reduced_until_it_is_crisp_and_a_crop_shows_enough_of_it(short_side_px, ratio, scale):
    assert crop_scale(short_side_px, ratio, CROPS) == pytest.approx(scale)


@pytest.mark.parametrize("mode", ["whole", "crops"])
@pytest.mark.parametrize("ratio", [0.2, 1.0])
@pytest.mark.parametrize(
    "size", [(300, 400), (1023, 5000), (1024, 1024), (1100, 1025), (2049, 1537), (9000, 7000)]
)
def test_nothing_is_enlarged_and_no_side_falls_below_the_crop(mode, ratio, size):
    layout = lay_out(*size, np.full((40, 40), RICH, np.uint8), ratio, PackConfig(mode=mode))
    assert layout.width <= size[0]
    assert layout.height <= size[1]
    assert min(layout.width, layout.height) >= min(1024, *size)
    is_small = min(size) < 1024
    assert layout.is_whole == (mode == "whole" or is_small or size == (1024, 1024))


def test_a_crop_takes_its_part_of_the_texture_map():
    texture = np.arange(64, dtype=np.uint8).reshape(8, 8)  # cells of 100 px
    layout = Layout(800, 800, ((100, 200, 500, 600), (150, 200, 550, 600)))
    assert np.array_equal(cut_texture(texture, layout, layout.boxes[0]), texture[2:6, 1:5])
    between = cut_texture(texture, layout, layout.boxes[1])  # half of one cell, half of the next
    assert np.array_equal(between, np.rint((texture[2:6, 1:5] + texture[2:6, 2:6]) / 2))


def test_a_size_off_the_grid_is_refused_for_crops():
    with pytest.raises(ValueError, match="size_px=1000 is no multiple of 64, as mode=crops needs; use 1024"):
        PackConfig(mode="crops", size_px=1000)
    assert PackConfig(size_px=1000).size_px == 1000


SMALL = PackConfig(mode="crops", size_px=128, min_distance=1.0, max_crops=3, min_frame_share=0.01)


def original_and_row(image: Image.Image, name: str, effective_ratio: float, **options: object):
    sink = io.BytesIO()
    image.save(sink, name, **options)
    data = sink.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    texture = np.tile(np.arange(110, 210, 5, dtype=np.uint8), (13, 1))  # rises from left to right
    row = {"key": sha256[:32], "sha256": sha256, "width": image.width, "height": image.height}
    row |= {"texture": texture.tobytes(), "texture_rows": 13, "texture_cols": 20}
    row |= {f"score.{name}": 0.5 for name in SCORE_NAMES} | {"score.effective_ratio": effective_ratio}
    return Original(row=0, url="file:photo", data=data), row


def shown(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int16)


@pytest.mark.parametrize("orientation", [1, 6])
def test_crops_of_a_jpeg_are_its_own_coefficients_upright(photos, orientation):
    photo = Image.fromarray(photos["coffee"])
    exif = photo.getexif()
    exif[0x0112] = orientation
    original, row = original_and_row(photo, "JPEG", 1.0, quality=92, subsampling=0, exif=exif)
    samples = make_samples(original, row, Role.FACE, SMALL)
    upright = np.asarray(exif_transpose(Image.open(io.BytesIO(original.data))), np.int16)
    assert len({sample.key for sample in samples}) == len(samples) == 3
    for sample in samples:
        x0, y0, x1, y1 = box = sample.origin.box
        assert (sample.width, sample.height, sample.extension) == (128, 128, "jpg")
        assert (x1 - x0, y1 - y0) == (128, 128)
        difference = np.abs(shown(sample.image) - upright[y0:y1, x0:x1])
        assert difference.max() == 0 if orientation == 1 else difference.mean() < 0.5
        assert (sample.origin.is_original, sample.origin.reencoded) == (False, False)
        assert sample.origin.sha256 == row["sha256"]
        assert sample.role is Role.FACE
        assert sample.key == crop_key(row["sha256"], tuple(box), (128, 128)) != row["key"]
        assert sample.texture_shape == (4, 4)  # cells of about 31 px
        texture = np.frombuffer(sample.texture, np.uint8).reshape(4, 4)
        assert np.diff(texture, axis=1 if orientation == 1 else 0).min() > 0  # turned with the picture


def test_a_photo_without_detail_is_reduced_before_it_is_cut(photos):
    original, row = original_and_row(Image.fromarray(photos["coffee"]), "JPEG", 0.5, quality=95)
    sample, *_ = make_samples(original, row, Role.FACE, SMALL)
    box = sample.origin.box
    whole = Image.open(io.BytesIO(original.data))
    expected = np.asarray(whole.resize((128, 128), Image.Resampling.LANCZOS, box=box), np.int16)
    assert (box[2] - box[0], box[3] - box[1]) == (256, 256)  # half its scale
    assert np.abs(shown(sample.image) - expected).mean() < 3.0
    assert sample.origin.reencoded is True
    assert sample.origin.not_lossless == ""


def test_crops_of_a_png_are_its_own_pixels(photos):
    original, row = original_and_row(Image.fromarray(photos["coffee"]), "PNG", 1.0)
    for sample in make_samples(original, row, Role.FACE, SMALL):
        x0, y0, x1, y1 = sample.origin.box
        assert np.array_equal(shown(sample.image), photos["coffee"][y0:y1, x0:x1])
        assert (sample.extension, sample.origin.reencoded) == ("png", False)


def test_a_jpeg_that_cannot_be_cut_so_is_encoded_and_says_why(photos):
    original, row = original_and_row(
        Image.fromarray(photos["coffee"]), "JPEG", 1.0, quality=95, keep_rgb=True
    )
    for sample in make_samples(original, row, Role.FACE, SMALL):
        x0, y0, x1, y1 = sample.origin.box
        assert np.abs(shown(sample.image) - photos["coffee"][y0:y1, x0:x1]).mean() < 3.0
        assert sample.origin.reencoded is True
        assert sample.origin.not_lossless == "its components are RGB, not YCbCr"


def test_a_photo_smaller_than_a_crop_keeps_its_bytes_and_its_key(photos):
    original, row = original_and_row(Image.fromarray(photos["coffee"][:100]), "JPEG", 1.0)
    (sample,) = make_samples(original, row, Role.FACE, SMALL)
    assert (sample.image, sample.key, sample.origin.is_original) == (original.data, row["key"], True)
    assert sample.origin.box == (0, 0, sample.origin.width, sample.origin.height)
