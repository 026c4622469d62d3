"""The student's run: what moves, what it reaches, how it is restored with, and what is refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from limits import HANGS_AFTER_S
from safetensors.torch import load_file
from train_lines import lines_of

from supir_console import UserError, config_yaml, load_config
from supir_infer import PRESETS
from supir_infer.restore import Noise, Restorer
from supir_model import Supir, load_supir
from supir_model.diffusion import sampling_sigmas, sigma_at
from supir_model.guidance import LinearScale, guided
from supir_model.prompts import NEGATIVE_PROMPT, positive_prompt
from supir_model.sampler import generator_noise, sample_edm
from supir_train import TrainConfig
from supir_train.distill import guided_estimate
from supir_train.distill_config import DistillConfig
from supir_train.export import export
from supir_train.held_out_batches import choose_held_out, validation_batches
from supir_train.image_noise import image_noise, keyed_generator
from supir_train.phase import autocast
from supir_train.rehearsal import rehearse
from supir_train.run import prepare, train
from supir_train.world import ALONE


@pytest.fixture(scope="session")
def teacher(tmp_path_factory) -> Path:
    """A tiny model whose adapter does something, though it was not trained."""
    supir = load_supir(preset="tiny", seed=3)
    generator = keyed_generator("teacher")
    with torch.no_grad():
        for layer in (supir.control.hint, *supir.connectors.layers):
            for parameter in layer.parameters():
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    folder = tmp_path_factory.mktemp("teacher") / "model"
    supir.save_pretrained(folder)
    return folder


@pytest.fixture
def distill(configure, teacher, tmp_path):
    """Configures a run of the student on captioned photos, eight images a step."""

    def make(name: str, **keys: object) -> TrainConfig:
        fixed = {
            "init": teacher,
            "data__captions": "plain",
            "optimize__lr": 1e-3,
            "distill__teacher_steps": 4,
        }
        return configure("distill", tmp_path / name, **{**fixed, "distill__intervals": 2, **keys})

    return make


# --- the run ----------------------------------------------------------------------------------------------


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found = sorted(folder.rglob("*.safetensors"))
    return {f"{file.parent.name}/{name}": value for file in found for name, value in load_file(file).items()}


def test_a_stopped_student_goes_on_bit_for_bit(distill):
    straight, broken = (distill(name, optimize__steps=5, optimize__micro_batch=4) for name in ("a", "b"))
    train(prepare(straight))
    assert train(prepare(broken), should_stop=lambda steps: steps == 2).steps == 2
    assert train(prepare(broken)).steps == 5
    ours, theirs = weights(straight.run / "model"), weights(broken.run / "model")
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_two_processes_teach_the_student_of_one_bit_for_bit(distill):
    alone, shared = (distill(name, optimize__steps=3, optimize__micro_batch=4) for name in ("one", "two"))
    train(prepare(alone))
    path = shared.run.with_suffix(".yaml")
    path.write_text(config_yaml(shared))
    command = [sys.executable, "-m", "supir_train", str(path), "--processes", "2"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=HANGS_AFTER_S,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    ours, theirs = weights(alone.run / "model"), weights(shared.run / "model")
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_the_size_of_a_micro_batch_changes_rounding_only(distill):
    whole, small = (
        distill("whole", optimize__steps=3),
        distill("small", optimize__steps=3, optimize__micro_batch=2),
    )
    for config in (whole, small):
        train(prepare(config))
    losses = [[line["loss"] for line in lines_of(one.run) if "loss" in line] for one in (whole, small)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_students_adapter_moves_and_nothing_else_not_even_its_teacher(distill, teacher):
    run = prepare(distill("run", optimize__steps=2, optimize__precision="bf16"))
    before = {name: value.clone() for name, value in run.phases[0].teacher.named_parameters()}
    train(run)
    began, ended = weights(teacher), weights(run.config.run / "model")
    moved = {name.split("/")[0] for name in ended if not torch.equal(began[name], ended[name])}
    assert moved == {"control", "connectors"}
    for name, value in run.phases[0].teacher.named_parameters():
        assert torch.equal(value, before[name]), name


def test_all_of_the_students_adapter_gets_a_gradient_in_bfloat16(distill):
    gradients = {}
    for precision in ("fp32", "bf16"):
        run = prepare(distill(precision, optimize__precision=precision))
        (batch,) = (
            one.to(run.supir.device)
            for one in validation_batches(run.config, choose_held_out(run.config), images=16, degraded=True)
        )
        with autocast(run.phases[0].optimize, run.supir.device):
            loss = run.phases[0].loss(batch, image_noise(0, "bits", batch.numbers, images_a_step=16))["loss"]
        loss.backward()
        trained = run.supir.trainable("distill")
        gradients[precision] = {name for name, value in trained.items() if value.grad is not None}
    assert gradients["bf16"] == gradients["fp32"]
    assert any(name.startswith("control") for name in gradients["bf16"])


def test_a_validation_restores_as_the_restorer_does_by_its_preset(distill):
    config = distill("run", data__suffix_share=0)
    run = prepare(config)
    (batch,) = (
        one.to(run.supir.device)
        for one in validation_batches(config, choose_held_out(config), images=16, degraded=True)
    )
    noise = [image_noise(0, "restoration", batch.numbers, images_a_step=16) for _ in range(2)]
    restored = run.phases[0].restore(batch, noise[0])
    settings = PRESETS["few-step-mini"].model_copy(update={"colour_fix": "none", "size_condition": 1024})
    sources = Noise(*[generator_noise(noise[1].generators)] * 3)
    texts = [[positive_prompt(prompt) for prompt in batch.prompts], [NEGATIVE_PROMPT] * len(batch.prompts)]
    positive, negative = map(run.supir.encode_prompt, texts)
    expected = Restorer(run.supir, settings).restore_tensor(batch.lq, positive, negative, sources)
    torch.testing.assert_close(restored, expected)


@pytest.mark.parametrize("size", ["mini", "sdxl"])
def test_the_restorers_preset_is_what_the_shipped_students_are_taught(size):
    taught = load_config(TrainConfig, files("supir_train") / "configs" / f"distill-{size}.yaml").distill
    preset = PRESETS[{"mini": "few-step-mini", "sdxl": "few-step"}[size]]
    assert (preset.start_sigma, preset.steps) == (taught.start_sigma, taught.steps)
    assert (preset.sampler, preset.s_churn, preset.restore_guidance) == ("edm", 0, 0)
    assert (preset.guidance_scale, preset.guidance_scale_start) == (1, None)


def test_a_student_in_one_call_comes_nearer_to_its_teachers_many_than_the_teacher_does(
    adapter_run, configure, noise_recipe, tmp_path
):
    config = configure(
        "distill",
        tmp_path / "run",
        init=adapter_run / "model",
        data__captions="plain",
        data__recipe=noise_recipe,
        distill__start_sigma=6.0,
        distill__steps=1,
        distill__teacher_steps=10,
        distill__intervals=2,
        optimize__steps=40,
        optimize__lr=1e-3,
        optimize__ema_decay=0.9,
        validation__every=1000,
    )
    run = prepare(config)
    untrained, many = landings(run, 1), landings(run, 10)
    train(run)
    student = landings(run, 1)
    assert distance(student, many) < 0.75 * distance(untrained, many)


def landings(run, steps: int) -> torch.Tensor:
    """Where the network gets from the held-out starts in so many steps of the sampler, latents."""
    config, supir = run.config, run.supir
    (batch,) = (
        one.to(supir.device)
        for one in validation_batches(config, choose_held_out(config), images=16, degraded=True)
    )
    noise = image_noise(1, "landings", batch.numbers, images_a_step=16)
    with torch.no_grad():
        z_lq, text = supir.encode_lq(batch.lq), supir.encode_prompt(list(batch.prompts))
    sigmas, one = sampling_sigmas(steps, config.distill.start_sigma), LinearScale(1.0, 1.0)
    sizes = supir.time_ids(1024, 1024, len(z_lq))
    denoise = guided(supir, z_lq, text, text, sizes, guidance_scale=one, control_scale=one)
    start = z_lq + sigmas[0] * noise.normal(z_lq)
    return sample_edm(denoise, start, sigmas, noise=noise.normal, s_churn=0.0)


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).square().mean())


def test_a_kept_checkpoint_of_a_student_is_exported(distill, tmp_path):
    config = distill("run", optimize__steps=2, checkpoint_every=1)
    train(prepare(config))
    exported = export(config.run, step=2, best=False, output=tmp_path / "model", official=None)
    ours, theirs = weights(config.run / "model"), weights(exported.model)
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_the_plan_counts_the_teacher(distill, configure, tmp_path, teacher):
    (student,) = rehearse(distill("run"), ALONE)["phases"]
    (adapter,) = rehearse(configure("adapter", tmp_path / "x", init=teacher), ALONE)["phases"]
    assert student["parameters_bytes"] - adapter["parameters_bytes"] == adapter["gradients_bytes"]
    assert student["trained_parameters"] == adapter["trained_parameters"]


def test_the_teachers_guidance_is_the_samplers(teacher):
    supir = Supir.from_pretrained(teacher)
    x, z_lq = torch.randn(2, 2, 8, 4, 4, generator=keyed_generator("x")).unbind()
    words, sizes = ["a photo", "a house by a lake"], supir.time_ids(32, 32, 2)
    text, away = supir.encode_prompt(words), supir.encode_prompt([NEGATIVE_PROMPT] * 2)
    config = DistillConfig(guidance_scale=5.0, guidance_scale_start=2.0)
    timestep = torch.tensor([400, 400])
    sigma = float(sigma_at(timestep, 1)[0])
    with torch.no_grad():
        seen = guided_estimate(supir, z_lq, text, sizes, config)(3 * x, timestep)
        scales = {"guidance_scale": LinearScale(2.0, 5.0), "control_scale": LinearScale(1.0, 1.0)}
        expected = guided(supir, z_lq, text, away, sizes, **scales)(3 * x, sigma, sigma)
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-4)


# --- what is refused --------------------------------------------------------------------------------------


def refusal(config: TrainConfig) -> str:
    with pytest.raises(UserError) as refused:
        prepare(config)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_model_whose_adapter_is_untrained_teaches_nothing(distill):
    config = distill("run", init="fresh")
    assert "needs a teacher, and the adapter of fresh is untrained; set init" in refusal(config)
    with pytest.raises(UserError, match="needs a teacher, and the adapter of fresh is untrained"):
        rehearse(config, ALONE)


def test_a_model_after_the_encoder_stage_teaches_nothing(distill, tmp_path):
    load_supir(preset="tiny").save_pretrained(tmp_path / "encoder")
    told = refusal(distill("run", init=tmp_path / "encoder"))
    assert re.search(r"needs a teacher, and the adapter of .*encoder is untrained", told)


def test_a_teacher_that_is_not_there_is_named(distill):
    config = distill("run", distill__teacher="/no/model")
    assert refusal(config).startswith("distill.teacher: '/no/model' is not there; give the model folder")
    with pytest.raises(UserError, match="'/no/model' is not there"):
        rehearse(config, ALONE)


def test_a_teacher_upon_another_unet_is_refused(distill, tmp_path):
    other = load_supir(preset="tiny", seed=4)
    torch.nn.init.ones_(other.control.hint.weight)
    other.save_pretrained(tmp_path / "other")
    told = refusal(distill("run", distill__teacher=tmp_path / "other"))
    assert re.match(r"distill\.teacher: the adapter of .*other was trained on another UNet", told)


def test_a_teacher_of_its_own_teaches_a_student_that_begins_elsewhere(distill, teacher, tmp_path):
    begun = Supir.from_pretrained(teacher)
    torch.nn.init.ones_(begun.control.hint.weight)
    begun.save_pretrained(tmp_path / "begun")
    run = prepare(distill("run", init=tmp_path / "begun", distill__teacher=teacher))
    expected = Supir.from_pretrained(teacher).control.hint.weight
    assert torch.equal(run.phases[0].teacher.control.hint.weight, expected)
    assert torch.equal(run.supir.control.hint.weight, begun.control.hint.weight)
    assert run.phases[0].teacher.unet is run.supir.unet
    assert run.sources["distill.teacher"]


def test_a_start_with_too_few_noise_levels_below_it_is_refused(distill):
    config = distill("run", distill__start_sigma=0.06, distill__teacher_steps=40)
    told = refusal(config)
    assert told.startswith("distill.start_sigma=0.06: ")
    assert told.endswith("use fewer teacher_steps (now 40), or start higher")


def test_another_teacher_under_the_same_name_is_refused(distill, teacher, tmp_path):
    own = Supir.from_pretrained(teacher)
    own.save_pretrained(tmp_path / "own")
    keys = {"distill__teacher": tmp_path / "own"}
    train(prepare(distill("run", optimize__steps=1, **keys)))
    torch.nn.init.ones_(own.control.hint.weight)
    own.save_pretrained(tmp_path / "own")
    with pytest.raises(UserError, match=r"distill\.teacher: .*own is not what .*run was begun with"):
        train(prepare(distill("run", optimize__steps=2, **keys)))
