"""`supir-infer INPUT -o OUT`: restores a picture or a folder of pictures.

Place in the flow: the command line of `plan`, `folder`, `restore` and `estimate`; heavy imports happen
inside.
Exit codes: 0 all restored, 1 some pictures failed (they stand in results.jsonl), 2 wrong usage or input.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from supir_console import (
    ConfigOption,
    DryRunOption,
    JsonOption,
    PrintConfigOption,
    SetOption,
    UserError,
    config_yaml,
    entry,
    finish,
    load_config,
    one_line,
    require_given,
    require_writable_file,
    require_writable_folder,
)
from supir_infer import options as opt
from supir_infer.settings import PRESETS, RestoreSettings, change_settings

if TYPE_CHECKING:
    from supir_infer.outcomes import Ended
    from supir_infer.plan import Job, Plan
    from supir_infer.work import Work
    from supir_model import Supir

    Run = Callable[[Work, Plan, Path], list[Ended]]
    """Restores the open jobs of a plan, writes their lines, and returns the failed."""

RESULTS = "results.jsonl"

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Another command, with its own --help: supir-infer sweep.")
def infer(
    source: opt.InputArgument = None,
    output: opt.OutputOption = None,
    model: opt.ModelOption = None,
    base: opt.BaseOption = None,
    checkpoint: opt.CheckpointOption = None,
    preset: opt.PresetOption = None,
    upscale: opt.UpscaleOption = None,
    min_size: opt.MinSizeOption = None,
    strength: opt.StrengthOption = None,
    steps: opt.StepsOption = None,
    sampler: opt.SamplerOption = None,
    start_sigma: opt.StartSigmaOption = None,
    guidance_scale: opt.GuidanceOption = None,
    guidance_scale_start: opt.GuidanceStartOption = None,
    control_scale: opt.ControlOption = None,
    control_scale_start: opt.ControlStartOption = None,
    restore_guidance: opt.RestoreGuidanceOption = None,
    colour_fix: opt.ColourFixOption = None,
    tile: opt.TileOption = None,
    tile_stride: opt.TileStrideOption = None,
    size_condition: opt.SizeConditionOption = None,
    caption: opt.CaptionOption = None,
    captions: opt.CaptionsOption = None,
    captioner: opt.CaptionerOption = None,
    captioner_model: opt.CaptionerModelOption = None,
    captioner_config: opt.CaptionerConfigOption = None,
    caption_text: opt.CaptionTextOption = "text",
    tile_captions: opt.TileCaptionsOption = None,
    output_format: opt.FormatOption = None,
    bits: opt.BitsOption = None,
    quality: opt.QualityOption = None,
    redo: opt.RedoOption = False,
    lora: opt.LoraOption = [],  # noqa: B006 - typer copies it
    seed: opt.SeedOption = 0,
    batch_size: opt.BatchSizeOption = 1,
    device: opt.DeviceOption = "auto",
    dtype: opt.DtypeOption = "auto",
    float8: opt.Float8Option = False,
    offload: opt.OffloadOption = None,
    compiled: opt.CompileOption = False,
    fit: opt.FitOption = None,
    on_ray: opt.RayOption = False,
    workers: opt.WorkersOption = None,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
    dry_run: DryRunOption = False,
    print_config: PrintConfigOption = False,
    as_json: JsonOption = False,
) -> None:
    """Restores INPUT with a SUPIR model. Rerunning the same command continues it; nothing is overwritten."""
    flags = {
        "upscale": upscale,
        "min_size_px": min_size,
        "strength": strength,
        "steps": steps,
        "sampler": sampler,
        "start_sigma": start_sigma,
        "guidance_scale": guidance_scale,
        "guidance_scale_start": guidance_scale_start,
        "control_scale": control_scale,
        "control_scale_start": control_scale_start,
        "restore_guidance": restore_guidance,
        "colour_fix": colour_fix,
        "tile_px": tile,
        "tile_stride_px": tile_stride,
        "output_format": output_format or _format_of(output),
        "output_bits": bits,
        "output_quality": quality,
        "size_condition": size_condition,
    }
    from supir_infer.model_source import resolve_model
    from supir_infer.preset_base import require_fitting_preset
    from supir_infer.running import Changes, Execution, read_loras

    origin = resolve_model(model, base, checkpoint).changed(Changes(read_loras(lora), float8))
    settings = read_settings(preset or origin.settings_preset(), config, flags, overrides)
    if print_config:
        sys.stdout.write(config_yaml(settings))
        return
    if preset and (needed := require_fitting_preset(preset, origin)):
        sys.stderr.write(f"{needed}\n")
    source, output = _places(source, output)
    from supir_infer import captioner as asking
    from supir_infer.captions import caption_source
    from supir_infer.plan import Recipe, find_jobs, plan_jobs
    from supir_infer.regions import TileCaptions
    from supir_infer.work import Network, Work

    asked = caption_source(caption, captions, source, caption_text)
    jobs = find_jobs(source, output, asked, settings.output_format)
    regions_for = None if tile_captions is None else TileCaptions(tile_captions, source, caption_text)
    if regions_for:
        jobs = [replace(job, regions=regions_for(job.source, job.sha256)) for job in jobs]
    captioning = asking.captioner_config(captioner, captioner_model, captioner_config)
    label = asking.label_of(captioning) if captioning else None
    run = _on_ray(workers, fit) if on_ray else _here(workers, device, dtype)
    network = Network(origin, device, dtype, Execution(offload, compiled))
    if fit:
        settings = _fitted(jobs, settings, network.supir, fit, batch_size)
    recipe = Recipe(settings, seed, origin.described(), origin.sha256(), label)
    plan = plan_jobs(jobs, recipe, redo=redo)
    if dry_run:
        _print_plan(plan, settings, network.supir, batch_size, as_json)
        return
    results = _results_file(source, output)
    failures = run(Work(network, recipe, batch_size, captioning), plan, results)
    sys.stderr.writelines(f"failed: {_about(failure.job.source, failure.reason)}\n" for failure in failures)
    failed = len(failures)
    counts: dict[str, Any] = {
        "restored": len(plan.open) - failed,
        "skipped": len(plan.finished),
        "failed": failed,
    }
    counts |= _left_out(source, asked.num_beside, as_json) | asked.summary()
    counts |= regions_for.summary() if regions_for else {}
    finish({**counts, "results": str(results)}, as_json, failed)


def _format_of(output: Path | None) -> str | None:
    """The kind of result that the name of an output asks for; None where it names a folder."""
    from supir_infer.saving import FORMAT_OF

    return None if output is None or output.is_dir() else FORMAT_OF.get(output.suffix.lower())


def _about(source: Path, reason: str) -> str:
    """A picture with its reason, which may begin with the picture's name already."""
    names = (f"{source.name}: ", f"{' '.join(source.name.split())}: ")
    for name in names:
        reason = reason.removeprefix(name)
    return one_line(f"{source}: {reason}")


