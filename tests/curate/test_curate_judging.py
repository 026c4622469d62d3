"""Rules over many parts, each score read once: the same as rule by rule, in little memory, writing what changed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supir_console import load_config
from supir_curate.config import CurateConfig
from supir_curate.config.rules import Quantile, Rule, Top
from supir_curate.selection.judging import PASSED, UNMEASURED, Judge
from supir_curate.selection.select import select
from supir_curate.selection.survivors import RANKING, Survivors
from supir_curate.sources.plan import load_plan
from supir_shards import Store

RULES = {
    "relative_first": Rule(score="a", keep=">=", limit=Quantile(quantile=0.3)),
    "given": Rule(score="b", keep="<=", limit=6.0),
    "off": Rule(score="a", keep=">=", limit=None),
    "relative_last": Rule(score="c", keep="<=", limit=Top(top=0.5)),
}


def part_of(rows):
    """A part's columns: rows are (measured, a, b, c), None for no value."""
    count = len(rows)
    columns = {name: pa.array(np.ones(count)) for name in RANKING}
    columns |= {"key": pa.array([f"{row:032x}" for row in range(count)])}
    columns |= {
        name: pa.array(range(count), kind) for name, kind in (("source_row", "int64"), ("phash", "uint64"))
    }
    columns["status"] = pa.array(["ok" if measured else "failed" for measured, *_ in rows])
    for place, name in enumerate("abc", start=1):
        columns[f"score.{name}"] = pa.array([row[place] for row in rows], pa.float64())
    return pa.table(columns)


def judged(parts, rules=RULES):
    survivors = Survivors()
    judge = Judge(Store("unused"), rules, {}, survivors, [])
    for rows in parts:
        judge.add(part_of(rows))
    return *judge.settled(), survivors


def first_failed(row, limits):
    """The law, written plainly."""
    for number, (name, rule) in enumerate(RULES.items()):
        value, limit = dict(zip("abc", row[1:], strict=True))[rule.score], limits[name]
        if None not in (value, limit) and (value < limit if rule.keep == ">=" else value > limit):
            return number
    return PASSED


SCORES = st.one_of(st.none(), st.integers(0, 9).map(float))
ROWS = st.lists(st.tuples(st.booleans(), SCORES, SCORES, SCORES), max_size=25)


@settings(max_examples=150, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=4))
def test_parts_are_judged_as_one_row_after_the_other_would_be(parts):
    thresholds, found, survivors = judged(parts)
    limits = {name: rule.limit for name, rule in thresholds.items()}
    passes = [row for rows in parts for row in rows if row[0] and not (row[2] is not None and row[2] > 6)]
    for name, score in (("relative_first", 1), ("relative_last", 3)):
        known = sorted(row[score] for row in passes if row[score] is not None)
        if not known:
            assert limits[name] is None
        elif name == "relative_first":
            assert limits[name] == known[3 * len(known) // 10]
        else:
            assert limits[name] == known[-(-len(known) // 2) - 1]
    rows_of = survivors.rows_of(len(parts))
    for rows, one, kept in zip(parts, found, rows_of, strict=True):
        expected = [first_failed(row, limits) if row[0] else UNMEASURED for row in rows]
        assert one.failed.tolist() == expected
        values = [
            row[{0: 1, 1: 2, 3: 3}[number]] for row, number in zip(rows, expected, strict=True) if number >= 0
        ]
        assert one.value.tolist() == values
        assert kept.tolist() == [row for row, number in enumerate(expected) if number == PASSED]


def test_a_candidate_takes_three_bytes_and_a_failing_one_eight_more():
    rng = np.random.default_rng(0)
    rows = [(True, *values) for values in rng.uniform(0, 10, (1000, 3)).tolist()]
    _, found, survivors = judged([rows, rows])
    held = sum(one.failed.nbytes + one.role.nbytes + one.value.nbytes for one in found)
    failing = sum(int((one.failed >= 0).sum()) for one in found)
    assert 0 < failing < 2000
    assert held == 3 * 2000 + 8 * failing
    kept = sum(len(rows) for rows in survivors.rows_of(2))
    assert kept == 2000 - failing


def test_only_parts_whose_decisions_change_are_written_anew(own_copy):
    def selected(*overrides):
        (own_copy / "packing.json").unlink(missing_ok=True)
        config = load_config(CurateConfig, None, ["select.rules.below_min_side.limit=100", *overrides])
        select(Store(own_copy), load_plan(Store(own_copy)), config.select)
        files = sorted((own_copy / "selection").glob("*.parquet"))
        return {file.name: (file.stat().st_ino, file.read_bytes()) for file in files}

    first = selected("select.max_hash_distance=null")
    same = selected("select.max_hash_distance=null", "select.rules.extreme_aspect.limit=1000")
    assert same == first
    stricter = selected("select.max_hash_distance=null", "select.rules.blurred.limit=1200")
    for name, (inode, data) in stricter.items():
        assert (inode == first[name][0]) == (data == first[name][1])
    assert 0 < sum(stricter[name] != first[name] for name in first) < len(first)
    (own_copy / "selection" / "part-000001.parquet").write_bytes(b"half")
    (own_copy / "selection.json").unlink()
    again = selected("select.max_hash_distance=null", "select.rules.blurred.limit=1200")
    assert {name: data for name, (_, data) in again.items()} == {
        name: data for name, (_, data) in stricter.items()
    }


@pytest.mark.parametrize("relative", [Quantile(quantile=0.5), Top(top=0.5)])
def test_nobody_to_find_a_limit_among_is_no_limit(relative):
    rules = {"only": Rule(score="a", keep=">=", limit=relative)}
    thresholds, found, _ = judged([[(True, None, 1.0, 1.0), (False, 5.0, 1.0, 1.0)], []], rules)
    assert thresholds["only"].limit is None
    assert [one.failed.tolist() for one in found] == [[PASSED, UNMEASURED], []]
