from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from skimage import data

from supir_console import UserError
from supir_infer import images, whole_file
from supir_infer.images import ImageError, picture_size, read_picture, resize
from supir_infer.listing import list_pictures
from supir_infer.plan import find_jobs
from supir_infer.saving import read_metadata, write_picture


@pytest.fixture(scope="module")
def coffee() -> np.ndarray:
    return data.coffee()[100:148, 200:280]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_exif_orientation_is_applied_to_pixels_and_to_the_header_size(tmp_path, coffee, suffix):
    path = tmp_path / f"a.{suffix}"
    turned = Image.fromarray(np.rot90(coffee))  # stored lying, to be shown upright
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(path, exif=exif)
    assert picture_size(path) == (80, 48)
    assert np.array_equal(images.to_bytes(read_picture(path).rgb), coffee)


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
        (b"plain text", "no kind of picture that is known"),
        (b"", "no kind of picture that is known"),
        ("cut", "truncated"),
    ],
)
def test_a_bad_file_says_its_name_and_why(tmp_path, coffee, content, reason):
    buffer = io.BytesIO()
    Image.fromarray(coffee).save(buffer, "JPEG")
    (tmp_path / "x.jpg").write_bytes(buffer.getvalue()[:900] if content == "cut" else content)
    with pytest.raises(ImageError, match=rf"x\.jpg: .*{reason}"):
        read_picture(tmp_path / "x.jpg")


@pytest.mark.parametrize(("dtype", "kind"), [(np.float32, "float"), (np.int32, "integer")])
def test_pixels_without_a_range_are_refused(tmp_path, dtype, kind):
    Image.fromarray(np.full((8, 8), 200, dtype=dtype)).save(tmp_path / "x.tif")
    with pytest.raises(ImageError, match=rf"x\.tif: 32-bit {kind} pixels have no agreed range; save"):
        read_picture(tmp_path / "x.tif")


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_profile_of_sixteen_bit_grey_is_applied(tmp_path, name):
    values = np.linspace(0, 65535, 4096).astype(np.uint16).reshape(64, 64)
    Image.fromarray(values).save(tmp_path / name, icc_profile=linear_grey_profile())
    picture = read_picture(tmp_path / name)
    light = values / 65535
    srgb = np.where(light < 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(picture.rgb - srgb[..., None])[light > 0.05].max() < 1.5 / 255
    assert len(np.unique(picture.rgb)) > 2000
    assert picture.notes == ()
    Image.fromarray(values).save(tmp_path / name, icc_profile=b"none")
    picture = read_picture(tmp_path / name)
    assert picture.notes == ("ICC profile unreadable or for another mode: pixels taken as sRGB",)
    assert picture.rgb[..., 0] == pytest.approx(light, abs=1e-6)


def linear_grey_profile() -> bytes:
    """A version 2.4 ICC profile of grey with gamma 1 and the white point D50."""
    white = struct.pack(">iii", 63190, 65536, 54061)
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(79),
        b"wtpt": b"XYZ " + bytes(4) + white,
        b"kTRC": b"curv" + bytes(4) + struct.pack(">IH", 1, 256) + bytes(2),
    }
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4xI", start + len(body), 0x02400000) + b"mntrGRAYXYZ " + bytes(12) + b"acsp"
    return (head + bytes(28) + white).ljust(128, b"\0") + table + body


def test_the_transparent_value_of_a_sixteen_bit_png_becomes_alpha(tmp_path):
    values = np.full((8, 8), 30000, dtype=np.uint16)
    values[0, 0] = 40000
    Image.fromarray(values).save(tmp_path / "a.png", transparency=40000)
    alpha = read_picture(tmp_path / "a.png").alpha
    assert alpha is not None
    assert (alpha[0, 0], alpha.sum()) == (0, 63)


def test_what_a_photo_says_about_itself_is_carried_but_not_its_turn_or_thumbnail(tmp_path, coffee):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0132] = 6, "Pentax", "2009:08:07 06:05:04"
    exif.get_ifd(0x8769).update({0x9003: "2009:08:07 06:05:04", 0x927C: b"private", 0xA002: 80})
    exif.get_ifd(0x8825)[1] = "N"
    exif_bytes = with_thumbnail(exif.tobytes())
    Image.fromarray(coffee).save(tmp_path / "a.jpg", exif=exif_bytes, dpi=(300, 240))
    picture = read_picture(tmp_path / "a.jpg")
    write_picture(tmp_path / "b.png", images.to_bytes(picture.rgb), None, {}, picture.description)
    with Image.open(tmp_path / "b.png") as image:
        assert image.size == (48, 80)  # turned upright, once
        assert image.info["dpi"] == pytest.approx((300, 240), abs=0.1)
        carried = image.getexif()
        assert {tag: carried[tag] for tag in carried if tag < 0x8000} == {
            0x010F: "Pentax",
            0x0132: "2009:08:07 06:05:04",
        }
        assert dict(carried.get_ifd(0x8769)) == {0x9003: "2009:08:07 06:05:04"}
        assert dict(carried.get_ifd(0x8825)) == {1: "N"}
    assert b"THUMBNAIL" in (tmp_path / "a.jpg").read_bytes()
    assert b"THUMBNAIL" not in (tmp_path / "b.png").read_bytes()
    assert picture.notes == ()


