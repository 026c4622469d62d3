"""What a scorer with weights is: pictures in, answers out, and the identity of the weights that gave them.

Place in the flow: `assess_actor` holds the scorers and calls them; each stands in a module of its own here. The law:
an answer depends on the picture and the weights alone, never on its company or order. Work on the CPU is done in
`prepare`, picture by picture; `answer` is for what a GPU does to many at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

Rgb = NDArray[np.uint8]
PathSetting = Annotated[Path, Field(strict=False)]  # YAML has no paths


@dataclass(frozen=True, slots=True)
class Answer:
    """What a scorer says of one picture.

    Args:
        scores: score name to value; NaN for "no answer".
        embedding: (D,) float32, None for a scorer without one.
    """

    scores: dict[str, float]
    embedding: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """What made the answers.

    Args:
        weights: file, or what stands for it, to the SHA-256 of its content in hex.
        packages: distribution to version, of the code that ran them.
    """

    weights: dict[str, str]
    packages: dict[str, str] = field(default_factory=dict)


class Scorer(Protocol):
    """A loaded scorer.

    Args:
        identity: of its weights.
        width: numbers of its embedding, 0 for none.
    """

    identity: Identity
    width: int

    def prepare(self, rgb: Rgb) -> Any:
        """Returns what `answer` needs of a picture, small.

        Args:
            rgb: (H, W, 3) uint8 sRGB, upright, its short side at most `assess.side_px`.
        """

    def answer(self, prepared: Sequence[Any]) -> list[Answer]:
        """Returns one answer for each prepared picture."""
