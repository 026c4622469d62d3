"""Where each file of a dataset lies, relative to its root. Names on disk are for ever.

Place in the flow: the only module that builds file names; all other code asks it.
The law: a part has one name, ``part-NNNNNN``, and all its files carry it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from supir_shards.quarantine import printable
from supir_shards.record import DatasetError

FORMAT_VERSION = 2
MANIFEST = "dataset.json"
SHARDS, INDEX, LEDGER, CAPTIONS, SCORES = "shards", "index", "ledger", "captions", "scores"
MAX_PARTS = 1_000_000

PART = r"part-\d{6}"
"""What every part's name matches."""

_CAPTION_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_SCORER_NAME = r"[A-Za-z0-9][A-Za-z0-9.+_-]*"
_TABLES = rf"({INDEX}|{LEDGER}|{CAPTIONS}/{_CAPTION_NAME}|{SCORES}/{_SCORER_NAME})"
PART_FILE = rf"^({SHARDS}/{PART}\.tar|{_TABLES}/{PART}\.parquet)$"
"""What every path of a part's file matches."""


class OtherFormatError(DatasetError):
    """The file is sound, but of another format version than this release reads."""


def require_format(name: str, version: object) -> None:
    """Refuse a file of another format version before anything else in it is believed.

    Args:
        name: the file or dataset, for the message.
        version: what it states.

    Raises:
        OtherFormatError: it is not ``FORMAT_VERSION``.
    """
    if str(version) == str(FORMAT_VERSION):
        return
    told = f"{name} has format {printable(str(version))}, this release of supir-stack reads {FORMAT_VERSION}"
    if str(version) == "1":
        raise OtherFormatError(
            f"{told}; write it anew by the command that made it: for curated photos supir-curate's select (OLD -o NEW)"
            " and pack NEW, which score nothing again"
        )
    raise OtherFormatError(f"{told}; upgrade it")


def part_name(number: int) -> str:
    """The name of a part: ``part-000007`` for 7; 0 to 999999, so that names sort as numbers do."""
    if not 0 <= number < MAX_PARTS:
        raise DatasetError(f"part number {number} is not in 0 to {MAX_PARTS - 1}; make the parts larger")
    return f"part-{number:06d}"


def part_number(part: str) -> int:
    """The number of a part: 7 for ``part-000007``."""
    return int(_checked(part).rpartition("-")[2])


def shard_path(part: str) -> str:
    """The part's tar."""
    return f"{SHARDS}/{_checked(part)}.tar"


def index_path(part: str) -> str:
    """The part's index, written last: it is the commit mark."""
    return f"{INDEX}/{_checked(part)}.parquet"


def ledger_path(part: str) -> str:
    """The part's ledger of candidates."""
    return f"{LEDGER}/{_checked(part)}.parquet"


def caption_path(name: str, part: str) -> str:
    """The part's captions under one captioner's name (letters, digits, ``. _ -``)."""
    if not re.fullmatch(_CAPTION_NAME, name):
        raise DatasetError(
            f"caption name {name!r} may hold only letters, digits, '.', '_', '-': e.g. qwen3-vl"
        )
    return f"{CAPTIONS}/{name}/{_checked(part)}.parquet"


def scores_path(name: str, part: str) -> str:
    """The part's scores under one scorer's name."""
    return f"{SCORES}/{name}/{_checked(part)}.parquet"


def part_files(paths: Iterable[str]) -> list[str]:
    """Those of the paths that the functions above make; a dataset's folders may hold strangers."""
    return [path for path in paths if re.fullmatch(PART_FILE, path)]


def part_of(path: str) -> str:
    """The part that a file belongs to: ``index/part-000007.parquet`` gives ``part-000007``."""
    return _checked(path.rpartition("/")[2].partition(".")[0])


def _checked(part: str) -> str:
    if not re.fullmatch(PART, part):
        raise DatasetError(f"part name {part!r} does not look like part-000000; use part_name(number)")
    return part
