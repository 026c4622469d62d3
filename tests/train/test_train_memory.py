"""The plan's bytes: against what must be so, and against what a real step allocates."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from limits import HANGS_AFTER_S

from supir_console import UserError, load_config
from supir_model import load_supir
from supir_quality.lpips_weights import load_lpips
from supir_train import TrainConfig
from supir_train.build import make_phases
from supir_train.cli import SHIPPED
from supir_train.cost import held_bytes, in_flight
from supir_train.data import training_batches
from supir_train.image_noise import image_noise
from supir_train.live_bytes import LiveBytes
from supir_train.memory_fit import FREE_SHARE, fit
from supir_train.order import Position
from supir_train.plan_text import plan_lines
from supir_train.rehearsal import LPIPS_BYTES, Rehearsal, peak_bytes, rehearse
from supir_train.run import prepare
from supir_train.world import ALONE, World


def test_live_bytes_counts_each_storage_once_and_lets_go():
    held = torch.empty(100, device="meta")
    with LiveBytes([held]) as live:
        first = torch.empty(256, device="meta")
        views = [first.view(16, 16).t(), held[3:]]
        assert live.now == 1024
        second = first + 1.0
        del first, views
        assert (live.now, live.peak) == (1024, 2048)
        del second
        assert live.now == 0


class _SavedBytes:
    """Bytes of the storages that a real graph saves, the parameters' own left out."""

    def __init__(self, parameters) -> None:
        self._own = {value.untyped_storage().data_ptr() for value in parameters}
        self._sizes: dict[int, int] = {}

    def pack(self, tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._own:
            self._sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    @property
    def total(self) -> int:
        return sum(self._sizes.values())


@pytest.mark.parametrize("stage", ["adapter", "encoder"])
def test_planned_activations_are_those_that_a_real_graph_saves(stage, configure, tmp_path):
    config = configure(stage, tmp_path / "run", optimize__batch=16, optimize__micro_batch=8)
    run = prepare(config)
    saved = _SavedBytes(run.supir.parameters())
    batch = next(training_batches(config, images=8, degraded=True, start=Position())).to(torch.device("cpu"))
    noise = image_noise(config.seed, stage, batch.numbers, images_a_step=16)
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
        run.phases[0].loss(batch, noise)
    (figures,) = rehearse(config, ALONE)["phases"]
    # beside what is saved, a pass has the batch and what single operations need for themselves
    assert saved.total < figures["activations_bytes"] < 1.6 * saved.total


def test_the_parts_of_a_plan_are_those_of_the_run_and_its_peak_holds_them(configure, tmp_path):
    config = configure("adapter", tmp_path / "run", optimize__batch=16, optimize__micro_batch=4)
    run = prepare(config)
    (figures,) = rehearse(config, ALONE)["phases"]
    trained = run.supir.trainable("adapter")
    assert figures["parameters_bytes"] == sum(value.nbytes for value in run.supir.parameters())
    assert figures["gradients_bytes"] == sum(value.nbytes for value in trained.values())
    assert figures["optimizer_bytes"] == 2 * figures["average_bytes"] == 2 * figures["gradients_bytes"]
    whole = figures["memory_bytes"] + figures["activations_bytes"] + LPIPS_BYTES
    assert figures["peak_bytes"] == whole
    assert figures["checkpointed_activations_bytes"] < 0.8 * figures["activations_bytes"]
    assert figures["micro_batch"] == 4


def test_activations_grow_with_the_images_and_bf16_takes_less(configure, tmp_path):
    def peak(images: int, **keys: object) -> int:
        setting = {"optimize__batch": 64, "optimize__micro_batch": images, **keys}
        return peak_bytes(configure("encoder", tmp_path, **setting), ALONE)

    sixteen, thirty_two = peak(16), peak(32)
    assert thirty_two - sixteen == pytest.approx(2 * (sixteen - peak(8)), rel=0.05)
    assert peak(32, optimize__precision="bf16") < thirty_two


@pytest.fixture(scope="module")
def plain_peak(configure, tmp_path_factory) -> int:
    """Bytes of the encoder stage as it is configured here."""
    return peak_bytes(configure("encoder", tmp_path_factory.mktemp("plain")), ALONE)


@pytest.mark.parametrize("terms", [{"encoder__lpips_vgg_weight": 1}, {"encoder__adversary__weight": 0.1}])
def test_perceptual_network_and_discriminator_are_counted(terms, plain_peak, configure, tmp_path):
    assert peak_bytes(configure("encoder", tmp_path, **terms), ALONE) > plain_peak + 1_000_000


def test_a_run_of_mini_takes_what_was_planned(dataset):
    benchmark = Path(__file__).parents[2] / "benchmarks" / "train_memory.py"
    command = [sys.executable, str(benchmark), dataset, "adapter, 8 of 128 px"]
    # of its own, as what was allocated before in a process shifts what its allocator is seen to do
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS_AFTER_S)
    assert done.returncode == 0, done.stderr
    planned, measured = map(int, done.stdout.split()[-2:])
    assert planned == pytest.approx(measured, rel=0.15)


def test_the_network_that_judges_restored_pictures_is_counted(configure, tmp_path):
    judge, _ = load_lpips()
    assert sum(value.nbytes for value in (*judge.parameters(), *judge.buffers())) == LPIPS_BYTES
    with_pictures, without = (
        peak_bytes(configure("encoder", tmp_path, validation__pictures=count), ALONE) for count in (1, 0)
    )
    assert with_pictures >= without + LPIPS_BYTES


