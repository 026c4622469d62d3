from __future__ import annotations

import cv2
import numpy as np
import pytest

from supir_console import UserError
from supir_degrade.codecs import avif, jpeg, to_uint8, webp
from supir_degrade.video import video_frame


@pytest.fixture(scope="module")
def face(astronaut: np.ndarray) -> np.ndarray:
    return astronaut[32:160, 160:288].astype(np.float32) / 255


def _error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean((a - b) ** 2))


def test_jpeg_agrees_with_opencvs_encoder(face: np.ndarray) -> None:
    bgr = to_uint8(face)[..., ::-1]
    encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
    expected = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]
    got = to_uint8(jpeg(face, quality=40, subsampling="4:2:0", progressive=False))
    # The two link different builds of libjpeg-turbo; their inverse transforms differ by a rounding.
    assert np.abs(got.astype(int) - expected).max() <= 3


def test_progressive_jpeg_changes_no_pixel(face: np.ndarray) -> None:
    baseline, progressive = (
        jpeg(face, quality=50, subsampling="4:2:0", progressive=scans) for scans in (False, True)
    )
    np.testing.assert_array_equal(baseline, progressive)


def test_full_chroma_keeps_colour_edges_that_halved_chroma_smears() -> None:
    stripes = np.zeros((64, 64, 3), np.float32)
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 1
    full, halved = (
        _error(jpeg(stripes, quality=95, subsampling=layout, progressive=False), stripes)
        for layout in ("4:4:4", "4:2:0")
    )
    assert full < 0.01 * halved


@pytest.mark.parametrize(
    "through",
    [
        lambda image, quality: jpeg(image, quality=quality, subsampling="4:2:0", progressive=False),
        lambda image, quality: webp(image, quality=quality, method=4),
        lambda image, quality: avif(image, quality=quality, speed=9),
    ],
    ids=["jpeg", "webp", "avif"],
)
def test_lower_quality_is_farther_from_the_picture_and_repeatable(face: np.ndarray, through: object) -> None:
    errors = [_error(through(face, quality), face) for quality in (90, 60, 25)]
    assert 0 < errors[0] < errors[1] < errors[2] < 0.01
    np.testing.assert_array_equal(through(face, 60), through(face, 60))


def test_values_outside_the_range_are_clipped_before_rounding() -> None:
    values = np.array([-0.2, 0.0, 0.4999 / 255, 0.5001 / 255, 1.7], np.float32)
    np.testing.assert_array_equal(to_uint8(values), [0, 0, 0, 1, 255])


def _h264(image: np.ndarray) -> np.ndarray:
    return video_frame(image, codec="h264", crf=30, preset="ultrafast", matrix="bt709")


@pytest.mark.parametrize(
    ("name", "limit_px", "through"),
    [
        ("WEBP", 16383, lambda image: webp(image, quality=50, method=0)),
        ("AVIF", 32768, lambda image: avif(image, quality=50, speed=10)),
        ("JPEG", 65500, lambda image: jpeg(image, quality=50, subsampling="4:2:0", progressive=False)),
        ("h264", 16384, _h264),
    ],
)
def test_the_longest_side_passes_and_one_more_is_refused_with_both(
    name: str, limit_px: int, through: object
) -> None:
    assert through(np.zeros((16, limit_px, 3), np.float32)).shape == (16, limit_px, 3)
    with pytest.raises(
        UserError, match=rf"{name} takes sides up to {limit_px} px, .* got one of {limit_px + 1} px; degrade"
    ):
        through(np.zeros((limit_px + 1, 16, 3), np.float32))


def test_a_strip_that_x265_does_not_take_is_named_with_its_size() -> None:
    with pytest.raises(
        UserError, match=r"libx265 takes no picture of 8192 x 16 px \(.*\), though both sides"
    ):
        video_frame(
            np.zeros((16, 8192, 3), np.float32), codec="h265", crf=30, preset="ultrafast", matrix="bt709"
        )
