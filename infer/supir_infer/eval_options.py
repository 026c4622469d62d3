"""The groups of options of `supir-eval`, each with what an evaluation takes from it.

Place in the flow: `eval_cli.evaluate` gets each as one argument. Heavy imports happen inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from supir_console import UserError

if TYPE_CHECKING:
    from supir_infer.evaluate import Ways
    from supir_infer.named_sets import NamedSet

DEFAULT_METRICS = "psnr,psnr_y,ssim,ssim_y,lpips,lpips_vgg,dists,niqe,brisque,consistency,colour_shift,grid"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerOptions:
    """What the restored pictures are set against."""

    reference: Annotated[Path | None, typer.Option(help="The clean picture or folder; names must match.")] = (
        None
    )
    lq: Annotated[
        Path | None, typer.Option(help="The degraded input; adds a row for bicubic, and consistency with it.")
    ] = None
    benchmark: Annotated[
        str | None,
        typer.Option(
            help="[NAME=]FOLDER of a published set, instead of --reference, --lq and --crop-border."
        ),
    ] = None

    def named_set(self, crop_border: int | None) -> NamedSet | None:
        """Returns the published set of --benchmark, None without one.

        Args:
            crop_border: px of --crop-border, None where it was not given.

        Raises:
            UserError: no such set, or an option that it says itself.
        """
        if self.benchmark is None:
            return None
        if self.reference is not None or self.lq is not None or crop_border is not None:
            raise UserError("--benchmark says reference, LQ and crop border itself; leave those options out")
        from supir_infer.named_sets import find_set

        return find_set(self.benchmark)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureOptions:
    """What is measured."""

    metrics: Annotated[
        str | None,
        typer.Option(
            help="Of psnr ssim psnr_y ssim_y psnr_y_full ssim_y_full lpips lpips_vgg dists niqe brisque consistency "
            f"colour_shift grid, and musiq with the extra [iqa]. [default: {DEFAULT_METRICS}]"
        ),
    ] = None
    weights: Annotated[
        Path | None, typer.Option(help="Folder with weight files for niqe, brisque and musiq.")
    ] = None
    crop_border: Annotated[
        int | None, typer.Option(min=0, help="Px taken off each side before measuring. [default: 0]")
    ] = None
    tiles: Annotated[
        str | None,
        typer.Option(help="SIDE[:STRIDE] in px of the tiles of pictures that do not tell theirs, for seams."),
    ] = None

    def ways(self, device: str, named: NamedSet | None) -> Ways:
        """Returns how it is measured.

        Args:
            device: auto, or where the metrics run.
            named: the published set, whose protocol says the border, and the metrics where none were given.

        Raises:
            UserError: there is no such device, or --tiles is none.
        """
        import torch

        from supir_infer.evaluate import Ways
        from supir_infer.model_source import resolve_device
        from supir_infer.seams import read_tiles

        metrics, border = self.metrics, self.crop_border
        if named:
            metrics, border = metrics or named.protocol.metrics, named.protocol.crop_border_px
        return Ways(
            metrics=[name.strip() for name in (metrics or DEFAULT_METRICS).split(",")],
            weights=self.weights,
            device=torch.device(resolve_device(device)),
            crop_border_px=border or 0,
            tiles=read_tiles(self.tiles) if self.tiles else None,
        )
