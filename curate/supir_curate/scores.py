"""The table of scores: every number that is stored for a measured picture, its unit and its range.

Place in the flow: `measure` computes them, the ledger stores one column each, `rules` limit them, `report` draws
them. The law: a name is written to disk and never changes its meaning; a new score goes to the end.
"""

from __future__ import annotations

from typing import NamedTuple

PREFIX = "score."  # of the columns that hold scores
PROBE_VERSION = 3
"""Goes up whenever a probe gives other numbers for the same picture: scores are carried over only within a version."""

PROBES_STAMP = b"supir.probes"  # in the metadata of a ledger's file


def probes_stamp(working_side_px: int) -> bytes:
    """Returns what a ledger says of the probes that made it."""
    return f"version {PROBE_VERSION}, working side {working_side_px} px".encode()


class Score(NamedTuple):
    """One score.

    Args:
        name: its name in the ledger, `score.NAME`.
        unit: unit, and which direction is better.
        low: left end of its histogram.
        high: right end of its histogram.
    """

    name: str
    unit: str
    low: float
    high: float


SCORES = (
    Score("short_side_px", "pixels; more is better", 0, 4096),
    Score("aspect_ratio", "long side / short side; 1 is square", 1, 5),
    Score("alpha_share", "share of pixels that are not opaque; 0 is a photo", 0, 1),
    Score("bits_per_pixel", "file bits / pixel; more is less compressed", 0, 12),
    Score("effective_ratio", "share of the sampling rate that carries detail; 1 is native", 0, 1),
    Score("detail_ratio", "effective side / side at the working scale; 1 is native there", 0, 1),
    Score("flat_share", "share of 32 px cells without texture; less is richer", 0, 1),
    Score("texture_entropy_bits", "bits; mean entropy of a cell, more is richer", 0, 8),
    Score("glcm_entropy_bits", "bits; entropy of neighbouring grey levels, more is richer", 0, 10),
    Score("laplacian_variance", "squared grey levels in the sharpest quarter; more is sharper", 0, 4000),
    Score("noise_sigma", "grey levels; less is cleaner", 0, 20),
    Score("jpeg_quality", "libjpeg quality 1 to 100; more is better, none for other formats", 1, 100),
    Score("blockiness", "excess of steps on the 8 px grid; 0 is none", 0, 2),
    Score("overshoot", "share of a step; above 0.18 is a halo", 0, 0.5),
    Score("colourfulness", "Hasler-Süsstrunk; 0 is grey", 0, 120),
    Score("palette_share", "share of pixels in the 16 commonest colours; 1 is a graphic", 0, 1),
    Score("border_share", "share of the area that is a uniform frame; 0 is none", 0, 1),
    Score("screen_score", "0 photo to 1 screenshot", 0, 1),
    Score(
        "doubling_trace", "swing with a period of 2 px, a share; 0 is native, enlarged by 2 about 0.1", 0, 0.3
    ),
    Score(
        "resampling_trace",
        "swing with another period, a share; 0 is native, enlarged by 1.5 about 0.1",
        0,
        0.3,
    ),
    Score("first_quality", "libjpeg quality of the strongest earlier compression; 100 is none", 1, 100),
    Score("seam_share", "share of the clearest straight seam; 1 runs from edge to edge", 0, 1),
    Score("jpeg_guessed_share", "share of a JPEG that its decoder had to guess; 0 is intact", 0, 1),
)
SCORE_NAMES = tuple(score.name for score in SCORES)
