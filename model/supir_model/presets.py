"""The three sizes of SUPIR as plain data: SDXL itself, the embedded `mini`, the random `tiny`.

Place in the flow: `load.py` turns a preset into modules; a saved folder carries the same dictionaries in the
config.json of each component, so a preset is only ever needed for a fresh or an embedded model.
Law: a preset changes numbers, never structure: three levels of two residual blocks, attention on the two
deeper ones, ten control maps, twelve connectors.
Source: the SDXL base configuration (diffusers `stable-diffusion-xl-base-1.0`), paper section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

FULL_DEPTH: Final = (1, 2, 10)
"""Transformer depth per level of SDXL and of the released control encoder (level 0 has no transformer)."""
TRIMMED_DEPTH: Final = (1, 1, 5)
"""The paper's control encoder: half the transformer blocks."""
PREDICTION_TYPE: Final = "prediction_type"
"""Key of the UNet's config that says what it puts out: `epsilon`, as where the key is missing, `v_prediction` or
`sample`, the clean latent.

In diffusers it is the scheduler's; a UNet there keeps it and takes no notice."""
PredictionType = Literal["epsilon", "v_prediction", "sample"]
PREDICTION_TYPES: Final = get_args(PredictionType)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Constructor arguments of every component of one size.

    `unet`, `vae` and `text_encoder*` are keyword arguments of `UNet2DConditionModel`, of the VAE class and of
    `CLIPTextConfig`; `control_depth` is the control encoder's own transformer depth per level.
    """

    unet: dict[str, Any]
    prediction_type: PredictionType = "epsilon"
    control_depth: tuple[int, int, int]
    connectors: dict[str, Any] = field(default_factory=dict)
    vae_class: str
    vae: dict[str, Any]
    text_encoder: dict[str, Any]
    text_encoder_2: dict[str, Any]
    embedded: bool = False
    """Trained weights of this size ship inside the package."""


def _unet(
    widths: tuple[int, int, int],
    depth: tuple[int, int, int],
    *,
    head_width: int,
    context: int,
    pooled: int,
    time_id_width: int,
    latent_channels: int,
    norm_num_groups: int,
) -> dict[str, Any]:
    return {
        "sample_size": 128,
        "in_channels": latent_channels,
        "out_channels": latent_channels,
        "block_out_channels": widths,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 2,
        "transformer_layers_per_block": depth,
        # diffusers keeps the historical name: these are numbers of heads, not widths
        "attention_head_dim": tuple(width // head_width for width in widths),
        "cross_attention_dim": context,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": time_id_width,
        "projection_class_embeddings_input_dim": pooled + 6 * time_id_width,
        "norm_num_groups": norm_num_groups,
    }


def _clip(
    width: int, layers: int, heads: int, *, vocab: int = 49408, act: str = "gelu", projection: int
) -> dict[str, Any]:
    return {
        "vocab_size": vocab,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": 77,
        "hidden_act": act,
        "projection_dim": projection,
        "bos_token_id": vocab - 2,
        "eos_token_id": vocab - 1,
        "pad_token_id": vocab - 1,
    }


MINI_VOCABULARY: Final = 4096

PRESETS: Final[dict[str, Preset]] = {
    "sdxl": Preset(
        unet=_unet(
            (320, 640, 1280),
            FULL_DEPTH,
            head_width=64,
            context=2048,
            pooled=1280,
            time_id_width=256,
            latent_channels=4,
            norm_num_groups=32,
        ),
        control_depth=FULL_DEPTH,
        vae_class="AutoencoderKL",
        vae={
            "in_channels": 3,
            "out_channels": 3,
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "block_out_channels": (128, 256, 512, 512),
            "layers_per_block": 2,
            "latent_channels": 4,
            "norm_num_groups": 32,
            "sample_size": 1024,
            "scaling_factor": 0.13025,
        },
        text_encoder=_clip(768, 12, 12, act="quick_gelu", projection=768),
        text_encoder_2=_clip(1280, 32, 20, projection=1280),
    ),
    "mini": Preset(
        unet=_unet(
            (64, 64, 96),
            (1, 1, 1),
            head_width=32,
            context=160,
            pooled=96,
            time_id_width=32,
            latent_channels=64,
            norm_num_groups=16,
        ),
        # 64 channels cannot pass on the noise of 64 beside their features, as the others need (Li and He 2025, "Back to
        # basics": what is predicted should be the low-dimensional one)
        prediction_type="sample",
        control_depth=(1, 1, 1),
        connectors={"hidden_channels": 32, "head_channels": 32, "norm_num_groups": 16},
        vae_class="MiniVAE",
        vae={
            "latent_channels": 64,
            "block_out_channels": (32, 64, 128),
            "encoder_layers": (2, 2),
            "decoder_layers": (3, 2, 2),
            "robust_layers": (10, 11),
        },
        text_encoder=_clip(64, 2, 2, vocab=MINI_VOCABULARY, act="quick_gelu", projection=64),
        text_encoder_2=_clip(96, 2, 3, vocab=MINI_VOCABULARY, projection=96),
        embedded=True,
    ),
    "tiny": Preset(
        unet=_unet(
            (32, 32, 64),
            (1, 1, 1),
            head_width=16,
            context=48,
            pooled=32,
            time_id_width=8,
            latent_channels=8,
            norm_num_groups=8,
        ),
        control_depth=(1, 1, 1),
        connectors={"hidden_channels": 16, "head_channels": 16, "norm_num_groups": 8},
        vae_class="MiniVAE",
        vae={
            "latent_channels": 8,
            "block_out_channels": (8, 16, 32),
            "encoder_layers": (1, 1),
            "decoder_layers": (1, 1, 1),
            "robust_layers": (1, 2),
        },
        text_encoder=_clip(16, 2, 2, vocab=MINI_VOCABULARY, act="quick_gelu", projection=16),
        text_encoder_2=_clip(32, 2, 2, vocab=MINI_VOCABULARY, projection=32),
    ),
}
