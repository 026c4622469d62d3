"""The Dockerfile agrees with what it packs; building it needs a daemon, which a test has not."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def let_in() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


def test_the_context_is_what_the_wheel_is_made_of():
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    metadata = ["pyproject.toml", PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]]
    assert set(packages + metadata) <= set(let_in())
    copied = re.search(r"COPY (\S+ \S+) /tmp/", DOCKERFILE).group(1).split()
    assert set(let_in()) == {*packages, *metadata, *copied}
    assert [path for path in let_in() if not (ROOT / path).exists()] == []


def test_it_installs_extras_that_exist_with_the_tested_torch_and_starts_a_command():
    extras = re.search(r"ARG EXTRAS=(\S+)", DOCKERFILE).group(1).split(",")
    assert set(extras) <= PROJECT["project"]["optional-dependencies"].keys()
    torch = re.search(r"'(torch===\S+)'", DOCKERFILE).group(1)
    assert torch in (ROOT / "constraints.txt").read_text().splitlines()
    assert torch in (ROOT / "scripts/setup.sh").read_text()
    command = json.loads(re.search(r"^CMD (.*)$", DOCKERFILE, re.M).group(1))
    assert command[0] in PROJECT["project"]["scripts"]
