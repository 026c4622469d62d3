"""Which photos of a dataset a job works on, and their pixels.

Place in the flow: `preview`, `pairs` and `negatives` start here. The law it keeps: the choice is a function
of the dataset, the seed and the count; it does not depend on the order of parts and reads no picture.
"""

from __future__ import annotations

import hashlib
import heapq
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from supir_console import UserError
from supir_images import BadImage, decode_rgb
from supir_shards import Box, Dataset, DatasetError, Record, Role, Sample, is_held_out

COLUMNS = ["key", "source_key", "role", "width", "height"]


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo as it is stored, and its pixels, uint8 (H, W, 3) RGB."""

    record: Record
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """One chosen photo: its part, its row in the part's index, and its key."""

    part: str
    row: int
    key: str


class UnreadablePhotoError(ValueError):
    """A photo's bytes are damaged; the message says how."""


def choose_sources(
    dataset: Dataset, *, count: int, min_side_px: int, seed: int, held_out_share: float = 1.0
) -> list[Source]:
    """Returns `count` photos, sorted by part and row: those with the smallest hash of (seed, key).

    Args:
        dataset: where to choose; negatives in it are passed over.
        count: how many.
        min_side_px: shorter side that a photo needs at least, px.
        seed: another seed chooses other photos.
        held_out_share: only of this share of the photos, which a training that holds it out never sees; 1: of all.

    Raises:
        UserError: the dataset has fewer such photos.
        DatasetError: the dataset is not finished, damaged, or of another format.
    """
    dataset.manifest  # noqa: B018  # a choice among the photos that happen to be there would not be repeatable
    eligible = _eligible(dataset, min_side_px, held_out_share)
    ranked = heapq.nsmallest(count, ((_rank(seed, found.key), found) for found in eligible))
    if len(ranked) < count or not ranked:
        raise UserError(
            f"{dataset.store.url} has {len(ranked)} photos of {min_side_px} px or more on the shorter side"
            f"{_told(held_out_share)}, {count} were asked for; ask for fewer (--count) or smaller ones (--crop, "
            "--set size_px=…)"
        )
    return sorted(found for _, found in ranked)


def by_part(sources: Sequence[Source]) -> dict[str, list[Source]]:
    """Returns the sources grouped by part, in their order."""
    groups: dict[str, list[Source]] = {}
    for source in sources:
        groups.setdefault(source.part, []).append(source)
    return groups


def read_photo(dataset: Dataset, source: Source, row: dict[str, Any]) -> Photo:
    """Returns the photo.

    Args:
        dataset: where the photo is.
        source: which one.
        row: its row of the part's index.

    Raises:
        UnreadablePhotoError: its bytes are missing, altered or no picture, or of another size than the index says.
    """
    try:
        record = dataset.read_sample(source.part, row)
        photo = decode_rgb(record.image)
    except (DatasetError, BadImage, OSError) as error:
        raise UnreadablePhotoError(f"{source.part}/{source.key}: {error}") from error
    height, width = photo.shape[:2]
    if (width, height) != (row["width"], row["height"]):
        raise UnreadablePhotoError(
            f"{source.part}/{source.key}: is {width}x{height} px, its index says {row['width']}x{row['height']}"
        )
    return Photo(record, photo)


def made_from(photo: Record, box: Box, command: str, **sample: Any) -> Sample:
    """Returns a square PNG sample that was made from a part of a photo, with what the photo says of itself.

    Args:
        photo: its role, source, licence, text and source key are taken over.
        box: the part, in px of the stored photo.
        command: what made it.
        sample: the other fields; `key`, `image` and `width` at least.
    """
    told: dict[str, Any] = {
        "extension": "png",
        "height": sample["width"],
        "role": photo.role,
        "source": photo.source,
        "licence": photo.licence,
        "text": photo.text,
        "source_key": photo.source_key,
        "origin": photo.origin_of_part(box, sample["width"], command),
    }
    return Sample(**told | sample)


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Returns the uint8 (H, W, 3) RGB picture as PNG bytes, the same every time."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _told(held_out_share: float) -> str:
    return f" among those held out with held_out_share={held_out_share:g}" if held_out_share < 1 else ""


def _eligible(dataset: Dataset, min_side_px: int, held_out_share: float) -> Iterator[Source]:
    for part in dataset.parts():
        rows = dataset.index(part).select(COLUMNS).to_pylist()
        for number, row in enumerate(rows):
            is_fit = row["role"] != Role.NEGATIVE and min(row["width"], row["height"]) >= min_side_px
            if is_fit and is_held_out(row["source_key"], held_out_share):
                yield Source(part=part, row=number, key=row["key"])


def _rank(seed: int, key: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{key}".encode()).digest()
