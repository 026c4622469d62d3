"""The `assess` command of `supir-curate`: scorers with weights, between `score` and `select`.

Place in the flow: `cli` adds it to its app. The law is `cli`'s: nothing heavy is imported before the command runs;
exit code 1 when pictures got no answer, with their list in report/unassessed.csv.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from supir_console import (
    ConfigOption,
    DryRunOption,
    JsonOption,
    PrintConfigOption,
    SetOption,
    finish,
    load_config,
)
from supir_curate.arguments import Dataset, existing_dataset, settings_from

With = Annotated[
    str,
    typer.Option(
        "--with",
        metavar="NAMES",
        help="Scorers at their defaults, as niqe,brisque,nsfw,text,faces,mobilenet,clip, or any metric of pyiqa by its"
        " name, as musiq; further ones and their keys by --set assess.scorers.NAME.KEY=VALUE.",
    ),
]
Workers = Annotated[
    int, typer.Option(min=0, help="Processes without a GPU; 0 takes every core. Each loads every scorer.")
]


def assess(
    dataset: Dataset = "",
    names: With = "",
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
    workers: Workers = 0,
    dry_run: DryRunOption = False,
    print_config: PrintConfigOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let scorers with weights look at what passes so far; select may then limit their scores too."""
    settings = settings_from(config, [*_named(names, config, overrides), *overrides], print_config)
    store = existing_dataset("assess", dataset)
    from supir_curate.assess import assess as assess_all
    from supir_curate.assess import assessing_cost
    from supir_curate.sources.plan import load_plan

    plan = load_plan(store)
    settings = settings.with_recorded(store.url, plan.scoring)
    if dry_run:
        return finish(assessing_cost(store, plan, settings, workers), as_json)
    summary = assess_all(store, plan, settings, workers)
    return finish(summary, as_json, summary["failed"])


def _named(names: str, config: Path | None, overrides: list[str]) -> list[str]:
    """Returns overrides that add the named scorers; those that the config has already keep their keys."""
    from supir_curate.config import CurateConfig

    wanted = [name.strip() for name in names.split(",") if name.strip()]
    there = load_config(CurateConfig, config, overrides).assess.scorers if wanted else {}
    return [f"assess.scorers.{name}={{}}" for name in wanted if name not in there]
