"""The dataset on disk: the one contract that every stage reads and writes. Start with ``record.py``.

Names are loaded from their module on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supir_shards.captions import read_captions as read_captions
    from supir_shards.captions import write_captions as write_captions
    from supir_shards.finishing import finish_dataset as finish_dataset
    from supir_shards.layout import FORMAT_VERSION as FORMAT_VERSION
    from supir_shards.layout import MANIFEST as MANIFEST
    from supir_shards.layout import caption_path as caption_path
    from supir_shards.layout import index_path as index_path
    from supir_shards.layout import ledger_path as ledger_path
    from supir_shards.layout import part_name as part_name
    from supir_shards.layout import part_of as part_of
    from supir_shards.layout import shard_path as shard_path
    from supir_shards.manifest import FileInfo as FileInfo
    from supir_shards.manifest import Lineage as Lineage
    from supir_shards.manifest import Manifest as Manifest
    from supir_shards.manifest import PartCounts as PartCounts
    from supir_shards.manifest import Totals as Totals
    from supir_shards.manifest import load_manifest as load_manifest
    from supir_shards.part_writer import PartInfo as PartInfo
    from supir_shards.part_writer import is_committed as is_committed
    from supir_shards.part_writer import write_part as write_part
    from supir_shards.pipelines import as_webdataset as as_webdataset
    from supir_shards.pipelines import datasets_features as datasets_features
    from supir_shards.quarantine import Quarantined as Quarantined
    from supir_shards.quarantine import QuarantineReason as QuarantineReason
    from supir_shards.reader import Dataset as Dataset
    from supir_shards.record import Box as Box
    from supir_shards.record import Caption as Caption
    from supir_shards.record import DatasetError as DatasetError
    from supir_shards.record import Origin as Origin
    from supir_shards.record import Record as Record
    from supir_shards.record import Role as Role
    from supir_shards.record import Sample as Sample
    from supir_shards.record import caption_for as caption_for
    from supir_shards.record import crop_key as crop_key
    from supir_shards.record import is_held_out as is_held_out
    from supir_shards.record import sample_key as sample_key
    from supir_shards.schema import CAPTION_SCHEMA as CAPTION_SCHEMA
    from supir_shards.schema import INDEX_SCHEMA as INDEX_SCHEMA
    from supir_shards.schema import ledger_schema as ledger_schema
    from supir_shards.storage import Store as Store
    from supir_shards.storage import absolute_url as absolute_url
    from supir_shards.takedown import drop_samples as drop_samples
    from supir_shards.tar_guard import Limits as Limits
    from supir_shards.tar_guard import Span as Span
    from supir_shards.tar_guard import TarSample as TarSample
    from supir_shards.tar_guard import iter_tar as iter_tar
    from supir_shards.verification import Problem as Problem
    from supir_shards.verification import ProblemKind as ProblemKind
    from supir_shards.verification import verify as verify

_MODULES = {
    "captions": ("read_captions", "write_captions"),
    "finishing": ("finish_dataset",),
    "layout": (
        "FORMAT_VERSION",
        "MANIFEST",
        "caption_path",
        "index_path",
        "ledger_path",
        "part_name",
        "part_of",
        "shard_path",
    ),
    "manifest": ("FileInfo", "Lineage", "Manifest", "PartCounts", "Totals", "load_manifest"),
    "part_writer": ("PartInfo", "is_committed", "write_part"),
    "pipelines": ("as_webdataset", "datasets_features"),
    "quarantine": ("Quarantined", "QuarantineReason"),
    "reader": ("Dataset",),
    "record": (
        "Box",
        "Caption",
        "DatasetError",
        "Origin",
        "Record",
        "Role",
        "Sample",
        "caption_for",
        "crop_key",
        "is_held_out",
        "sample_key",
    ),
    "schema": ("CAPTION_SCHEMA", "INDEX_SCHEMA", "ledger_schema"),
    "storage": ("Store", "absolute_url"),
    "takedown": ("drop_samples",),
    "tar_guard": ("Limits", "Span", "TarSample", "iter_tar"),
    "verification": ("Problem", "ProblemKind", "verify"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'supir_shards' has no attribute {name!r}")
    value = getattr(import_module(f"supir_shards.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value
