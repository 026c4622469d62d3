"""What a training pair was made from is logged, and makes the very pair again."""

from __future__ import annotations

import json

import numpy as np
import torch

from supir_degrade import Trace, replay
from supir_images import decode_rgb
from supir_shards import Dataset
from supir_train.crops import CropBox, cut
from supir_train.data import training_batches
from supir_train.order import Position
from supir_train.run import prepare, train


def lines_of(run):
    return [json.loads(line) for line in (run / "traces.jsonl").read_text().splitlines()]


def test_every_pair_of_a_traced_step_can_be_made_again(configure, tmp_path):
    fit = {"optimize__steps": 4, "optimize__batch": 4, "optimize__micro_batch": 2, "trace_every": 2}
    config = configure("encoder", tmp_path / "run", **fit)
    train(prepare(config))
    lines = lines_of(config.run)
    assert [line["step"] for line in lines] == [2] * 4 + [4] * 4
    batches = training_batches(config, images=2, degraded=True, start=Position())
    used = [next(batches) for _ in range(8)]
    expected = torch.cat([batch.lq for batch in (*used[2:4], *used[6:8])])
    assert [line["key"] for line in lines] == [
        key for batch in (*used[2:4], *used[6:8]) for key in batch.keys
    ]
    dataset = Dataset(config.data.dataset)
    stored = {record.key: decode_rgb(record.image) for record in dataset.samples()}
    for line, lq in zip(lines, expected, strict=True):
        x0, y0, x1, _ = line["crop"]
        box = CropBox(x=x0, y=y0, side=x1 - x0, flip=line["flip"])
        trace = Trace.from_json(json.dumps(line["trace"]))
        again = replay(cut(stored[line["key"]], box, config.data.crop_px), trace)
        assert np.array_equal(again, lq.permute(1, 2, 0).numpy())


def test_a_run_that_goes_on_logs_each_step_once(configure, tmp_path):
    config = configure("encoder", tmp_path / "run", optimize__steps=3, optimize__batch=2, trace_every=1)
    train(prepare(config), should_stop=lambda steps: steps == 2)
    train(prepare(config))
    assert [line["step"] for line in lines_of(config.run)] == [1, 1, 2, 2, 3, 3]


def test_a_stage_without_degradation_logs_no_pairs(configure, tmp_path):
    config = configure("prior", tmp_path / "run", optimize__steps=1, trace_every=1)
    train(prepare(config))
    assert lines_of(config.run) == []


PLAIN = "{name: plain, steps: [{do: blur, sigma: [1, 2]}, {do: jpeg, quality: [40, 90]}]}"


def test_the_device_degrades_as_the_loader_does(configure, tmp_path):
    (tmp_path / "plain.yaml").write_text(PLAIN)
    batches = []
    for place in ("loader", "device"):
        config = configure(
            "encoder", tmp_path / "run", data__recipe=tmp_path / "plain.yaml", data__degrade_on=place
        )
        batches.append(next(training_batches(config, images=8, degraded=True, start=Position())))
    made, owed = batches
    assert owed.lq is None
    assert owed.traces == made.traces
    assert torch.equal(owed.hq, made.hq)
    lq, expected = (batch.to(torch.device("cpu")).lq for batch in (owed, made))
    assert (lq - expected).abs().max() <= 3 / 127.5  # a flipped rounding before the file's own
    assert (lq - expected).abs().mean() < 0.01 / 127.5
    assert lq.stride() == expected.stride()


def test_a_stage_trains_on_what_its_device_degraded(configure, tmp_path):
    fit = {"optimize__steps": 1, "optimize__batch": 4, "data__degrade_on": "device", "trace_every": 1}
    config = configure("encoder", tmp_path / "run", **fit)
    train(prepare(config))
    metrics = [json.loads(line) for line in (config.run / "metrics.jsonl").read_text().splitlines()]
    assert {"loss", "validation_loss"} <= set().union(*metrics)
    assert len(lines_of(config.run)) == 4
