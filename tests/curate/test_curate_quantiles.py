"""Limits found in the ledger: quantiles, top shares, roles and quotas, and scores from beside the ledger."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supir_console import UserError, load_config
from supir_curate.config import CurateConfig
from supir_curate.config.rules import Quantile, Rule, Top
from supir_curate.ledger import numbers, read_scores
from supir_curate.selection.select import load_selection, require_foreseen, select
from supir_curate.selection.thresholds import found_threshold, num_kept, order_statistic
from supir_curate.sources.plan import load_plan
from supir_shards import Store


def selected(dataset, *overrides):
    """Selects anew under the collection's settings and these; returns the selection and its rows."""
    (dataset / "packing.json").unlink(missing_ok=True)
    store = Store(dataset)
    plan = load_plan(store)
    config = load_config(CurateConfig, None, ["select.rules.below_min_side.limit=100", *overrides])
    selection = select(store, plan, config.select)
    rows = [row for path in store.list("selection") for row in store.read_table(path).to_pylist()]
    return selection, rows


def ledger_of(dataset):
    store = Store(dataset)
    return pa.concat_tables([read_scores(store, part) for part in load_plan(store).parts()])


def write_sidecar(dataset, name, column, value_of, parts=None):
    store = Store(dataset)
    for part in load_plan(store).parts()[:parts]:
        ledger = read_scores(store, part).filter(pa.compute.field("status") == "ok")
        rows = list(reversed(ledger.column("source_row").to_pylist()))
        urls = list(reversed(ledger.column("url").to_pylist()))
        values = pa.array([value_of(url) for url in urls], pa.float64())
        store.write_table(f"scores/{name}/{part}.parquet", pa.table({"source_row": rows, column: values}))


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 99), st.sampled_from([">=", "<="])
)
def test_a_quantile_drops_no_more_and_a_top_share_keeps_no_less_than_it_says(values, percent, keep):
    share, column = percent / 100, np.array(values, float)
    for limit in (Quantile(quantile=share), Top(top=share)):
        found = order_statistic(column.copy(), keep, num_kept(limit, keep, len(values)))
        kept = column >= found if keep == ">=" else column <= found
        stricter = column > found if keep == ">=" else column < found
        if isinstance(limit, Top):
            wanted = percent * len(values) / 100
        else:
            wanted = len(values) * (100 - percent if keep == ">=" else percent) / 100
        assert kept.sum() >= wanted - 1e-9
        assert stricter.sum() < max(1, wanted)  # the next stricter limit would keep too few


@pytest.mark.parametrize(
    ("keep", "share", "passes"),
    [
        (">=", Quantile(quantile=0.1), [True, True, True, True]),  # the limit is -inf, which nothing is below
        (">=", Top(top=0.1), [False, False, False, True]),  # it is inf
        ("<=", Quantile(quantile=0.9), [True, True, True, True]),
        ("<=", Top(top=0.1), [True, False, False, False]),
    ],
)
def test_infinite_scores_of_a_source_are_ordered_like_others(keep, share, passes):
    scores = np.array([-np.inf, 1.0, 2.0, np.inf])
    rule = Rule(score="punsafe", keep=keep, limit=share)
    assert found_threshold(rule, scores.copy()).passes(scores).tolist() == passes


