"""The batched replay beside the one of single images: the same numbers, the same noise but for its bits, any batch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import get_args

import cv2
import numpy as np
import pytest
import torch
from scipy import stats
from skimage import data
from torch._subclasses import FakeTensorMode

from supir_console import UserError
from supir_degrade import RECIPES, Trace, batch_noise, draw, load_recipe, replay, sample_generator
from supir_degrade import trace as ops
from supir_degrade.batch import batched_call, replay_batch
from supir_degrade.batch_canvas import COLUMNS, ROWS, mix
from supir_degrade.batch_jpeg import jpeg
from supir_degrade.codecs import jpeg as libjpeg
from supir_degrade.pipeline import apply_op
from supir_degrade.trace import Op

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
SIZES = ((96, 80), (57, 64), (9, 5), (130, 41))
BLUR = {"kernel": "aniso", "size": 21, "sigma_x": 2.8, "sigma_y": 0.7}
OPERATIONS: dict[str, tuple[list[Op], float]] = {
    "separable": (
        [
            ops.Blur(kernel="iso", size=s, sigma_x=x, sigma_y=x)
            for s, x in ((21, 2.8), (7, 0.3), (9, 3), (15, 1))
        ],
        1e-6,
    ),
    "turned": ([ops.Blur(**BLUR, rotation=angle) for angle in (0.4, -0.4, 1.2, 2.9)], 2e-6),
    "sinc": ([ops.Sinc(size=s, cutoff=w) for s, w in ((21, 0.9), (7, 1.2), (13, 2), (15, 3))], 4e-6),
    "defocus": ([ops.Defocus(radius_px=radius) for radius in (0.8, 2, 4, 3.1)], 1e-6),
    "motion": ([ops.Motion(length_px=px, angle=px / 5) for px in (15, 3, 7.5, 11)], 1e-6),
    # No picture of 8 bits lies exactly upon this threshold, where rounding would decide what is sharpened.
    "sharpen": (
        [ops.Sharpen(weight=w, radius_px=r, threshold=10.03) for w, r in ((0.5, 25), (2, 1), (1, 3), (2, 4))],
        1e-6,
    ),
}
for kind in get_args(ops.Interpolation):
    targets = ((24, 27), (61, 100), (12, 3), (131, 40))
    resizes: list[Op] = [ops.Resize(height=h, width=w, interpolation=kind) for h, w in targets]
    OPERATIONS[kind] = (resizes, 2e-5)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other over crops of 64 px are all that more of them would add."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    """Eight crops of four photos: uint8 (8, 64, 64, 3)."""
    photos = (data.astronaut(), data.coffee(), data.chelsea(), data.rocket())
    return np.stack([photo[y : y + 64, 90 + y : 154 + y] for photo in photos for y in (80, 200)])


def _tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)


def _pictures(photo: np.ndarray) -> list[np.ndarray]:
    return [photo[60 : 60 + h, 170 : 170 + w].astype(np.float32) / np.float32(255) for h, w in SIZES]


def _trace(*operations: Op, side: int = 64) -> Trace:
    return Trace(recipe="test", height=side, width=side, ops=operations)


def _traces(recipe: str, count: int, side: int = 64) -> list[Trace]:
    loaded = load_recipe(recipe)
    return [draw(loaded, (side, side), sample_generator(4, "batch", number)) for number in range(count)]


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_gives_the_numbers_of_the_single_path(astronaut: np.ndarray, name: str) -> None:
    operations, tolerance = OPERATIONS[name]
    pictures = _pictures(astronaut)
    calls = [batched_call(op) for op in operations]
    run = calls[0][0]
    assert {call for call, _ in calls} == {run}
    results = run(
        [torch.from_numpy(p).permute(2, 0, 1) for p in pictures], [argument for _, argument in calls]
    )
    for picture, op, result in zip(pictures, operations, results, strict=True):
        np.testing.assert_allclose(result.permute(1, 2, 0), apply_op(picture, op), rtol=0, atol=tolerance)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_jpeg_is_that_of_libjpeg_to_the_last_bit(astronaut: np.ndarray, subsampling: ops.Subsampling) -> None:
    grain = np.random.default_rng(0).choice(np.float32([0, 0.4, 1]), (33, 50, 3))
    pictures = [*_pictures(astronaut), grain, grain[:17, :3], grain[:1, :1]]
    for qualities in ((30, 95, 75, 50, 49, 90, 60), (100, 1, 5, 88, 20, 12, 3)):
        coded = jpeg(
            [torch.from_numpy(p).permute(2, 0, 1) for p in pictures], qualities, subsampling=subsampling
        )
        for picture, quality, result in zip(pictures, qualities, coded, strict=True):
            expected = libjpeg(picture, quality=quality, subsampling=subsampling, progressive=quality > 80)
            np.testing.assert_array_equal(result.permute(1, 2, 0), expected)


def test_gaussian_noise_has_its_sigma_and_gray_is_gray() -> None:
    gray_level = torch.full((2, 3, 256, 256), 128, dtype=torch.uint8)
    traces = [_trace(ops.GaussianNoise(sigma=20, gray=gray, seed=5), side=256) for gray in (False, True)]
    noise = replay_batch(gray_level, traces).float() - 128
    # Rounding to 8 bits adds 1/12; a mean of 65 536 or 196 608 normal numbers.
    assert noise.std(dim=(1, 2, 3)).tolist() == pytest.approx([(400 + 1 / 12) ** 0.5] * 2, rel=0.01)
    assert noise.mean(dim=(1, 2, 3)).tolist() == pytest.approx([0, 0], abs=0.3)
    assert torch.equal(noise[1, 0], noise[1, 2])
    assert abs(np.corrcoef(noise[0, 0].flatten(), noise[0, 2].flatten())[0, 1]) < 0.02


@pytest.mark.parametrize(("num_levels", "photons"), [(2, 2), (3, 4), (5, 8), (64, 64)])
def test_poisson_noise_has_the_variance_of_its_photons(num_levels: int, photons: int) -> None:
    image = torch.full((1, 3, 256, 256), 100, dtype=torch.uint8)
    image[:, :, 0, :num_levels] = torch.arange(100, 100 + num_levels, dtype=torch.uint8)
    trace = _trace(ops.PoissonNoise(scale=0.2, gray=False, seed=9), side=256)
    noise = (replay_batch(image, [trace]).float() - image)[:, :, 1:]
    variance = 255**2 * 0.2**2 * (100 / 255) / photons
    assert float(noise.var()) == pytest.approx(variance + 1 / 12, rel=0.03)
    assert float(noise.mean()) == pytest.approx(0, abs=0.2)


def test_gray_poisson_noise_counts_the_luma() -> None:
    image = torch.tensor([40, 110, 60], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 256, 256)
    trace = _trace(ops.PoissonNoise(scale=0.11, gray=True, seed=3), side=256)
    noise = (replay_batch(image, [trace]).int() - image.int())[0]
    assert torch.equal(noise[0], noise[1])
    luma = round(0.2989 * 40 + 0.587 * 110 + 0.114 * 60)
    assert float(noise.float().var()) == pytest.approx(255**2 * 0.11**2 * luma / 255, rel=0.03)


@pytest.mark.parametrize("noise", [ops.GaussianNoise, ops.PoissonNoise])
def test_noise_follows_its_seed(crops: np.ndarray, noise: type[ops.GaussianNoise | ops.PoissonNoise]) -> None:
    amount = {"sigma": 9} if noise is ops.GaussianNoise else {"scale": 1}
    traces = [_trace(noise(seed=seed, gray=False, **amount)) for seed in (7, 8, 7)]
    results = replay_batch(_tensor(crops[[0, 0, 0]]), traces)
    assert torch.equal(results[0], results[2])
    assert not torch.equal(results[0], results[1])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_sample_is_the_same_in_any_batch_order_and_layout(
    crops: np.ndarray, recipe: str, device: str
) -> None:
    images, traces = _tensor(crops).repeat(2, 1, 1, 1).to(device), _traces(recipe, 16)
    together = replay_batch(images, traces)
    assert together.shape == images.shape
    assert together.dtype == torch.uint8
    order = np.random.default_rng(1).permutation(16)
    assert torch.equal(replay_batch(images[order], [traces[number] for number in order]), together[order])
    laid_out = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(replay_batch(laid_out, traces), together)
    for number in range(0, 16, 3):
        alone = replay_batch(images[number : number + 1], traces[number : number + 1])
        assert torch.equal(alone[0], together[number])


@pytest.mark.parametrize("width", [1, 4])
def test_a_narrow_picture_is_mixed_alike_alone_and_in_a_batch(width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    canvas = torch.rand(2, 3, 300, width, generator=generator)
    index = torch.randint(0, 300, (2, 500, 16), generator=generator)
    weight = torch.rand(2, 500, 16, generator=generator)
    together = mix(canvas, index, weight, ROWS)
    assert torch.equal(mix(canvas[:1], index[:1], weight[:1], ROWS), together[:1])
    turned = mix(canvas.transpose(2, 3), index, weight, COLUMNS)
    assert torch.equal(mix(canvas.transpose(2, 3)[:1], index[:1], weight[:1], COLUMNS), turned[:1])


def _measured(image: np.ndarray, original: np.ndarray) -> list[float]:
    """PSNR, dB; change of brightness, of 255; decadic logarithm of the energy of what a blur takes away."""
    difference = image.astype(np.float64) - original
    fine = image.astype(np.float32) - cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.5)
    psnr = 10 * np.log10(255**2 / max(np.mean(difference**2), 0.01))
    return [psnr, difference.mean(), np.log10(np.mean(fine**2) + 0.01)]


def test_both_paths_draw_from_one_distribution(crops: np.ndarray) -> None:
    traces, single, batched = _traces("realesrgan", 240), [], []
    images = np.tile(crops, (30, 1, 1, 1))
    for start in range(0, 240, 48):
        part = slice(start, start + 48)
        results = replay_batch(_tensor(images[part]), traces[part]).permute(0, 2, 3, 1).numpy()
        batched += [_measured(*pair) for pair in zip(results, images[part], strict=True)]
    single = [_measured(replay(*pair), pair[0]) for pair in zip(images, traces, strict=True)]
    for ours, theirs in zip(np.array(batched).T, np.array(single).T, strict=True):
        assert stats.ks_2samp(ours, theirs).pvalue > 1e-3
        # The draws are the same on both sides, so that the pairs tell apart far less than the distributions.
        assert stats.ttest_1samp(ours - theirs, 0).pvalue > 1e-3


def test_without_noise_both_paths_agree_to_a_rounding(crops: np.ndarray) -> None:
    traces = [
        trace.model_copy(update={"ops": tuple(op for op in trace.ops if not op.op.endswith("noise"))})
        for trace in _traces("light", 8)
    ]
    results = replay_batch(_tensor(crops), traces).permute(0, 2, 3, 1).numpy()
    expected = np.stack([replay(image, trace) for image, trace in zip(crops, traces, strict=True)])
    assert np.abs(results.astype(int) - expected).mean() < 0.01


def test_what_has_no_batched_form_takes_the_single_path(crops: np.ndarray) -> None:
    traces = [
        _trace(ops.Webp(quality=40, method=2)),
        _trace(ops.CameraNoise(shot=0.01, read_sigma=0.01, seed=1)),
    ]
    results = replay_batch(_tensor(crops[:2]), traces).permute(0, 2, 3, 1).numpy()
    for result, image, trace in zip(results, crops, traces, strict=False):
        np.testing.assert_array_equal(result, replay(image, trace))


def test_an_empty_batch_and_a_clean_sample_come_back_as_they_are(crops: np.ndarray) -> None:
    images = _tensor(crops[:2])
    assert torch.equal(replay_batch(images, [_trace(), _trace()]), images)
    assert replay_batch(images[:0], []).shape == (0, 3, 64, 64)


def test_wrong_batches_are_refused_with_what_is_wrong(crops: np.ndarray) -> None:
    images, traces = _tensor(crops[:2]), [_trace(), _trace()]
    with pytest.raises(UserError, match=r"torch.float32 \(2, 3, 64, 64\); give torch.uint8 \(B, 3, H, W\)"):
        replay_batch(images.float(), traces)
    with pytest.raises(UserError, match=r"torch.uint8 \(2, 64, 64, 3\); give"):
        replay_batch(torch.from_numpy(crops[:2]), traces)
    with pytest.raises(UserError, match="1 traces for 2 images; give one trace an image"):
        replay_batch(images, traces[:1])
    with pytest.raises(UserError, match="trace 1 was drawn for 32 x 32 px, the images are 64 x 64"):
        replay_batch(images, [_trace(), _trace(side=32)])


def test_on_a_gpu_every_tensor_is_there_and_no_value_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors without values, of a GPU that need not exist: a mixed device or a value read back raises."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(batch_noise, "_generator", lambda _seed, _device: None)
    noise = [ops.GaussianNoise(sigma=9, gray=True, seed=1), ops.PoissonNoise(scale=1, gray=True, seed=1)]
    files = [ops.Jpeg(quality=50, subsampling=kind) for kind in get_args(ops.Subsampling)]
    every = [given[0] for given, _ in OPERATIONS.values()]
    traces = [_trace(*every, *noise, *files, ops.Resize(height=64, width=64, interpolation="area"))] * 2
    with FakeTensorMode():
        images = torch.empty(2, 3, 64, 64, dtype=torch.uint8, device="cuda")
        results = replay_batch(images, traces)
    assert results.device == torch.device("cuda:0")
    assert results.shape == images.shape


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_host_never_waits_for_the_gpu(crops: np.ndarray) -> None:
    images, traces = _tensor(crops).cuda(), _traces("realesrgan", 8)
    torch.cuda.set_sync_debug_mode("error")
    try:
        results = replay_batch(images, traces)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert results.device == images.device


def test_the_single_path_needs_no_torch() -> None:
    script = (
        "import sys, numpy as np; from supir_degrade import *; rng = sample_generator(0, 'k', 0); "
        "degrade(np.zeros((64, 64, 3), np.uint8), load_recipe('light'), rng); print('torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"
