"""The groups of options that `supir-infer` alone has, each with what a run takes from it.

Place in the flow: `cli.infer` gets each as one argument. Heavy imports happen inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from supir_console import UserError
from supir_infer import options as opt

if TYPE_CHECKING:
    from supir_infer.captioner import CaptionConfig
    from supir_infer.captions import Captions
    from supir_infer.model_source import ModelSource
    from supir_infer.outcomes import Ended
    from supir_infer.plan import Plan
    from supir_infer.regions import TileCaptions
    from supir_infer.work import Network, Work

    Run = Callable[[Work, Plan, Path], list[Ended]]
    """Restores the open jobs of a plan, writes their lines, and returns the failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnobOptions:
    """Settings that have an option of their own, by their keys; None where one was not given."""

    upscale: Annotated[float | None, typer.Option(help="Output side / input side.")] = None
    min_size_px: Annotated[
        int | None, typer.Option("--min-size", help="Shortest side of the working image, px.")
    ] = None
    strength: Annotated[
        str | None,
        typer.Option(
            metavar="auto|0..1", help="Share of the restoration in the result; auto: 0 where INPUT is clean."
        ),
    ] = None
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None
    sampler: Annotated[str | None, typer.Option(help="edm, dpmpp_2m_sde or lcm.")] = None
    start_sigma: Annotated[
        float | None,
        typer.Option(help="Start at the LQ's latent plus noise of this level, not at noise alone."),
    ] = None
    guidance_scale: Annotated[
        float | None, typer.Option(help="Text guidance (CFG) at the end; 1 = none.")
    ] = None
    guidance_scale_start: Annotated[
        float | None, typer.Option(help="Text guidance at the start, linear in sigma to --guidance-scale.")
    ] = None
    control_scale: Annotated[
        float | None, typer.Option(help="Strength of the LQ control at the end; 0 = none.")
    ] = None
    control_scale_start: Annotated[
        float | None, typer.Option(help="Strength of the LQ control at the start, linear to --control-scale.")
    ] = None
    restore_guidance: Annotated[
        float | None, typer.Option(help="tau_r: smaller stays nearer to the input; 0 = off.")
    ] = None
    colour_fix: Annotated[str | None, typer.Option(help="wavelet, adain, mean or none.")] = None
    tile_px: Annotated[int | None, typer.Option("--tile", help="Side of a sampling tile, px.")] = None
    tile_stride_px: Annotated[
        int | None, typer.Option("--tile-stride", help="Distance of two sampling tiles, px.")
    ] = None
    size_condition: Annotated[
        str | None,
        typer.Option(metavar="tile|picture|PX", help="What the network is told of the size it works at."),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextOptions:
    """What is said of the pictures, and who says it."""

    caption: opt.CaptionOption = None
    captions: opt.CaptionsOption = None
    captioner: Annotated[
        str | None,
        typer.Option(
            metavar="tags|vllm|openai|transformers", help="Engine that captions what has none, once cleaned."
        ),
    ] = None
    captioner_model: Annotated[str | None, typer.Option(help="Its model, as supir-caption --model.")] = None
    captioner_config: Annotated[
        Path | None, typer.Option(help="Its settings: a file of supir-caption --print-config.")
    ] = None
    caption_text: opt.CaptionTextOption = "text"
    tile_captions: Annotated[
        Path | None,
        typer.Option(
            help="JSON with boxes and texts, or a caption part of supir-caption: a text for each tile."
        ),
    ] = None

    def sources(self, source: Path) -> tuple[Captions, TileCaptions]:
        """Returns where the captions of the pictures and of their tiles come from.

        Raises:
            UserError: a file of captions is missing or of another form.
        """
        from supir_infer.captions import caption_source
        from supir_infer.regions import TileCaptions

        captions = caption_source(self.caption, self.captions, source, self.caption_text)
        return captions, TileCaptions(self.tile_captions, source, self.caption_text)

    def captioning(self) -> CaptionConfig | None:
        """Returns who captions pictures without a caption, see `captioner.captioner_config`."""
        from supir_infer.captioner import captioner_config

        return captioner_config(self.captioner, self.captioner_model, self.captioner_config)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """Settings of the results' files, by their keys; None where one was not given."""

    output_format: Annotated[
        str | None,
        typer.Option("--format", metavar="png|tiff|jpg|webp", help="Kind of the results' files; png."),
    ] = None
    output_bits: Annotated[
        int | None, typer.Option("--bits", help="8, or 16 (png, tiff) bits a channel.")
    ] = None
    output_quality: Annotated[
        int | None, typer.Option("--quality", help="Of jpg and webp, 1 to 100; 95.")
    ] = None

    def settings(self, output: Path | None) -> dict[str, Any]:
        """Returns them; the kind, where it was not given, by the name of an output that is no folder."""
        from supir_infer.saving import FORMAT_OF

        named = None if output is None or output.is_dir() else FORMAT_OF.get(output.suffix.lower())
        return asdict(self) | {"output_format": self.output_format or named}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningOptions:
    """Where and how the model runs."""

    device: opt.DeviceOption = "auto"
    dtype: opt.DtypeOption = "auto"
    float8: opt.Float8Option = False
    offload: opt.OffloadOption = None
    compiled: opt.CompileOption = False

    def network(self, origin: ModelSource) -> Network:
        """Returns the model as it runs here, loaded once it is asked for."""
        from supir_infer.running import Execution
        from supir_infer.work import Network

        return Network(origin, self.device, self.dtype, Execution(self.offload, self.compiled))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceOptions:
    """Which processes restore, and the memory of this one."""

    fit: opt.FitOption = None
    on_ray: opt.RayOption = False
    workers: opt.WorkersOption = None

    def run(self, running: RunningOptions) -> Run:
        """Returns what restores; that it can is known before any work begins.

        Raises:
            UserError: it cannot, or an option is of the other place.
        """
        return self._on_ray() if self.on_ray else self._here(running)

    def _here(self, running: RunningOptions) -> Run:
        from supir_infer.model_source import resolve_precision
        from supir_infer.work import run_here

        if self.workers:
            raise UserError(f"--workers {self.workers} needs --ray: without it one process restores")
        resolve_precision(running.device, running.dtype)
        return run_here

    def _on_ray(self) -> Run:
        from supir_infer.spread import require_ray, run_on_ray

        if self.fit:
            raise UserError(
                f"--fit {self.fit} measures this machine, and --ray restores on others; give --tile instead"
            )
        require_ray()
        return partial(run_on_ray, workers=self.workers)
