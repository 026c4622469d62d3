"""What the caption tests share: datasets of small real photos, the loaded `tags` engine, a tiny LLaVA on disk."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_vlm import TinyLlava, TinyQwen

from supir_caption.clip_tokens import CountTokens, clip_token_counter
from supir_caption.config import TagsConfig
from supir_caption.tags_engine import TagsEngine
from supir_shards import Role, Sample, Store, finish_dataset, part_name, sample_key, write_part

os.environ.setdefault("OMP_NUM_THREADS", "1")


def _photo(name: str) -> Image.Image:
    """One of scikit-image's photos, RGB."""
    import skimage.data

    return Image.fromarray(np.asarray(getattr(skimage.data, name)())).convert("RGB")


def _as_jpeg(image: Image.Image, **options: Any) -> bytes:
    """The picture as JPEG, quality 95."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def _as_sample(image: Image.Image, role: Role = Role.PHOTO) -> Sample:
    """A dataset's sample of a picture."""
    data = _as_jpeg(image)
    return Sample(
        key=sample_key(data), image=data, extension="jpg", role=role, width=image.width, height=image.height
    )


def _write_dataset(folder: Path, parts: Iterable[Sequence[Sample]]) -> Store:
    """A finished dataset, as curation leaves it."""
    store = Store(folder)
    for number, samples in enumerate(parts):
        write_part(store, part_name(number), samples)
    finish_dataset(store, command="supir-curate run", config={}, config_hash="0" * 16)
    return store


@pytest.fixture(scope="session")
def photo() -> Callable[[str], Image.Image]:
    return _photo


@pytest.fixture(scope="session")
def as_jpeg() -> Callable[..., bytes]:
    return _as_jpeg


@pytest.fixture(scope="session")
def as_sample() -> Callable[..., Sample]:
    return _as_sample


@pytest.fixture(scope="session")
def write_dataset() -> Callable[[Path, Iterable[Sequence[Sample]]], Store]:
    return _write_dataset


@pytest.fixture(scope="session")
def tags() -> TagsEngine:
    return TagsEngine(TagsConfig())


@pytest.fixture(scope="session")
def count() -> CountTokens:
    return clip_token_counter()


@pytest.fixture(scope="session")
def tiny_llava(tmp_path_factory: pytest.TempPathFactory) -> TinyLlava:
    return TinyLlava(tmp_path_factory.mktemp("llava") / "tiny-llava")


@pytest.fixture(scope="session")
def tiny_qwen(tmp_path_factory: pytest.TempPathFactory) -> TinyQwen:
    qwen = TinyQwen(tmp_path_factory.mktemp("qwen") / "tiny-qwen")
    qwen.save()
    return qwen
