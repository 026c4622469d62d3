"""The student: its loss in closed form, what moves, what it reaches, and what is refused."""

from __future__ import annotations

import math
import re
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from supir_console import UserError, load_config
from supir_infer import PRESETS
from supir_infer.restore import Noise, Restorer
from supir_model import Supir, load_supir
from supir_model.diffusion import nearest_timestep, sampling_sigmas, sigma_at
from supir_model.guidance import LinearScale, guided
from supir_model.prompts import NEGATIVE_PROMPT, positive_prompt
from supir_model.sampler import generator_noise, sample_edm
from supir_train import TrainConfig
from supir_train.consistency import Interval, bridged, landing_errors, large_steps
from supir_train.distill import guided_estimate
from supir_train.distill_config import LARGEST_SIGMA, SMALLEST_SIGMA, DistillConfig
from supir_train.export import export
from supir_train.held_out_batches import validation_batches
from supir_train.image_noise import image_noise, keyed_generator
from supir_train.rehearsal import rehearse
from supir_train.run import prepare, train
from supir_train.world import ALONE

ONE = (1, 1, 1, 1)


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


# --- levels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "start_sigma"), [(1, 1.0), (2, 0.5), (3, 4.0), (4, 14.6146)])
def test_large_steps_are_the_restorers_and_small_ones_lie_between(steps, start_sigma):
    levels = large_steps(int(nearest_timestep(torch.tensor(start_sigma))), steps, 5)
    expected = sampling_sigmas(steps, start_sigma)
    assert torch.equal(levels.sigmas[:, 0], expected[:-1])
    assert torch.equal(levels.sigmas[:, -1], expected[1:])
    assert (levels.sigmas.diff(dim=1) < 0).all()
    assert torch.equal(levels.sigmas[:, :-1], sigma_at(levels.timesteps, 1).reshape(steps, 5))


def test_an_interval_holds_its_levels_and_where_its_large_step_ends():
    levels = large_steps(799, 2, 4)
    ahead = levels.interval(torch.tensor([0, 0, 1]), torch.tensor([0, 2, 2]), 2)
    assert ahead.timesteps.tolist() == [[799, 699, 599], [599, 499, 399], [199, 99, 799]]
    assert torch.equal(ahead.sigmas[:2].flatten(), sigma_at(ahead.timesteps[:2].flatten(), 1))
    assert ahead.sigmas[2, 2] == 0
    assert torch.equal(ahead.end, torch.tensor([levels.sigmas[1, 0], levels.sigmas[1, 0], 0.0]))


def test_the_noise_levels_allowed_are_those_of_the_table():
    lowest, highest = sampling_sigmas(1, 0.0)[0], sampling_sigmas(1, 100.0)[0]
    assert lowest == pytest.approx(SMALLEST_SIGMA, rel=0.03)
    assert highest == pytest.approx(LARGEST_SIGMA, rel=1e-5)


# --- the loss ---------------------------------------------------------------------------------------------


def interval(sigmas: list[float], end: float) -> Interval:
    return Interval(
        timesteps=torch.arange(len(sigmas))[None], sigmas=torch.tensor([sigmas]), end=torch.tensor([end])
    )


def seeing(value: float):
    """A network that sees the same clean value in everything."""
    return lambda x, _timestep: torch.full_like(x, value)


@pytest.mark.parametrize(
    ("sigmas", "end", "distance"),
    [
        # from x = 7 at sigma 4 the teacher (1) goes to 4 at 2; the student (3) lands at 3 + 1/4 * 4 = 4 from the one,
        # at 3 + 1/2 * 1 = 3.5 from the other
        ([4.0, 2.0], 1.0, 0.5),
        # the teacher arrives: by two small steps, 1 + 3/4 * 6 = 5.5 at 3, then 1 + 1/3 * 4.5 = 2.5 at 1
        ([4.0, 3.0, 1.0], 1.0, 1.5),
        # at sigma 0 the teacher's end is what it sees
        ([4.0, 0.0], 0.0, 2.0),
        # both land at 3 where nothing is left to go
        ([4.0, 2.0], 0.0, 0.0),
    ],
)
def test_the_loss_is_the_squared_distance_of_landings(sigmas, end, distance):
    errors = landing_errors(seeing(3.0), seeing(1.0), torch.full(ONE, 7.0), interval(sigmas, end))
    assert errors.tolist() == pytest.approx([distance**2])


