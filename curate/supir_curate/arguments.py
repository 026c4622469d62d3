"""What the commands share: their arguments, and how a command finds its config and its dataset.

Place in the flow: `cli` and `dataset_cli` declare their commands with these. The law: a wrong word is answered with
what to type; nothing heavy is imported.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from supir_console import UserError, config_yaml, load_config

if TYPE_CHECKING:
    from supir_curate.cluster import Cluster
    from supir_curate.config import CurateConfig
    from supir_shards import Store

# Arguments may be left out so that --print-config works alone; every command asks for them after it.
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE",
        help="Folder of images, tars, Parquet files or lists of URLs (CSV, TSV, JSONL, TXT); one of these files; or a"
        " dataset of ours. Several are merged.",
        show_default=False,
    ),
]
Dataset = Annotated[
    str, typer.Argument(help="Dataset: local path or URL such as s3://bucket/name.", show_default=False)
]
Output = Annotated[
    str, typer.Option("--output", "-o", help="Dataset to make or continue.", show_default=False)
]
Branch = Annotated[
    str,
    typer.Option(
        "--output", "-o", help="New dataset with this selection; DATASET stays.", show_default=False
    ),
]
Workers = Annotated[int, typer.Option(min=0, help="Processes that score or pack; 0 takes every core.")]
Fetchers = Annotated[int, typer.Option(min=1, help="Fetching processes; they share the pace.")]
AllowPrivate = Annotated[
    bool,
    typer.Option(
        "--allow-private", help="Let URLs lead to private addresses and any port. Own servers only."
    ),
]
KeepSpool = Annotated[
    bool,
    typer.Option(
        "--keep-spool", help="Keep the fetched bytes after packing; --set fetch.keep_spool=true too."
    ),
]
RetryFailed = Annotated[
    bool,
    typer.Option(
        "--retry-failed", help="Try again what failed for passing reasons: no connection, 429, 5xx, time."
    ),
]
Extend = Annotated[
    bool, typer.Option("--extend", help="Take in what SOURCE holds beyond what the dataset was made of.")
]


def settings_from(config: Path | None, overrides: list[str], print_config: bool) -> CurateConfig:
    """Returns the config; with --print-config it is printed and the command ends."""
    from supir_curate.config import CurateConfig

    settings = load_config(CurateConfig, config, overrides)
    if print_config:
        sys.stdout.write(config_yaml(settings))
        raise typer.Exit
    return settings


def begun_dataset(command: str, sources: list[str], output: str) -> Store:
    """Returns the dataset that -o names, for a command that begins with sources."""
    if not sources or not output:
        missing = "-o DATASET" if sources else "SOURCE"
        raise UserError(f"{missing} is missing; type: supir-curate {command} SOURCE -o DATASET")
    return new_dataset(output)


def new_dataset(output: str) -> Store:
    """Returns the dataset to be made or continued at a place."""
    from supir_shards import Store, absolute_url

    place = absolute_url(output)
    if "://" not in place and Path(place).exists() and not Path(place).is_dir():
        raise UserError(f"-o {output} is a file; give a new folder, or the dataset to continue")
    return Store(place)


def existing_dataset(command: str, dataset: str) -> Store:
    """Returns the dataset that a command works on."""
    from supir_shards import Store, absolute_url

    if not dataset:
        raise UserError(f"DATASET is missing; type: supir-curate {command} DATASET")
    return Store(absolute_url(dataset))


def cluster_of(workers: int, fetchers: int = 1) -> Cluster:
    """Returns where parts are worked on."""
    from supir_curate.cluster import Cluster, Resources

    return Cluster(Resources(workers, fetchers))
