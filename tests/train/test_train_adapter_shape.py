"""Depth and connectors of a new adapter, 8-bit AdamW and compiled blocks: what each key makes of a run."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from supir_console import UserError, load_config
from supir_infer import RestoreSettings
from supir_infer.restore import Restorer
from supir_model import PRESETS, load_supir
from supir_model.connectors import ZeroConv
from supir_model.load import fresh
from supir_model.memory import compile_blocks
from supir_train import TrainConfig, build, optimizers
from supir_train import compiled as compiled_blocks
from supir_train.compiled import require_compiler
from supir_train.export import export
from supir_train.optimize_config import OptimizeConfig
from supir_train.optimizers import make_optimizer, optimizer_bytes, require_optimizer
from supir_train.run import prepare, train

EIGHT_BIT = OptimizeConfig(optimizer="adamw8bit", lr=1e-3)
CPU = torch.device("cpu")
WITHOUT_COMPILER = {"cpp.cxx": ("/no/compiler",), "compile_threads": 1, "force_disable_caches": True}


@pytest.fixture(scope="module")
def deep_model(tmp_path_factory):
    """A tiny model whose UNet and control encoder have two and four transformer blocks on the deeper levels."""
    tiny = PRESETS["tiny"]
    depth = (1, 2, 4)
    deep = replace(tiny, unet={**tiny.unet, "transformer_layers_per_block": depth}, control_depth=depth)
    folder = tmp_path_factory.mktemp("deep") / "model"
    fresh(deep, seed=3).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("connector", ["zero_sft", "zero_conv"])
def test_an_adapter_of_another_shape_trains_goes_on_is_exported_and_restores(
    connector, deep_model, configure, tmp_path
):
    def config(name: str) -> TrainConfig:
        return configure(
            "adapter",
            tmp_path / name,
            init=deep_model,
            adapter__start="unet",
            adapter__control_depth=[1, 1, 2],
            adapter__connector=connector,
            optimize__steps=2,
            optimize__lr=1e-2,
            optimize__batch=4,
            validation__crops=2,
            keep_checkpoints=3,
            checkpoint_every=1,
        )

    train(prepare(config("straight")))
    train(prepare(config("stopped")), should_stop=lambda steps: steps == 1)
    assert train(prepare(config("stopped"))).model
    supir, again = (load_supir(tmp_path / name / "model") for name in ("straight", "stopped"))
    assert tuple(supir.control.config["transformer_layers_per_block"]) == (1, 1, 2)
    assert len(supir.unet.mid_block.attentions[0].transformer_blocks) == 4
    assert isinstance(supir.connectors.layers[0], ZeroConv) == (connector == "zero_conv")
    trained, stopped = supir.trainable("adapter"), again.trainable("adapter")
    assert all(torch.equal(value, stopped[name]) for name, value in trained.items())
    assert supir.connectors.layers[0].residual.weight.any()
    export(tmp_path / "straight", step=2, best=False, output=tmp_path / "out", official=None)
    exported = load_file(tmp_path / "out/control/diffusion_pytorch_model.safetensors")
    assert all(torch.equal(value, exported[name]) for name, value in supir.control.state_dict().items())
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    restored = Restorer(supir, RestoreSettings(steps=2, upscale=1.0, min_size_px=64)).restore(picture)
    assert restored.image.shape == (64, 64, 3)


def test_bf16_exports_a_trimmed_adapter_with_the_frozen_weights_as_they_were(deep_model, configure, tmp_path):
    keys = {"adapter__start": "unet", "adapter__control_depth": [1, 1, 1], "optimize__precision": "bf16"}
    train(
        prepare(
            configure(
                "adapter", tmp_path / "run", init=deep_model, optimize__steps=1, validation__crops=0, **keys
            )
        )
    )
    before, after = load_supir(deep_model), load_supir(tmp_path / "run/model")
    assert tuple(after.control.config["transformer_layers_per_block"]) == (1, 1, 1)
    frozen = dict(before.unet.named_parameters())
    assert all(torch.equal(value, frozen[name]) for name, value in after.unet.named_parameters())


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["adapter.control_depth=[1,1,5]"], "shape a new adapter; set adapter.start=unet"),
        (["adapter.connector=zero_conv"], "shape a new adapter; set adapter.start=unet"),
        (["adapter={start: unet, control_depth: [1, 0, 5]}"], "has a level of none; use 1 or more each"),
        (["optimize.optimizer=adamw8bit", "shard=full"], "adamw8bit keeps no moments of shares"),
        (["compile_blocks=true", "shard=full"], "compile_blocks=true does not go with shard=full"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(overrides, text):
    with pytest.raises(UserError, match=re.escape(text)):
        load_config(TrainConfig, None, ["stage=adapter", "run=r", "data.dataset=d", *overrides])


def test_moments_of_8_bits_follow_a_gradient_keep_the_layout_and_take_the_bytes_that_are_planned():
    pytest.importorskip("bitsandbytes")
    generator = torch.Generator().manual_seed(0)
    shapes = (64, 32, 3, 3), (1, 64, 3, 3), (320,), (80, 64)
    parameters = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    for parameter in parameters[:2]:
        parameter.data = parameter.data.to(memory_format=torch.channels_last)
    layouts = [parameter.stride() for parameter in parameters]
    before = [parameter.detach().clone() for parameter in parameters]
    optimizer = make_optimizer(parameters, EIGHT_BIT)
    targets = [torch.randn(shape, generator=generator) for shape in shapes]
    for _ in range(3):
        for parameter, target in zip(parameters, targets, strict=True):
            parameter.grad = parameter.detach() - target  # in the layout of the target at times
        optimizer.step()
        optimizer.zero_grad()
    for parameter, old, target in zip(parameters, before, targets, strict=True):
        moved = parameter.detach() - old
        agrees = (moved * (target - old) > 0).float().mean()
        assert agrees > 0.98
        assert float(moved.abs().mean()) == pytest.approx(3e-3, rel=0.1)
    assert [parameter.stride() for parameter in parameters] == layouts
    tables = {"qmap1", "qmap2"}  # the same two for all
    held = 0
    for state in optimizer._inner.state.values():
        held += sum(
            value.nbytes for name, value in state.items() if torch.is_tensor(value) and name not in tables
        )
    assert held == optimizer_bytes(parameters, EIGHT_BIT)


def test_a_stopped_run_with_moments_of_8_bits_goes_on_bit_for_bit(configure, tmp_path):
    pytest.importorskip("bitsandbytes")

    def config(name: str) -> TrainConfig:
        keys = {"optimize__optimizer": "adamw8bit", "optimize__steps": 4, "validation__crops": 0}
        return configure("encoder", tmp_path / name, **keys)

    train(prepare(config("straight")))
    train(prepare(config("stopped")), should_stop=lambda steps: steps == 2)
    train(prepare(config("stopped")))
    file = "model/robust_encoder/diffusion_pytorch_model.safetensors"
    straight, stopped = (load_file(tmp_path / name / file) for name in ("straight", "stopped"))
    assert all(torch.equal(value, stopped[name]) for name, value in straight.items())


def test_8_bits_without_bitsandbytes_or_where_it_does_not_run_are_refused_in_one_line(monkeypatch):
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel\nfor this device")

    monkeypatch.setattr(optimizers, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="adamw8bit needs bitsandbytes, which is not installed; pip install"):
        require_optimizer(EIGHT_BIT, CPU)
    monkeypatch.setattr(optimizers, "find_spec", lambda name: name)
    monkeypatch.setattr(optimizers, "make_optimizer", fails)
    with pytest.raises(UserError, match=r"makes no step on cpu \(RuntimeError: no kernel\); use adamw"):
        require_optimizer(EIGHT_BIT, CPU)
    require_optimizer(OptimizeConfig(), CPU)


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiles with g++")
def test_a_machine_with_a_compiler_is_let_through():
    with torch._inductor.config.patch({"compile_threads": 1}):  # no pool of processes
        require_compiler(CPU)


def test_compiled_blocks_train_as_eager_ones_do(configure, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "require_compiler", lambda _: None)

    def losses(name: str, **keys: object) -> list[float]:
        setting = {"optimize__steps": 1, "validation__crops": 0, "optimize__batch": 2}
        run = prepare(configure("adapter", tmp_path / name, **setting, **keys))
        train(run)
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        return [float(re.findall(r'"(?:loss|grad_norm)": ([\d.e-]+)', line)[0]) for line in lines]

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    # graphs of forward and backward pass are made as for any backend; g++ takes minutes for each, and has its own test
    monkeypatch.setattr(compiled_blocks, "compile_blocks", partial(compile_blocks, backend="aot_eager"))
    compiled = losses("compiled", compile_blocks="true")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert compiled == pytest.approx(losses("eager"), rel=1e-4)


def test_compiled_blocks_without_a_compiler_are_refused_in_one_line():
    torch._dynamo.reset()
    with (
        torch._inductor.config.patch(WITHOUT_COMPILER),
        pytest.raises(
            UserError, match=r"compiles nothing on cpu here \(.*install a C\+\+ compiler such as g\+\+"
        ),
    ):
        require_compiler(CPU)
    torch._dynamo.reset()
