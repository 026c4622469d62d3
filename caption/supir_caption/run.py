"""A captioning run: plan, caption the parts that are not committed, and finish the dataset.

Place in the flow: `cli.py` calls `plan` and `caption_dataset`. The law: finished parts are never touched;
captions of two configs never meet under one name; a rerun after a kill leaves the same bytes as a run that
was not disturbed.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, cast

from supir_caption.config import CaptionConfig
from supir_caption.forecast import forecast, money
from supir_caption.picture import Tokens
from supir_caption.places import all_failures_path, config_path, failures_path
from supir_caption.regions import region_boxes
from supir_caption.tags_engine import find_weights
from supir_caption.worker import BatchDone
from supir_console import Outcome, Progress, UserError, ray_session
from supir_shards import Dataset, Store, absolute_url, caption_path, finish_dataset

COMMAND = "supir-caption"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run has before it.

    Attributes:
        parts: parts to caption.
        parts_done: parts already committed.
        images: images to caption.
        captions: captions to make, regions included.
        image_bytes: bytes of pictures to read.
    """

    parts: list[str]
    parts_done: int
    images: int
    captions: int
    image_bytes: int

    def summary(self) -> dict[str, Any]:
        """Returns the plan as JSON-serialisable figures."""
        return {
            "parts": len(self.parts),
            "parts_done": self.parts_done,
            "images": self.images,
            "captions": self.captions,
            "image_bytes": self.image_bytes,
        }


def plan(url: str, config: CaptionConfig) -> Plan:
    """Returns what is left to do, from the indexes alone; no picture is read.

    Raises:
        DatasetError: there is no finished dataset at `url`, or the name cannot be a folder.
        UserError: the name holds captions of another config.
    """
    dataset = Dataset(absolute_url(url))
    dataset.manifest  # noqa: B018  # a dataset that curation did not finish is refused before work begins
    parts = dataset.parts()
    todo = [part for part in parts if not dataset.store.exists(caption_path(config.folder, part))]
    if len(todo) < len(
        parts
    ):  # a name belongs to a config once it holds a caption: a run that made none took nothing
        _require_same_config(dataset, config)
    images = captions = image_bytes = 0
    for part in todo:
        rows = dataset.index(part).select(["role", "width", "height", "bytes"]).to_pylist()
        for row in (row for row in rows if row["role"] in config.roles):
            images += 1
            captions += len(region_boxes(row["width"], row["height"], config.regions))
            image_bytes += row["bytes"]
    return Plan(
        parts=todo,
        parts_done=len(parts) - len(todo),
        images=images,
        captions=captions,
        image_bytes=image_bytes,
    )


def dry_run(url: str, config: CaptionConfig) -> dict[str, Any]:
    """Returns the plan and what it will cost, by what the engine did with a few of the images.

    Raises:
        DatasetError, UserError: as `plan`, or the engine cannot be loaded.
    """
    todo = plan(url, config)
    if not todo.captions or not config.run.measure_images:
        return todo.summary()
    from supir_caption.pool import gpus_per_worker, measure, num_workers

    with ray_session():
        num_gpus = gpus_per_worker(config)
        workers = num_workers(config, num_gpus, len(todo.parts))
        tried = measure(absolute_url(url), todo.parts[0], _with_absolute_files(config), num_gpus)
    return todo.summary() | forecast(todo.captions, tried, config, workers=workers, num_gpus=num_gpus)