def test_limits_are_found_among_those_that_pass_the_given_ones_and_written_down(own_copy):
    overrides = ["select.rules.blurred.limit={quantile: 0.25}", "select.rules.noisy.limit={top: 0.5}"]
    selection, rows = selected(own_copy, *overrides)
    ledger = ledger_of(own_copy)
    measured = np.array(ledger.column("status").to_pylist()) == "ok"
    for name, rule in selection.thresholds.items():
        if name not in ("blurred", "noisy"):
            values = numbers(ledger, f"score.{rule.score}")
            measured &= ~(values < rule.limit if rule.keep == ">=" else values > rule.limit)
    sharp = np.sort(numbers(ledger, "score.laplacian_variance")[measured])
    clean = np.sort(numbers(ledger, "score.noise_sigma")[measured])
    limits = {name: selection.thresholds[name] for name in ("blurred", "noisy", "grey")}
    assert limits["blurred"].limit == sharp[len(sharp) // 4]
    assert limits["noisy"].limit == clean[-(-len(clean) // 2) - 1]
    assert limits["blurred"].found == f"quantile 0.25 of {len(sharp)} candidates that pass the given limits"
    assert (limits["grey"].limit, limits["grey"].found) == (3.0, "given")
    assert load_selection(Store(own_copy)) == selection
    kept = np.array([row["state"] == "kept" for row in rows])
    assert numbers(ledger, "score.laplacian_variance")[kept].min() >= limits["blurred"].limit
    assert numbers(ledger, "score.noise_sigma")[kept].max() <= limits["noisy"].limit


def test_a_rule_may_name_a_scorers_score_and_the_report_draws_its_limit(own_copy, here):
    write_sidecar(own_copy, "aesthetic", "score.aesthetic", lambda url: float(len(url)))
    rule = "select.rules.low_aesthetic={score: aesthetic, keep: '>=', limit: 16}"
    _, rows = selected(own_copy, rule)
    urls = ledger_of(own_copy).column("url").to_pylist()
    broken = [row["detail"] for row in rows if row["reason"] == "low_aesthetic"]
    short = [len(url) < 16 for url, row in zip(urls, rows, strict=True) if row["state"] != "failed"]
    assert set(broken) == {"aesthetic 15, kept >= 16"}
    assert not any(len(url) < 16 for url, row in zip(urls, rows, strict=True) if row["state"] == "kept")
    assert sum(short) >= len(broken) > 0
    here("report", own_copy)
    assert "aesthetic &gt;= 16" in (own_copy / "report" / "index.html").read_text()


def test_a_score_that_is_nowhere_or_not_finished_is_refused(own_copy):
    before = (own_copy / "selection.json").read_bytes()
    rule = "select.rules.low_aesthetic={score: aestetic, keep: '>=', limit: {top: 0.5}}"
    with pytest.raises(
        UserError, match=r"has no score 'aestetic'; did you mean 'aspect_ratio'\? All: alpha_share"
    ):
        selected(own_copy, rule)
    write_sidecar(own_copy, "clip", "score.aesthetic", lambda _: 1.0, parts=2)
    with pytest.raises(
        UserError, match=r"scores/clip holds 'aesthetic' of 2 of 9 parts; let the scorer finish"
    ):
        selected(own_copy, rule.replace("aestetic", "aesthetic"))
    assert (own_copy / "selection.json").read_bytes() == before


def test_a_misspelt_score_is_refused_before_a_run_begins(here, collection, tmp_path):
    words = ("run", collection, "-o", tmp_path / "dataset", "--set")
    with pytest.raises(UserError, match="has no score 'colour'; did you mean 'colourfulness'"):
        here(*words, "select.rules.grey.score=colour")
    rule = "select.rules.low_quality={score: niqe, keep: '<=', limit: {top: 0.5}}"
    with pytest.raises(UserError, match="has no score 'niqe'"):
        here(*words, rule)
    assert not (tmp_path / "dataset").exists()
    config = load_config(CurateConfig, None, [rule, "assess.scorers={niqe: {}}"])
    require_foreseen(Store(tmp_path), config)


def test_a_candidate_that_a_scorer_has_no_answer_for_passes(own_copy):
    write_sidecar(own_copy, "clip", "score.nsfw", lambda url: 1.0 if "rocket" in url else float("nan"))
    store = Store(own_copy)
    path = store.list("scores")[0]
    store.write_table(path, store.read_table(path).slice(0, 3))  # rows may be missing too
    selection, _ = selected(own_copy, "select.rules.unsafe={score: nsfw, keep: '<=', limit: 0.5}")
    assert 0 < selection.reasons["unsafe"] <= 6


def test_roles_come_from_paths_and_scores_and_quotas_keep_the_best(own_copy):
    write_sidecar(own_copy, "faces", "score.face_share", lambda url: 0.2 if "chelsea" in url else 0.0)
    roles = "select.roles.face={url: 'set-0/*', score: face_share, limit: 0.05}"
    everything, rows = selected(own_copy, roles, "select.max_hash_distance=null")
    urls = ledger_of(own_copy).column("url").to_pylist()
    faces = [url for url, row in zip(urls, rows, strict=True) if row["role"] == "face"]
    assert len(faces) == 2
    assert all(url.startswith("set-0/chelsea") for url in faces)
    assert everything.roles["face"] == 2
    quota = "select.quotas.photo={count: 5, score: noise_sigma, prefer: lowest}"
    best, limited = selected(own_copy, roles, "select.max_hash_distance=null", quota)
    assert best.roles == {"face": 2, "photo": 5}
    noise = numbers(ledger_of(own_copy), "score.noise_sigma")
    state = np.array([f"{row['role']} {row['state']}" for row in limited])
    over = np.array([row["reason"] == "over_quota" for row in limited])
    assert noise[state == "photo kept"].max() <= noise[over].min()
    assert over.sum() == best.reasons["over_quota"] == everything.kept - 7
    assert "rank 6 as photo, kept are 5" in [row["detail"] for row in limited]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("select.rules.grey.limit={quantil: 0.1}", r"limit': a limit is a number, null, {quantile: 0.05}"),
        ("select.rules.grey.limit={quantile: 0.1, top: 0.1}", "a limit is a number, null, {quantile: 0.05}"),
        ("select.rules.grey.limit={quantile: 1.5}", "grey.limit.*less than 1"),
        ("select.rules.grey.limit={top: 0}", "grey.limit.*greater than 0"),
        ("select.rules.noisi.limit=3", "did you mean 'noisy'.*A new rule names score, keep and limit"),
        ("select.rules.timed_out={score: noise_sigma, keep: '<=', limit: 1}", "cannot be called 'timed_out'"),
        ("select.roles.faces={url: 'x*'}", "no role 'faces'; there are photo, face, negative"),
        ("select.roles.face={limit: 3}", "a role needs a pattern"),
        ("select.quotas.face=-1", "quotas.face.count.*greater than or equal to 0"),
    ],
)
def test_a_wrong_limit_role_or_quota_is_named(override, message):
    with pytest.raises(UserError, match=message):
        load_config(CurateConfig, None, [override])


def test_a_plain_quota_and_a_new_rule_are_read_and_written_back():
    overrides = ["select.quotas.face=70000", "select.rules.low_x={score: x, keep: '>=', limit: {top: 0.5}}"]
    config = load_config(CurateConfig, None, overrides).select
    assert config.quotas["face"].count == 70000
    assert [*config.rules][-1] == "low_x"
    assert type(config).model_validate_json(json.dumps(config.model_dump(mode="json"))) == config
