"""The assembled network at its tiny size: its start, what training changes, what control off means."""

from __future__ import annotations

import copy

import pytest
import torch

from supir_model import load_supir
from supir_model.adapted_unet import adapted_output, size_embedding
from supir_model.calibrate import Noised, calibrate_connectors
from supir_model.control import ControlEncoder
from supir_model.diffusion import noised_input, sampling_sigmas
from supir_model.guidance import LinearScale, guided

PROMPTS = ["a stone wall", "two dogs in the snow"]


@pytest.fixture(scope="module")
def original():
    return load_supir(preset="tiny", seed=3)


@pytest.fixture
def supir(original):
    return copy.deepcopy(original)


class Batch:
    """Two latents with their LQ latents and noise, 16×16, at two timesteps."""

    def __init__(self, supir, size=(16, 16)):
        generator = torch.Generator().manual_seed(7)
        self.z_lq, self.noise = (torch.randn(2, 8, *size, generator=generator) for _ in range(2))
        self.latent = self.z_lq + 0.1 * torch.randn(2, 8, *size, generator=generator)
        self.timestep = torch.tensor([250, 800])
        self.x_in = noised_input(self.latent, self.noise, self.timestep)
        self.text = supir.encode_prompt(PROMPTS)
        self.time_ids = supir.time_ids(128, 128, 2)

    def eps(self, supir, z_lq, control_scale=1.0):
        return supir.predict_eps(self.x_in, self.timestep, z_lq, self.text, self.time_ids, control_scale)


def control_maps(supir, batch):
    prepared = supir.prepare(batch.z_lq, batch.text, batch.time_ids)
    shared = (prepared.hint, prepared.context, prepared.control_embedding)
    return supir.control(batch.x_in, batch.timestep, *shared)


def randomise(supir):
    """Give every zero-initialised layer weights, so that control acts."""
    generator = torch.Generator().manual_seed(11)
    for part in (supir.connectors, supir.control.hint):
        for parameter in part.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return supir


def train(supir, batch, steps, stage="adapter", learning_rate=3e-3):
    parameters = supir.trainable(stage)
    optimizer = torch.optim.AdamW(parameters.values(), lr=learning_rate, weight_decay=0.0)
    losses = []
    for _ in range(steps):
        loss = (batch.eps(supir, batch.z_lq) - batch.noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    supir.requires_grad_(False)
    return losses


def test_a_fresh_adapter_ignores_the_lq_image(supir):
    batch = Batch(supir)
    assert torch.equal(batch.eps(supir, batch.z_lq), batch.eps(supir, -3 * batch.z_lq))


def test_fresh_control_maps_are_the_encoder_features_of_the_unet(supir):
    batch = Batch(supir)
    seen = []
    blocks = [supir.unet.conv_in, *supir.unet.down_blocks, supir.unet.mid_block]
    handles = [block.register_forward_hook(lambda _m, _i, output: seen.append(output)) for block in blocks]
    batch.eps(supir, None)
    for handle in handles:
        handle.remove()
    features = [seen[0], *(feature for block in seen[1:-1] for feature in block[1]), seen[-1]]
    maps = control_maps(supir, batch)
    assert len(maps) == len(features) == 10
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(maps, features, strict=True))


def test_control_scale_zero_is_the_plain_unet_and_runs_no_control(supir):
    batch = Batch(randomise(supir))
    calls = []
    parts = [supir.control, supir.control.hint, supir.control.add_embedding]
    handles = [part.register_forward_hook(lambda *_: calls.append(1)) for part in parts]
    added = {"text_embeds": batch.text.pooled, "time_ids": batch.time_ids}
    plain = supir.unet(batch.x_in, batch.timestep, batch.text.context, added_cond_kwargs=added).sample
    assert torch.equal(batch.eps(supir, batch.z_lq, control_scale=0.0), plain)
    assert torch.equal(batch.eps(supir, None), plain)
    assert calls == []
    adapted = batch.eps(supir, batch.z_lq)
    for handle in handles:
        handle.remove()
    assert calls == [1, 1, 1]
    assert (adapted - plain).square().mean().sqrt() > 0.05


def test_the_decoder_loop_at_scale_zero_is_the_plain_unet(supir):
    for size in ((16, 16), (16, 24), (12, 20)):
        batch = Batch(randomise(supir), size)
        text = (batch.text.context, batch.text.pooled, batch.time_ids)
        maps = control_maps(supir, batch)
        embedding = size_embedding(supir.unet, *text)
        shared = (batch.x_in, batch.timestep, batch.text.context, embedding)
        eps = adapted_output(supir.unet, supir.connectors, maps, *shared, control_scale=0.0)
        torch.testing.assert_close(eps, batch.eps(supir, None), rtol=0, atol=2e-6)


def test_latents_that_do_not_divide_by_four_keep_their_size(supir):
    batch = Batch(randomise(supir), (14, 18))
    assert batch.eps(supir, batch.z_lq).shape == batch.eps(supir, None).shape == (2, 8, 14, 18)


