"""`shard: full`: each process holds a share of what is trained; the run is that of whole weights but for rounding."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import pytest
import torch
from processes import run_together

from supir_console import UserError
from supir_train import TrainConfig
from supir_train.checkpoint import list_checkpoints, load_checkpoint
from supir_train.export import export
from supir_train.incidents import load_incident
from supir_train.replay import replay
from supir_train.run import prepare, train

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
    for steps, processes, shard in (
        (1, 2, "full"),
        (2, 3, "full"),
        (3, 1, "full"),
        (4, 2, "full"),
        (5, 2, "none"),
    ):
        trained(adapter(tmp_path / "run", optimize__steps=steps, shard=shard, **keys), processes)
        newest = list_checkpoints(tmp_path / "run" / "checkpoints")[-1]
        assert (newest / "shares").exists() == (processes > 1 and shard == "full")
    assert_same_losses(straight.run, tmp_path / "run")


def test_a_process_without_a_usable_sample_keeps_step_with_the_others(
    configure, dataset_with_a_small_image, tmp_path
):
    def make(name: str, **keys: object) -> TrainConfig:
        return configure(
            "encoder",
            tmp_path / name,
            data__dataset=dataset_with_a_small_image,
            data__crop_px=64,
            optimize__steps=8,
            optimize__batch=4,
            optimize__micro_batch=1,
            encoder__adversary__weight=0.1,
            encoder__adversary__warmup_steps=2,
            validation__crops=3,
            **keys,
        )

    one, two = make("one"), make("two", shard="full")
    train(prepare(one))
    trained(two, 2)
    assert len((two.run / "bad_samples.jsonl").read_text().splitlines()) == 1
    assert_same_losses(one.run, two.run)
    assert_same_losses(one.run, two.run, "adversary_loss")


def test_an_incident_in_shares_is_kept_replayed_and_passed_over(adapter, tmp_path):
    config = adapter(
        tmp_path / "run", optimize__steps=3, optimize__lr=1e25, shard="full", validation__crops=0
    )
    ended = run_together(config, TRAIN)
    assert "is kept in" in ended[0].stderr or "are kept in" in ended[0].stderr, ended
    incident, before = load_incident(config.run, None)
    assert (incident.step, incident.processes, before.progress.step) == (2, 2, 1)
    assert before.model
    assert not before.is_sharded
    figures = replay(config.run)
    assert figures["same_images"]
    assert figures["loss"] in ("nan", "inf") or figures["grad_norm"] in ("nan", "inf")
    run_together(config.model_copy(update={"incident_limit": 9}), TRAIN)
    assert [line["step"] for line in lines(config.run, "passed_over")] == [2]


LACK = """
from supir_console import UserError
from test_train_out_of_memory import cramped, more_than
run = prepare(config, world)
try:
    train(cramped(run, more_than(1)))
except UserError as error:
    print(error)
leave_world(world)
"""


def test_too_little_memory_ends_it_with_what_to_set(adapter, tmp_path):
    config = adapter(tmp_path / "run", optimize__steps=2, shard="full", validation__crops=0)
    told = (
        "out of memory with 2 images in a forward pass, which cannot be halved under way where shard=full; set "
        "micro_batch=1, the same command goes on from the last checkpoint\n"
    )
    assert trained(config, 2, LACK) == [told, told]


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
