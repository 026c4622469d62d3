"""Parity of control encoder, UNet with connectors, stand-alone connectors, both VAE encoders, official names.

Place in the flow: `parity.py` runs these over a folder; layout and tolerances are the fixture folder's README.
Legend: B batch, C latent channels, h w latent size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from parity_agreement import (
    Agreement,
    Arrays,
    Fixture,
    agree,
    agree_exactly,
    agree_in_ratio,
    no_problems,
    or_miss,
)
from parity_weights import (
    IN_THE_SUPIR_FILE,
    checksums,
    network_shapes,
    open_supir,
    seeded_tensor,
    shapes_of,
    vae_shapes,
)
from torch import Tensor, nn

from supir_infer.codec import Codec
from supir_model.connectors import ZeroCrossAttention, ZeroSFT
from supir_model.diffusion import scale_input, sigma_at
from supir_model.official_names import connector_name
from supir_model.presets import FULL_DEPTH, PRESETS
from supir_model.supir import Supir
from supir_model.text import TextConditioning

EPS, MAPS, CONNECTOR = 3e-5, 2e-4, 5e-5
MOMENTS, DECODED, STAGE_ONE = 1e-4, 2e-4, 1e-4
SIGMA = 2e-5
NORM_NUM_GROUPS = 32
EMBEDDING = 1e-4  # cosines of numbers up to some thousand, whose float32 spacing is that large


def unet(fixture: Fixture) -> Iterator[Agreement]:
    """Ten control maps, eps and the clean estimate at every stored control scale, of every group."""
    config, rows = fixture.meta["config"], fixture.meta["tensors_name_shape_crc32"]
    yield checksums(fixture.name, rows)
    opened = open_supir(
        shapes_of(rows),
        head_channels=config["num_head_channels"],
        time_id_channels=config["addition_time_embed_dim"],
    )
    groups = dict.fromkeys([*fixture.meta["cases"], *fixture.arrays.groups()])
    for group in groups if fixture.has_arrays() else ():
        case, values = f"{fixture.name} {group}", fixture.arrays.under(group)
        yield from or_miss(case, _unet_group(case, opened.supir, opened.plain_unet, values))


def _unet_group(
    case: str, supir: Supir, plain_unet: UNet2DConditionModel, values: Arrays
) -> Iterator[Agreement]:
    yield from _inputs(case, supir, values)
    yield from _maps(case, supir, values)
    yield from _eps(case, supir, values)
    yield from _denoised(case, supir, values)
    yield from _control_off(case, supir, plain_unet, values)


def size_vector(case: str, supir: Supir, pooled: Tensor, time_ids: Tensor, stored: Tensor) -> Agreement:
    """The pooled text with the six size numbers embedded, (B, P + 6·d), as the control encoder forms it."""
    sizes = supir.control.add_time_proj(time_ids.float().flatten()).reshape(len(pooled), -1)
    return agree(case, "y", torch.cat([pooled, sizes], dim=1), stored, EMBEDDING)


def _inputs(case: str, supir: Supir, values: Arrays) -> Iterator[Agreement]:
    sigma = sigma_at(values["timesteps"], ndim=4)
    yield agree_in_ratio(case, "sigma", sigma.flatten(), values["sigma"], SIGMA)
    yield agree(case, "x_in", scale_input(values["x_t"], sigma), values["x_in"], EPS)
    if "y" in values:
        yield size_vector(case, supir, values["pooled"], values["time_ids"], values["y"])


def _text(values: Arrays) -> TextConditioning:
    return TextConditioning(values["context"], values["pooled"])


def _scales(values: Arrays) -> list[str]:
    return [key.removeprefix("eps_s") for key in values if key.startswith("eps_s")]


def _maps(case: str, supir: Supir, values: Arrays) -> Iterator[Agreement]:
    """The maps as they leave the control encoder during a prediction."""
    seen: list[tuple[Tensor, ...]] = []
    hook = supir.control.register_forward_hook(lambda *call: seen.append(call[-1]))
    _predict(supir, values, 1.0)
    hook.remove()
    for key in [key for key in values if key.startswith("control_")]:
        yield agree(case, key, seen[0][int(key.removeprefix("control_"))], values[key], MAPS)


def _predict(supir: Supir, values: Arrays, scale: float) -> Tensor:
    inputs = (values["x_in"], values["timesteps"], values["z_lq"])
    return supir.predict_eps(*inputs, _text(values), values["time_ids"].float(), scale)


def _eps(case: str, supir: Supir, values: Arrays) -> Iterator[Agreement]:
    for scale in _scales(values):
        eps = _predict(supir, values, float(scale))
        yield agree(case, f"eps_s{scale}", eps, values[f"eps_s{scale}"], EPS)


def _denoised(case: str, supir: Supir, values: Arrays) -> Iterator[Agreement]:
    """A sampler has one sigma for its batch, so that rows of different sigma go one by one."""
    sigmas, ids = values["sigma"], values["time_ids"].float()
    together = bool((sigmas == sigmas[0]).all())
    rows = [slice(None)] if together else [slice(row, row + 1) for row in range(len(sigmas))]
    for scale in _scales(values):
        for row in rows:
            sigma = float(sigmas[row][0])
            denoised = supir.denoise(
                values["x_t"][row], sigma, values["z_lq"][row], _text(values)[row], ids[row], float(scale)
            )
            quantity = f"denoised_s{scale}" + ("" if together else f" row {row.start}")
            stored = values[f"denoised_s{scale}"][row]
            yield agree(case, quantity, denoised, stored, EPS * (1 + sigma))


def _control_off(
    case: str, supir: Supir, plain_unet: UNet2DConditionModel, values: Arrays
) -> Iterator[Agreement]:
    """At scale 0 the result is the base UNet's bit for bit, and no part of the control encoder is called."""
    calls: list[int] = []
    hooks = [part.register_forward_hook(lambda *_: calls.append(1)) for part in supir.control.modules()]
    off = _predict(supir, values, 0.0)
    calls_off = len(calls)
    _predict(supir, values, 1.0)
    for hook in hooks:
        hook.remove()
    added = {"text_embeds": values["pooled"], "time_ids": values["time_ids"].float()}
    plain = plain_unet(values["x_in"], values["timesteps"], values["context"], added_cond_kwargs=added).sample
    yield agree_exactly(case, "eps at scale 0 against the plain UNet", off, plain)
    yield no_problems(case, "calls of control modules at scale 0", calls_off)
    yield no_problems(case, "scale 1 without a control encoder call", int(len(calls) == calls_off))


