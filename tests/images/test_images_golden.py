"""What every kind of pixel becomes: values that follow from the formats' definitions, not from a decoder's answer."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from pictures import exif_of, p3_profile, png, saved
from PIL import Image

from supir_images import BadImage, Fault, decode, decode_rgb, from_pillow, thumbnail
from supir_images.orientation import stored_again, upright, upright_size

GREY_8 = np.array([[0, 60, 133, 255]])
RGB_8 = np.array([[[255, 0, 0], [0, 60, 133], [10, 20, 30]]])


@pytest.mark.parametrize(
    ("samples", "depth", "expected"),
    [
        ([[0, 1]], 1, [0, 255]),
        ([[0, 1, 2, 3]], 2, [0, 85, 170, 255]),
        ([[0, 1, 9, 15]], 4, [0, 17, 153, 255]),
        ([[0, 60, 255]], 8, [0, 60, 255]),
        ([[0, 128, 129, 0xFF00, 0xFFFF]], 16, [0, 0, 1, 254, 255]),  # v / 257, rounded
    ],
)
def test_grey_of_every_depth_spans_0_to_255(samples: list, depth: int, expected: list[int]) -> None:
    rgb = decode_rgb(png(np.array(samples), 0, depth))
    assert rgb[0, :, 0].tolist() == expected
    assert (rgb == rgb[..., :1]).all()


@pytest.mark.parametrize(("depth", "level"), [(1, 1), (2, 2), (4, 9), (8, 60), (16, 40_000)])
def test_the_transparent_grey_of_every_depth_is_the_level_that_the_file_names(depth: int, level: int) -> None:
    samples = np.array([[0, level, 0, level]])
    decoded = decode(png(samples, 0, depth, ((b"tRNS", struct.pack(">H", level)),)))
    assert decoded.alpha is not None
    assert (np.asarray(decoded.alpha)[0] > 0).tolist() == [True, False, True, False]
    assert (
        decode_rgb(png(samples, 0, depth, ((b"tRNS", struct.pack(">H", level)),)))[0, 1].tolist() == [128] * 3
    )


def test_rgb_and_rgba_and_grey_with_alpha() -> None:
    assert decode_rgb(png(RGB_8, 2)).tolist() == RGB_8.tolist()
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [200, 100, 0, 51]]])
    decoded = decode(png(rgba, 6))
    assert decoded.alpha is not None
    assert decoded.alpha.tolist() == [[255, 0, 51]]
    assert decoded.rgb.tolist() == rgba[..., :3].tolist()
    # 0.2 of the colour and 0.8 of mid grey
    assert decode_rgb(png(rgba, 6)).tolist() == [[[255, 0, 0], [128, 128, 128], [142, 122, 102]]]
    assert decode_rgb(png(np.array([[[77, 255], [77, 0]]]), 4)).tolist() == [[[77] * 3, [128] * 3]]


def test_the_transparent_colour_of_an_rgb_png() -> None:
    decoded = decode(png(RGB_8, 2, 8, ((b"tRNS", struct.pack(">3H", 0, 60, 133)),)))
    assert decoded.alpha is not None
    assert decoded.alpha.tolist() == [[255, 0, 255]]


def test_a_palette_with_its_own_alphas() -> None:
    palette = (b"PLTE", bytes([255, 0, 0, 0, 255, 0, 0, 0, 255]))
    decoded = decode(png(np.array([[0, 1, 2]]), 3, 8, (palette, (b"tRNS", bytes([255, 0, 128])))))
    assert decoded.rgb.tolist() == [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]
    assert decoded.alpha is not None
    assert decoded.alpha.tolist() == [[255, 0, 128]]
    assert decode_rgb(png(np.array([[3, 1]]), 3, 2, ((*palette[:1], palette[1] + b"\x07\x08\t"),)))[
        0, 0
    ].tolist() == [7, 8, 9]


@pytest.mark.parametrize("colour", [0, 2, 4, 6])
def test_sixteen_bits_are_kept_where_a_stage_wants_them(colour: int) -> None:
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    values = np.random.default_rng(0).integers(0, 65536, (9, 7, channels))
    decoded = decode(png(values[..., 0] if channels == 1 else values, colour, 16))
    assert decoded.rgb.dtype == np.float32
    colours = values[..., : 3 if channels > 2 else 1] / 65535
    assert np.abs(decoded.rgb - colours).max() < 1e-6
    if colour in (4, 6):
        assert decoded.alpha is not None
        assert np.abs(decoded.alpha - values[..., -1] / 65535).max() < 1e-6
    assert decoded.notes == ()
    if colour in (0, 2):
        again = decode_rgb(png(values[..., 0] if channels == 1 else values, colour, 16))
        assert np.array_equal(
            again, np.broadcast_to((values[..., : channels or 1] + 128) // 257, again.shape)
        )


def test_the_transparent_colour_of_sixteen_bits_is_compared_with_all_of_them() -> None:
    values = np.array([[[1, 2, 3], [256, 2, 3]]])  # alike in their upper bytes
    decoded = decode(png(values, 2, 16, ((b"tRNS", struct.pack(">3H", 1, 2, 3)),)))
    assert decoded.alpha is not None
    assert decoded.alpha.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("orientation", [None, 3, 6])
def test_sixteen_bit_colour_of_a_tiff_is_kept_and_turned(orientation: int | None) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    data = cv2.imencode(".tiff", values[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes()
    if orientation:
        data = with_tiff_orientation(data, orientation)
    decoded = decode(data)
    assert decoded.rgb.dtype == np.float32
    assert np.abs(decoded.rgb - upright(values, orientation or 1) / 65535).max() < 1e-6
    assert decoded.header.orientation == 1  # its reader has turned it


def with_tiff_orientation(data: bytes, orientation: int) -> bytes:
    """The little-endian TIFF with its first directory copied to the end, an orientation in it."""
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    entries = [data[start + 2 + 12 * at : start + 14 + 12 * at] for at in range(count)]
    entries = [entry for entry in entries if entry[:2] != struct.pack("<H", 0x0112)]
    entries.append(struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0))
    entries.sort(key=lambda entry: struct.unpack("<H", entry[:2]))
    data += bytes(len(data) % 2)
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + directory


def test_an_interlaced_png_is_the_same_picture() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (13, 11, 3), dtype=np.uint8)
    data = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    interlaced = interlace(pixels)
    assert np.array_equal(decode_rgb(data), pixels)
    assert np.array_equal(decode_rgb(interlaced), pixels)


def interlace(pixels: np.ndarray) -> bytes:
    """An 8-bit RGB PNG in Adam7's seven passes."""
    import zlib

    raw = b""
    for top, left, down, across in (
        *((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)),
        *((2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)),
    ):
        for line in pixels[top::down, left::across]:
            raw += b"\0" + line.tobytes() if line.size else b""
    plain = png(pixels, 2)
    header = plain[16:28] + b"\x01"
    chunk = b"IHDR" + header
    packed = zlib.compress(raw)
    body = b"IDAT" + packed
    return (
        plain[:12]
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", len(packed))
        + body
        + struct.pack(">I", zlib.crc32(body))
        + b"\0\0\0\0IEND\xaeB`\x82"
    )


