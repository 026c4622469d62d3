"""The restorer: a degraded picture in, a sharp one of `upscale` times its size out.

Promise: RGB of any size in (H, W, 3), uint8 out at round(upscale * H, upscale * W). Nothing is padded: the
working image is resized onto the grid. Errors a user can meet: `ImageError` (no RGB picture), `UserError`
(working image too large, a setting the model has not). Where memory does not suffice the work goes on in strips, then
in smaller tiles, see `out_of_memory`.
Order: LQ, bicubic to the working size -> robust encoder (mode) = z_lq -> decoded = stage-one image -> VAE encoder
(sample) = restoration centre -> pure noise, or z_lq plus `start_sigma` of it, sampled with z_lq as control
and text guidance -> decoded -> colours of the given or the stage-one image -> resized to the output, and mixed with
the given picture by `strength`. A working image larger than a tile is sampled in tiles that overlap by tile_px -
tile_stride_px; the network's memory depends on the tile, the VAE's on the working image.
Place in the flow: `folder`, `web` and any script call `Restorer.restore`; tensors are (B, 3, H, W) or (B, C, h, w).
The law it keeps: a picture depends on its pixels, caption, seed, settings and weights, never on its
neighbours in a batch. All noise is drawn on the CPU from one generator for each (seed, purpose), so another
device or batch size changes rounding only.
Source: arXiv 2401.13627, figure 2 and section 3; tests compare with a recorded run of the whole chain.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from supir_infer.choice import Choice, choose
from supir_infer.codec import Codec
from supir_infer.colour import fix_colour
from supir_infer.conditioning import LATENT_PX as LATENT_PX
from supir_infer.conditioning import Texts, Told, denoise_with, prompt_of, tell
from supir_infer.finish import finished
from supir_infer.images import FloatImage, resize, to_bytes, to_rgb
from supir_infer.lap_clock import LapClock
from supir_infer.noise import Noise, noise_of
from supir_infer.out_of_memory import smaller
from supir_infer.regions import Region
from supir_infer.sampling import Sampling, noise_levels, sample
from supir_infer.saving import Levels
from supir_infer.settings import RestoreSettings
from supir_infer.sizes import Sizes, largest_sizes, plan_sizes
from supir_infer.tiling import Window, tile_windows
from supir_model import Supir, TextConditioning
from supir_model.estimator import Degradation
from supir_model.out_of_memory import is_out_of_memory
from supir_model.sampler import OnStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A restored picture: `image` (H, W, 3) at the output size, uint8 or by `output_bits` uint16, and its making.

    `settings` are those it was made with, whose tiles may be smaller than asked for, for want of memory.
    `strength` is the share of the restoration in it, `degradation` the estimate that it was chosen by, if it was.
    `timings` are seconds of the batch's encode, sample and decode steps divided by its pictures.
    """

    image: Levels
    settings: RestoreSettings
    sizes: Sizes
    seed: int
    prompt: str
    num_tiles: int
    strength: float
    degradation: Degradation | None
    timings: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Asked:
    """One picture of a batch, (H, W, 3) in 0..1, and what goes with it."""

    rgb: FloatImage
    caption: str
    seed: int
    regions: Sequence[Region]
    choice: Choice


