"""The kept pictures of one part written as a shard: original bytes wherever they fit, encoded once, in sRGB, where not.

Place in the flow: after `select`; the work unit that `cluster` runs many of. The law: a picture is never enlarged and
never encoded twice, and stands upright without its EXIF orientation; what was done to it stands in its metadata; its
bytes are those that were scored (SHA-256), and a picture that changed or went since is left out and noted. Reducing
goes to the longest allowed side, but never takes the short side below the training size.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from supir_console import UserError, config_hash
from supir_curate.config import CurateConfig, PackConfig
from supir_curate.failures import note_changed
from supir_curate.originals import Original, read_originals
from supir_curate.picture import Header, decode_srgb, read_header
from supir_curate.plan import Plan, read_state
from supir_curate.scores import SCORE_NAMES
from supir_curate.select import KEPT, PACKING, load_selection, selection_path
from supir_curate.upright import upright, upright_size
from supir_shards import Role, Sample, Store, ledger_path, write_part

STORABLE = ("jpg", "png", "webp")


class Packing(BaseModel):
    """The content of `packing.json`: under what the shards were begun."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    select_hash: str
    pack_hash: str


def begin_packing(store: Store, config: PackConfig) -> None:
    """Notes under which selection and config the dataset is packed, before its first shard.

    Raises:
        UserError: nothing was selected, packing began under another selection or config, or its note is damaged.
    """
    packing = Packing(select_hash=load_selection(store).select_hash, pack_hash=config_hash(config))
    if not store.exists(PACKING):
        store.write(PACKING, packing.model_dump_json(indent=1).encode() + b"\n")
        return
    begun = read_state(
        store, PACKING, Packing, "delete it and pack again with the config that packing was begun under"
    )
    if begun != packing:
        raise UserError(
            f"{store.url} was packed under {begun.select_hash}/{begun.pack_hash} (selection/pack config), this is"
            f" {packing.select_hash}/{packing.pack_hash}; select into a new dataset with -o NEW and pack that"
        )


def pack_part(dataset: str, plan: Plan, part: str, config: CurateConfig) -> int:
    """Writes and commits a part's shard; returns its number of samples.

    Pictures that are no longer what was scored are left out and noted.

    Args:
        dataset: path or URL of the dataset.
        plan: its plan.
        part: name of the part.
        config: its pack and probe sections.

    Raises:
        UserError: the fetched bytes are gone.
    """
    store = Store(dataset)
    selection = store.read_table(selection_path(part)).to_pylist()
    kept = {row["source_row"] for row in selection if row["state"] == KEPT}
    ledger = {row["source_row"]: row for row in store.read_table(ledger_path(part)).to_pylist()}
    max_bytes = config.fetch.policy.max_bytes
    originals = read_originals(store, plan, part, kept.__contains__, max_bytes) if kept else iter(())
    return write_part(store, part, _samples(store, part, originals, ledger, config.pack)).num_samples


def _samples(
    store: Store, part: str, originals: Iterator[Original], ledger: dict[int, Any], config: PackConfig
) -> Iterator[Sample]:
    changed = []
    for original in originals:
        row = ledger[original.row]
        if hashlib.sha256(original.data).hexdigest() == row["sha256"]:
            yield make_sample(original, row, config)
            continue
        seen = original.detail or f"other bytes: {len(original.data)}, scored were {row['bytes']}"
        changed.append((original.row, original.url, seen))
    note_changed(store, part, changed)  # before the index, which marks the part as done


def make_sample(original: Original, row: dict[str, Any], config: PackConfig) -> Sample:
    """Returns the sample of a kept picture.

    Args:
        original: its bytes, alt text and licence.
        row: its ledger row.
        config: sizes and JPEG quality.
    """
    header = read_header(original.data)
    full_size = upright_size(header.width, header.height, header.orientation)
    size = stored_size(*full_size, config)
    is_original = size == full_size and _is_storable(header)
    image, is_converted = original.data, False
    if not is_original:
        image, is_converted = _encoded(original.data, header.orientation, size, config)
    texture = np.frombuffer(row["texture"], np.uint8).reshape(row["texture_rows"], row["texture_cols"])
    texture = upright(texture, header.orientation)
    scores = {name: row[f"score.{name}"] for name in SCORE_NAMES}
    return Sample(
        key=row["key"],
        image=image,
        extension=header.format if is_original else "jpg",
        role=Role.PHOTO,
        width=size[0],
        height=size[1],
        source=original.url,
        licence=original.licence,
        scores={name: value for name, value in scores.items() if not math.isnan(value)},
        texture=texture.tobytes(),
        texture_shape=texture.shape,
        metadata=_metadata(original, header, reencoded=not is_original, converted_to_srgb=is_converted),
    )


def stored_size(width: int, height: int, config: PackConfig) -> tuple[int, int]:
    """Returns the stored width and height in px: the original's, or reduced in proportion.

    Example:
        >>> stored_size(6000, 4000, PackConfig(max_side_px=2048, size_px=1024))
        (2048, 1365)
        >>> stored_size(6000, 1500, PackConfig(max_side_px=2048, size_px=1024))
        (4096, 1024)
        >>> stored_size(2048, 700, PackConfig(max_side_px=2048, size_px=1024))
        (2048, 700)
    """
    scale = max(config.max_side_px / max(width, height), config.size_px / min(width, height))
    if scale >= 1:
        return width, height
    return round(width * scale), round(height * scale)


def _is_storable(header: Header) -> bool:
    return header.is_plain and header.orientation == 1 and header.format in STORABLE


def _encoded(data: bytes, orientation: int, size: tuple[int, int], config: PackConfig) -> tuple[bytes, bool]:
    """Returns the upright picture as JPEG with full-resolution colour, and whether a profile was applied.

    It is reduced by Lanczos if it is to be smaller.
    """
    from PIL import Image

    rgb, is_converted = decode_srgb(data)
    image = Image.fromarray(upright(rgb, orientation))
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=config.jpeg_quality, subsampling=0, optimize=True)
    return sink.getvalue(), is_converted


def _metadata(original: Original, header: Header, **done: bool) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "original": {
            "sha256": hashlib.sha256(original.data).hexdigest(),
            "bytes": len(original.data),
            "width": header.width,
            "height": header.height,
            "format": header.format,
            "mode": header.mode,
            "bit_depth": header.bit_depth,
            "exif_orientation": header.orientation,
            "icc_profile": header.icc_profile,
        },
        **done,
    }
    if original.text:
        metadata["alt_text"] = original.text
    if original.evidence.final_url:
        metadata["final_url"] = original.evidence.final_url
    return metadata
