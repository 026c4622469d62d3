"""`shard: full`: each process holds a share of what is trained; the run is that of whole weights but for rounding."""

from __future__ import annotations

import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from processes import run_together

from supir_console import UserError, config_yaml
from supir_train import TrainConfig
from supir_train.checkpoint import list_checkpoints, load_checkpoint
from supir_train.export import export
from supir_train.incidents import load_incident
from supir_train.phase_state import start_phase
from supir_train.replay import replay
from supir_train.run import prepare, train
from supir_train.world import ALONE

TRAIN = """
train(prepare(config, world))
leave_world(world)
"""
TRAIN_AND_COUNT = """
import json
import torch
from torch.distributed.tensor import DTensor
import supir_train.run as of_run

def numbers(tensors):
    listed = [tensor for tensor in tensors if tensor is not None and tensor.ndim]
    own = sum((tensor.to_local() if isinstance(tensor, DTensor) else tensor).numel() for tensor in listed)
    return own / max(1, sum(tensor.numel() for tensor in listed))

def count(optimizer, *_):
    trained = optimizer.param_groups[0]["params"]
    moments = [value for held in optimizer.state.values() for value in held.values()]
    seen.append({
        "parameters": numbers(trained),
        "gradients": numbers(parameter.grad for parameter in trained),
        "moments": numbers(moments),
        "averages": numbers(states[0].ema.values.values()),
        "model": sum(value.numel() for value in run.supir.control.parameters() if not isinstance(value, DTensor)),
    })

states, seen = [], []
start_phase = of_run.start_phase
def started(*arguments):
    states.append(start_phase(*arguments))
    states[0].optimizer.register_step_post_hook(count)
    return states[0]
of_run.start_phase = started
run = prepare(config, world)
train(run)
print(json.dumps(seen[-1]))
leave_world(world)
"""


def trained(config: TrainConfig, processes: int, program: str = TRAIN) -> list[str]:
    """Trains; returns what each process wrote on stdout."""
    ended = run_together(config, program, processes)
    assert [process.returncode for process in ended] == [0] * processes, [one.stderr for one in ended]
    return [process.stdout for process in ended]


def lines(run: Path, name: str) -> list[dict[str, float]]:
    entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [entry for entry in entries if name in entry]


def assert_same_losses(one: Path, other: Path, name: str = "loss") -> None:
    ours, theirs = ([line[name] for line in lines(run, name)] for run in (one, other))
    torch.testing.assert_close(torch.tensor(theirs), torch.tensor(ours), rtol=1e-5, atol=0)