class Restorer:
    """A model with settings, ready to restore.

    Args:
        supir: the network, already on its device.
        settings: applied to every picture.
        sampling: what takes the denoising steps.
    """

    def __init__(self, supir: Supir, settings: RestoreSettings, sampling: Sampling = sample) -> None:
        self.supir = supir
        self.settings = settings
        self._sampling = sampling
        self._codec = Codec(supir, settings.vae_strip_px, settings.vae_maps_gib)
        self._texts = Texts(supir)
        self._sigmas = noise_levels(settings)

    @property
    def precision(self) -> str:
        """The network's dtype, such as "float32"."""
        return str(self.supir.unet.dtype).removeprefix("torch.")

    @property
    def num_steps(self) -> int:
        """Denoising steps of a picture: `steps`, or the number of noise levels from `start_sigma` on."""
        return len(self._sigmas) - 1

    def restore(
        self,
        image: Image.Image | npt.NDArray[Any],
        caption: str = "",
        seed: int = 0,
        on_step: OnStep | None = None,
        regions: Sequence[Region] = (),
    ) -> Result:
        """Returns the restored picture.

        Args:
            image: PIL image of any mode, or array (H, W, 3), uint8 in 0..255 or float in 0..1.
            caption: what is in the picture; the quality words are added.
            seed: of all noise.
            on_step: called after every denoising step.
            regions: what is in parts of the picture, for its tiles.

        Raises:
            ImageError: the array is no RGB picture.
            UserError: the working image would exceed `max_megapixels`, or the result is none, see `finish`.
        """
        return self.restore_batch([image], [caption], [seed], on_step, [regions])[0]

    def restore_batch(
        self,
        images: Sequence[Image.Image | npt.NDArray[Any]],
        captions: Sequence[str],
        seeds: Sequence[int],
        on_step: OnStep | None = None,
        regions: Sequence[Sequence[Region]] = (),
    ) -> list[Result]:
        """Returns the restored pictures; all must have the same working size, see `plan_sizes`.

        Args:
            images, captions, seeds, on_step: as in `restore`, one a picture.
            regions: of each picture; () where none has any.

        Raises:
            ValueError: the working sizes differ.
        """
        try:
            return self._together(images, captions, seeds, on_step, regions)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            lesser = self if len(images) > 1 else self._smaller(images[0])
            if lesser is None:
                raise
        alone = zip(images, captions, seeds, regions or [()] * len(images), strict=True)
        return [lesser.restore(image, caption, seed, on_step, told) for image, caption, seed, told in alone]

    def _smaller(self, image: Image.Image | npt.NDArray[Any]) -> Restorer | None:
        """This with less at once; None where it cannot be less."""
        size = image.size if isinstance(image, Image.Image) else (image.shape[1], image.shape[0])
        settings = smaller(self.settings, largest_sizes(size, self.settings).working)
        if settings is None:
            return None
        lesser = copy.copy(self)
        lesser.settings = settings
        return lesser

    def _together(
        self,
        images: Sequence[Image.Image | npt.NDArray[Any]],
        captions: Sequence[str],
        seeds: Sequence[int],
        on_step: OnStep | None,
        regions: Sequence[Sequence[Region]],
    ) -> list[Result]:
        pictures = [to_rgb(image) for image in images]
        working = [plan_sizes((rgb.shape[1], rgb.shape[0]), self.settings).working for rgb in pictures]
        if len(set(working)) != 1:
            raise ValueError(f"working sizes {working} differ; restore them one by one")
        asked = [
            _Asked(rgb, caption, seed, told, choose(self.supir, self.settings, rgb))
            for rgb, caption, seed, told in zip(
                pictures, captions, seeds, regions or [()] * len(pictures), strict=True
            )
        ]
        groups: dict[tuple[int, int], list[_Asked]] = {}
        for one in asked:
            groups.setdefault(one.choice.sizes.working, []).append(one)
        made = {working: iter(self._group(group, on_step)) for working, group in groups.items()}
        return [next(made[one.choice.sizes.working]) for one in asked]

    def _group(self, asked: Sequence[_Asked], on_step: OnStep | None) -> list[Result]:
        """The results of pictures that are worked on at one size."""
        working, timings = asked[0].choice.sizes.working, dict[str, float]()
        restored: Iterable[npt.NDArray[np.float32]] = [one.rgb for one in asked]
        if any(one.choice.taken.most for one in asked):
            lq = np.stack([resize(one.rgb, working) for one in asked])
            texts = ((one.caption, one.regions, one.choice.sizes) for one in asked)
            told = tell(self._texts, self.settings, self.windows(working), *zip(*texts, strict=True))
            restored = self._restored(lq, told, [one.seed for one in asked], timings, on_step)
        pairs = zip(asked, restored, strict=True)
        return [self._result(one, array, timings, len(asked)) for one, array in pairs]

    def _result(
        self, asked: _Asked, restored: npt.NDArray[np.float32], timings: dict[str, float], shared_by: int
    ) -> Result:
        settings, choice = self.settings, asked.choice
        image, strength = finished(
            restored, asked.rgb, choice.sizes.output, choice.taken, settings, self.precision
        )
        return Result(
            image=image,
            settings=settings,
            sizes=choice.sizes,
            seed=asked.seed,
            prompt=prompt_of(asked.caption, settings.positive_suffix),
            num_tiles=len(self.windows(choice.sizes.working)),
            strength=strength,
            degradation=choice.taken.degradation,
            timings={name: seconds / shared_by for name, seconds in timings.items()},
        )

    @torch.no_grad()
    def cleaned(self, image: Image.Image | npt.NDArray[Any]) -> Image.Image:
        """Returns the picture as the robust encoder sees it, decoded, at the working size: what a captioner is shown.

        Args:
            image: as `restore` takes it.
        """
        rgb = to_rgb(image)
        working = plan_sizes((rgb.shape[1], rgb.shape[0]), self.settings).working
        lq = torch.from_numpy(resize(rgb, working)).permute(2, 0, 1)[None].to(self.supir.device) * 2 - 1
        decoded = self._codec.decode(self._codec.encode_lq(lq))
        return Image.fromarray(to_bytes(((decoded[0].permute(1, 2, 0) + 1) / 2).float().cpu().numpy()))

    def _restored(
        self,
        lq: npt.NDArray[np.float32],
        told: Told,
        seeds: Sequence[int],
        timings: dict[str, float],
        on_step: OnStep | None,
    ) -> npt.NDArray[np.float32]:
        """The restored images (B, H, W, 3), about 0..1, of LQ images at the working size."""
        tensor = torch.from_numpy(lq).permute(0, 3, 1, 2).to(self.supir.device) * 2 - 1
        restored = self.restore_tensor(
            tensor, told.positive, told.negative, noise_of(seeds), timings, on_step
        )
        return ((restored.permute(0, 2, 3, 1) + 1) / 2).cpu().numpy()

    @torch.no_grad()
    def restore_tensor(
        self,
        lq: torch.Tensor,
        positive: TextConditioning | Sequence[TextConditioning],
        negative: TextConditioning,
        noise: Noise,
        timings: dict[str, float] | None = None,
        on_step: OnStep | None = None,
    ) -> torch.Tensor:
        """Returns the restored images at working size, (B, 3, H, W) in about [-1, 1], not clipped.

        Args:
            lq: (B, 3, H, W) in [-1, 1], both sides multiples of 32.
            positive: conditioning of B prompts; or of those of each of `windows`, in their order.
            negative: conditioning of B negative prompts, of any lengths.
            noise: where the noise comes from.
            timings: gets the seconds of `encode`, `sample` and `decode`.
            on_step: called after every denoising step.
        """
        clock = LapClock({} if timings is None else timings, lq.device)
        z_lq = self._codec.encode_lq(lq)
        pulls = self.settings.restore_guidance > 0
        takes_colours = self.settings.colour_fix != "none" and self.settings.colour_reference == "stage_one"
        stage_one = self._codec.decode(z_lq) if pulls or takes_colours else lq
        centre = self._codec.encode(stage_one, noise.posterior) if pulls else None
        colours = stage_one if takes_colours else lq
        clock.lap("encode")
        windows = self.windows((lq.shape[-1], lq.shape[-2]))
        denoise = denoise_with(self.supir, self.settings, z_lq, Told(positive, negative), windows)
        latent = self._sampling(self.settings, denoise, z_lq, noise, centre, on_step)
        clock.lap("sample")
        restored = fix_colour(self._codec.decode(latent), colours, self.settings.colour_fix)
        clock.lap("decode")
        return restored

    def windows(self, working: tuple[int, int]) -> list[Window]:
        """Returns the sampling tiles of a working image of (width, height) px, in latent px."""
        width, height = (side // LATENT_PX for side in working)
        settings = self.settings
        return tile_windows(
            height, width, settings.tile_px // LATENT_PX, settings.tile_stride_px // LATENT_PX
        )
