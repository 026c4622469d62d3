"""What a JPEG decoder guesses is measured: nothing on intact files, its share on cut and overwritten ones."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
import skimage
import sklearn
from pictures import exif_of, saved
from PIL import Image

from supir_images import BadImage, Fault, decode
from supir_images.jpeg_damage import EOI, guessed_share

PACKAGES = Path(skimage.__file__).parent.parent
INSTALLED = sorted(
    path
    for folder in ("skimage", "sklearn", "matplotlib", "gradio", "docs", "tests")
    for path in (PACKAGES / folder).rglob("*.jp*g")
)
PHOTO = Image.open(Path(sklearn.__file__).parent / "datasets/images/flower.jpg").convert("RGB")
COMPLAINT = "Corrupt JPEG data: premature end of data segment"
WAYS = [
    {"quality": 90},
    {"quality": 75, "subsampling": 0},
    {"quality": 95, "optimize": True},
    {"quality": 85, "restart_marker_rows": 2},
    {"quality": 85, "restart_marker_blocks": 7},
    {"quality": 85, "progressive": True},
]


def scan_start(data: bytes) -> int:
    """The first byte after the first scan's header."""
    at = data.index(b"\xff\xda")
    return at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def closed_early(data: bytes, share: float) -> bytes:
    start = scan_start(data)
    return data[: start + round((len(data) - start) * share)] + EOI


