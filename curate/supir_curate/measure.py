"""One decoded picture in, every score of it out: each probe called once, at its scale.

Place in the flow: between `picture` and the ledger. The law: the result has exactly the names of `scores.SCORES`, and
depends on the picture and the working side alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from supir_curate.pictures.picture import Picture
from supir_curate.probes.border import border_share
from supir_curate.probes.colour import colourfulness, palette_share
from supir_curate.probes.compression import blockiness, jpeg_quality
from supir_curate.probes.halo import overshoot
from supir_curate.probes.history import block_phase, first_quality
from supir_curate.probes.noise import noise_sigma
from supir_curate.probes.phash import perceptual_hash
from supir_curate.probes.resampling import difference_profiles, resampling_traces
from supir_curate.probes.resolution import effective_ratio
from supir_curate.probes.seam import seam_share
from supir_curate.probes.sharpness import laplacian_variance
from supir_curate.probes.text import screen_score
from supir_curate.probes.texture import measure_texture
from supir_curate.probes.tiles import busiest_tiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What is known about one picture.

    Args:
        scores: score name to value, NaN where the score has none.
        texture: (rows, columns) uint8 map over the whole picture, upright.
        phash: 64-bit perceptual hash.
    """

    scores: dict[str, float]
    texture: NDArray[np.uint8]
    phash: int


def measure(picture: Picture, working_side_px: int) -> Measurement:
    """Returns every score of a picture, its texture map and its perceptual hash.

    Args:
        picture: decoded with the same `working_side_px`.
        working_side_px: short side of the working views; `detail_ratio` refers to it.
    """
    header = picture.header
    short_side, long_side = sorted((header.width, header.height))
    noise, working_noise = noise_sigma(picture.gray), noise_sigma(picture.working_gray)
    texture = measure_texture(picture.working_gray, working_noise)
    tiles = busiest_tiles(picture.gray)
    effective = effective_ratio(tiles, noise)
    profiles = difference_profiles(tiles)
    traces = resampling_traces(profiles, effective)
    scores = {
        "short_side_px": float(short_side),
        "aspect_ratio": long_side / short_side,
        "alpha_share": picture.alpha_share,
        "bits_per_pixel": 8 * picture.num_bytes / (header.width * header.height),
        "effective_ratio": effective,
        "detail_ratio": float(np.minimum(1.0, effective * short_side / min(short_side, working_side_px))),
        "flat_share": texture.flat_share,
        "texture_entropy_bits": texture.entropy_bits,
        "glcm_entropy_bits": texture.glcm_bits,
        "laplacian_variance": laplacian_variance(picture.working_gray, working_noise),
        "noise_sigma": noise,
        "jpeg_quality": jpeg_quality(header.luma_table),
        "blockiness": blockiness(picture.gray),
        "overshoot": overshoot(picture.working_gray),
        "colourfulness": colourfulness(picture.colours),
        "palette_share": palette_share(picture.colours),
        "border_share": border_share(picture.working_gray),
        "screen_score": screen_score(picture.gray),
        "doubling_trace": traces.doubling,
        "resampling_trace": traces.other,
        "first_quality": first_quality(tiles, {picture.block_phase, block_phase(profiles.third)}),
        "seam_share": seam_share(picture.gray),
        "jpeg_guessed_share": picture.guessed_share,
    }
    return Measurement(scores=scores, texture=texture.cells, phash=perceptual_hash(picture.working_gray))
