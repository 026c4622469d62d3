"""What a wrong config says, and that the shipped ones are right."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files
from typing import Any

import pytest
import yaml

from supir_caption.cli import main as caption_main
from supir_console import UserError, load_config
from supir_curate.cli import main as curate_main
from supir_degrade import RECIPES
from supir_degrade.cli import main as degrade_main
from supir_train import TrainConfig
from supir_train.cli import SHIPPED
from supir_train.schedule import COSINE_FLOOR, learning_rate

CONFIGS = files("supir_train") / "configs"


def shipped(name: str) -> TrainConfig:
    return load_config(TrainConfig, CONFIGS / f"{name}.yaml")


def test_every_shipped_config_is_listed():
    assert {path.name for path in CONFIGS.iterdir()} == {f"{name}.yaml" for name in SHIPPED}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_config_is_valid_and_names_its_stage(name):
    config = load_config(TrainConfig, CONFIGS / f"{name}.yaml")
    assert name.startswith(config.stage)
    assert config.data.recipe in RECIPES
    assert config.run.name == name


@pytest.fixture
def defaults(monkeypatch, capsys):
    """What a command's own `--print-config` says."""

    def of(command: str, main: Callable[[], None], *arguments: str) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", [command, *arguments, "--print-config"])
        with suppress(SystemExit):
            main()
        return yaml.safe_load(capsys.readouterr().out)

    return of


@pytest.mark.parametrize("name", SHIPPED)
def test_captions_of_a_shipped_config_are_those_that_supir_caption_writes(name, defaults):
    said = defaults("supir-caption", caption_main)
    assert shipped(name).data.captions in (None, said["name"] or said["engine"])


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_config_reads_what_the_commands_before_it_make(name, defaults):
    config, data = shipped(name), shipped(name).data
    curated = defaults("supir-curate", curate_main, "run")["select"]["rules"]["below_min_side"]
    assert data.crop_px <= curated["limit"]
    if data.negatives:  # which train with the words that they were made with, whatever captions are read
        assert data.crop_px <= defaults("supir-degrade", degrade_main, "negatives")["size_px"]
        assert "negative" not in defaults("supir-caption", caption_main)["roles"]
    runs = {f"{shipped(other).run}/model": shipped(other).stage for other in SHIPPED}
    if config.init.startswith("runs/") and config.stage != "distill":
        assert runs[config.init] == {"adapter": "encoder", "encoder": "prior"}[config.stage]


@pytest.mark.parametrize("name", ["adapter-sdxl", "adapter-sdxl-8x80gb", "adapter-sdxl-64x48gb"])
def test_sdxl_config_holds_the_papers_numbers(name):
    config = shipped(name)
    assert (config.data.crop_px, config.optimize.lr, config.optimize.batch) == (512, 1e-5, 256)


MINIMUM = ["stage=adapter", "run=r", "data.dataset=d"]


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("data.crop_px=100", "crop_px=100 px is not a multiple of 32; use 96 or 128"),
        ("optimize.micro_batch=5", "micro_batch=5 does not divide batch=16; use 4"),
        ("autoencoder.steps=10", "autoencoder.steps=10 belongs to stage prior, not adapter; set it to 0"),
        ("data.crops_per_image=3", "does not divide the 16 images of a forward pass of optimize"),
        ("data.size_condition_px=[512, 64]", "size_condition_px=[512, 64] is no range"),
        ("optimise.lr=1", "unknown config key 'optimise'; did you mean 'optimize'?"),
        ("noise.timestep_range=[400, 100]", "timestep_range=[400, 100] is no range of 0 to 999"),
        ("optimize.lr=0", "greater than 0 (got 0)"),
        ("optimize.betas=[0.9, 2]", "'optimize.betas.1': Input should be less than 1 (got 2)"),
        ("optimize.betas=[0.9]", "'optimize.betas': value 2 of the list is missing"),
        (
            "stage=all",
            "'prior', 'encoder', 'adapter', 'distill', 'estimator' or 'strength' (got 'all')",
        ),
        (
            "distill.start_sigma=15",
            "'distill.start_sigma': Input should be less than or equal to 14.6146 (got 15)",
        ),
        ("distill.start_sigma=0.01", "greater than or equal to 0.03 (got"),
        ("distill.steps=5", "less than or equal to 4 (got"),
        ("distill.steps=3", "teacher_steps=20 is no multiple of steps=3; use 21"),
        (
            "distill.intervals=4",
            "intervals=4 does not divide teacher_steps / steps = 10; use one of 1, 2, 5, 10",
        ),
        ("encoder={decoded_weight: 0, pixel_weight: 0, latent_weight: 0}", "set decoded_weight above 0"),
    ],
)
def test_a_wrong_value_is_named_with_its_mend(override, text):
    with pytest.raises(UserError, match=re.escape(text)):
        load_config(TrainConfig, None, [*MINIMUM, override])


def test_a_tilde_is_the_home_folder_wherever_a_config_names_a_place(monkeypatch):
    monkeypatch.setenv("HOME", "/home/lab")
    places = [
        "run=~/run",
        "init=~/sdxl",
        "data.dataset=~/photos",
        "data.negatives=~/bad",
        "data.recipe=~/r.yaml",
    ]
    config = load_config(TrainConfig, None, ["stage=adapter", *places])
    data = config.data
    named = [str(config.run), config.init, data.dataset, data.negatives or "", data.recipe]
    assert named == [f"/home/lab/{name}" for name in ("run", "sdxl", "photos", "bad", "r.yaml")]


def test_learning_rate_warms_up_and_falls_to_a_hundredth():
    config = load_config(TrainConfig, None, [*MINIMUM, "optimize.warmup_steps=9", "optimize.steps=109"])
    fit = config.optimize.model_copy(update={"schedule": "cosine", "lr": 1.0})
    assert [learning_rate(fit, step) for step in (0, 4)] == pytest.approx([0.1, 0.5])
    assert learning_rate(fit, 59) == pytest.approx(COSINE_FLOOR + (1 - COSINE_FLOOR) / 2)
    assert learning_rate(fit, 109) == pytest.approx(0.01)
    constant = fit.model_copy(update={"schedule": "constant"})
    assert learning_rate(constant, 100) == 1.0
