"""SUPIR in diffusers: the same pixels, and what people expect of every pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
)
from PIL import Image

from supir_infer import RestoreSettings
from supir_infer.pipeline import SupirPipeline
from supir_infer.restore import Restorer
from supir_model import Supir, load_supir

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
PIXEL = 1 / 255


@pytest.fixture(scope="module")
def pipe(supir: Supir) -> SupirPipeline:
    made = SupirPipeline.from_supir(supir)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def folder(pipe: SupirPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pipeline") / "model"
    pipe.save_pretrained(path)
    return path


@pytest.fixture
def lq(face: np.ndarray) -> Image.Image:
    return Image.fromarray(face).resize((64, 64))


def restored(
    pipe: DiffusionPipeline, image: object, settings: RestoreSettings, **options: object
) -> np.ndarray:
    return pipe(image, "a woman", settings=settings, seed=3, output_type="np", **options).images


def expected(supir: Supir, image: object, settings: RestoreSettings) -> np.ndarray:
    return Restorer(supir, settings).restore(image, "a woman", seed=3).image[None] / 255


def test_the_pixels_are_the_restorers(pipe, supir, lq, quick):
    assert np.abs(restored(pipe, lq, quick) - expected(supir, lq, quick)).max() < 1e-3
    as_tensor = torch.from_numpy(np.asarray(lq)).movedim(-1, 0).float() / 255
    out = pipe(as_tensor, "a woman", settings=quick, seed=3, output_type="pt").images
    assert out.shape == (1, 3, 64, 64)
    assert np.abs(out.movedim(1, -1).numpy() - expected(supir, lq, quick)).max() < 1e-3


def test_arguments_stand_over_the_settings(pipe, supir, lq, quick):
    changed = quick.model_copy(
        update={"steps": 2, "upscale": 1.5, "control_scale": 0.8, "colour_fix": "mean"}
    )
    given = {"num_inference_steps": 2, "upscale": 1.5, "control_scale": 0.8, "colour_fix": "mean"}
    out = restored(pipe, lq, quick, **given)
    assert out.shape == (1, 96, 96, 3)
    assert np.abs(out - expected(supir, lq, changed)).max() < 1e-3


def test_several_pictures_have_their_own_prompts_and_seeds(pipe, lq, quick):
    alone = [
        pipe(lq, words, settings=quick, seed=seed, output_type="np").images
        for words, seed in (("a", 1), ("b", 2))
    ]
    both = pipe([lq, lq], ["a", "b"], settings=quick, seed=[1, 2], output_type="np").images
    assert np.array_equal(both, np.concatenate(alone))
    with pytest.raises(ValueError, match="3 prompts for 2 pictures; give one for all, or one for each"):
        pipe([lq, lq], ["a", "b", "c"], settings=quick)


def test_a_generator_is_as_good_as_a_seed(pipe, lq, quick):
    first, again, other = (
        pipe(lq, settings=quick, generator=torch.Generator().manual_seed(seed), output_type="np").images
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > PIXEL


@pytest.mark.parametrize("way", ["custom", "own"])
def test_a_saved_pipeline_is_loaded_by_diffusers_and_gives_the_same_pixels(folder, supir, lq, quick, way):
    loaded = (
        DiffusionPipeline.from_pretrained(folder, custom_pipeline=str(folder), trust_remote_code=True)
        if way == "custom"
        else SupirPipeline.from_pretrained(folder)
    )
    assert type(loaded).__name__ == "SupirPipeline"
    loaded.set_progress_bar_config(disable=True)
    assert np.abs(restored(loaded, lq, quick) - expected(supir, lq, quick)).max() < 1e-3


def test_the_folder_is_one_of_ours_too_and_ours_is_one_of_a_pipeline(folder, model_folder, supir, lq, quick):
    assert np.array_equal(expected(load_supir(folder), lq, quick), expected(supir, lq, quick))
    of_ours = SupirPipeline.from_pretrained(model_folder)
    of_ours.set_progress_bar_config(disable=True)
    assert np.abs(restored(of_ours, lq, quick) - expected(supir, lq, quick)).max() < 1e-3


def test_a_prior_that_predicts_the_velocity_is_kept(lq, quick, tmp_path):
    supir = load_supir(preset="tiny", seed=1)
    supir.unet.register_to_config(prediction_type="v_prediction")
    SupirPipeline.from_supir(supir).save_pretrained(tmp_path / "model")
    loaded = SupirPipeline.from_pretrained(tmp_path / "model")
    loaded.set_progress_bar_config(disable=True)
    assert np.abs(restored(loaded, lq, quick) - expected(supir, lq, quick)).max() < 1e-3
    supir.unet.register_to_config(prediction_type="epsilon")
    assert np.abs(restored(loaded, lq, quick) - expected(supir, lq, quick)).max() > 1e-2


def test_an_sdxl_model_is_saved_and_loaded_with_its_robust_encoder(sdxl_folder, tmp_path):
    pipe = SupirPipeline.from_pretrained(sdxl_folder)
    assert pipe.settings.min_size_px == 1024
    pipe.save_pretrained(tmp_path / "sdxl")
    loaded = SupirPipeline.from_pretrained(tmp_path / "sdxl")
    before, after = pipe.robust_encoder.state_dict(), loaded.robust_encoder.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_eulers_steps_are_the_edm_samplers_without_its_noise(pipe, supir, lq, quick):
    still = quick.model_copy(update={"s_churn": 0.0, "steps": 5})
    pipe.scheduler = EulerDiscreteScheduler(**SCHEDULE)
    try:
        out = restored(pipe, lq, still)
        assert pipe.scheduler.step_index == 5  # its own steps, and not only their equal
    finally:
        pipe.scheduler = None
    assert (
        np.abs(out - expected(supir, lq, still)).max() < 1e-3 + PIXEL
    )  # a value may round to the next level
    assert np.abs(out - expected(supir, lq, still)).mean() < 1e-3


@pytest.mark.parametrize("kind", [DPMSolverMultistepScheduler, HeunDiscreteScheduler])
def test_many_steps_of_other_schedulers_end_where_the_edm_samplers_do(pipe, supir, lq, quick, kind):
    still = quick.model_copy(update={"s_churn": 0.0, "steps": 40, "start_sigma": 1.0, "guidance_scale": 1.0})
    still = still.model_copy(update={"guidance_scale_start": 1.0, "restore_guidance": 0.0})
    pipe.scheduler = kind(**SCHEDULE)
    try:
        out = restored(pipe, lq, still)
        assert pipe.scheduler.step_index == len(pipe.scheduler.timesteps) >= 40
    finally:
        pipe.scheduler = None
    assert np.abs(out - expected(supir, lq, still)).mean() < 2 * PIXEL


def test_a_scheduler_that_cannot_be_told_the_levels_is_refused(pipe, lq, quick):
    pipe.scheduler = DDIMScheduler(**SCHEDULE)
    try:
        with pytest.raises(
            ValueError, match=r"DDIMScheduler cannot be told its levels of noise.*EulerDiscrete"
        ):
            restored(pipe, lq, quick)
        pipe.scheduler = EulerDiscreteScheduler(**SCHEDULE, prediction_type="v_prediction")
        with pytest.raises(
            ValueError, match="prediction_type 'v_prediction'; SUPIR needs one of epsilon, sample"
        ):
            restored(pipe, lq, quick)
    finally:
        pipe.scheduler = None


@pytest.mark.parametrize("scheduler", [None, EulerDiscreteScheduler(**SCHEDULE)])
def test_a_callback_sees_every_step_and_changes_the_latents(pipe, lq, quick, scheduler):
    seen = []

    def watch(_pipe, step, sigma, tensors):
        seen.append((step, sigma, sorted(tensors)))
        return {}

    def change(_pipe, step, _sigma, tensors):
        return {"latents": tensors["latents"] * 0.5}

    pipe.scheduler = scheduler
    try:
        plain = restored(
            pipe,
            lq,
            quick,
            callback_on_step_end=watch,
            callback_on_step_end_tensor_inputs=["latents", "denoised"],
        )
        changed = restored(pipe, lq, quick, callback_on_step_end=change)
    finally:
        pipe.scheduler = None
    assert [step for step, _, _ in seen] == [0, 1, 2]
    assert [sigma for _, sigma, _ in seen] == sorted((sigma for _, sigma, _ in seen), reverse=True)
    assert seen[0][2] == ["denoised", "latents"]
    assert np.abs(plain - changed).max() > PIXEL
    with pytest.raises(ValueError, match=r"has \['prompt_embeds'\]; use latents, denoised"):
        restored(
            pipe, lq, quick, callback_on_step_end=watch, callback_on_step_end_tensor_inputs=["prompt_embeds"]
        )


def test_a_lora_acts_and_is_taken_off_again(supir, lq, quick):
    pipe = SupirPipeline.from_supir(supir)
    pipe.set_progress_bar_config(disable=True)
    plain = restored(pipe, lq, quick)
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, module in pipe.unet.named_modules():
        if name.endswith(("attn2.to_k", "attn2.to_v")):
            for part, shape in (("lora_A", (2, module.in_features)), ("lora_B", (module.out_features, 2))):
                weights[f"unet.{name}.{part}.weight"] = torch.randn(shape, generator=generator)
    pipe.load_lora_weights(weights, adapter_name="style")
    try:
        with_lora = restored(pipe, lq, quick)
        pipe.set_adapters("style", 0.0)
        without = restored(pipe, lq, quick)
    finally:
        pipe.unload_lora_weights()
    assert np.abs(with_lora - plain).max() > PIXEL
    assert np.abs(without - plain).max() < 1e-3
    assert np.array_equal(restored(pipe, lq, quick), plain)


@pytest.mark.parametrize("way", ["whole model", "leaf by leaf"])
def test_offloaded_parts_give_the_same_pixels(folder, supir, lq, quick, way):
    pipe = SupirPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    if way == "whole model":
        pipe.enable_model_cpu_offload(device="cpu")
        assert all(hasattr(part, "_hf_hook") for part in (pipe.unet, pipe.control, pipe.connectors, pipe.vae))
    else:
        pipe.enable_group_offload(onload_device=torch.device("cpu"), offload_type="leaf_level")
    for _ in range(2):
        assert np.abs(restored(pipe, lq, quick) - expected(supir, lq, quick)).max() < 1e-3
