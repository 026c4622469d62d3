"""Rules, verdicts and the config that holds them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from supir_console import UserError, load_config
from supir_curate.config import CurateConfig
from supir_curate.config.rules import DEFAULT_RULES, Threshold, first_failed
from supir_curate.scores import SCORE_NAMES
from supir_curate.verdict import Reason, Tally


def columns(**values):
    """Scores that pass every default rule, but for those given."""
    passing = {
        "short_side_px": 2000.0,
        "aspect_ratio": 1.5,
        "laplacian_variance": 500.0,
        "jpeg_quality": 90.0,
        "first_quality": 100.0,
    }
    passing |= {"detail_ratio": 1.0, "effective_ratio": 1.0, "colourfulness": 40.0}
    names = {name: np.array([passing.get(name, 0.0)]) for name in SCORE_NAMES}
    return names | {name: np.atleast_1d(np.array(value, float)) for name, value in values.items()}


def failed_reason(rules=DEFAULT_RULES, **values):
    limits = {name: Threshold(**rule.model_dump(), found="given") for name, rule in rules.items()}
    number = int(first_failed(columns(**values), limits)[0])
    return list(rules)[number] if number >= 0 else None


@pytest.mark.parametrize(
    ("reason", "score", "passing", "failing"),
    [
        (Reason.BELOW_MIN_SIDE, "short_side_px", 512, 511),
        (Reason.EXTREME_ASPECT, "aspect_ratio", 3.0, 3.01),
        (Reason.TRANSPARENT, "alpha_share", 0.01, 0.02),
        (Reason.SCREENSHOT, "screen_score", 0.27, 0.28),
        (Reason.FEW_COLOURS, "palette_share", 0.98, 0.99),
        (Reason.GREY, "colourfulness", 3.0, 2.9),
        (Reason.BORDERED, "border_share", 0.1, 0.11),
        (Reason.LOW_DETAIL, "detail_ratio", 0.6, 0.59),
        (Reason.BLURRED, "laplacian_variance", 10, 9.9),
        (Reason.FLAT, "flat_share", 0.95, 0.96),
        (Reason.NOISY, "noise_sigma", 10, 10.1),
        (Reason.LOW_JPEG_QUALITY, "jpeg_quality", 60, 59),
        (Reason.BLOCKY, "blockiness", 1.5, 1.51),
        (Reason.OVERSHARPENED, "overshoot", 0.18, 0.181),
        (Reason.COLLAGE, "seam_share", 0.45, 0.451),
        (Reason.ENLARGED, "doubling_trace", 0.04, 0.041),
        (Reason.RESAMPLED, "resampling_trace", 0.08, 0.081),
        (Reason.RECOMPRESSED, "first_quality", 60, 59),
    ],
)
def test_each_rule_keeps_its_limit_and_drops_beyond_it(reason, score, passing, failing):
    assert failed_reason(**{score: passing}) is None
    assert failed_reason(**{score: failing}) is reason


def test_the_first_failed_rule_gives_the_reason():
    assert failed_reason(short_side_px=10, noise_sigma=99) is Reason.BELOW_MIN_SIDE
    reversed_rules = dict(reversed(DEFAULT_RULES.items()))
    assert failed_reason(reversed_rules, short_side_px=10, noise_sigma=99) is Reason.NOISY


def test_a_score_without_a_value_cannot_fail():
    assert failed_reason(jpeg_quality=np.nan, overshoot=np.nan) is None


def test_one_limit_can_be_set_alone_and_a_rule_switched_off():
    config = load_config(
        CurateConfig, None, ["select.rules.below_min_side.limit=64", "select.rules.grey.limit=null"]
    )
    rules = config.select.rules
    assert list(rules) == list(DEFAULT_RULES)
    assert rules[Reason.BELOW_MIN_SIDE].limit == 64
    assert rules[Reason.NOISY] == DEFAULT_RULES[Reason.NOISY]
    assert failed_reason(rules, colourfulness=0) is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("select.rules.noise.limit=3", "no rule gives 'noise'; did you mean 'noisy'"),
        ("select.max_hash_distance=12", "less than or equal to 11"),
        ("probe.max_pixels=1000000000", "178956970"),
        ("pack.side=3", "unknown config key 'pack.side'"),
    ],
)
def test_a_wrong_key_is_named_with_its_mend(override, message):
    with pytest.raises(UserError, match=message):
        load_config(CurateConfig, None, [override])


def test_rules_and_pace_do_not_change_the_scoring_config_and_probes_do():
    base = CurateConfig().scoring()
    same = ["select.rules.grey.limit=null", "fetch.pace.retries=9", "pack.max_side_px=4096"]
    assert load_config(CurateConfig, None, same).scoring() == base
    for override in ("probe.working_side_px=512", "source.part_size=7", "fetch.policy.max_bytes=1000"):
        assert load_config(CurateConfig, None, [override]).scoring() != base


def test_a_tally_that_does_not_add_up_is_our_mistake():
    tally = Tally(seen=3, failed=1, kept=1) + Tally(seen=1, dropped=1)
    with pytest.raises(AssertionError, match="is 3, but 4 candidates"):
        tally.checked()


def test_the_documentation_tells_every_default_limit():
    page = (Path(__file__).parents[2] / "docs/curate/selection.md").read_text()
    keep = {">=": "≥", "<=": "≤"}
    told = {
        (reason, sign, float(limit))
        for sign, limit, reason in re.findall(r"([≥≤]) ([\d.]+) \(`(\w+)`\)", page)
    }
    assert told == {(reason, keep[rule.keep], rule.limit) for reason, rule in DEFAULT_RULES.items()}
