"""`supir-caption DATASET`: dense and short captions of every image and its regions, beside the shards."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from supir_caption import page_cli
from supir_caption.config import CaptionConfig
from supir_console import (
    ConfigOption,
    DryRunOption,
    JsonOption,
    PrintConfigOption,
    SetOption,
    UserError,
    config_yaml,
    entry,
    finish,
    load_config,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

COMMANDS = {"report": page_cli.report_app, "compare": page_cli.compare_app}


@app.command(
    epilog=f"Other commands, each with its own --help: supir-caption {', supir-caption '.join(COMMANDS)}."
)
def caption(
    dataset: Annotated[
        str | None, typer.Argument(help="Dataset that supir-curate finished: a folder or an fsspec URL.")
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="vllm (a LLaVA model, the default) or tags (a plain measured description)."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="vllm: model folder or hub id. tags: MobileNetV2 weights file.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Folder under captions/ that is written; the engine's name if left out."),
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # typer reads the default, nobody changes it
    print_config: PrintConfigOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Caption every image of DATASET and its regions: a dense text, and one that fits CLIP's 77 tokens.

    Captions go to DATASET/captions/NAME as Parquet, part by part; the same command again does the parts that
    are missing. Runs on Ray: on this machine, or on the cluster that RAY_ADDRESS names.
    """
    settings = _settings(config, overrides, engine=engine, name=name, model=model)
    if print_config:
        sys.stdout.write(config_yaml(settings))
        return
    if dataset is None:
        raise UserError(
            "DATASET is missing; type: supir-caption DATASET, a folder or URL that supir-curate finished"
        )
    from supir_caption.run import caption_dataset, plan

    if dry_run:
        finish({"dataset": dataset, "name": settings.folder, **plan(dataset, settings).summary()}, as_json)
        return
    summary = caption_dataset(dataset, settings)
    finish(summary, as_json, failed=summary["failed"])


def _settings(
    config: Path | None, overrides: Sequence[str], *, engine: str | None, name: str | None, model: str | None
) -> CaptionConfig:
    flags = [
        f"{key}={json.dumps(value)}"
        for key, value in (("engine", engine), ("name", name))
        if value is not None
    ]
    settings = load_config(CaptionConfig, config, [*overrides, *flags])
    if model is None:
        return settings
    key = "vllm.model" if settings.engine == "vllm" else "tags.weights"
    return load_config(CaptionConfig, config, [*overrides, *flags, f"{key}={json.dumps(model)}"])


def dispatch(args: Sequence[str]) -> None:
    """Runs the command that the first argument names, or captions."""
    name = args[0] if args else ""
    if name in COMMANDS:
        COMMANDS[name](args=args[1:], prog_name=f"supir-caption {name}")
    app(args=args, prog_name="supir-caption")


main = entry(dispatch)
