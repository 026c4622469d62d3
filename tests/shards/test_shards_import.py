"""Importing the package costs nothing; its face is complete."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import supir_shards

HEAVY = ("numpy", "pyarrow", "fsspec", "pydantic", "PIL", "aiohttp", "s3fs")


def loaded_by(code: str) -> list[str]:
    check = f"{code}; import sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    return ast.literal_eval(done.stdout)


def test_the_light_names_load_no_heavy_package() -> None:
    names = "Role, Sample, Caption, DatasetError, sample_key, caption_for, part_name, iter_tar"
    assert loaded_by(f"from supir_shards import {names}") == []


def test_opening_a_store_loads_no_image_library_and_no_remote_one() -> None:
    loaded = loaded_by("from supir_shards import Dataset, Store, write_part; Store('/tmp')")
    assert loaded == ["fsspec", "pydantic"]


@pytest.mark.parametrize("step", [1, -1])
def test_every_name_of_the_face_is_an_object_whatever_was_loaded_before(step: int) -> None:
    names = supir_shards.__all__[::step]
    code = (
        f"import inspect, supir_shards as s; print([n for n in {names!r} if inspect.ismodule(getattr(s, n))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_type_checkers_and_programs_see_the_same_face() -> None:
    tree = ast.parse(Path(supir_shards.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imported = {alias.name: node.module for node in block.body for alias in node.names}
    assert sorted(imported) == supir_shards.__all__
    for name, module in imported.items():
        assert getattr(supir_shards, name) is getattr(import_module(module), name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'supir_shards' has no attribute 'nothing'"):
        _ = supir_shards.nothing
