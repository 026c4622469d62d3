"""What a metric is: a function of pictures and the identity that says what its number means.

Place in the flow: `pixel_metrics`, `network_metrics` and `natural_metrics` build them, `metrics` lists them by name.
The law: a number without its identity is not comparable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

Compute = Callable[[torch.Tensor, torch.Tensor | None], float]
RGB = "RGB"


class MetricMissing(ValueError):  # noqa: N818 - a state of this installation, handled, never a defect
    """A metric cannot be had here; the message says what is missing and where to put it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a figure means: two figures compare only if these are equal."""

    metric: str
    implementation: str
    weights: tuple[tuple[str, str], ...]
    colour_space: str
    better: Literal["higher", "lower"]
    needs_reference: bool
    needs_lq: bool = False


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric ready to run: (restored, reference) of (1, 3, H, W) in 0..1 to a number."""

    identity: Identity
    compute: Compute
    min_side_px: int = 1


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def named(paths: tuple[Path, ...]) -> tuple[tuple[str, str], ...]:
    """Returns name and SHA-256 of each weight file, as `Identity.weights` holds them."""
    return tuple((path.name, file_sha256(path)) for path in paths)
