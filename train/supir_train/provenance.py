"""What a run reads again each time it goes on, as hashes: weights, recipe, dataset, captions and negatives.

Place in the flow: `run.py` writes them into every checkpoint and compares before it goes on from one; `order.py` asks
for each table that it reads whether it is the recorded one.
The law it keeps: a run never goes on upon other weights, pictures or words than it began with, under the same name or
another, wherever they lie. A dataset's hash is made of those that its `dataset.json` states, so no tar is read for it:
the sizes of all files are compared at the start, pictures with the index and tables with `dataset.json` when they are
read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import supir_model
from supir_console import UserError, config_hash
from supir_degrade import load_recipe
from supir_shards import Dataset
from supir_shards.layout import CAPTIONS, INDEX, SHARDS
from supir_train.config import TrainConfig

if TYPE_CHECKING:
    from supir_shards import FileInfo

SAMPLES = (f"{INDEX}/", f"{SHARDS}/")
WEIGHTS = ("*.safetensors", "*.json", "*.bin")


def source_hashes(config: TrainConfig) -> dict[str, str]:
    """Returns the SHA-256 of all that stands behind these keys of the config, "" where one is not used.

    Captions under another name, scores and ledgers do not count: training reads none of them.

    Raises:
        DatasetError: a dataset is not there or not finished.
        UserError: a file of it is missing or has not the size that `dataset.json` states.
    """
    return (
        weight_hashes(config)
        | {
            "distill.teacher": _files_hash(config.distill.teacher) if config.distill.teacher else "",
            "encoder.teacher": _files_hash(str(config.encoder.teacher)) if config.encoder.teacher else "",
            "data.recipe": config_hash(load_recipe(config.data.recipe)),
        }
        | data_hashes(config)
    )


def data_hashes(config: TrainConfig) -> dict[str, str]:
    """Returns the SHA-256 of what is read of the datasets, by the keys that name it, after a look at all files' sizes.

    Raises:
        DatasetError, UserError: as `source_hashes`.
    """
    data = config.data
    captions = (f"{CAPTIONS}/{data.captions}/",) if data.captions else ()
    photos = _recorded(data.dataset, *SAMPLES, *captions)
    negatives = _recorded(data.negatives, *SAMPLES) if data.negatives and data.negative_share else {}
    return {
        "data.dataset": _recorded_hash(photos, SAMPLES),
        "data.captions": _recorded_hash(photos, captions) if captions else "",
        "data.negatives": _recorded_hash(negatives, SAMPLES) if negatives else "",
    }


def weight_hashes(config: TrainConfig) -> dict[str, str]:
    """Returns the SHA-256 of the weights that the run begins with, by the keys that name them."""
    return {
        "init": _files_hash(config.init),
        "checkpoint": _files_hash(config.checkpoint) if config.checkpoint else "",
    }


def require_same_sources(begun: dict[str, str], now: dict[str, str], config: TrainConfig) -> None:
    """Refuses a checkpoint of a run that was begun with other weights, data or another recipe than those of `now`.

    Raises:
        UserError: names the key whose content changed.
    """
    named = {
        "init": config.init,
        "checkpoint": config.checkpoint,
        "distill.teacher": config.distill.teacher,
        "encoder.teacher": config.encoder.teacher,
        "data.recipe": config.data.recipe,
        "data.dataset": config.data.dataset,
        "data.captions": f"{config.data.captions} of {config.data.dataset}",
        "data.negatives": config.data.negatives,
    }
    for key, digest in now.items():
        name = named[key]
        if begun.get(key, "") != digest:
            raise UserError(
                f"{key}: {name} is not what {config.run} was begun with; put the old files back, or set run=NEW"
            )


def require_recorded(dataset: Dataset, path: str) -> None:
    """Refuses a table that was altered or put in after the dataset was finished.

    Args:
        path: of an index or captions, relative to the dataset; nothing happens if it is not there.

    Raises:
        UserError: names the table.
    """
    if not dataset.store.exists(path):
        return
    recorded = dataset.manifest.files.get(path)
    if recorded is None or hashlib.sha256(dataset.store.read(path)).hexdigest() != recorded.sha256:
        raise _altered(dataset, path)


def _recorded(url: str, *folders: str) -> Mapping[str, FileInfo]:
    """The files of a dataset below these folders as its `dataset.json` has them, of the sizes that they have there."""
    dataset = Dataset(url)
    states = dataset.store.states()
    files = {path: info for path, info in dataset.manifest.files.items() if path.startswith(folders)}
    for path, info in files.items():
        if path not in states:
            raise UserError(
                f"{dataset.store.url}/{path} is missing, which dataset.json names; put it back, or run the command "
                "that made it once more"
            )
        if states[path].size != info.bytes:
            raise _altered(dataset, path)
    return files


def _altered(dataset: Dataset, path: str) -> UserError:
    return UserError(
        f"{dataset.store.url}/{path} is not what dataset.json says; put the old file back, or run the command "
        "that made the new one once more"
    )


def _recorded_hash(files: Mapping[str, FileInfo], folders: tuple[str, ...]) -> str:
    return _total((path, info.sha256) for path, info in sorted(files.items()) if path.startswith(folders))


def _files_hash(place: str) -> str:
    root = Path(supir_model.__file__).parent / "weights" / "mini" if place == "mini" else Path(place)
    paths = [root] if root.is_file() else sorted(path for kind in WEIGHTS for path in root.rglob(kind))
    return _total((path.relative_to(root).as_posix(), _digest(path)) for path in paths)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _total(files: Iterable[tuple[str, str]]) -> str:
    total = hashlib.sha256()
    for name, digest in files:
        total.update(f"{name} {digest}\n".encode())
    return total.hexdigest()
