"""What a file is follows from its first bytes; what a listing counts from its name."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from supir_images import formats
from supir_images.formats import KINDS, how_to_read, is_readable, kind_of, kind_of_suffix, readable_suffixes


def saved(name: str, **options: object) -> bytes:
    if name == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    if name == "JXL":
        import pillow_jxl  # noqa: F401 - the import registers it
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, name, **options)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("pillow_name", "kind"),
    [
        ("JPEG", "jpg"),
        ("MPO", "jpg"),
        ("PNG", "png"),
        ("WEBP", "webp"),
        ("GIF", "gif"),
        ("BMP", "bmp"),
        ("DIB", None),  # a bitmap without its file header is no file that is met
        ("TIFF", "tiff"),
        ("AVIF", "avif"),
        ("HEIF", "heic"),
        ("JXL", "jxl"),
        ("JPEG2000", "jp2"),
        ("PPM", None),
    ],
)
def test_what_each_encoder_writes_is_told_by_its_first_bytes(pillow_name: str, kind: str | None) -> None:
    data = saved(pillow_name)
    assert kind_of(data) == kind
    assert kind_of(data[: formats.HEAD_BYTES]) == kind


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"MM\0*\0\0\0\x08", "tiff"),
        (b"II+\0\x08\0\0\0", "tiff"),
        (b"\xff\x0a\xfa", "jxl"),
        (b"\xff\x4f\xff\x51", "jp2"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "avif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "heic"),
        (b"\0\0\0\x18ftypheix\0\0\0\0mif1heix", "heic"),
        (b"\0\0\0\x14ftypisom\0\0\0\0mp42", None),
        (b"\0\0\0\x10ftypisom\0\0\0\0avif", None),  # the brand lies outside the box
        (b"\xff\xd8\x00\x00", None),
        (b"BMW is a car, not a bitmap", None),
        (b"", None),
        (b"\xff", None),
        (b"<svg xmlns=", None),
        (b"%PDF-1.7", None),
    ],
)
def test_other_heads(head: bytes, kind: str | None) -> None:
    assert kind_of(head) == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jpg", "jpg"),
        ("A.JPEG", "jpg"),
        ("a.jpe", "jpg"),
        ("saved from the web.jfif", "jpg"),
        ("DSCF.mpo", "jpg"),
        ("IMG_1.HEIC", "heic"),
        ("a.heif", "heic"),
        ("a.avif", "avif"),
        ("a.jxl", "jxl"),
        ("a.tif", "tiff"),
        ("a.dots.TIFF", "tiff"),
        ("a.jp2", "jp2"),
        ("a.NEF", "raw"),
        ("a.psd", "other"),
        (".jpg", "jpg"),
        ("jpg", None),
        ("a.txt", None),
        ("a.jpg.part", None),
        ("a.", None),
    ],
)
def test_a_name_tells_what_to_count(name: str, kind: str | None) -> None:
    assert kind_of_suffix(name) == kind


def test_what_cannot_be_read_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert how_to_read("jpg") == ""
    assert (is_readable("raw"), how_to_read("raw")) == (
        False,
        "camera raw: export as JPEG, PNG or TIFF first",
    )
    monkeypatch.setattr(formats, "find_spec", lambda _name: None)
    is_readable.cache_clear()
    try:
        assert how_to_read("heic") == "pip install 'supir-stack[formats]'"
        assert how_to_read("jxl") == "pip install 'supir-stack[formats]'"
        assert ".heic" not in readable_suffixes()
        assert ".jfif" in readable_suffixes()
    finally:
        is_readable.cache_clear()


def test_every_kind_that_has_no_reader_or_an_optional_one_has_a_remedy_and_no_suffix_has_two_kinds() -> None:
    optional = [kind for kind in KINDS.values() if kind.module or kind.feature or not kind.has_reader]
    assert all(kind.remedy for kind in optional)
    suffixes = [suffix for kind in KINDS.values() for suffix in kind.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in suffixes)
