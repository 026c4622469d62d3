"""At which size the robust encoder and the decoder work on a crop: at its own or at twice it, as the restorer does.

Place in the flow: `encoder.py` fits them so, `strength.py` restores by them. With `auto` each picture is worked on at
the size that the restorer would choose for it, by the same estimate, so that both sizes are learned for the pictures
that they are used for. The law it keeps: the size depends on the picture alone, whatever else is in its batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from supir_model import Supir
from supir_model.load import embedded_estimator
from supir_train.loss_config import WorkingScale
from supir_train.phase import Losses

Places = list[int]


class ScaleChoice:
    """Which images of a batch are worked on at which size.

    Args:
        supir: whose estimator is asked where the scale is `auto`, the embedded one where it has none.
        scale: `encoder.working_scale`.
    """

    def __init__(self, supir: Supir, scale: WorkingScale) -> None:
        self._scale = scale
        self._estimator = (supir.estimator or embedded_estimator()) if scale == "auto" else None

    def places(self, lq: torch.Tensor) -> dict[int, Places]:
        """Returns the places of the images by their scale; those that have none are left out.

        Args:
            lq: (B, 3, H, W) in [-1, 1].
        """
        if self._scale != "auto":
            return {self._scale: list(range(len(lq)))}
        assert self._estimator is not None, "made for auto"
        found = self._estimator.to(lq.device).estimate(lq)
        scales = [2 if each.gains_by_enlarging else 1 for each in found]
        return {
            scale: [place for place, its in enumerate(scales) if its == scale]
            for scale in sorted(set(scales))
        }

    def restored(self, supir: Supir, lq: torch.Tensor) -> torch.Tensor:
        """What robust encoder and decoder make of (B, 3, H, W) in [-1, 1], without the prior."""
        restored = torch.empty_like(lq)
        for scale, places in self.places(lq).items():
            restored[places] = reduced(
                supir.decode(supir.encode_lq(enlarged(lq[places], scale))).float(), scale
            )
        return restored


def enlarged(image: torch.Tensor, scale: int) -> torch.Tensor:
    """(B, 3, H, W) in [-1, 1] at the working size, as the restorer makes it: bicubic, clipped."""
    if scale == 1:
        return image
    return functional.interpolate(image, scale_factor=scale, mode="bicubic", antialias=True).clamp(-1, 1)


def reduced(image: torch.Tensor, scale: int) -> torch.Tensor:
    """The inverse: what was decoded at the working size, at the crop's."""
    if scale == 1:
        return image
    return functional.interpolate(image, scale_factor=1 / scale, mode="bicubic", antialias=True)


def mean_of_parts(parts: Sequence[tuple[int, Losses]]) -> Losses:
    """Returns the losses of a batch from those of its parts, each with the number of its images.

    Scalars are means over the images; vectors, one figure an image, are those of all images, in the parts' order.
    """
    images = sum(count for count, _ in parts)
    whole: dict[str, list[torch.Tensor]] = {}
    for count, losses in parts:
        for name, value in losses.items():
            whole.setdefault(name, []).append(value if value.ndim else value * (count / images))
    return {name: torch.cat(each) if each[0].ndim else sum(each[1:], each[0]) for name, each in whole.items()}
