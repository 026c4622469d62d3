from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from supir_infer.images import ImageError
from supir_infer.noise import Noise
from supir_infer.restore import Restorer
from supir_model.sampler import generator_noise


def largest_difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(supir, quick, face):
    restorer = Restorer(supir, quick)
    first, again, other = (restorer.restore(face, "a woman", seed).image for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert largest_difference(first, other) > 20


def test_an_odd_sized_picture_comes_back_at_input_times_upscale(supir, quick, face):
    result = Restorer(supir, quick.model_copy(update={"upscale": 1.5})).restore(face)
    assert face.shape == (100, 97, 3)
    assert result.image.shape == (150, 146, 3)
    assert result.image.dtype == np.uint8
    assert result.sizes.working == (160, 160)


def test_a_picture_does_not_depend_on_its_neighbours_in_a_batch(supir, quick, face):
    restorer = Restorer(supir, quick.model_copy(update={"restore_guidance": 4.0}))
    neighbour = data.coffee()[:100, :97]
    alone = restorer.restore(face, "a woman", 3).image
    together = restorer.restore_batch([neighbour, face], ["a cup of coffee", "a woman"], [9, 3])
    assert largest_difference(together[1].image, alone) <= 1
    assert largest_difference(together[0].image, alone) > 20


def test_captions_of_other_lengths_in_the_batch_and_in_the_tiles_change_nothing_but_rounding(
    supir, quick, face
):
    tiles = quick.model_copy(update={"tile_px": 64, "tile_stride_px": 32, "tile_batch": 3})
    captions = ["a woman", "a cup of coffee on a table " * 12, "a wall " * 80]
    lengths = [supir.encode_prompt([text]).context.shape[1] // 77 for text in captions]
    assert lengths[0] < lengths[1] < lengths[2]
    restorer = Restorer(supir, tiles)
    alone = [restorer.restore(face, caption, seed).image for seed, caption in enumerate(captions)]
    together = restorer.restore_batch([face] * 3, captions, range(3))
    assert together[0].num_tiles == 4
    for result, expected in zip(together, alone, strict=True):
        assert largest_difference(result.image, expected) <= 1
    assert largest_difference(alone[0], alone[1]) > 20


def test_pictures_of_different_working_sizes_are_no_batch(supir, quick, face):
    with pytest.raises(ValueError, match=r"working sizes \[\(96, 96\), \(64, 64\)\] differ"):
        Restorer(supir, quick).restore_batch([face, face[:64, :64]], ["", ""], [0, 0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_draws_the_noise_of_the_cpu(supir, quick, face):
    from copy import deepcopy

    on_cpu = Restorer(supir, quick).restore(face, seed=3).image
    on_gpu = Restorer(deepcopy(supir).to("cuda"), quick).restore(face, seed=3).image
    assert largest_difference(on_cpu, on_gpu) <= 2


def test_an_array_a_float_array_and_a_pil_image_are_the_same_picture(supir, quick, face):
    restorer = Restorer(supir, quick)
    from_bytes = restorer.restore(face).image
    assert np.array_equal(from_bytes, restorer.restore(Image.fromarray(face)).image)
    assert np.array_equal(from_bytes, restorer.restore(face.astype(np.float32) / 255).image)
    with pytest.raises(ImageError, match=r"an array of shape \(100, 97\) is no RGB picture"):
        restorer.restore(face[..., 0])


@pytest.mark.parametrize(
    "change",
    [
        {"control_scale": 0.2},
        {"control_scale_start": 0.0},
        {"restore_guidance": 2.0},
        {"guidance_scale": 6.0},
        {"guidance_scale_start": None},
        {"s_churn": 0.0},
        {"s_noise": 1.1},
        {"steps": 4},
        {"start_sigma": 1.0},
        {"sampler": "dpmpp_2m_sde"},
        {"colour_fix": "adain"},
        {"colour_fix": "none"},
        {"positive_suffix": ""},
        {"negative_prompt": "a cat"},
        {"size_condition": 1024},
        {"tile_px": 64, "tile_stride_px": 32},
        {"snap_px": 64},
        {"min_size_px": 128},
    ],
)
def test_every_setting_acts(supir, quick, face, change):
    # tiny's random connectors answer to size, text and control, so a setting that is not wired up shows
    start = quick.model_copy(update={"guidance_scale": 3.0})
    before = Restorer(supir, start).restore(face).image
    after = Restorer(supir, start.model_copy(update=change)).restore(face).image
    assert not np.array_equal(before, after)


def test_the_caption_and_the_low_quality_picture_decide_the_result(supir, quick, face):
    restorer = Restorer(supir, quick.model_copy(update={"colour_fix": "none"}))
    result = restorer.restore(face, "a woman.")
    assert result.prompt.startswith("a woman. Cinematic, high contrast")
    assert not np.array_equal(result.image, restorer.restore(face, "a dog").image)
    assert not np.array_equal(result.image, restorer.restore(face[::-1].copy(), "a woman.").image)


def test_little_noise_on_the_latent_gives_the_stage_one_image(supir, quick, face):
    lq = torch.from_numpy(face[:96, :96].copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    noise = Noise(*(generator_noise([torch.Generator().manual_seed(seed)]) for seed in range(3)))
    with torch.no_grad():
        stage_one = supir.decode(supir.encode_lq(lq))
        words = supir.encode_prompt(["a", "b"])

    def distance(start_sigma: float) -> float:
        settings = quick.model_copy(
            update={"steps": 1, "start_sigma": start_sigma, "colour_fix": "none", "restore_guidance": 0.0}
        )
        restored = Restorer(supir, settings).restore_tensor(lq, words[:1], words[1:], noise)
        return float((restored - stage_one).abs().mean())

    assert distance(0.03) < 0.1 * distance(1.0)
    assert distance(0.03) > 0


def test_a_low_start_takes_no_more_steps_than_there_are_noise_levels(supir, quick, face):
    seen = []
    settings = quick.model_copy(update={"steps": 20, "start_sigma": 0.0413})
    Restorer(supir, settings).restore(face, on_step=lambda step: seen.append(step.index))
    assert seen == [0, 1]


def test_strong_restoration_guidance_pulls_the_sample_to_the_stage_one_latent(supir, quick, face):
    settings = quick.model_copy(
        update={"steps": 8, "colour_fix": "none", "restore_guidance": 0.01, "s_churn": 0.0}
    )
    restorer = Restorer(supir, settings)
    lq = torch.from_numpy(face[:96, :96].copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        stage_one = supir.decode(supir.encode_lq(lq))
    zeros = Noise(torch.zeros_like, torch.zeros_like, torch.zeros_like)
    with torch.no_grad():
        conditioning = supir.encode_prompt(["a", "b"])
    pulled = restorer.restore_tensor(lq, conditioning[:1], conditioning[1:], zeros)
    free = Restorer(supir, settings.model_copy(update={"restore_guidance": 0.0})).restore_tensor(
        lq, conditioning[:1], conditioning[1:], zeros
    )
    with torch.no_grad():
        target = supir.decode(supir.encode(stage_one))
    assert (pulled - target).abs().mean() < 0.25 * (free - target).abs().mean()


def test_tiles_at_once_change_nothing_but_rounding_and_steps_are_reported(supir, quick, face):
    tiles = quick.model_copy(update={"tile_px": 64, "tile_stride_px": 32})
    seen: list[int] = []
    one = Restorer(supir, tiles).restore(face, on_step=lambda step: seen.append(step.index))
    four = Restorer(supir, tiles.model_copy(update={"tile_batch": 4})).restore(face)
    assert one.num_tiles == 4
    assert largest_difference(one.image, four.image) <= 1
    assert seen == [0, 1, 2]
    assert set(one.timings) == {"encode", "sample", "decode"}
