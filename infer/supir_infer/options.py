"""The flags of `supir-infer` and `supir-web`, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from supir_infer.settings import PRESETS

InputArgument = Annotated[
    Path | None, typer.Argument(metavar="INPUT", help="A picture, or a folder of pictures.")
]
OutputOption = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="Folder for the results; for one picture also a file name."),
]
ModelOption = Annotated[
    str | None, typer.Option(help="mini (the default), tiny (random, for tests) or a model folder.")
]
BaseOption = Annotated[
    Path | None, typer.Option(help="Instead of --model: SDXL, a diffusers folder or one file.")
]
CheckpointOption = Annotated[
    Path | None, typer.Option(help="With --base: official SUPIR file, .safetensors or .ckpt.")
]
PresetOption = Annotated[
    str | None,
    typer.Option(
        help=f"Settings to start from: {', '.join(PRESETS)}; left out, fidelity for an SDXL model, else mini."
    ),
]
UpscaleOption = Annotated[float | None, typer.Option(help="Output side / input side.")]
MinSizeOption = Annotated[int | None, typer.Option(help="Shortest side of the working image, px.")]
StrengthOption = Annotated[
    str | None,
    typer.Option(
        metavar="auto|0..1", help="Share of the restoration in the result; auto: 0 where INPUT is clean."
    ),
]
StepsOption = Annotated[int | None, typer.Option(help="Denoising steps.")]
GuidanceOption = Annotated[float | None, typer.Option(help="Text guidance (CFG) at the end; 1 = none.")]
ControlOption = Annotated[float | None, typer.Option(help="Strength of the LQ control; 0 = none.")]
RestoreGuidanceOption = Annotated[
    float | None, typer.Option(help="tau_r: smaller stays nearer to the input; 0 = off.")
]
ColourFixOption = Annotated[str | None, typer.Option(help="wavelet, adain, mean or none.")]
FormatOption = Annotated[
    str | None, typer.Option("--format", metavar="png|tiff|jpg|webp", help="Kind of the results' files; png.")
]
BitsOption = Annotated[int | None, typer.Option("--bits", help="8, or 16 (png, tiff) bits a channel.")]
QualityOption = Annotated[int | None, typer.Option("--quality", help="Of jpg and webp, 1 to 100; 95.")]
RedoOption = Annotated[
    bool, typer.Option("--redo", help="Make results anew that are there, whatever they were made with.")
]
TileOption = Annotated[int | None, typer.Option(help="Side of a sampling tile, px.")]
TileStrideOption = Annotated[int | None, typer.Option(help="Distance of two sampling tiles, px.")]
CaptionOption = Annotated[str | None, typer.Option(help="One caption for every picture.")]
CaptionsOption = Annotated[
    Path | None, typer.Option(help="JSON or Parquet with captions; without it NAME.txt beside the picture.")
]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of each picture's noise.")]
BatchSizeOption = Annotated[int, typer.Option(min=1, help="Pictures of one size restored together.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
DtypeOption = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
