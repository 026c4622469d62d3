"""`stage: strength`: takes little of restorations that do harm, and leaves them as they are."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from supir_model import load_supir
from supir_train.run import prepare, train
from supir_train.strength import harm


def test_harm_is_the_logarithm_of_the_errors_ratio_and_never_a_gain():
    photo = torch.zeros(3, 3, 8, 8)
    given = torch.full_like(photo, 0.1)
    image = torch.stack([torch.full((3, 8, 8), value) for value in (0.2, 0.1, 0.05)])
    assert harm(image, given, photo).tolist() == pytest.approx([1.386, 0, 0], abs=1e-2)


@pytest.fixture
def brightener(tmp_path):
    """A model that makes every picture too bright."""
    supir = load_supir(preset="tiny", weights=None)
    supir.vae.decoder.conv_out.bias.data.add_(0.5)
    supir.save_pretrained(tmp_path / "init")
    return tmp_path / "init"


def test_of_restorations_that_do_harm_the_map_learns_to_take_less(configure, brightener, tmp_path):
    config = configure(
        "strength",
        tmp_path / "run",
        init=brightener,
        optimize__steps=60,
        optimize__lr=3e-3,
        optimize__ema_decay=0.9,
        encoder__decoded_weight=0.0,
        encoder__latent_weight=0.0,
        validation__every=1000,
    )
    prepared = prepare(config)
    before = {name: value.clone() for name, value in prepared.supir.robust_encoder.state_dict().items()}
    outcome = train(prepared)
    lines = [json.loads(line) for line in (config.run / "metrics.jsonl").read_text().splitlines()]
    first, last = (line for line in lines if "validation_loss" in line)
    assert last["validation_loss"] < 0.7 * first["validation_loss"]
    assert last["validation_harm"] < 0.5 * first["validation_harm"]
    assert last["validation_share"] < 0.3 < first["validation_share"]
    assert outcome.model is not None
    assert load_file(outcome.model / "strength_map" / "diffusion_pytorch_model.safetensors")
    after = load_file(outcome.model / "robust_encoder" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_harm_is_priced_as_lpips_fades(configure, brightener, tmp_path):
    def told(db: float | None) -> float:
        run = tmp_path / f"above-{db}"
        settings = {"encoder__faithful_above_db": db, "optimize__steps": 1, "validation__every": 1000}
        train(prepare(configure("strength", run, init=brightener, **settings)))
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return next(line["validation_harm"] for line in lines if "validation_harm" in line)

    everywhere, nowhere, above = told(None), told(90), told(22)
    assert everywhere > above > nowhere == 0
