"""What a source tells of a picture in a JSON record: a tar's or folder's sidecar, a line of JSONL or of metadata.

Place in the flow: `tars`, `folder_pictures` and `lists` read records here. The law: a value is found by the column name
that the config gives, else by the usual ones; what is said of a licence is never lost, be it a list or an object; where
nothing is said the config's licence stands in, but never for a file that may have said it (`with_licence`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from supir_curate.config import SourceConfig
from supir_curate.config.curate import HASH_COLUMNS
from supir_curate.sources.candidate import Candidate
from supir_curate.sources.columns import LICENCE_COLUMNS, TEXT_COLUMNS, URL_COLUMNS, known_names, number_of
from supir_curate.sources.digest import digest_of
from supir_curate.sources.texts import caption_of, text_of, url_of
from supir_curate.verdict import Reason
from supir_shards.sample_json import is_sample
from supir_shards.tar_guard import check_json
from supir_shards.tar_members import Limits

REENCODED = (
    "original_width"  # img2dataset tells it of a picture that it may have encoded anew; its hash is the old
)

NO_HASH = "the source's hash is neither a SHA-256 nor an MD5; --set 'source.hash_columns=[]' ignores it"


class Told(NamedTuple):
    """What a record says; "" where it says nothing.

    Args:
        not_text: the key whose value should be the text and is an object.
        digest: as `digest_of` gives it; None where the value is no hash.
    """

    url: str = ""
    text: str = ""
    licence: str = ""
    role: str = ""
    digest: str | None = ""
    scores: tuple[float, ...] = ()
    not_text: str = ""


def record_of(data: bytes) -> dict[str, Any]:
    """Returns a JSON sidecar's object; its encoding is found from its first bytes.

    Raises:
        RejectedError: larger or deeper than the guard allows, no JSON, or no object.
    """
    check_json(data, Limits())
    record: dict[str, Any] = json.loads(data)
    return record


def told_by(record: Mapping[str, Any], config: SourceConfig, *, is_list: bool = False) -> Told:
    """Returns what a record says.

    Args:
        record: a JSON object, or a row by its columns.
        config: names of keys.
        is_list: whether it names a picture elsewhere, whose bytes its hash is of.
    """
    if not is_list and is_sample(record):
        return _told_by_sample(record, config)
    names = tuple(record)
    text, not_text = _caption(record, known_names(names, config.text_column, TEXT_COLUMNS))
    hashes = () if _is_old_hash(record, config, is_list) else known_names(names, "", config.hash_columns)
    return Told(
        url=_first(record, known_names(names, config.url_column, URL_COLUMNS), url_of),
        text=text,
        licence=_first(record, known_names(names, config.licence_column, LICENCE_COLUMNS)),
        role=text_of(record.get(config.role_column)) if config.role_column else "",
        digest=digest_of(_first(record, hashes)),
        scores=tuple(number_of(record.get(name)) for name in config.score_columns),
        not_text=not_text,
    )


def _told_by_sample(record: Mapping[str, Any], config: SourceConfig) -> Told:
    """Returns what the KEY.json of a sample of ours says: a shard alone, without its index, is a source too."""
    origin = record["origin"]
    return Told(
        url=record["source"],
        text=record["text"],
        licence=record["licence"],
        role=record["role"],
        digest=digest_of(origin["sha256"]) if origin["is_original"] and config.hash_columns else "",
        scores=tuple(number_of(record.get(name)) for name in config.score_columns),
    )


def merged(first: Told, second: Told) -> Told:
    """Returns what two records say of one picture; where both say something, what the first one says."""
    scores = tuple(
        other if math.isnan(one) else one for one, other in zip(first.scores, second.scores, strict=True)
    )
    return Told(
        url=first.url or second.url,
        text=first.text or second.text,
        licence=first.licence or second.licence,
        role=first.role or second.role,
        digest=second.digest if first.digest == "" else first.digest,
        scores=scores,
        not_text="" if first.text or second.text else first.not_text or second.not_text,
    )


def candidate_of(told: Told, url: str, **place: Any) -> Candidate:
    """Returns the candidate that a record describes, its licence as told; one with a hash that is none is refused.

    Args:
        told: what the record says.
        url: what it is called where the record says no URL.
        place: further fields of a candidate.
    """
    if told.digest is None and not place.get("reason"):
        place |= {"reason": Reason.HASH_MISMATCH, "detail": NO_HASH}
    fields = {"text": told.text, "licence": told.licence, "role": told.role, "digest": told.digest or ""}
    return Candidate(told.url or url, scores=told.scores, **(fields | place))


def with_licence(candidate: Candidate, default: str, gap: str = "") -> Candidate:
    """Returns a candidate with the config's licence where it has none; refused where a file may have said one.

    Args:
        candidate: with the licence that was told, "" for none.
        default: the config's.
        gap: why nobody can tell that no file says one; "" where everybody can.
    """
    if candidate.licence or not default:
        return candidate
    if not gap or candidate.reason is not None:
        return replace(candidate, licence=default)
    return replace(
        candidate, reason=Reason.AMBIGUOUS_SIDECAR, detail=f"source.licence does not stand in: {gap}"
    )


def _is_old_hash(record: Mapping[str, Any], config: SourceConfig, is_list: bool) -> bool:
    return not is_list and config.hash_columns == HASH_COLUMNS and REENCODED in record


def _first(record: Mapping[str, Any], keys: tuple[str, ...], valid: Callable[[Any], str] = text_of) -> str:
    return next(filter(None, (valid(record[key]).strip() for key in keys)), "")


def _caption(record: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[str, str]:
    """Returns the first text, else the first key whose value is none."""
    not_text = ""
    for key in keys:
        text = caption_of(record[key])
        if text is None:
            not_text = not_text or key
        elif text.strip():
            return text, ""
    return "", not_text
