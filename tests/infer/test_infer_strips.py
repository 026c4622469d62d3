from __future__ import annotations

import math
import os
import tempfile
import weakref

import pytest
import torch
from diffusers import AutoencoderKL

from supir_console import UserError
from supir_infer import RestoreSettings, kl_strips, mini_strips
from supir_infer.codec import Codec
from supir_infer.noise import noise_of
from supir_infer.restore import Restorer
from supir_infer.row_maps import Maps
from supir_infer.row_stream import aligned, convolve, joined_rows, residual, split_rows
from supir_model.mini_vae import MiniVAE


def drawn(*shape: int, seed: int = 5) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def kl() -> AutoencoderKL:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoencoderKL(
            block_out_channels=(16, 32, 32, 32),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
            norm_num_groups=8,
        )
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def mini() -> MiniVAE:
    """Its learned path acts: a fresh one's ends in zeros."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MiniVAE(latent_channels=8, block_out_channels=(8, 16, 32), robust_layers=(3, 4))
        for parameter in model.parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model.eval().requires_grad_(False)


def error(found: torch.Tensor, whole: torch.Tensor) -> float:
    """Largest error, of the largest value."""
    return float((found - whole).abs().max() / whole.abs().max())


@pytest.mark.parametrize(
    ("kernel", "stride", "pads"), [(3, 1, None), (3, 2, None), (1, 1, None), (3, 2, (0, 1)), (5, 3, None)]
)
@pytest.mark.parametrize("rows", [1, 3, 7, 100])
def test_a_convolution_of_rows_is_that_of_the_map(kernel, stride, pads, rows):
    conv = torch.nn.Conv2d(3, 4, kernel, stride, kernel // 2).requires_grad_(False)
    whole = drawn(1, 3, 18, 20)
    before, after = pads or (kernel // 2, kernel // 2)
    padded = torch.nn.functional.pad(whole, (before, after, before, after))
    expected = torch.nn.functional.conv2d(padded, conv.weight, conv.bias, stride)
    found = joined_rows(convolve(split_rows(whole, rows), conv, pads), expected.shape[2])
    assert error(found, expected) < 1e-6


def test_streams_that_are_cut_elsewhere_meet_row_by_row():
    whole = drawn(1, 2, 17, 3)
    pairs = list(aligned(split_rows(whole, 5), split_rows(whole, 3)))
    assert [left.shape[2] for left, _ in pairs] == [5, 5, 5, 2]
    assert all(torch.equal(left, right) for left, right in pairs)


def test_maps_of_different_heights_do_not_meet():
    for heights in ((6, 8), (8, 6)):
        first, second = (split_rows(drawn(1, 2, height, 3), 4) for height in heights)
        with pytest.raises(AssertionError, match="two maps of different heights"):
            list(aligned(first, second))


@pytest.fixture
def deep() -> list[torch.nn.Conv2d]:
    return [torch.nn.Conv2d(2, 2, 3, 1, 1).requires_grad_(False) for _ in range(24)]


def test_a_deep_network_is_passed_in_about_as_many_strips_as_it_is_given(deep):
    strips = split_rows(drawn(1, 2, 128, 5), 32)
    for first, second in zip(deep[::2], deep[1::2], strict=True):
        strips = residual(strips, first, second)
    heights = [strip.shape[2] for strip in strips]
    assert sum(heights) == 128
    assert len(heights) <= 6


def test_between_two_strips_a_deep_network_holds_rows_and_no_strips(deep):
    given = []

    def noted(strip: torch.Tensor) -> torch.Tensor:
        given.append(weakref.ref(strip))
        return strip

    made = map(noted, split_rows(drawn(1, 2, 640, 5), 32))
    for first, second in zip(deep[::2], deep[1::2], strict=True):
        made = residual(made, first, second)
    for _ in range(15):
        next(made)
    assert len(given) >= 15
    assert [index for index, strip in enumerate(given) if strip() is not None] == []


@pytest.mark.parametrize(("rows", "most_bytes"), [(1, None), (8, 0), (40, 200_000), (500, None)])
def test_an_autoencoder_in_strips_is_the_whole_one(kl, rows, most_bytes):
    image, latent = drawn(1, 3, 72, 104), drawn(1, 4, 9, 13)
    moments = kl_strips.encode_moments(kl, kl.encoder, image, rows, Maps(most_bytes))
    assert error(moments, kl.encode(image).latent_dist.parameters) < 1e-5
    assert error(kl_strips.decode(kl, latent, rows, Maps(most_bytes)), kl.decode(latent).sample) < 1e-5


@pytest.mark.parametrize("rows", [1, 8, 24, 500])
def test_a_mini_autoencoder_in_strips_is_the_whole_one(mini, rows):
    image, latent, robust = drawn(1, 3, 160, 104), drawn(1, 8, 20, 13), mini.new_robust_encoder()
    for parameter in robust.requires_grad_(False).parameters():
        parameter.data.add_(0.1 * drawn(*parameter.shape))
    moments = mini_strips.encode_moments(mini, robust, image, rows)
    assert error(moments, mini.quant_conv(robust(image))) < 1e-5
    assert error(mini_strips.decode(mini, latent, rows), mini.decode(latent).sample) < 1e-5


def test_the_statistics_are_those_of_the_whole_map_not_of_a_strip(kl):
    # bright upper, dark lower half: strip statistics would normalise the difference away
    latent = torch.cat([torch.full((1, 4, 4, 8), 2.0), torch.full((1, 4, 4, 8), -2.0)], dim=2)
    whole = kl.decode(latent).sample
    halves = torch.cat([kl.decode(half).sample for half in latent.chunk(2, dim=2)], dim=2)
    assert (halves - whole).abs().max() > 0.05
    assert (kl_strips.decode(kl, latent, 8, Maps(None)) - whole).abs().max() < 1e-4


def test_statistics_far_from_zero_lose_nothing():
    moments = kl_strips._Moments(2)
    whole = drawn(1, 8, 40, 30) * 0.01 + 50
    for strip in split_rows(whole, 7):
        moments.add(strip)
    expected_variance, expected_mean = torch.var_mean(whole.double().reshape(2, -1), dim=1, correction=0)
    mean, variance = moments.mean_and_variance()
    assert torch.allclose(mean, expected_mean, rtol=1e-6, atol=0)
    assert torch.allclose(variance, expected_variance, rtol=1e-4, atol=0)


def test_maps_beyond_their_memory_lie_in_files_that_go_with_them(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    maps, whole = Maps(4 * 6 * 5 * 4), drawn(1, 4, 6, 5)
    before = len(os.listdir("/proc/self/fd"))
    first, second = (maps.new(4, 6, 5, torch.float32) for _ in range(2))
    assert len(os.listdir("/proc/self/fd")) == before + 1
    for top in (0, 2, 4):
        second.write(top, whole[:, :, top : top + 2])
    assert torch.equal(joined_rows(second.read(4, torch.device("cpu")), 6), whole)
    del first, second
    assert len(os.listdir("/proc/self/fd")) == before
    assert not list(tmp_path.iterdir())
    assert maps.new(4, 6, 5, torch.float32)._file is None


def test_a_map_that_finds_no_room_is_one_line(monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"a map of 4\.0 GiB finds no room in .*; set TMPDIR"):
        Maps(0).new(256, 2048, 2048, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_map_in_a_file_keeps_every_bit(dtype):
    whole = drawn(1, 4, 6, 5).to(dtype)
    stored = Maps(0).new(4, 6, 5, dtype)
    stored.write(0, whole)
    assert torch.equal(joined_rows(stored.read(2, torch.device("cpu")), 6), whole)


def test_a_restoration_in_strips_is_the_whole_one(supir, quick, face):
    whole = Restorer(supir, quick).restore(face).image.astype(int)
    strips = Restorer(supir, quick.model_copy(update={"vae_strip_px": 16})).restore(face).image.astype(int)
    assert abs(strips - whole).max() <= 1


def test_pictures_of_a_batch_are_each_their_own(supir):
    latent = drawn(2, 8, 6, 7)
    found = Codec(supir, 16).decode(latent)
    assert torch.equal(found[1:], Codec(supir, 16).decode(latent[1:]))
    assert error(found, supir.decode(latent)) < 1e-5


def seam_ratio(image: torch.Tensor, period_px: int) -> float:
    """The gradient across the rows and columns where a tile ends, of that across other borders of latent pixels."""
    means = []
    for side in (image, image.transpose(-1, -2)):
        steps = side.diff(dim=-1).abs().mean(dim=(0, 1, 2))[7::8]  # those between two latent pixels
        ends = torch.arange(1, len(steps) + 1) * 8 % period_px == 0
        means.append((steps[ends].mean(), steps[~ends].mean()))
    at_ends, elsewhere = (math.fsum(map(float, values)) for values in zip(*means, strict=True))
    return at_ends / elsewhere


def test_tiles_leave_no_seam(supir):
    settings = RestoreSettings(
        steps=2, tile_px=64, tile_stride_px=32, tile_batch=16, colour_fix="none", restore_guidance=0.0
    )
    restorer = Restorer(supir, settings)
    lq = drawn(1, 3, 256, 384).clamp(-1, 1)
    texts = restorer._texts.encode(["a field"])
    image = restorer.restore_tensor(lq, texts, texts, noise_of([3]))
    assert len(restorer.windows((384, 256))) == 7 * 11
    assert seam_ratio(image, 32) < 1.02
    planted = image + 2 * image.std() * (torch.arange(384) // 32 % 2)
    assert seam_ratio(planted, 32) > 1.02
