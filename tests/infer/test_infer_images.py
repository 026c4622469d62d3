from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from skimage import data

from supir_infer import images
from supir_infer.images import ImageError, picture_size, read_metadata, read_picture, resize, write_png


@pytest.fixture(scope="module")
def coffee() -> np.ndarray:
    return data.coffee()[100:148, 200:280]


def test_exif_orientation_is_applied_to_pixels_and_to_the_header_size(tmp_path, coffee):
    turned = Image.fromarray(np.rot90(coffee))  # stored lying, to be shown upright
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "a.png", exif=exif)
    assert picture_size(tmp_path / "a.png") == (80, 48)
    assert np.array_equal(images.to_bytes(read_picture(tmp_path / "a.png").rgb), coffee)


def test_sixteen_bit_grey_keeps_more_than_eight_bits(tmp_path):
    ramp = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) + 30000
    Image.fromarray(ramp).save(tmp_path / "a.png")
    rgb = read_picture(tmp_path / "a.png").rgb
    assert len(np.unique(rgb)) == 64 * 64
    assert rgb[0, 0].tolist() == pytest.approx([30000 / 65535] * 3)


@pytest.mark.parametrize(
    ("mode", "value", "rgb", "alpha"),
    [
        ("L", 51, (51, 51, 51), None),
        ("1", 255, (255, 255, 255), None),
        ("CMYK", (255, 0, 0, 0), (0, 255, 255), None),
        ("RGBA", (10, 20, 30, 102), (10, 20, 30), 102),
        ("LA", (40, 204), (40, 40, 40), 204),
    ],
)
def test_each_mode_becomes_rgb_and_keeps_its_alpha(tmp_path, mode, value, rgb, alpha):
    Image.new(mode, (16, 8), value).save(tmp_path / "a.tif")
    picture = read_picture(tmp_path / "a.tif")
    assert picture.rgb.shape == (8, 16, 3)
    assert images.to_bytes(picture.rgb)[3, 5].tolist() == list(rgb)
    assert (picture.alpha is None) if alpha is None else picture.alpha[3, 5] == pytest.approx(alpha / 255)


def test_a_transparent_palette_colour_becomes_alpha(tmp_path):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "a.png", transparency=0)
    picture = read_picture(tmp_path / "a.png")
    assert picture.alpha is not None
    assert (picture.alpha[0, 0], picture.alpha[4, 4]) == (0, 1)


def test_an_icc_profile_is_converted_and_a_broken_one_is_noted(tmp_path, coffee):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(coffee).save(tmp_path / "good.png", icc_profile=lab)
    Image.fromarray(coffee).save(tmp_path / "bad.png", icc_profile=b"no profile at all")
    good, bad = read_picture(tmp_path / "good.png"), read_picture(tmp_path / "bad.png")
    assert np.abs(good.rgb * 255 - coffee).max() <= 1
    assert good.notes == ()
    assert bad.notes == ("ICC profile unreadable or for another mode: pixels taken as sRGB",)
    assert np.array_equal(images.to_bytes(bad.rgb), coffee)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"plain text", "no picture in a format that Pillow reads"),
        (b"", "no picture in a format that Pillow reads"),
        ("cut", "truncated"),
    ],
)
def test_a_bad_file_says_its_name_and_why(tmp_path, coffee, content, reason):
    buffer = io.BytesIO()
    Image.fromarray(coffee).save(buffer, "JPEG")
    (tmp_path / "x.jpg").write_bytes(buffer.getvalue()[:900] if content == "cut" else content)
    with pytest.raises(ImageError, match=rf"x\.jpg: .*{reason}"):
        read_picture(tmp_path / "x.jpg")


def test_float_pixels_without_a_range_are_refused(tmp_path):
    Image.fromarray(np.ones((8, 8), dtype=np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(ImageError, match=r"x\.tif: 32-bit float pixels have no agreed range"):
        read_picture(tmp_path / "x.tif")


def test_resize_matches_pillow_on_bytes_and_never_leaves_the_range(coffee):
    ours = resize(coffee.astype(np.float32) / 255, (37, 91))
    theirs = np.asarray(Image.fromarray(coffee).resize((37, 91), Image.Resampling.BICUBIC)) / 255
    assert np.abs(ours - theirs).max() < 1.01 / 255
    assert 0 <= ours.min() <= ours.max() <= 1


def test_a_written_png_carries_alpha_and_metadata(tmp_path, coffee):
    alpha = np.full(coffee.shape[:2], 77, dtype=np.uint8)
    write_png(tmp_path / "deep" / "a.png", coffee, alpha, {"caption": "café", "seed": 3})
    image = Image.open(tmp_path / "deep" / "a.png")
    assert image.mode == "RGBA"
    assert np.array_equal(np.asarray(image)[..., :3], coffee)
    assert np.asarray(image)[2, 2, 3] == 77
    assert read_metadata(tmp_path / "deep" / "a.png") == {"caption": "café", "seed": 3}


def test_a_write_that_fails_leaves_neither_file_nor_temporary(tmp_path, coffee, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(images.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_png(tmp_path / "a.png", coffee, None, {})
    assert list(tmp_path.iterdir()) == []


def test_metadata_of_a_foreign_or_damaged_file_is_none(tmp_path, coffee):
    Image.fromarray(coffee).save(tmp_path / "foreign.png")
    (tmp_path / "damaged.png").write_bytes(Path(tmp_path / "foreign.png").read_bytes()[:200])
    assert read_metadata(tmp_path / "foreign.png") is None
    assert read_metadata(tmp_path / "damaged.png") is None