def weights(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = load_checkpoint(list_checkpoints(run / "checkpoints")[-1])
    return checkpoint.model | {f"average of {name}": value for name, value in checkpoint.ema.items()}


def header(file: Path) -> bytes:
    data = file.read_bytes()
    return data[: 8 + struct.unpack("<Q", data[:8])[0]]


@pytest.fixture(scope="module")
def adapter(configure, negatives):
    """Configures a run of the adapter on captioned photos and negatives, eight images a step."""

    def make(run: Path, **keys: object) -> TrainConfig:
        data = {"data__captions": "plain", "data__negatives": negatives, "data__negative_share": 0.3}
        few = {"validation__crops": 5, "optimize__lr": 1e-3, "optimize__micro_batch": 2}
        return configure("adapter", run, **(data | few | keys))

    return make


@pytest.fixture(scope="module")
def twenty_steps(adapter, tmp_path_factory):
    """Twenty steps of two processes with whole weights, the same in shares, and what each process of these held."""
    folder = tmp_path_factory.mktemp("twenty")
    keys = {"optimize__steps": 20, "checkpoint_every": 18}
    whole, shares = (adapter(folder / shard, shard=shard, **keys) for shard in ("none", "full"))
    trained(whole, 2)
    held = trained(shares, 2, TRAIN_AND_COUNT)
    return whole, shares, [json.loads(text.splitlines()[-1]) for text in held]


def test_the_loss_is_that_of_whole_weights(twenty_steps):
    whole, shares, _ = twenty_steps
    assert len(lines(shares.run, "loss")) == 20
    assert_same_losses(whole.run, shares.run)
    assert_same_losses(whole.run, shares.run, "validation_loss")
    ours, theirs = (
        [line["grad_norm"] for line in lines(run, "grad_norm")] for run in (whole.run, shares.run)
    )
    torch.testing.assert_close(torch.tensor(theirs), torch.tensor(ours), rtol=1e-4, atol=0)


def test_a_process_holds_about_half(twenty_steps):
    _, shares, held = twenty_steps
    for process in held:
        assert process.pop("model") == 0
        assert sorted(process) == ["averages", "gradients", "moments", "parameters"]
        assert max(process.values()) <= 0.55, process
    newest = list_checkpoints(shares.run / "checkpoints")[-1]
    sizes = [file.stat().st_size for file in (newest / "shares").glob("*.safetensors")]
    assert len(sizes) == 2
    assert max(sizes) <= 0.55 * sum(sizes)


def test_the_model_has_the_layout_of_a_run_with_whole_weights(twenty_steps):
    whole, shares, _ = twenty_steps
    files = sorted(file.relative_to(whole.run) for file in (whole.run / "model").rglob("*") if file.is_file())
    assert files == sorted(
        file.relative_to(shares.run) for file in (shares.run / "model").rglob("*") if file.is_file()
    )
    for file in files:
        ours, theirs = whole.run / file, shares.run / file
        if file.suffix == ".safetensors":
            assert header(ours) == header(theirs), file
        if file.parent.name not in ("control", "connectors"):
            assert ours.read_bytes() == theirs.read_bytes(), file


def test_an_export_of_shares_is_the_model_of_the_run(twenty_steps, tmp_path):
    _, shares, _ = twenty_steps
    made = export(shares.run, step=None, best=False, output=tmp_path / "model", official=None)
    assert made.step == 20
    for file in (shares.run / "model").rglob("*.safetensors"):
        assert file.read_bytes() == (made.model / file.relative_to(shares.run / "model")).read_bytes(), file


def test_a_continued_run_has_the_bits_of_one_that_was_not_stopped(twenty_steps, tmp_path):
    _, shares, _ = twenty_steps
    straight = weights(shares.run)
    again = shares.model_copy(update={"run": tmp_path / "again"})
    shutil.copytree(shares.run, again.run)
    shutil.rmtree(again.run / "checkpoints" / "step-00000020")
    shutil.rmtree(again.run / "model")
    trained(again, 2)
    continued = weights(again.run)
    assert continued.keys() == straight.keys()
    assert [name for name in straight if not torch.equal(straight[name], continued[name])] == []


def test_a_run_goes_on_with_another_number_of_shares_and_with_none(adapter, tmp_path):
    keys = {"optimize__batch": 12, "gradient_checkpointing": True}
    straight = adapter(tmp_path / "straight", optimize__steps=5, **keys)
    train(prepare(straight))
    for steps, processes in ((1, 1), (2, 2), (3, 3), (5, 1)):
        config = adapter(tmp_path / "run", optimize__steps=steps, shard="full", **keys)
        train(prepare(config)) if processes == 1 else trained(config, processes)
        newest = list_checkpoints(tmp_path / "run" / "checkpoints")[-1]
        assert (newest / "shares").exists() == (processes > 1)
    assert_same_losses(straight.run, tmp_path / "run")


def test_moments_lie_in_memory_as_their_weights_do(adapter, tmp_path):
    config = adapter(tmp_path / "run", optimize__steps=1, validation__crops=0)
    train(prepare(config))
    resumed = load_checkpoint(list_checkpoints(config.run / "checkpoints")[-1])
    # as shares give them back; fused AdamW would mix up the numbers of channels-last weights
    moments = {
        index: {name: value.contiguous() for name, value in held.items()}
        for index, held in resumed.optimizer["state"].items()
    }
    run = prepare(config)
    parameters = run.trained["adapter"]
    state = start_phase(run.phases[0], parameters, replace(resumed, optimizer={"state": moments}), ALONE)
    weight = parameters["control.conv_in.weight"]
    assert not weight.is_contiguous()
    moment = state.optimizer.state[weight]["exp_avg"]
    assert moment.stride() == weight.stride()
    assert torch.equal(moment, moments[list(parameters).index("control.conv_in.weight")]["exp_avg"])


MISHAPS = """
import json
import torch
from supir_console import UserError
from test_train_out_of_memory import cramped

said = {}
def attempt(name, change=lambda run: run):
    run = prepare(load_config(TrainConfig, config.run.with_name(name + ".yaml")), world)
    try:
        train(change(run))
    except UserError as error:
        said[name] = str(error)

def refuse(_, inputs, __):
    if len(inputs[0]) > 1:
        raise torch.OutOfMemoryError("CUDA out of memory")

def lacking(run):
    if world.rank == 1:
        run.supir.connectors.layers[5].register_forward_hook(refuse)
    return run

attempt("bad_sample")
attempt("incident")
attempt("validation", lacking)
attempt("training", lambda run: cramped(run, lambda batch: torch.is_grad_enabled() and len(batch.keys) > 1))
print(json.dumps(said))
leave_world(world)
"""


@pytest.fixture(scope="module")
def mishaps(adapter, configure, dataset_with_a_small_image, tmp_path_factory):
    """Runs in shares of which each meets a mishap, one after the other in the same two processes; what they said."""
    folder = tmp_path_factory.mktemp("mishaps")
    still = {"validation__crops": 0, "optimize__lr": 1e-3}
    adversary = {"encoder__adversary__weight": 0.1, "encoder__adversary__warmup_steps": 2}
    split = {"optimize__steps": 8, "optimize__batch": 4, "optimize__micro_batch": 1, "data__crop_px": 64}
    data = {"data__dataset": dataset_with_a_small_image}
    keys = {"shard": "full"}
    configs = {
        "bad_sample": configure(
            "encoder", folder / "bad_sample", **(keys | still | adversary | split | data)
        ),
        "incident": adapter(
            folder / "incident", optimize__steps=3, **(keys | still | {"optimize__lr": 1e25})
        ),
        "validation": adapter(folder / "validation", optimize__steps=2, **keys),
        "training": adapter(folder / "training", optimize__steps=2, **(keys | still)),
    }
    for name, config in configs.items():
        (folder / f"{name}.yaml").write_text(config_yaml(config))
    said = [json.loads(text.splitlines()[-1]) for text in trained(configs["training"], 2, MISHAPS)]
    return configs, said


def test_a_process_without_a_usable_sample_keeps_step_with_the_others(mishaps, tmp_path):
    shares = mishaps[0]["bad_sample"]
    one = shares.model_copy(update={"run": tmp_path / "one"})
    train(prepare(one))
    assert len((shares.run / "bad_samples.jsonl").read_text().splitlines()) == 1
    assert_same_losses(one.run, shares.run)
    assert_same_losses(one.run, shares.run, "adversary_loss")


def test_an_incident_in_shares_is_kept_replayed_and_passed_over(mishaps):
    configs, said = mishaps
    config = configs["incident"]
    assert "kept in" in said[0]["incident"]
    assert said[0]["incident"] == said[1]["incident"]
    incident, before = load_incident(config.run, None)
    assert (incident.step, incident.processes, before.progress.step) == (2, 2, 1)
    assert not before.is_sharded
    figures = replay(config.run)
    assert figures["same_images"]
    assert figures["loss"] in ("nan", "inf") or figures["grad_norm"] in ("nan", "inf")
    with pytest.raises(UserError, match="at step 3"):
        train(prepare(config))
    assert [line["step"] for line in lines(config.run, "passed_over")] == [2]


def test_too_little_memory_halves_a_validation(mishaps, tmp_path):
    shares = mishaps[0]["validation"]
    whole = shares.model_copy(update={"run": tmp_path / "whole"})
    train(prepare(whole))
    assert [(line["step"], line["micro_batch"]) for line in lines(shares.run, "micro_batch")] == [(0, 1)]
    assert_same_losses(whole.run, shares.run)
    assert_same_losses(whole.run, shares.run, "validation_loss")


def test_too_little_memory_ends_a_training_with_what_to_set(mishaps):
    told = (
        "out of memory with 2 images in a forward pass, which cannot be halved under way where shard=full; set "
        "micro_batch=1, the same command goes on from the last checkpoint"
    )
    assert [process["training"] for process in mishaps[1]] == [told, told]


def test_a_missing_share_is_one_line(adapter, twenty_steps, tmp_path):
    _, shares, _ = twenty_steps
    newest = list_checkpoints(shares.run / "checkpoints")[-1]
    shutil.copytree(newest, tmp_path / newest.name)
    next((tmp_path / newest.name / "shares").glob("shard-00002-*")).unlink()
    with pytest.raises(UserError, match=r"is damaged .*of 2 shares some are not there.*delete that folder"):
        load_checkpoint(tmp_path / newest.name)


def test_a_small_backbone_is_held_whole(configure, tmp_path):
    with pytest.raises(UserError, match="shard=full is for the stages encoder and adapter"):
        configure("prior", tmp_path / "run", shard="full")


def test_all_processes_of_shares_work_at_one_size(configure, tmp_path):
    with pytest.raises(
        UserError, match=r"encoder\.working_scale=auto each at those of its pictures; set shard=none"
    ):
        configure("encoder", tmp_path / "run", shard="full", encoder__working_scale="auto")
