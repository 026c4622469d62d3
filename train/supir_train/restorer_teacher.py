"""A trained restorer of pictures whose results stand in for photos that cannot be guessed from their LQ.

Place in the flow: `encoder.py` asks it what each image is to come near to. Where much is lost, many photos fit one LQ;
fitted to the photo, a small network learns their mean, which is mush, long before it learns to choose one. A teacher
has chosen already: its result is a function of the LQ, which a student can learn.
The law it keeps: only the photo judges. Its teacher is followed at images where its result is nearer the photo (LPIPS,
AlexNet) than the student's own is at that step; at all others, the photo itself is the target. Where little is wrong it
is not asked: what it invents there would be learnt in the place of what the LQ still has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from supir_console import UserError
from supir_quality.lpips_weights import load_lpips

ASKED_SHARE = 0.5
"""Share of the perceptual terms from which on the teacher is asked: LQ up to 3 dB better than `faithful_above_db`."""


class RestorerTeacher:
    """A restorer that spandrel knows, such as Real-ESRGAN, and the network that compares.

    Args:
        path: its weights, .pth or .safetensors.

    Raises:
        UserError: spandrel is not installed, or the file is missing or no restorer of RGB pictures.
        FileNotFoundError: the packages with LPIPS's weights are not installed.
    """

    def __init__(self, path: Path) -> None:
        self._restorer = _load(path)
        network = self._restorer.model.requires_grad_(False).eval()
        self._network: Any = network.to(memory_format=torch.channels_last)
        self._lpips: Any = load_lpips("alex")[0]

    @torch.no_grad()
    def targets(
        self,
        image: torch.Tensor,
        lq: torch.Tensor,
        photo: torch.Tensor,
        perceptual_share: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns what each image is to come near to, (B, 3, H, W), and which of them (B,) follow the teacher.

        Args:
            image: (B, 3, H, W) the student's, about [-1, 1].
            lq: (B, 3, H, W) in [-1, 1]; the teacher gets it reduced by its own scale.
            photo: (B, 3, H, W) in [-1, 1].
            perceptual_share: (B,) as the losses have it; below `ASKED_SHARE` the photo is the target. None: 1.
        """
        is_followed = torch.zeros(len(lq), dtype=torch.bool, device=lq.device)
        asked = ~is_followed if perceptual_share is None else perceptual_share >= ASKED_SHARE
        target = photo.clone()
        if asked.any():
            taught = self._restored(lq[asked])
            own = self._distance(image[asked].clamp(-1, 1), photo[asked])
            is_nearer = self._distance(taught, photo[asked]) < own
            is_followed[asked] = is_nearer
            target[is_followed] = taught[is_nearer].to(target.dtype)
        return target, is_followed

    def _restored(self, lq: torch.Tensor) -> torch.Tensor:
        reduced = functional.interpolate(
            lq, scale_factor=1 / self._restorer.scale, mode="bicubic", antialias=True
        )
        restored = self._network.to(lq.device)((reduced.clamp(-1, 1) + 1) / 2)
        return (restored.float() * 2 - 1).clamp(-1, 1)

    def _distance(self, image: torch.Tensor, photo: torch.Tensor) -> torch.Tensor:
        distance: torch.Tensor = self._lpips.to(image.device)(image.float(), photo.float())
        return distance.flatten()


def _load(path: Path) -> Any:
    try:
        from spandrel import ImageModelDescriptor, ModelLoader
    except ImportError as error:
        raise UserError(
            "encoder.teacher needs spandrel, which is not installed; pip install 'supir-stack[teacher]'"
        ) from error
    if not path.is_file():
        raise UserError(
            f"encoder.teacher: {path} is no file; give the weights of a restorer, .pth or .safetensors"
        )
    try:
        restorer = ModelLoader(device="cpu").load_from_file(path)
    except Exception as error:  # spandrel and what it asks raise whatever a foreign file makes them raise
        raise UserError(f"encoder.teacher: {path} holds no network that spandrel knows: {error}") from error
    is_rgb = (
        isinstance(restorer, ImageModelDescriptor)
        and restorer.input_channels == restorer.output_channels == 3
    )
    if not is_rgb:
        raise UserError(
            f"encoder.teacher: {path} is no restorer of RGB pictures; give one, such as Real-ESRGAN"
        )
    return restorer