def overwritten(data: bytes, seed: int, *, scattered: bool) -> bytes:
    """The file with 1 % of its data changed, in one run in the middle or byte by byte in the middle fifth."""
    rng = np.random.default_rng(seed)
    start = scan_start(data)
    length = len(data) - start
    changed, count = bytearray(data), max(1, length // 100)
    at = start + length * 4 // 10
    places = rng.integers(at, at + length // 5, count) if scattered else np.arange(at, at + count)
    for place in places:
        changed[place] = int(rng.integers(0, 255))  # not 0xFF: no new marker, which decoders see at once
    return bytes(changed)


def zeroed(data: bytes, begin: float, end: float) -> bytes:
    """The file with a stretch of its data zero, as a transfer that was given up leaves a file made at full size."""
    start = scan_start(data)
    first, last = (start + round((len(data) - 2 - start) * share) for share in (begin, end))
    return data[:first] + bytes(last - first) + data[last:]


@pytest.mark.parametrize("end", [1.0, 0.6])
@pytest.mark.parametrize("options", [*WAYS, {"quality": 100, "subsampling": 0}], ids=str)
def test_what_was_never_written_is_guessed(options: dict, end: float) -> None:
    data = zeroed(saved(PHOTO, "JPEG", **options), 0.5, end)
    expected = 0.05 if end < 1 and "restart" in str(options) else 0.4
    assert outcome(data) > expected


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_ink_is_measured_like_light(share: float) -> None:
    ink = saved(PHOTO.convert("CMYK"), "JPEG", quality=90)
    assert decode(ink).guessed_share == 0
    assert outcome(closed_early(ink, share)) == pytest.approx(1 - share, abs=0.1)


def test_lost_data_before_a_restart_of_a_progressive_file_are_damage() -> None:
    data = saved(PHOTO, "JPEG", quality=85, progressive=True, restart_marker_rows=1)
    assert outcome(data) == 0
    assert outcome(zeroed(data, 0.3, 0.32)) == 1


def outcome(data: bytes) -> float:
    """The share that was guessed; 1 for what no decoder reads."""
    try:
        return decode(data).guessed_share
    except BadImage as error:
        return 1.0 if error.reason is Fault.UNDECODABLE else float("nan")


@pytest.mark.parametrize("path", INSTALLED, ids=lambda path: path.name)
def test_nothing_of_an_intact_photo_is_guessed(path: Path) -> None:
    data = path.read_bytes()
    decoded = decode(data)
    assert decoded.guessed_share == 0
    is_sequential = re.search(rb"\xff[\xc0\xc1]\0.\x08", data) is not None
    if is_sequential and len(data) < 400_000:
        assert guessed_share(data, COMPLAINT) == 0  # nor would the walk say so, if it were asked


@pytest.mark.parametrize("options", WAYS, ids=str)
def test_nothing_is_guessed_of_what_encoders_write(options: dict) -> None:
    for image in (PHOTO, PHOTO.convert("L"), PHOTO.crop((0, 0, 333, 250)), PHOTO.crop((0, 0, 17, 9))):
        data = saved(image, "JPEG", **options)
        assert decode(data).guessed_share == 0
        if "progressive" not in options:
            assert guessed_share(data, COMPLAINT) == 0


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_that_was_cut_and_closed(options: dict, share: float) -> None:
    guessed = outcome(closed_early(saved(PHOTO, "JPEG", **options), share))
    if "progressive" in options:
        assert guessed == 1
    else:
        assert guessed == pytest.approx(1 - share, abs=0.12)  # data are not spread evenly over the picture


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize("scattered", [False, True])
def test_data_that_were_overwritten(options: dict, scattered: bool) -> None:
    shares = [
        outcome(overwritten(saved(PHOTO, "JPEG", **options), seed, scattered=scattered)) for seed in range(6)
    ]
    assert min(shares) > 0.002, shares


def test_only_the_intervals_that_were_hit_are_lost() -> None:
    data = saved(PHOTO, "JPEG", quality=85, restart_marker_rows=1)
    changed = overwritten(data, 0, scattered=False)
    assert 0.01 < outcome(changed) < 0.1
    assert outcome(overwritten(saved(PHOTO, "JPEG", quality=85), 0, scattered=False)) > 0.4


def test_a_lost_interval_is_lost() -> None:
    data = saved(PHOTO, "JPEG", quality=85, restart_marker_rows=4)
    first, second = (match.start() for match in list(re.finditer(rb"\xff[\xd0-\xd7]", data))[:2])
    rows = -(-PHOTO.height // 16)
    assert guessed_share(data[:first] + data[second:], COMPLAINT) == pytest.approx(4 / rows, abs=0.01)


@pytest.mark.parametrize("stray", [b"\0", b"ab", b"\xff\xff", b"\0" * 100])
def test_stray_bytes_between_segments_and_padding_at_the_end_are_no_damage(stray: bytes) -> None:
    data = saved(PHOTO, "JPEG", quality=85)
    for marker in (b"\xff\xdb", b"\xff\xc0", b"\xff\xc4"):
        at = data.index(marker)
        assert outcome(data[:at] + stray + data[at:]) == 0
    if stray != b"ab" or len(stray) <= 2:
        assert outcome(data[:-2] + stray + EOI) == 0
    assert outcome(data + b"trailer") == 0


def test_a_file_that_lacks_only_its_end_mark_is_whole_and_one_that_lacks_more_is_refused() -> None:
    data = saved(PHOTO, "JPEG", quality=85)
    whole = decode(data)
    assert np.array_equal(decode(data[:-2]).rgb, whole.rgb)
    assert decode(data[:-2]).guessed_share == 0
    with pytest.raises(BadImage, match="truncated") as error:
        decode(data[: len(data) // 2])
    assert error.value.reason is Fault.UNDECODABLE


def test_a_phone_photo_with_a_second_picture_behind_it_is_intact() -> None:
    data = saved(PHOTO, "MPO", save_all=True, append_images=[PHOTO.resize((60, 40))], exif=exif_of(6))
    decoded = decode(data)
    assert (decoded.header.format, decoded.header.orientation, decoded.guessed_share) == ("jpg", 6, 0)
    assert (decoded.header.width, decoded.header.height) == PHOTO.size


def test_other_kinds_have_no_such_score() -> None:
    assert np.isnan(decode(saved(PHOTO, "PNG")).guessed_share)


def test_the_pixels_of_a_damaged_file_are_those_that_pillow_gives() -> None:
    data = closed_early(saved(PHOTO, "JPEG", quality=85), 0.5)
    assert np.array_equal(decode(data).rgb, np.asarray(Image.open(io.BytesIO(data))))


def test_tables_that_make_no_sense_are_damage_and_no_error() -> None:
    data = saved(PHOTO, "JPEG", quality=85)
    at = data.index(b"\xff\xdd") if b"\xff\xdd" in data else data.index(b"\xff\xc4")
    for broken in (data[:at] + data[at + 200 :], data[:4], b"\xff\xd8\xff\xd9", b""):
        assert guessed_share(broken, COMPLAINT) == 1
