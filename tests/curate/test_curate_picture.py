"""Decoding: guards before the decoder, and every kind of pixel that files hold."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from supir_curate.pictures.picture import decode, reduced
from supir_images import BadImage, Fault, read_header


def decoded(data):
    return decode(data, 10**6, 1024)


def saved(image, name, **options):
    sink = io.BytesIO()
    image.save(sink, name, **options)
    return sink.getvalue()


def png_that_declares(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def test_a_bomb_is_refused_by_its_header():
    with pytest.raises(BadImage, match="30000x30000") as error:
        decoded(png_that_declares(30000, 30000))
    assert error.value.reason is Fault.TOO_MANY_PIXELS


@pytest.mark.parametrize("data", [b"", b"<html>", b"%PDF-1.7", b"II*\x00" + bytes(64)])
def test_other_files_are_not_images(data):
    with pytest.raises(BadImage) as error:
        decoded(data)
    assert error.value.reason is Fault.NOT_AN_IMAGE


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_has_the_pixels_that_pillow_gives_it_turned_upright(photos, mode, progressive):
    image = Image.fromarray(photos["coffee"]).convert(mode)  # small enough that every pixel's colour is kept
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(image, "JPEG", quality=80, progressive=progressive, exif=exif)
    expected = np.rot90(np.array(Image.open(io.BytesIO(data)).convert("RGB")), -1)
    for file in (data, data + b"trailer"):
        assert np.array_equal(decoded(file).colours, expected)
        assert np.array_equal(
            decoded(file).gray, cv2.cvtColor(np.ascontiguousarray(expected), cv2.COLOR_RGB2GRAY)
        )


@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_of_a_large_picture_single_pixels_keep_their_colour(photos, name):
    pixels = np.tile(photos["coffee"], (2, 3, 1))
    data = saved(Image.fromarray(pixels), name)
    stored = np.array(Image.open(io.BytesIO(data)))
    picture = decode(data, 10**7, 256)
    height, width = picture.colours.shape[:2]
    assert height * width == pytest.approx(250_000, rel=0.01)
    rows, columns = (np.arange(kept) * of // kept for kept, of in ((height, 800), (width, 1800)))
    assert np.array_equal(picture.colours, stored[rows[:, None], columns])
    assert picture.working_gray.shape == (256, 576)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_file_is_undecodable(photos, encode, name):
    data = encode(photos["chelsea"], name)
    with pytest.raises(BadImage) as error:
        decoded(data[: len(data) // 2])
    assert error.value.reason is Fault.UNDECODABLE


def test_an_animation_is_refused_and_a_still_gif_is_not():
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue", "green")]
    with pytest.raises(BadImage, match="3 pictures in one file") as error:
        decoded(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert error.value.reason is Fault.ANIMATED
    assert decoded(saved(frames[0], "GIF")).colours[0, 0].tolist() == [255, 0, 0]


def test_a_phone_photo_with_a_second_picture_behind_it_is_one_photo():
    first, second = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (20, 15), "blue")
    picture = decoded(saved(first, "MPO", save_all=True, append_images=[second]))
    assert (picture.header.format, picture.header.width, picture.header.height) == ("jpg", 40, 30)


def test_sixteen_bits_become_eight_and_say_so():
    # 0xFF00 of 0xFFFF is 254 of 255, not the high byte's 255.
    wide = Image.fromarray(np.full((20, 30), 0xFF00, np.uint16))
    picture = decoded(saved(wide, "PNG"))
    assert picture.colours[0, 0].tolist() == [254, 254, 254]
    assert picture.header.bit_depth == 16
    assert not picture.header.is_plain


def test_cmyk_becomes_rgb_and_is_not_plain():
    picture = decoded(saved(Image.new("CMYK", (20, 30), (0, 255, 255, 0)), "JPEG", quality=100))
    assert picture.colours[10, 10].tolist() == pytest.approx([255, 0, 0], abs=4)
    assert picture.header.mode == "CMYK"
    assert not picture.header.is_plain


def test_transparent_pixels_are_counted_and_laid_over_grey():
    pixels = np.zeros((10, 10, 4), np.uint8)
    pixels[:, 4:, 3] = 255
    picture = decoded(saved(Image.fromarray(pixels), "PNG"))
    assert picture.alpha_share == pytest.approx(0.4)
    assert picture.colours[0, 0].tolist() == [128, 128, 128]
    assert picture.colours[0, 9].tolist() == [0, 0, 0]


def test_the_header_notes_the_exif_orientation_beside_the_stored_size():
    image = Image.new("RGB", (40, 30))
    exif = image.getexif()
    exif[0x0112] = 6
    header = read_header(saved(image, "JPEG", exif=exif))
    assert (header.orientation, header.width, header.height) == (6, 40, 30)


def test_the_working_view_is_reduced_and_never_enlarged(photos, encode):
    data = encode(photos["rocket"], "PNG")
    assert decode(data, 10**6, 200).working_gray.shape == (200, 300)
    assert decode(data, 10**6, 1024).working_gray.shape == photos["rocket"].shape[:2]


def test_a_picture_four_times_too_large_becomes_the_means_of_its_squares():
    large = np.random.default_rng(0).integers(0, 256, (200, 320, 3), np.uint8)
    means = large.reshape(50, 4, 80, 4, 3).mean(axis=(1, 3))
    assert np.abs(reduced(large, 50) - means).max() <= 1  # halved twice: rounded twice


def test_a_picture_nearly_twice_too_large_keeps_what_area_averaging_keeps(photos):
    luma = cv2.cvtColor(photos["coffee"], cv2.COLOR_RGB2GRAY)
    small = reduced(luma, 212)  # from 400 px: by 1.89, done as 2 on a doubled picture
    averaged = cv2.resize(luma, (small.shape[1], 212), interpolation=cv2.INTER_AREA)
    assert small.shape == (212, 318)
    assert np.abs(small.astype(float) - averaged).mean() < 0.5
    detail, reference = (cv2.Laplacian(view, cv2.CV_32F).var() for view in (small, averaged))
    assert 0.95 < detail / reference < 1.02
