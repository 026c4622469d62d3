"""Parity of tiles, colour repair and the whole chain from image to image.

Place in the flow: `parity.py` runs these over a folder; layout and tolerances are the fixture folder's README.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

import torch
from parity_agreement import Agreement, Arrays, Fixture, agree, agree_exactly, agree_in_ratio, or_miss
from parity_network import size_vector
from parity_weights import open_supir, shapes_of
from torch import Tensor

from supir_infer import RestoreSettings
from supir_infer.codec import Codec
from supir_infer.colour import fix_colour
from supir_infer.noise import Noise
from supir_infer.restore import Restorer
from supir_infer.settings import ColourFix
from supir_infer.tiling import blend_weights, tile_windows
from supir_model.diffusion import sampling_sigmas
from supir_model.guidance import LinearScale, guided
from supir_model.sampler import Step, sample_edm, start_latent
from supir_model.supir import Supir
from supir_model.text import TextConditioning

TILE_WEIGHT, COLOUR = 1e-12, 1e-5
ENCODED, DECODED, STATE, OUTPUT = 1e-4, 2e-4, 1e-3, 3e-4
METHODS: tuple[ColourFix, ...] = ("wavelet", "adain")
RESTORE_SIGMA_MIN = 0.05  # of the samplers, where a pipeline names none


def tiled(fixture: Fixture) -> Iterator[Agreement]:
    """Windows in visiting order and blend weights of every stored size."""
    for key in fixture.arrays:
        if found := re.fullmatch(r"windows\.h(\d+)\.w(\d+)\.tile(\d+)\.stride(\d+)", key):
            windows = tile_windows(*(int(number) for number in found.groups()))
            rows = [[window.top, window.bottom, window.left, window.right] for window in windows]
            yield agree_exactly(fixture.name, key, torch.tensor(rows), fixture.arrays[key])
        elif found := re.fullmatch(r"weights\.tile(\d+)", key):
            weights = torch.from_numpy(blend_weights(int(found[1]), int(found[1])))
            yield agree_in_ratio(fixture.name, key, weights, fixture.arrays[key], TILE_WEIGHT)


def colourfix(fixture: Fixture) -> Iterator[Agreement]:
    """Both repairs of every stored pair of images."""
    for prefix in [key.removesuffix("content") for key in fixture.arrays if key.endswith("content")]:
        content, style = (fixture.arrays[prefix + name] for name in ("content", "style"))
        for method in METHODS:
            if prefix + method in fixture.arrays:
                fixed = fix_colour(content, style, method)
                yield agree(fixture.name, prefix + method, fixed, fixture.arrays[prefix + method], COLOUR)


def pipeline(fixture: Fixture) -> Iterator[Agreement]:
    """Every stored run: once step by step through the model's functions, once through `Restorer`."""
    for name, setting in fixture.meta.items():
        case = f"{fixture.name} {name}"
        yield from or_miss(case, _run(case, fixture, setting, fixture.arrays.under(name)))


def _run(case: str, fixture: Fixture, setting: dict[str, Any], values: Arrays) -> Iterator[Agreement]:
    supir = _open(fixture, setting)
    for branch in ("cond", "uncond"):
        if f"y_{branch}" in values:
            inputs = (values[f"pooled_{branch}"], values["time_ids"])
            yield size_vector(f"{case} {branch}", supir, *inputs, values[f"y_{branch}"])
    yield from _encoded(case, supir, values)
    yield from _sampled(case, supir, setting, values)
    try:
        settings = _settings(setting, values)
    except ValueError as error:
        fixture.notes.append(f"{case} through Restorer: {str(error).splitlines()[0]}")
    else:
        yield from _restored(case, supir, settings, values)


def _open(fixture: Fixture, setting: dict[str, Any]) -> Supir:
    """The networks a run names; where it names no VAE it is `vae`, else the folder's smallest."""
    network = Fixture(fixture.folder, setting["unet_config"]).meta
    beside = sorted(path.stem for path in fixture.folder.glob("vae*.json"))
    wanted = setting.get("vae_config", "vae")
    stems = [wanted] if wanted in beside else beside
    vaes = [Fixture(fixture.folder, stem).meta for stem in stems]
    if not network or not vaes:
        raise ValueError(f"needs {setting['unet_config']}.json and a vae*.json in {fixture.folder}")
    vae = min(vaes, key=lambda meta: meta["config"]["ch"])
    rows = network["tensors_name_shape_crc32"] + vae["tensors_name_shape_crc32"]
    config = network["config"]
    supir = open_supir(
        shapes_of(rows),
        head_channels=config["num_head_channels"],
        time_id_channels=config["addition_time_embed_dim"],
    ).supir
    supir.vae.register_to_config(scaling_factor=vae["config"]["scale_factor"])
    return supir


