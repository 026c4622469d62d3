"""What the network is told of a picture beside its pixels: text and size vector, for all tiles or each its own.

Place in the flow: `restore` encodes the texts once and makes the `Denoise` that the sampler calls from here.
Legend: B pictures, W windows; rows are window by window, all pictures of the first window first, as `tiling` has them.
The law it keeps: a text that comes again in a run is not encoded again, and a text's rows do not depend on the others.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from supir_infer.regions import Region, tile_text
from supir_infer.settings import RestoreSettings
from supir_infer.sizes import Sizes
from supir_infer.tiling import Window, tiled
from supir_model import Supir, TextConditioning
from supir_model.guidance import LinearScale, guided
from supir_model.sampler import Denoise
from supir_model.text import joined

LATENT_PX = 8  # image px a latent px
REMEMBERED = 64  # texts; SDXL's take a third of a MB each in bfloat16
SizeCondition = Literal["tile", "picture"] | int


@dataclass(frozen=True, slots=True)
class Told:
    """The text of each window's B pictures, or one for all windows, and the B negative texts."""

    positive: TextConditioning | Sequence[TextConditioning]
    negative: TextConditioning

    def positive_of(self, windows: slice) -> TextConditioning:
        """Returns the rows of the windows `windows`, window by window."""
        if isinstance(self.positive, TextConditioning):
            return self.positive.repeat(windows.stop - windows.start)
        return joined(*self.positive[windows])


class Texts:
    """Encodes prompts, and remembers those of the last pictures; one thread at a time, as tokenizers want it."""

    def __init__(self, supir: Supir) -> None:
        self._supir = supir
        self._rows: OrderedDict[str, TextConditioning] = OrderedDict()
        self._lock = threading.Lock()

    def encode(self, prompts: Sequence[str]) -> TextConditioning:
        """Returns the conditioning of the prompts, a row each."""
        with self._lock, torch.no_grad():
            new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._rows]
            if new:
                encoded = self._supir.encode_prompt(new)
                self._rows.update({prompt: encoded[row : row + 1] for row, prompt in enumerate(new)})
            found = [self._rows[prompt] for prompt in prompts]
            for prompt in prompts:
                self._rows.move_to_end(prompt)
            while len(self._rows) > REMEMBERED:
                self._rows.popitem(last=False)
        return found[0] if len(found) == 1 else joined(*found)


def prompt_of(caption: str, suffix: str) -> str:
    """Returns a caption followed by the quality words."""
    stem = caption.strip().rstrip(".,")
    return ". ".join(part for part in (stem, suffix) if part)


def tell(
    texts: Texts,
    settings: RestoreSettings,
    windows: Sequence[Window],
    captions: Sequence[str],
    regions: Sequence[Sequence[Region]],
    sizes: Sequence[Sizes],
) -> Told:
    """Returns the texts of B pictures: one for all windows, or, where a picture has regions, one for each.

    Args:
        texts: what encodes them.
        settings: with the quality words and the negative prompt.
        windows: of the working image, in latent px.
        captions: of the whole pictures.
        regions: of each picture.
        sizes: of each picture, which tell where in it a window lies.
    """
    suffix = settings.positive_suffix
    negative = texts.encode([settings.negative_prompt] * len(captions))
    if not any(regions) or len(windows) == 1:
        return Told(texts.encode([prompt_of(caption, suffix) for caption in captions]), negative)
    prompts = tile_prompts(captions, regions, windows, sizes, suffix)
    return Told([texts.encode(row) for row in prompts], negative)


def tile_prompts(
    captions: Sequence[str],
    regions: Sequence[Sequence[Region]],
    windows: Sequence[Window],
    sizes: Sequence[Sizes],
    suffix: str,
) -> list[list[str]]:
    """Returns the prompts of each window's B pictures.

    Args:
        captions: of the whole pictures.
        regions: of each picture.
        windows: of the working image, in latent px.
        sizes: of each picture, which tell where in it a window lies.
        suffix: the quality words.
    """

    def text_in(window: Window, index: int) -> str:
        (width, height), (working, _) = sizes[index].source, sizes[index].working
        across, down = LATENT_PX * width / working, LATENT_PX * height / sizes[index].working[1]
        tile = (window.left * across, window.top * down, window.right * across, window.bottom * down)
        return tile_text(regions[index], tile, (0, 0, width, height), captions[index])

    return [
        [prompt_of(text_in(window, index), suffix) for index in range(len(captions))] for window in windows
    ]


def size_vectors(
    told: SizeCondition, working: tuple[int, int], windows: Sequence[Window], batch: int
) -> torch.Tensor:
    """Returns SDXL's size vector of every window's B pictures, (W * B, 6): original size, crop, target size; px.

    Args:
        told: "tile": each tile is a picture of its own; "picture": it is a crop of the working image; a number: a
            square picture of that side, whatever the tile is.
        working: width and height of the working image, px.
        windows: in latent px.
        batch: B.
    """
    rows = []
    for window in windows:
        height, width = ((window.bottom - window.top) * LATENT_PX, (window.right - window.left) * LATENT_PX)
        if told == "picture":
            row = [working[1], working[0], window.top * LATENT_PX, window.left * LATENT_PX, height, width]
        elif told == "tile":
            row = [height, width, 0, 0, height, width]
        else:
            row = [told, told, 0, 0, told, told]
        rows += [row] * batch
    return torch.tensor(rows, dtype=torch.float32)


def denoise_with(
    supir: Supir, settings: RestoreSettings, z_lq: torch.Tensor, told: Told, windows: Sequence[Window]
) -> Denoise:
    """Returns the `Denoise` of a batch, in tiles where there are several windows.

    Args:
        supir: the network.
        settings: its ramps, `size_condition` and `tile_batch` are used.
        z_lq: (B, C, h, w) control latent.
        told: the texts.
        windows: that cover the latent.
    """
    working = (z_lq.shape[-1] * LATENT_PX, z_lq.shape[-2] * LATENT_PX)
    sizes = size_vectors(settings.size_condition, working, windows, len(z_lq))

    def denoise_for(controls: torch.Tensor, group: slice) -> Denoise:
        copies = group.stop - group.start
        return guided(
            supir,
            controls,
            told.positive_of(group),
            told.negative.repeat(copies),
            sizes[group.start * len(z_lq) : group.stop * len(z_lq)],
            guidance_scale=_ramp(settings.guidance_scale_start, settings.guidance_scale),
            control_scale=_ramp(settings.control_scale_start, settings.control_scale),
        )

    if len(windows) == 1:
        return denoise_for(z_lq, slice(0, 1))
    return tiled(denoise_for, z_lq, windows, settings.tile_batch)


def _ramp(start: float | None, end: float) -> LinearScale:
    return LinearScale(end if start is None else start, end)
