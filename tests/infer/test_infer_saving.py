"""Results as files: every kind holds pixels, transparency, origin and what the photo says about itself."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from supir_infer.description import IPTC_TAG, iptc_of, origin_in, packet_with, xmp_of
from supir_infer.images import read_picture
from supir_infer.raw_profiles import photoshop_resource, raw_profile
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
        if suffix != ".webp":  # which has no room for it: it stands in the XMP
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


def in_png(path: Path, **chunks: str | bytes) -> None:
    info = PngImagePlugin.PngInfo()
    for name, value in chunks.items():
        text = value if isinstance(value, str) else hexed(name, value)
        info.add_itxt(f"Raw profile type {name}", text) if name == "APP13" else info.add_text(
            f"Raw profile type {name}", text, zip=name == "iptc"
        )
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)


def hexed(name: str, content: bytes) -> str:
    """As ImageMagick writes a profile, but all digits in one line."""
    return f"\n{name}\n{len(content):8d}\n{content.hex()}\n"


def behind_the_pixels(path: Path, **chunks: str | bytes) -> None:
    in_png(path, **chunks)
    data = path.read_bytes()
    begin = data.index(b"zTXt") - 4
    end = begin + 12 + struct.unpack_from(">I", data, begin)[0]
    path.write_bytes(data[:begin] + data[end:-12] + data[begin:end] + data[-12:])


def tagged(path: Path, tag: int, value: bytes, field_type: int = 7) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.tagtype[tag], tags[tag] = field_type, value
    Image.new("RGB", (8, 8)).save(path, tiffinfo=tags)


def in_exif(path: Path) -> None:
    exif = Image.Exif()
    exif[IPTC_TAG] = IPTC
    Image.new("RGB", (8, 8)).save(path, exif=exif)


OTHER_RESOURCE = b"8BIM" + struct.pack(">H", 0x03ED) + b"\x04name\0" + struct.pack(">I", 3) + b"abc\0"
RESOURCES = photoshop_resource(IPTC).removeprefix(b"Photoshop 3.0\0")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("ours.png", lambda path: in_png(path, iptc=raw_profile(IPTC))),
        ("bare.png", lambda path: in_png(path, iptc=IPTC)),
        ("8bim.png", lambda path: in_png(path, **{"8bim": OTHER_RESOURCE + RESOURCES})),
        ("segment.png", lambda path: in_png(path, APP13=photoshop_resource(IPTC))),
        ("late.png", lambda path: behind_the_pixels(path, iptc=raw_profile(IPTC))),
        ("exif.png", in_exif),
        ("exif.webp", in_exif),
        ("tag.tif", lambda path: tagged(path, IPTC_TAG, IPTC)),
        ("photoshop.tif", lambda path: tagged(path, 34377, OTHER_RESOURCE + RESOURCES)),
        ("bytes.tif", lambda path: tagged(path, 34377, OTHER_RESOURCE + RESOURCES, field_type=1)),
    ],
)
def test_iptc_is_found_wherever_programs_put_it_and_goes_on_into_a_png(tmp_path, name, write):
    write(tmp_path / name)
    picture = read_picture(tmp_path / name)
    assert (picture.description.iptc, picture.notes) == (IPTC, ())
    write_picture(tmp_path / "out.png", np.zeros((8, 8, 3), np.uint8), None, ORIGIN, picture.description)
    with Image.open(tmp_path / "out.png") as image:
        lines = image.text["Raw profile type iptc"].split("\n")
        assert lines[:3] == ["", "iptc", f"{len(RESOURCES):8d}"]
        assert bytes.fromhex("".join(lines[3:])) == RESOURCES


def test_xmp_in_a_raw_profile_is_carried_and_exif_beside_it_is_no_xmp(tmp_path):
    for name, content in {"xmp": b"", "APP1": b"http://ns.adobe.com/xap/1.0/\0"}.items():
        in_png(tmp_path / f"{name}.png", **{name: content + PACKET.encode()})
        picture = read_picture(tmp_path / f"{name}.png")
        assert b">Ann<" in picture.description.xmp
    in_png(tmp_path / "exif.png", APP1=b"Exif\0\0" + Image.Exif().tobytes())
    picture = read_picture(tmp_path / "exif.png")
    assert (picture.description.xmp, picture.notes) == (b"", ())


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ("\niptc\n       4\nzz zz\n", "damaged (a raw profile that is no hex digits)"),
        ("\niptc\n       4\n1c02\n", "damaged (a raw profile of 4 bytes that has 2)"),
        (hexed("iptc", RESOURCES[:-8]), "damaged (a resource of"),
        (hexed("iptc", b"8BIM\x04"), "damaged (a resource is cut off at 5 bytes)"),
        (hexed("iptc", dataset(120, "x" * 40_000)), "40005 bytes, more than 32767"),
    ],
)
def test_a_damaged_profile_costs_a_note_and_not_the_picture(tmp_path, profile, words):
    in_png(tmp_path / "a.png", iptc=profile)
    picture = read_picture(tmp_path / "a.png")
    assert picture.description.iptc == b""
    (note,) = picture.notes
    assert note.startswith(f"IPTC not carried over: {words}")
