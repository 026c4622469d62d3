"""The flags of `supir-infer` and `supir-web`, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from supir_infer.settings import PRESET_BASES

CaptionColumn = Literal["text", "short_text"]

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
        help="Settings to start from: "
        + ", ".join(
            f"{name} ({'SDXL' if base.size == 'sdxl' else 'small'})" for name, base in PRESET_BASES.items()
        )
        + "; left out, fidelity for an SDXL model, else mini."
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
GuidanceStartOption = Annotated[
    float | None, typer.Option(help="Text guidance at the start, linear in sigma to --guidance-scale.")
]
ControlOption = Annotated[float | None, typer.Option(help="Strength of the LQ control at the end; 0 = none.")]
ControlStartOption = Annotated[
    float | None, typer.Option(help="Strength of the LQ control at the start, linear to --control-scale.")
]
StartSigmaOption = Annotated[
    float | None, typer.Option(help="Start at the LQ's latent plus noise of this level, not at noise alone.")
]
SamplerOption = Annotated[str | None, typer.Option(help="edm, dpmpp_2m_sde or lcm.")]
SizeConditionOption = Annotated[
    str | None,
    typer.Option(metavar="tile|picture|PX", help="What the network is told of the size it works at."),
]
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
FitOption = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Memory to stay within, as 8GB: chooses the VAE's strips and the size of the tiles.",
    ),
]
RayOption = Annotated[
    bool,
    typer.Option(
        "--ray",
        help="Spread the folder over the Ray cluster of RAY_ADDRESS, or over this machine's cores or GPUs.",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, help="Processes of --ray at most; one a GPU, else one a core by default."
    ),
]
CaptionOption = Annotated[str | None, typer.Option(help="One caption for every picture.")]
CaptionsOption = Annotated[
    Path | None, typer.Option(help="JSON or Parquet with captions; without it NAME.txt beside the picture.")
]
CaptionerOption = Annotated[
    str | None,
    typer.Option(
        metavar="tags|vllm|openai|transformers", help="Engine that captions what has none, once cleaned."
    ),
]
CaptionerModelOption = Annotated[str | None, typer.Option(help="Its model, as supir-caption --model.")]
CaptionerConfigOption = Annotated[
    Path | None, typer.Option(help="Its settings: a file of supir-caption --print-config.")
]
TileCaptionsOption = Annotated[
    Path | None,
    typer.Option(help="JSON with boxes and texts, or a caption part of supir-caption: a text for each tile."),
]
CaptionTextOption = Annotated[
    CaptionColumn,
    typer.Option(help="Which text of a caption part of supir-caption: the dense one, or the short one."),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of each picture's noise.")]
BatchSizeOption = Annotated[int, typer.Option(min=1, help="Pictures of one size restored together.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
DtypeOption = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
LoraOption = Annotated[
    list[str],
    typer.Option(
        "--lora", metavar="FILE[:WEIGHT]", help="SDXL LoRA (diffusers, kohya or PEFT names). Repeatable."
    ),
]
Float8Option = Annotated[
    bool, typer.Option("--float8", help="Hold the networks' weights in 8 bits: half of bfloat16's memory.")
]
OffloadOption = Annotated[
    str | None,
    typer.Option(
        metavar="ram|FOLDER", help="Keep weights in main memory or in files; each layer visits the device."
    ),
]
CompileOption = Annotated[
    bool,
    typer.Option("--compile", help="Compile the transformer blocks: a slow first picture, faster ones then."),
]
