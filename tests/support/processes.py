"""A program run by several processes that know of each other, as torchrun starts them."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from forked import run_forked

from supir_console import config_yaml
from supir_train import TrainConfig

TESTS = Path(__file__).parents[1]
BEGIN = f"""
import sys
sys.path += [{str(TESTS / "train")!r}, {str(TESTS / "support")!r}]
from pathlib import Path
from supir_console import load_config
from supir_train import TrainConfig
from supir_train.run import prepare, train
from supir_train.world import join_world, leave_world
config = load_config(TrainConfig, Path(sys.argv[1]))
world = join_world()
"""
"""What a program finds done: the config, and the world of the processes."""
TRAIN = """
train(prepare(config, world))
leave_world(world)
"""
"""The program of a run that is like any other."""


def run_together(
    config: TrainConfig, program: str, processes: int = 2
) -> list[subprocess.CompletedProcess[str]]:
    """Returns how each of so many processes ended that ran `BEGIN` and then the program."""
    return _run(BEGIN + program, config, [], processes)


def command_together(
    config: TrainConfig, *arguments: str, processes: int = 2
) -> list[subprocess.CompletedProcess[str]]:
    """Returns how each of so many processes of `supir-train` ended."""
    return _run("from supir_train.cli import main; main()", config, arguments, processes)


def _run(
    program: str, config: TrainConfig, arguments: Sequence[str], processes: int
) -> list[subprocess.CompletedProcess[str]]:
    path = config.run.with_suffix(".yaml")
    path.write_text(config_yaml(config))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    world = {"WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    shared = {name: str(value) for name, value in world.items()}
    return run_forked(
        program, [str(path), *arguments], [{**shared, "RANK": str(rank)} for rank in range(processes)]
    )


def trained_together(config: TrainConfig, processes: int, program: str = TRAIN) -> list[str]:
    """Returns what each process of a run that succeeds wrote on stdout."""
    ended = run_together(config, program, processes)
    assert [process.returncode for process in ended] == [0] * processes, [one.stderr for one in ended]
    return [process.stdout for process in ended]
