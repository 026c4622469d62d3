"""A result as a file: PNG or TIFF of 8 or 16 bits, JPEG or WebP, with what it was made from and what the photo says.

Place in the flow: `folder` and `web` write results here, `plan` and `evaluate` read their origin. The law it keeps: a
result appears complete under its name or not at all, and says what it was made from: a PNG in a text chunk, the others
in XMP. What a kind of file cannot hold (transparency in JPEG, long sides) is refused by `require_room` before any work.
Sources: W3C PNG third edition §11.3, TIFF 6.0 with technical note 1 (predictor), ISO 16684-3 (where XMP lies in files).
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin, TiffImagePlugin

from supir_images import BadImage
from supir_images.opening import naming_damage, open_image
from supir_infer.description import IPTC_TAG, origin_in, packet_with
from supir_infer.raw_profiles import photoshop_resource, raw_profile
from supir_infer.whole_file import whole_file

METADATA_KEY = "supir"
Levels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
SUFFIX_OF = {"png": ".png", "tiff": ".tif", "jpg": ".jpg", "webp": ".webp"}
FORMAT_OF = {".png": "png", ".tif": "tiff", ".tiff": "tiff", ".jpg": "jpg", ".jpeg": "jpg", ".webp": "webp"}
DEEP_FORMATS = ("png", "tiff")
"""Those that hold 16 bits a channel."""
_LONGEST_SIDE_PX = {"jpg": 65_500, "webp": 16_383}
_JPEG_XMP_BYTES = 65_000  # one segment, less its head
_XMP_TAG, _EXIF_POINTERS = 700, (34665, 34853)
_SIGNATURE = 8  # bytes of a PNG before its chunks


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a result carries over of the photo, see `exif` and `description`; empty where there is nothing."""

    exif: bytes = b""
    dpi: tuple[float, float] | None = None
    xmp: bytes = b""
    iptc: bytes = b""


NOTHING = Description()


def require_room(kind: str, size: tuple[int, int], alpha: npt.NDArray[Any] | None) -> None:
    """Finds that a kind of file can hold a result.

    Args:
        kind: one of `SUFFIX_OF`.
        size: (width, height) of the result, px.
        alpha: of the picture, its opaque level the highest of its dtype, or 1 of floats; None without.

    Raises:
        ValueError: it cannot; the message says why and what can.
    """
    longest = _LONGEST_SIDE_PX.get(kind)
    if longest and max(size) > longest:
        raise ValueError(
            f"{kind} holds sides of at most {longest} px, the result has {size[0]}x{size[1]}; use --format png or tiff"
        )
    if kind == "jpg" and alpha is not None and alpha.min() < 1:
        raise ValueError("it is partly transparent, which JPEG cannot hold; use --format png, tiff or webp")


def write_picture(
    path: Path,
    rgb: Levels,
    alpha: Levels | None,
    metadata: dict[str, Any],
    described: Description = NOTHING,
    quality: int = 95,
) -> None:
    """Writes a result; it appears complete or not at all.

    Args:
        path: its suffix, one of `FORMAT_OF`, names the kind; its folder is made where it is missing.
        rgb: (H, W, 3), uint8, or uint16 for a kind of `DEEP_FORMATS`.
        alpha: (H, W) of the same dtype, None for a picture without; JPEG leaves it out.
        metadata: what `read_metadata` gives back.
        described: what is carried over.
        quality: of JPEG and WebP, 1 to 100; WebP of 100 is lossless.

    Raises:
        OSError: the file or its folder cannot be written; no part of it stays.
    """
    kind = FORMAT_OF[path.suffix.lower()]
    stacked: Any = rgb if alpha is None or kind == "jpg" else np.dstack([rgb, alpha])
    pixels: Levels = stacked
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as stream:
        if kind == "png":
            stream.write(_png(pixels, metadata, described))
        elif kind == "tiff":
            _save_tiff(stream, pixels, metadata, described)
        else:
            _save_lossy(stream, kind, pixels, metadata, described, quality)


def read_metadata(path: Path) -> dict[str, Any] | None:
    """Returns what `write_picture` stored in the file, or None where another program made it or it is damaged."""
    try:
        image, header = open_image(path.read_bytes())
        with naming_damage(header.format):
            image.load()
            text = getattr(image, "text", {}).get(METADATA_KEY)
            packet: Any = image.info.get("xmp")
            metadata = json.loads(text) if text else origin_in(packet) if packet else None
    except (BadImage, OSError):
        return None
    return metadata if isinstance(metadata, dict) else None


def is_result(path: Path) -> bool:
    """Returns whether a file says that `write_picture` made it; its pixels are not looked at."""
    try:
        image, header = open_image(path.read_bytes())
        with naming_damage(header.format):
            packet: Any = image.info.get("xmp")
            return METADATA_KEY in image.info or bool(packet and origin_in(packet))
    except (BadImage, OSError):
        return False


