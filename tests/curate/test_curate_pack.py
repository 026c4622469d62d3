"""Packing one picture: it stands upright, and keeps its bytes wherever every reader shows them alike."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image, ImageCms, JpegImagePlugin
from PIL.ImageOps import exif_transpose

from supir_curate.config import PackConfig
from supir_curate.packing.pack import make_samples
from supir_curate.scores import SCORE_NAMES
from supir_curate.sources.originals import Original
from supir_images import from_pillow
from supir_images.decoding import UNUSABLE_PROFILE
from supir_images.orientation import upright
from supir_shards import Role

TEXTURE = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)


def original(photo: np.ndarray, orientation: int) -> Original:
    image = Image.fromarray(photo)
    exif = image.getexif()
    exif[0x0112] = orientation
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=95, exif=exif)
    return Original(row=0, url="file:photo.jpg", data=sink.getvalue())


def ledger_row(data: bytes) -> dict[str, object]:
    width, height = Image.open(io.BytesIO(data)).size
    sha256 = hashlib.sha256(data).hexdigest()
    scores = {f"score.{name}": 0.5 for name in SCORE_NAMES}
    shape = {"width": width, "height": height, "texture_rows": 2, "texture_cols": 3}
    return {"key": sha256[:32], "sha256": sha256, "texture": TEXTURE.tobytes(), **shape, **scores}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_turn_as_an_independent_reader_turns_them(orientation: int, photos):
    stored = photos["rocket"]
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    assert np.array_equal(upright(stored, orientation), np.asarray(exif_transpose(image)))


def test_a_turned_photo_is_stored_upright_with_its_texture_map(photos):
    turned = original(photos["rocket"], 6)
    (sample,) = make_samples(turned, ledger_row(turned.data), Role.PHOTO, PackConfig())
    stored = Image.open(io.BytesIO(sample.image))
    shown = np.asarray(exif_transpose(Image.open(io.BytesIO(turned.data))), np.int16)
    assert (sample.width, sample.height) == stored.size == photos["rocket"].shape[:2]
    assert stored.getexif().get(0x0112, 1) == 1
    assert np.abs(np.asarray(stored, np.int16) - shown).mean() < 1.0  # one more JPEG, quality 97
    assert np.frombuffer(sample.texture, np.uint8).reshape(sample.texture_shape).tolist() == [
        [40, 10],
        [50, 20],
        [60, 30],
    ]
    assert sample.origin.reencoded is True


def scaled(table: list[int], quality: int) -> list[int]:
    """A table of the JPEG standard (annex K) at a quality above 50, by the formula of the Independent JPEG Group."""
    return [max(1, (step * (200 - 2 * quality) + 50) // 100) for step in table]


# Annex K.1, first row and column alone tell luma from chroma; row by row.
LUMA_ROW, CHROMA_ROW = [16, 11, 10, 16, 24, 40, 51, 61], [17, 18, 24, 47, 99, 99, 99, 99]


@pytest.mark.parametrize("quality", [97, 90])
def test_an_encoded_photo_has_the_quality_and_the_full_colour_that_it_should(photos, quality):
    turned = original(photos["rocket"], 3)
    (sample,) = make_samples(turned, ledger_row(turned.data), Role.PHOTO, PackConfig(jpeg_quality=quality))
    stored = Image.open(io.BytesIO(sample.image))
    assert stored.quantization[0][:8] == scaled(LUMA_ROW, quality)
    assert stored.quantization[1][:8] == scaled(CHROMA_ROW, quality)
    assert JpegImagePlugin.get_sampling(stored) == 0  # 4:4:4


def exchanged_profile() -> bytes:
    """An sRGB profile that says: what is stored as red is green, and the other way round."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return srgb.replace(b"rXYZ", b"----").replace(b"gXYZ", b"rXYZ").replace(b"----", b"gXYZ")


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_an_encoded_photo_is_brought_to_srgb(photos, mode):
    image = Image.fromarray(photos["rocket"])
    image = image.quantize(256) if mode == "P" else image.convert("RGBA")
    shown = np.asarray(image.convert("RGB"), np.int16)
    sink = io.BytesIO()
    image.save(sink, "PNG", icc_profile=exchanged_profile())
    tagged = Original(row=0, url="file:a.png", data=sink.getvalue())
    (sample,) = make_samples(tagged, ledger_row(tagged.data), Role.PHOTO, PackConfig())
    stored = Image.open(io.BytesIO(sample.image))
    assert "icc_profile" not in stored.info
    assert np.abs(np.asarray(stored, np.int16) - shown[..., [1, 0, 2]]).mean() < 2.0  # one JPEG, quality 97
    assert sample.origin.converted_to_srgb is True
    assert sample.origin.icc_profile == "sRGB built-in"


