"""The network against stored numbers of an independent run (see conftest.py).

Every weight is pseudo-random
and follows from its official name, so that no checkpoint is needed: see `fill`.
"""

from __future__ import annotations

import re
import zlib

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint

from supir_model.adapted_unet import adapted_eps
from supir_model.connectors import Connectors, ZeroCrossAttention, ZeroSFT
from supir_model.control import ControlEncoder
from supir_model.diffusion import sampling_sigmas
from supir_model.guidance import LinearScale, guided
from supir_model.presets import PRESETS
from supir_model.sampler import sample_edm, start_latent
from supir_model.supir import Supir
from supir_model.text import TextConditioning


def fill(name: str, shape: list[int], crc: str) -> torch.Tensor:
    """The pseudo-random tensor of an official name; its bytes are checked against the stored checksum."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    values = generator.standard_normal(shape, dtype=np.float32)
    if name.endswith("weight") and len(shape) == 1:
        values = np.float32(1) + np.float32(0.1) * values
    elif name.endswith("bias") or len(shape) == 1:
        values = np.float32(0.05) * values
    else:
        values = values * np.float32(1 / np.sqrt(np.prod(np.array(shape[1:], dtype=np.float64))))
    assert f"{zlib.crc32(values.tobytes()):08x}" == crc, name
    return torch.from_numpy(values)


def our_connector_name(official: str) -> str:
    name = re.sub("param_free_norm", "norm", official)
    name = re.sub(r"mlp_shared\.0", "hidden", name)
    return name.replace("zero_mul", "gamma").replace("zero_add", "beta").replace("zero_conv", "residual")


def official_tensors(meta: dict, prefix: str) -> dict[str, torch.Tensor]:
    return {row[0]: fill(*row) for row in meta["tensors_name_shape_crc32"] if row[0].startswith(prefix)}


def build_unet(meta: dict) -> tuple[UNet2DConditionModel, ControlEncoder, Connectors]:
    config = meta["config"]
    widths = tuple(config["model_channels"] * factor for factor in config["channel_mult"])
    unet = UNet2DConditionModel(
        **{
            **PRESETS["sdxl"].unet,
            "block_out_channels": widths,
            "transformer_layers_per_block": tuple(config["unet_transformer_depth"]),
            "attention_head_dim": tuple(width // config["num_head_channels"] for width in widths),
            "cross_attention_dim": config["context_dim"],
            "addition_time_embed_dim": config["addition_time_embed_dim"],
            "projection_class_embeddings_input_dim": config["adm_in_channels"],
        }
    )
    control = ControlEncoder.for_unet(unet, tuple(config["control_transformer_depth"]))
    connectors = Connectors(widths)
    backbone = official_tensors(meta, "model.diffusion_model.")
    project = "model.diffusion_model.project_modules."
    unet.load_state_dict(
        convert_ldm_unet_checkpoint(
            {key: value for key, value in backbone.items() if not key.startswith(project)}, dict(unet.config)
        )
    )
    connectors.load_state_dict(
        {
            "layers." + our_connector_name(key.removeprefix(project)): value
            for key, value in backbone.items()
            if key.startswith(project)
        }
    )
    trunk = official_tensors(meta, "model.control_model.")
    hint = {
        f"hint.{leaf}": trunk.pop(f"model.control_model.input_hint_block.0.{leaf}")
        for leaf in ("weight", "bias")
    }
    renamed = {
        key.replace("model.control_model.", "model.diffusion_model."): value for key, value in trunk.items()
    }
    control.load_state_dict({**convert_ldm_unet_checkpoint(renamed, dict(unet.config)), **hint})
    return unet.eval(), control.eval(), connectors.eval()


def build_vae(meta: dict) -> tuple[AutoencoderKL, torch.nn.Module]:
    config = meta["config"]
    widths = tuple(config["ch"] * factor for factor in config["ch_mult"])
    vae = AutoencoderKL(**{**PRESETS["sdxl"].vae, "block_out_channels": widths})
    official = official_tensors(meta, "first_stage_model.")
    second = {key: value for key, value in official.items() if ".denoise_encoder." in key}
    first = {key: value for key, value in official.items() if key not in second}
    vae.load_state_dict(convert_ldm_vae_checkpoint(first, dict(vae.config)))
    renamed = {key.replace("denoise_encoder", "encoder"): value for key, value in second.items()}
    encoder = convert_ldm_vae_checkpoint(renamed, dict(vae.config))
    robust = AutoencoderKL(**{**PRESETS["sdxl"].vae, "block_out_channels": widths}).encoder
    robust.load_state_dict({key.removeprefix("encoder."): value for key, value in encoder.items()})
    return vae, robust


def build_supir(unet_meta: dict, vae_meta: dict) -> Supir:
    unet, control, connectors = build_unet(unet_meta)
    vae, robust = build_vae(vae_meta)
    # conditioning comes from the file, the text encoders are never called
    text = torch.nn.Identity()
    return Supir(unet=unet, control=control, connectors=connectors, vae=vae, robust_encoder=robust, text=text)


def worst(ours: torch.Tensor, stored: torch.Tensor) -> float:
    assert ours.shape == stored.shape
    return float((ours - stored).abs().max())


def test_stand_alone_connectors_equal_the_stored_ones(parity):
    meta, stored = parity("zerosft")
    for name, module in meta["modules"].items():
        if module["type"] == "ZeroSFT":
            ours = ZeroSFT(
                module["control_channels"],
                module["main_channels"],
                module["skip_channels"] if module["concat"] else 0,
                hidden_channels=128,
                norm_num_groups=32,
            )
        else:
            widths = (stored[f"{name}.main"].shape[1], stored[f"{name}.control"].shape[1])
            ours = ZeroCrossAttention(*widths, head_channels=64, norm_num_groups=32)
        ours.load_state_dict(
            {
                our_connector_name(row[0].removeprefix(f"{name}.")): fill(*row)
                for row in module["tensors_name_shape_crc32"]
            }
        )
        inputs = [stored[f"{name}.main"]]
        if module["type"] == "ZeroSFT":
            inputs.append(stored.get(f"{name}.skip"))
        for scale in meta["control_scales"]:
            with torch.no_grad():
                output = ours(*inputs, stored[f"{name}.control"], scale)
            assert worst(output, stored[f"{name}.out_s{scale}"]) < 5e-5, (name, scale)


@pytest.mark.parametrize("name", ["unet_A2", "unet_A"])
def test_adapted_unet_equals_the_stored_one(parity, name):
    meta, stored = parity(name)
    unet, control, connectors = build_unet(meta)
    for case in meta["cases"]:
        values = {
            key.removeprefix(f"{case}."): value for key, value in stored.items() if key.startswith(f"{case}.")
        }
        shared = (values["context"], values["pooled"], values["time_ids"].float())
        added = {"text_embeds": shared[1], "time_ids": shared[2]}
        with torch.no_grad():
            maps = control(values["x_in"], values["timesteps"], values["z_lq"], *shared)
            for index, ours in enumerate(maps):
                if f"control_{index}" in values:
                    assert worst(ours, values[f"control_{index}"]) < 2e-4, (case, index)
            for scale in meta["control_scales"]:
                eps = adapted_eps(
                    unet, connectors, maps, values["x_in"], values["timesteps"], shared[0], added, scale
                )
                assert worst(eps, values[f"eps_s{scale}"]) < 3e-5, (case, scale)


@pytest.mark.parametrize("name", ["vae64", "vae"])
def test_both_encoders_and_the_decoder_equal_the_stored_ones(parity, name):
    meta, stored = parity(name)
    vae, robust = build_vae(meta)
    supir = Supir(
        unet=None, control=None, connectors=None, vae=vae, robust_encoder=robust, text=torch.nn.Identity()
    )
    for case in ("sq", "rect"):
        image = stored[f"{case}.image"]
        with torch.no_grad():
            for encoder, encode in (("encoder", supir.encode), ("denoise_encoder", supir.encode_lq)):
                latent = encode(image)
                assert worst(latent, stored[f"{case}.{encoder}.latent"]) < 1.3e-5
                assert worst(supir.decode(latent), stored[f"{case}.{encoder}.decoded"]) < 2e-4


def test_pipeline_from_image_to_decoded_sample_equals_the_stored_one(parity):
    meta, stored = parity("pipeline")
    setting = meta["P1"]
    values = {key.removeprefix("P1."): value for key, value in stored.items()}
    supir = build_supir(parity(setting["unet_config"])[0], parity("vae")[0])
    with torch.no_grad():
        z_lq = supir.encode_lq(values["image"])
        posterior = supir.vae.encode(supir.decode(z_lq)).latent_dist
    assert worst(z_lq, values["z_lq"]) < 1e-4
    x_center = 0.13025 * (posterior.mean + posterior.std * values["noise_posterior"])
    assert worst(x_center, values["z_stage1"]) < 1e-4
    positive, negative = (
        TextConditioning(values[f"context_{branch}"], values[f"pooled_{branch}"])
        for branch in ("cond", "uncond")
    )
    denoise = guided(
        supir,
        z_lq,
        positive,
        negative,
        values["time_ids"].float(),
        guidance_scale=LinearScale(setting["cfg_start"], setting["cfg_end"]),
        control_scale=LinearScale(setting["control_scale"], setting["control_scale"]),
    )
    sigmas = sampling_sigmas(setting["n"])
    noises = iter(values["noise_steps"])
    steps = []
    x = sample_edm(
        denoise,
        start_latent(values["noise_init"], sigmas),
        sigmas,
        noise=lambda x: next(noises),
        s_churn=setting["s_churn"],
        s_noise=setting["s_noise"],
        restore_guidance=setting["restore_cfg"],
        x_center=x_center,
        on_step=steps.append,
    )
    assert worst(torch.stack([step.x for step in steps]), values["x"][1:]) < 1e-3
    with torch.no_grad():
        assert worst(supir.decode(x), values["decoded"]) < 3e-4
