"""The stages that `pipelines.as_webdataset` puts together; imported only where webdataset is installed.

Place in the flow: `pipelines` imports it when it is called, loader workers when they unpickle a pipeline.
The law: a dataset is opened in the process that reads it, for connections do not survive a fork.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from webdataset import DataPipeline, FluidInterface
from webdataset.autodecode import ImageHandler

from supir_images import decode_rgb
from supir_shards.layout import part_of
from supir_shards.reader import Dataset, OnBad
from supir_shards.record import EXTENSIONS, Record
from supir_shards.sample_json import json_bytes
from supir_shards.storage import Store


class Pipeline(DataPipeline, FluidInterface):
    """A pipeline with webdataset's fluid methods."""

    def decode(self, *args: Any, partial: bool = True, **options: Any) -> Any:
        """As webdataset's, but fields that are not bytes stay.

        An image spec such as "rgb8" gives the pixels of every stage here: upright sRGB, transparency over mid grey.
        """
        handlers = [Pictures(one) if isinstance(one, str) else one for one in args]
        return super().decode(*handlers, partial=partial, **options)


class Pictures:
    """Decodes pictures with `supir_images` to what an image spec of webdataset's asks for."""

    def __init__(self, imagespec: str) -> None:
        self._shaped = ImageHandler(imagespec, list(EXTENSIONS))

    def __call__(self, key: str, data: bytes) -> Any:
        """Returns the picture, None for a field that is none."""
        if key.rpartition(".")[2].lower() not in EXTENSIONS:
            return None
        pixels = decode_rgb(data)
        height, width, _ = pixels.shape
        plain = (
            b"P6 %d %d 255\n" % (width, height) + pixels.tobytes()
        )  # a PPM, which costs a copy and no more
        return self._shaped(key, plain)


class Reading:
    """The stage that turns shards into samples; it opens the dataset in the process that reads."""

    def __init__(
        self, url: str, captions: str | None, on_bad: OnBad | None, storage_options: dict[str, Any]
    ) -> None:
        self._url, self._captions, self._on_bad = url, captions, on_bad
        self._storage_options = storage_options

    def __call__(self, shards: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yields the samples of each shard."""
        dataset = Dataset(Store(self._url, self._storage_options))
        for shard in shards:
            part = part_of(shard["url"])
            rows = {row["key"]: row for row in dataset.index(part).to_pylist()}
            for record in dataset.samples([part], self._captions, self._on_bad):
                yield self._sample(shard["url"], record, rows[record.key])

    def _sample(self, url: str, record: Record, row: dict[str, Any]) -> dict[str, Any]:
        row |= {"scores": record.scores}
        sample = {
            "__key__": record.key,
            "__url__": url,
            record.extension: record.image,
            "json": json_bytes(record),
            "index": row,
        }
        if self._captions:
            whole = next((one for one in record.captions if one.region == 0), None)
            sample["text"] = whole.text if whole else ""
            sample["short_text"] = whole.short_text if whole else ""
            sample["regions"] = [
                {"box": list(one.box), "text": one.text, "short_text": one.short_text}
                for one in record.captions
                if one.region
            ]
        return sample
