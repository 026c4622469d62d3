"""The paper's claims at the size of `mini`: their configs are whole, and the runner tells a planted difference."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supir_console import load_config
from supir_infer.settings import PRESETS, change_settings
from supir_train import TrainConfig

ROOT = Path(__file__).parents[2]
MINI = ROOT / "train" / "mini"
CLAIMS = sorted((MINI / "claims").glob("*.yaml"))

sys.path.insert(0, str(MINI))
import claims  # noqa: E402


@pytest.mark.parametrize("path", CLAIMS, ids=lambda path: path.stem)
def test_arms_of_every_claim_are_runs_that_can_be_asked_for(path: Path) -> None:
    claim = load_config(claims.Claim, path)
    assert claim.ours != claim.other
    for arm in (claim.ours, claim.other):
        change_settings(PRESETS["mini"], arm.restore)
        changes = [f"{key}={json.dumps(value)}" for key, value in (arm.train or {}).items()]
        load_config(TrainConfig, MINI / "claim_adapter.yaml", changes)


def test_interval_holds_a_planted_difference_and_widens_with_the_seeds_disagreement() -> None:
    random = np.random.default_rng(0)
    pictures = random.normal(0.02, 0.01, (1, 40)).repeat(3, axis=0)
    low, high = claims.interval(pictures)
    assert low < 0.02 < high
    assert low > 0.01
    wide_low, wide_high = claims.interval(pictures + np.array([[-0.05], [0.0], [0.05]]))
    assert wide_low < 0 < wide_high
    assert wide_high - wide_low > 2 * (high - low)


@pytest.mark.parametrize(("shift", "verdict"), [(-0.1, "holds"), (0.1, "the contrary"), (0.0, "open")])
def test_verdict_follows_the_side_of_the_figure(shift: float, verdict: str) -> None:
    claim = claims.Claim(says="A", source="B", ours=claims.Arm(restore={"steps": 1}), other=claims.Arm())
    other = np.random.default_rng(1).uniform(0.3, 0.5, (3, 30))
    ours = other + shift + np.random.default_rng(2).normal(0, 0.01, other.shape)
    ours -= (ours - other).mean() - shift
    assert claims.row(claim, ours, other).endswith(f"| {verdict} |")


def test_claims_are_decided_by_the_commands_share_arms_and_go_on_where_they_stopped(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for side in ("lq", "hq"):
        (tmp_path / side).mkdir()
        for name in "ab":
            Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8)).save(
                tmp_path / side / f"{name}.png"
            )
            (tmp_path / side / f"{name}.txt").write_text("noise")
    asked = []
    for strength in (0, 0.5):
        asked.append(tmp_path / f"{strength}.yaml")
        asked[-1].write_text(
            f"says: S\nsource: T\nmetric: psnr\nours: {{restore: {{strength: {strength}}}}}\nother: {{}}\n"
        )
    given = ["--pairs", tmp_path, "--model", "tiny", "--seeds", "1", "-o", tmp_path / "work"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def table() -> list[str]:
        line = [sys.executable, MINI / "claims.py", *asked, *given]
        done = subprocess.run(line, check=True, capture_output=True, text=True, env=environment)
        return done.stdout.splitlines()[-2:]

    first = table()
    assert all(row.startswith("| S (T) | PSNR |") for row in first)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.png")}
    assert len(made) == 3 * 2, "three arms, of which `other` is in both claims, two pictures"
    assert table() == first
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_place_that_was_not_given_is_named(tmp_path: Path) -> None:
    for side in ("lq", "hq"):
        (tmp_path / side).mkdir()
    line = [
        sys.executable,
        MINI / "claims.py",
        MINI / "claims" / "negative_samples.yaml",
        "--pairs",
        tmp_path,
    ]
    done = subprocess.run([*line, "-o", tmp_path / "work"], check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1] == (
        "error: the claim trains on 'dataset'; give its folder: --place dataset=PATH"
    )