def test_adapter_training_lowers_the_loss_and_reads_the_lq_image(supir, original):
    batch = Batch(supir)
    losses = train(supir, batch, steps=30)
    assert losses[-1] < 0.35 * losses[0]
    true, other = batch.eps(supir, batch.z_lq), batch.eps(supir, batch.z_lq.flip(0))
    assert (true - other).square().mean().sqrt() > 0.1
    for part in ("unet", "vae", "robust_encoder", "text"):
        frozen, start = (model.get_submodule(part).state_dict() for model in (supir, original))
        assert all(torch.equal(frozen[key], start[key]) for key in start)


def test_every_adapter_parameter_gets_a_gradient(supir):
    batch = Batch(randomise(supir))
    parameters = supir.trainable("adapter")
    (batch.eps(supir, batch.z_lq) - batch.noise).square().mean().backward()
    silent = [name for name, parameter in parameters.items() if not parameter.grad.abs().sum() > 0]
    assert silent == []
    assert len(parameters) == len(list(supir.control.parameters())) + len(list(supir.connectors.parameters()))


def gradients(supir, batch):
    parameters = supir.trainable("adapter")
    (batch.eps(supir, batch.z_lq) - batch.noise).square().mean().backward()
    return {name: parameter.grad for name, parameter in parameters.items()}


def test_gradient_checkpointing_changes_no_gradient(supir):
    batch = Batch(randomise(supir))
    twin = copy.deepcopy(supir)
    twin.unet.enable_gradient_checkpointing()
    twin.control.enable_gradient_checkpointing()
    calls = []
    twin.connectors.layers[5].register_forward_hook(lambda *_: calls.append(1))
    plain, recomputed = gradients(supir, batch), gradients(twin, batch)
    assert len(calls) == 2  # once forward, once again for the backward
    assert plain.keys() == recomputed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient, rtol=1e-5, atol=1e-7)


def test_two_forwards_before_one_backward_are_kept_apart(supir):
    batch = Batch(randomise(supir))
    supir.unet.enable_gradient_checkpointing()
    parameters = supir.trainable("adapter")
    losses = [batch.eps(supir, z_lq).square().mean() for z_lq in (batch.z_lq, 2 * batch.z_lq)]
    together = torch.autograd.grad(sum(losses), list(parameters.values()))
    apart = [
        torch.autograd.grad(batch.eps(supir, z_lq).square().mean(), list(parameters.values()))
        for z_lq in (batch.z_lq, 2 * batch.z_lq)
    ]
    for both, first, second in zip(together, *apart, strict=True):
        torch.testing.assert_close(both, first + second, rtol=1e-4, atol=1e-6)


def test_a_frozen_encoder_half_keeps_no_graph_and_the_same_adapter_gradients(supir):
    batch = Batch(randomise(supir))
    twin = copy.deepcopy(supir)
    frozen = gradients(supir, batch)
    names = list(twin.trainable("adapter"))
    twin.unet.requires_grad_(True)
    (batch.eps(twin, batch.z_lq) - batch.noise).square().mean().backward()
    assert twin.unet.conv_in.weight.grad.abs().sum() > 0
    assert supir.unet.conv_in.weight.grad is None
    for name in names:
        torch.testing.assert_close(twin.get_parameter(name).grad, frozen[name], rtol=1e-5, atol=1e-7)


def noised_batch(batch: Batch) -> Noised:
    return Noised(x_in=batch.x_in, timestep=batch.timestep, conditioning=batch.text, time_ids=batch.time_ids)


def test_calibration_brings_a_fresh_adapter_ten_times_nearer_to_the_prior(supir):
    batch = Batch(supir)
    prior = batch.eps(supir, None)

    def distance() -> float:
        return float((batch.eps(supir, batch.z_lq) - prior).square().mean().sqrt())

    before = distance()
    state = {name: value.clone() for name, value in supir.state_dict().items()}
    calibrate_connectors(supir, [noised_batch(batch)])
    assert distance() < 0.1 * before
    changed = {name for name, value in supir.state_dict().items() if not torch.equal(value, state[name])}
    sft = set(range(12)) - {3, 7}
    assert changed == {f"connectors.layers.{i}.norm.{leaf}" for i in sft for leaf in ("weight", "bias")}


