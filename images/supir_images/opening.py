"""Bytes into an open picture and what it says about itself; no pixel is decoded unless the file hides its EXIF behind.

Place in the flow: `decode` and all that only needs a header come through here. The law: the header is checked before
any reader sees the bytes, the reader is the one of the kind that the first bytes tell, and whatever it raises becomes
`BadImage`; its warnings stay off the terminal.
"""

from __future__ import annotations

import io
import os
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from supir_images.colour import profile_name
from supir_images.errors import BadImage, Fault
from supir_images.formats import how_to_read, is_readable
from supir_images.header import MAX_PIXELS, image_size

if TYPE_CHECKING:
    from PIL import Image

EXIF_ORIENTATION = 0x0112

MAX_COMPRESSED_BYTES = 16 * 2**20
"""Of a PNG's text or colour profile, once it is inflated. Pillow refuses the picture from 1 MiB on, which scanners'
profiles and the XMP of layered pictures have."""

_PILLOW_NAMES = {
    "jpg": "JPEG",
    "png": "PNG",
    "webp": "WEBP",
    "gif": "GIF",
    "bmp": "BMP",
    "tiff": "TIFF",
    "avif": "AVIF",
    "heic": "HEIF",
    "jxl": "JXL",
    "jp2": "JPEG2000",
}
_MOVING = ("png", "webp", "gif", "avif", "jxl")  # kinds whose further pictures are an animation's frames
_PAGED = ("tiff", "heic")  # kinds whose further pictures are pages, or previews of the first
_SMALLEST_PAGE = 0.25  # of the first one's pixels; what is smaller is a preview
_MAX_PAGES = 1000
_SUBFILE, _REDUCED, _MASK = 0x00FE, 1, 4  # TIFF 6.0 §8, NewSubfileType
_PHOTOMETRIC, _YCBCR = 0x0106, 6
_TURNED_BY_READER = ("heic", "jxl", "tiff")  # Pillow turns a TIFF, libheif and libjxl what they read
_SIZED_BY_HEADER = ("jpg", "png", "webp", "gif", "bmp")
_TALKATIVE = ("tiff",)  # libtiff writes its complaints to standard error, and nothing in Pillow stops it
_STDERR = threading.RLock()
_CARRIES_ORIENTATION = (b"eXIf", b"Raw profile type exif", b"tiff:Orientation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file says about its picture before a pixel is decoded.

    Args:
        format: its kind, by `formats`: "jpg", "png", …
        width: in px as stored.
        height: in px as stored.
        mode: Pillow's name for the stored pixels, e.g. "RGB", "L", "CMYK", "RGBA", "I;16".
        bit_depth: bits a channel as stored.
        orientation: EXIF orientation, 1 to 8; 1 without one, and of kinds whose reader turns the picture itself.
        luma_table: the JPEG's 64 luma quantisation steps row by row; empty for other formats.
        icc_profile: description of the embedded colour profile, None without one, "unreadable" if it is damaged.
        frames: pictures of an animation, pages of a TIFF or HEIC, else 1.
    """

    format: str
    width: int
    height: int
    mode: str
    bit_depth: int
    orientation: int
    luma_table: tuple[int, ...]
    icc_profile: str | None
    frames: int

    @property
    def is_plain(self) -> bool:
        """Whether every reader shows the stored bytes alike: 8 bits, grey or RGB, no alpha."""
        return self.mode in ("RGB", "L") and self.bit_depth == 8


def read_header(data: bytes, max_pixels: int = MAX_PIXELS) -> Header:
    """Returns what a file says about its picture.

    Args:
        data: the file.
        max_pixels: largest width times height that is accepted.

    Raises:
        BadImage: not an image, too large, of a kind that nothing installed reads, or with a damaged header.
    """
    return open_image(data, max_pixels)[1]


def open_image(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[Image.Image, Header]:
    """Returns the picture as Pillow opens it, its pixels not yet loaded, and its header.

    Raises:
        BadImage: as `read_header`.
    """
    from PIL import Image

    declared = image_size(data, max_pixels)
    kind = declared.format
    if not is_readable(kind):
        raise BadImage(Fault.NO_READER, f"a {kind} picture: {how_to_read(kind)}")
    _register(kind)
    with naming_damage(kind):
        image = Image.open(io.BytesIO(data), formats=(_PILLOW_NAMES[kind],))
        if kind == "tiff":
            _read_ycbcr_by_libtiff(image)
        if kind in _SIZED_BY_HEADER and image.size != declared[1:]:
            found = f"{image.width}x{image.height}"
            detail = f"decodes to {found} px, its header declares {declared.width}x{declared.height}"
            raise BadImage(Fault.UNDECODABLE, detail)
        if image.width * image.height > max_pixels:
            raise BadImage(
                Fault.TOO_MANY_PIXELS, f"{image.width}x{image.height} px, more than {max_pixels} px in all"
            )
        return image, header_of(image, kind, data)


@contextmanager
def naming_damage(kind: str) -> Iterator[None]:
    """Turns whatever a reader raises on damaged files into BadImage, and keeps Pillow's warnings off the terminal.

    Pillow's readers answer damage with whatever their parsing runs into (SyntaxError, struct.error, zlib.error,
    IndexError, EOFError, …); a list of these is never complete.
    """
    from PIL import Image, UnidentifiedImageError

    # Added once and left: a filter that is put back is not safe in threads. It concerns Pillow's modules alone.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        with without_stderr() if kind in _TALKATIVE else nullcontext():
            yield
    except (BadImage, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise BadImage(Fault.TOO_MANY_PIXELS, str(error)) from error
    except UnidentifiedImageError as error:  # its words hold an address, which differs from run to run
        raise BadImage(
            Fault.UNDECODABLE, f"{kind} by its first bytes, but its reader refuses the rest"
        ) from error
    except Exception as error:
        detail = f"{kind} cannot be decoded ({type(error).__name__}: {error})"
        raise BadImage(Fault.UNDECODABLE, detail) from error


@contextmanager
def without_stderr() -> Iterator[None]:
    """Keeps what C libraries print about a damaged file off the terminal.

    The process's standard error points nowhere meanwhile, for one thread at a time; what others say then is lost. So it
    is for the rare kinds whose libraries print.
    """
    with _STDERR:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)


def _register(kind: str) -> None:
    """Makes Pillow know a kind that another package reads, or what a kind holds."""
    if kind == "heic":
        import pillow_heif

        pillow_heif.register_heif_opener()
    elif kind == "png":
        from PIL import PngImagePlugin

        PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, MAX_COMPRESSED_BYTES)
    elif kind == "jxl":
        import pillow_jxl  # noqa: F401 - the import registers it


def _read_ycbcr_by_libtiff(image: Any) -> None:
    """Pillow takes uncompressed YCbCr for RGB of four bytes a pixel, and the file for cut off; libtiff reads it."""
    from PIL import ImageFile

    if image.tag_v2.get(_PHOTOMETRIC) == _YCBCR and not image.use_load_libtiff:
        arguments = ("RGBX", image.info["compression"], False, image.tag_v2.offset)
        image.tile = [ImageFile._Tile("libtiff", (0, 0, *image.size), 0, arguments)]
        image.use_load_libtiff = True


def header_of(image: Image.Image, kind: str, data: bytes) -> Header:
    """Returns the header of an open picture of that kind; `data` is its file."""
    profile = image.info.get("icc_profile")
    return Header(
        format=kind,
        width=image.width,
        height=image.height,
        mode=image.mode,
        bit_depth=_bit_depth(image, kind, data),
        orientation=_orientation(image, kind, data),
        luma_table=tuple(getattr(image, "quantization", {}).get(0, ())),
        icc_profile=profile_name(profile) if profile else None,
        frames=_frames(image, kind, data),
    )


def _frames(image: Image.Image, kind: str, data: bytes) -> int:
    """Returns how many pictures a file holds; previews and masks beside a page are none."""
    if kind in _PAGED:
        return 1 + _further_pages(data, _PILLOW_NAMES[kind], image.width * image.height)
    return getattr(image, "n_frames", 1) if kind in _MOVING else 1


def _further_pages(data: bytes, name: str, pixels: int) -> int:
    from PIL import Image

    count = 0
    # Opened once more: what a page says would stand in the first one, its colour profile for one.
    with Image.open(io.BytesIO(data), formats=(name,)) as pages:
        for number in range(1, _MAX_PAGES):
            try:
                pages.seek(number)
                is_beside = getattr(pages, "tag_v2", {}).get(_SUBFILE, 0) & (_REDUCED | _MASK)
            # The first page can be read whatever is wrong with the others.
            except Exception:
                break
            count += not is_beside and pages.width * pages.height >= pixels * _SMALLEST_PAGE
    return count


def _bit_depth(image: Image.Image, kind: str, data: bytes) -> int:
    if kind == "png":
        return data[24]  # IHDR is always the first chunk
    if kind == "tiff":
        bits = image.tag_v2.get(0x0102, (1,))  # type: ignore[attr-defined]
        return int(max(bits)) if isinstance(bits, tuple) else int(bits)
    if kind == "heic":
        return int(image.info.get("bit_depth", 8))
    return 16 if image.mode.startswith("I;16") else 8


def _orientation(image: Image.Image, kind: str, data: bytes) -> int:
    if kind in _TURNED_BY_READER:
        return 1
    # Where nothing can hold one, Pillow would decode the whole picture to look behind it.
    if kind == "png" and not any(name in data for name in _CARRIES_ORIENTATION):
        return 1
    try:
        value = image.getexif().get(EXIF_ORIENTATION, 1)
    # A damaged EXIF block says nothing about the pixels.
    except (SyntaxError, ValueError, OSError, EOFError, struct.error):
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
