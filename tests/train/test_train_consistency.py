"""Where the student shall land: the levels of its large steps, and the loss in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from supir_model.diffusion import nearest_timestep, sampling_sigmas, sigma_at
from supir_train.consistency import Interval, bridged, landing_errors, large_steps
from supir_train.distill_config import LARGEST_SIGMA, SMALLEST_SIGMA
from supir_train.image_noise import keyed_generator

ONE = (1, 1, 1, 1)


# --- levels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "start_sigma"), [(1, 1.0), (2, 0.5), (3, 4.0), (4, 14.6146)])
def test_large_steps_are_the_restorers_and_small_ones_lie_between(steps, start_sigma):
    levels = large_steps(int(nearest_timestep(torch.tensor(start_sigma))), steps, 5)
    expected = sampling_sigmas(steps, start_sigma)
    assert torch.equal(levels.sigmas[:, 0], expected[:-1])
    assert torch.equal(levels.sigmas[:, -1], expected[1:])
    assert (levels.sigmas.diff(dim=1) < 0).all()
    assert torch.equal(levels.sigmas[:, :-1], sigma_at(levels.timesteps, 1).reshape(steps, 5))


def test_an_interval_holds_its_levels_and_where_its_large_step_ends():
    levels = large_steps(799, 2, 4)
    ahead = levels.interval(torch.tensor([0, 0, 1]), torch.tensor([0, 2, 2]), 2)
    assert ahead.timesteps.tolist() == [[799, 699, 599], [599, 499, 399], [199, 99, 799]]
    assert torch.equal(ahead.sigmas[:2].flatten(), sigma_at(ahead.timesteps[:2].flatten(), 1))
    assert ahead.sigmas[2, 2] == 0
    assert torch.equal(ahead.end, torch.tensor([levels.sigmas[1, 0], levels.sigmas[1, 0], 0.0]))


def test_the_noise_levels_allowed_are_those_of_the_table():
    lowest, highest = sampling_sigmas(1, 0.0)[0], sampling_sigmas(1, 100.0)[0]
    assert lowest == pytest.approx(SMALLEST_SIGMA, rel=0.03)
    assert highest == pytest.approx(LARGEST_SIGMA, rel=1e-5)


# --- the loss ---------------------------------------------------------------------------------------------


def interval(sigmas: list[float], end: float) -> Interval:
    return Interval(
        timesteps=torch.arange(len(sigmas))[None], sigmas=torch.tensor([sigmas]), end=torch.tensor([end])
    )


def seeing(value: float):
    """A network that sees the same clean value in everything."""
    return lambda x, _timestep: torch.full_like(x, value)


@pytest.mark.parametrize(
    ("sigmas", "end", "distance"),
    [
        # from x = 7 at sigma 4 the teacher (1) goes to 4 at 2; the student (3) lands at 3 + 1/4 * 4 = 4 from the one,
        # at 3 + 1/2 * 1 = 3.5 from the other
        ([4.0, 2.0], 1.0, 0.5),
        # the teacher arrives: by two small steps, 1 + 3/4 * 6 = 5.5 at 3, then 1 + 1/3 * 4.5 = 2.5 at 1
        ([4.0, 3.0, 1.0], 1.0, 1.5),
        # at sigma 0 the teacher's end is what it sees
        ([4.0, 0.0], 0.0, 2.0),
        # both land at 3 where nothing is left to go
        ([4.0, 2.0], 0.0, 0.0),
    ],
)
def test_the_loss_is_the_squared_distance_of_landings(sigmas, end, distance):
    errors = landing_errors(seeing(3.0), seeing(1.0), torch.full(ONE, 7.0), interval(sigmas, end))
    assert errors.tolist() == pytest.approx([distance**2])


def test_the_gradient_flows_through_the_landing_from_the_first_level_alone():
    seen = torch.tensor(3.0, requires_grad=True)
    x, ahead = torch.full(ONE, 7.0), interval([4.0, 2.0], 1.0)
    landing_errors(lambda x, _timestep: seen.expand_as(x), seeing(1.0), x, ahead).sum().backward()
    assert seen.grad == pytest.approx(2 * 0.5 * (1 - 1 / 4))


def test_the_end_of_the_teachers_way_is_the_students_only_perfect_answer():
    """Data of deviation s: the teacher's many steps end at x * s / sqrt(s^2 + sigma^2), its single ones elsewhere."""
    s, start, num = 0.5, 2.0, 4000
    sigma = torch.linspace(start, 0, num + 1)

    def at(timestep: torch.Tensor) -> torch.Tensor:
        return sigma[timestep].reshape(-1, 1, 1, 1)

    def one_step(x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return x * s**2 / (s**2 + at(timestep) ** 2)

    def at_the_end(x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return x * s / torch.sqrt(s**2 + at(timestep) ** 2)

    x = torch.randn(1, 4, 8, 8, generator=keyed_generator("x")) * math.sqrt(s**2 + start**2)
    ahead = Interval(
        timesteps=torch.arange(num // 2 + 1)[None], sigmas=sigma[None, : num // 2 + 1], end=torch.zeros(1)
    )
    assert float(landing_errors(at_the_end, one_step, x, ahead)) < 1e-6
    assert float(landing_errors(one_step, one_step, x, ahead)) > 1e-3


def test_points_lie_between_the_photo_and_the_start_of_the_restorer():
    clean, start = torch.full((3, 1, 1, 1), 2.0), torch.full((3, 1, 1, 1), 6.0)
    assert bridged(clean, start, torch.tensor([0.0, 0.25, 1.0])).flatten().tolist() == [2.0, 3.0, 6.0]
