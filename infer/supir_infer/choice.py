"""What the settings leave to the picture itself: how much of its restoration is taken, and the size it is worked on at.

Place in the flow: `restore` asks for every picture before it computes. One estimate serves both.
"""

from __future__ import annotations

from dataclasses import dataclass

from supir_infer.drawn import is_drawn
from supir_infer.images import FloatImage, resize
from supir_infer.interrupt import stop_here
from supir_infer.settings import RestoreSettings
from supir_infer.sizes import Sizes, largest_sizes, plan_sizes
from supir_infer.strength import Taken, automatic, degradation
from supir_model import Supir


@dataclass(frozen=True, slots=True)
class Choice:
    """One picture's."""

    sizes: Sizes
    taken: Taken


def choose(supir: Supir, settings: RestoreSettings, picture: FloatImage) -> Choice:
    """Returns what is chosen for a picture, (H, W, 3) in 0..1.

    Raises:
        UserError: its working image would be larger than `max_megapixels`.
    """
    stop_here()
    size = (picture.shape[1], picture.shape[0])
    sizes = plan_sizes(size, settings)
    if settings.strength != "auto" and settings.working_scale != "auto":
        return Choice(sizes, Taken(settings.strength))
    found = degradation(supir, resize(picture, sizes.output))
    share = settings.strength
    taken = automatic(supir, found) if share == "auto" else Taken(share, degradation=found)
    if share == "auto" and taken.most and sizes.output == size and is_drawn(picture, found):
        taken = Taken(0.0, degradation=found)
    if taken.most and found.gains_by_enlarging:
        sizes = largest_sizes(size, settings)
    return Choice(sizes, taken)