def with_thumbnail(block: bytes) -> bytes:
    """The EXIF block with a second directory that points at thumbnail bytes."""
    order = "<" if block[6:8] == b"II" else ">"
    tiff = bytearray(block[6:])
    (count,) = struct.unpack_from(order + "H", tiff, 8)
    struct.pack_into(order + "I", tiff, 10 + 12 * count, len(tiff))
    data_at = len(tiff) + 2 + 24 + 4
    entries = [(0x0201, 4, 1, data_at), (0x0202, 4, 1, 9)]
    tiff += struct.pack(order + "H", 2) + b"".join(struct.pack(order + "HHII", *entry) for entry in entries)
    return block[:6] + bytes(tiff) + bytes(4) + b"THUMBNAIL"


def test_a_block_that_is_too_large_is_noted_and_a_picture_without_one_gets_none(tmp_path, coffee):
    exif = Image.Exif()
    exif[0x010E] = "long " * 20000
    Image.fromarray(coffee).save(tmp_path / "a.png", exif=exif, dpi=(0, 0))
    picture = read_picture(tmp_path / "a.png")
    assert (picture.description.exif, picture.description.dpi) == (b"", None)
    assert "EXIF not carried over: 100" in picture.notes[0]
    Image.fromarray(coffee).save(tmp_path / "b.tif", compression="tiff_lzw")
    assert read_picture(tmp_path / "b.tif").description.exif == b""


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "I;16", "RGBA", "CMYK"])
def test_a_thumbnail_is_the_picture_made_small(tmp_path, coffee, mode):
    if mode == "I;16":
        image = Image.fromarray(coffee[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(coffee).convert(mode)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.tif", exif=exif)
    small = images.read_thumbnail(tmp_path / "a.tif", 40)
    assert small.shape == (40, 24, 3)
    whole = images.to_bytes(resize(read_picture(tmp_path / "a.tif").rgb, (24, 40)))
    assert np.abs(small.astype(int) - whole).mean() < (25 if mode == "P" else 3)  # a palette is not averaged
    assert images.read_thumbnail(tmp_path / "a.tif", 4000).shape == (80, 48, 3)


def test_resize_matches_pillow_on_bytes_and_never_leaves_the_range(coffee):
    ours = resize(coffee.astype(np.float32) / 255, (37, 91))
    theirs = np.asarray(Image.fromarray(coffee).resize((37, 91), Image.Resampling.BICUBIC)) / 255
    assert np.abs(ours - theirs).max() < 1.01 / 255
    assert 0 <= ours.min() <= ours.max() <= 1


def test_a_written_png_carries_alpha_and_metadata(tmp_path, coffee):
    alpha = np.full(coffee.shape[:2], 77, dtype=np.uint8)
    write_picture(tmp_path / "deep" / "a.png", coffee, alpha, {"caption": "café", "seed": 3})
    image = Image.open(tmp_path / "deep" / "a.png")
    assert image.mode == "RGBA"
    assert np.array_equal(np.asarray(image)[..., :3], coffee)
    assert np.asarray(image)[2, 2, 3] == 77
    assert read_metadata(tmp_path / "deep" / "a.png") == {"caption": "café", "seed": 3}


def test_a_write_that_fails_leaves_neither_file_nor_temporary(tmp_path, coffee, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(whole_file.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_picture(tmp_path / "a.png", coffee, None, {})
    assert list(tmp_path.iterdir()) == []


def test_metadata_of_a_foreign_or_damaged_file_is_none(tmp_path, coffee):
    Image.fromarray(coffee).save(tmp_path / "foreign.png")
    (tmp_path / "damaged.png").write_bytes(Path(tmp_path / "foreign.png").read_bytes()[:200])
    assert read_metadata(tmp_path / "foreign.png") is None
    assert read_metadata(tmp_path / "damaged.png") is None


def test_a_folder_s_pictures_are_known_by_name_or_bytes_and_the_rest_is_counted(tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 8), "red")
    for name in (
        "a.jpg",
        "b.jfif",
        "photo",
        "c.dat",
        ".thumbnails/a.jpg",
        "@eaDir/a.jpg",
        "._a.jpg",
        "d/e.JPE",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture.save(tmp_path / name, "JPEG")
    picture.save(tmp_path / "raw.nef", "TIFF")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "named.png").write_text("no picture")
    pictures, left_out = list_pictures(tmp_path)
    found = [path.relative_to(tmp_path).as_posix() for path in pictures]
    assert found == ["a.jpg", "b.jfif", "c.dat", "d/e.JPE", "named.png", "photo"]
    assert left_out == {".thumbnails": 1, "._*": 1, "@eaDir": 1, ".txt": 1, ".nef": 1}
    (job,) = find_jobs(tmp_path / "photo", tmp_path / "out", lambda *_: "")
    assert (job.problem, job.target.name) == ("", "photo.png")
    with pytest.raises(UserError, match=r"notes\.txt does not begin like a picture"):
        find_jobs(tmp_path / "notes.txt", tmp_path / "out", lambda *_: "")
