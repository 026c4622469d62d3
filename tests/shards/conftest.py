"""Real pictures, a sample maker and a finished dataset for the tests of supir_shards."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from supir_shards import (
    Caption,
    Origin,
    Role,
    Sample,
    Store,
    finish_dataset,
    part_name,
    sample_key,
    write_captions,
    write_part,
)

MakeSample = Callable[..., Sample]


def picture(seed: int, width: int = 24, height: int = 16, image_format: str = "PNG", **options: Any) -> bytes:
    """An encoded picture of noise; each seed gives another one."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format, **options)
    return buffer.getvalue()


def sample(seed: int, **fields: Any) -> Sample:
    """A whole sample with every field filled."""
    image = picture(seed)
    known: dict[str, Any] = {
        "key": sample_key(image),
        "image": image,
        "extension": "png",
        "role": Role.PHOTO,
        "width": 24,
        "height": 16,
        "source": f"https://example.org/bücher/{seed}.png",
        "licence": "CC-BY-4.0",
        "scores": {"texture": seed + 0.25, "noise": 0.5},
        "texture": bytes(range(6)),
        "texture_shape": (2, 3),
        "text": f"ein Bild für {seed}",
        "origin": Origin(producer="test", sha256="ab", format="png", box=(0, 0, 24, 16), is_original=True),
        "trace": '{"seed": 1}',
    }
    return Sample(**{**known, **fields})


def captions_of(samples: list[Sample]) -> list[Caption]:
    """One caption of the whole picture for each sample."""
    return [
        Caption(
            key=one.key,
            region=0,
            box=(0, 0, one.width, one.height),
            text="coloured noise",
            short_text="noise",
            num_tokens_clip_l=3,
            num_tokens_clip_g=3,
            checks={"degradation_words": "ok"},
            model="test",
            prompt="describe",
        )
        for one in samples
    ]


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., bytes]:
    return picture


@pytest.fixture(scope="session")
def make_sample() -> MakeSample:
    return sample


@pytest.fixture(scope="session")
def make_captions() -> Callable[[list[Sample]], list[Caption]]:
    return captions_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "dataset")


@pytest.fixture
def dataset(store: Store) -> Store:
    """Three parts of three, three and no samples, with captions and a ledger, finished."""
    import pyarrow as pa

    from supir_shards import ledger_path, ledger_schema

    for number, seeds in enumerate([(0, 1, 2), (3, 4, 5), ()]):
        samples = [sample(seed) for seed in seeds]
        write_part(store, part_name(number), samples)
        write_captions(store, "plain", part_name(number), captions_of(samples))
    schema = ledger_schema(["texture"])
    rows = [
        {"key": sample(seed).key, "status": "ok", "reason": "", "score.texture": seed} for seed in range(6)
    ]
    store.write_table(ledger_path(part_name(0)), pa.Table.from_pylist(rows, schema=schema))
    finish_dataset(store, command="supir-curate", config={"seed": 1}, config_hash="aa")
    return store
