"""Claim: a part is read with every hash checked, and written with index and sync, near the speed of webdataset.

Peer: webdataset's own reader (no check of any hash) and TarWriter (no index, no sync) on the same samples.
Run: python benchmarks/shard_io.py
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import webdataset
from common import race, show

from supir_shards import Dataset, Role, Sample, Store, finish_dataset, part_name, sample_key, write_part
from supir_shards.sample_json import json_bytes

NUM_SAMPLES = 500
IMAGE_BYTES = 200_000


def main() -> None:
    """Prints both tables."""
    rng = random.Random(0)
    samples = [_sample(rng.randbytes(IMAGE_BYTES), number) for number in range(NUM_SAMPLES)]
    part = part_name(0)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        write_part(store, part, samples)
        finish_dataset(store, command="benchmark", config={}, config_hash="0" * 16)
        tar = str(Path(folder) / "shards" / f"{part}.tar")

        def read_theirs() -> None:
            pipeline = webdataset.WebDataset(tar, shardshuffle=False)
            assert sum(1 for _ in pipeline) == NUM_SAMPLES

        def read_ours() -> None:
            assert sum(1 for _ in Dataset(folder).samples()) == NUM_SAMPLES

        def write_theirs() -> None:
            with webdataset.TarWriter(str(Path(folder) / "theirs.tar")) as writer:
                for sample in samples:
                    writer.write({"__key__": sample.key, "jpg": sample.image, "json": json_bytes(sample)})

        def write_ours() -> None:
            write_part(Store(Path(folder) / "ours"), part, samples)

        title = f"{NUM_SAMPLES} samples of {IMAGE_BYTES // 1000} kB"
        reading = race({"webdataset": read_theirs, "supir_shards (hash checked)": read_ours})
        show(f"read {title}", reading, peer="webdataset", count=NUM_SAMPLES, unit="images")
        writing = race({"webdataset": write_theirs, "supir_shards (index, sync)": write_ours})
        show(f"write {title}", writing, peer="webdataset", count=NUM_SAMPLES, unit="images")


def _sample(image: bytes, number: int) -> Sample:
    return Sample(
        key=sample_key(image),
        image=image,
        extension="jpg",
        role=Role.PHOTO,
        width=1024,
        height=1024,
        scores={"sharpness": 0.5},
        trace=str(number),
    )


if __name__ == "__main__":
    main()
