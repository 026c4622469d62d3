"""`supir-caption DATASET`: dense and short captions of every image and its regions, beside the shards."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from supir_caption import examine_cli, page_cli
from supir_caption.config import PRESETS, CaptionConfig
from supir_console import (
    ConfigOption,
    DryRunOption,
    JsonOption,
    PrintConfigOption,
    SetOption,
    UserError,
    by_first_word,
    config_yaml,
    entry,
    finish,
    load_config,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

COMMANDS = {
    "report": page_cli.report_app,
    "compare": page_cli.compare_app,
    "audit": examine_cli.audit_app,
    "quiz": examine_cli.quiz_app,
}


@app.command(
    epilog=f"Other commands, each with its own --help: supir-caption {', supir-caption '.join(COMMANDS)}."
)
def caption(
    dataset: Annotated[
        str | None, typer.Argument(help="Dataset that supir-curate finished: a folder or an fsspec URL.")
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="vllm (a vision model here), openai (an endpoint), transformers or tags (no model)."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Folder or hub id; openai: its name there; tags: MobileNetV2 weights file."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help=f"Settings to start from: {', '.join(PRESETS)} (SUPIR's LLaVA and question)."),
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
    settings = _settings(config, overrides, engine=engine, name=name, model=model, preset=preset)
    if print_config:
        sys.stdout.write(config_yaml(settings))
        return
    if dataset is None:
        raise UserError(
            "DATASET is missing; type: supir-caption DATASET, a folder or URL that supir-curate finished"
        )
    from supir_caption import run

    if dry_run:
        finish({"dataset": dataset, "name": settings.folder, **run.dry_run(dataset, settings)}, as_json)
        return
    summary = run.caption_dataset(dataset, settings)
    finish(summary, as_json, failed=summary["failed"])


def _settings(
    config: Path | None,
    overrides: Sequence[str],
    *,
    engine: str | None,
    name: str | None,
    model: str | None,
    preset: str | None,
) -> CaptionConfig:
    flags = [
        f"{key}={json.dumps(value)}"
        for key, value in (("engine", engine), ("name", name))
        if value is not None
    ]
    given = [*_of_preset(preset, config), *overrides, *flags]
    settings = load_config(CaptionConfig, config, given)
    if model is None:
        return settings
    key = "tags.weights" if settings.engine == "tags" else f"{settings.engine}.model"
    return load_config(CaptionConfig, config, [*given, f"{key}={json.dumps(model)}"])


def _of_preset(preset: str | None, config: Path | None) -> tuple[str, ...]:
    if preset is None:
        return ()
    if preset not in PRESETS:
        raise UserError(f"--preset {preset} is unknown; use one of {', '.join(PRESETS)}")
    if config is not None:
        raise UserError(
            f"--preset and --config exclude each other; type: supir-caption --preset {preset} --print-config > FILE"
        )
    return PRESETS[preset]


dispatch = by_first_word(app, COMMANDS, "supir-caption")
main = entry(dispatch)
