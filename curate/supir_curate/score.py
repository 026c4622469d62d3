"""One part measured: originals in, the part's ledger out.

Place in the flow: the work unit that `cluster` runs many of. The law: every candidate of the part gets one ledger row,
with all scores or with the reason why it has none; the ledger file is written last and whole, and is the mark that
the part is done. A candidate without scores is done too, and is never looked at again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from supir_curate.carry import Brought, looked_at
from supir_curate.config import CurateConfig, ProbeConfig
from supir_curate.measure import Measurement, measure
from supir_curate.pictures.memory import keep_freed_memory
from supir_curate.pictures.picture import Picture, decode
from supir_curate.scores import PROBES_STAMP, SCORE_NAMES, probes_stamp
from supir_curate.sources.originals import Original, read_originals, valid_text
from supir_curate.sources.plan import Plan, read_candidates
from supir_curate.tombstones import REMOVED_URL, is_buried, read_tombstones, without_removed
from supir_curate.verdict import Reason, Tally
from supir_images import BadImage
from supir_images.orientation import stored_again
from supir_shards import Store, ledger_path, ledger_schema
from supir_shards.record import KEY_LENGTH

OK, FAILED, REMOVED = "ok", "failed", "removed"  # status in the ledger
MAX_DETAIL = 200  # characters of a library's words in the ledger

Look = Callable[[Original, ProbeConfig], dict[str, Any]]


def score_part(dataset: str, plan: Plan, part: str, config: CurateConfig) -> Tally:
    """Measures a part into its ledger and returns its counts; `kept` are the measured ones.

    Args:
        dataset: path or URL of the dataset.
        plan: its plan.
        part: name of the part; for URL sources its spool file must be there.
        config: the scoring config.
    """
    import pyarrow as pa

    keep_freed_memory()
    store = Store(dataset)
    tombstones = read_tombstones(store)
    if plan.piece_of(part).kind == "dataset":
        rows = _sample_rows(store, plan, part, config, tombstones)
    else:
        originals = read_originals(store, plan, part, lambda _row: True, config.fetch.policy.max_bytes)
        rows = [_ledger_row(part, without_removed(one, tombstones), config.probe) for one in originals]
    stamp = {PROBES_STAMP: probes_stamp(config.probe.working_side_px)}
    schema = ledger_schema(SCORE_NAMES).with_metadata(stamp)
    store.write_table(ledger_path(part), pa.Table.from_pylist(rows, schema=schema))
    failed, kept = (sum(row["status"] == status for row in rows) for status in (FAILED, OK))
    return Tally(seen=len(rows), failed=failed, dropped=len(rows) - failed - kept, kept=kept).checked()


def _sample_rows(
    store: Store, plan: Plan, part: str, config: CurateConfig, tombstones: frozenset[str]
) -> list[dict[str, Any]]:
    """Returns the ledger rows of a part whose candidates are samples of a dataset."""
    candidates = read_candidates(store, part)
    brought = Brought(plan.piece_of(part).source, candidates, config.probe)
    unmeasured = set(brought.unmeasured())
    max_bytes = config.fetch.policy.max_bytes
    originals = {
        one.row: one for one in read_originals(store, plan, part, unmeasured.__contains__, max_bytes)
    }
    rows = []
    for number, candidate in enumerate(candidates):
        if is_buried(tombstones, candidate.url, candidate.key, candidate.source_key):
            gone = Original(row=number, url=REMOVED_URL, reason=Reason.REMOVED)
            rows.append(_ledger_row(part, gone, config.probe))
        elif number in originals:
            one = without_removed(originals[number], tombstones)
            look = looked_at if brought.is_negative(number) else None
            row = _ledger_row(part, one, config.probe, look)
            rows.append(row | brought.identity(number) if row.get("sha256") else row)
        else:
            known = brought.row(number)
            assert known is not None, f"{part} row {number} has neither bytes nor scores"
            rows.append(known | {"part": part, "source_row": number})
    return rows


def _ledger_row(
    part: str, original: Original, config: ProbeConfig, look: Look | None = None
) -> dict[str, Any]:
    """Returns the row of a candidate; `look` gives its measured columns, all scores where it is left out."""
    row: dict[str, Any] = {
        "url": original.url,
        "part": part,
        "source_row": original.row,
        "status": REMOVED if original.reason is Reason.REMOVED else FAILED,
        "reason": str(original.reason or ""),
        "detail": original.detail,
        "licence": original.licence,
        **asdict(original.evidence),
    }
    if original.reason is not None:
        return row
    sha256 = hashlib.sha256(original.data).hexdigest()
    # The key begins it, as `sample_key` says, which would hash the bytes once more.
    row |= {"key": sha256[:KEY_LENGTH], "sha256": sha256, "bytes": len(original.data)}
    try:
        if look is not None:
            return row | look(original, config)
        picture = decode(original.data, config.max_pixels, config.working_side_px)
        return row | _measured(picture, measure(picture, config.working_side_px))
    except BadImage as error:
        return row | {"reason": str(Reason(error.reason)), "detail": short_reason(error)}
    # One poisoned picture must not end a run of millions; what a decoder or probe choked on stands in the ledger.
    except Exception as error:
        return row | {"reason": str(Reason.UNEXPECTED), "detail": short_reason(error)}


def _measured(picture: Picture, measurement: Measurement) -> dict[str, Any]:
    # The ledger's sizes and map are of the picture as stored: a JPEG is cut on its own grid.
    texture = stored_again(measurement.texture, picture.header.orientation)
    rows, columns = texture.shape
    return {
        "status": OK,
        "width": picture.header.width,
        "height": picture.header.height,
        "format": picture.header.format,
        **{f"score.{name}": value for name, value in measurement.scores.items()},
        "texture": texture.tobytes(),
        "texture_rows": rows,
        "texture_cols": columns,
        "phash": measurement.phash,
    }


def short_reason(error: Exception) -> str:
    """Returns an error's words as they are stored: at most `MAX_DETAIL` characters, any text that Unicode has."""
    text = str(error) if isinstance(error, BadImage) else f"{type(error).__name__}: {error}"
    return valid_text(text[:MAX_DETAIL])
