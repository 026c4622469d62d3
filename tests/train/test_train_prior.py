"""A new prior on latents that are kept."""

from __future__ import annotations

import pytest
import torch

from supir_console import UserError
from supir_model import Supir, load_supir
from supir_train.rehearsal import rehearse
from supir_train.run import prepare, train
from supir_train.world import ALONE


def test_a_fresh_prior_stands_on_the_latents_of_init(configure, tmp_path):
    load_supir(preset="tiny", seed=5).save_pretrained(tmp_path / "init")
    config = configure(
        "prior",
        tmp_path / "run",
        init=str(tmp_path / "init"),
        prior__start="fresh",
        optimize__steps=1,
    )
    train(prepare(config))
    old, new = (Supir.from_pretrained(tmp_path / model) for model in ("init", "run/model"))
    fresh = load_supir(preset="tiny", weights=None, seed=config.seed)
    for part in ("vae", "robust_encoder"):
        kept, given = getattr(new, part).state_dict(), getattr(old, part).state_dict()
        assert all(torch.equal(kept[name], given[name]) for name in given), part
    moved = (new.unet.conv_in.weight - fresh.unet.conv_in.weight).abs().max()
    assert 0 < float(moved) < 0.1
    assert float((old.unet.conv_in.weight - fresh.unet.conv_in.weight).abs().max()) > float(moved)
    assert torch.equal(new.control.conv_in.weight, new.unet.conv_in.weight)


def test_a_fresh_prior_of_other_latents_is_refused(configure, tmp_path):
    config = configure("prior", tmp_path / "run", init="mini", prior__start="fresh", preset="tiny")
    for made in (prepare, rehearse):
        with pytest.raises(UserError, match="preset=tiny takes latents of 8 channels and init has 64"):
            made(config, ALONE)
