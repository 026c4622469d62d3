"""Too little memory halves the forward passes of all processes, as if the run had begun so; at one image it is told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from limits import HANGS_AFTER_S
from processes import run_together

from supir_console import UserError
from supir_model.out_of_memory import REFUSALS, is_out_of_memory
from supir_train.batch import Batch
from supir_train.checkpoint import list_checkpoints, load_checkpoint
from supir_train.incidents import load_incident
from supir_train.micro_batch import StepSplit, lack_of_memory_told
from supir_train.replay import replay
from supir_train.run import Run, prepare, train
from supir_train.world import ALONE

STEPS = {"optimize__steps": 2, "optimize__lr": 1e-3, "validation__crops": 0}


def cramped(run: Run, too_much: Callable[[Batch], bool], *, backward: bool = False) -> Run:
    """The run on a device that lacks memory for the batches of which `too_much` says so."""

    def cramp(phase):
        def refuse(*_: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

        def loss(batch, noise):
            is_refused = too_much(batch)
            if is_refused and not backward:
                refuse()
            losses = phase.loss(batch, noise)
            if is_refused:
                losses["loss"].register_hook(refuse)
            return losses

        return replace(phase, loss=loss)

    return replace(run, phases=tuple(map(cramp, run.phases)))


def more_than(images: int) -> Callable[[Batch], bool]:
    return lambda batch: len(batch.keys) > images


def only_at_call(number: int) -> Callable[[Batch], bool]:
    calls: list[Batch] = []

    def is_it(batch: Batch) -> bool:
        calls.append(batch)
        return len(calls) == number

    return is_it


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(list_checkpoints(run / "checkpoints")[-1]).model


def assert_same_weights(one: Path, other: Path) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def lines(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_halved_until_it_fits_it_is_the_run_that_began_so(configure, tmp_path, caplog):
    small = configure("adapter", tmp_path / "small", optimize__micro_batch=2, **STEPS)
    config = configure("adapter", tmp_path / "cramped", **STEPS)
    train(prepare(small))
    train(cramped(prepare(config), more_than(2)))
    assert_same_weights(small.run, config.run)
    assert [record.getMessage() for record in caplog.records if "out of memory" in record.getMessage()] == [
        f"out of memory with {before} images in a forward pass; the step is made again with {after}, which changes "
        f"rounding only (set micro_batch={after} to begin with it)"
        for before, after in ((8, 4), (4, 2))
    ]
    assert [(line["step"], line["micro_batch"]) for line in lines(config.run) if "micro_batch" in line] == [
        (1, 2)
    ]
    ours, theirs = ([line for line in lines(run) if "loss" in line] for run in (small.run, config.run))
    for one, other in zip(ours, theirs, strict=True):
        assert [other[name] for name in ("loss", "grad_norm", "images")] == [
            one[name] for name in ("loss", "grad_norm", "images")
        ]


def test_gradients_of_a_step_that_was_cut_short_do_not_count_twice(configure, tmp_path):
    mended = configure("adapter", tmp_path / "mended", optimize__micro_batch=4, **STEPS)
    train(prepare(mended), should_stop=lambda steps: steps == 1)
    train(prepare(configure("adapter", tmp_path / "mended", optimize__micro_batch=2, **STEPS)))
    config = configure("adapter", tmp_path / "cramped", optimize__micro_batch=4, **STEPS)
    # the second micro-batch of the second step, amid its backward pass
    train(cramped(prepare(config), only_at_call(4), backward=True))
    assert_same_weights(mended.run, config.run)
    assert [line["step"] for line in lines(config.run) if "micro_batch" in line] == [2]


def test_a_discriminator_learns_from_each_image_once(configure, tmp_path):
    keys = {"encoder__adversary__weight": 0.1, "encoder__adversary__warmup_steps": 0, "data__crop_px": 64}
    small = configure("encoder", tmp_path / "small", optimize__micro_batch=4, **STEPS, **keys)
    config = configure("encoder", tmp_path / "cramped", **STEPS, **keys)
    train(prepare(small))
    train(cramped(prepare(config), only_at_call(1), backward=True))
    assert_same_weights(small.run, config.run)
    ours, theirs = ([line for line in lines(run) if "loss" in line] for run in (small.run, config.run))
    for one, other in zip(ours, theirs, strict=True):
        assert other["adversary_loss"] == one["adversary_loss"]


def test_a_validation_is_halved_too(configure, tmp_path):
    keys = STEPS | {"validation__crops": 8, "optimize__steps": 1, "validation__pictures": 4}
    sound = configure("adapter", tmp_path / "sound", **keys)
    config = configure("adapter", tmp_path / "cramped", **keys)
    train(prepare(sound))
    train(cramped(prepare(config), only_at_call(1)))
    ours, theirs = (
        [line for line in lines(run) if "validation_loss" in line] for run in (sound.run, config.run)
    )
    assert [(line["step"], line["micro_batch"]) for line in lines(config.run) if "micro_batch" in line] == [
        (0, 4)
    ]
    for one, other in zip(ours, theirs, strict=True):
        assert other["validation_loss"] == pytest.approx(one["validation_loss"], rel=1e-5)
        assert other["validation_psnr"] == pytest.approx(one["validation_psnr"], rel=1e-3)


def test_one_image_that_does_not_fit_ends_in_one_line_with_advice(configure, tmp_path):
    config = configure("adapter", tmp_path / "run", **STEPS)
    told = (
        r"out of memory with one image in a forward pass \(CUDA out of memory. Tried to allocate 2.00 GiB\); use "
        "gradient_checkpointing=true.*--fit SIZE"
    )
    with pytest.raises(UserError, match=told):
        train(cramped(prepare(config), more_than(0)))


def test_an_incident_after_a_halving_is_made_again_bit_for_bit(configure, tmp_path):
    keys = STEPS | {"optimize__lr": 1e25, "data__captions": "plain"}
    config = configure("adapter", tmp_path / "run", **keys)
    with pytest.raises(UserError, match="at step 2"):
        train(cramped(prepare(config), more_than(4)))
    incident, _ = load_incident(config.run, None)
    assert (incident.images_a_batch, incident.images_a_forward) == (8, 4)
    figures = replay(config.run)
    assert (figures["repeated"], figures["same_images"]) == (True, True)


CRAMPED_SECOND = """
from test_train_out_of_memory import cramped, more_than
run = prepare(config, world)
train(cramped(run, more_than(1)) if world.rank == 1 else run)
leave_world(world)
"""


def test_all_processes_halve_together_where_one_lacks_memory(configure, tmp_path):
    small = configure("adapter", tmp_path / "small", optimize__micro_batch=1, **STEPS)
    config = configure("adapter", tmp_path / "cramped", **STEPS)
    for one in (small, config):
        ended = run_together(one, CRAMPED_SECOND)
        assert [process.returncode for process in ended] == [0, 0], ended
    # 4 to 2 to 1, which rank 0 tells
    assert [process.stderr.count("out of memory with") for process in ended] == [2, 0]
    # not bit for bit: the images of a step are added up in another order than one by one
    ours, theirs = ([line["loss"] for line in lines(one.run) if "loss" in line] for one in (small, config))
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_what_counts_as_too_little_memory():
    assert is_out_of_memory(torch.OutOfMemoryError("HIP out of memory"))
    assert is_out_of_memory(
        RuntimeError(f"[enforce fail at alloc_cpu.cpp:124] . {REFUSALS[0]}: you tried to")
    )
    assert is_out_of_memory(RuntimeError("std::bad_alloc"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        StepSplit(4, 1, 32, ALONE).fitted(lambda _: (_ for _ in ()).throw(RuntimeError("shapes")))


def test_too_little_memory_for_the_weights_is_told_without_halving():
    with (
        pytest.raises(UserError, match=r"beside the images of a pass.*use shard=full"),
        lack_of_memory_told(),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="shapes"), lack_of_memory_told():
        raise RuntimeError("shapes")


def test_onednn_that_is_refused_pages_has_the_images_halved():
    def work(images: int) -> int:
        if images > 2:
            raise RuntimeError("could not create a primitive")
        return images

    assert StepSplit(8, 1, 32, ALONE).fitted(work) == 2
    told = r"out of memory with one image in a forward pass \(could not create a primitive\); use gradient"
    with pytest.raises(UserError, match=told):
        StepSplit(2, 1, 32, ALONE).fitted(lambda _: work(8))


def test_onednn_without_a_kernel_is_no_lack_of_memory():
    assert is_out_of_memory(RuntimeError("could not execute a primitive"))
    assert not is_out_of_memory(
        RuntimeError("could not create a primitive descriptor for the matmul primitive")
    )


def test_main_memory_that_the_system_refuses_is_told_apart():
    program = (
        "import resource, torch; resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33));"
        "from supir_train.micro_batch import StepSplit; from supir_train.world import ALONE;"
        "print(StepSplit(8, 1, 32, ALONE).fitted(lambda images: torch.empty(images * 2**30).numel()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=HANGS_AFTER_S
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) in (2**30, 2**31)
