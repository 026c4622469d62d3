"""Each term of the losses against its closed form, and the discriminator's memory over a stop."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from train_lines import without_times

from supir_console import load_config
from supir_quality.lpips_weights import load_lpips
from supir_train import TrainConfig
from supir_train.adversary import Adversary
from supir_train.image_noise import ImageNoise, image_noise
from supir_train.loss_config import AdversaryConfig, EncoderLossConfig, ImageLossConfig, NoiseLossConfig
from supir_train.losses import (
    ImageLoss,
    Perceptual,
    difference_profile,
    gradient_distance,
    grid_distance,
    grid_lines,
    perceptual_share,
    pixel_distance,
    spectrum_distance,
)
from supir_train.metrics import Means
from supir_train.micro_batch import StepSplit
from supir_train.run import prepare, train
from supir_train.world import ALONE


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int, seed: int = 0) -> ImageNoise:
    return image_noise(seed, "test", range(count), images_a_step=count)


def lesson(adversary: Adversary, count: int) -> dict[str, float]:
    means = Means(ALONE)
    adversary.learn(ALONE, count, means, StepSplit(count, 1, 64, ALONE))
    return means.take()


def images(side: int = 64, count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    photo = torch.rand(count, 3, side, side, generator=generator()) * 2 - 1
    return (photo + 0.3 * torch.randn(photo.shape, generator=generator(1))).clamp(-1, 1), photo


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("l1", 0.3), ("mse", 0.09), ("huber", 0.1 * (0.3 - 0.05))],
)
def test_pixel_distances_of_a_constant_error(kind, expected):
    photo = torch.rand(2, 3, 8, 8, generator=generator())
    config = ImageLossConfig(pixel_distance=kind, huber_delta=0.1)
    assert float(pixel_distance(photo + 0.3, photo, config)) == pytest.approx(expected, rel=1e-5)


def test_huber_is_half_the_square_within_delta():
    config = ImageLossConfig(pixel_distance="huber", huber_delta=0.5)
    photo = torch.zeros(1, 3, 4, 4)
    assert float(pixel_distance(photo + 0.2, photo, config)) == pytest.approx(0.02, rel=1e-6)


def test_gradient_distance_sees_a_ramp_and_no_shift_of_brightness():
    photo = torch.rand(1, 3, 8, 8, generator=generator())
    ramp = 0.1 * torch.arange(8.0)
    assert float(gradient_distance(photo + 0.4, photo)) == pytest.approx(0, abs=1e-6)
    assert float(gradient_distance(photo + ramp, photo)) == pytest.approx(0.05, rel=1e-4)


def test_spectrum_distance_of_a_wave_is_its_two_lines():
    side, amplitude = 16, 0.5
    wave = amplitude * torch.cos(2 * math.pi * 3 * torch.arange(side) / side).expand(1, 1, side, side)
    # of the half spectrum's 16 · 9 entries one is not zero: amplitude · side² / 2 over side (orthonormal)
    expected = amplitude * side / 2 / (side * (side // 2 + 1))
    assert float(spectrum_distance(wave, torch.zeros_like(wave))) == pytest.approx(expected, rel=1e-5)


def test_the_profile_of_steps_at_blocks_is_all_in_the_column_before_them():
    steps = torch.arange(64).div(8, rounding_mode="floor").float().expand(1, 3, 64, 64)
    # 7 of the 63 differences are 1, all in column 7, whose mean over its 7 differences is 1 and that of all columns 1/8
    assert difference_profile(steps)[0].tolist() == pytest.approx([0] * 7 + [8], abs=0.1)
    assert difference_profile(steps.mT).tolist() == [[0] * 8]


@pytest.mark.parametrize("line", [1, 2, 3])
def test_a_wave_of_the_grid_stands_out_of_white_noise_by_its_power(line):
    side, amplitude, deviation = 128, 0.2, 0.1
    photo = deviation * torch.randn(4, 1, side, side, generator=generator()).expand(4, 3, side, side)
    wave = amplitude * torch.cos(2 * math.pi * line * torch.arange(side) / 8)
    # |amplitude · side / 2|² / side of the wave beside the deviation's square of the noise, each row's frequency
    expected = math.log(1 + amplitude**2 * side / 4 / (deviation**2 + 1e-4))
    excess = grid_lines(photo + wave) - grid_lines(photo)
    assert excess[:, line - 1].mean() == pytest.approx(expected, rel=0.05)
    others = [number for number in range(3) if number != line - 1]
    assert excess[:, others].abs().max() < 0.05


def test_a_grid_is_seen_in_either_direction_and_where_the_photo_has_it_is_none():
    photo = images(128)[1]
    grid = 0.2 * (torch.arange(128) % 8 == 0).float()
    down = float(grid_distance(photo + grid[:, None], photo))
    assert float(grid_distance(photo + grid, photo)) == pytest.approx(down, rel=0.2)
    assert down > 0.05
    assert float(grid_distance(photo + grid, photo + grid)) == 0
    flat = torch.zeros(1, 3, 64, 64, requires_grad=True)
    grid_distance(flat, torch.zeros_like(flat)).backward()
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()


def test_a_finer_grid_is_seen_at_its_own_period():
    photo = images(128)[1]
    grid = 0.2 * (torch.arange(128) % 4 == 0).float()
    assert float(grid_distance(photo + grid, photo, 4)) > 0.05
    assert difference_profile(photo, 4).shape == (2, 4)
    assert grid_lines(photo, 4).shape == (2, 1)
    wave = 0.2 * torch.cos(2 * math.pi * torch.arange(128) / 4)
    assert float((grid_lines(photo + wave, 4) - grid_lines(photo, 4)).min()) > 1


@pytest.mark.parametrize("backbone", ["alex", "vgg"])
def test_perceptual_distance_is_that_of_the_lpips_package(backbone):
    image, photo = images()
    network, _ = load_lpips(backbone)
    with torch.no_grad():
        expected = network(image, photo).flatten()
        assert Perceptual(backbone)(image, photo).tolist() == pytest.approx(expected.tolist(), rel=1e-5)
        assert not Perceptual(backbone)(photo, photo).any()
    assert expected.min() > 0.01


def test_perceptual_gradient_is_a_number_on_a_black_picture():
    image = torch.full((1, 3, 64, 64), -1.0, requires_grad=True)
    photo = images()[1][:1]
    Perceptual("alex")(image, photo).sum().backward()
    assert image.grad is not None
    assert torch.isfinite(image.grad).all()
    assert image.grad.abs().max() > 0


def test_the_image_loss_is_the_weighted_sum_over_scales():
    image, photo = images()
    config = ImageLossConfig(pixel_weight=2.0, gradient_weight=3.0, spectrum_weight=5.0, scales=2)
    total, terms = ImageLoss(config, None)(image, photo, noise(2))
    half = [functional.avg_pool2d(value, 2) for value in (image, photo)]
    pixel = (functional.l1_loss(image, photo) + functional.l1_loss(*half)) / 2
    gradient = (gradient_distance(image, photo) + gradient_distance(*half)) / 2
    spectrum = spectrum_distance(image, photo)
    assert set(terms) == {"pixel", "gradient", "spectrum"}
    assert float(total) == pytest.approx(float(2 * pixel + 3 * gradient + 5 * spectrum), rel=1e-6)


def test_perceptual_windows_move_and_zoom_and_are_keyed():
    image, photo = images()
    loss = ImageLoss(ImageLossConfig(pixel_weight=0, lpips_alex_weight=0.5, lpips_vgg_weight=0.25), None)
    with torch.no_grad():
        found = [loss(image, photo, noise(2, seed)) for seed in (0, 0, 1)]
        nothing, _ = loss(photo, photo, noise(2))
    (total, terms), again, elsewhere = found
    assert float(total) == pytest.approx(
        float((0.5 * terms["lpips_alex"] + 0.25 * terms["lpips_vgg"]).mean()), rel=1e-6
    )
    for name in ("lpips_alex", "lpips_vgg"):
        assert torch.equal(again[1][name], terms[name])
        assert not torch.equal(elsewhere[1][name], terms[name])
    assert float(nothing) == 0


def test_an_image_is_looked_at_where_its_own_noise_says_whatever_its_batch():
    image, photo = images(count=4)
    loss = ImageLoss(ImageLossConfig(pixel_weight=0, lpips_alex_weight=0.5, lpips_vgg_weight=0.25), None)
    halves = [slice(0, 2), slice(2, 4)]
    with torch.no_grad():
        whole, _ = loss(image, photo, noise(4))
        parts = [
            loss(image[half], photo[half], image_noise(0, "test", range(4)[half], images_a_step=4))[0]
            for half in halves
        ]
    assert float(sum(parts) / 2) == pytest.approx(float(whole), rel=1e-5)


def test_where_little_is_wrong_what_the_networks_say_counts_by_the_squared_error():
    photo = torch.zeros(3, 3, 64, 64)
    given = photo + torch.tensor([0.5, 0.2, 0.02])[:, None, None, None]  # 12, 20 and 40 dB
    shares = perceptual_share(given, photo, EncoderLossConfig(faithful_above_db=20))
    assert shares is not None
    assert shares.tolist() == pytest.approx([1, 1, 0.01], rel=1e-3)
    assert perceptual_share(given, photo, EncoderLossConfig()) is None


def test_the_share_weighs_what_the_networks_say_of_each_image_and_no_pixel():
    image, photo = images()
    config = ImageLossConfig(pixel_weight=2.0, lpips_alex_weight=0.5)
    with torch.no_grad():
        total, terms = ImageLoss(config, None)(
            image, photo, noise(2), perceptual_share=torch.tensor([1.0, 0.25])
        )
    first, second = (0.5 * terms["lpips_alex"]).tolist()
    assert float(total) == pytest.approx(float(2 * terms["pixel"]) + (first + second / 4) / 2, rel=1e-6)


def test_the_discriminator_learns_by_the_hinge_loss_and_only_when_told():
    image, photo = images()
    adversary = Adversary(AdversaryConfig(weight=0.1, warmup_steps=1, channels=4), seed=0)
    before = {name: value.clone() for name, value in adversary.network.state_dict().items()}
    with torch.no_grad():
        judged = adversary.judge(image, photo)
        assert judged.shape == (2,)
        assert float(judged.mean()) == pytest.approx(-float(adversary.network(image).mean()))
    image.requires_grad_(True)
    adversary.judge(image, photo).sum().backward()
    assert image.grad is not None
    assert image.grad.abs().max() > 0
    unmoved = adversary.network.state_dict()
    assert all(torch.equal(value, unmoved[name]) for name, value in before.items())
    assert adversary.weight == 0
    figures = lesson(adversary, 2)
    assert adversary.weight == 0.1
    hinge = max(0.0, 1 - float(figures["adversary_photo"])) + max(0.0, 1 + float(figures["adversary_image"]))
    # the means stand inside the margin, where the hinge is linear
    assert float(figures["adversary_loss"]) == pytest.approx(hinge, abs=1e-4)
    moved = adversary.network.state_dict()
    assert any(not torch.equal(value, moved[name]) for name, value in before.items())


def test_the_discriminator_tells_noise_from_photos_after_some_lessons():
    image, photo = images(count=4)
    adversary = Adversary(AdversaryConfig(weight=1.0, channels=8, lr=1e-3), seed=0)
    losses = []
    for _ in range(60):
        adversary.judge(functional.avg_pool2d(image, 5, 1, 2), photo)
        losses.append(lesson(adversary, 4)["adversary_loss"])
    assert losses[0] == pytest.approx(2.0, abs=0.3)
    assert losses[-1] < 0.5 * losses[0]


ROBUST_FILE = "model/robust_encoder/diffusion_pytorch_model.safetensors"
ADVERSARIAL = {
    "encoder__adversary": "{weight: 0.1, warmup_steps: 2, channels: 4}",
    "encoder__lpips_alex_weight": 0.5,
    "optimize__micro_batch": 4,
}


def test_a_stopped_run_with_a_discriminator_goes_on_bit_for_bit(configure, tmp_path):
    straight = configure("encoder", tmp_path / "straight", optimize__steps=5, **ADVERSARIAL)
    broken = configure("encoder", tmp_path / "broken", optimize__steps=5, **ADVERSARIAL)
    train(prepare(straight))
    assert train(prepare(broken), should_stop=lambda steps: steps == 3).model is None
    train(prepare(broken))
    ours, theirs = (load_file(run.run / ROBUST_FILE) for run in (straight, broken))
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    lines, again = (without_times(run.run) for run in (straight, broken))
    assert lines == again
    line = lines[2]
    assert {"lpips_alex", "adversarial", "adversary_loss", "adversary_photo", "adversary_image"} <= set(line)


def test_a_discriminator_learns_alike_from_any_split_of_a_step(configure, tmp_path):
    curves = []
    for micro in (8, 2):
        keys = ADVERSARIAL | {"optimize__micro_batch": micro}
        config = configure("encoder", tmp_path / str(micro), optimize__steps=5, **keys)
        train(prepare(config))
        curves.append(
            [
                [line[name] for name in ("loss", "adversary_loss")]
                for line in without_times(config.run)
                if "lr" in line
            ]
        )
    torch.testing.assert_close(torch.tensor(curves[1]), torch.tensor(curves[0]), rtol=1e-4, atol=1e-6)


def test_the_papers_stages_have_no_term_of_ours_by_default():
    config = load_config(TrainConfig, None, ["stage=encoder", "run=r", "data.dataset=d"])
    for losses in (config.encoder, config.autoencoder):
        weights = (
            losses.lpips_alex_weight,
            losses.lpips_vgg_weight,
            losses.spectrum_weight,
            losses.grid_weight,
        )
        assert (*weights, losses.adversary.weight) == (0, 0, 0, 0, 0)
    assert config.noise == NoiseLossConfig()
