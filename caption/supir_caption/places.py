"""Where a run keeps what is no caption: its config and its failures, below `report/captions/NAME/`.

The folder `captions/` holds captions only, so that every file in it is one the manifest knows.
"""

from __future__ import annotations

from supir_shards import caption_path


def config_path(name: str) -> str:
    """Returns the path of the config that the captions under `name` are made with."""
    return f"{_folder(name)}/config.json"


def failures_path(name: str, part: str) -> str:
    """Returns the path of one part's failures; there is no file where nothing failed."""
    return f"{_folder(name)}/failures/{part}.jsonl"


def all_failures_path(name: str) -> str:
    """Returns the path of the list of all failures, one JSON object a line."""
    return f"{_folder(name)}/failures.jsonl"


def examined_path(name: str, kind: str) -> str:
    """Returns the path of the figures of an examination of the captions, `audit` or `quiz`; its rows end in .jsonl."""
    return f"{_folder(name)}/{kind}.json"


def unfinished_folder(name: str, config_hash: str, part: str) -> str:
    """Returns the folder of what a part has come to before it is whole, by a config."""
    return f"{_folder(name)}/unfinished/{config_hash}/{part}"


def _folder(name: str) -> str:
    captions = caption_path(name, "part-000000").rpartition("/")[0]  # refuses a name that is none
    return f"report/{captions}"