def test_fit_takes_the_largest_micro_batch_that_fits(configure, tmp_path):
    config = configure("adapter", tmp_path, optimize__batch=32)
    sizes = {images: _least(configure, tmp_path, images) for images in (4, 8)}
    chosen = fit(config, f"{(sizes[4] + sizes[8]) / 2 / 0.92 / 1e6}MB", ALONE)
    assert (chosen.config.optimize.micro_batch, chosen.peak) == (4, peak_bytes(chosen.config, ALONE))
    whole = fit(config, "100GB", ALONE).config
    assert (whole.optimize.micro_batch, whole.gradient_checkpointing) == (32, False)
    assert fit(config, "100GB", World(size=8)).config.optimize.micro_batch == 4


def _least(configure, tmp_path, images: int) -> int:
    keys = {"optimize__batch": 32, "optimize__micro_batch": images, "gradient_checkpointing": True}
    return peak_bytes(configure("adapter", tmp_path, **keys), ALONE)


@pytest.mark.parametrize(
    ("size", "text"), [("1MB", "the smallest setting of this run takes"), ("much", "is no size")]
)
def test_a_size_that_nothing_fits_and_one_that_is_none_are_refused(size, text, configure, tmp_path):
    with pytest.raises(UserError, match=text):
        fit(configure("adapter", tmp_path, optimize__batch=2), size, ALONE)


def test_sdxl_is_planned_without_its_weights(configure, tmp_path):
    keys = {"init": "/no/sdxl", "preset": "sdxl", "optimize__precision": "bf16", "optimize__batch": 1}
    (figures,) = rehearse(configure("encoder", tmp_path, **keys), ALONE)["phases"]
    assert figures["trained_parameters"] == 34_163_592
    with pytest.raises(UserError, match="or preset=sdxl to plan"):
        rehearse(configure("encoder", tmp_path, init="/no/sdxl"), ALONE)


@pytest.mark.parametrize("name", [name for name in SHIPPED if re.match("(encoder|adapter)-sdxl", name)])
def test_a_shipped_config_says_the_memory_that_is_planned_for_it_and_fits(name):
    path = files("supir_train") / "configs" / f"{name}.yaml"
    pattern = r"Planned memory: ([\d.]+) GB on each of (\d+) x (\d+) GB"
    ((said, devices, size),) = re.findall(pattern, path.read_text())
    planned = peak_bytes(load_config(TrainConfig, path), World(size=int(devices))) / 1e9
    assert planned == pytest.approx(float(said), abs=0.06)
    assert planned < (1 - FREE_SHARE) * float(size)


def test_a_saved_model_is_planned_from_its_configs(configure, tmp_path):
    load_supir(preset="tiny").save_pretrained(tmp_path / "model")
    saved = configure("adapter", tmp_path / "one", init=tmp_path / "model")
    fresh = configure("adapter", tmp_path / "two")
    plans = [rehearse(config, ALONE)["phases"] for config in (saved, fresh)]
    assert plans[0] == plans[1]


def test_a_trimmed_adapter_and_moments_of_8_bits_take_less(configure, tmp_path):
    def planned(**keys: object) -> dict[str, int]:
        setting = {"init": "/no/sdxl", "preset": "sdxl", "optimize__precision": "bf16", "optimize__batch": 1}
        config = configure("adapter", tmp_path, **setting, adapter__start="unet", **keys)
        rehearsal = Rehearsal(config, ALONE)
        trained = rehearsal.supir.trainable("adapter")
        held = held_bytes(rehearsal.supir, rehearsal.phases[0], trained, config, ALONE)
        return {"numbers": sum(value.numel() for value in trained.values()), "optimizer": held.optimizer}

    full, trimmed, plain = (
        planned(),
        planned(adapter__control_depth=[1, 1, 5]),
        planned(adapter__connector="zero_conv"),
    )
    assert full["numbers"] == 1_298_176_320
    # of 34 transformer blocks, 15 of 1280 and 2 of 640 channels are left out
    assert trimmed["numbers"] < 0.6 * full["numbers"]
    assert trimmed["numbers"] < plain["numbers"] < full["numbers"]
    eight = planned(optimize__optimizer="adamw8bit")
    assert eight["optimizer"] == pytest.approx(2 * (1 + 4 / 256) * full["numbers"], rel=0.002)


def test_shares_divide_what_is_trained_and_nothing_else(configure, tmp_path):
    config = configure("adapter", tmp_path, optimize__batch=16, shard="full")
    supir, one = Rehearsal(config, ALONE).supir, World(size=4)
    trained = supir.trainable("adapter")
    phase = make_phases(supir, config)[0]
    whole, quarter = (held_bytes(supir, phase, trained, config, world) for world in (ALONE, one))
    for name in ("gradients", "optimizer", "average", "validation_copy"):
        assert getattr(quarter, name) == pytest.approx(getattr(whole, name) / 4, abs=4)
    assert whole.parameters - quarter.parameters == pytest.approx(0.75 * whole.gradients, abs=4)
    assert in_flight(supir) >= 3 * 4 * max(value.numel() for value in trained.values())
    assert peak_bytes(config, one) < peak_bytes(config.model_copy(update={"shard": "none"}), one)


def test_a_warm_up_longer_than_the_run_is_told(configure, tmp_path):
    config = configure("adapter", tmp_path / "run", optimize__steps=3, optimize__warmup_steps=3)
    assert "still warming up at the end, over 3 steps" in "".join(plan_lines(prepare(config).plan()))
