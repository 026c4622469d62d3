from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from supir_shards import Origin, Role, Sample, Store, finish_dataset, part_name, sample_key, write_part


def _photo(image: np.ndarray, role: Role = Role.PHOTO, **told: Any) -> Sample:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95)
    stored = buffer.getvalue()
    height, width = image.shape[:2]
    key = sample_key(stored)
    return Sample(
        key=key,
        image=stored,
        extension="jpg",
        role=role,
        width=width,
        height=height,
        source=f"https://example.org/{key}.jpg",
        licence="CC-BY-4.0",
        text=f"about {key}",
        **told,
    )


CROP_OF = "c" * 32
"""The photo that one of the stored pictures was cut from, at half its size."""


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    return data.astronaut()


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two parts: three photos; two photos, one too small, one negative."""
    folder = tmp_path_factory.mktemp("photos")
    store = Store(folder)
    small, negative = data.coffee()[:100, :120], data.rocket()[:, ::-1]
    write_part(store, part_name(0), [_photo(i) for i in (data.astronaut(), data.coffee(), data.chelsea())])
    write_part(
        store,
        part_name(1),
        [
            _photo(
                data.rocket(),
                Role.FACE,
                source_key=CROP_OF,
                origin=Origin(sha256="ab", box=(100, 200, 1380, 1054), scale=0.5),
            ),
            _photo(data.astronaut()[::-1]),
            _photo(small),
            _photo(negative, Role.NEGATIVE),
        ],
    )
    finish_dataset(store, command="test", config={}, config_hash="0")
    return folder


@pytest.fixture(scope="session")
def crop_of() -> str:
    return CROP_OF
