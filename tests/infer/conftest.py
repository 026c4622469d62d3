from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from open_clip.transformer import TextTransformer
from PIL import Image
from safetensors.torch import save_file
from skimage import data
from transformers import CLIPTextConfig, CLIPTextModel

from supir_infer import RestoreSettings
from supir_model import PRESETS, Supir, load_supir
from supir_model.checkpoint import Adapter, save_checkpoint
from supir_model.connectors import Connectors
from supir_model.control import ControlEncoder
from supir_model.official_names import UNET, VAE, official_shape, unet_name, vae_name


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


@dataclass(frozen=True)
class OfficialFiles:
    """An SDXL base in one file and a SUPIR checkpoint, small but laid out as the published ones."""

    base: Path
    checkpoint: Path


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory) -> OfficialFiles:
    folder = tmp_path_factory.mktemp("official")
    files = OfficialFiles(folder / "sd_xl_small.safetensors", folder / "SUPIR-v0S.ckpt")
    torch.manual_seed(3)
    sdxl = PRESETS["sdxl"]
    shape = {"block_out_channels": (32, 64, 128), "attention_head_dim": (1, 1, 2), "cross_attention_dim": 192}
    sizes = {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 16 + 6 * 8}
    unet = UNet2DConditionModel(**{**sdxl.unet, **shape, **sizes, "transformer_layers_per_block": (1, 1, 1)})
    vae = AutoencoderKL(**{**sdxl.vae, "block_out_channels": (32, 32, 32, 32)})
    towers = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 96}
    first = CLIPTextModel(CLIPTextConfig(**{**sdxl.text_encoder, **towers}))
    second = TextTransformer(width=128, heads=2, layers=2, output_dim=16, vocab_size=49408)
    named = {UNET + unet_name(key): value for key, value in unet.state_dict().items()}
    named |= {VAE + vae_name(key, 4): value for key, value in vae.state_dict().items()}
    named = {name: value.reshape(official_shape(name, tuple(value.shape))) for name, value in named.items()}
    stem = "conditioner.embedders.0.transformer.text_model."
    named |= {stem + key.removeprefix("text_model."): value for key, value in first.state_dict().items()}
    named |= {f"conditioner.embedders.1.model.{key}": value for key, value in second.state_dict().items()}
    save_file({name: value.contiguous() for name, value in named.items()}, files.base)
    adapter = Adapter(
        ControlEncoder.for_unet(unet, (1, 1, 1)),
        Connectors(block_out_channels=unet.config["block_out_channels"]),
        AutoencoderKL(**{**sdxl.vae, "block_out_channels": (32, 32, 32, 32)}).encoder,
    )
    save_checkpoint(adapter, files.checkpoint)
    return files


@pytest.fixture(scope="session")
def sdxl_folder(official: OfficialFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official files' model as a folder of ours, whose shared parts are a diffusers SDXL folder."""
    folder = tmp_path_factory.mktemp("sdxl") / "sdxl"
    load_supir(official.base, official.checkpoint).save_pretrained(folder)
    return folder


@pytest.fixture
def quick() -> RestoreSettings:
    return RestoreSettings(steps=3, min_size_px=64, guidance_scale=2.0)


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
