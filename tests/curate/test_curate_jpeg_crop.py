"""JPEGs cut and turned without decoding: every coefficient is one of the original's."""

from __future__ import annotations

import io
import random
import tempfile
from dataclasses import replace

import jpeglib
import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.ImageOps import exif_transpose

from supir_curate.packing.jpeg_crop import crop, read_coefficients, turn, write_jpeg
from supir_curate.packing.jpeg_stream import NotLosslessError, parse_jpeg

BOX = (64, 32, 192, 128)
KINDS = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "4:2:0, progressive": {"subsampling": 2, "progressive": True},
    "4:2:0, restarts": {"subsampling": 2, "restart_marker_rows": 1},
    "grey": {},
}
INVERSE = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)), np.int16)


@pytest.fixture
def jpeg(photos, encode):
    """A photo of odd size, 301 x 207 px, as a JPEG of a kind."""

    def make(kind: str = "4:2:0", **options: object) -> bytes:
        pixels = photos["coffee"][100:307, 80:381]
        if kind == "grey":
            pixels = np.asarray(Image.fromarray(pixels).convert("L"))
        return encode(pixels, "JPEG", **{"quality": 85, **KINDS[kind], **options})

    return make


def test_a_crop_holds_the_coefficients_of_its_place(jpeg, tmp_path):
    # Read back by jpeglib alone, through its default libjpeg.
    files = {"whole.jpg": jpeg(), "part.jpg": write_jpeg(crop(read_coefficients(jpeg()), BOX))}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    whole, part = (jpeglib.read_dct(str(tmp_path / name)) for name in files)
    assert np.array_equal(part.Y, whole.Y[4:16, 8:24])
    assert np.array_equal(part.Cb, whole.Cb[2:8, 4:12])
    assert np.array_equal(part.Cr, whole.Cr[2:8, 4:12])
    assert np.array_equal(part.qt, whole.qt)


@pytest.mark.parametrize("kind", KINDS)
def test_a_crop_shows_the_pixels_of_its_place(jpeg, kind):
    data = jpeg(kind)
    shown = decoded(write_jpeg(crop(read_coefficients(data), BOX)))
    expected = decoded(data)[BOX[1] : BOX[3], BOX[0] : BOX[2]]
    assert shown.shape == expected.shape
    rim = 1 if "4:2" in kind else 0  # where smooth upsampling of colour looks over the edge
    inner = (slice(rim, shown.shape[0] - rim), slice(rim, shown.shape[1] - rim))
    assert np.array_equal(shown[inner], expected[inner])
    assert shown.std() > 30


def test_a_crop_may_end_with_the_picture(jpeg):
    data = jpeg("4:4:4")
    part = crop(read_coefficients(data), (256, 200, 301, 207))
    assert np.array_equal(decoded(write_jpeg(part)), decoded(data)[200:, 256:])


