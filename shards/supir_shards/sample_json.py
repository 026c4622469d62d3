"""KEY.json: what travels with a picture wherever its shard goes, and back.

Place in the flow: ``part_writer`` writes it, ``reader`` and ``takedown`` read it.
The law: every sample of every maker has the same keys with values of the same types, so that readers that infer one
schema for all (``datasets``, DuckDB, Arrow) can read any mixture of parts; nothing is ever null. README.md has the
table. What is read is untrusted: another key, or a value of another type, makes the sample a bad one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

from supir_shards.quarantine import QuarantineReason, RejectedError
from supir_shards.record import DatasetError, Origin, Role, Sample

SAMPLE_KEYS: dict[str, type] = {
    "key": str,
    "source_key": str,
    "role": str,
    "source": str,
    "licence": str,
    "text": str,
    "width": int,
    "height": int,
    "trace": str,
}
ORIGIN_KEYS: dict[str, type] = {field.name: type(field.default) for field in fields(Origin)}


@dataclass(frozen=True, slots=True)
class Travelling:
    """What KEY.json says beside the columns of the index."""

    origin: Origin
    trace: str


def json_bytes(sample: Sample) -> bytes:
    """The content of a sample's KEY.json.

    Raises:
        DatasetError: a value is not of its field's type, or is a text that is not valid Unicode.
    """
    record = {name: getattr(sample, name) for name in SAMPLE_KEYS}
    record |= {"role": str(sample.role), "origin": asdict(sample.origin)}
    fault = _fault(record)
    if fault:
        raise DatasetError(f"sample {sample.key}: {fault}")
    return json.dumps(record, sort_keys=True, allow_nan=False, separators=(",", ":")).encode("ascii")


def read_json(data: bytes) -> Travelling:
    """What a KEY.json says.

    Raises:
        RejectedError: it is not JSON, or not of this format.
    """
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RejectedError(QuarantineReason.BAD_JSON, f"KEY.json is not JSON ({error})") from error
    if not isinstance(record, dict):
        kind = type(record).__name__
        raise RejectedError(QuarantineReason.BAD_JSON, f"KEY.json holds a {kind}, not an object")
    fault = _fault(record)
    if fault:
        raise RejectedError(QuarantineReason.BAD_JSON, f"KEY.json: {fault}")
    origin = {
        name: tuple(value) if isinstance(value, list) else value for name, value in record["origin"].items()
    }
    return Travelling(Origin(**cast(dict[str, Any], origin)), record["trace"])


def is_sample(record: Mapping[str, Any]) -> bool:
    """Whether a JSON object is the KEY.json of a sample of ours."""
    return _fault(record) is None


def _fault(record: Mapping[str, Any]) -> str | None:
    """What in a record is not of the format, None if nothing is."""
    origin = record.get("origin")
    if not isinstance(origin, dict):
        return f"origin is {type(origin).__name__}, not an object"
    others = {name: value for name, value in record.items() if name != "origin"}
    return (
        _group_fault(others, SAMPLE_KEYS, "") or _group_fault(origin, ORIGIN_KEYS, "origin.") or _role(record)
    )


def _group_fault(values: dict[str, Any], types: dict[str, type], prefix: str) -> str | None:
    odd = sorted(values.keys() ^ types.keys())
    if odd:
        return f"{prefix}{odd[0]!a} is {'not a field' if odd[0] in values else 'missing'}"
    for name, kind in types.items():
        value = values[name]
        if kind is tuple:
            fits = isinstance(value, list | tuple) and [type(edge) for edge in value] == [int] * 4
        else:
            fits = type(value) is kind and (not isinstance(value, float) or math.isfinite(value))
        if not fits:
            wanted = "four whole numbers" if kind is tuple else kind.__name__
            return f"{prefix}{name} is {value!a:.80}, not {wanted}"
        if kind is str and not _is_unicode(value):
            return f"{prefix}{name} is {value!a:.80}, which is not valid Unicode text"
    return None


def _role(record: Mapping[str, Any]) -> str | None:
    return (
        None
        if record["role"] in set(Role)
        else f"role is {record['role']!a:.80}, not one of {', '.join(Role)}"
    )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