def _encoded(case: str, supir: Supir, values: Arrays) -> Iterator[Agreement]:
    z_lq = supir.encode_lq(values["image"])
    yield agree(case, "z_lq", z_lq, values["z_lq"], ENCODED)
    stage_one = supir.decode(z_lq)
    yield agree(case, "x_stage1", stage_one, values["x_stage1"], DECODED)
    if "z_stage1" in values:
        z_stage1 = Codec(supir, strip_px=0).encode(stage_one, lambda _: values["noise_posterior"])
        yield agree(case, "z_stage1", z_stage1, values["z_stage1"], ENCODED)


def _ramps(setting: dict[str, Any]) -> tuple[LinearScale, LinearScale]:
    """Of guidance and control."""
    guidance, control = setting["cfg_end"], setting["control_scale"]
    return (
        LinearScale(setting["cfg_start"] if setting["linear_cfg"] else guidance, guidance),
        LinearScale(setting["control_scale_start"] if setting["linear_control"] else control, control),
    )


def _texts(values: Arrays) -> tuple[TextConditioning, TextConditioning]:
    positive, negative = (
        TextConditioning(values[f"context_{branch}"], values[f"pooled_{branch}"])
        for branch in ("cond", "uncond")
    )
    return positive, negative


def _sampled(case: str, supir: Supir, setting: dict[str, Any], values: Arrays) -> Iterator[Agreement]:
    guidance, control = _ramps(setting)
    denoise = guided(
        supir,
        values["z_lq"],
        *_texts(values),
        values["time_ids"].float(),
        guidance_scale=guidance,
        control_scale=control,
    )
    sigmas, drawn, steps = sampling_sigmas(setting["n"]), iter(values.get("noise_steps", ())), list[Step]()
    start = start_latent(values["noise_init"], sigmas)
    last = sample_edm(
        denoise,
        start,
        sigmas,
        noise=lambda _: next(drawn),
        s_churn=setting["s_churn"],
        s_noise=setting["s_noise"],
        restore_guidance=setting["restore_cfg"],
        x_center=values.get("z_stage1"),
        restore_sigma_min=setting.get("restore_cfg_s_tmin", RESTORE_SIGMA_MIN),
        on_step=steps.append,
    )
    yield agree(case, "x", torch.stack([start, *(step.x for step in steps)]), values["x"], STATE)
    decoded = supir.decode(last)
    yield agree(case, "decoded", decoded, values["decoded"], OUTPUT)
    method: Any = setting["color_fix"].lower()
    yield agree(case, "output", fix_colour(decoded, values["x_stage1"], method), values["output"], OUTPUT)


def _settings(setting: dict[str, Any], values: Arrays) -> RestoreSettings:
    """The run as the restorer's settings. Raises ValueError where these cannot say it."""
    if (least := setting.get("restore_cfg_s_tmin", RESTORE_SIGMA_MIN)) != RESTORE_SIGMA_MIN:
        raise ValueError(f"RestoreSettings cannot say restore_cfg_s_tmin={least}")
    guidance, control = _ramps(setting)
    tile_px = _one_tile_px(values["image"])
    return RestoreSettings(
        steps=setting["n"],
        guidance_scale=guidance.end,
        guidance_scale_start=guidance.start,
        control_scale=control.end,
        control_scale_start=control.start,
        restore_guidance=max(0.0, setting["restore_cfg"]),
        s_churn=setting["s_churn"],
        s_noise=setting["s_noise"],
        colour_fix=setting["color_fix"].lower(),
        size_condition=_told(values["time_ids"], values["image"]),
        tile_px=tile_px,
        tile_stride_px=tile_px,
    )


def _restored(case: str, supir: Supir, settings: RestoreSettings, values: Arrays) -> Iterator[Agreement]:
    """The same run through `Restorer.restore_tensor`, from the image alone."""
    drawn, steps = iter(values.get("noise_steps", ())), list[Step]()
    noise = Noise(lambda _: values["noise_posterior"], lambda _: values["noise_init"], lambda _: next(drawn))
    restorer = Restorer(supir, settings)
    output = restorer.restore_tensor(values["image"], *_texts(values), noise, on_step=steps.append)
    states = torch.stack([step.x for step in steps])
    yield agree(case, "Restorer: x", states, values["x"][1:], STATE)
    yield agree(case, "Restorer: output", output, values["output"], OUTPUT)


def _told(time_ids: Tensor, image: Tensor) -> int | Literal["tile"]:
    """The setting that tells the network these sizes: a square's side, or the image's own."""
    square = int(time_ids[0, 0])
    told: dict[int | Literal["tile"], tuple[int, int]] = {
        square: (square, square),
        "tile": (image.shape[-2], image.shape[-1]),
    }
    for setting, (height, width) in told.items():
        if (time_ids == torch.tensor([height, width, 0, 0, height, width])).all():
            return setting
    raise ValueError(f"RestoreSettings cannot tell the network the sizes {time_ids.tolist()}")


def _one_tile_px(image: Tensor) -> int:
    """The side of a sampling tile that the whole image fits in."""
    return max(64, -(-max(image.shape[-2:]) // 32) * 32)
