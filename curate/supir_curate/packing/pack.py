"""The kept pictures of one part written as a shard: whole, or cut into crops, each with what was done to it.

Place in the flow: after `select`; the work unit that `cluster` runs many of. `crops` says what is stored of a picture,
`regions` makes its bytes. The law: what was done to a picture stands in its origin (KEY.json); its bytes are those that
were scored (SHA-256), and a picture that changed or went since is left out and noted. A whole picture has its ledger
row's key, a crop one that follows from its photo's hash, its box and its size.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from supir_console import UserError, config_hash
from supir_curate.config import CurateConfig
from supir_curate.config.pack import PackConfig
from supir_curate.failures import note_changed
from supir_curate.ledger import read_scores
from supir_curate.packing.carry import carried_samples
from supir_curate.packing.crops import Layout, cut_texture, lay_out
from supir_curate.packing.regions import Region, store_regions
from supir_curate.scores import PREFIX
from supir_curate.selection.select import KEPT, PACKING, load_selection, selection_path
from supir_curate.sources.originals import Original, read_originals
from supir_curate.sources.plan import Plan, read_state
from supir_images import Header, read_header
from supir_images.orientation import upright
from supir_shards import Origin, Role, Sample, Store, crop_key, write_part

PRODUCER = "supir-curate"
LAYOUT_COLUMNS = ("width", "height", "score.effective_ratio", "texture", "texture_rows", "texture_cols")


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
    roles = {row["source_row"]: Role(row["role"]) for row in selection if row["state"] == KEPT}
    ledger = {row["source_row"]: row for row in read_scores(store, part).to_pylist()}
    if roles and plan.piece_of(part).kind == "dataset":
        return write_part(store, part, carried_samples(store, plan, part, ledger, roles)).num_samples
    max_bytes = config.fetch.policy.max_bytes
    originals = read_originals(store, plan, part, roles.__contains__, max_bytes) if roles else iter(())
    return write_part(store, part, _samples(store, part, originals, ledger, roles, config.pack)).num_samples


def _samples(
    store: Store,
    part: str,
    originals: Iterator[Original],
    ledger: dict[int, Any],
    roles: dict[int, Role],
    config: PackConfig,
) -> Iterator[Sample]:
    changed = []
    for original in originals:
        row = ledger[original.row]
        if hashlib.sha256(original.data).hexdigest() == row["sha256"]:
            yield from make_samples(original, row, roles[original.row], config)
            continue
        seen = original.detail or f"other bytes: {len(original.data)}, scored were {row['bytes']}"
        changed.append((original.row, original.url, seen))
    note_changed(store, part, changed)  # before the index, which marks the part as done


def layout_of(row: dict[str, Any], config: PackConfig) -> Layout:
    """Returns what is stored of a picture, by its ledger row alone.

    Args:
        row: `LAYOUT_COLUMNS`.
        config: mode, sizes and limits.
    """
    return lay_out(row["width"], row["height"], _texture(row), row["score.effective_ratio"], config)


def make_samples(original: Original, row: dict[str, Any], role: Role, config: PackConfig) -> list[Sample]:
    """Returns the samples of a kept picture: one if it is stored whole, else one a crop, richest in texture first.

    Args:
        original: its bytes, alt text and licence.
        row: its ledger row.
        role: what it was selected for.
        config: mode, sizes and JPEG quality.
    """
    header, layout = read_header(original.data), layout_of(row, config)
    regions = store_regions(original.data, header, layout, config.jpeg_quality)
    scores = {name.removeprefix(PREFIX): value for name, value in row.items() if name.startswith(PREFIX)}
    samples = []
    for box, region in zip(layout.boxes, regions, strict=True):
        texture = upright(cut_texture(_texture(row), layout, box), header.orientation)
        sample = Sample(
            key=row["key"] if layout.is_whole else crop_key(row["sha256"], region.box, region.size),
            image=region.image,
            extension=region.extension,
            role=role,
            width=region.size[0],
            height=region.size[1],
            source=original.url,
            licence=original.licence,
            scores={
                name: value for name, value in scores.items() if value is not None and not math.isnan(value)
            },
            texture=texture.tobytes(),
            texture_shape=texture.shape,
            text=original.text,
            source_key=row["key"],
            origin=_origin(original, header, region),
        )
        samples.append(sample)
    return samples


def _texture(row: dict[str, Any]) -> NDArray[np.uint8]:
    return np.frombuffer(row["texture"], np.uint8).reshape(row["texture_rows"], row["texture_cols"])


def _origin(original: Original, header: Header, region: Region) -> Origin:
    return Origin(
        producer=PRODUCER,
        sha256=hashlib.sha256(original.data).hexdigest(),
        bytes=len(original.data),
        width=header.width,
        height=header.height,
        format=header.format,
        mode=header.mode,
        bit_depth=header.bit_depth,
        exif_orientation=header.orientation,
        icc_profile=header.icc_profile or "",
        final_url=original.evidence.final_url or "",
        box=region.box,
        scale=region.size[0] / (region.box[2] - region.box[0]),
        is_original=region.is_original,
        reencoded=region.reencoded,
        converted_to_srgb=region.converted_to_srgb,
        not_lossless=region.not_lossless,
    )
