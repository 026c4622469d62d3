"""What is stored of a kept picture: all of it, or crops of it, and at what size.

Place in the flow: `config` holds it as the section pack; `crops` and `pack` work by it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from supir_curate.strict import StrictConfig

GRID_PX = 64  # crops lie on this grid, which the blocks of every JPEG fit


class PackConfig(StrictConfig):
    """Writing of shards."""

    mode: Literal["whole", "crops"] = Field(
        default="whole",
        description="whole: one sample a photo; crops: up to max_crops squares of size_px, placed by texture",
    )
    max_side_px: int = Field(
        default=2048, ge=64, description="a whole picture with no longer side keeps its original bytes"
    )
    size_px: int = Field(
        default=1024,
        ge=64,
        description="side of a crop; reducing never takes the short side of any picture below this",
    )
    jpeg_quality: int = Field(
        default=97, ge=1, le=100, description="of pictures that had to be encoded again (4:4:4)"
    )
    max_crops: int = Field(default=4, ge=1, description="crops of one photo")
    min_distance: float = Field(
        default=1.25,
        gt=0,
        description="between two crops of a photo, from left edge to left edge or from top to top, in crop sides;"
        " from 1 on they do not overlap",
    )
    max_flat_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="flat 32 px cells in a photo's second and further crops; the first is always taken",
    )
    min_effective_ratio: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="a photo whose effective_ratio is below is reduced by that ratio before it is cut",
    )
    min_frame_share: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="a photo is reduced until a crop shows this share of its short side",
    )

    @model_validator(mode="after")
    def _on_the_grid(self) -> PackConfig:
        if self.mode == "crops" and self.size_px % GRID_PX:
            near = max(GRID_PX, round(self.size_px / GRID_PX) * GRID_PX)
            raise ValueError(
                f"size_px={self.size_px} is no multiple of {GRID_PX}, as mode=crops needs; use {near}"
            )
        return self
