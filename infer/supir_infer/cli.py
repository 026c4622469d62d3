"""`supir-infer INPUT -o OUT`: restores a picture or a folder of pictures.

Place in the flow: the command line of `plan`, `folder`, `restore` and `estimate`; heavy imports happen
inside.
Exit codes: 0 all restored, 1 some pictures failed (they stand in results.jsonl), 2 wrong usage or input.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
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
    by_first_word,
    config_yaml,
    entry,
    finish,
    load_config,
    one_line,
    require_writable_file,
    require_writable_folder,
    ungrouped,
)
from supir_infer import options as opt
from supir_infer.captioner import label_of
from supir_infer.infer_options import FileOptions, KnobOptions, PlaceOptions, RunningOptions, TextOptions
from supir_infer.settings import PRESETS, RestoreSettings, change_settings

if TYPE_CHECKING:
    from supir_infer.outcomes import Ended
    from supir_infer.plan import Job, Plan
    from supir_infer.restore import Restorer
    from supir_model import Supir

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Another command, with its own --help: supir-infer sweep.")
@ungrouped
def infer(
    *,
    source: opt.InputArgument = None,
    output: opt.OutputOption = None,
    model: opt.ModelOptions,
    preset: opt.PresetOption = None,
    knobs: KnobOptions,
    texts: TextOptions,
    files: FileOptions,
    redo: opt.RedoOption = False,
    lora: opt.LoraOption = [],  # noqa: B006 - typer copies it
    seed: opt.SeedOption = 0,
    batch_size: opt.BatchSizeOption = 1,
    running: RunningOptions,
    place: PlaceOptions,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
    dry_run: DryRunOption = False,
    print_config: PrintConfigOption = False,
    as_json: JsonOption = False,
) -> None:
    """Restores INPUT with a SUPIR model. Rerunning the same command continues it; nothing is overwritten."""
    origin = model.changed(lora, running.float8)
    flags = asdict(knobs) | files.settings(output)
    settings = read_settings(preset or origin.settings_preset(), config, flags, overrides)
    if print_config:
        sys.stdout.write(config_yaml(settings))
        return
    from supir_infer.plan import Recipe, find_jobs, plan_jobs
    from supir_infer.preset_base import tell_needs
    from supir_infer.restore import Restorer
    from supir_infer.work import Work

    tell_needs(preset, origin)
    source, output = _places(source, output)
    captions, regions = texts.sources(source)
    jobs = find_jobs(source, output, captions, settings.output_format, regions)
    captioning = texts.captioning()
    run, network = place.run(running), running.network(origin)
    if place.fit:
        settings = _fitted(jobs, settings, network.supir, place.fit, batch_size)
    recipe = Recipe(settings, seed, origin.described(), origin.sha256(), label_of(captioning))
    plan = plan_jobs(jobs, recipe, redo=redo)
    if dry_run:
        left_out = _left_out(source, output, captions.num_beside, as_json)
        _print_plan(plan, Restorer(network.supir, settings), batch_size, left_out, as_json)
        return
    results = _results_file(source, output)
    failures = run(Work(network, recipe, batch_size, captioning), plan, results)
    beside = _left_out(source, output, captions.num_beside, as_json) | captions.summary() | regions.summary()
    _tell(plan, failures, {**beside, "results": str(results)}, as_json)


def _tell(plan: Plan, failures: Sequence[Ended], summary: dict[str, Any], as_json: bool) -> None:
    sys.stderr.writelines(f"failed: {_about(failure.job.source, failure.reason)}\n" for failure in failures)
    failed = len(failures)
    counts = {"restored": len(plan.open) - failed, "skipped": len(plan.finished), "failed": failed}
    finish({**counts, **summary}, as_json, failed)


def _about(source: Path, reason: str) -> str:
    """A picture with its reason, which may begin with the picture's name already."""
    names = (f"{source.name}: ", f"{' '.join(source.name.split())}: ")
    for name in names:
        reason = reason.removeprefix(name)
    return one_line(f"{source}: {reason}")


def _left_out(source: Path, output: Path, num_captions: int, as_json: bool) -> dict[str, Any]:
    """What of a folder was not restored, without the texts that were captions; {} where nothing was left out."""
    from supir_infer.earlier_results import list_to_restore

    if not source.is_dir():
        return {}
    counted = list_to_restore(source, output).left_out
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
    from supir_infer.earlier_results import RESULTS
    from supir_infer.plan import names_result

    folder = output.parent if source.is_file() and names_result(output) else output
    require_writable_folder(folder, "-o")
    require_writable_file(folder / RESULTS, "-o")
    return folder / RESULTS


def _fitted(
    jobs: Sequence[Job], settings: RestoreSettings, supir: Supir, size: str, batch_size: int
) -> RestoreSettings:
    from supir_infer.memory_fit import fit

    fitted = fit(jobs, settings, supir, size, batch_size)
    sys.stderr.write(f"--fit {size}: {fitted.describe()}\n")
    return fitted.settings


def _print_plan(
    plan: Plan, restorer: Restorer, batch_size: int, left_out: dict[str, Any], as_json: bool
) -> None:
    from supir_infer.estimate import estimate, measure_cost, plan_pictures

    pictures = plan_pictures(plan.open, restorer)
    if not as_json:
        sys.stderr.writelines(f"{_about(picture.job.source, picture.describe())}\n" for picture in pictures)
    unreadable = [picture.problem for picture in pictures if picture.problem]
    stretched = [str(picture.job.source) for picture in pictures if picture.warning()]
    cost = estimate(pictures, measure_cost(pictures, restorer, batch_size), restorer)
    counts = {"open": len(plan.open), "finished": len(plan.finished)}
    finish({**counts, "unreadable": unreadable, "stretched": stretched, **cost, **left_out}, as_json)


def _sweep(**how: Any) -> object:
    from supir_infer import sweep_cli

    return sweep_cli.app(**how)


main = entry(by_first_word(app, {"sweep": _sweep}, "supir-infer"), empty=("--caption",))
