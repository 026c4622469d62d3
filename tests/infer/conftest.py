from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from small_sdxl import OfficialFiles, write_small_sdxl

from supir_infer import RestoreSettings
from supir_model import Supir, load_supir


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def supir() -> Supir:
    """The tiny model with connectors that act: fresh ones are zero, and the LQ would not matter."""
    model = load_supir(preset="tiny")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in [*model.connectors.parameters(), *model.control.parameters()]:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture(scope="session")
def model_folder(supir: Supir, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "acting"
    supir.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory) -> OfficialFiles:
    return write_small_sdxl(tmp_path_factory.mktemp("official"))


@pytest.fixture(scope="session")
def sdxl_folder(official: OfficialFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official files' model as a folder of ours, whose shared parts are a diffusers SDXL folder."""
    folder = tmp_path_factory.mktemp("sdxl") / "sdxl"
    load_supir(official.base, official.checkpoint).save_pretrained(folder)
    return folder


FROM_NOISE = RestoreSettings(
    steps=3,
    start_sigma=None,
    min_size_px=64,
    guidance_scale=2.0,
    guidance_scale_start=1.0,
    restore_guidance=1.0,
    s_churn=5.0,
    colour_fix="wavelet",
)
"""Every part of the sampler at work: the paper's way, in three steps."""


@pytest.fixture
def quick() -> RestoreSettings:
    return FROM_NOISE


@pytest.fixture(scope="session")
def face() -> np.ndarray:
    return data.astronaut()[20:120, 170:267]


@pytest.fixture
def photos(tmp_path: Path, face: np.ndarray) -> Path:
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    Image.fromarray(face).save(folder / "face.png")
    Image.fromarray(data.chelsea()[50:130, 100:196]).save(folder / "trip" / "cat.jpg", quality=90)
    return folder


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs a console-script function in this process, as its script would, and says how it ended."""

    def run(main: Callable[[], None], *arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["supir", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run