def flat(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (32, 24), colour)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mode", "colour", "expected", "tolerance"),
    [
        ("L", 77, (77, 77, 77), 0),
        ("RGB", (200, 100, 50), (200, 100, 50), 2),
        ("CMYK", (255, 0, 0, 0), (0, 255, 255), 1),
        ("CMYK", (0, 0, 0, 255), (0, 0, 0), 1),
        ("CMYK", (51, 102, 0, 51), (163, 122, 204), 2),  # (1 - ink)(1 - black)
    ],
)
def test_a_jpeg_of_each_kind(mode: str, colour: object, expected: tuple[int, ...], tolerance: int) -> None:
    rgb = decode_rgb(saved(flat(mode, colour), "JPEG", quality=100, subsampling=0))
    assert rgb.shape == (24, 32, 3)
    assert np.abs(rgb.astype(int) - expected).max() <= tolerance


def test_ycck_is_cmyk_stored_in_other_colours() -> None:
    data = saved(flat("CMYK", (51, 102, 0, 51)), "JPEG", quality=100)
    ycck = saved(
        Image.merge("CMYK", flat("CMYK", (51, 102, 0, 51)).split()), "JPEG", quality=100, keep_rgb=False
    )
    for file in (data, ycck):
        assert np.abs(decode_rgb(file).astype(int) - (163, 122, 204)).max() <= 2
    # Adobe's transform 2: the first three are YCbCr of inverted inks; the marker's last byte says so
    at = data.index(b"Adobe") + 11
    assert np.abs(decode_rgb(data[:at] + b"\x02" + data[at + 1 :]).astype(int) - (163, 122, 204)).max() > 20


@pytest.mark.parametrize("options", [{"lossless": True, "exact": True}, {"quality": 100}])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp(options: dict, mode: str) -> None:
    colour = (200, 100, 50) if mode == "RGB" else (200, 100, 50, 51)
    decoded = decode(saved(flat(mode, colour), "WEBP", **options))
    assert np.abs(decoded.rgb.astype(int) - (200, 100, 50)).max() <= (0 if "lossless" in options else 4)
    assert (decoded.alpha is None) == (mode == "RGB")
    if decoded.alpha is not None:
        assert (decoded.alpha == 51).all()


