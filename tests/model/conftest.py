"""Stored reference numbers for the parity tests; they are not part of the repository."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

Stored = tuple[dict, dict[str, torch.Tensor]]


@pytest.fixture
def parity_folder() -> Path:
    """The folder of stored reference numbers. Skips where it is not there."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "parity"
    folder = Path(os.environ.get("SUPIR_PARITY_DIR") or beside)
    if not folder.is_dir():
        pytest.skip(f"no stored reference numbers in {folder}; set SUPIR_PARITY_DIR to their folder")
    return folder


@pytest.fixture
def parity(parity_folder: Path) -> Callable[[str], Stored]:
    """Reader of one fixture: (its json, its arrays)."""

    def read(name: str) -> Stored:
        folder = parity_folder
        if not (folder / f"{name}.npz").is_file():
            pytest.skip(f"{folder} holds no {name}.npz")
        meta = folder / f"{name}.json"
        arrays = np.load(folder / f"{name}.npz")
        return (
            json.loads(meta.read_text()) if meta.is_file() else {},
            {key: torch.from_numpy(arrays[key]) for key in arrays},
        )

    return read
