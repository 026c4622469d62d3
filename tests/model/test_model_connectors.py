"""The two connector formulas written out again, and which control map reaches which connector."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from supir_model import load_supir
from supir_model.connectors import Connectors, ZeroCrossAttention, ZeroSFT


def random_weights(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return module.double()


def maps(*shape: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return tuple(torch.randn(2, width, 5, 6, generator=generator).double() for width in shape)


def replay_sft(layer, main, skip, control, scale):
    weights = dict(layer.named_parameters())

    def conv(name, value, padding):
        return F.conv2d(value, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding)

    hidden = conv("hidden", control, 1)
    hidden = hidden * torch.sigmoid(hidden)
    residual = conv("residual", control, 0)
    raw = main if skip is None else torch.cat([main, skip], 1)
    shifted = main + residual if skip is None else torch.cat([main, skip + residual], 1)
    groups = shifted.reshape(2, 4, -1)
    normal = (groups - groups.mean(2, keepdim=True)) / (
        groups.var(2, correction=0, keepdim=True) + 1e-5
    ).sqrt()
    normal = normal.reshape(shifted.shape) * weights["norm.weight"].view(1, -1, 1, 1)
    normal = normal + weights["norm.bias"].view(1, -1, 1, 1)
    adapted = normal * (1 + conv("gamma", hidden, 1)) + conv("beta", hidden, 1)
    return scale * adapted + (1 - scale) * raw


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("with_skip", [True, False])
def test_zero_sft_is_its_formula(scale, with_skip):
    main, skip, control = maps(8, 4, 6)
    layer = random_weights(ZeroSFT(6, 8, 4 if with_skip else 0, hidden_channels=5, norm_num_groups=4), 1)
    skip = skip if with_skip else None
    torch.testing.assert_close(
        layer(main, skip, control, scale), replay_sft(layer, main, skip, control, scale)
    )


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_zero_cross_attention_is_its_formula(scale):
    main, control, _ = maps(8, 4, 1)
    layer = random_weights(ZeroCrossAttention(8, 4, head_channels=4, norm_num_groups=2), 3)
    queries = layer.attn.to_q(layer.norm1(main).flatten(2).transpose(1, 2)).reshape(2, 30, 2, 4)
    tokens = layer.norm2(control).flatten(2).transpose(1, 2)
    keys, values = (part(tokens).reshape(2, 30, 2, 4) for part in (layer.attn.to_k, layer.attn.to_v))
    weights = (torch.einsum("bqhc,bkhc->bhqk", queries, keys) / 2.0).softmax(-1)
    read = layer.attn.to_out[0](torch.einsum("bhqk,bkhc->bqhc", weights, values).reshape(2, 30, 8))
    expected = main + scale * read.transpose(1, 2).reshape(main.shape)
    torch.testing.assert_close(layer(main, control, scale), expected)


def test_fresh_connectors_only_normalise():
    main, skip, control = (value.float() for value in maps(8, 4, 6))
    layer = ZeroSFT(6, 8, 4, hidden_channels=5, norm_num_groups=4)
    expected = F.group_norm(torch.cat([main, skip], 1), 4, eps=1e-5)
    torch.testing.assert_close(layer(main, skip, control, 1.0), expected)
    cross = ZeroCrossAttention(8, 6, head_channels=4, norm_num_groups=2)
    assert torch.equal(cross(main, control, 1.0), main)


def test_each_connector_gets_its_control_map_from_deep_to_shallow():
    supir = load_supir(preset="tiny")
    produced, order = [], []
    supir.control.register_forward_hook(lambda _m, _i, output: produced.extend(output))
    for index, layer in enumerate(supir.connectors.layers):

        def note(_module, inputs, index=index):
            control = inputs[-2]
            order.append((index, next(i for i, value in enumerate(produced) if value is control)))

        layer.register_forward_pre_hook(note)
    x = torch.ones(1, 8, 16, 16)
    supir.predict_eps(x, torch.tensor([9]), x, supir.encode_prompt([""]), supir.time_ids(128, 128, 1))
    assert order == [
        *((11, 9), (10, 8), (9, 7), (8, 6), (7, 6), (6, 5)),
        *((5, 4), (4, 3), (3, 3), (2, 2), (1, 1), (0, 0)),
    ]


def test_the_zero_conv_baseline_adds_the_control_map_to_the_skip_and_reads_no_attention():
    torch.manual_seed(0)
    connectors = Connectors(block_out_channels=(8, 16, 24), kind="zero_conv")
    main, skip, control = torch.randn(2, 16, 4, 4), torch.randn(2, 8, 4, 4), torch.randn(2, 8, 4, 4)
    layer = connectors.layers[2]
    assert torch.equal(layer(main, skip, control, 1.0), torch.cat([main, skip], dim=1))  # starts as the prior
    torch.nn.init.normal_(layer.residual.weight)
    added = torch.einsum("oi,bihw->bohw", layer.residual.weight[:, :, 0, 0], control)
    torch.testing.assert_close(
        layer(main, skip, control, 0.5), torch.cat([main, skip + 0.5 * added], dim=1), rtol=1e-5, atol=1e-5
    )
    assert connectors.layers[3](main, control, 1.0) is main
    assert sorted({name.split(".")[2] for name, _ in connectors.named_parameters()}) == ["residual"]


def test_a_model_with_the_zero_conv_baseline_is_saved_and_comes_back(tmp_path):
    supir = load_supir(preset="tiny", weights=None, connector="zero_conv")
    supir.save_pretrained(tmp_path)
    assert load_supir(tmp_path).connectors.config["kind"] == "zero_conv"
    x, timestep = torch.randn(1, 8, 8, 8), torch.tensor([400])
    text, sizes = supir.encode_prompt(["a cat"]), supir.time_ids(64, 64, 1)
    plain = supir.predict_eps(x, timestep, None, text, sizes)
    torch.testing.assert_close(supir.predict_eps(x, timestep, x, text, sizes), plain, rtol=0, atol=2e-6)
