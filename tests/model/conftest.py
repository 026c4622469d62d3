"""Stored reference numbers for the parity tests; they are not part of the repository."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "benchmarks"))  # the cases of benchmarks/parity.py are these tests


@pytest.fixture
def parity_folder() -> Path:
    """The folder of stored reference numbers. Skips where it is not there."""
    folder = Path(os.environ.get("SUPIR_PARITY_DIR") or REPOSITORY.parent / "shared" / "parity")
    if not folder.is_dir():
        pytest.skip(f"no stored reference numbers in {folder}; set SUPIR_PARITY_DIR to their folder")
    return folder
