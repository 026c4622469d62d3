"""Our datasets in other people's loaders: a webdataset pipeline, and the schema for Hugging Face `datasets`.

Place in the flow: beside ``reader``, for trainers that are not ours; no stage of the chain reads through it.
The law: every sample of the parts comes once an epoch whatever the number of nodes and loader workers, verified against
its index like everywhere in this package; a bad one goes to ``on_bad`` with its reason, and without it the first one
raises. Shards are split and shuffled by webdataset's own stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supir_shards.layout import caption_path, part_of, shard_path
from supir_shards.reader import Dataset, OnBad
from supir_shards.record import EXTENSIONS, DatasetError
from supir_shards.sample_json import ORIGIN_KEYS, SAMPLE_KEYS
from supir_shards.storage import Store

if TYPE_CHECKING:
    import datasets

    from supir_shards.webdataset_stages import Pipeline

Splitter = Callable[[Iterable[Any]], Iterator[Any]]


def as_webdataset(
    url: str | Path,
    *,
    captions: str | None = None,
    parts: Sequence[str] | None = None,
    on_bad: OnBad | None = None,
    resampled: bool = False,
    shardshuffle: int = 0,
    seed: int | None = None,
    nodesplitter: Splitter | None = None,
    workersplitter: Splitter | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Pipeline:
    """A webdataset pipeline over a finished dataset, to go on with ``.shuffle``, ``.decode``, ``.map``, ``.batched`` ….

    A sample is a dict: ``__key__``, ``__url__``; ``jpg``, ``png`` or ``webp``, the stored bytes; ``json``, the bytes
    of KEY.json; ``index``, its index row, with ``scores`` a dict of numbers; with ``captions`` also ``text`` and
    ``short_text`` of the whole picture ("" where it has none) and ``regions``, a list of ``{"box": [x0, y0, x1, y1],
    "text": …, "short_text": …}`` in px of the stored picture. ``.decode("rgb8")`` and its like leave what is not bytes
    and give upright sRGB, as every stage here sees it, whatever profile the stored bytes have.

    Args:
        url: local path or fsspec URL; no tool besides this package's own is needed for remote ones.
        captions: the captioner whose captions are joined.
        parts: those to read, all if None.
        on_bad: gets every sample that cannot be read; called in the loader's worker. Without it the first one raises.
        resampled: draw shards with replacement for ever, in each worker on its own; ``with_epoch`` gives it an end.
        shardshuffle: shards that are shuffled at a time, 0 for none; nothing where shards are drawn.
        seed: of shuffling and drawing; None for another order every time.
        nodesplitter: webdataset's stage for several nodes, ``split_by_node`` if None.
        workersplitter: webdataset's stage for loader workers, ``split_by_worker`` if None.
        storage_options: passed to fsspec.

    Raises:
        DatasetError: webdataset is not installed, the dataset is not finished, or the captions are not there.
    """
    wds = _webdataset()
    store = Store(url, storage_options)
    shards = _shards(store, parts, captions)
    if resampled:
        drawing = {} if seed is None else {"seed": seed, "deterministic": True}
        stages = [wds.ResampledShards(shards, **drawing)]
    else:
        stages = [
            wds.SimpleShardList(shards),
            nodesplitter or wds.split_by_node,
            workersplitter or wds.split_by_worker,
        ]
        if shardshuffle:
            stages.append(
                wds.shuffle(shardshuffle) if seed is None else wds.detshuffle(shardshuffle, seed=seed)
            )
    from supir_shards.webdataset_stages import Pipeline, Reading

    return Pipeline(*stages, Reading(store.url, captions, on_bad, dict(storage_options or {})))


def _shards(store: Store, parts: Sequence[str] | None, captions: str | None) -> list[str]:
    """The URLs of the shards to read; each has the captions that are joined."""
    files = Dataset(store).manifest.files
    named = dict.fromkeys(parts or map(part_of, sorted(files)))
    chosen = [part for part in named if shard_path(part) in files]
    if not chosen:
        raise DatasetError(f"{store.url} holds no samples in {'those parts' if parts else 'any part'}")
    bare = [part for part in chosen if captions and caption_path(captions, part) not in files]
    if bare:
        raise DatasetError(
            f"{store.url} has no captions {captions!r} of {len(bare)} of {len(chosen)} parts, first {bare[0]};"
            " make them with supir-caption"
        )
    return [f"{store.url}/{shard_path(part)}" for part in chosen]


def datasets_features() -> datasets.Features:
    """What ``load_dataset("webdataset", features=…)`` takes for our shards.

    `datasets` takes the suffixes of a tar's first five samples for those of all, so without it a dataset that holds
    JPEG and PNG is refused, or read with pictures left out.

    Raises:
        DatasetError: `datasets` is not installed.
    """
    try:
        from datasets import Features, Image, List, Value
    except ImportError as error:
        raise DatasetError(
            f"datasets cannot be loaded ({error}); pip install 'supir-stack[loaders]'"
        ) from error
    values = {str: "string", int: "int64", float: "float64", bool: "bool"}
    types = {kind: Value(name) for kind, name in values.items()} | {tuple: List(Value("int64"))}
    record: dict[str, Any] = {name: types[kind] for name, kind in SAMPLE_KEYS.items()}
    record["origin"] = {name: types[kind] for name, kind in ORIGIN_KEYS.items()}
    pictures = {suffix: Image() for suffix in EXTENSIONS}
    return Features({**pictures, "json": record, "__key__": Value("string"), "__url__": Value("string")})


def _webdataset() -> Any:
    try:
        import webdataset
    except ImportError as error:
        raise DatasetError(
            f"webdataset cannot be loaded ({error}); pip install 'supir-stack[loaders]'"
        ) from error
    return webdataset