def _png(pixels: Levels, metadata: dict[str, Any], described: Description) -> bytes:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt(METADATA_KEY, json.dumps(metadata, ensure_ascii=False, sort_keys=True))
    if packet := packet_with(described.xmp, described.iptc, None):
        chunks.add_itxt("XML:com.adobe.xmp", packet.decode())
    if described.iptc:
        chunks.add_text("Raw profile type iptc", raw_profile(described.iptc), zip=True)
    options: dict[str, Any] = {"pnginfo": chunks}
    if described.exif:
        options["exif"] = described.exif
    if described.dpi is not None:
        options["dpi"] = described.dpi
    # Pillow has no 16-bit colour: it writes the chunks around one pixel, OpenCV the picture that belongs there.
    is_deep = pixels.dtype == np.uint16
    image = Image.fromarray(np.zeros((1, 1, 3), np.uint8) if is_deep else pixels)
    stream = io.BytesIO()
    image.save(stream, format="PNG", **options)
    return _with_picture(stream.getvalue(), _deep_png(pixels)) if is_deep else stream.getvalue()


def _deep_png(pixels: Levels) -> bytes:
    import cv2

    order = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    written, data = cv2.imencode(".png", cv2.cvtColor(pixels, order))
    assert written, "OpenCV writes any uint16 picture"
    return bytes(data)


def _with_picture(described: bytes, picture: bytes) -> bytes:
    """The chunks of one PNG around the header and the pixels of another."""
    kept = [chunk for name, chunk in _chunks(described) if name not in (b"IHDR", b"IDAT", b"IEND")]
    header, *pixels = [chunk for name, chunk in _chunks(picture) if name in (b"IHDR", b"IDAT", b"IEND")]
    return b"".join([picture[:_SIGNATURE], header, *kept, *pixels])


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], _SIGNATURE
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        found.append((name, data[at : at + 12 + length]))
        at += 12 + length
    return found


def _save_lossy(
    stream: BinaryIO,
    kind: str,
    pixels: Levels,
    metadata: dict[str, Any],
    described: Description,
    quality: int,
) -> None:
    packet = packet_with(described.xmp, described.iptc, metadata)
    if kind == "jpg" and len(packet) > _JPEG_XMP_BYTES:
        note = f"XMP not carried over: {len(packet)} bytes, more than one JPEG segment holds"
        packet = packet_with(b"", b"", metadata | {"notes": [*metadata.get("notes", []), note]})
    options: dict[str, Any] = {"xmp": packet, "quality": quality}
    if described.exif:
        options["exif"] = described.exif
    if kind == "webp":
        Image.fromarray(pixels).save(stream, format="WEBP", method=4, lossless=quality == 100, **options)
        return
    if described.dpi is not None:
        options["dpi"] = described.dpi
    if described.iptc:
        content = photoshop_resource(described.iptc)
        options["extra"] = b"\xff\xed" + struct.pack(">H", 2 + len(content)) + content
    Image.fromarray(pixels).save(stream, format="JPEG", subsampling="4:4:4", optimize=True, **options)


def _save_tiff(stream: BinaryIO, pixels: Levels, metadata: dict[str, Any], described: Description) -> None:
    """One deflated strip with horizontal differences; Pillow writes the directories, which hold more than its modes."""
    height, width, channels = pixels.shape
    differences = np.diff(pixels, axis=1, prepend=pixels.dtype.type(0))
    strip = zlib.compress(differences.astype(pixels.dtype.newbyteorder("<")).tobytes(), 6)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    exif = Image.Exif()
    exif.load(described.exif)
    for tag, value in exif.items():
        if tag not in _EXIF_POINTERS:
            tags[tag] = value
    for tag in _EXIF_POINTERS:
        if inside := exif.get_ifd(tag):
            tags[tag] = dict(inside)
    if described.dpi is not None:
        tags[282], tags[283], tags[296] = *described.dpi, 2
    tags[256], tags[257], tags[258] = width, height, (8 * pixels.itemsize,) * channels
    tags[259], tags[262], tags[277], tags[317], tags[339] = 8, 2, channels, 2, (1,) * channels
    tags[278], tags[279], tags[273] = height, len(strip), 0
    if channels == 4:
        tags[338] = 2  # alpha that the colours were not multiplied by
    tags.tagtype[_XMP_TAG] = tags.tagtype[IPTC_TAG] = 7
    tags[_XMP_TAG] = packet_with(described.xmp, described.iptc, metadata)
    if described.iptc:
        tags[IPTC_TAG] = described.iptc
    tags.save(stream)
    stream.write(strip)