@pytest.mark.parametrize("kind", ["4:4:4", "4:2:2", "4:2:0", "grey"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_crop_is_the_same_picture_turned(jpeg, kind, orientation):
    part = crop(read_coefficients(jpeg(kind)), BOX)
    stored = write_jpeg(turn(part, orientation))
    upright = Image.open(io.BytesIO(write_jpeg(part)))
    upright.getexif()[0x0112] = orientation
    difference = np.abs(decoded(stored) - np.asarray(exif_transpose(upright), np.int16))
    assert difference.mean() < 0.25  # of rounding; a wrong sign or block costs ten times that and more
    assert difference.max() <= 6
    back = turn(read_coefficients(stored), INVERSE[orientation])
    assert back.sampling == part.sampling
    for ours, theirs in zip((*back.blocks, *back.tables), (*part.blocks, *part.tables), strict=True):
        assert np.array_equal(ours, theirs)


def test_tables_of_each_component_stay_its_own(jpeg):
    part = crop(read_coefficients(jpeg()), BOX)
    tables = tuple(np.arange(1, 65, dtype=np.uint16).reshape(8, 8) + 200 * number for number in range(3))
    back = read_coefficients(write_jpeg(replace(part, tables=tables)))
    for ours, theirs in zip(back.tables, tables, strict=True):
        assert np.array_equal(ours, theirs)  # the third's steps need 16 bits


def test_the_profile_stays_and_the_place_of_the_photo_goes(jpeg):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + bytes(
        70_000
    )  # two segments
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N-secret"
    data = jpeg(icc_profile=profile, exif=exif, comment=b"a comment")
    assert b"N-secret" in data
    stored = write_jpeg(crop(read_coefficients(data), BOX))
    assert Image.open(io.BytesIO(stored)).info["icc_profile"] == profile
    assert b"N-secret" not in stored
    assert b"a comment" not in stored


def test_a_second_picture_behind_the_first_is_left_out(jpeg):
    data = jpeg()
    assert parse_jpeg(data + jpeg("grey")).data == parse_jpeg(data).data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-2], "no end marker"),
        (lambda data: data[: len(data) // 60], "runs past the end|no segment"),
        (lambda data: b"RIFF" + data, "no start marker"),
        (
            lambda data: data.replace(b"\xff\xc0", b"\xff\xc3"),
            "segment 0xc3 is not cut",
        ),  # Huffman-coded, lossless
        (
            lambda data: data.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"),
            "3 components of 12 bits",
        ),
        (lambda data: data.replace(b"\x01\x22\x00", b"\x01\x33\x00"), "sampling factors"),
        (lambda data: data.replace(b"\xff\xdb\x00\x43\x00", b"\xff\xdb\x00\x43\x07"), "quantisation table"),
        (lambda data: data.replace(b"\xff\xc4\x00\x1f\x00", b"\xff\xc4\x00\x1f\x08", 1), "Huffman table"),
    ],
)
def test_what_only_a_decoder_should_judge_is_refused(jpeg, change, message):
    with pytest.raises(NotLosslessError, match=message):
        read_coefficients(change(jpeg()))


def test_red_green_and_blue_components_and_four_of_them_are_refused(photos, encode):
    with pytest.raises(NotLosslessError, match="RGB, not YCbCr"):
        parse_jpeg(encode(photos["coffee"], "JPEG", keep_rgb=True))
    cmyk = io.BytesIO()
    Image.new("CMYK", (64, 64)).save(cmyk, "JPEG")
    with pytest.raises(NotLosslessError, match="4 components of 8 bits, 64x64 px"):
        parse_jpeg(cmyk.getvalue())


@pytest.mark.parametrize("factors", [0x00, 0x05, 0x51, 0xFF])
def test_a_sampling_factor_that_no_jpeg_has_is_refused_for_grey_too(jpeg, factors):
    grey = jpeg("grey")
    place = grey.index(b"\xff\xc0") + 11
    with pytest.raises(NotLosslessError, match="sampling factors"):
        read_coefficients(grey[:place] + bytes([factors]) + grey[place + 1 :])


def test_an_edge_off_the_grid_and_an_odd_mirrored_side_are_refused(jpeg):
    whole = read_coefficients(jpeg())
    with pytest.raises(NotLosslessError, match="72,32 is not on the grid of 16x16 px"):
        crop(whole, (72, 32, 200, 160))
    for orientation in (4, 6):
        with pytest.raises(NotLosslessError, match="207 px is no multiple of 16"):
            turn(whole, orientation)
    assert turn(whole, 5).width == 207  # mirrored along its diagonal only: nothing is in the way


def test_damaged_files_are_refused_or_cut_and_never_end_the_process(jpeg, tmp_path, monkeypatch):
    monkeypatch.setattr(
        tempfile, "tempdir", str(tmp_path)
    )  # jpeglib leaves its file behind when libjpeg gives up
    rng, outcomes = random.Random(0), []
    files = [jpeg(kind) for kind in ("4:2:0", "4:2:0, progressive", "grey")]
    for number in range(120):
        data = bytearray(files[number % 3])
        for _ in range(rng.choice((1, 3))):
            data[rng.randrange(min(700, len(data)) if number % 2 else len(data))] = rng.randrange(256)
        try:
            part = crop(read_coefficients(bytes(data)), (0, 0, 64, 64))
            outcomes.append(decoded(write_jpeg(part)).shape[:2] == (64, 64))
        except NotLosslessError:
            outcomes.append(False)
    assert 30 < sum(outcomes) < 110
