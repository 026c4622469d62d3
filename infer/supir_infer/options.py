"""The options of `supir-infer`, `supir-infer sweep` and `supir-web`, each declared once.

Place in the flow: the commands name them in their signatures; groups go in as one argument, see
`supir_console.ungrouped`. Heavy imports happen inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from supir_infer.settings import PRESET_BASES

if TYPE_CHECKING:
    from supir_infer.captions import Captions
    from supir_infer.model_source import ModelSource

CaptionColumn = Literal["text", "short_text"]

InputArgument = Annotated[
    Path | None, typer.Argument(metavar="INPUT", help="A picture, or a folder of pictures.")
]
OutputOption = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="Folder for the results; for one picture also a file name."),
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
RedoOption = Annotated[
    bool, typer.Option("--redo", help="Make results anew that are there, whatever they were made with.")
]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionOptions:
    """What is said of the pictures."""

    caption: CaptionOption = None
    captions: CaptionsOption = None
    caption_text: CaptionTextOption = "text"

    def source(self, pictures: Path) -> Captions:
        """Returns where the captions of the pictures, or of the one, come from.

        Raises:
            UserError: a file of captions is missing or of another form.
        """
        from supir_infer.captions import caption_source

        return caption_source(self.caption, self.captions, pictures, self.caption_text)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Which model."""

    model: Annotated[
        str | None, typer.Option(help="mini (the default), tiny (random, for tests) or a model folder.")
    ] = None
    base: Annotated[
        Path | None, typer.Option(help="Instead of --model: SDXL, a diffusers folder or one file.")
    ] = None
    checkpoint: Annotated[
        Path | None, typer.Option(help="With --base: official SUPIR file, .safetensors or .ckpt.")
    ] = None

    def changed(self, lora: list[str], float8: bool) -> ModelSource:
        """Returns the model with its LoRAs, its weights held in 8 bits or not.

        Raises:
            UserError: there is no such model or LoRA.
        """
        from supir_infer.model_source import resolve_model
        from supir_infer.running import Changes, read_loras

        origin = resolve_model(self.model, self.base, self.checkpoint)
        return origin.changed(Changes(read_loras(lora), float8))
