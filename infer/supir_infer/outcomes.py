"""What became of a picture: its result written with all that it was made from, or the reason why there is none.

Place in the flow: `folder` saves by it behind the network, `web` writes a visitor's photo and says what went wrong.
The law it keeps: what cannot be written costs one picture; only a full disk ends the run.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from supir_console import UserError, installed_version
from supir_infer.images import ImageError, Picture, resize, to_bytes, to_deep
from supir_infer.plan import Job, Recipe, settings_hash
from supir_infer.restore import Restorer, Result
from supir_infer.saving import write_picture
from supir_model.estimator import Degradation
from supir_model.out_of_memory import is_out_of_memory

MADE_BYTES_A_PX = 6
"""Of a result of 8 bits a channel that waits, as it is and encoded."""
DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that came to its end: the `metadata` that its result carries, or the `reason` why it has none."""

    job: Job
    metadata: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """A picture that the network is done with: its result, or the reason why there is none.

    `picture` is the given one, whose colours are not needed any more; `made` is what the metadata says besides.
    """

    job: Job
    picture: Picture | None
    outcome: Result | str
    made: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """What the result holds in memory, as it is and encoded."""
        return 0 if isinstance(self.outcome, str) else 2 * self.outcome.image.nbytes


def save(made: Made, recipe: Recipe, restorer: Restorer) -> Ended:
    """Writes a result and returns how the job ended.

    Raises:
        UserError: the disk is full.
    """
    job = made.job
    if isinstance(made.outcome, str) or made.picture is None:
        return Ended(job, reason=str(made.outcome))
    try:
        return Ended(job, write_result(job, made.picture, made.outcome, recipe, restorer, made.made))
    except OSError as error:
        if error.errno in DISK_IS_FULL:
            raise UserError(
                f"{job.target} cannot be written: {error.strerror}; free some space and repeat the command, "
                "what is done stays done"
            ) from error
        return Ended(job, reason=f"{job.target} cannot be written: {error.strerror or error}")
    except Exception as error:  # an encoder meets what a photo says about itself here
        return Ended(job, reason=f"{job.target} cannot be written: {reason_of(error)}")


def reason_of(error: Exception) -> str:
    """Returns why a picture could not be restored, in one line with a way on."""
    text = " ".join(str(error).split())
    if is_out_of_memory(error):
        return (
            "out of memory, with the smallest tiles too: use --dtype bfloat16, --offload, or a smaller --upscale or "
            f"--min-size ({text[:160]})"
        )
    return text if isinstance(error, UserError | ImageError) else f"{type(error).__name__}: {text[:240]}"


def write_result(
    job: Job,
    picture: Picture,
    outcome: Result,
    recipe: Recipe,
    restorer: Restorer,
    made: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes the job's result, alpha included, and returns the metadata it carries, `made` among them."""
    origin = recipe.origin(job)
    settings = restorer.settings
    sizes = outcome.sizes
    metadata = origin | {
        "settings_hash": settings_hash(origin["settings"]),
        "prompt": outcome.prompt,
        **(made or {}),
        "size": {"input": sizes.source, "working": sizes.working, "output": sizes.output},
        "tiles": outcome.num_tiles,
        "tile_px": outcome.settings.tile_px,  # less than the settings' where memory did not suffice
        "strength": round(outcome.strength, 3),
        "degradation": _rounded(outcome.degradation),
        "seconds": {name: round(seconds, 3) for name, seconds in outcome.timings.items()},
        "device": str(restorer.supir.device),
        "dtype": restorer.precision,
        "notes": list(picture.notes),
        "versions": {name: installed_version(name) for name in ("supir-stack", "torch", "diffusers")},
    }
    to_levels = to_deep if settings.output_bits == 16 else to_bytes
    alpha = None if picture.alpha is None else to_levels(resize(picture.alpha, sizes.output))
    write_picture(
        job.target, outcome.image, alpha, metadata, picture.description, quality=settings.output_quality
    )
    return metadata


def _rounded(degradation: Degradation | None) -> dict[str, float] | None:
    if degradation is None:
        return None
    return {name: round(value, 2) for name, value in asdict(degradation).items()}
