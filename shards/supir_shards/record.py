"""What one sample is. Read this file first.

Place in the flow: every stage makes, reads or enriches samples; this package writes them to disk and reads
them back.

A sample is one stored picture with what is known about it. On disk it is three things that share one key:

    KEY.jpg | KEY.png | KEY.webp   the stored bytes, in shards/PART.tar
    KEY.json                       what must travel with it, right after the picture (``sample_json``)
    one row of index/PART.parquet  the same but for its origin, and scores and place (``schema.INDEX_SCHEMA``)

The law: the ``key`` of a whole picture is the first 32 hex digits of the SHA-256 of the *original* bytes, that
of a crop follows from the original's hash and the box (``crop_key``), so the same photo, and the same crop of
it, has the same key in every run; ``sha256`` in the index is that of the *stored* bytes. ``source_key`` is the key
of the photo that a sample was made from, its own for a whole photo: all crops, negatives and pairs of one photo
share it, so whoever holds photos out holds them out by it. A stored picture stands upright: readers apply no EXIF
orientation, so whoever stores one turns its pixels first. File names, column names and the key rules never change
after the first release.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

EXTENSIONS = ("jpg", "png", "webp")
KEY_LENGTH = 32

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in px of the stored picture; x1 and y1 are exclusive."""

MIN_COVERAGE = 0.5
"""A region's caption describes a crop only if the region holds at least half of it."""


class DatasetError(ValueError):
    """A dataset, or what is to be written to one, is wrong; the message is one finished line for the user."""


class Role(StrEnum):
    """What a sample is for in training."""

    PHOTO = "photo"
    FACE = "face"
    NEGATIVE = "negative"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The file that a stored picture came from, and what was done to it; "" and 0 stand for what is not known.

    ``sha256``, ``bytes``, ``width``, ``height`` (px before EXIF turns them), ``format``, ``mode``, ``bit_depth``,
    ``exif_orientation``, ``icc_profile`` (its description) and ``final_url`` (after redirects) are the
    original file's. ``box`` is what the stored picture shows, in px of the upright original; ``scale`` is stored px
    per px of that, in x. ``is_original``: the stored bytes are the file's. ``reencoded``: the pixels went through a
    lossy encoder or a model. ``not_lossless`` says why a JPEG at its own scale was encoded again.
    ``parent_key`` and ``parent_box``: the stored sample, and the px of it, that a negative or a pair was made
    from. ``producer`` is the command that made it, without arguments.
    """

    producer: str = ""
    sha256: str = ""
    bytes: int = 0
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    bit_depth: int = 0
    exif_orientation: int = 0
    icc_profile: str = ""
    final_url: str = ""
    box: Box = (0, 0, 0, 0)
    scale: float = 1.0
    is_original: bool = False
    reencoded: bool = False
    converted_to_srgb: bool = False
    not_lossless: str = ""
    parent_key: str = ""
    parent_box: Box = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One picture with what is known about it: what a stage hands to ``write_part``.

    Width and height are those of the stored picture in px. ``text`` is the alt text that came with the photo.
    ``scores`` holds every score known, by name. ``texture`` is a uint8 map of ``texture_shape`` = (rows, columns)
    cells, row-major, 0 to 255. ``source_key`` left out is the sample's own key. ``trace`` is the maker's own record
    as text, "" without: the degradation of an LQ, the prompt of a negative, both JSON.
    """

    key: str
    image: bytes
    extension: str
    role: Role
    width: int
    height: int
    source: str = ""
    licence: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    texture: bytes = b""
    texture_shape: tuple[int, int] = (0, 0)
    text: str = ""
    source_key: str = ""
    origin: Origin = Origin()
    trace: str = ""

    def __post_init__(self) -> None:
        if not self.source_key:
            object.__setattr__(self, "source_key", self.key)

    def origin_of_part(self, box: Box, width: int, producer: str) -> Origin:
        """The origin of a picture that is made from a part of this one.

        Args:
            box: the part, in px of this stored picture.
            width: of the new picture in px.
            producer: the command that makes it.
        """
        left, top, right, bottom = self.origin.box
        across, down = (right - left) / self.width, (bottom - top) / self.height
        if not (across and down):  # a sample whose place in its original nobody noted
            left, top, across, down = 0, 0, 1.0, 1.0
        x0, x1 = (left + round(x * across) for x in (box[0], box[2]))
        y0, y1 = (top + round(y * down) for y in (box[1], box[3]))
        return replace(
            self.origin,
            producer=producer,
            box=(x0, y0, x1, y1),
            scale=width / max(1, x1 - x0),
            is_original=False,
            reencoded=True,
            parent_key=self.key,
            parent_box=box,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """The text for one region of one sample; region 0 is the whole picture.

    ``text`` is the long form, ``short_text`` the form that fits CLIP's 77 tokens; the two token counts are
    those of ``short_text`` with SDXL's two tokenizers. ``checks`` maps a check's name to its verdict.
    """

    key: str
    region: int
    box: Box
    text: str
    short_text: str
    num_tokens_clip_l: int
    num_tokens_clip_g: int
    checks: dict[str, str] = field(default_factory=dict)
    model: str = ""
    prompt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Sample):
    """A sample as it was read back: with its part and, if asked for, its captions."""

    part: str
    captions: tuple[Caption, ...] = ()

    def caption_for(self, box: Box) -> Caption | None:
        """The caption that describes a crop best, or None if the sample has none that does."""
        return caption_for(self.captions, box)


def sample_key(data: bytes) -> str:
    """The key of a sample: the first 32 hex digits of the SHA-256 of its original bytes."""
    return hashlib.sha256(data).hexdigest()[:KEY_LENGTH]


def is_held_out(source_key: str, share: float) -> bool:
    """Whether a photo is among the `share` of all that training must not see, in no crop and no negative made from it.

    A photo stays on its side for ever; what a smaller share holds out a larger one does too.

    Args:
        source_key: of the photo, or of any sample that was made from it.
        share: 0 to 1, of all photos.
    """
    return int(source_key[:8], 16) / 2**32 < share


def crop_key(original_sha256: str, box: Box, size: tuple[int, int]) -> str:
    """The key of a crop: the same wherever that box of that photo is stored at that size, however it is encoded.

    Args:
        original_sha256: of the original bytes, 64 hex digits.
        box: in px of the upright original.
        size: stored width and height in px.
    """
    return sample_key(f"{original_sha256} {box[0]},{box[1]},{box[2]},{box[3]} {size[0]}x{size[1]}".encode())


def caption_for(captions: Sequence[Caption], box: Box) -> Caption | None:
    """The caption of the region that covers a crop best; the whole picture's where none covers half.

    Args:
        captions: captions of one sample, in any order.
        box: the crop, in px of the stored picture.

    Best is the largest intersection over union with the crop, so that a text about much more than the crop,
    or about less, gives way; the whole picture takes part. Of equals the lower region number wins. A place that
    its captioner has no text for (``no_caption`` in its checks) describes nothing.
    """
    return max(
        (
            one
            for one in captions
            if one.text and (one.region == 0 or _overlap(one.box, box) >= MIN_COVERAGE * _area(box))
        ),
        key=lambda one: (_intersection_over_union(one.box, box), -one.region),
        default=None,
    )


def _area(box: Box) -> int:
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


def _overlap(one: Box, other: Box) -> int:
    start = max(one[0], other[0]), max(one[1], other[1])
    return _area((*start, min(one[2], other[2]), min(one[3], other[3])))


def _intersection_over_union(one: Box, other: Box) -> float:
    overlap = _overlap(one, other)
    return overlap / max(1, _area(one) + _area(other) - overlap)
