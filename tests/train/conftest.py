"""A small dataset of real photos, negatives made from it, and a tiny prior trained on it once for all tests."""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supir_console import config_yaml, load_config
from supir_shards import (
    Caption,
    Role,
    Sample,
    Store,
    finish_dataset,
    part_name,
    sample_key,
    write_captions,
    write_part,
)
from supir_train import TrainConfig

SIDE = 192
SAMPLES_A_PART = 6

Configure = Callable[..., TrainConfig]


def photos() -> Iterator[np.ndarray]:
    """24 squares of 192 px from six photos that ship inside scikit-image and scikit-learn."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    whole = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    for image in [*whole, load_sample_image("china.jpg"), load_sample_image("flower.jpg")]:
        bottom, right = image.shape[0] - SIDE, image.shape[1] - SIDE
        for y, x in ((0, 0), (0, right), (bottom, 0), (bottom, right)):
            yield np.ascontiguousarray(image[y : y + SIDE, x : x + SIDE])


def sample(
    image: np.ndarray, role: Role = Role.PHOTO, texture: np.ndarray | None = None, source_key: str = ""
) -> Sample:
    """The image as a PNG sample, keyed by its pixels so that no encoder version moves a key."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return Sample(
        key=sample_key(image.tobytes()),
        image=file.getvalue(),
        extension="png",
        role=role,
        width=image.shape[1],
        height=image.shape[0],
        texture=b"" if texture is None else texture.tobytes(),
        texture_shape=(0, 0) if texture is None else texture.shape,
        source_key=source_key,
    )


def write_dataset(
    folder: Path, samples: list[Sample], captions: str | None = None, words: str | None = None
) -> str:
    """The samples as a finished dataset, six a part; with `captions`, each is captioned `words`, or "photo KEY"."""
    store = Store(folder)
    for number, first in enumerate(range(0, len(samples), SAMPLES_A_PART)):
        part, chunk = part_name(number), samples[first : first + SAMPLES_A_PART]
        write_part(store, part, chunk)
        if captions:
            write_captions(store, captions, part, [_caption(item, words) for item in chunk])
    finish_dataset(store, command="tests", config={}, config_hash="0")
    return str(folder)


def _caption(item: Sample, words: str | None) -> Caption:
    return Caption(
        key=item.key,
        region=0,
        box=(0, 0, item.width, item.height),
        text=words or f"photo {item.key}",
        short_text="photo",
        num_tokens_clip_l=3,
        num_tokens_clip_g=3,
    )


@pytest.fixture(scope="session")
def few_samples() -> list[Sample]:
    return [sample(image) for image in list(photos())[:8]]


@pytest.fixture(scope="session")
def store_samples() -> Callable[..., str]:
    """As `write_dataset`."""
    return write_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(
        tmp_path_factory.mktemp("photos"), [sample(image) for image in photos()], captions="plain"
    )


@pytest.fixture(scope="session")
def large_dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four pictures of 3.7 megapixels."""
    tiled = [sample(np.tile(photo, (10, 10, 1))) for photo in itertools.islice(photos(), 4)]
    return write_dataset(tmp_path_factory.mktemp("large"), tiled)


@pytest.fixture(scope="session")
def negatives(tmp_path_factory: pytest.TempPathFactory) -> str:
    flat = [sample(image[::2, ::2].repeat(2, 0).repeat(2, 1), Role.NEGATIVE) for image in photos()]
    return write_dataset(tmp_path_factory.mktemp("negatives"), flat)


@pytest.fixture(scope="session")
def dataset_with_a_small_image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset with one image too small for any crop."""
    small = np.zeros((20, 20, 3), np.uint8)
    good = [sample(image) for image in photos()]
    return write_dataset(tmp_path_factory.mktemp("bad"), [*good[:5], sample(small), *good[5:]])


