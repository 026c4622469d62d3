"""Our parameter names in the words of the official files: CompVis' LDM layout, with SUPIR's three additions.

Place in the flow: `checkpoint.py` and `single_file.py` read and write through these; nothing else knows the layout.
Law: one direction only, ours to theirs, so that reading (look up each of ours) and writing cannot disagree. The
names are functions of the structure, not of a table, and hold for any width and depth.
Source: state-dict layout of SDXL base (LDM) and of the released SUPIR delta; 1034 names in tests/model.
"""

from __future__ import annotations

import re
from typing import Final

CONTROL: Final = "model.control_model."
CONNECTORS: Final = "model.diffusion_model.project_modules."
ROBUST_ENCODER: Final = "first_stage_model.denoise_encoder."
UNET: Final = "model.diffusion_model."
VAE: Final = "first_stage_model."

_RESNET: Final = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_TOP: Final = {
    "conv_in": "input_blocks.0.0",
    "hint": "input_hint_block.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_CONNECTOR: Final = {
    "norm": "param_free_norm",
    "hidden": "mlp_shared.0",
    "gamma": "zero_mul",
    "beta": "zero_add",
    "residual": "zero_conv",
}
_VAE_ATTENTION: Final = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_BLOCKS_PER_LEVEL: Final = 3  # two residual blocks and a downsampler; in the decoder three residual blocks


def unet_name(ours: str) -> str:
    """The name, without its prefix, of a parameter of `UNet2DConditionModel` or `ControlEncoder`.

    Example:
        >>> unet_name("down_blocks.1.attentions.0.proj_in.weight")
        'input_blocks.4.1.proj_in.weight'
        >>> unet_name("up_blocks.2.resnets.1.conv_shortcut.bias")
        'output_blocks.7.0.skip_connection.bias'
    """
    module, _, leaf = ours.rpartition(".")
    if module in _UNET_TOP:
        return f"{_UNET_TOP[module]}.{leaf}"
    if found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", module):
        kind, index, rest = found.groups()
        return (
            f"middle_block.1.{rest}.{leaf}"
            if kind == "attentions"
            else (f"middle_block.{2 * int(index)}.{_RESNET[rest]}.{leaf}")
        )
    found = re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.+)", module)
    if found is None:
        raise ValueError(f"{ours!r} is no parameter of an SDXL-shaped UNet")
    half, level, kind, index, rest = found.groups()
    first = _BLOCKS_PER_LEVEL * int(level)
    if half == "down":
        if kind == "downsamplers":
            return f"input_blocks.{first + 3}.0.op.{leaf}"
        stem = f"input_blocks.{first + 1 + int(index)}"
    else:
        if kind == "upsamplers":
            return f"output_blocks.{first + 2}.2.conv.{leaf}"
        stem = f"output_blocks.{first + int(index)}"
    return f"{stem}.1.{rest}.{leaf}" if kind == "attentions" else f"{stem}.0.{_RESNET[rest]}.{leaf}"


def connector_name(ours: str) -> str:
    """The name below `project_modules.` of a parameter of `Connectors`.

    Example:
        >>> connector_name("layers.4.gamma.weight")
        '4.zero_mul.weight'
        >>> connector_name("layers.3.attn.to_out.0.bias")
        '3.attn.to_out.0.bias'
    """
    _, index, rest = ours.split(".", 2)
    module, _, leaf = rest.rpartition(".")
    return f"{index}.{_CONNECTOR.get(module, module)}.{leaf}"


def vae_name(ours: str, num_levels: int) -> str:
    """The name, without its prefix, of a parameter of `AutoencoderKL`.

    Args:
        ours: its name; one of an encoder alone starts with "encoder." here too.
        num_levels: levels of the VAE, which LDM's decoder counts the other way round.

    Example:
        >>> vae_name("decoder.up_blocks.0.resnets.2.conv1.weight", 4)
        'decoder.up.3.block.2.conv1.weight'
        >>> vae_name("encoder.mid_block.attentions.0.to_out.0.bias", 4)
        'encoder.mid.attn_1.proj_out.bias'
    """
    name = ours.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", name)
    name = re.sub(
        r"mid_block\.attentions\.0\.(.+)\.(weight|bias)$",
        lambda found: f"mid.attn_1.{_VAE_ATTENTION[found[1]]}.{found[2]}",
        name,
    )
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    return re.sub(
        r"up_blocks\.(\d)\.(resnets|upsamplers\.0)",
        lambda found: (
            f"up.{num_levels - 1 - int(found[1])}.{'block' if found[2] == 'resnets' else 'upsample'}"
        ),
        name,
    )


def official_shape(official: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in an official file of our parameter of `shape`: LDM's VAE attends with 1×1 convolutions."""
    is_convolution = re.search(r"mid\.attn_1\.(q|k|v|proj_out)\.weight$", official)
    return (*shape, 1, 1) if is_convolution else shape
