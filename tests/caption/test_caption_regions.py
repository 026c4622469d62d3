"""The grid of regions: its boxes in numbers, and the law that they lie inside, cover all, and stay within the limit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supir_caption.config import RegionConfig
from supir_caption.regions import region_boxes


def test_a_1024_picture_has_its_four_quadrants():
    assert region_boxes(1024, 1024, RegionConfig()) == [
        (0, 0, 1024, 1024),
        (0, 0, 512, 512),
        (512, 0, 1024, 512),
        (0, 512, 512, 1024),
        (512, 512, 1024, 1024),
    ]


@pytest.mark.parametrize("size", [(512, 512), (600, 700), (100, 50), (1, 1)])
def test_a_picture_about_as_large_as_a_region_has_none(size: tuple[int, int]):
    assert region_boxes(*size, RegionConfig()) == [(0, 0, *size)]


def test_no_regions_can_be_asked_for():
    assert region_boxes(4000, 3000, RegionConfig(max_regions=0)) == [(0, 0, 4000, 3000)]


def test_half_overlapping_regions_are_nine_on_1024():
    boxes = region_boxes(1024, 1024, RegionConfig(overlap=0.5, max_regions=9))
    assert boxes[1:4] == [(0, 0, 512, 512), (256, 0, 768, 512), (512, 0, 1024, 512)]
    assert len(boxes) == 10


def test_the_grid_that_fits_the_limit_has_the_squarest_boxes():
    # 1820 px would take four columns; in one row these would be 455x1024 boxes.
    assert region_boxes(1820, 1024, RegionConfig())[1:] == [
        (0, 0, 910, 512),
        (910, 0, 1820, 512),
        (0, 512, 910, 1024),
        (910, 512, 1820, 1024),
    ]


@given(
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    size_px=st.integers(64, 900),
    overlap=st.floats(0.0, 0.75),
    max_regions=st.integers(0, 20),
)
def test_regions_cover_every_pixel_and_stay_inside(width, height, size_px, overlap, max_regions):
    boxes = region_boxes(
        width, height, RegionConfig(size_px=size_px, overlap=overlap, max_regions=max_regions)
    )
    regions = boxes[1:]
    assert len(regions) <= max_regions
    assert len(regions) != 1
    covered = np.zeros((height, width), dtype=bool)
    for x0, y0, x1, y1 in regions:
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert x1 - x0 >= min(size_px, width)
        assert y1 - y0 >= min(size_px, height)
        covered[y0:y1, x0:x1] = True
    assert covered.all() or not regions
