"""Each stage learns: its held-out loss falls by a stated amount, and nothing that is frozen moves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from supir_model import Supir
from supir_train.order import Position
from supir_train.run import prepare, train

PARTS = ("unet", "text_encoder", "text_encoder_2", "vae", "robust_encoder", "control", "connectors")


def validation(run: Path, phase: str, figure: str = "loss") -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    name = f"validation_{figure}"
    return [line[name] for line in lines if line["phase"] == phase and name in line]


def changed_parts(before: Path, after: Path) -> set[str]:
    def weights(model: Path, part: str) -> dict[str, torch.Tensor]:
        return load_file(next((model / part).glob("*.safetensors")))

    def moved(old: dict[str, torch.Tensor], new: dict[str, torch.Tensor]) -> bool:
        assert old.keys() == new.keys()
        return any(not torch.equal(value, new[name]) for name, value in old.items())

    return {part for part in PARTS if moved(weights(before, part), weights(after, part))}


def test_autoencoder_starts_as_a_codec_and_gains_on_held_out_crops(prior_run):
    before, after = validation(prior_run, "autoencoder", "psnr_db")
    assert before > 29.0
    assert after - before > 0.5


def test_prior_halves_the_held_out_noise_loss(prior_run):
    before, after = validation(prior_run, "prior")
    assert before > 0.9
    assert after < 0.5 * before


def test_latents_of_a_trained_autoencoder_have_unit_variance(prior_run, configure, tmp_path):
    from supir_train.data import training_batches

    supir = Supir.from_pretrained(prior_run / "model")
    config = configure("prior", tmp_path / "x")
    batch = next(training_batches(config, images=64, degraded=False, start=Position()))
    channels = supir.encode(batch.to(torch.device("cpu")).hq).std(dim=(0, 2, 3))
    assert channels.tolist() == pytest.approx([1.0] * supir.latent_channels, abs=0.35)


def test_prior_ends_with_an_adapter_and_robust_encoder_copied_from_it(prior_run):
    supir = Supir.from_pretrained(prior_run / "model")
    assert torch.equal(
        supir.control.mid_block.resnets[0].conv1.weight, supir.unet.mid_block.resnets[0].conv1.weight
    )
    assert torch.equal(supir.robust_encoder.conv_in.weight, supir.vae.encoder.conv_in.weight)
    assert not supir.control.hint.weight.any()


def test_a_prior_that_goes_on_keeps_robust_encoder_and_adapter(prior_run, configure, tmp_path):
    config = configure("prior", tmp_path / "run", init=prior_run / "model", optimize__steps=2)
    train(prepare(config))
    assert changed_parts(prior_run / "model", config.run / "model") == {
        "unet",
        "text_encoder",
        "text_encoder_2",
    }


def test_robust_encoder_learns_to_see_through_noise(encoder_run):
    before, after = validation(encoder_run, "encoder", "decoded")
    assert after < 0.8 * before


def test_robust_encoder_keeps_the_brightness_of_each_photo(encoder_run, configure, noise_recipe, tmp_path):
    from supir_train.held_out_batches import choose_held_out, validation_batches

    supir = Supir.from_pretrained(encoder_run / "model")
    config = configure("encoder", tmp_path, data__recipe=noise_recipe)
    (batch,) = validation_batches(config, choose_held_out(config), images=16, degraded=True)
    batch = batch.to(torch.device("cpu"))
    with torch.no_grad():
        decoded = supir.decode(supir.encode_lq(batch.lq))
    brightness, expected = (images.mean(dim=(1, 2, 3)) for images in (decoded, batch.hq))
    assert expected.std() > 0.2
    assert (brightness - expected).abs().mean() < 0.1


def test_encoder_stage_changes_the_robust_encoder_only(encoder_run, prior_run):
    assert changed_parts(prior_run / "model", encoder_run / "model") == {"robust_encoder"}


def test_adapter_lowers_the_noise_loss_of_the_frozen_prior(adapter_run):
    before, after = validation(adapter_run, "adapter")
    assert after < 0.95 * before


def test_adapter_stage_changes_control_and_connectors_only(adapter_run, encoder_run):
    assert changed_parts(encoder_run / "model", adapter_run / "model") == {"control", "connectors"}


def test_adapter_uses_the_lq_latent(adapter_run, configure, noise_recipe, tmp_path):
    from supir_train.adapter import adapter_phase
    from supir_train.held_out_batches import choose_held_out, validation_batches
    from supir_train.image_noise import image_noise

    config = configure("adapter", tmp_path, data__captions="plain", data__recipe=noise_recipe)
    supir = Supir.from_pretrained(adapter_run / "model")
    loss = adapter_phase(supir, config).loss
    batch = validation_batches(config, choose_held_out(config), images=16, degraded=True)[0].to(
        torch.device("cpu")
    )
    shuffled = type(batch)(
        **{name: getattr(batch, name) for name in batch.__slots__} | {"lq": batch.lq.roll(1, 0)}
    )
    with torch.no_grad():
        right, wrong = (
            loss(pairs, image_noise(0, "fixed", batch.numbers, images_a_step=16))["loss"]
            for pairs in (batch, shuffled)
        )
    assert right < wrong


@pytest.mark.parametrize("stage", ["encoder", "adapter"])
def test_bfloat16_trains_and_exports_the_frozen_weights_unrounded(stage, configure, prior_run, tmp_path):
    config = configure(
        stage,
        tmp_path / "run",
        init=prior_run / "model",
        optimize__steps=2,
        optimize__precision="bf16",
        gradient_checkpointing=True,
    )
    train(prepare(config))
    trained = {"encoder": {"robust_encoder"}, "adapter": {"control", "connectors"}}[stage]
    assert changed_parts(prior_run / "model", config.run / "model") == trained


def test_adapter_can_start_again_from_the_unet(adapter_run, configure, tmp_path):
    kept = configure("adapter", tmp_path / "a", init=adapter_run / "model")
    anew = configure("adapter", tmp_path / "b", init=adapter_run / "model", adapter__start="unet")
    assert prepare(kept).supir.control.hint.weight.any()
    control, unet = (supir := prepare(anew).supir).control, supir.unet
    assert not control.hint.weight.any()
    assert torch.equal(control.conv_in.weight, unet.conv_in.weight)
