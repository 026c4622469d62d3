"""Packing one picture: it stands upright, and keeps its bytes wherever every reader shows them alike."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image
from PIL.ImageOps import exif_transpose

from supir_curate.config import PackConfig
from supir_curate.originals import Original
from supir_curate.pack import make_sample
from supir_curate.scores import SCORE_NAMES
from supir_curate.upright import upright

TEXTURE = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)


def original(photo: np.ndarray, orientation: int) -> Original:
    image = Image.fromarray(photo)
    exif = image.getexif()
    exif[0x0112] = orientation
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=95, exif=exif)
    return Original(row=0, url="file:photo.jpg", data=sink.getvalue())


def ledger_row(data: bytes) -> dict[str, object]:
    scores = {f"score.{name}": 0.5 for name in SCORE_NAMES}
    shape = {"texture_rows": 2, "texture_cols": 3}
    return {"key": hashlib.sha256(data).hexdigest()[:32], "texture": TEXTURE.tobytes(), **shape, **scores}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_turn_as_an_independent_reader_turns_them(orientation: int, photos):
    stored = photos["rocket"]
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    assert np.array_equal(upright(stored, orientation), np.asarray(exif_transpose(image)))


def test_a_turned_photo_is_stored_upright_with_its_texture_map(photos):
    turned = original(photos["rocket"], 6)
    sample = make_sample(turned, ledger_row(turned.data), PackConfig())
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
    assert sample.metadata["reencoded"] is True


def test_an_upright_photo_keeps_its_bytes(photos):
    plain = original(photos["rocket"], 1)
    sample = make_sample(plain, ledger_row(plain.data), PackConfig())
    assert sample.image == plain.data
    assert sample.texture == TEXTURE.tobytes()
    assert sample.metadata["reencoded"] is False
