"""What a ballot found: strengths with intervals, the share that prefers one over another, signs of a bad vote.

Place in the flow: `vote_cli` prints it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from supir_console import counted, one_line
from supir_infer.ballot import Answer
from supir_infer.bradley_terry import Strengths, Vote, fit, tally


def result(methods: Sequence[str], answers: Sequence[Answer]) -> dict[str, Any]:
    """Returns the result, ready for JSON, the strongest method first.

    Args:
        methods: names, in any order.
        answers: between them.
    """
    numbers = {method: number for number, method in enumerate(methods)}
    votes = [_vote(answer, numbers) for answer in answers]
    strengths = fit(len(methods), votes)
    order = sorted(range(len(methods)), key=lambda number: -strengths.strengths[number])
    sides = Counter(answer.choice for answer in answers)
    decided = sides["left"] + sides["right"]
    return {
        "num_votes": len(votes),
        "num_ties": sides["tie"],
        "voters": dict(Counter(answer.voter for answer in answers)),
        "standings": [_standing(number, methods, votes, strengths) for number in order],
        "preferences": [
            _preference(one, other, methods, votes, strengths) for one, other in combinations(order, 2)
        ],
        "left_chosen": {"votes": sides["left"], "of": decided, "p_value": _sign_test(sides["left"], decided)},
    }


def text(found: dict[str, Any]) -> str:
    """Returns the result as lines of text."""
    lines = [f"{counted(found['num_votes'], 'vote')}, of which {counted(found['num_ties'], 'tie')}"]
    for place, one in enumerate(found["standings"], 1):
        low, high = one["interval"]
        counts = f"{one['wins']} won, {one['losses']} lost, {one['ties']} tied"
        lines.append(
            f"{place}. {one['method']}: strength {one['strength']:+.2f} ({low:+.2f} to {high:+.2f}); {counts}"
        )
    for one in found["preferences"]:
        low, high = one["interval"]
        p = "" if one["p_value"] is None else f", p {one['p_value']:.2g}"
        share = f"{one['share']:.0%} ({low:.0%} to {high:.0%})"
        lines.append(f"{one['one']} over {one['other']}: {share} of {counted(one['num_votes'], 'vote')}{p}")
    left = found["left_chosen"]
    if left["p_value"] is not None and left["p_value"] < 0.01:
        lines.append(
            f"left was chosen in {left['votes']} of {counted(left['of'], 'vote')} (p {left['p_value']:.2g}): the sides"
            " were drawn, so somebody clicked without looking"
        )
    return "\n".join(map(one_line, lines)) + "\n"


def _standing(
    number: int, methods: Sequence[str], votes: Sequence[Vote], strengths: Strengths
) -> dict[str, Any]:
    return {
        "method": methods[number],
        "strength": float(strengths.strengths[number]),
        "interval": strengths.intervals()[number],
        "wins": sum(vote.preferred == number and not vote.tie for vote in votes),
        "losses": sum(vote.other == number and not vote.tie for vote in votes),
        "ties": sum(number in (vote.preferred, vote.other) and vote.tie for vote in votes),
    }


def _preference(
    one: int, other: int, methods: Sequence[str], votes: Sequence[Vote], strengths: Strengths
) -> dict[str, Any]:
    between = [vote for vote in votes if {vote.preferred, vote.other} == {one, other}]
    decided = [vote for vote in between if not vote.tie]
    share, interval = strengths.share(one, other)
    return {
        "one": methods[one],
        "other": methods[other],
        "share": share,
        "interval": interval,
        "num_votes": len(between),
        "share_of_votes": float(tally(len(methods), between)[one, other]) / len(between) if between else None,
        "p_value": _sign_test(sum(vote.preferred == one for vote in decided), len(decided)),
    }


def _vote(answer: Answer, numbers: dict[str, int]) -> Vote:
    left, right = numbers[answer.left], numbers[answer.right]
    if answer.choice == "right":
        return Vote(right, left)
    return Vote(left, right, tie=answer.choice == "tie")


def _sign_test(successes: int, trials: int) -> float | None:
    """The two-sided exact p-value of so many successes by chance; None of no trial."""
    from scipy.stats import binomtest

    return float(binomtest(successes, trials).pvalue) if trials else None
