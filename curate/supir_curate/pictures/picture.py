"""Bytes in, one decoded picture out: every view that a probe needs, decoded once.

Place in the flow: `score` decodes each candidate here, `measure` looks at it. The law: the header is checked before
any decoder sees the bytes; a picture that cannot be decoded whole raises `BadPicture` with its reason and is never
given a score. Pixels stay as stored: the EXIF orientation is noted, not applied.

Limits: ICC profiles are applied by `decode_srgb` alone, and without one CMYK becomes RGB by Pillow's plain formula;
damage of a JPEG that libjpeg repairs silently is not seen, be it in the middle or an end that was cut off and closed.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from supir_curate.pictures.srgb import profile_name, to_srgb
from supir_curate.verdict import Reason
from supir_shards import BadImage, QuarantineReason, image_size, to_rgb

if TYPE_CHECKING:
    from PIL import Image

FORMATS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif"}
EXIF_ORIENTATION = 0x0112
MAX_COLOURS = 250_000  # pixels whose colour is kept
END_OF_IMAGE = b"\xff\xd9"
NEARLY_TWICE = 1.7  # as large as wanted: from here on `reduced` averages by 2


class BadPicture(ValueError):  # noqa: N818 - the picture is bad, the code is not
    """The bytes give no picture; `reason` is for counting, the message says what was seen."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file says about its picture before a pixel is decoded.

    Args:
        format: "jpg", "png", "webp" or "gif".
        width: in px as stored.
        height: in px as stored.
        mode: Pillow's name for the stored pixels, e.g. "RGB", "L", "CMYK", "RGBA", "I;16".
        bit_depth: bits a channel as stored.
        orientation: EXIF orientation, 1 to 8; 1 without one.
        luma_table: the JPEG's 64 luma quantisation steps row by row; empty for other formats.
        icc_profile: description of the embedded colour profile, None without one.
    """

    format: str
    width: int
    height: int
    mode: str
    bit_depth: int
    orientation: int
    luma_table: tuple[int, ...]
    icc_profile: str | None

    @property
    def is_plain(self) -> bool:
        """Whether every reader shows the stored bytes alike: 8 bits, grey or RGB, no alpha."""
        return self.mode in ("RGB", "L") and self.bit_depth == 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A decoded picture.

    Args:
        header: what the file says about it.
        colours: (h, w, 3) uint8 RGB, single pixels of it evenly spread, about a quarter of a million at most.
        gray: (H, W) uint8 luma at native scale (ITU-R BT.601); transparent pixels over mid grey, 16 bits reduced to 8.
        working_gray: the luma reduced so that the short side is the working side; never enlarged.
        alpha_share: share of pixels that are not opaque, 0 to 1.
        num_bytes: size of the file.
    """

    header: Header
    colours: NDArray[np.uint8]
    gray: NDArray[np.uint8]
    working_gray: NDArray[np.uint8]
    alpha_share: float
    num_bytes: int


def decode(data: bytes, max_pixels: int, working_side_px: int) -> Picture:
    """Returns the decoded picture.

    Args:
        data: a JPEG, PNG, WebP or GIF file.
        max_pixels: largest width times height that is decoded.
        working_side_px: short side of the working views.

    Raises:
        BadPicture: not an image, too large, animated, or not decodable to its end.
    """
    checked_format(data, max_pixels)
    with _naming_damage():
        image = _open(data)
        header = _header(image, data)
        colours, gray, alpha_share = _plain_jpeg(image, data) or _through_pillow(image)
    return Picture(
        header=header,
        colours=colours,
        gray=gray,
        working_gray=reduced(gray, working_side_px),
        alpha_share=alpha_share,
        num_bytes=len(data),
    )


def read_header(data: bytes) -> Header:
    """Returns the header of bytes that `decode` accepted before; no pixel is decoded."""
    with _naming_damage():
        return _header(_open(data), data)


def decode_rgb(data: bytes) -> NDArray[np.uint8]:
    """Returns (H, W, 3) uint8 of bytes that `decode` accepted before, transparent pixels over mid grey."""
    with _naming_damage():
        return _to_rgb(_open(data))[0]


def decode_srgb(data: bytes) -> tuple[NDArray[np.uint8], bool]:
    """Returns like `decode_rgb`, but with an embedded colour profile applied, and whether one was."""
    with _naming_damage():
        image = _open(data)
        converted = to_srgb(image)
        return _to_rgb(converted or image)[0], converted is not None


def checked_format(data: bytes, max_pixels: int) -> str:
    """Returns the format that the header declares, "jpg", "png", "webp" or "gif".

    Raises:
        BadPicture: no such header, or one that declares more than `max_pixels`.
    """
    try:
        return image_size(data, max_pixels=max_pixels).format
    except BadImage as error:
        is_large = error.reason is QuarantineReason.IMAGE_TOO_LARGE
        raise BadPicture(Reason.TOO_MANY_PIXELS if is_large else Reason.NOT_AN_IMAGE, error.detail) from error


