"""The encoder stage at twice the crop's size: what it fits is what the restorer does with `working_scale`."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from PIL import Image

from supir_model import Supir, load_supir
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
