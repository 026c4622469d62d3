"""The map of the package in its README, and what its modules say of each other: every name is there, and is right."""

from __future__ import annotations

import re
from pathlib import Path

STAGE = Path(__file__).parents[2] / "caption"
MODULES = {path.name: path for path in (STAGE / "supir_caption").glob("*.py") if path.name != "__init__.py"}


def test_the_readme_names_every_module_under_files():
    files = (STAGE / "README.md").read_text().partition("## Files")[2]
    assert set(re.findall(r"`(\w+\.py)`", files)) == set(MODULES)


def test_no_module_speaks_of_one_that_is_gone():
    gone = {
        (path.name, name)
        for path in MODULES.values()
        for name in re.findall(r"`(\w+\.py)`", path.read_text())
        if name not in MODULES
    }
    assert not gone