def test_the_gradient_flows_through_the_landing_from_the_first_level_alone():
    seen = torch.tensor(3.0, requires_grad=True)
    x, ahead = torch.full(ONE, 7.0), interval([4.0, 2.0], 1.0)
    landing_errors(lambda x, _timestep: seen.expand_as(x), seeing(1.0), x, ahead).sum().backward()
    assert seen.grad == pytest.approx(2 * 0.5 * (1 - 1 / 4))


def test_the_end_of_the_teachers_way_is_the_students_only_perfect_answer():
    """Data of deviation s: the teacher's many steps end at x * s / sqrt(s^2 + sigma^2), its single ones elsewhere."""
    s, start, num = 0.5, 2.0, 4000
    sigma = torch.linspace(start, 0, num + 1)

    def at(timestep: torch.Tensor) -> torch.Tensor:
        return sigma[timestep].reshape(-1, 1, 1, 1)

    def one_step(x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return x * s**2 / (s**2 + at(timestep) ** 2)

    def at_the_end(x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return x * s / torch.sqrt(s**2 + at(timestep) ** 2)

    x = torch.randn(1, 4, 8, 8, generator=keyed_generator("x")) * math.sqrt(s**2 + start**2)
    ahead = Interval(
        timesteps=torch.arange(num // 2 + 1)[None], sigmas=sigma[None, : num // 2 + 1], end=torch.zeros(1)
    )
    assert float(landing_errors(at_the_end, one_step, x, ahead)) < 1e-6
    assert float(landing_errors(one_step, one_step, x, ahead)) > 1e-3


def test_points_lie_between_the_photo_and_the_start_of_the_restorer():
    clean, start = torch.full((3, 1, 1, 1), 2.0), torch.full((3, 1, 1, 1), 6.0)
    assert bridged(clean, start, torch.tensor([0.0, 0.25, 1.0])).flatten().tolist() == [2.0, 3.0, 6.0]


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


def test_the_size_of_a_micro_batch_changes_rounding_only(distill):
    whole, small = (
        distill("whole", optimize__steps=3),
        distill("small", optimize__steps=3, optimize__micro_batch=2),
    )
    for config in (whole, small):
        train(prepare(config))
    ours, theirs = weights(whole.run / "model"), weights(small.run / "model")
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-5, msg=name)


def test_the_students_adapter_moves_and_nothing_else_not_even_its_teacher(distill, teacher):
    run = prepare(distill("run", optimize__steps=2, optimize__precision="bf16"))
    before = {name: value.clone() for name, value in run.phases[0].teacher.named_parameters()}
    train(run)
    began, ended = weights(teacher), weights(run.config.run / "model")
    moved = {name.split("/")[0] for name in ended if not torch.equal(began[name], ended[name])}
    assert moved == {"control", "connectors"}
    for name, value in run.phases[0].teacher.named_parameters():
        assert torch.equal(value, before[name]), name


def test_a_validation_restores_as_the_restorer_does_by_its_preset(distill):
    config = distill("run", distill__start_sigma=2.0)
    run = prepare(config)
    (batch,) = validation_batches(config, images=16, degraded=True)
    noise = [image_noise(0, "restoration", batch.numbers, images_a_step=16) for _ in range(2)]
    restored = run.phases[0].restore(batch, noise[0])
    settings = PRESETS["few-step-mini"].model_copy(update={"colour_fix": "none", "size_condition_px": 1024})
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
        optimize__steps=60,
        optimize__lr=1e-3,
        optimize__ema_decay=0.9,
        validation__every=1000,
    )
    run = prepare(config)
    untrained, many = landings(run, 1), landings(run, 10)
    train(run)
    student = landings(run, 1)
    assert distance(student, many) < 0.6 * distance(untrained, many)


def landings(run, steps: int) -> torch.Tensor:
    """Where the network gets from the held-out starts in so many steps of the sampler, latents."""
    config, supir = run.config, run.supir
    (batch,) = validation_batches(config, images=16, degraded=True)
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


# --- what is refused --------------------------------------------------------------------------------------


def refusal(config: TrainConfig) -> str:
    with pytest.raises(UserError) as refused:
        prepare(config)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_model_whose_adapter_is_untrained_teaches_nothing(distill):
    config = distill("run", init="fresh")
    assert "needs a teacher, and the adapter of fresh is untrained; set init" in refusal(config)


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
