"""`load_supir`: the one door to a model, whether embedded, saved, fresh or grown from an SDXL folder.

Place in the flow: `train` and `infer` call it and nothing else to get a `Supir`.
Law: a fresh model is a function of its preset and seed; no global random state is touched for good.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from supir_model.checkpoint import load_checkpoint
from supir_model.connectors import ConnectorKind, Connectors
from supir_model.control import ControlEncoder
from supir_model.estimator import DegradationEstimator
from supir_model.folder import (
    CONFIG,
    JUDGES,
    holds_model,
    load_folder,
    load_judge,
    load_shared_parts,
    vae_dtype,
)
from supir_model.mini_vae import MiniVAE
from supir_model.presets import PREDICTION_TYPE, PRESETS, Preset
from supir_model.single_file import load_single_file
from supir_model.supir import Supir
from supir_model.text import TextEncoders

PACKAGE: Final = Path(__file__).parent
WEIGHTS: Final = PACKAGE / "weights"
TOKENIZER: Final = PACKAGE / "tokenizer"
SMALL_PRESETS: Final = ("mini", "tiny")


def load_supir(
    base: str | Path | None = None,
    checkpoint: str | Path | None = None,
    preset: str | None = None,
    *,
    weights: Literal["embedded"] | None = "embedded",
    tokenizer: str | Path | None = None,
    seed: int = 0,
    control_depth: tuple[int, int, int] | None = None,
    connector: ConnectorKind = "zero_sft",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Supir:
    """A model on `device` in `dtype`, frozen and in eval mode; the VAE stays float32 beside float16.

    Args:
        base: folder of `Supir.save_pretrained`; or an SDXL base, a diffusers folder or a single LDM-style file.
        checkpoint: official SUPIR file to put onto the base. An SDXL base without one gets a fresh adapter, its
            control encoder copied from the UNet.
        preset: without a base "mini" (embedded, trained) or "tiny" (random, for tests); beside an SDXL base the
            shape of the fresh adapter, "sdxl" if None.
        weights: "embedded" loads the trained weights of `mini`; None gives it fresh, to be trained.
        tokenizer: folder of CLIP's tokenizer, for a single file; None takes the vocabulary in open_clip_torch.
        seed: of the fresh parameters.
        control_depth: transformer depth per level of a fresh control encoder, e.g. `presets.TRIMMED_DEPTH`;
            None takes the preset's.
        connector: kind of a fresh adapter's connectors; "zero_conv" is the plain ControlNet baseline.

    Raises:
        ValueError: neither base nor preset, an unknown option, one of a fresh adapter beside a file that holds one,
            or files that do not fit together.
        FileNotFoundError: no such file or folder, or a package without the embedded weights.
        ImportError: a single file without `tokenizer` where open_clip_torch is not installed.
    """
    _require_options(preset, weights, connector, control_depth, dtype)
    chosen = PRESETS[preset or "sdxl"]
    chosen = replace(chosen, connectors={**chosen.connectors, "kind": connector})
    if control_depth is not None:
        chosen = replace(chosen, control_depth=control_depth)
    if base is not None:
        if checkpoint is not None or holds_model(Path(base)):
            _require_fresh(control_depth, connector, checkpoint or base)
        return _on_base(Path(base), checkpoint, chosen, tokenizer, seed, device, dtype)
    if preset is None or preset not in SMALL_PRESETS or checkpoint is not None:
        raise ValueError(
            f"preset={preset!r} and checkpoint={checkpoint!r} need base=, an SDXL folder or file; without a base"
            f" use preset={' or '.join(map(repr, SMALL_PRESETS))}"
        )
    if chosen.embedded and weights == "embedded":
        _require_fresh(control_depth, connector, f"the embedded {preset}")
        return _embedded(preset, device, dtype)
    return _in_precision(fresh(chosen, seed), dtype).to(device)


def _require_options(
    preset: str | None,
    weights: str | None,
    connector: str,
    control_depth: tuple[int, ...] | None,
    dtype: object,
) -> None:
    allowed: tuple[tuple[str, object, tuple[object, ...]], ...] = (
        ("preset", preset, (None, *PRESETS)),
        ("weights", weights, ("embedded", None)),
        ("connector", connector, get_args(ConnectorKind)),
    )
    for name, value, choices in allowed:
        if value not in choices:
            raise ValueError(f"{name}={value!r} is unknown; use one of {', '.join(map(repr, choices))}")
    if control_depth is not None and (len(control_depth) != 3 or min(control_depth) < 1):
        raise ValueError(
            f"control_depth={control_depth} is no depth; give three numbers from 1, as in (1, 1, 5)"
        )
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(
            f"dtype={dtype!r} is no precision; use torch.float32, torch.bfloat16 or torch.float16"
        )


def _require_fresh(control_depth: tuple[int, ...] | None, connector: str, adapter: object) -> None:
    """Refuses options of a fresh adapter where the adapter comes from files."""
    if control_depth is not None or connector != "zero_sft":
        raise ValueError(
            f"control_depth={control_depth} and connector={connector!r} shape a fresh adapter, and {adapter} holds one;"
            " leave them out"
        )


def embedded_estimator() -> DegradationEstimator:
    """The degradation estimator that ships with `mini`, float32 on the CPU; it serves every backbone.

    Raises:
        FileNotFoundError: a package without the embedded weights.
    """
    estimator: DegradationEstimator = load_judge(WEIGHTS / "mini", "estimator")
    return estimator


def _embedded(preset: str, device: torch.device | str, dtype: torch.dtype) -> Supir:
    folder = WEIGHTS / preset
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(
            f"the embedded weights of preset={preset!r} are not in this installation ({folder} has no"
            f" {CONFIG}); reinstall supir-stack, or pass weights=None for an untrained model"
        )
    return load_folder(folder, device=device, dtype=dtype)


def fresh(preset: Preset, seed: int) -> Supir:
    """An untrained float32 model of `preset` on the CPU, the same for the same seed.

    Its tokenizer is the small one of the package.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        supir = build(preset, CLIPTokenizer.from_pretrained(TOKENIZER))
    supir.init_control_from_unet()
    return supir


