"""Pairs for measuring are made of photos alone that training holds out, where that is asked for."""

from __future__ import annotations

import re
from pathlib import Path

from typer.testing import CliRunner

from supir_degrade.cli import app
from supir_shards import Dataset, Role


def _run(*arguments: object) -> object:
    return CliRunner().invoke(app, ["pairs", *map(str, arguments)])


def test_pairs_of_held_out_photos_alone_are_those_below_the_share(photos: Path, tmp_path: Path) -> None:
    large = sorted(
        int(one.source_key[:8], 16) / 2**32
        for one in Dataset(photos).samples()
        if one.role is not Role.NEGATIVE and min(one.width, one.height) >= 128
    )
    share = (large[1] + large[2]) / 2  # two of the photos lie below it
    options = ("--crop", 128, "--set", f"held_out_share={share}")
    assert _run(photos, "-o", tmp_path / "two", "--count", 2, *options).exit_code == 0
    taken = [int(one.source_key[:8], 16) / 2**32 for one in Dataset(tmp_path / "two" / "hq").samples()]
    assert sorted(taken) == large[:2]
    result = _run(photos, "-o", tmp_path / "three", "--count", 3, *options)
    told = rf"has 2 photos of 128 px .* among those held out with held_out_share={share:g}, 3 were asked"
    assert re.search(told, str(result.exception))
