"""A JPEG cut and turned without decoding it: the same coefficients in other places, so nothing is lost.

Place in the flow: `regions` stores a JPEG's crops so, and a JPEG that EXIF turns. The law: every DCT coefficient and
quantisation step of the result is one of the original's, in its frequency's place and with the sign that the turn
gives it. What cannot be had so raises `NotLosslessError`; nothing is rounded and no edge trimmed.

Decoded pixels are then the original's bit for bit with 4:4:4 and grey; with subsampled colour all but the outermost
pixel at an edge that was inside the original, where a decoder's smooth upsampling no longer sees the neighbour. Turned
pictures differ by a few levels, for decoders round rows and columns differently.

Source: ITU-T T.81; mirroring negates the odd frequencies of its axis. Peer: `jpegtran -crop -rotate -perfect`.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from supir_curate.packing.jpeg_stream import BLOCK_PX, NotLosslessError, parse_jpeg
from supir_images.orientation import MIRRORED, QUARTER_TURNS, UPSIDE_DOWN

if TYPE_CHECKING:
    from supir_shards import Box

LIBJPEG = "turbo210"  # the newest libjpeg-turbo that jpeglib holds; its default is libjpeg 6b of 1998


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficients:
    """A JPEG picture as it is stored.

    Args:
        width: in px.
        height: in px.
        blocks: quantised coefficients a component: int16 (block rows, block columns, vertical frequency, horizontal).
        tables: quantisation steps a component: uint16 (vertical frequency, horizontal).
        sampling: vertical and horizontal sampling factor a component; the first component's are the largest.
        icc_segments: the colour profile, as `JpegStream` holds it.
    """

    width: int
    height: int
    blocks: tuple[NDArray[np.int16], ...]
    tables: tuple[NDArray[np.uint16], ...]
    sampling: tuple[tuple[int, int], ...]
    icc_segments: tuple[bytes, ...]

    @property
    def mcu_px(self) -> tuple[int, int]:
        """Height and width in px of the smallest unit that all components share: 8 or 16, rarely 32."""
        return BLOCK_PX * self.sampling[0][0], BLOCK_PX * self.sampling[0][1]


def read_coefficients(data: bytes) -> Coefficients:
    """Returns the coefficients of a JPEG file.

    Args:
        data: the file.

    Raises:
        NotLosslessError: it is not such a JPEG as `parse_jpeg` passes, or libjpeg refuses it.
    """
    import jpeglib

    stream = parse_jpeg(data)
    image = _jpeglib_image(stream.width, stream.height, stream.sampling, content=stream.data)
    try:
        with jpeglib.version(LIBJPEG):
            image.load()
    except OSError as error:
        raise NotLosslessError("libjpeg refuses it") from error
    blocks = (image.Y,) if len(stream.sampling) == 1 else (image.Y, image.Cb, image.Cr)
    tables = tuple(np.array(image.qt[number]) for number in image.quant_tbl_no)
    if not all(table.all() for table in tables):
        raise NotLosslessError("a quantisation step is 0")
    return Coefficients(
        width=stream.width,
        height=stream.height,
        blocks=blocks,
        tables=tables,
        sampling=stream.sampling,
        icc_segments=stream.icc_segments,
    )


def crop(picture: Coefficients, box: Box) -> Coefficients:
    """Returns the part of a picture in a box.

    Args:
        picture: the whole.
        box: in px as stored; its left and upper edge lie on the grid of `mcu_px`.

    Raises:
        NotLosslessError: they do not.
    """
    (mcu_height, mcu_width), (x0, y0, x1, y1) = picture.mcu_px, box
    if x0 % mcu_width or y0 % mcu_height:
        raise NotLosslessError(f"{x0},{y0} is not on the grid of {mcu_width}x{mcu_height} px")
    parts = []
    for component, (vertical, horizontal) in zip(picture.blocks, picture.sampling, strict=True):
        top, left = y0 // mcu_height * vertical, x0 // mcu_width * horizontal
        rows = -(-(y1 - y0) * vertical // mcu_height)
        columns = -(-(x1 - x0) * horizontal // mcu_width)
        parts.append(component[top : top + rows, left : left + columns])
    return replace(picture, width=x1 - x0, height=y1 - y0, blocks=tuple(parts))


def turn(picture: Coefficients, orientation: int) -> Coefficients:
    """Returns the picture turned as `upright` turns pixels.

    Args:
        picture: as stored.
        orientation: EXIF orientation, 1 to 8.

    Raises:
        NotLosslessError: it is to be mirrored along an axis that is not a multiple of `mcu_px` long.
    """
    if orientation in QUARTER_TURNS:
        picture = Coefficients(
            width=picture.height,
            height=picture.width,
            blocks=tuple(part.transpose(1, 0, 3, 2) for part in picture.blocks),
            tables=tuple(table.T for table in picture.tables),
            sampling=tuple((horizontal, vertical) for vertical, horizontal in picture.sampling),
            icc_segments=picture.icc_segments,
        )
    blocks = picture.blocks
    if orientation in UPSIDE_DOWN:
        _require_multiple(picture.height, picture.mcu_px[0])
        blocks = tuple(part[::-1] * _SIGNS[:, None] for part in blocks)
    if orientation in MIRRORED:
        _require_multiple(picture.width, picture.mcu_px[1])
        blocks = tuple(part[:, ::-1] * _SIGNS for part in blocks)
    return replace(picture, blocks=blocks)


def write_jpeg(picture: Coefficients) -> bytes:
    """Returns a JPEG file: JFIF, baseline, with Huffman tables of its own and the colour profile.

    Raises:
        NotLosslessError: a coefficient is larger than a JPEG can hold.
    """
    import jpeglib

    image = _jpeglib_image(picture.width, picture.height, picture.sampling, icc_segments=picture.icc_segments)
    image.Y, *colour = (np.ascontiguousarray(part) for part in picture.blocks)
    if colour:
        image.Cb, image.Cr = colour
    image.qt = np.stack([np.ascontiguousarray(table) for table in picture.tables])
    image.quant_tbl_no = np.arange(len(picture.tables))
    if len(picture.tables) == 3 and np.array_equal(picture.tables[1], picture.tables[2]):
        image.quant_tbl_no[2] = 1
    with tempfile.TemporaryDirectory() as folder, jpeglib.version(LIBJPEG):
        path = Path(folder) / "crop.jpg"
        try:
            image.write_dct(str(path), flags=["+OPTIMIZE_CODING"])
        except OSError as error:
            raise NotLosslessError("libjpeg cannot write its coefficients") from error
        return path.read_bytes()


_SIGNS = np.array([1, -1] * (BLOCK_PX // 2), np.int16)


def _require_multiple(side_px: int, mcu_px: int) -> None:
    if side_px % mcu_px:
        raise NotLosslessError(
            f"a side of {side_px} px is no multiple of {mcu_px} and would have to be mirrored"
        )


def _jpeglib_image(
    width: int,
    height: int,
    sampling: tuple[tuple[int, int], ...],
    content: bytes | None = None,
    icc_segments: tuple[bytes, ...] = (),
) -> Any:
    """Returns jpeglib's object for a picture, from the header that was checked here.

    jpeglib's own reading of the header decodes the whole file and keeps markers in fixed arrays; it is passed by.
    """
    import jpeglib

    largest = sampling[0]
    dims = [
        [-(-height * vertical // (BLOCK_PX * largest[0])), -(-width * horizontal // (BLOCK_PX * largest[1]))]
        for vertical, horizontal in sampling
    ]
    markers = [
        jpeglib.Marker(type=jpeglib.MarkerType.JPEG_APP2, length=len(segment), content=segment)
        for segment in icc_segments
    ]
    return jpeglib.DCTJPEG(
        path=None,
        content=content,
        height=height,
        width=width,
        block_dims=np.array(dims),
        samp_factor=np.array(sampling),
        jpeg_color_space=jpeglib.JCS_GRAYSCALE if len(sampling) == 1 else jpeglib.JCS_YCbCr,
        num_scans=1,
        progressive_mode=False,
        huffmans=None,
        markers=markers,
        quant_tbl_no=None,
        qt=None,
        Y=None,
        Cb=None,
        Cr=None,
        K=None,
    )
