"""A program run by several processes that know of each other, as torchrun starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from limits import HANGS_AFTER_S

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


def run_together(
    config: TrainConfig, program: str, processes: int = 2
) -> list[subprocess.CompletedProcess[str]]:
    """Returns how each of so many processes ended that ran `BEGIN` and then the program."""
    path = config.run.with_suffix(".yaml")
    path.write_text(config_yaml(config))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    world = {"WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    environment = os.environ | {name: str(value) for name, value in world.items()}
    # a process that crashes says where
    command = [sys.executable, "-X", "faulthandler", "-c", BEGIN + program, str(path)]
    started = [
        subprocess.Popen(
            command,
            env=environment | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    try:
        said = [process.communicate(timeout=HANGS_AFTER_S) for process in started]
    finally:
        for process in started:
            process.kill()
    return [
        subprocess.CompletedProcess(command, process.returncode, *texts)
        for process, texts in zip(started, said, strict=True)
    ]