def connectors(fixture: Fixture) -> Iterator[Agreement]:
    """Stand-alone connectors of any width, at every stored control scale."""
    for name, told in fixture.meta["modules"].items():
        case = f"{fixture.name} {name}"
        yield from or_miss(case, _connector(case, name, told, fixture.arrays.under(name)))


def _connector(case: str, name: str, told: dict[str, Any], values: Arrays) -> Iterator[Agreement]:
    rows = told["tensors_name_shape_crc32"]
    yield checksums(case, rows)
    module: nn.Module
    if told["type"] == "ZeroSFT":
        skip_channels = told["skip_channels"] if told["concat"] else 0
        module = ZeroSFT(
            told["control_channels"],
            told["main_channels"],
            skip_channels,
            hidden_channels=told["hidden_channels"],
            norm_num_groups=NORM_NUM_GROUPS,
        )
        inputs = [values["main"], values["skip"] if told["concat"] else None]
    else:
        module = ZeroCrossAttention(
            told["query_channels"],
            told["context_channels"],
            head_channels=told["head_dim"],
            norm_num_groups=NORM_NUM_GROUPS,
        )
        inputs = [values["main"]]
    shapes = shapes_of(rows)
    official = {key: name + connector_name(f"layers.0.{key}")[1:] for key in module.state_dict()}
    module.load_state_dict(
        {key: torch.from_numpy(seeded_tensor(theirs, shapes[theirs])) for key, theirs in official.items()}
    )
    yield no_problems(case, "tensors without a place", len(shapes.keys() - set(official.values())))
    for key in [key for key in values if key.startswith("out_s")]:
        output = module(*inputs, values["control"], float(key.removeprefix("out_s")))
        yield agree(case, key, output, values[key], CONNECTOR)


def vae(fixture: Fixture) -> Iterator[Agreement]:
    """Moments, latent and decoded image of both encoders, and the stage-one chain, of every group."""
    config, rows = fixture.meta["config"], fixture.meta["tensors_name_shape_crc32"]
    yield checksums(fixture.name, rows)
    supir = open_supir(shapes_of(rows)).supir
    supir.vae.register_to_config(scaling_factor=config["scale_factor"])
    for group in fixture.arrays.groups() if fixture.has_arrays() else ():
        case = f"{fixture.name} {group}"
        yield from or_miss(case, _vae_group(case, supir, fixture.arrays.under(group)))


def _vae_group(case: str, supir: Supir, values: Arrays) -> Iterator[Agreement]:
    image = values["image"]
    scale = supir.vae.config["scaling_factor"]
    moments = {
        "encoder": supir.vae.encode(image).latent_dist.parameters,
        "denoise_encoder": supir.vae.quant_conv(supir.robust_encoder(image)),
    }
    latents = {"encoder": supir.encode(image), "denoise_encoder": supir.encode_lq(image)}
    for name in moments:
        stored = values.under(name)
        yield agree(case, f"{name}.moments", moments[name], stored["moments"], MOMENTS)
        yield agree(case, f"{name}.latent", latents[name], stored["latent"], MOMENTS * scale)
        yield agree(case, f"{name}.decoded", supir.decode(stored["latent"]), stored["decoded"], DECODED)
    yield from _stage_one(case, supir, values)


def _stage_one(case: str, supir: Supir, values: Arrays) -> Iterator[Agreement]:
    if "z_stage1" not in values:
        return
    decoded, unit_noise = values["denoise_encoder.decoded"], values["posterior_noise"]
    parameters = supir.vae.encode(decoded).latent_dist.parameters
    yield agree(case, "stage1_moments", parameters, values["stage1_moments"], MOMENTS)
    z_stage1 = Codec(supir, strip_px=0).encode(decoded, lambda _: unit_noise)
    yield agree(case, "z_stage1", z_stage1, values["z_stage1"], STAGE_ONE)


def official_keys(fixture: Fixture) -> Iterator[Agreement]:
    """Names and shapes of the full-size model, none missing, none unknown, none of another shape."""
    ours = network_shapes(PRESETS["sdxl"].unet, FULL_DEPTH) | vae_shapes(PRESETS["sdxl"].vae)
    for key, in_delta in (("supir_delta", True), ("sdxl_base", False)):
        stored = {(name, tuple(shape)) for name, shape in fixture.meta[key]}
        named = {item for item in ours.items() if item[0].startswith(IN_THE_SUPIR_FILE) is in_delta}
        quantity = f"{key}: {len(stored)} names and shapes (that differ)"
        yield no_problems(fixture.name, quantity, len(stored ^ named))
