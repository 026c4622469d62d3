"""The `distill` section of a run's config: where the student starts, in how many steps, and how its teacher goes."""

from __future__ import annotations

from pydantic import Field, model_validator

from supir_console import Config
from supir_train.data_config import Location

LARGEST_SIGMA = 14.6146
SMALLEST_SIGMA = 0.03
"""Just inside `supir_model.diffusion.sigma_table`; written out, for no torch is to be loaded here."""


class DistillConfig(Config):
    """What `stage: distill` teaches; read by no other stage."""

    teacher: Location | None = Field(
        default=None,
        description="Model folder whose adapter teaches, trained on the same UNet; null: the adapter of init, as which "
        "the student begins in any case.",
    )
    start_sigma: float = Field(
        default=1.0,
        ge=SMALLEST_SIGMA,
        le=LARGEST_SIGMA,
        description="Noise level that the student starts from, upon the LQ latent; the restorer's key of this name.",
    )
    steps: int = Field(
        default=2, ge=1, le=4, description="Network calls of the student; the restorer's key steps."
    )
    teacher_steps: int = Field(
        default=20,
        ge=1,
        le=1000,
        description="Network calls of the teacher from start_sigma on; a multiple of steps.",
    )
    intervals: int = Field(
        default=2,
        ge=1,
        description="Intervals of a student's step across which it learns to be consistent; divides teacher_steps / "
        "steps. One: it learns the end of the teacher's way alone, at the price of running all of it. More: cheaper "
        "steps, more of them.",
    )
    guidance_scale: float = Field(
        default=1.0,
        ge=0,
        le=30,
        description="Text guidance (CFG) of the teacher at the end; the student has it in one call. 1: none.",
    )
    guidance_scale_start: float | None = Field(
        default=None,
        ge=0,
        le=30,
        description="Text guidance of the teacher at the largest sigma, linear in sigma to the end; null: constant.",
    )

    @property
    def small_steps(self) -> int:
        """Steps of the teacher in one of the student's."""
        return self.teacher_steps // self.steps

    @property
    def interval_steps(self) -> int:
        """Steps of the teacher in an interval."""
        return self.small_steps // self.intervals

    @model_validator(mode="after")
    def _steps_divide(self) -> DistillConfig:
        if self.teacher_steps % self.steps:
            raise ValueError(
                f"teacher_steps={self.teacher_steps} is no multiple of steps={self.steps}; use "
                f"{-(-self.teacher_steps // self.steps) * self.steps}"
            )
        if self.small_steps % self.intervals:
            divisors = [number for number in range(1, self.small_steps + 1) if not self.small_steps % number]
            raise ValueError(
                f"intervals={self.intervals} does not divide teacher_steps / steps = {self.small_steps}; use one of "
                f"{', '.join(map(str, divisors))}"
            )
        return self
