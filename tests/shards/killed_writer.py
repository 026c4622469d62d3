"""Writes a dataset in children that die by SIGKILL, resumes it, reports what differs; not a test itself.

Children are forked from one warm process, so that a death costs milliseconds. Some die at their n-th file
operation (an audit hook counts them), for every n; others are killed by the parent's clock, twice in a row.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet  # noqa: F401 - loaded before the children are forked

from supir_shards import (
    Caption,
    Dataset,
    Quarantined,
    Role,
    Sample,
    Store,
    finish_dataset,
    is_committed,
    part_name,
    sample_key,
    verify,
    write_captions,
    write_part,
)

PARTS, SAMPLES = 2, 2
OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.scandir", "os.listdir"}


def samples(part: int) -> Iterator[Sample]:
    for number in range(SAMPLES):
        image = np.random.default_rng([part, number]).bytes(300_000)
        yield Sample(key=sample_key(image), image=image, extension="jpg", role=Role.PHOTO, width=9, height=9)


def run(folder: Path) -> None:
    """The command under test: a resume loop over parts, as every stage has it."""
    store = Store(folder)
    for number in range(PARTS):
        part = part_name(number)
        if not is_committed(store, part):
            captions = [
                Caption(
                    key=one.key,
                    region=0,
                    box=(0, 0, 9, 9),
                    text="t",
                    short_text="t",
                    num_tokens_clip_l=1,
                    num_tokens_clip_g=1,
                )
                for one in samples(number)
            ]
            write_captions(store, "plain", part, captions)
            write_part(store, part, samples(number))
    finish_dataset(store, command="supir-curate", config={"seed": 0}, config_hash="aa")


def fork(action: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            action()
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
            os._exit(70)
    return child


def wait(child: int) -> bool:
    """Whether the child was killed; another failure is an error."""
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status) == signal.SIGKILL
    assert os.WEXITSTATUS(status) == 0, "the writer failed by itself"
    return False


def die_at(operation: int, folder: Path) -> None:
    """Run, and die by SIGKILL right before the n-th file operation in the folder."""
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in OPERATIONS and str(arguments[0]).startswith(str(folder)):
            seen += 1
            if seen == operation:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    run(folder)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def inspect(folder: Path) -> dict[str, Any]:
    """What a killed run left: committed parts, broken samples in them, temporary files."""
    store = Store(folder)
    parts = [part_name(number) for number in range(PARTS) if is_committed(store, part_name(number))]
    broken = []
    for part in parts:
        bad: list[Quarantined] = []
        good = list(Dataset(store).samples([part], "plain", on_bad=bad.append))
        broken += [one.name for one in bad] if len(good) + len(bad) == SAMPLES else [f"{part} lost samples"]
    return {"committed": len(parts), "broken": broken, "leftovers": store.leftovers()}


def finish(folder: Path, expected: dict[str, bytes], report: dict[str, Any]) -> dict[str, Any]:
    """Run to the end and compare every file, temporary ones included, with the undisturbed dataset."""
    assert not wait(fork(lambda: run(folder)))
    found = tree(folder)
    report["different"] = sorted(
        path for path in {*found, *expected} if found.get(path) != expected.get(path)
    )
    shutil.rmtree(folder)
    return report


def by_operation(base: Path, expected: dict[str, bytes]) -> Iterator[dict[str, Any]]:
    for operation in range(1, 1000):
        folder = base / f"operation-{operation}"
        if not wait(fork(lambda: die_at(operation, folder))):  # noqa: B023 - the child runs at once
            return
        yield finish(folder, expected, {"num_kills": 1, **inspect(folder)})


def by_clock(base: Path, expected: dict[str, bytes], whole_run_s: float) -> Iterator[dict[str, Any]]:
    for moment in range(25):
        folder = base / f"moment-{moment}"
        report: dict[str, Any] = {"num_kills": 0, "broken": []}
        for _ in range(2):
            child = fork(lambda: run(folder))  # noqa: B023 - as above
            time.sleep(whole_run_s * (moment + 0.5) / 25)
            os.kill(child, signal.SIGKILL)
            report["num_kills"] += wait(child)
            report["broken"] += inspect(folder)["broken"]
        yield finish(folder, expected, report)


def main() -> None:
    base = Path(sys.argv[1])
    run(base / "warm")
    began = time.monotonic()
    assert not wait(fork(lambda: run(base / "whole")))
    whole_run_s = time.monotonic() - began
    expected = tree(base / "whole")
    assert verify(base / "whole") == []
    outcome = {
        "by_operation": list(by_operation(base, expected)),
        "by_clock": list(by_clock(base, expected, whole_run_s)),
    }
    json.dump(outcome, sys.stdout)


if __name__ == "__main__":
    main()
