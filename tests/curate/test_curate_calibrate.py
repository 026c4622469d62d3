"""Limits from a reference: at the quantile on each rule's side, read back as a config."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from supir_console import UserError, load_config
from supir_curate import pipeline
from supir_curate.config import CurateConfig
from supir_curate.ledger import numbers, read_scores
from supir_curate.selection.calibrate import calibrate
from supir_curate.selection.select import select
from supir_curate.sources.plan import load_plan
from supir_shards import Store


def measured(dataset, score):
    store = Store(dataset)
    tables = [read_scores(store, part) for part in load_plan(store).parts()]
    values = np.concatenate([numbers(table, f"score.{score}") for table in tables])
    return np.sort(values[~np.isnan(values)])


def test_limits_lie_at_the_quantile_of_their_side_and_become_a_config(finished, here, tmp_path):
    rules_file = tmp_path / "rules.yaml"
    summary = here("calibrate", "--reference", finished, "--quantile", 0.1, "-o", rules_file).summary
    rules = {rule["name"]: rule for rule in summary["rules"]}
    sharp, noise = measured(finished, "laplacian_variance"), measured(finished, "noise_sigma")
    assert summary["measured"] == len(sharp) == 57
    assert rules["blurred"]["new_limit"] == sharp[5]  # five of 57 are below, a tenth is 5.7
    assert rules["noisy"]["new_limit"] == noise[-6]
    assert (rules["blurred"]["fail_new"], rules["noisy"]["fail_new"]) == (5, 5)
    assert rules["blurred"]["fail_old"] == (sharp < 10).sum() > 0
    config = load_config(CurateConfig, rules_file).select
    assert {name: rule.limit for name, rule in config.rules.items()} == {
        name: rule["new_limit"] for name, rule in rules.items()
    }
    assert f"# was 10; 5 of 57 fail, were {rules['blurred']['fail_old']}" in rules_file.read_text()
    assert 5 < summary["fail_new"] < 57


def test_a_selection_under_the_new_rules_drops_as_many_as_was_said(own_copy, here, tmp_path):
    summary = here("calibrate", "--reference", own_copy, "-o", tmp_path / "rules.yaml").summary
    (own_copy / "packing.json").unlink()
    store = Store(own_copy)
    config = load_config(CurateConfig, tmp_path / "rules.yaml").select
    selection = select(store, load_plan(store), config)
    by_rules = sum(count for reason, count in selection.reasons.items() if reason in config.rules)
    assert by_rules == summary["fail_new"] > 0


def test_a_score_that_says_nothing_leaves_its_rule_as_it_is(
    photos, encode, config, in_this_process, tmp_path
):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("china", "flower", "coffee", "chelsea"):
        square = photos[name][:200, :200]
        (source / f"{name}.png").write_bytes(encode(square, "PNG"))
    store = Store(tmp_path / "reference")
    plan = pipeline.score(store, str(source), config, in_this_process, allow_private=False)
    found = {rule.name: rule for rule in calibrate(store, plan, config.select.rules, 0.05).rules}
    assert (found["extreme_aspect"].new_limit, found["extreme_aspect"].note) == (
        3.0,
        "as it was: every reference picture has 1",
    )
    assert (found["low_jpeg_quality"].new_limit, found["low_jpeg_quality"].among) == (60.0, 0)
    assert found["low_jpeg_quality"].note == "as it was: no reference picture has the score"
    sharpness = measured(store.url, "laplacian_variance")
    assert found["blurred"].new_limit == sharpness[0]  # a twentieth of four is none


def test_the_table_for_people_has_a_line_for_each_rule(finished, tmp_path):
    from typer.testing import CliRunner

    from supir_curate.cli import app

    done = CliRunner().invoke(app, ["calibrate", "--reference", str(finished)])
    lines = done.stderr.splitlines()
    assert lines[0].split()[:3] == ["rule", "score", "keep"]
    assert sum(line.startswith(("blurred ", "noisy ", "grey ")) for line in lines) == 3
    assert any(line.startswith("any of them") and line.endswith("of 57") for line in lines)


def test_a_wrong_call_is_one_line(finished, here, tmp_path):
    (tmp_path / "mine.yaml").write_text("x")
    wrong = {
        "--reference is missing; type": (),
        "--quantile 1 is not 0 to below 1": ("--reference", finished, "--quantile", 1),
        "mine.yaml is there already": ("--reference", finished, "-o", tmp_path / "mine.yaml"),
        "there is no folder": ("--reference", finished, "-o", tmp_path / "none/rules.yaml"),
        "did you mean 'select'": ("--reference", finished, "--set", "selct.rules={}"),
    }
    for message, words in wrong.items():
        with pytest.raises(UserError, match=message):
            here("calibrate", *words)
    assert Path(tmp_path / "mine.yaml").read_text() == "x"
