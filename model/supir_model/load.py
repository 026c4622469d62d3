"""`load_supir`: the one door to a model, whether embedded, saved, fresh or grown from an SDXL folder.

Place in the flow: `train` and `infer` call it and nothing else to get a `Supir`.
Law: a fresh model is a function of its preset and seed; no global random state is touched for good.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from supir_model.connectors import Connectors
from supir_model.control import ControlEncoder
from supir_model.folder import CONFIG, load_folder, load_shared_parts
from supir_model.mini_vae import MiniVAE
from supir_model.presets import PRESETS, Preset
from supir_model.supir import Supir
from supir_model.text import TextEncoders

PACKAGE: Final = Path(__file__).parent
WEIGHTS: Final = PACKAGE / "weights"
TOKENIZER: Final = PACKAGE / "tokenizer"
SMALL_PRESETS: Final = ("mini", "tiny")


def load_supir(
    path: str | Path | None = None,
    *,
    preset: str | None = None,
    base: str | Path | None = None,
    weights: Literal["embedded"] | None = "embedded",
    seed: int = 0,
    control_depth: tuple[int, int, int] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Supir:
    """A model on `device` in `dtype`, frozen and in eval mode.

    Args:
        path: folder of `Supir.save_pretrained`.
        preset: "mini" (embedded, trained), "tiny" (random, for tests) or "sdxl" (needs `base`).
        base: folder of a diffusers SDXL pipeline; its control encoder starts as a copy of the UNet.
        weights: "embedded" loads the trained weights of `mini`; None gives it fresh, to be trained.
        seed: of the fresh parameters.
        control_depth: transformer depth per level of a fresh control encoder, e.g. `presets.TRIMMED_DEPTH`;
            None takes the preset's.

    Raises:
        ValueError: not exactly one of `path` and `preset`, or an unknown preset, or `sdxl` without `base`.
        FileNotFoundError: no such folder, or a package without the embedded weights.
    """
    if (path is None) == (preset is None):
        raise ValueError(f"got path={path!r} and preset={preset!r}; give exactly one of them")
    if path is not None:
        return load_folder(Path(path), device=device, dtype=dtype)
    if preset not in PRESETS:
        raise ValueError(f"preset={preset!r} is unknown; use one of {', '.join(PRESETS)}")
    chosen = PRESETS[preset]
    if control_depth is not None:
        chosen = replace(chosen, control_depth=control_depth)
    if preset not in SMALL_PRESETS:
        if base is None:
            raise ValueError(f"preset={preset!r} needs base=FOLDER, a diffusers SDXL folder with its weights")
        return _from_base(Path(base), chosen, seed, dtype).to(device)
    if chosen.embedded and weights == "embedded":
        folder = WEIGHTS / preset
        if not (folder / CONFIG).is_file():
            raise FileNotFoundError(
                f"the embedded weights of preset={preset!r} are not in this installation ({folder} has no"
                f" {CONFIG}); reinstall supir-stack, or pass weights=None for an untrained model"
            )
        return load_folder(folder, device=device, dtype=dtype)
    return fresh(chosen, seed).to(device=device, dtype=dtype)


def fresh(preset: Preset, seed: int) -> Supir:
    """An untrained float32 model of `preset` on the CPU, the same for the same seed.

    Its tokenizer is the small one of the package.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        supir = build(preset, CLIPTokenizer.from_pretrained(TOKENIZER))
    supir.init_control_from_unet()
    return supir


def build(preset: Preset, tokenizer: CLIPTokenizer) -> Supir:
    """A model of `preset` with default initial values, on torch's default device (may be "meta")."""
    unet = UNet2DConditionModel(**preset.unet)
    vae_class = {"AutoencoderKL": AutoencoderKL, "MiniVAE": MiniVAE}[preset.vae_class]
    text = TextEncoders(
        tokenizer,
        CLIPTextModel(CLIPTextConfig(**preset.text_encoder)),
        CLIPTextModelWithProjection(CLIPTextConfig(**preset.text_encoder_2)),
    )
    return Supir(
        unet=unet,
        control=ControlEncoder.for_unet(unet, preset.control_depth),
        connectors=Connectors(preset.unet["block_out_channels"], **preset.connectors),
        vae=vae_class(**preset.vae),
        text=text,
    )


def _from_base(folder: Path, preset: Preset, seed: int, dtype: torch.dtype) -> Supir:
    """An SDXL folder with a fresh adapter: control encoder copied from its UNet, zero connectors."""
    if not (folder / "unet").is_dir():
        raise FileNotFoundError(f"base={folder} has no unet/ folder; give a diffusers SDXL folder")
    shared = load_shared_parts(folder, dtype)
    unet = shared["unet"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        control = ControlEncoder.for_unet(unet, preset.control_depth)
        connectors = Connectors(unet.config["block_out_channels"], **preset.connectors)
    supir = Supir(**shared, control=control.to(dtype), connectors=connectors.to(dtype))
    supir.init_control_from_unet()
    return supir
