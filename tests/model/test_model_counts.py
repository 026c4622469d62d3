"""Parameter counts and names of the official size, on the meta device."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from supir_model.connectors import Connectors
from supir_model.control import ControlEncoder
from supir_model.load import build
from supir_model.presets import FULL_DEPTH, PRESETS, TRIMMED_DEPTH


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def sdxl():
    with torch.device("meta"):
        return build(PRESETS["sdxl"], tokenizer=None)


def test_sdxl_parts_have_the_published_sizes(sdxl):
    assert count(sdxl.unet) == 2_567_463_684
    assert len(sdxl.unet.state_dict()) == 1680
    assert count(sdxl.vae.encoder) == count(sdxl.robust_encoder) == 34_163_592
    assert count(sdxl.vae.decoder) == 49_490_179
    assert count(sdxl.text.text_encoder) == 123_060_480
    assert count(sdxl.text.text_encoder_2) == 694_659_840


def test_released_adapter_has_the_published_size_and_tensor_count(sdxl):
    assert count(sdxl.control) == 1_243_378_880
    assert len(sdxl.control.state_dict()) == 810
    assert count(sdxl.connectors) == 54_797_440
    assert len(sdxl.connectors.state_dict()) == 118
    assert count(sdxl.control) + count(sdxl.connectors) + count(sdxl.robust_encoder) == 1_332_339_912


def test_trimmed_control_encoder_has_half_the_transformer_blocks(sdxl):
    with torch.device("meta"):
        trimmed = ControlEncoder.for_unet(sdxl.unet, TRIMMED_DEPTH)
    assert count(trimmed) == 702_031_040
    blocks = [len(layer.transformer_blocks) for layer in trimmed.mid_block.attentions]
    assert blocks == [5]
    assert FULL_DEPTH[-1] == 10


def test_each_connector_of_sdxl_has_the_published_size(sdxl):
    sizes = [count(layer) for layer in sdxl.connectors.layers]
    assert sizes == [
        *(1_948_608, 1_948_608, 2_687_168, 1_231_360, 2_687_168, 4_101_888),
        *(5_579_008, 4_920_320, 5_579_008, 9_022_848, 9_022_848, 6_068_608),
    ]


def test_mini_fits_its_budget():
    with torch.device("meta"):
        mini = build(PRESETS["mini"], tokenizer=None)
    assert count(mini.unet) <= 7_000_000
    assert count(mini.control) + count(mini.connectors) <= 6_000_000
    # stored in float16: all parts within 32 MB, each file within 15 MB
    assert 2 * count(mini) < 32_000_000
    assert 2 * max(count(mini.unet), count(mini.control)) < 15_000_000


def test_connectors_follow_any_widths():
    layers = Connectors((48, 96, 96), hidden_channels=32, head_channels=32, norm_num_groups=16).layers
    assert [layer.norm.num_channels for layer in layers if hasattr(layer, "norm")] == [
        *(96, 96, 144, 144, 192, 192, 192, 192, 192, 96)
    ]


def test_importing_the_package_loads_no_torch():
    code = "import sys, supir_model; print('torch' in sys.modules, sorted(supir_model.PRESETS))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False ['mini', 'sdxl', 'tiny']"
