"""What a run reads again each time it goes on, as hashes: the weights and the degradation recipe.

Place in the flow: `run.py` writes them into every checkpoint and compares before it goes on from one.
The law it keeps: a run never goes on upon another frozen base than it began with, under the same name or not.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import supir_model
from supir_console import UserError, config_hash
from supir_degrade import load_recipe
from supir_train.config import TrainConfig

WEIGHTS = ("*.safetensors", "*.json", "*.bin")


def source_hashes(config: TrainConfig) -> dict[str, str]:
    """Returns the SHA-256 of the files behind `init` and `checkpoint`, and the hash of the recipe's numbers."""
    return {
        "init": _files_hash(config.init),
        "checkpoint": _files_hash(config.checkpoint) if config.checkpoint else "",
        "data.recipe": config_hash(load_recipe(config.data.recipe)),
    }


def require_same_sources(begun: dict[str, str], now: dict[str, str], config: TrainConfig) -> None:
    """Refuses to go on from a checkpoint of a run that was begun with other weights or another recipe.

    Raises:
        UserError: names the key whose content changed.
    """
    named = {"init": config.init, "checkpoint": config.checkpoint, "data.recipe": config.data.recipe}
    for key in named:
        if begun[key] != now[key]:
            raise UserError(
                f"{key}: {named[key]} is not what {config.run} was begun with; put the old files back, or set run=NEW"
            )


def _files_hash(place: str) -> str:
    root = Path(supir_model.__file__).parent / "weights" / "mini" if place == "mini" else Path(place)
    paths = [root] if root.is_file() else sorted(path for kind in WEIGHTS for path in root.rglob(kind))
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(root).as_posix()} {digest}\n".encode())
    return total.hexdigest()