def test_calibration_is_the_same_in_one_pass_and_in_one_image_a_pass(supir):
    twin, batch = copy.deepcopy(supir), Batch(supir)
    calibrate_connectors(supir, [noised_batch(batch)])
    single = [
        Noised(
            x_in=batch.x_in[row : row + 1],
            timestep=batch.timestep[row : row + 1],
            conditioning=supir.encode_prompt([words]),
            time_ids=batch.time_ids[row : row + 1],
        )
        for row, words in enumerate(PROMPTS)
    ]
    calibrate_connectors(twin, single)
    for ours, theirs in zip(supir.connectors.parameters(), twin.connectors.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_trimmed_control_encoder_takes_every_second_block():
    unet = load_supir(preset="tiny").unet
    deep = type(unet)(**{**dict(unet.config), "transformer_layers_per_block": (1, 2, 4)})
    control = ControlEncoder.for_unet(deep, (1, 1, 2))
    control.copy_from_unet(deep)
    ours = control.mid_block.attentions[0].transformer_blocks
    theirs = deep.mid_block.attentions[0].transformer_blocks
    for index in (0, 1):
        assert torch.equal(ours[index].ff.net[2].weight, theirs[2 * index].ff.net[2].weight)
    assert torch.equal(control.add_embedding.linear_1.weight, deep.add_embedding.linear_1.weight)


def test_stages_train_only_their_own_parts(supir):
    heads = {
        stage: {name.split(".")[0] for name in supir.trainable(stage)}
        for stage in ("adapter", "encoder", "prior", "autoencoder", "distill")
    }
    assert heads == {
        "adapter": {"control", "connectors"},
        "encoder": {"robust_encoder"},
        "prior": {"unet", "text"},
        "autoencoder": {"vae"},
        "distill": {"control", "connectors"},
    }
    with pytest.raises(ValueError, match="stage='adaptor' is unknown; use one of adapter, encoder"):
        supir.trainable("adaptor")


def test_text_encoders_learn_in_the_prior_stage(supir):
    parameters = supir.trainable("prior")
    batch = Batch(supir)
    batch.eps(supir, None).square().mean().backward()
    for name in ("text.text_encoder", "text.text_encoder_2"):
        learned = [
            key for key, value in parameters.items() if key.startswith(name) and value.grad is not None
        ]
        assert any("token_embedding" in key for key in learned)


def test_robust_encoder_starts_as_the_vae_encoder(supir):
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latent = supir.encode(image)
    assert latent.shape == (1, 8, 8, 12)
    assert torch.equal(supir.encode_lq(image), latent)
    assert supir.decode(latent).shape == image.shape
    supir.robust_encoder.conv_out.weight.data.add_(0.01)
    assert not torch.equal(supir.encode_lq(image), latent)
    assert torch.equal(supir.encode(image), latent)


def test_posterior_sample_follows_its_generator(supir):
    image = torch.zeros(1, 3, 32, 32)
    first, again = (supir.encode(image, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, supir.encode(image))


def test_denoise_subtracts_the_snapped_sigma_times_eps(supir):
    batch = Batch(randomise(supir))
    x = 5 * batch.noise
    estimate = supir.denoise(x, 16.08, batch.z_lq, batch.text, batch.time_ids)
    sigma = 14.614641
    last = torch.tensor([999, 999])
    eps = supir.predict_eps(x / (sigma**2 + 1) ** 0.5, last, batch.z_lq, batch.text, batch.time_ids)
    torch.testing.assert_close(estimate, x - sigma * eps, rtol=1e-4, atol=1e-4)


def test_guidance_extrapolates_from_negative_to_positive(supir):
    batch = Batch(randomise(supir))
    positive, negative = batch.text, supir.encode_prompt(["blurry", "lowres"])
    scales = {"guidance_scale": LinearScale(3.0, 3.0), "control_scale": LinearScale(0.0, 1.0)}
    denoise = guided(supir, batch.z_lq, positive, negative, batch.time_ids, **scales)
    control = 1 - 2.0 / 14.6146
    branches = [
        supir.denoise(batch.noise, 2.2, batch.z_lq, text, batch.time_ids, control_scale=control)
        for text in (negative, positive)
    ]
    expected = branches[0] + 3.0 * (branches[1] - branches[0])
    torch.testing.assert_close(denoise(batch.noise, 2.2, 2.0), expected, rtol=1e-4, atol=1e-4)
    assert (branches[1] - branches[0]).abs().max() > 1e-3


def test_a_ramp_that_starts_at_one_needs_no_second_branch_at_the_largest_sigma(supir, monkeypatch):
    batch = Batch(randomise(supir))
    positive, negative = batch.text, supir.encode_prompt(["blurry", "lowres"])
    scales = {"guidance_scale": LinearScale(1.0, 4.0), "control_scale": LinearScale(1.0, 1.0)}
    denoise = guided(supir, batch.z_lq, positive, negative, batch.time_ids, **scales)
    rows = []
    run = supir.denoise_prepared

    def counted(x, sigma, prepared, control):
        rows.append(len(prepared.context))
        return run(x, sigma, prepared, control)

    monkeypatch.setattr(supir, "denoise_prepared", counted)
    first, second = sampling_sigmas(10).tolist()[:2]
    without = denoise(batch.noise, first, first)
    denoise(batch.noise, second, second)
    assert rows == [len(batch.noise), 2 * len(batch.noise)]
    expected = supir.denoise(batch.noise, first, batch.z_lq, positive, batch.time_ids)
    torch.testing.assert_close(without, expected, rtol=1e-5, atol=1e-5)
