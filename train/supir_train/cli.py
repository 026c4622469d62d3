"""`supir-train CONFIG`: prints the plan, trains, exports; a signal to end or Ctrl-C ends with a checkpoint.

`supir-train export RUN` and `replay RUN` are commands beside it, of `COMMANDS`; whatever is none of these is a config.
Exit codes beside the shared ones: 128 + the number of the signal that stopped a run; the same command goes on.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from supir_console import (
    DryRunOption,
    JsonOption,
    PrintConfigOption,
    SetOption,
    UserError,
    by_first_word,
    config_yaml,
    entry,
    finish,
    handling_stop_signals,
    let_signals_end,
    load_config,
)
from supir_train import export_cli, replay_cli
from supir_train.config import TrainConfig
from supir_train.launch import launch
from supir_train.plan_text import memory_lines, plan_lines

if TYPE_CHECKING:
    from supir_train.world import World

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
COMMANDS = {"export": export_cli.app, "replay": replay_cli.app}
SHIPPED = (
    "prior-mini",
    "encoder-mini",
    "adapter-mini",
    "distill-mini",
    "encoder-sdxl",
    "adapter-sdxl",
    "adapter-sdxl-24gb",
    "adapter-sdxl-8x80gb",
    "adapter-sdxl-64x48gb",
    "distill-sdxl",
)


@app.command(
    epilog=f"Other commands, each with its own --help: supir-train {', supir-train '.join(COMMANDS)}."
)
def main_command(
    config: Annotated[str, typer.Argument(help=f"YAML file, or a shipped config: {', '.join(SHIPPED)}.")],
    overrides: SetOption = [],  # noqa: B006 - typer reads the default, nothing changes it
    dry_run: DryRunOption = False,
    print_config: PrintConfigOption = False,
    as_json: JsonOption = False,
    processes: Annotated[
        int,
        typer.Option(min=1, help="Processes on this machine that share each step, usually one a GPU."),
    ] = 1,
    fit: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Memory of a device, as 24GB: sets micro-batch, checkpointing and precision to fit.",
        ),
    ] = None,
) -> None:
    """Train what the config's `stage` names: prior, encoder, adapter, distill, estimator or strength.

    E.g. supir-train adapter-mini --set data.dataset=DATASET --set run=RUN; the same command goes on after a stop.
    """
    resolved = load_config(TrainConfig, _config_path(config), overrides)
    started = int(os.environ.get("WORLD_SIZE", "0"))
    if processes > 1 and not (started or dry_run or print_config):
        raise typer.Exit(launch(sys.argv[1:], processes))
    if fit is not None:
        resolved = _fitted(resolved, fit, started or processes)
    if print_config:
        sys.stdout.write(config_yaml(resolved))
        return
    if dry_run:
        _rehearse(resolved, started or processes, as_json)
        return
    from supir_train.world import join_world, leave_world

    if started > 1:
        let_signals_end()  # it may be waiting for one that has ended
    world = join_world()
    try:
        _run(resolved, world, as_json=as_json)
    finally:
        leave_world(world)


def _fitted(resolved: TrainConfig, size: str, processes: int) -> TrainConfig:
    from supir_train.memory_fit import fit
    from supir_train.world import World

    fitted = fit(resolved, size, World(size=processes))
    chosen = fitted.config
    if _speaks():
        sys.stderr.write(
            f"--fit {size}: micro_batch {chosen.optimize.micro_batch}, checkpointing "
            f"{'on' if chosen.gradient_checkpointing else 'off'}, {chosen.optimize.precision}: "
            f"{fitted.peak / 1e9:.2f} GB at most\n"
        )
    return chosen


def _rehearse(resolved: TrainConfig, processes: int, as_json: bool) -> None:
    from supir_model.lean_imports import import_network_alone

    import_network_alone()
    from supir_train.rehearsal import rehearse
    from supir_train.run_folder import require_usable
    from supir_train.world import World

    if _speaks():
        require_usable(resolved)
        figures = rehearse(resolved, World(size=processes))
        if as_json:
            finish(figures, as_json)
        else:
            _tell([*plan_lines(figures), *memory_lines(figures)])


def _tell(lines: Iterable[str]) -> None:
    sys.stderr.writelines(f"{line}\n" for line in lines)


def _speaks() -> bool:
    """Whether this is the process of a run that tells the user."""
    return os.environ.get("RANK", "0") == "0"


def _run(resolved: TrainConfig, world: World, *, as_json: bool) -> None:
    from supir_model.lean_imports import import_network_alone

    import_network_alone()
    from supir_train.micro_batch import lack_of_memory_told
    from supir_train.run import prepare, train
    from supir_train.run_folder import require_available

    require_available(resolved, world)
    with lack_of_memory_told():
        run = prepare(resolved, world)
    figures = run.plan()
    if world.writes:
        _tell(plan_lines(figures))
    received: list[int] = []
    with handling_stop_signals(lambda number, _frame: received.append(number)), lack_of_memory_told():
        outcome = train(run, should_stop=lambda _steps: bool(received))
    summary: dict[str, Any] = {
        "steps": outcome.steps,
        "model": str(outcome.model) if outcome.model else None,
        "bad_samples": outcome.bad_samples,
        "validation_share": round(outcome.validation_share, 4),
        "passed_over": list(outcome.passed_over),
    }
    if outcome.model is None:
        if world.writes:
            sys.stderr.write(f"stopped after step {outcome.steps}; the same command goes on from there\n")
            finish(summary, as_json)
        raise typer.Exit(128 + (received[0] if received else signal.SIGTERM))
    if world.writes:
        finish(summary, as_json, failed=outcome.bad_samples)


dispatch = by_first_word(app, COMMANDS, "supir-train")
main = entry(dispatch)


def _config_path(name: str) -> Path:
    if name in SHIPPED:
        return Path(str(files("supir_train") / "configs" / f"{name}.yaml"))
    if not Path(name).is_file():
        raise UserError(f"config {name!r} is no file; give a YAML file or one of {', '.join(SHIPPED)}")
    return Path(name)
