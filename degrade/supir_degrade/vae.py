"""A round trip through an autoencoder: what a picture carries that a diffusion model restored or made before.

Place in the flow: `draw` names the weights, `pipeline` applies them. The law it keeps: the trace holds the digest of
the weights, other weights are refused, and one thread computes, so the bytes do not depend on the number of threads.
Source: the mode of the posterior, decoded; Rombach et al. (arXiv 2112.10752) §3.1.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import supir_model
from supir_console import UserError

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

    from supir_model.mini_vae import MiniVAE

Image = NDArray[np.float32]
EMBEDDED = "mini"
CLASSES = ("AutoencoderKL", "MiniVAE")
FULL = "diffusion_pytorch_model.safetensors"
HALF = "diffusion_pytorch_model.fp16.safetensors"
DIGEST_DIGITS = 16
MULTIPLE_PX = 8  # of the sides, where the config does not say more


def round_trip(image: Image, *, weights: str, digest: str) -> Image:
    """Returns the image encoded and decoded again, clipped to 0..1; sides are mirrored up to what the network takes.

    Args:
        image: float32 (H, W, 3) RGB; clipped to 0..1.
        weights: "mini", or a folder, see `weights_digest`.
        digest: what `weights_digest` gave when the trace was drawn.

    Raises:
        UserError: the weights are missing, cannot be loaded, or are others than the trace was made with.
    """
    seen = weights_digest(weights)
    if seen != digest:
        raise UserError(
            f"vae weights {weights!r} have digest {seen}, the trace was made with {digest}; "
            "replay it beside the weights that it was made with"
        )
    import torch

    network = _load(weights, digest)
    multiple = MULTIPLE_PX * 2 ** max(0, len(network.config["block_out_channels"]) - 4)
    height, width = image.shape[:2]
    sides = ((0, -height % multiple), (0, -width % multiple), (0, 0))
    padded = np.pad(np.clip(image, 0, 1), sides, mode="reflect")
    with one_thread(), torch.inference_mode():
        pixels = torch.from_numpy(padded).permute(2, 0, 1)[None] * 2 - 1  # in channels-last order
        decoded = network.decode(network.encode(pixels).latent_dist.mode()).sample
        result: Image = (decoded[0].permute(1, 2, 0)[:height, :width] / 2 + 0.5).clamp(0, 1).numpy()
    return np.ascontiguousarray(result)


@lru_cache(maxsize=8)
def weights_digest(weights: str) -> str:
    """Returns the first 16 hex digits of the SHA-256 of the weights' file; read once a process.

    Args:
        weights: "mini", the autoencoder in the package; or a folder with config.json and
            diffusion_pytorch_model.safetensors of a diffusers AutoencoderKL.

    Raises:
        UserError: there is no such folder, or it lacks one of the two.
    """
    with (_folder(weights) / _file(weights)).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:DIGEST_DIGITS]


def check_weights(weights: str) -> None:
    """Refuses weights that `round_trip` could not load, by a look at both files; nothing is computed.

    Raises:
        UserError: the weights are missing, cut off, or of another kind of network.
    """
    from safetensors import SafetensorError, safe_open

    path = _folder(weights) / _file(weights)
    _class_name(path.parent)
    try:
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise UserError(f"vae weights in {path} cannot be loaded: {error}; download them again") from error


def _folder(weights: str) -> Path:
    if weights == EMBEDDED:
        return Path(supir_model.__file__).parent / "weights" / EMBEDDED / "vae"
    return Path(weights)


def _file(weights: str) -> str:
    folder = _folder(weights)
    names = [name for name in (FULL, HALF) if (folder / name).is_file()]
    if not names or not (folder / "config.json").is_file():
        raise UserError(
            f"vae weights {weights!r}: {folder} has no config.json with {FULL}; give {EMBEDDED!r} or the vae folder "
            "of a diffusers model"
        )
    return names[0]


@lru_cache(maxsize=2)
def _load(weights: str, digest: str) -> AutoencoderKL | MiniVAE:  # noqa: ARG001  other weights, another entry
    """The network in float32, frozen, channels last: a quarter faster, and the same bits on any number of threads."""
    import torch
    from diffusers import AutoencoderKL
    from safetensors import SafetensorError

    from supir_model.mini_vae import MiniVAE

    folder, variant = _folder(weights), "fp16" if _file(weights) == HALF else None
    kind: Any = {"AutoencoderKL": AutoencoderKL, "MiniVAE": MiniVAE}[_class_name(folder)]
    try:
        network, report = kind.from_pretrained(
            folder, output_loading_info=True, variant=variant, torch_dtype=torch.float32
        )
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise UserError(f"vae weights in {folder} cannot be loaded: {error}; download them again") from error
    lacking = sorted((*report["missing_keys"], *report["unexpected_keys"], *report["mismatched_keys"]))
    if lacking:
        raise UserError(
            f"vae weights in {folder} do not fit their config.json: {len(lacking)} tensors, first {lacking[0]}; "
            "download them again"
        )
    network.requires_grad_(False).eval()
    return network.to(memory_format=torch.channels_last)


def _class_name(folder: Path) -> str:
    """The class that config.json names, one of `CLASSES`."""
    try:
        name = str(json.loads((folder / "config.json").read_text()).get("_class_name"))
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise UserError(f"{folder}/config.json is no JSON of a model: {error}; download it again") from error
    if name not in CLASSES:
        raise UserError(
            f"{folder}/config.json is of class {name!r}, not {' or '.join(CLASSES)}; "
            "give the vae folder of a diffusers model"
        )
    return name


@contextmanager
def one_thread() -> Iterator[None]:
    """While it is entered, torch computes on one thread; sums that are split over more round differently."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
