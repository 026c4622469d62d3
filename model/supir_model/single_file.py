"""An SDXL base in one LDM-style file (`sd_xl_base_1.0.safetensors`, finetunes, merges), as diffusers' modules.

Place in the flow: `load_supir(base=FILE)`; the folder way is `folder.load_shared_parts`.
Law: every size is read from the tensors; each is read once, straight to its precision and place. What a finetune
carries besides (moving averages, schedules) is not read.
Source: LDM names as in `official_names`; the second text encoder's names are open_clip's, turned by diffusers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from supir_model.errors import ModelFileError, first_line
from supir_model.folder import vae_dtype
from supir_model.official_names import UNET, VAE, official_shape, unet_name, vae_name
from supir_model.presets import PREDICTION_TYPE, PRESETS
from supir_model.tensor_file import TensorFile
from supir_model.text import TextEncoders

TEXT: Final = "conditioner.embedders.0.transformer.text_model."
TEXT_2: Final = "conditioner.embedders.1.model."
VELOCITY_MARK: Final = "v_pred"
"""Empty tensor by which finetunes to v-prediction tell of it."""
HEAD_CHANNELS: Final = 64  # of SDXL's attentions and of both text encoders; no tensor tells it


def load_single_file(
    path: str | Path,
    tokenizer: CLIPTokenizer,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> dict[str, Any]:
    """UNet, VAE and text encoders of an SDXL file, as arguments of `Supir`; the VAE float32 beside float16.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFileError: it is no SDXL checkpoint, or is incomplete or damaged.
    """
    file = TensorFile(path)
    size_channels = _size(file, UNET + "label_emb.0.0.weight", 1) - _size(file, TEXT_2 + "text_projection", 1)
    unet = load_unet(file, time_id_channels=size_channels // 6, device=device, dtype=dtype)
    if VELOCITY_MARK in file.shapes:
        unet.register_to_config(**{PREDICTION_TYPE: "v_prediction"})
    return {
        "unet": unet,
        "vae": load_vae(file, device=device, dtype=vae_dtype(dtype)),
        "text": TextEncoders(
            tokenizer,
            _text_encoder(file, device, dtype),
            _text_encoder_2(file, device, dtype),
        ),
    }


def load_unet(
    file: TensorFile,
    *,
    head_channels: int = HEAD_CHANNELS,
    time_id_channels: int = 256,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> UNet2DConditionModel:
    """The UNet of a file, of any width and depth.

    Args:
        head_channels: width of an attention head.
        time_id_channels: width of the embedding of each of the six size numbers.
    """
    blocks = UNET + "input_blocks."
    widths = tuple(_size(file, f"{blocks}{index}.0.out_layers.3.bias", 0) for index in (1, 4, 7))
    config = {
        **PRESETS["sdxl"].unet,
        "in_channels": _size(file, f"{blocks}0.0.weight", 1),
        "out_channels": _size(file, f"{UNET}out.2.weight", 0),
        "block_out_channels": widths,
        "transformer_layers_per_block": (
            1,
            *(_depth(file, f"{blocks}{index}.1.transformer_blocks.") for index in (4, 7)),
        ),
        "attention_head_dim": tuple(max(1, width // head_channels) for width in widths),
        "cross_attention_dim": _size(file, f"{blocks}4.1.transformer_blocks.0.attn2.to_k.weight", 1),
        "addition_time_embed_dim": time_id_channels,
        "projection_class_embeddings_input_dim": _size(file, f"{UNET}label_emb.0.0.weight", 1),
    }
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config)
    names = {UNET + unet_name(key): key for key, _ in unet.named_parameters()}
    return _fill(unet, file, names, device, dtype)


def load_vae(
    file: TensorFile, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> AutoencoderKL:
    """The VAE of a file, of any width, with SDXL's scaling factor."""
    levels = 1 + max(
        (int(found[1]) for name in file.shapes if (found := re.match(VAE + r"encoder\.down\.(\d)\.", name))),
        default=-1,
    )
    widths = tuple(_size(file, f"{VAE}encoder.down.{level}.block.0.conv2.bias", 0) for level in range(levels))
    config = {
        **PRESETS["sdxl"].vae,
        "block_out_channels": widths,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "latent_channels": _size(file, f"{VAE}post_quant_conv.bias", 0),
    }
    with torch.device("meta"):
        vae = AutoencoderKL(**config)
    names = {VAE + vae_name(key, levels): key for key, _ in vae.named_parameters()}
    return _fill(vae, file, names, device, dtype)


