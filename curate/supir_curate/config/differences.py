"""In which keys two configs differ.

Place in the flow: a later step compares the config it is given with the recorded one. The law: a row of a table that
only one of them has differs as a whole.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


def differences(
    given: BaseModel, recorded: BaseModel, *, default: BaseModel | None = None, above: str = ""
) -> list[str]:
    """Returns the keys in which two configs differ, each as "key=recorded value, not given value".

    Args:
        given: config that was asked for.
        recorded: config of the same kind.
        default: config of the same kind; a key that `given` has at this value counts as not given.
        above: keys that lead here, each with its dot.
    """
    found: list[str] = []
    for name in type(given).model_fields:
        values: list[Any] = [getattr(config, name, None) for config in (given, recorded, default)]
        ours, theirs, usual = values
        key = above + name
        if isinstance(ours, BaseModel):
            found += differences(ours, theirs, default=usual, above=f"{key}.")
        elif isinstance(ours, dict):
            found += _table_differences(ours, theirs, usual, key)
        elif ours != theirs and (default is None or ours != usual):
            found.append(f"{key}={theirs}, not {ours}")
    return found


def _table_differences(
    given: dict[str, Any], recorded: dict[str, Any], default: dict[str, Any] | None, key: str
) -> list[str]:
    """Returns the rows in which two tables of configs differ; a row that only one of them has differs as a whole."""
    if default is not None and given == default:
        return []
    found: list[str] = []
    for name in {**recorded, **given}:
        ours, theirs, usual = (table.get(name) if table else None for table in (given, recorded, default))
        if ours is None or theirs is None:
            found += [f"{key}.{name}={theirs}, not {ours}"]
        else:
            found += differences(ours, theirs, default=usual, above=f"{key}.{name}.")
    return found