def _left_out(source: Path, num_captions: int, as_json: bool) -> dict[str, Any]:
    """What of a folder was no picture, without the texts that were captions; {} where nothing was left out."""
    from supir_infer.listing import list_pictures

    if not source.is_dir():
        return {}
    counted = list_pictures(source).left_out
    counted |= {".txt": counted.get(".txt", 0) - num_captions}
    left_out = {name: number for name, number in counted.items() if number > 0}
    text = ", ".join(f"{name} {number}" for name, number in left_out.items())
    return {"left_out": left_out if as_json else text} if left_out else {}


def _places(source: Path | None, output: Path | None) -> tuple[Path, Path]:
    if source is None or output is None:
        missing = "INPUT" if source is None else "-o"
        raise UserError(
            f"{missing} is missing; type: supir-infer INPUT -o OUT, a picture or a folder of pictures"
        )
    return source, output


def read_settings(
    preset: str, config: Path | None, flags: dict[str, Any], overrides: list[str]
) -> RestoreSettings:
    """Returns the settings of a command line: the preset, then the file's keys, then the flags, then --set.

    Args:
        preset: one of `PRESETS`; keys that nothing else gives keep its values.
        config: YAML file; None for none.
        flags: values of the named options, None where one was not given.
        overrides: `KEY=VALUE` of --set.

    Raises:
        UserError: unknown preset, or a key or value that is not allowed.
    """
    if preset not in PRESETS:
        raise UserError(f"--preset {preset} is unknown; use one of {', '.join(PRESETS)}")
    changes = (
        load_config(RestoreSettings, config).model_dump(mode="json", exclude_unset=True) if config else {}
    )
    changes |= {key: value for key, value in flags.items() if value is not None}
    return change_settings(PRESETS[preset], changes, overrides)


def _results_file(source: Path, output: Path) -> Path:
    """Where the lines of a run go; that they and the results can be written is known before work begins."""
    from supir_infer.plan import names_result

    folder = output.parent if source.is_file() and names_result(output) else output
    require_writable_folder(folder, "-o")
    require_writable_file(folder / RESULTS, "-o")
    return folder / RESULTS


def _here(workers: int | None, device: str, dtype: str) -> Run:
    """What restores in this process; that it can is known before any work begins."""
    from supir_infer.model_source import resolve_precision
    from supir_infer.work import run_here

    if workers:
        raise UserError(f"--workers {workers} needs --ray: without it one process restores")
    resolve_precision(device, dtype)
    return run_here


def _on_ray(workers: int | None, fit: str | None) -> Run:
    """What restores in the processes of a cluster; that it can is known before any work begins."""
    from supir_infer.spread import require_ray, run_on_ray

    if fit:
        raise UserError(
            f"--fit {fit} measures this machine, and --ray restores on others; give --tile instead"
        )
    require_ray()
    return partial(run_on_ray, workers=workers)


def _fitted(
    jobs: Sequence[Job], settings: RestoreSettings, supir: Supir, size: str, batch_size: int
) -> RestoreSettings:
    from supir_infer.memory_fit import fit

    fitted = fit(jobs, settings, supir, size, batch_size)
    sys.stderr.write(f"--fit {size}: {fitted.describe()}\n")
    return fitted.settings


def _print_plan(plan: Plan, settings: RestoreSettings, supir: Supir, batch_size: int, as_json: bool) -> None:
    from supir_infer.estimate import estimate, measure_cost, plan_pictures
    from supir_infer.restore import Restorer

    restorer = Restorer(supir, settings)
    pictures = plan_pictures(plan.open, restorer)
    if not as_json:
        sys.stderr.writelines(f"{_about(picture.job.source, picture.describe())}\n" for picture in pictures)
    unreadable = [picture.problem for picture in pictures if picture.problem]
    stretched = [str(picture.job.source) for picture in pictures if picture.warning()]
    cost = estimate(pictures, measure_cost(pictures, restorer), restorer, batch_size)
    counts = {"open": len(plan.open), "finished": len(plan.finished)}
    finish({**counts, "unreadable": unreadable, "stretched": stretched, **cost}, as_json)


def dispatch(args: Sequence[str]) -> None:
    """Runs the command that the first argument names, or restores."""
    require_given(args, ("--caption",))
    if args and args[0] == "sweep":
        from supir_infer import sweep_cli

        sweep_cli.app(args=args[1:], prog_name="supir-infer sweep")
    app(args=args, prog_name="supir-infer")


main = entry(dispatch)
