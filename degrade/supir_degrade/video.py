"""One intra frame through H.264 or H.265: what a still taken from a video carries.

Place in the flow: called by `pipeline`. The image is clipped to 0..1 and rounded to 8 bits before it is encoded. The
law it keeps: the same image and numbers give the same bytes; every library runs on one thread.
Source: x264 and x265 through FFmpeg (PyAV); colours by libswscale with the matrices of BT.601 and BT.709, limited
range, 4:2:0.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from supir_console import UserError
from supir_degrade.codecs import check_sides, to_uint8
from supir_degrade.trace import ColourMatrix, VideoCodec, VideoPreset

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.reformatter import Interpolation

Image = NDArray[np.float32]
MIN_SIDE_PX = 16  # x265 takes no smaller picture
MAX_SIDE_PX = 16384  # x264 takes no larger one
FRAME_RATE = 25
ENCODERS: dict[VideoCodec, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"x264-params": "keyint=1:threads=1"}),
    "h265": ("libx265", {"x265-params": "keyint=1:pools=none:frame-threads=1:log-level=none"}),
}
DECODERS: dict[VideoCodec, str] = {"h264": "h264", "h265": "hevc"}
# libswscale's numbers of the two matrices.
MATRICES: dict[ColourMatrix, int] = {"bt709": 1, "bt601": 5}


def video_frame(
    image: Image, *, codec: VideoCodec, crf: int, preset: VideoPreset, matrix: ColourMatrix
) -> Image:
    """Returns the image after one intra frame.

    Odd sides, and sides below 16 px, are filled up by repeating the border and cut again.

    Args:
        image: float32 (H, W, 3) RGB; clipped to 0..1.
        codec: "h264" (x264) or "h265" (x265).
        crf: constant rate factor, 1 (best) to 51.
        preset: effort of the encoder.
        matrix: "bt601" (small videos) or "bt709" (720 lines and more), the same on both ways.

    Raises:
        UserError: PyAV is not installed, a side is above 16384 px, or the encoder refuses the shape.
    """
    require_pyav()
    check_sides(image, codec, MAX_SIDE_PX)
    height, width = image.shape[:2]
    bottom, right = (max(MIN_SIDE_PX, side + side % 2) - side for side in (height, width))
    pixels = cv2.copyMakeBorder(to_uint8(image), 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    frame = _through_codec(_to_yuv(pixels, matrix), codec, crf, preset)
    decoded = _to_rgb(frame, matrix)[:height, :width]
    return decoded.astype(np.float32) / np.float32(255)


def require_pyav() -> None:
    """Refuses to go on where PyAV cannot be imported.

    Raises:
        UserError: it is not installed.
    """
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"the video step needs PyAV ({error}); install it: pip install 'supir-stack[degrade]'"
        ) from error


def _through_codec(frame: VideoFrame, codec: VideoCodec, crf: int, preset: VideoPreset) -> VideoFrame:
    from av import CodecContext
    from av.error import FFmpegError

    name, options = ENCODERS[codec]
    encoder: Any = CodecContext.create(name, "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuv420p"
    encoder.framerate, encoder.time_base = Fraction(FRAME_RATE, 1), Fraction(1, FRAME_RATE)
    encoder.thread_count = 1
    encoder.options = {"crf": str(crf), "preset": preset, **options}
    decoder: Any = CodecContext.create(DECODERS[codec], "r")
    decoder.thread_count = 1
    frame.pts = 0
    try:
        packets = [*encoder.encode(frame), *encoder.encode(None)]
    except FFmpegError as error:
        raise UserError(
            f"{name} takes no picture of {frame.width} x {frame.height} px ({error.strerror}), though both sides are "
            f"up to {MAX_SIDE_PX} px; degrade crops that are less narrow"
        ) from error
    decoded: list[VideoFrame] = [picture for packet in (*packets, None) for picture in decoder.decode(packet)]
    assert len(decoded) == 1, f"{name} gave {len(decoded)} pictures for one"
    return decoded[0]


def _to_yuv(pixels: NDArray[np.uint8], matrix: ColourMatrix) -> VideoFrame:
    """The 8-bit 4:2:0 frame of limited range of a uint8 (H, W, 3) RGB picture, chroma averaged."""
    from av.video.frame import VideoFrame
    from av.video.reformatter import ColorRange, VideoReformatter

    return VideoReformatter().reformat(
        VideoFrame.from_ndarray(pixels, format="rgb24"),
        format="yuv420p",
        src_colorspace=MATRICES[matrix],
        dst_colorspace=MATRICES[matrix],
        interpolation=_scaler(),
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        threads=1,
    )


def _to_rgb(frame: VideoFrame, matrix: ColourMatrix) -> NDArray[np.uint8]:
    """The uint8 (H, W, 3) RGB picture of a decoded frame."""
    from av.video.reformatter import ColorRange, VideoReformatter

    picture = VideoReformatter().reformat(
        frame,
        format="rgb24",
        src_colorspace=MATRICES[matrix],
        dst_colorspace=MATRICES[matrix],
        interpolation=_scaler(),
        src_color_range=ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        threads=1,
    )
    return np.asarray(picture.to_ndarray(), dtype=np.uint8)


def _scaler() -> Interpolation:
    """Without accurate rounding libswscale darkens a picture by 1.3 of 255 on the way there and back."""
    from av.video.reformatter import Interpolation as Scaler

    return (
        Scaler.BILINEAR
        | Scaler.ACCURATE_RND
        | Scaler.BITEXACT
        | Scaler.FULL_CHR_H_INT
        | Scaler.FULL_CHR_H_INP
    )