def _in_precision(supir: Supir, dtype: torch.dtype) -> Supir:
    """The model in `dtype`, its VAE and the robust encoder, a part of one, in the VAE's precision beside it."""
    for name, part in supir.named_children():
        held = torch.float32 if name in JUDGES else vae_dtype(dtype)
        nn.Module.to(part, held if name in ("vae", "robust_encoder", *JUDGES) else dtype)
    return supir


def build(preset: Preset, tokenizer: CLIPTokenizer) -> Supir:
    """A model of `preset` with default initial values, on torch's default device (may be "meta")."""
    unet = UNet2DConditionModel(**preset.unet)
    if preset.prediction_type != "epsilon":  # what a config without the key means
        unet.register_to_config(**{PREDICTION_TYPE: preset.prediction_type})
    vae_class = {"AutoencoderKL": AutoencoderKL, "MiniVAE": MiniVAE}[preset.vae_class]
    text = TextEncoders(
        tokenizer,
        CLIPTextModel(CLIPTextConfig(**preset.text_encoder)),
        CLIPTextModelWithProjection(CLIPTextConfig(**preset.text_encoder_2)),
    )
    return Supir(
        unet=unet,
        control=ControlEncoder.for_unet(unet, preset.control_depth),
        connectors=Connectors(block_out_channels=preset.unet["block_out_channels"], **preset.connectors),
        vae=vae_class(**preset.vae),
        text=text,
    )


def _on_base(
    base: Path,
    checkpoint: str | Path | None,
    preset: Preset,
    tokenizer: str | Path | None,
    seed: int,
    device: torch.device | str,
    dtype: torch.dtype,
) -> Supir:
    if checkpoint is None and holds_model(base):
        return load_folder(base, device=device, dtype=dtype)
    if base.is_file():
        shared = load_single_file(base, _tokenizer(tokenizer), device=device, dtype=dtype)
    elif (base / "unet").is_dir():
        shared = load_shared_parts(base, dtype)
    else:
        raise FileNotFoundError(
            f"base={base} is no model: neither a file nor a folder with {CONFIG} or unet/; give a folder of"
            " save_pretrained, a diffusers SDXL folder, or an SDXL file"
        )
    if checkpoint is None:
        return _with_fresh_adapter(shared, preset, seed, dtype).to(device)
    adapter = load_checkpoint(checkpoint, shared["unet"], shared["vae"], device=device, dtype=dtype)
    return Supir(
        **shared,
        control=adapter.control,
        connectors=adapter.connectors,
        robust_encoder=adapter.robust_encoder,
    ).to(device)


def _with_fresh_adapter(shared: dict[str, Any], preset: Preset, seed: int, dtype: torch.dtype) -> Supir:
    """The shared parts with a control encoder copied from the UNet and connectors that start at zero."""
    unet = shared["unet"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        control = ControlEncoder.for_unet(unet, preset.control_depth)
        connectors = Connectors(block_out_channels=unet.config["block_out_channels"], **preset.connectors)
    nn.ModuleList([control, connectors]).to(unet.device, dtype)
    supir = Supir(**shared, control=control, connectors=connectors)
    supir.init_control_from_unet()
    return supir


def _tokenizer(folder: str | Path | None) -> CLIPTokenizer:
    """CLIP's tokenizer from a folder, or from the vocabulary that open_clip_torch carries."""
    if folder is not None:
        return CLIPTokenizer.from_pretrained(folder)
    try:
        from open_clip.tokenizer import SimpleTokenizer
    except ImportError as error:
        raise ImportError(
            "a single-file base has no tokenizer: pip install open_clip_torch, or pass tokenizer=FOLDER"
        ) from error
    clip = SimpleTokenizer()
    return CLIPTokenizer(
        vocab={_clip_name(token): number for token, number in clip.encoder.items()},
        merges=[(first, second) for first, second in clip.bpe_ranks],
    )


def _clip_name(token: str) -> str:
    return {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}.get(token, token)