def source_keys() -> list[str]:
    """The key of the photo that each of `photos` was cut from: four in a row are of one."""
    return [sample_key(bytes([number // 4])) for number in range(24)]


@pytest.fixture(scope="session")
def crops_of_six_photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The squares of `photos` as what they are: four crops each of six photos, of which two are held out at 0.4."""
    crops = [sample(image, source_key=key) for image, key in zip(photos(), source_keys(), strict=True)]
    return write_dataset(tmp_path_factory.mktemp("crops"), crops)


@pytest.fixture(scope="session")
def negatives_of_six_photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A negative of each of those crops."""
    flat = [
        sample(image[::2, ::2].repeat(2, 0).repeat(2, 1), Role.NEGATIVE, source_key=key)
        for image, key in zip(photos(), source_keys(), strict=True)
    ]
    return write_dataset(tmp_path_factory.mktemp("negatives"), flat)


@pytest.fixture(scope="session")
def noise_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Strong noise alone: a degradation that a tiny encoder learns to see through in seconds."""
    path = tmp_path_factory.mktemp("recipe") / "noise.yaml"
    noise = "{do: noise, gaussian_probability: 1.0, sigma: [60, 60], poisson_scale: [1, 1]}"
    path.write_text(f"name: noise\nsteps: [{noise}]\n")
    return path


@pytest.fixture(scope="session")
def configure(dataset: str) -> Configure:
    """Configs for `tiny` at 32 px; keyword arguments override keys, with __ for the dot."""

    def make(stage: str, run: Path, **keys: object) -> TrainConfig:
        values: dict[str, object] = {
            "stage": stage,
            "run": str(run),
            "init": "fresh",
            "preset": "tiny",
            "device": "cpu",
            "data.dataset": dataset,
            "data.crop_px": 32,
            "data.max_downscale": 4,
            "data.workers": 0,
            "data.cache_bytes": 10_000_000,
            "data.shuffle_parts": 2,
            "optimize.batch": 8,
            "optimize.warmup_steps": 0,
            "validation.crops": 16,
            "validation.share": 0.4,
            "validation.pictures": 2,
            "validation.steps": 2,
            "log_every": 1,
        }
        values |= {key.replace("__", "."): value for key, value in keys.items()}
        texts = [f"{key}={'null' if value is None else value}" for key, value in values.items()]
        return load_config(TrainConfig, None, texts)

    return make


@pytest.fixture(scope="session")
def prior_run(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a tiny prior: autoencoder and UNet trained for a few seconds."""
    from supir_train.run import prepare, train

    run = tmp_path_factory.mktemp("prior") / "run"
    config = configure(
        "prior",
        run,
        autoencoder__steps=250,
        autoencoder__batch=16,
        autoencoder__schedule="cosine",
        autoencoder__lr=5e-3,
        autoencoder__warmup_steps=10,
        optimize__steps=100,
        optimize__lr=3e-3,
        data__captions="plain",
        optimize__ema_decay=0.95,
        autoencoder__ema_decay=0.95,
        validation__every=1000,
    )
    train(prepare(config))
    return run


@pytest.fixture(scope="session")
def encoder_run(
    configure: Configure, prior_run: Path, noise_recipe: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run folder of a tiny robust encoder, upon that prior."""
    from supir_train.run import prepare, train

    config = configure(
        "encoder",
        tmp_path_factory.mktemp("encoder") / "run",
        init=prior_run / "model",
        data__recipe=noise_recipe,
        optimize__steps=40,
        optimize__lr=3e-3,
        optimize__ema_decay=0.9,
        validation__every=1000,
    )
    train(prepare(config))
    return config.run


@pytest.fixture(scope="session")
def adapter_run(
    configure: Configure,
    encoder_run: Path,
    negatives: str,
    noise_recipe: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The run folder of a tiny adapter, upon that encoder."""
    from supir_train.run import prepare, train

    config = configure(
        "adapter",
        tmp_path_factory.mktemp("adapter") / "run",
        init=encoder_run / "model",
        data__recipe=noise_recipe,
        data__captions="plain",
        data__negatives=negatives,
        data__negative_share=0.25,
        optimize__steps=80,
        optimize__lr=3e-3,
        optimize__ema_decay=0.95,
        validation__every=1000,
    )
    train(prepare(config))
    return config.run


@pytest.fixture
def command(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str, str]]:
    """Runs supir-train on a config with `keys`; returns exit code, stdout and stderr."""

    from supir_train.cli import main

    def run(*arguments: str, stage: str = "adapter", steps: int = 2, **keys: object) -> tuple[int, str, str]:
        path = tmp_path / "config.yaml"
        path.write_text(config_yaml(configure(stage, tmp_path / "run", optimize__steps=steps, **keys)))
        monkeypatch.setattr(sys, "argv", ["supir-train", str(path), *arguments])
        try:
            main()
            code: object = 0
        except SystemExit as leave:
            code = leave.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
