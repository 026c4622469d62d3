"""Commands on finished datasets, of the same `supir-curate`.

Place in the flow: `cli` adds them to its app. The law is `cli`'s: nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import sys
from typing import Any

from supir_console import JsonOption, finish
from supir_curate.arguments import Dataset, existing_dataset


def verify(dataset: Dataset = "", as_json: JsonOption = False) -> None:
    """Read every file of a finished dataset and compare it with its manifest."""
    from supir_shards import verify as find_problems

    store = existing_dataset("verify", dataset)
    problems = find_problems(store)
    lines = [f"{problem.kind}: {problem.path}: {problem.detail}" for problem in problems]
    summary: dict[str, Any] = {"dataset": store.url, "num_problems": len(lines)}
    if as_json:
        summary["problems"] = lines
    else:
        sys.stderr.writelines(line + "\n" for line in lines)
    finish(summary, as_json, failed=len(lines))