def _text_encoder(file: TensorFile, device: torch.device | str, dtype: torch.dtype) -> CLIPTextModel:
    width = _size(file, TEXT + "final_layer_norm.bias", 0)
    config = {
        **PRESETS["sdxl"].text_encoder,
        "vocab_size": _size(file, TEXT + "embeddings.token_embedding.weight", 0),
        "hidden_size": width,
        "intermediate_size": _size(file, TEXT + "encoder.layers.0.mlp.fc1.bias", 0),
        "num_hidden_layers": _depth(file, TEXT + "encoder.layers."),
        "num_attention_heads": width // HEAD_CHANNELS,
    }
    with torch.device("meta"):
        model = CLIPTextModel(CLIPTextConfig(**config))
    # transformers 5 names the parameters without the level that older versions and files have
    names = {TEXT + key.removeprefix("text_model."): key for key, _ in model.named_parameters()}
    return _with_positions(_fill(model, file, names, device, dtype))


def _text_encoder_2(
    file: TensorFile, device: torch.device | str, dtype: torch.dtype
) -> CLIPTextModelWithProjection:
    width, projection = (_size(file, TEXT_2 + "text_projection", axis) for axis in (0, 1))
    blocks = TEXT_2 + "transformer.resblocks."
    config = {
        **PRESETS["sdxl"].text_encoder_2,
        "vocab_size": _size(file, TEXT_2 + "token_embedding.weight", 0),
        "hidden_size": width,
        "intermediate_size": _size(file, blocks + "0.mlp.c_fc.bias", 0),
        "num_hidden_layers": _depth(file, blocks),
        "num_attention_heads": width // HEAD_CHANNELS,
        "projection_dim": projection,
    }
    with torch.device("meta"):
        model = CLIPTextModelWithProjection(CLIPTextConfig(**config))
    official = [name for name in file.shapes if name.startswith(TEXT_2)]
    tensors = {name: tensor.to(device, dtype) for name, tensor in file.read(official)}
    try:
        model.load_state_dict(convert_open_clip_checkpoint(model, tensors, prefix=TEXT_2), assign=True)
    except (LookupError, RuntimeError) as error:
        raise ModelFileError(
            f"{file.path} is no SDXL checkpoint: its second text encoder ({TEXT_2}…) does not fit: {first_line(error)}"
        ) from error
    return _with_positions(model)


def _fill(
    module: Any, file: TensorFile, names: dict[str, str], device: torch.device | str, dtype: torch.dtype
) -> Any:
    """Give a module on the meta device its parameters, by official name → own name."""
    missing = [name for name in names if name not in file.shapes]
    if missing:
        raise ModelFileError(
            f"{file.path} is incomplete: {len(missing)} tensors missing, first {missing[0]}; download it again"
        )
    state: dict[str, Tensor] = {}
    for name, tensor in file.read([name for name in file.shapes if name in names]):
        shape = module.get_parameter(names[name]).shape
        if tensor.shape not in (shape, official_shape(name, tuple(shape))):
            raise ModelFileError(
                f"{file.path} is no SDXL checkpoint: {name} is {list(tensor.shape)}, wanted {list(shape)}"
            )
        state[names[name]] = tensor.to(device, dtype).reshape(shape)
    module.load_state_dict(state, assign=True)
    return module


def _with_positions(text_model: Any) -> Any:
    """Give a text encoder that was built on the meta device its position numbers, which no file holds."""
    for module in text_model.modules():
        if isinstance(getattr(module, "position_ids", None), Tensor):
            positions = torch.arange(module.position_ids.shape[-1], device=text_model.device)[None]
            module.register_buffer("position_ids", positions, persistent=False)
    return text_model


def _size(file: TensorFile, name: str, axis: int) -> int:
    if name not in file.shapes:
        raise ModelFileError(
            f"{file.path} is no SDXL checkpoint: no tensor {name}; give an SDXL base or finetune"
        )
    shape = file.shapes[name]
    if len(shape) <= axis:
        raise ModelFileError(f"{file.path} is no SDXL checkpoint: {name} is {list(shape)}")
    return shape[axis]


def _depth(file: TensorFile, prefix: str) -> int:
    numbers = (name.removeprefix(prefix).split(".")[0] for name in file.shapes if name.startswith(prefix))
    return 1 + max((int(number) for number in numbers), default=-1)
