"""The encoder stage at twice the crop's size: what it fits is what the restorer does with `working_scale`."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import gaussian_blur

from supir_model import Supir, load_supir
from supir_model.load import embedded_estimator
from supir_train.data import training_batches
from supir_train.encoder import encoder_phase
from supir_train.image_noise import image_noise
from supir_train.order import Position
from supir_train.run import prepare, train


def at_size(image, side):
    """As the restorer resizes: Pillow's bicubic, channel by channel, in float."""
    planes = [
        Image.fromarray(plane.numpy()).resize((side, side), Image.Resampling.BICUBIC) for plane in image
    ]
    return torch.from_numpy(np.stack(planes))


@pytest.mark.parametrize("scale", [1, 2])
def test_crops_are_restored_as_by_the_restorers_working_scale(scale, configure, tmp_path):
    config = configure(
        "encoder", tmp_path / "run", encoder__working_scale=scale, encoder__pixel_distance="l1"
    )
    supir = load_supir(preset="tiny")
    batches = training_batches(config, images=4, degraded=True, start=Position())
    batch = next(itertools.islice(batches, 1)).to(torch.device("cpu"))
    phase = encoder_phase(supir, config)
    noise = image_noise(0, "test", range(4), images_a_step=4)
    assert phase.restore is not None
    with torch.no_grad():
        restored, losses = phase.restore(batch, noise), phase.loss(batch, noise)
        enlarged = torch.stack([at_size(lq, 32 * scale).clamp(-1, 1) for lq in batch.lq])
        decoded = supir.decode(supir.encode_lq(enlarged))
    expected = torch.stack([at_size(image, 32) for image in decoded])
    torch.testing.assert_close(restored, expected, atol=2e-5, rtol=0)
    assert restored.shape == batch.hq.shape
    assert float(losses["pixel"]) == pytest.approx(float((expected - batch.hq).abs().mean()), rel=1e-4)


def test_auto_works_on_each_picture_at_the_size_of_its_estimate_and_losses_are_means_over_all(
    configure, tmp_path
):
    supir, restored, losses = load_supir(preset="tiny"), {}, {}
    config = configure("encoder", tmp_path / "run", data__crop_px=64)
    batch = next(training_batches(config, images=4, degraded=True, start=Position())).to(torch.device("cpu"))
    lq = batch.hq.clone()
    lq[[1, 3]] = gaussian_blur(lq[[1, 3]], [51, 51], [4.0, 4.0])
    for scale in (1, 2, "auto"):
        config = configure("encoder", tmp_path / str(scale), encoder__working_scale=scale)
        phase, noise = encoder_phase(supir, config), image_noise(0, "test", range(4), images_a_step=4)
        assert phase.restore is not None
        with torch.no_grad():
            restored[scale] = phase.restore(replace(batch, lq=lq), noise)
            losses[scale] = phase.loss(replace(batch, lq=lq), noise)
    expected = restored[2].clone()
    found = embedded_estimator().estimate(lq)
    blurred = [place for place, each in enumerate(found) if not each.gains_by_enlarging]
    assert 0 < len(blurred) < len(lq)
    expected[blurred] = restored[1][blurred]
    torch.testing.assert_close(restored["auto"], expected, atol=1e-5, rtol=0)
    assert not torch.allclose(restored[1], restored[2], atol=1e-3)
    assert float(losses["auto"]["pixel"]) == pytest.approx(
        float((expected - batch.hq).square().mean()), rel=1e-4
    )
    assert losses["auto"].keys() == losses[1].keys()


def test_a_run_at_twice_the_size_trains_every_term(configure, tmp_path):
    config = configure(
        "encoder",
        tmp_path / "run",
        init="fresh",
        optimize__steps=2,
        encoder__working_scale=2,
        encoder__grid_weight=0.1,
        encoder__latent_weight=0.1,
        encoder__plain_weight=0.1,
    )
    train(prepare(config))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"pixel", "decoded", "latent", "grid", "plain"} <= lines[1].keys()
    before, after = (
        load_supir(preset="tiny", seed=config.seed),
        Supir.from_pretrained(tmp_path / "run" / "model"),
    )
    assert not torch.equal(before.robust_encoder.conv_out.weight, after.robust_encoder.conv_out.weight)


@pytest.mark.parametrize("stage", ["encoder", "strength"])
def test_in_bfloat16_the_models_own_estimator_judges_in_float32(stage, configure, tmp_path):
    supir = load_supir(preset="tiny", weights=None)
    supir.estimator = embedded_estimator()
    supir.save_pretrained(tmp_path / "init")
    config = configure(
        stage,
        tmp_path / "run",
        init=tmp_path / "init",
        optimize__steps=1,
        optimize__precision="bf16",
        encoder__working_scale="auto",
    )
    prepared = prepare(config)
    assert train(prepared).model is not None
    assert {value.dtype for value in prepared.supir.estimator.parameters()} == {torch.float32}
    lq = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        judged = prepared.supir.estimator(lq)
    torch.testing.assert_close(judged, embedded_estimator()(lq), atol=1e-4, rtol=0)
