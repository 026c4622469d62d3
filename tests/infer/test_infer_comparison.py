"""Intervals, paired tests and strengths beside scipy's and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from supir_infer.averages import mean_intervals
from supir_infer.bradley_terry import Vote, fit
from supir_infer.comparison import holm, paired_changes

PSNR = [{"metric": "psnr", "better": "higher"}]


def changes(values: list[float]) -> object:
    before = {str(index): {"psnr": 20.0} for index in range(len(values))}
    after = {str(index): {"psnr": 20.0 + value} for index, value in enumerate(values)}
    return paired_changes(before, after, PSNR)["psnr"]


def test_a_bootstrap_interval_is_that_of_the_central_limit_theorem_and_always_the_same():
    values = np.random.default_rng(0).normal(5, 2, 400)
    [(low, high)] = mean_intervals([values])
    half = 1.96 * values.std() / np.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.04)
    assert mean_intervals([values]) == [(low, high)]


def test_an_interval_of_equal_figures_has_no_width_and_one_of_a_single_picture_is_none():
    assert mean_intervals([[3.0, 3.0, 3.0], [1.0, 1.0, 1.0]]) == [(3, 3), (1, 1)]
    assert mean_intervals([[3.0], [4.0]]) == [None, None]
    assert mean_intervals([[]]) == [None]


def test_intervals_cover_the_true_mean_about_as_often_as_they_say():
    draw = np.random.default_rng(3)
    hits = 0
    for _ in range(100):
        [(low, high)] = mean_intervals([draw.normal(0, 1, 40)])
        hits += low <= 0 <= high
    assert 86 <= hits <= 99


def test_the_paired_test_is_wilcoxons_and_counts_pictures():
    moves = [0.5, -0.2, 0.9, 1.1, 0.0, 0.3, -0.1, 0.7, 0.65]
    found = changes(moves)
    assert found.p_value == pytest.approx(float(stats.wilcoxon([move for move in moves if move]).pvalue))
    assert (found.num_better, found.num_worse, found.num_equal) == (6, 2, 1)
    assert found.after - found.before == pytest.approx(np.mean(moves))
    assert [name for name, _, _ in found.moved_most] == ["3", "2", "7", "8", "0"]


def test_six_pictures_that_all_rise_have_the_exact_p_and_none_that_moved_has_none():
    assert changes([1.0, 2, 3, 4, 5, 6]).p_value == pytest.approx(2 / 2**6)
    assert changes([0.0, 1e-12]).p_value is None


def test_holm_steps_down_and_leaves_what_is_unknown():
    # by hand: 3 x 0.01, 2 x 0.02, 1 x 0.03 held up by the one before
    corrected = holm({"a": 0.02, "b": 0.01, "c": 0.03, "d": None})
    assert corrected == pytest.approx({"a": 0.04, "b": 0.03, "c": 0.04, "d": None})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


@pytest.mark.parametrize(("wins", "losses", "ties"), [(30, 10, 0), (7, 7, 4), (20, 0, 0)])
def test_two_methods_have_the_closed_form(wins, losses, ties):
    votes = [Vote(0, 1)] * wins + [Vote(1, 0)] * losses + [Vote(0, 1, tie=True)] * ties
    found = fit(2, votes)
    won, lost = wins + ties / 2 + 0.5, losses + ties / 2 + 0.5
    assert found.strengths[0] - found.strengths[1] == pytest.approx(np.log(won / lost), abs=1e-5)
    share, (low, high) = found.share(0, 1)
    half = 1.959964 * np.sqrt(1 / won + 1 / lost)
    assert share == pytest.approx(won / (won + lost), abs=1e-5)
    assert np.log(high / (1 - high)) == pytest.approx(np.log(won / lost) + half, abs=1e-4)
    assert np.log(low / (1 - low)) == pytest.approx(np.log(won / lost) - half, abs=1e-4)


def test_strengths_of_three_are_the_maximum_of_the_likelihood():
    draw = np.random.default_rng(5)
    votes = [Vote(*draw.permutation(3)[:2].tolist()) for _ in range(60)]
    found = fit(3, votes)

    def likelihood(strengths: np.ndarray) -> float:
        start = [Vote(i, j) for i in range(3) for j in range(3) if i != j]
        gaps = [(strengths[vote.preferred] - strengths[vote.other], 1.0) for vote in votes]
        gaps += [(strengths[vote.preferred] - strengths[vote.other], 0.5) for vote in start]
        return -sum(weight * np.log1p(np.exp(-gap)) for gap, weight in gaps)

    best = likelihood(found.strengths)
    for step in 0.05 * np.eye(3):
        assert best > likelihood(found.strengths + step)
        assert best > likelihood(found.strengths - step)
    assert found.strengths.sum() == pytest.approx(0, abs=1e-6)


def test_intervals_of_strengths_cover_the_planted_difference():
    draw = np.random.default_rng(7)
    chance, hits = 1 / (1 + np.exp(-0.8)), 0
    for _ in range(200):
        votes = [Vote(0, 1) if draw.random() < chance else Vote(1, 0) for _ in range(100)]
        low, high = fit(2, votes).share(0, 1)[1]
        hits += low <= chance <= high
    assert hits >= 182  # 95 % of 200, less two and a half deviations
