"""RUN/config.yaml and RUN/config_history.jsonl: the config that a run has now, and how it came to it.

    config.yaml            the resolved config of the latest start
    config_history.jsonl   one JSON object a changed start: `step` that it went on from, and `changes`, by key the value
                           before and the one after

Place in the flow: `run.py` asks before it goes on, and records when it does. The laws it keeps: only `FREE_KEYS` change
between a run and its continuation, and what is free never bends a schedule that has begun. Both files are replaced
whole, the history first, so that a kill between them is mended by the next start.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from supir_console import Config, UserError, config_yaml, load_config
from supir_shards import Store
from supir_train.config import FREE_KEYS, TrainConfig

CONFIG = "config.yaml"
HISTORY = "config_history.jsonl"
FITS = ("optimize", "autoencoder")


def begun_config(run: Path) -> TrainConfig:
    """Returns the config that a run has.

    Raises:
        UserError: this version does not know a key or value of it.
    """
    try:
        return load_config(TrainConfig, run / CONFIG)
    except UserError as error:
        raise UserError(
            f"{error}; the file was written by another version of supir-train, or edited: use that version, put the "
            "file back, or begin a run of another name"
        ) from error


def require_same_config(config: TrainConfig) -> None:
    """Refuses to go on with a config that would make another run of the one in its folder.

    Raises:
        UserError: names each key and both values.
    """
    begun = begun_config(config.run)
    for name in FITS:
        _require_same_schedule(begun, config, name)
    changed = {key: values for key, values in _changes(begun, config).items() if key not in FREE_KEYS}
    if changed:
        differences = ", ".join(f"{key} was {old!r}, is {new!r}" for key, (old, new) in changed.items())
        raise UserError(
            f"{config.run} was begun with another config: {differences}; put it back, or set run=NEW"
        )


def record_config(config: TrainConfig, step: int) -> None:
    """Writes the config of a start that goes on from `step`, and what it changes."""
    store, path = Store(config.run), config.run / HISTORY
    if (config.run / CONFIG).exists():
        changes = _changes(begun_config(config.run), config)
        lines = path.read_bytes() if path.exists() else b""
        line = json.dumps({"step": step, "changes": changes}, default=str).encode() + b"\n"
        if changes and not lines.endswith(line):
            store.write(HISTORY, lines + line)
    store.write(CONFIG, config_yaml(config).encode())


def _require_same_schedule(begun: TrainConfig, config: TrainConfig, name: str) -> None:
    before, now = getattr(begun, name), getattr(config, name)
    if before.schedule == now.schedule == "cosine" and before.horizon != now.horizon:
        raise UserError(
            f"{name}.steps={now.steps}: its cosine would be laid out over {now.horizon} steps, and {config.run} "
            f"was begun with {before.horizon}; set {name}.schedule_steps={before.horizon} to go on with that, or "
            "set run=NEW"
        )


def _changes(before: TrainConfig, now: TrainConfig) -> dict[str, tuple[Any, Any]]:
    old, new = _flat(before), _flat(now)
    return {key: (old[key], new[key]) for key in new if old[key] != new[key]}


def _flat(config: Config, prefix: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        values |= _flat(value, f"{prefix}{name}.") if isinstance(value, Config) else {prefix + name: value}
    return values
