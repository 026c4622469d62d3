"""The probes that find compression, halos, frames, graphics and screenshots."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from supir_curate.probes.border import border_share
from supir_curate.probes.colour import colourfulness, palette_share
from supir_curate.probes.compression import blockiness, jpeg_quality
from supir_curate.probes.halo import overshoot
from supir_curate.probes.phash import perceptual_hash
from supir_curate.probes.text import screen_score


def recompressed(rgb, quality):
    sink = io.BytesIO()
    Image.fromarray(rgb).save(sink, "JPEG", quality=quality)
    return np.array(Image.open(sink).convert("RGB"))


def screenshot():
    image = Image.new("RGB", (640, 480), (250, 250, 252))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 640, 28), fill=(40, 44, 52))
    for line in range(24):
        text = f"{line:02d}  def step_{line}(self, value: int) -> None: ..."
        draw.text((24, 40 + 18 * line), text, fill=(20, 20, 20), font=ImageFont.load_default())
    return np.array(image)


@pytest.mark.parametrize("quality", [1, 10, 25, 50, 60, 75, 90, 95, 100])
def test_the_quality_is_read_back_from_the_table(photos, encode, quality):
    image = Image.open(io.BytesIO(encode(photos["chelsea"], "JPEG", quality=quality)))
    assert jpeg_quality(image.quantization[0]) == quality


def test_a_foreign_table_reads_as_the_nearest_quality(encode):
    table = list(
        Image.open(io.BytesIO(encode(np.zeros((16, 16, 3), np.uint8), "JPEG", quality=75))).quantization[0]
    )
    table[5:9] = [step + 2 for step in table[5:9]]
    assert jpeg_quality(table) == 75


def test_a_file_without_a_table_has_no_quality():
    assert np.isnan(jpeg_quality(()))


def test_blockiness_grows_as_quality_falls_and_survives_a_crop(photos, luma):
    for rgb in photos.values():
        values = [blockiness(luma(recompressed(rgb, quality))) for quality in (95, 60, 30, 10)]
        assert values == sorted(values)
        cropped = blockiness(luma(recompressed(rgb, 10)[3:, 5:]))
        assert cropped == pytest.approx(values[-1], rel=0.15)


def test_blockiness_separates_strong_compression(photos, luma, separation):
    clean = [blockiness(luma(rgb)) for rgb in photos.values()]
    strong = [blockiness(luma(recompressed(rgb, 20))) for rgb in photos.values()]
    assert max(clean) < 0.15
    assert separation(strong, clean) == 1.0


def test_a_step_with_ten_percent_overshoot_reads_as_ten_percent():
    row = np.r_[np.full(20, 60), 50, 50, 170, 170, np.full(20, 160)]
    picture = np.tile(row, (60, 2)).astype(np.uint8)
    assert overshoot(picture) == pytest.approx(0.1)


def test_a_clean_step_has_none_and_a_flat_picture_no_answer():
    picture = np.tile(np.repeat([60, 160], 24), (60, 2)).astype(np.uint8)
    assert overshoot(picture) == 0.0
    assert np.isnan(overshoot(np.full((60, 60), 60, np.uint8)))


def test_a_soft_edge_is_not_judged():
    # Two px on either side of its middle a slope over eight px has half of its step behind it.
    ramp = np.r_[np.full(20, 60), np.linspace(60, 160, 9)[1:-1], np.full(21, 160)].round()
    assert np.isnan(overshoot(np.tile(np.r_[ramp, ramp[::-1]], (60, 1)).astype(np.uint8)))


def test_edges_that_sharpening_makes_of_texture_do_not_hide_the_calm_ones():
    step = np.r_[np.full(20, 60), 50, 50, 170, 170, np.full(20, 160)]
    calm = np.tile(step, (240, 1))
    texture = np.random.default_rng(0).integers(0, 256, (240, 200))
    picture = np.hstack([calm, texture]).astype(np.uint8)
    assert overshoot(picture) == pytest.approx(0.1)


def test_an_edge_without_room_on_one_side_is_judged_by_the_other():
    row = np.r_[np.full(20, 60), 50, 50, 255, 255, np.full(20, 250)]  # 5 of 190 levels left above
    assert overshoot(np.tile(row, (60, 2)).astype(np.uint8)) == pytest.approx(10 / 190)


def test_sharpening_raises_overshoot_of_photos(photos, luma):
    for name in ("astronaut", "coffee", "rocket", "motorcycle_left", "flower"):
        rgb = photos[name]
        soft = cv2.GaussianBlur(rgb.astype(np.float32), (0, 0), 2)
        sharpened = np.clip(rgb + 3 * (rgb - soft), 0, 255).astype(np.uint8)
        assert overshoot(luma(sharpened)) > overshoot(luma(rgb)) + 0.1


def test_colourfulness_of_plain_colours_is_its_closed_form():
    assert colourfulness(np.full((8, 8, 3), 77, np.uint8)) == 0.0
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    assert colourfulness(red) == pytest.approx(0.3 * np.hypot(255, 127.5), rel=1e-6)


def test_palette_share_tells_graphics_from_photos(photos):
    assert palette_share(screenshot()) > 0.98
    assert max(palette_share(rgb) for rgb in photos.values()) < 0.7


def test_a_frame_is_measured_in_area(photos, luma):
    picture = luma(photos["astronaut"])[:400, :400]
    framed = cv2.copyMakeBorder(picture, 50, 50, 50, 50, cv2.BORDER_CONSTANT, value=0)
    assert border_share(framed) == pytest.approx(1 - 400**2 / 500**2)
    assert border_share(luma(photos["coffee"])) == 0.0


@pytest.mark.parametrize("quality", [95, 75])
def test_a_frame_is_measured_through_a_jpeg_s_ringing(photos, luma, quality):
    framed = cv2.copyMakeBorder(photos["astronaut"][:400, :400], 53, 53, 0, 0, cv2.BORDER_CONSTANT)
    assert border_share(luma(recompressed(framed, quality))) == pytest.approx(1 - 400 / 506, abs=0.03)


def test_a_clear_sky_over_hills_is_no_frame():
    rows, columns = np.indices((300, 400))
    hills = rows > 200 - 60 * np.sin(columns / 130) ** 2  # they rise out of it bit by bit
    grass = np.random.default_rng(0).integers(60, 110, (300, 400))
    scene = np.where(hills, grass, 200 + rows // 150)
    assert border_share(scene.astype(np.uint8)) == 0.0
    assert border_share(np.full((30, 40), 200, np.uint8)) == 1.0


def test_screenshots_score_high_and_photos_low(photos, luma):
    assert screen_score(luma(screenshot())) > 0.5
    assert screen_score(luma(recompressed(screenshot(), 75))) > 0.3
    assert max(screen_score(luma(rgb)) for rgb in photos.values()) < 0.15


def test_copies_hash_alike_and_different_photos_do_not(photos, luma):
    def distance(one, other):
        return (perceptual_hash(one) ^ perceptual_hash(other)).bit_count()

    for rgb in photos.values():
        half = cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        assert distance(luma(rgb), luma(half)) <= 2
        assert distance(luma(rgb), luma(recompressed(rgb, 40))) <= 2
    grays = [luma(rgb) for rgb in photos.values()]
    assert min(distance(one, other) for one in grays for other in grays if one is not other) >= 16


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (7, 9), (16, 16), (40, 33)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_every_score_exists_for_tiny_and_empty_pictures(encode, shape, level):
    from supir_curate.measure import measure
    from supir_curate.pictures.picture import decode
    from supir_curate.scores import SCORE_NAMES

    data = encode(np.full((*shape, 3), level, np.uint8), "PNG")
    measurement = measure(decode(data, 10**6, 1024), 1024)
    assert tuple(measurement.scores) == SCORE_NAMES
    assert all(np.isfinite(value) or np.isnan(value) for value in measurement.scores.values())
    assert measurement.texture.size >= 1
