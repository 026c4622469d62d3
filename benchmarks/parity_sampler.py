"""Parity of the schedule and of whole sampler trajectories, driven by closed-form models.

Place in the flow: `parity.py` runs these over a folder; layout and tolerances are the fixture folder's README.
`parity_closed_forms` stands where the network stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from parity_agreement import (
    Agreement,
    Arrays,
    Fixture,
    agree,
    agree_exactly,
    agree_in_ratio,
    or_miss,
)
from parity_closed_forms import Direct, Indexed, Watched
from torch import Tensor

from supir_model.diffusion import (
    karras_sigmas,
    nearest_timestep,
    sampling_sigmas,
    sampling_timesteps,
    sigma_table,
)
from supir_model.guidance import guided
from supir_model.sampler import Denoise, Step, sample_dpmpp_2m_sde, sample_edm, start_latent
from supir_model.text import TextConditioning

STATE = 2e-4
SIGMA = 2e-5
TABLE = 1e-6  # no arithmetic between the table and what is read out of it


def schedule(fixture: Fixture) -> Iterator[Agreement]:
    """Sigma table, timesteps and sigmas of every stored step count, snapping."""
    values, case = fixture.arrays, fixture.name
    for key in values:
        name, _, count = key.rpartition("_n")
        if key == "table":
            yield agree_in_ratio(case, key, sigma_table(), values[key], TABLE)
        elif key == "alphas_cumprod":
            yield agree_in_ratio(case, key, 1 / (1 + sigma_table().double() ** 2), values[key], TABLE)
        elif key == "snap_index":
            yield agree_exactly(case, key, nearest_timestep(values["snap_sigma_in"]), values[key])
        elif name == "timesteps":
            yield agree_exactly(case, key, sampling_timesteps(int(count)), values[key])
        elif name == "sigmas":
            yield agree_in_ratio(case, key, sampling_sigmas(int(count)), values[key], TABLE)
        elif name == "karras":
            yield agree_in_ratio(case, key, karras_sigmas(int(count)), values[key], SIGMA)


def sampler(fixture: Fixture) -> Iterator[Agreement]:
    """Every stored setting of both samplers."""
    for setting in fixture.meta["settings"]:
        case, values = f"{fixture.name} {setting['id']}", fixture.arrays.under(setting["id"])
        yield from or_miss(case, _setting(case, setting, values))


def _setting(case: str, setting: dict[str, Any], values: Arrays) -> Iterator[Agreement]:
    samplers = {"edm": _edm, "dpmpp2m": _dpmpp}
    yield from samplers[setting["sampler"]](case, setting, values)


class _Walk:
    """One trajectory: what the sampler is given, and what it reported."""

    def __init__(self, setting: dict[str, Any], values: Arrays) -> None:
        self.steps: list[Step] = []
        self.drawn_at: list[int] = []
        self.guidance = Watched(setting["cfg_start"], setting["cfg_end"])
        # the reference's DPM++ sampler knows no linear control
        linear = setting["sampler"] == "edm" and setting.get("linear_control", False)
        start = setting["control_scale_start"] if linear else setting["control_scale"]
        self.control = Watched(start, setting["control_scale"])
        models: dict[str, Any] = {"direct": Direct, "indexed": Indexed}
        self.model = models[setting["model"]](values["P"])
        batch = len(values["P"])
        watched: Any = {
            "supir": self.model,
            "guidance_scale": self.guidance,
            "control_scale": self.control,
        }
        positive, negative = (
            TextConditioning(torch.zeros(batch, 1, 1), values[key].reshape(-1, 1))
            for key in ("k_cond", "k_uncond")
        )
        self.denoise: Denoise = guided(
            z_lq=values["C"],
            positive=positive,
            negative=negative,
            time_ids=torch.zeros(batch, 6),
            **watched,
        )

    def noise(self, tensor_at: Callable[[int, int], Tensor]) -> Callable[[Tensor], Tensor]:
        """A source of stored noise: `tensor_at(step, how many were drawn before)`."""

        def draw(_: Tensor) -> Tensor:
            self.drawn_at.append(len(self.steps))
            return tensor_at(len(self.steps), len(self.drawn_at) - 1)

        return draw

    def agreements(self, case: str, values: Arrays, x: Tensor, stored_x: Tensor) -> Iterator[Agreement]:
        """What both samplers store of every step."""
        yield agree(case, "x", x, stored_x, STATE)
        denoised = torch.stack([step.denoised for step in self.steps])
        yield agree(case, "denoised_cfg", denoised, values["denoised_cfg"], STATE)
        for key, watched in (("cfg_scale", self.guidance), ("control_scale", self.control)):
            row = agree(case, key, torch.tensor(watched.given), values[key], 0.0)
            yield Agreement(case, key, row.worst, row.largest, SIGMA * row.largest, relative=SIGMA)
        if "timestep_index" in values:
            indices = torch.tensor(self.model.indices)
            yield agree_exactly(case, "timestep_index", indices, values["timestep_index"])

    def draws(self, case: str, expected: list[int]) -> Agreement:
        """The steps that drew noise."""
        drawn, stored = (
            torch.tensor([float(step in steps) for step in range(len(self.steps))])
            for steps in (self.drawn_at, expected)
        )
        return agree_exactly(case, "steps that draw noise", drawn, stored)


def _edm(case: str, setting: dict[str, Any], values: Arrays) -> Iterator[Agreement]:
    walk, sigmas = _Walk(setting, values), sampling_sigmas(setting["n"])
    yield agree_in_ratio(case, "sigmas", sigmas, values["sigmas"], SIGMA)
    start = start_latent(values["noise_init"], sigmas)
    sample_edm(
        walk.denoise,
        start,
        sigmas,
        noise=walk.noise(lambda _, drawn: values["noise_steps"][drawn]),
        s_churn=setting["s_churn"],
        s_noise=setting["s_noise"],
        s_tmin=float(setting["s_tmin"]),
        s_tmax=float(setting["s_tmax"]),
        restore_guidance=setting["restore_cfg"],
        x_center=values.get("x_center"),
        restore_sigma_min=setting["restore_cfg_s_tmin"],
        on_step=walk.steps.append,
    )
    x = torch.stack([start, *(step.x for step in walk.steps)])
    yield from walk.agreements(case, values, x, values["x"])
    yield walk.draws(case, setting["noise_used_at_steps"])
    hats = torch.tensor([step.sigma_hat for step in walk.steps])
    yield agree_in_ratio(case, "sigma_hat", hats, values["sigma_hat"], SIGMA)
    if "denoised_restored" in values:
        restored = torch.stack([step.restored for step in walk.steps])
        yield agree(case, "denoised_restored", restored, values["denoised_restored"], STATE)


def _dpmpp(case: str, setting: dict[str, Any], values: Arrays) -> Iterator[Agreement]:
    walk, sigmas = _Walk(setting, values), karras_sigmas(setting["n"])
    yield agree_in_ratio(case, "sigmas", sigmas, values["sigmas"], SIGMA)
    if "sigmas_ddpm_subset" in values:
        subset = sampling_sigmas(setting["n"])
        yield agree_in_ratio(case, "sigmas_ddpm_subset", subset, values["sigmas_ddpm_subset"], SIGMA)
    start = start_latent(values["noise_init"], sigmas)
    is_stored = setting["noise"] == "stored"
    sample_dpmpp_2m_sde(
        walk.denoise,
        start,
        sigmas,
        noise=walk.noise(lambda step, _: values["noise_steps"][step] if is_stored else 0 * start),
        eta=setting["eta"],
        s_noise=setting["s_noise"],
        on_step=walk.steps.append,
    )
    x, stored_x = torch.stack([start, *(step.x for step in walk.steps)]), values["x"]
    if setting["last_step_is_nan_in_reference"]:
        last, x, stored_x = x[-1], x[:-1], stored_x[:-1]
        yield agree(case, "last x is denoised_cfg[-1]", last, values["denoised_cfg"][-1], STATE)
    yield from walk.agreements(case, values, x, stored_x)
    if setting["eta"] > 0:
        yield walk.draws(case, setting["noise_drawn_at_steps"])
