"""Ray clusters of several nodes, some of which are killed under the work; what came of it is written as JSON.

Run as `python node_loss.py WORK FOLDER` by the tests: a process of its own, as a cluster needs a token of its own
before Ray is imported, and an alarm ends what would hang.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

ALARM_S = 240
NODE_WAIT_S = 3


def outcome(work: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Does the work in a process of its own; returns how it ended when "one" of two nodes died, and when "all" had."""
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_AUTO_CONNECT": "0",  # as in our sessions
        # a killed node is noticed after 2 s instead of 20
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_failure_threshold": "3",
        "RAY_health_check_initial_delay_ms": "0",
        "SUPIR_NODE_WAIT_S": str(NODE_WAIT_S),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    with (folder / "words").open("w") as words:
        subprocess.run(
            [sys.executable, __file__, work, str(folder)],
            env=environment,
            stdout=words,
            stderr=words,
            check=True,
            timeout=ALARM_S + 20,
        )
    found: dict[str, dict[str, Any]] = json.loads((folder / "outcome.json").read_text())
    return found


@contextmanager
def cluster(*cores: int) -> Iterator[tuple[Any, list[Any]]]:
    """Holds a connection to a cluster whose head has no core, and its other nodes with so many each."""
    import ray
    from ray.cluster_utils import Cluster

    store = 80_000_000
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": store})
    try:
        others = [nodes.add_node(num_cpus=count, object_store_memory=store) for count in cores]
        ray.init(nodes.address, log_to_driver=False, logging_level="error")
        nodes.wait_for_nodes()
        yield nodes, others
    finally:
        ray.shutdown()
        nodes.shutdown()


class Worker:
    """Takes its time over an item, and notes which it began."""

    def __init__(self, notes: str) -> None:
        self._notes = Path(notes)

    def work(self, item: str) -> Iterator[str]:
        note(self._notes, item)
        yield f"{item} begun"
        time.sleep(2)  # longer than a busy machine takes to kill a node: it dies at an item
        yield f"{item} done"


def note(notes: Path, item: str) -> None:
    """Adds a line; a short append is one write."""
    with notes.open("a") as file:
        file.write(f"{item}\n")


def on_actors(folder: Path, kill: Callable[[int], None], items: int = 10) -> dict[str, Any]:
    """Ten items over four actors; `kill` is told of each outcome's number, first of 0 before any."""
    import ray

    from supir_console import Progress, Unfinished, run_on_actors

    actor: Any = ray.remote(num_cpus=1)(Worker)
    ended: list[tuple[str, list[str], str]] = []
    words, since = "", time.monotonic()
    with Progress(items, "work", "items") as progress:
        try:
            for one in run_on_actors(
                [str(number) for number in range(items)],
                make_actor=lambda: actor.remote(str(folder / "notes")),
                start=lambda worker, item: worker.work.options(num_returns="streaming").remote(item),
                num_actors=4,
                attempts=2,
                count=lambda _: 1,
                progress=progress,
            ):
                ended.append((one.item, one.results, one.error))
                kill(len(ended))
                since = time.monotonic()
        except Unfinished as error:
            words = str(error)
    return {"ended": ended, "words": words, "waited_s": time.monotonic() - since}


def on_tasks(folder: Path, kill: Callable[[int], None], parts: int = 8) -> dict[str, Any]:
    """Parts over curate's cluster, each fetched first; `kill` is told of each result's number."""
    from supir_console import Unfinished
    from supir_curate.cluster import Cluster, Fetching, Resources

    results: list[str] = []
    words, since = "", time.monotonic()
    fetching = Fetching(partial(Fetcher, folder / "fetched"), "dataset")
    with Cluster(Resources(workers=2, fetchers=2)) as nodes:
        try:
            work = partial(work_on, folder / "notes")
            for result in nodes.run(work, [f"part-{number:06}" for number in range(parts)], fetching):
                results.append(result)
                kill(len(results))
                since = time.monotonic()
        except Unfinished as error:
            words = str(error)
    return {"results": results, "words": words, "waited_s": time.monotonic() - since}


class Fetcher:
    """Notes what it fetches."""

    def __init__(self, notes: Path, _num_fetchers: int, _number: int) -> None:
        self._notes = notes

    async def fetch_part(self, _dataset: str, part: str) -> str:
        note(self._notes, part)
        return part


def work_on(notes: Path, part: str) -> str:
    """Takes its time over a part."""
    note(notes, part)
    time.sleep(0.5)
    return part


def listing(_folder: Path, kill: Callable[[int], None], files: int = 40) -> dict[str, Any]:
    """Files listed by Ray Data; `kill` is told of each table's number."""
    from supir_console import Unfinished
    from supir_curate.ray_listing import listed_by_ray

    names: list[str] = []
    words, since, number = "", time.monotonic(), 0
    try:
        for table in listed_by_ray(list_names, [f"file-{name:03}" for name in range(files)], 2):
            names += table.column("name").to_pylist()
            number += 1
            kill(number)
            since = time.monotonic()
    except Unfinished as error:
        words = str(error)
    return {"names": names, "words": words, "waited_s": time.monotonic() - since}


def list_names(files: list[str]) -> Iterator[Any]:
    """One table of the files' own names."""
    import pyarrow as pa

    time.sleep(0.2)
    yield pa.table({"name": files})


WORK = {"actors": on_actors, "tasks": on_tasks, "listing": listing}


def main() -> None:
    """Does the work twice: a first time one of two nodes with cores is killed under it, then the other one."""
    work, folder = WORK[sys.argv[1]], Path(sys.argv[2])
    signal.alarm(ALARM_S)
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules["__main__"])
    found = {}
    with cluster(2, 2) as (nodes, others):

        def kill_one(number: int) -> None:
            if number == 2:
                nodes.remove_node(others.pop(), allow_graceful=False)

        for which in ("one", "all"):
            (folder / which).mkdir()
            found[which] = work(folder / which, kill_one)
    (folder / "outcome.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