@pytest.mark.parametrize("profile", [b"no profile", None])
def test_a_profile_that_cannot_be_used_changes_nothing(photos, profile):
    sink = io.BytesIO()
    Image.fromarray(photos["rocket"]).convert("RGBA").save(sink, "PNG", icc_profile=profile)
    odd = Original(row=0, url="file:a.png", data=sink.getvalue())
    (sample,) = make_samples(odd, ledger_row(odd.data), Role.PHOTO, PackConfig())
    stored = np.asarray(Image.open(io.BytesIO(sample.image)), np.int16)
    assert np.abs(stored - photos["rocket"]).mean() < 2.0
    assert sample.origin.converted_to_srgb is False
    assert sample.origin.icc_profile == ((profile and "unreadable") or "")


def test_a_profile_of_other_channels_than_the_picture_changes_nothing():
    gray = Image.new("L", (64, 64), 77)
    gray.info["icc_profile"] = exchanged_profile()
    found = from_pillow(gray)
    assert found.rgb.max() == found.rgb.min() == 77
    assert found.notes == (UNUSABLE_PROFILE,)


def test_a_photo_that_keeps_its_bytes_keeps_its_profile(photos):
    sink = io.BytesIO()
    Image.fromarray(photos["rocket"]).save(sink, "JPEG", icc_profile=exchanged_profile())
    plain = Original(row=0, url="file:a.jpg", data=sink.getvalue())
    (sample,) = make_samples(plain, ledger_row(plain.data), Role.PHOTO, PackConfig())
    assert sample.image == plain.data
    assert sample.origin.converted_to_srgb is False
    assert sample.origin.icc_profile == "sRGB built-in"


def test_an_upright_photo_keeps_its_bytes_and_every_score_that_is_known(photos):
    plain = original(photos["rocket"], 1)
    row = ledger_row(plain.data) | {
        "score.musiq": 61.5,
        "score.niqe": None,
        "score.jpeg_quality": float("nan"),
    }
    (sample,) = make_samples(plain, row, Role.PHOTO, PackConfig())
    assert sample.scores["musiq"] == 61.5
    assert sample.scores.keys() == {*SCORE_NAMES, "musiq"} - {"jpeg_quality"}
    assert sample.image == plain.data
    assert sample.texture == TEXTURE.tobytes()
    assert (sample.origin.is_original, sample.origin.reencoded) == (True, False)


def test_a_turned_photo_with_sides_on_the_grid_is_turned_without_loss(photos):
    turned = original(photos["rocket"][:416], 6)  # 4:2:0: units of 16 px
    (sample,) = make_samples(turned, ledger_row(turned.data), Role.PHOTO, PackConfig())
    stored = Image.open(io.BytesIO(sample.image))
    shown = np.asarray(exif_transpose(Image.open(io.BytesIO(turned.data))), np.int16)
    assert stored.size == (sample.width, sample.height) == (416, 640)
    assert np.abs(np.asarray(stored, np.int16) - shown).mean() < 0.25  # of rounding
    assert stored.getexif().get(0x0112, 1) == 1
    assert (sample.origin.is_original, sample.origin.reencoded) == (False, False)


def test_a_turned_photo_off_the_grid_is_encoded_and_says_why(photos):
    turned = original(photos["rocket"], 6)
    (sample,) = make_samples(turned, ledger_row(turned.data), Role.PHOTO, PackConfig())
    assert sample.origin.reencoded is True
    assert sample.origin.not_lossless == "a side of 427 px is no multiple of 16 and would have to be mirrored"