@contextmanager
def _naming_damage() -> Iterator[None]:
    """Turns what Pillow's readers raise on damaged files into BadPicture; anything else is a defect and shows."""
    from PIL import Image

    try:
        yield
    except BadPicture:
        raise
    except Image.DecompressionBombError as error:
        raise BadPicture(Reason.TOO_MANY_PIXELS, str(error)) from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
        raise BadPicture(Reason.UNDECODABLE, f"{type(error).__name__}: {error}") from error


def _open(data: bytes) -> Image.Image:
    from PIL import Image

    image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP", "GIF"))
    # A JPEG with a depth or gain map behind it, as phones write it, is "MPO" to Pillow: one photo all the same.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise BadPicture(Reason.ANIMATED, f"{frames} frames")
    return image


def _header(image: Image.Image, data: bytes) -> Header:
    stored_format = FORMATS[image.format or ""]
    return Header(
        format=stored_format,
        width=image.width,
        height=image.height,
        mode=image.mode,
        bit_depth=data[24] if stored_format == "png" else 8,  # IHDR is always the first chunk
        orientation=_orientation(image),
        luma_table=tuple(getattr(image, "quantization", {}).get(0, ())),
        icc_profile=profile_name(image),
    )


def _to_rgb(image: Image.Image) -> tuple[NDArray[np.uint8], float]:
    """Returns the pixels, and the share of them that are not opaque."""
    rgb = np.array(image if image.mode == "RGB" and not image.has_transparency_data else to_rgb(image))
    if not image.has_transparency_data:
        return rgb, 0.0
    return rgb, float((np.asarray(image.convert("RGBA"))[..., 3] < 255).mean())


def _through_pillow(image: Image.Image) -> tuple[NDArray[np.uint8], NDArray[np.uint8], float]:
    """Returns the sampled colours, the luma and the share of pixels that are not opaque."""
    import cv2

    rgb, alpha_share = _to_rgb(image)
    return _sampled(rgb), np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8), alpha_share


def _plain_jpeg(image: Image.Image, data: bytes) -> tuple[NDArray[np.uint8], NDArray[np.uint8], float] | None:
    """Returns the same of a whole grey or RGB JPEG through OpenCV; None leaves it to Pillow.

    The same libjpeg-turbo and the same pixels without Pillow's copies, in half the time. What does not end as a JPEG
    must, or does not decode, goes to Pillow, which says why.
    """
    import cv2

    if image.format not in ("JPEG", "MPO") or image.mode not in ("RGB", "L") or data[-2:] != END_OF_IMAGE:
        return None
    flags = cv2.IMREAD_COLOR if image.mode == "RGB" else cv2.IMREAD_GRAYSCALE
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if stored is None or stored.shape[:2] != (image.height, image.width):
        return None
    if image.mode == "L":
        return np.asarray(cv2.cvtColor(_sampled(stored), cv2.COLOR_GRAY2RGB), np.uint8), stored, 0.0
    # OpenCV's order is blue, green, red: only what is kept is turned round.
    colours = np.asarray(cv2.cvtColor(_sampled(stored), cv2.COLOR_BGR2RGB), np.uint8)
    return colours, np.asarray(cv2.cvtColor(stored, cv2.COLOR_BGR2GRAY), np.uint8), 0.0


def _sampled(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns single pixels evenly spread, as interpolation would mix colours."""
    import cv2

    height, width = pixels.shape[:2]
    scale = min(1.0, (MAX_COLOURS / (height * width)) ** 0.5)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def reduced(pixels: NDArray[np.uint8], short_side_px: int) -> NDArray[np.uint8]:
    """Returns the picture with its short side at most that long, by area averaging; never enlarged.

    Args:
        pixels: (H, W) or (H, W, 3) uint8.
        short_side_px: in px.

    OpenCV averages by exactly 2 twenty times as fast as by a factor that leaves a rest. A factor between 1.7 and 2 is
    therefore done as 2, on the picture brought to twice the wanted size by linear interpolation: a kernel as wide, with
    softer flanks, that leaves 0.9 to 1 of the variance of a photo's Laplacian (0.99 from 1.9 on).
    """
    import cv2

    height, width = pixels.shape[:2]
    scale = short_side_px / min(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # First by a whole factor, which is several times faster; up to that many px less one are cut at two sides.
    factor = int(1 / scale)
    coarse = _averaged(pixels, factor)
    if 1 / scale >= NEARLY_TWICE * factor:
        doubled = cv2.resize(coarse, (2 * size[0], 2 * size[1]), interpolation=cv2.INTER_LINEAR)
        return _averaged(np.asarray(doubled, dtype=np.uint8), 2)
    return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _averaged(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Returns the means of squares of so many pixels a side."""
    import cv2

    if factor == 1:
        return pixels
    if factor > 2 and factor % 2 == 0:  # halving twice is three times as fast as averaging by 4
        return _averaged(_averaged(pixels, 2), factor // 2)
    height, width = (length // factor for length in pixels.shape[:2])
    whole = pixels[: height * factor, : width * factor]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(EXIF_ORIENTATION, 1)
    # A damaged EXIF block says nothing about the pixels.
    except (SyntaxError, ValueError, OSError, struct.error):
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
