"""Schedule and samplers against stored trajectories of an independent run (see conftest.py)."""

from __future__ import annotations

import torch

from supir_model.diffusion import (
    karras_sigmas,
    nearest_timestep,
    sampling_sigmas,
    sampling_timesteps,
    sigma_table,
)
from supir_model.guidance import LinearScale
from supir_model.sampler import sample_dpmpp_2m_sde, sample_edm, start_latent


def worst(ours: torch.Tensor, stored: torch.Tensor) -> float:
    assert ours.shape == stored.shape
    return float((ours - stored).abs().max())


def test_schedule_equals_the_stored_one(parity):
    _, stored = parity("schedule")
    torch.testing.assert_close(sigma_table(), stored["table"], rtol=1e-6, atol=0)
    for steps in (20, 50):
        assert torch.equal(sampling_timesteps(steps), stored[f"timesteps_n{steps}"])
        torch.testing.assert_close(sampling_sigmas(steps), stored[f"sigmas_n{steps}"], rtol=1e-6, atol=0)
    torch.testing.assert_close(karras_sigmas(20), stored["karras_n20"], rtol=2e-5, atol=0)
    assert torch.equal(nearest_timestep(stored["snap_sigma_in"]), stored["snap_index"])


def analytic_denoise(values: dict[str, torch.Tensor], setting: dict):
    """The closed-form model of the fixtures behind our own guidance ramps."""
    guidance = LinearScale(setting["cfg_start"], setting["cfg_end"])
    linear = setting.get("linear_control", False)
    start = setting["control_scale_start"] if linear else setting["control_scale"]
    control = LinearScale(start, setting["control_scale"])

    def branch(k: torch.Tensor, x: torch.Tensor, sigma: float, scale: float) -> torch.Tensor:
        pull = k.reshape(-1, 1, 1, 1) * values["P"]
        if setting["model"] == "direct":
            q = sigma**2 / (1 + sigma**2)
            return (1 - q) * x + q * (pull + scale * values["C"])
        index = nearest_timestep(torch.tensor([sigma]))
        snapped, tau = float(sigma_table()[index]), float(index) / 1000
        scaled = x / (snapped**2 + 1) ** 0.5
        eps = (0.2 + 0.7 * tau) * scaled - (0.5 - 0.3 * tau) * (pull + scale * values["C"])
        return x - snapped * eps

    def denoise(x: torch.Tensor, sigma_hat: float, sigma: float) -> torch.Tensor:
        scale = control.at(sigma)
        uncond, cond = (branch(values[key], x, sigma_hat, scale) for key in ("k_uncond", "k_cond"))
        return uncond + guidance.at(sigma_hat) * (cond - uncond)

    return denoise


def settings_of(parity, kind: str):
    """Each stored setting of one sampler with its arrays."""
    meta, stored = parity("sampler")
    for setting in meta["settings"]:
        if setting["sampler"] == kind:
            prefix = f"{setting['id']}."
            yield (
                setting,
                {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)},
            )


def walk_edm(setting: dict, values: dict[str, torch.Tensor]) -> None:
    sigmas = sampling_sigmas(setting["n"])
    noises = iter(values.get("noise_steps", ()))
    steps = []
    sample_edm(
        analytic_denoise(values, setting),
        start_latent(values["noise_init"], sigmas),
        sigmas,
        noise=lambda x: next(noises),
        s_churn=setting["s_churn"],
        s_noise=setting["s_noise"],
        s_tmin=float(setting["s_tmin"]),
        s_tmax=float(setting["s_tmax"]),
        restore_guidance=setting["restore_cfg"],
        x_center=values.get("x_center"),
        restore_sigma_min=setting["restore_cfg_s_tmin"],
        on_step=steps.append,
    )
    assert next(noises, None) is None
    assert worst(torch.stack([step.x for step in steps]), values["x"][1:]) < 2e-4
    assert worst(torch.stack([step.denoised for step in steps]), values["denoised_cfg"]) < 2e-4
    if "denoised_restored" in values:
        assert worst(torch.stack([step.restored for step in steps]), values["denoised_restored"]) < 2e-4
    hats = torch.tensor([step.sigma_hat for step in steps])
    torch.testing.assert_close(hats, values["sigma_hat"], rtol=2e-5, atol=0)


def test_edm_walks_the_stored_trajectories(parity):
    walked = 0
    for setting, values in settings_of(parity, "edm"):
        walk_edm(setting, values)
        walked += 1
    assert walked > 0


def walk_dpmpp(setting: dict, values: dict[str, torch.Tensor]) -> None:
    sigmas = karras_sigmas(setting["n"])
    torch.testing.assert_close(sigmas, values["sigmas"], rtol=2e-5, atol=0)
    # the file's noise is indexed by step and our first step draws none
    drawn = iter(values["noise_steps"][1:]) if "noise_steps" in values else iter(())
    noise = {"stored": lambda x: next(drawn), "zero": torch.zeros_like}.get(setting["noise"])
    steps = []
    sample_dpmpp_2m_sde(
        analytic_denoise(values, setting),
        start_latent(values["noise_init"], sigmas),
        sigmas,
        noise=noise,
        eta=setting["eta"],
        s_noise=setting["s_noise"],
        on_step=steps.append,
    )
    states = torch.stack([step.x for step in steps])
    assert worst(states[:-1], values["x"][1:-1]) < 2e-4
    assert worst(states[-1], values["denoised_cfg"][-1]) < 2e-4


def test_dpmpp_walks_the_stored_trajectories(parity):
    walked = 0
    for setting, values in settings_of(parity, "dpmpp2m"):
        walk_dpmpp(setting, values)
        walked += 1
    assert walked > 0