def caption_dataset(url: str, config: CaptionConfig) -> dict[str, Any]:
    """Returns the run's figures after every part that could be captioned is, `failed` among them.

    Args:
        url: local path or fsspec URL that every node of the Ray cluster can reach.
        config: the captioner.

    Raises:
        UserError: the engine cannot be loaded, or the name holds captions of another config.
        DatasetError: there is no finished dataset at `url`.
    """
    started = time.monotonic()
    todo = plan(url, config)
    if config.engine == "tags":
        find_weights(config.tags.weights)  # missing weights are known here, before Ray starts
    dataset = Dataset(absolute_url(url))
    dataset.store.write(config_path(config.folder), _config_record(config))
    images = captions = 0
    checks: Counter[str] = Counter()
    tokens = Tokens()
    part_errors: list[dict[str, str]] = []
    for outcome in _outcomes(absolute_url(url), todo, config):
        if outcome.error:
            part_errors.append(
                {"part": outcome.item, "sample": "", "reason": "part", "detail": outcome.error}
            )
        for batch in outcome.results:
            images += batch.images
            captions += batch.captions
            checks.update(batch.checks)
            tokens += batch.tokens
    failed = _write_failures(dataset, config.folder, part_errors)
    finish_dataset(
        dataset.store,
        command=COMMAND,
        config=config.record(),
        config_hash=config.made_by_hash(),
    )
    return {
        "dataset": url,
        "name": config.folder,
        "parts": len(todo.parts) - len(part_errors),
        "parts_done_before": todo.parts_done,
        "images": images,
        "captions": captions,
        "checks": dict(sorted(checks.items())),
        **money(tokens, config),
        "elapsed_s": round(time.monotonic() - started, 1),
        "failed": failed,
        "failures": all_failures_path(config.folder) if failed else None,
    }


def _outcomes(url: str, todo: Plan, config: CaptionConfig) -> Iterator[Outcome[str, BatchDone]]:
    if not todo.parts:
        return
    from supir_caption.pool import caption_parts, gpus_per_worker, num_workers

    with ray_session(), Progress(todo.images, "caption", "images") as progress:
        num_gpus = gpus_per_worker(config)
        workers = num_workers(config, num_gpus, len(todo.parts))
        yield from caption_parts(
            url,
            todo.parts,
            _with_absolute_files(config),
            workers=workers,
            num_gpus=num_gpus,
            progress=progress,
        )


def _with_absolute_files(config: CaptionConfig) -> CaptionConfig:
    """The config for actors, whose working folder is another; its record must be the one of the config as given."""
    weights = config.tags.weights and config.tags.weights.absolute()
    return config.model_copy(
        update={
            "vllm": config.vllm.model_copy(update={"model": _absolute(config.vllm.model)}),
            "transformers": config.transformers.model_copy(
                update={"model": _absolute(config.transformers.model)}
            ),
            "tags": config.tags.model_copy(update={"weights": weights}),
            "questions": config.questions.with_absolute_files(),
        }
    )


def _absolute(model: str) -> str:
    return absolute_url(model) if Path(model).is_dir() else model


def _config_record(config: CaptionConfig) -> bytes:
    record = {"config_hash": config.made_by_hash(), "config": config.record()}
    return json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def _require_same_config(dataset: Dataset, config: CaptionConfig) -> None:
    path = config_path(config.folder)
    if not dataset.store.exists(path):
        return
    record = _read_record(dataset.store, path, config.folder)
    if record["config_hash"] == config.made_by_hash():
        return
    before, now = _flat(record["config"]), _flat(config.record())
    changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    raise UserError(
        f"captions named {config.folder!r} were made with another config ({', '.join(changed)} differ);"
        " use another --name, or delete that folder of captions/ and report/captions/"
    )


def _read_record(store: Store, path: str, name: str) -> dict[str, Any]:
    try:
        record = json.loads(store.read(path))
        if isinstance(record["config_hash"], str) and isinstance(record["config"], dict):
            return cast(dict[str, Any], record)
        reason = "other fields than this release writes"
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    raise UserError(
        f"{store.url}/{path} is damaged ({reason}); restore it, use another --name,"
        f" or delete captions/{name}/ and report/captions/{name}/ to caption anew"
    )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _write_failures(dataset: Dataset, name: str, part_errors: list[dict[str, str]]) -> int:
    """Gathers the failures of all parts, earlier runs included, in one list; returns their number."""
    store = dataset.store
    paths = [path for part in dataset.parts() if store.exists(path := failures_path(name, part))]
    lines = [line for path in paths for line in store.read(path).splitlines()]
    lines += [
        json.dumps(error, sort_keys=True, ensure_ascii=False).encode()
        for error in sorted(part_errors, key=itemgetter("part"))
    ]
    if lines:
        store.write(all_failures_path(name), b"".join(line + b"\n" for line in lines))
    else:
        store.delete(all_failures_path(name))
    return len(lines)
