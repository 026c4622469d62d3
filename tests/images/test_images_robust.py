"""Whatever the bytes are: a picture or BadImage, in bounded memory, and nothing on the terminal."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401 - the import registers JPEG XL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import adobe_profile, chrm, exif_of, gama, iccp, p3_profile, png, saved
from PIL import Image

from supir_images import BadImage, Fault, decode_rgb, image_size, read_header, thumbnail
from supir_images.header import MAX_PIXELS

pillow_heif.register_heif_opener()
NOISE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
PHOTO = Image.fromarray(NOISE).resize((112, 80))
DEEP = NOISE.astype(np.uint16) * 257
COLOUR_CHUNKS = (
    iccp(adobe_profile()),
    gama(1.0),
    chrm((0.6, 0.3, 0.2, 0.7, 0.1, 0.1)),
    (b"cICP", b"\x09\x10\0\1"),
)
FILES = {
    "jpeg": saved(PHOTO, "JPEG", exif=exif_of(6), icc_profile=p3_profile()),
    "progressive": saved(PHOTO, "JPEG", progressive=True),
    "restarts": saved(PHOTO, "JPEG", restart_marker_blocks=3),
    "cmyk": saved(PHOTO.convert("CMYK"), "JPEG"),
    "png": saved(PHOTO, "PNG", exif=exif_of(6)),
    "png16": png(DEEP, 2, 16, COLOUR_CHUNKS),
    "webp": saved(PHOTO, "WEBP", exif=exif_of(6)),
    "gif": saved(PHOTO, "GIF"),
    "bmp": saved(PHOTO, "BMP"),
    "tiff": saved(PHOTO, "TIFF", compression="tiff_lzw"),
    "tiff16": cv2.imencode(".tiff", DEEP)[1].tobytes(),
    "avif": saved(PHOTO, "AVIF"),
    "heic": saved(PHOTO, "HEIF"),
    "jxl": saved(PHOTO, "JXL"),
    "jp2": saved(PHOTO, "JPEG2000"),
}


def pixels_or_reason(data: bytes) -> np.ndarray | str:
    try:
        return decode_rgb(data)
    except BadImage as error:
        return error.detail


@settings(max_examples=400, deadline=None)
@given(
    kind=st.sampled_from(sorted(FILES)),
    place=st.floats(0, 1, exclude_max=True),
    patch=st.binary(max_size=24),
    cut=st.floats(0.02, 1.2),
)
def test_damaged_files_of_every_kind(kind: str, place: float, patch: bytes, cut: float) -> None:
    data = FILES[kind]
    position = int(place * len(data))
    damaged = (data[:position] + patch + data[position + len(patch) :])[: int(cut * len(data))]
    outcome = pixels_or_reason(damaged)
    if isinstance(outcome, str):
        assert outcome.isprintable()
    else:
        assert (outcome.ndim, outcome.shape[2], outcome.dtype) == (3, 3, np.uint8)


@settings(max_examples=400, deadline=None)
@given(kind=st.sampled_from(sorted(FILES)), rest=st.binary(max_size=200), kept=st.integers(0, 64))
def test_random_bytes_behind_the_beginning_of_every_kind(kind: str, rest: bytes, kept: int) -> None:
    data = FILES[kind][:kept] + rest
    for read in (decode_rgb, read_header, image_size, lambda one: thumbnail(one, 16)):
        with contextlib.suppress(BadImage):  # anything else fails the test
            read(data)


@pytest.mark.parametrize("kind", sorted(FILES))
def test_every_kind_s_size_is_read_from_its_beginning_and_is_the_decoder_s(kind: str) -> None:
    found = image_size(FILES[kind])
    shape = decode_rgb(FILES[kind]).shape
    assert sorted(found[1:]) == sorted(shape[:2])
    with pytest.raises(BadImage, match="more than 100 px in all") as error:
        decode_rgb(FILES[kind], max_pixels=100)
    assert error.value.reason is Fault.TOO_MANY_PIXELS


def declaring(kind: str, width: int, height: int) -> bytes:
    """The file with another size in its header."""
    data = bytearray(FILES[kind])
    if kind == "bmp":
        data[18:26] = width.to_bytes(4, "little") + height.to_bytes(4, "little")
    elif kind in ("avif", "heic"):
        at = data.index(b"ispe") + 8
        data[at : at + 8] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    elif kind == "jp2":
        at = data.index(b"ihdr") + 4
        data[at : at + 8] = height.to_bytes(4, "big") + width.to_bytes(4, "big")
    elif kind == "gif":
        data[6:10] = min(width, 65535).to_bytes(2, "little") + min(height, 65535).to_bytes(2, "little")
    return bytes(data)


@pytest.mark.parametrize("kind", ["bmp", "avif", "heic", "jp2", "gif"])
def test_a_bomb_of_every_kind_is_refused_by_its_header(kind: str) -> None:
    with pytest.raises(BadImage, match=rf"more than {MAX_PIXELS} px") as error:
        decode_rgb(declaring(kind, 60_000, 60_000))
    assert error.value.reason is Fault.TOO_MANY_PIXELS


def test_camera_raw_that_is_built_as_tiff_is_not_taken_for_its_preview() -> None:
    preview = saved(PHOTO, "TIFF", tiffinfo={0x00FE: 1})
    with pytest.raises(BadImage, match="preview of a camera raw; export") as error:
        decode_rgb(preview)
    assert error.value.reason is Fault.NO_READER


def test_what_reads_a_kind_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from supir_images import formats

    monkeypatch.setattr(formats, "find_spec", lambda _name: None)
    formats.is_readable.cache_clear()
    try:
        with pytest.raises(BadImage, match=r"a heic picture: pip install 'supir-stack\[formats\]'") as error:
            decode_rgb(FILES["heic"])
    finally:
        formats.is_readable.cache_clear()
    assert error.value.reason is Fault.NO_READER


def test_the_reasons_words_are_the_same_in_every_run() -> None:
    data = b"\xff\xd8\xff\xe0\0\x10JFIF" + FILES["jpeg"][20:]
    first, second = pixels_or_reason(data), pixels_or_reason(data)
    assert str(first) == str(second)
    assert "0x" not in str(pixels_or_reason(b"\x89PNG\r\n\x1a\n" + FILES["png"][8:33] + b"\0" * 40))


QUIET = """
import sys, numpy as np
sys.path.insert(0, "tests/support")
from PIL import Image
from pictures import exif_of, png, saved
from supir_images import BadImage, decode_rgb, image_size
photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
lzw, jpeg = saved(photo, "TIFF", compression="tiff_lzw"), saved(photo, "JPEG", exif=exif_of(6))
files = [
    lzw[:400] + bytes(100) + lzw[500:],
    jpeg.replace(b"\\x01\\x12\\x00\\x03", b"\\x01\\x12\\x00\\x09"),
    saved(photo, "JPEG", exif=b"Exif\\0\\0MM\\0*\\0\\0\\0\\x08\\0\\x09"),
    jpeg[: len(jpeg) // 2] + b"\\xff\\xd9",
    saved(photo.convert("P"), "PNG", transparency=bytes(range(100))),
    png(np.zeros((9000, 11_000), int), 0, 1),
]
deep = png(np.zeros((64, 64, 3), int), 2, 16)
files.append(deep[:60] + b"\\0\\0\\0" + deep[63:])
for data in files:
    try:
        decode_rgb(data)
    except BadImage as error:
        print(error.reason)
"""


def test_what_readers_say_about_a_file_stays_off_the_terminal() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", QUIET], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["undecodable"] * len(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys; from supir_images import image_size; print({'numpy', 'PIL', 'cv2'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_bounded_by_the_picture() -> None:
    code = """
import sys
sys.path.insert(0, "tests/support")
import numpy as np
from PIL import Image
from pictures import p3_profile, saved
from supir_images import decode_rgb
pixels = np.zeros((3000, 4000, 3), np.uint8)
data = [saved(Image.fromarray(pixels), name, icc_profile=p3_profile()) for name in ("JPEG", "PNG")]
data.append(saved(Image.fromarray(np.dstack([pixels, pixels[..., :1]])), "PNG"))
del pixels
for one in data:
    decode_rgb(one)
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        int(done.stdout) * 1024 < 12_000_000 * 40
    )  # with the interpreter and all that making the files took


def test_a_png_with_a_large_profile_and_a_large_text_is_a_picture():
    large = p3_profile() + bytes(2 * 2**20)
    text = (b"zTXt", b"Raw profile type xmp\0\0" + zlib.compress(bytes(3 * 2**20)))
    picture = decode_rgb(png(NOISE, 2, 8, (iccp(large), text)))
    assert np.array_equal(picture, decode_rgb(png(NOISE, 2, 8, (iccp(p3_profile()),))))
    assert not np.array_equal(picture, NOISE)
    bomb = (b"zTXt", b"x\0\0" + zlib.compress(bytes(100 * 2**20)))
    with pytest.raises(BadImage, match="too large"):
        decode_rgb(png(NOISE, 2, 8, (bomb,)))
