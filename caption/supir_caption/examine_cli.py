"""`supir-caption audit` and `supir-caption quiz`: stored captions examined by a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from supir_caption.config import CaptionConfig
from supir_console import ConfigOption, JsonOption, SetOption, UserError, finish, load_config

if TYPE_CHECKING:
    from supir_caption.examine.examiner import ModelExaminer

audit_app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
quiz_app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

DatasetArgument = Annotated[str, typer.Argument(help="Captioned dataset: a folder or an fsspec URL.")]
NameArgument = Annotated[str, typer.Argument(help="Captioner whose captions are examined.")]
EngineOption = Annotated[str, typer.Option(help="openai (an endpoint), vllm or transformers.")]
ModelOption = Annotated[str | None, typer.Option(help="Folder or hub id; openai: its name there.")]
PartsOption = Annotated[
    int, typer.Option(min=1, help="Parts that are read at most, evenly spread over the dataset.")
]


@audit_app.command()
def audit_command(
    dataset: DatasetArgument,
    name: NameArgument,
    engine: EngineOption = "openai",
    model: ModelOption = None,
    captions: Annotated[int, typer.Option(min=1, help="Captions that are judged, drawn by a hash.")] = 200,
    max_parts: PartsOption = 50,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # typer reads the default, nobody changes it
    as_json: JsonOption = False,
) -> None:
    """Have another vision model judge a sample of captions: does the picture show what each sentence says?"""
    from supir_caption.examine.audit import audit
    from supir_caption.examine.results import write_results
    from supir_caption.pages.stored import open_captions
    from supir_shards import Dataset

    stored = open_captions(Dataset(dataset), name, max_parts)
    judge = _examiner(_settings(config, overrides, engine, model))
    rows, summary = audit(stored, judge, captions)
    path = write_results(stored.dataset.store, name, "audit", rows, summary)
    finish({"dataset": dataset, "name": name, **summary, "rows": path}, as_json)


@quiz_app.command()
def quiz_command(
    dataset: DatasetArgument,
    name: NameArgument,
    engine: EngineOption = "openai",
    model: ModelOption = None,
    reader: Annotated[
        str | None,
        typer.Option(help="Model that answers from captions; --model without the picture if left out."),
    ] = None,
    regions: Annotated[int, typer.Option(min=1, help="Regions that are asked about, drawn by a hash.")] = 100,
    questions: Annotated[int, typer.Option(min=1, max=20, help="Questions about each region.")] = 5,
    max_parts: PartsOption = 50,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # typer reads the default, nobody changes it
    as_json: JsonOption = False,
) -> None:
    """Count the questions about regions that can be answered from their captions, and from the whole pictures'."""
    from supir_caption.examine.quiz import quiz
    from supir_caption.examine.results import write_results
    from supir_caption.pages.stored import open_captions
    from supir_shards import Dataset

    stored = open_captions(Dataset(dataset), name, max_parts)
    maker = _examiner(_settings(config, overrides, engine, model))
    reads = maker if reader is None else _examiner(_settings(config, overrides, engine, reader))
    rows, summary = quiz(stored, maker, reads, regions, questions)
    if not summary["crops"] and not summary["crops_without_questions"]:
        raise UserError(
            f"captions {name!r} have no region with a text; caption with regions.max_regions above 0"
        )
    path = write_results(stored.dataset.store, name, "quiz", rows, summary)
    finish({"dataset": dataset, "name": name, **summary, "rows": path}, as_json)


def _settings(config: Path | None, overrides: list[str], engine: str, model: str | None) -> CaptionConfig:
    chosen = [] if model is None else [f"{engine}.model={json.dumps(model)}"]
    return load_config(CaptionConfig, config, [f"engine={json.dumps(engine)}", *overrides, *chosen])


def _examiner(settings: CaptionConfig) -> ModelExaminer:
    """The model of an engine in this process, on a GPU where there is one."""
    from supir_caption.engines import load_model
    from supir_caption.examine.examiner import ModelExaminer

    num_gpus = settings.run.gpus_per_worker
    if num_gpus is None:
        num_gpus = 0 if settings.engine == "openai" else _one_gpu()
    return ModelExaminer(load_model(settings, num_gpus), settings.seed)


def _one_gpu() -> int:
    import torch

    return int(torch.cuda.is_available())
