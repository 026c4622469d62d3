"""Items over real Ray actors: killed workers are replaced, what keeps failing is reported, a UserError ends the run."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supir_console import Outcome, Progress, UserError, run_on_actors

pytestmark = pytest.mark.usefixtures("connected_ray")


def outcomes(items: list[str], notes: Path, advanced: list[int]) -> list[Outcome[str, int]]:
    import ray

    class Worker:  # local, so that Ray sends its code instead of the name of a test module
        def work(self, item: str) -> Iterator[int]:
            with notes.open("a") as file:
                file.write(f"{item} ")
            yield 3
            if item == "deadly" or (item == "unlucky" and notes.read_text().count(item) == 1):
                os.kill(os.getpid(), signal.SIGKILL)
            if item == "broken":
                raise RuntimeError("no such luck")
            if item == "wrong":
                raise UserError("the model is missing; give it with --model")
            yield 4

    class Counting(Progress):
        def advance(self, count: int = 1) -> None:
            advanced.append(count)

    actor: Any = ray.remote(num_cpus=0)(Worker)
    with Counting(None, "test", "items") as progress:
        return list(
            run_on_actors(
                items,
                make_actor=actor.remote,
                start=lambda worker, item: worker.work.options(num_returns="streaming").remote(item),
                num_actors=2,
                attempts=2,
                count=lambda result: result,
                progress=progress,
            )
        )


def test_killed_workers_are_replaced_and_what_keeps_failing_is_reported(tmp_path: Path) -> None:
    advanced: list[int] = []
    items = ["deadly", "good", "unlucky", "broken", "fine"]
    found = {one.item: one for one in outcomes(items, tmp_path / "notes", advanced)}
    assert found.keys() == set(items)
    for item in ("good", "fine", "unlucky"):
        assert (found[item].results, found[item].error) == ([3, 4], "")
    assert found["deadly"].results == found["broken"].results == []
    assert found["deadly"].error.startswith("ActorDiedError: ")
    assert found["broken"].error.endswith("RuntimeError: no such luck")
    assert (tmp_path / "notes").read_text().count("deadly ") == 2
    assert sum(advanced) == 3 * 7  # what the failed ones had added was taken back


def test_a_word_on_the_users_input_ends_the_run_as_the_worker_said_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^the model is missing; give it with --model$"):
        outcomes(["good", "wrong", "fine"], tmp_path / "notes", [])