def test_gif_and_its_first_frame_with_a_note() -> None:
    still = saved(flat("P", 0), "GIF")
    assert decode(still).notes == ()
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue", "green")]
    moving = decode(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert moving.rgb[0, 0].tolist() == [255, 0, 0]
    assert moving.notes == ("first of 3 pictures in the file",)


@pytest.mark.parametrize(("kind", "size"), [("TIFF", 40), ("HEIF", 64)])
def test_a_file_of_several_pages_is_known_and_previews_are_no_pages(kind: str, size: int) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    page = Image.new("RGB", (size, size), "red")

    def pictures(*others: Image.Image, **options: object) -> int:
        data = saved(page, kind, save_all=True, append_images=list(others), **options)
        decoded = decode(data)
        count = decoded.header.frames
        assert decoded.notes == ((f"first of {count} pictures in the file",) if count > 1 else ())
        return count

    assert pictures(page.copy(), page.copy()) == 3
    assert pictures(page.resize((size // 2, size // 2))) == 2
    assert pictures(page.resize((size // 4, size // 4))) == 1
    assert pictures() == 1


def test_a_damaged_second_page_and_its_profile_leave_the_first_one_as_it_is() -> None:
    first, second = (Image.new("RGB", (40, 40), colour) for colour in ("red", "blue"))
    alone = saved(first, "TIFF")
    second.encoderinfo = {"icc_profile": p3_profile()}
    both = saved(first, "TIFF", save_all=True, append_images=[second])
    assert decode(both).header.frames == 2
    for data in (both, both[: len(alone) + 8]):
        decoded = decode(data)
        assert np.array_equal(decoded.rgb, decode(alone).rgb)
        assert (decoded.is_converted, decoded.header.icc_profile) == (False, None)


def test_a_reduced_page_or_a_mask_of_a_tiff_is_no_page() -> None:
    one = saved(Image.new("RGB", (40, 40)), "TIFF")
    assert decode(one).header.frames == 1
    for subfile in (1, 4):
        other = Image.new("RGB", (40, 40), "blue")
        other.encoderinfo = {"tiffinfo": {0x00FE: subfile}}
        data = saved(Image.new("RGB", (40, 40)), "TIFF", save_all=True, append_images=[other])
        assert decode(data).header.frames == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_eight_orientations_of_a_picture_are_one_picture(kind: str, orientation: int) -> None:
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:32, :32], picture[:32, 64:], picture[32:, :32] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    stored = Image.fromarray(stored_again(picture, orientation))
    options = {"lossless": True} if kind == "WEBP" else {}
    rgb = decode_rgb(saved(stored, kind, exif=exif_of(orientation), **options))
    assert rgb.shape == picture.shape
    inner = np.s_[8:24, 8:24], np.s_[8:24, 72:88], np.s_[40:56, 8:24], np.s_[40:56, 72:88]
    for place in inner:
        assert np.abs(rgb[place].astype(int) - picture[place]).max() <= 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_back_undoes_turning(orientation: int) -> None:
    for shape in ((300, 400), (3, 5, 3)):
        picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        turned = upright(picture, orientation)
        assert turned.shape[:2] == upright_size(shape[1], shape[0], orientation)[::-1]
        assert np.array_equal(stored_again(turned, orientation), picture)


@pytest.mark.parametrize(
    ("name", "options"), [("BMP", {}), ("TIFF", {"compression": "tiff_lzw"}), ("JXL", {"lossless": True})]
)
def test_other_lossless_kinds(name: str, options: dict) -> None:
    if name == "JXL":
        import pillow_jxl  # noqa: F401 - the import registers it
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(decode_rgb(saved(Image.fromarray(pixels), name, **options)), pixels)


@pytest.mark.parametrize(("dtype", "kind"), [(np.float32, "float"), (np.int32, "integer")])
def test_pixels_without_a_range_are_refused(dtype: type, kind: str) -> None:
    image = Image.fromarray(np.full((8, 8), 200, dtype=dtype))
    with pytest.raises(BadImage, match=f"32-bit {kind} pixels have no agreed range") as error:
        decode(saved(image, "TIFF"))
    assert error.value.reason is Fault.UNDECODABLE
    with pytest.raises(BadImage, match=f"32-bit {kind}"):
        from_pillow(image)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK"])
def test_a_thumbnail_is_the_picture_made_small(mode: str) -> None:
    pixels = np.asarray(Image.radial_gradient("L").resize((160, 96)))
    image = Image.fromarray(np.dstack([pixels, pixels[::-1], pixels])).convert(mode)
    data = saved(image, "TIFF", exif=exif_of(6))
    small = thumbnail(data, 40)
    whole = Image.fromarray(decode_rgb(data)).resize((24, 40), Image.Resampling.BICUBIC)
    assert small.shape == (40, 24, 3)
    assert np.abs(small.astype(int) - np.asarray(whole)).mean() < (25 if mode == "P" else 3)
