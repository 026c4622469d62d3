"""Every installed package's licence has been looked at, and what is not for every use stays out of [all]."""

from __future__ import annotations

import tomllib
from pathlib import Path

import licences
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def packages():
    return licences.installed_packages()


def test_every_package_tells_its_licence_or_it_was_looked_up(packages):
    assert [one.name for one in packages.values() if not one.licence] == []
    assert len(packages) > 150


def test_noncommercial_packages_are_in_the_extra_iqa_alone(packages):
    noncommercial = {one.name: one.extras for one in packages.values() if one.kind == "noncommercial"}
    assert noncommercial == {"pyiqa": {"iqa"}}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert "iqa" not in extras["all"][0].partition("[")[2].rstrip("]").split(",")
    assert ".[all,iqa,dev]" in (ROOT / "scripts/setup.sh").read_text()


def test_the_page_names_all_that_is_not_permissive(packages):
    page = (ROOT / "docs/licences.md").read_text()
    named = page.partition("## Not permissive")[2].partition("## All")[0]
    strict = [one.name for one in packages.values() if one.kind or one.bundled]
    assert {"pyiqa", "pillow-jxl-plugin", "jpeglib", "av", "pillow-heif"} <= set(strict)
    assert [name for name in strict if f"| {name} |" not in named] == []


@pytest.mark.parametrize(
    ("licence", "kind"),
    [
        ("PolyForm-Noncommercial-1.0.0", "noncommercial"),
        ("AGPL-3.0-only", "GPL"),
        ("GPL-3.0-or-later", "GPL"),
        ("GNU Lesser General Public License v2 (LGPLv2)", "LGPL"),
        ("LGPL-2.1-only OR MIT", ""),
        ("MPL-2.0 AND MIT", ""),
        ("Other/Proprietary License", "proprietary"),
        ("BSD-3-Clause", ""),
    ],
)
def test_what_a_licence_is(licence, kind):
    assert licences.Package("name", "1", licence).kind == kind
