"""The teacher of `stage: distill`: a trained adapter that stays as it is, upon the student's own frozen prior.

Place in the flow: `distill.py` asks for it before any weight moves. The laws it keeps: a teacher costs an adapter and
no second UNet, VAE or text encoder; one that knows nothing, or knows another UNet, is refused.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from supir_console import UserError
from supir_model import Supir, load_supir
from supir_model.shape import hollow_supir, preset_of
from supir_train.config import TrainConfig


def adapter_teacher(supir: Supir, config: TrainConfig) -> Supir:
    """Returns the network with a copy of the teacher's control encoder and connectors; all other parts are `supir`'s.

    Args:
        supir: with the weights that the run starts from; on the meta device those of the teacher are not read.
        config: the whole run.

    Raises:
        UserError: the teacher is not there, has learnt nothing, or was not trained on this UNet.
        FileNotFoundError: a part of its folder is missing.
        ModelFileError: a file of it is damaged.
    """
    name = config.distill.teacher or config.init
    source = _named(name, supir, config) if config.distill.teacher else supir
    if name == "fresh" or not (source.device.type == "meta" or _has_learnt(source)):
        raise UserError(
            f"stage distill needs a teacher, and the adapter of {name} is untrained; set init, or distill.teacher, to "
            "the RUN/model of a run of stage adapter"
        )
    return Supir(
        unet=supir.unet,
        control=copy.deepcopy(source.control),
        connectors=copy.deepcopy(source.connectors),
        vae=supir.vae,
        text=supir.text,
        robust_encoder=supir.robust_encoder,
    )


def _named(name: str, supir: Supir, config: TrainConfig) -> Supir:
    is_plan = supir.device.type == "meta"
    if not Path(name).exists():
        if is_plan and config.preset == "sdxl":
            return supir
        raise UserError(
            f"distill.teacher: {name!r} is not there; give the model folder of an adapter, RUN/model, or null for that "
            "of init"
        )
    source = hollow_supir(preset_of(Path(name))) if is_plan else load_supir(name)
    theirs, ours = source.unet.state_dict(), supir.unet.state_dict()
    same = theirs.keys() == ours.keys() and all(
        value.shape == ours[key].shape and (is_plan or torch.equal(value, ours[key]))
        for key, value in theirs.items()
    )
    if not same:
        raise UserError(
            f"distill.teacher: the adapter of {name} was trained on another UNet than that of init ({config.init}); "
            "give one that was trained on it"
        )
    return source


def _has_learnt(source: Supir) -> bool:
    """Whether an LQ latent reaches the adapter: the convolution that lets it in starts at zero."""
    return any(bool(value.any()) for value in source.control.hint.parameters())
