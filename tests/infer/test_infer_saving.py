"""Results as files: every kind holds pixels, transparency, origin and what the photo says about itself."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from supir_infer.description import iptc_of, origin_in, packet_with, photoshop_resource, xmp_of
from supir_infer.images import read_picture
from supir_infer.saving import FORMAT_OF, read_metadata, require_room, write_picture

PACKET = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
 xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 tiff:Orientation="6" crs:Exposure2012="+1.5" xmp:Rating="4">
<dc:creator><rdf:Seq><rdf:li>Ann</rdf:li></rdf:Seq></dc:creator>
<xmp:Thumbnails><rdf:Alt><rdf:li>small</rdf:li></rdf:Alt></xmp:Thumbnails>
</rdf:Description></rdf:RDF></x:xmpmeta>"""
ORIGIN = {"caption": "a café\u0007 \ufffe", "notes": [], "seed": 3}


def dataset(number: int, value: str, encoding: str = "latin-1") -> bytes:
    data = value.encode(encoding)
    return struct.pack(">BBBH", 0x1C, 2, number, len(data)) + data


IPTC = dataset(5, "Old boat") + dataset(25, "boat") + dataset(25, "lake") + dataset(80, "Bob")
IPTC += dataset(120, "Café am See") + dataset(55, "19870704")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JPEG that lies on its side and says in EXIF, XMP and IPTC what it is."""
    path = tmp_path_factory.mktemp("photo") / "a.jpg"
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Pentax"
    exif.get_ifd(0x8769)[0x9003] = "2009:08:07 06:05:04"
    exif.get_ifd(0x8825)[1] = "N"
    content = photoshop_resource(IPTC)
    segment = b"\xff\xed" + struct.pack(">H", 2 + len(content)) + content
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    Image.fromarray(pixels).save(path, exif=exif, xmp=PACKET.encode(), extra=segment, dpi=(300, 240))
    return path


@pytest.mark.parametrize("suffix", sorted(FORMAT_OF))
def test_every_kind_of_result_carries_its_origin_and_what_the_photo_says(tmp_path, photo, suffix):
    picture = read_picture(photo)
    pixels = np.full((40, 24, 3), (200, 100, 50), np.uint8)
    path = tmp_path / f"b{suffix}"
    write_picture(path, pixels, None, ORIGIN, picture.description, quality=90)
    assert read_metadata(path) == ORIGIN
    with Image.open(path) as image:
        image.load()
        assert np.abs(np.asarray(image).astype(int) - pixels).max() <= 2
        exif = image.getexif()
        assert (exif[0x010F], 0x0112 in exif) == ("Pentax", False)
        assert exif.get_ifd(0x8769) == {0x9003: "2009:08:07 06:05:04"}
        assert exif.get_ifd(0x8825) == {1: "N"}
        if suffix != ".webp":
            assert image.info["dpi"] == pytest.approx((300, 240), abs=0.1)
        said = xmp_of(image).decode()
        if suffix not in (".png", ".webp"):
            assert iptc_of(image) == IPTC
    assert ">Ann<" in said
    assert 'Rating="4"' in said
    for words in (">Old boat<", ">boat<", ">lake<", ">Café am See<", ">1987-07-04<"):
        assert words in said
    for gone in ("Orientation", "Exposure2012", "Thumbnails", ">Bob<"):  # XMP names the creator itself
        assert gone not in said
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_are_read_back_as_written_by_us_and_by_others(tmp_path, photo, suffix, channels):
    levels = np.random.default_rng(1).integers(0, 65536, (9, 7, channels), np.uint16)
    path = tmp_path / f"deep{suffix}"
    alpha = levels[..., 3] if channels == 4 else None
    write_picture(path, levels[..., :3], alpha, ORIGIN, read_picture(photo).description)
    theirs = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(theirs[..., :3], levels[..., 2::-1])
    ours = read_picture(path)
    visible = np.ones((9, 7), bool) if alpha is None else alpha > 0
    assert np.array_equal(np.round(ours.rgb * 65535)[visible], levels[..., :3][visible])
    if alpha is not None:
        assert ours.alpha is not None
        assert np.array_equal(np.round(ours.alpha * 65535), alpha)
    assert read_metadata(path) == ORIGIN


def test_what_a_kind_cannot_hold_is_said_with_what_can():
    clear = np.array([[1.0, 0.5]], np.float32)
    with pytest.raises(ValueError, match=r"partly transparent, which JPEG cannot hold; use --format png"):
        require_room("jpg", (2, 1), clear)
    with pytest.raises(ValueError, match=r"webp holds sides of at most 16383 px, the result has 20000x5"):
        require_room("webp", (20000, 5), None)
    require_room("jpg", (2, 1), np.ones((1, 2), np.float32))
    require_room("webp", (2, 1), clear)
    require_room("png", (70000, 1), clear)


def test_a_description_too_long_for_a_jpeg_is_left_out_with_a_note(tmp_path):
    long = packet_with(b"", dataset(120, "word " * 6000) + dataset(105, "line " * 6000), None)
    from supir_infer.saving import Description

    write_picture(tmp_path / "a.jpg", np.zeros((8, 8, 3), np.uint8), None, ORIGIN, Description(xmp=long * 1))
    assert read_metadata(tmp_path / "a.jpg") == ORIGIN
    longer = long.replace(b"line ", b"l" * 12)
    write_picture(tmp_path / "b.jpg", np.zeros((8, 8, 3), np.uint8), None, ORIGIN, Description(xmp=longer))
    metadata = read_metadata(tmp_path / "b.jpg")
    assert metadata is not None
    assert metadata["notes"][0].startswith("XMP not carried over: ")


@pytest.mark.parametrize(
    "packet",
    [
        b"no xml",
        b"<x/>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><x:xmpmeta xmlns:x="adobe:ns:meta/">&a;</x:xmpmeta>',
        PACKET.encode("utf-16"),
    ],
)
def test_xmp_that_is_none_costs_a_note_and_not_the_picture(tmp_path, packet):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", xmp=packet)
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.description.xmp == b""
    assert [note.partition(":")[0] for note in picture.notes] == ["XMP not carried over"]
    assert origin_in(packet) is None
