from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from limits import HANGS_AFTER_S

PROGRAM = """
import typer
from supir_console import Unfinished, UserError, entry, finish
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

@app.command()
def main(
    case: str,
    json: bool = typer.Option(False, "--json"),
    out: str = "",
    text: str = "",
    port: int = typer.Option(0, min=0, max=65535),
) -> None:
    if case == "user":
        raise UserError("tile=500 px is not a multiple of 64;\\nuse 448")
    if case == "file":
        open("/absent/file")
    if case == "died":
        raise Unfinished("1 of 2 parts failed: the node died; rerun to continue")
    if case == "strange":
        raise UserError("a\x1b[2Jb.png is no picture")
    if case == "pillow":
        from io import BytesIO
        from PIL import Image
        file = BytesIO()
        Image.new("RGB", (8, 8)).save(file, "JPEG", exif=b"Exif\\x00\\x00MM\\x00*\\x00\\x00\\x00\\x08\\x00\\x09")
        Image.open(file).getexif()  # warns of corrupt EXIF data
        Image.MAX_IMAGE_PIXELS = 60
        Image.open(file)  # warns of a decompression bomb
    if case == "defect":
        raise ValueError("inner shapes differ")
    finish({"images": 3}, as_json=json, failed=int(case == "failed"))

entry(app, empty=("--text",))()
"""
HEAVY = {"torch", "ray", "vllm", "diffusers", "transformers", "cv2", "scipy", "gradio", "pyiqa"}
SCRIPTS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]


def run_program(*arguments):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, timeout=HANGS_AFTER_S
    )


@pytest.mark.parametrize(
    ("case", "code", "line"),
    [
        ("user", 2, "error: tile=500 px is not a multiple of 64; use 448\n"),
        ("file", 2, "error: [Errno 2] No such file or directory: '/absent/file'\n"),
        ("died", 1, "error: 1 of 2 parts failed: the node died; rerun to continue\n"),
        ("defect", 3, "error: ValueError: inner shapes differ (a defect; --debug shows where)\n"),
    ],
)
def test_an_exception_becomes_one_line_and_its_exit_code(case, code, line):
    done = run_program(case)
    assert (done.returncode, done.stderr, done.stdout) == (code, line, "")


def test_what_an_error_says_is_one_line_whatever_a_name_holds():
    assert run_program("strange").stderr == "error: a\\x1b[2Jb.png is no picture\n"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["photo.png", "--out", ""], "--out has an empty value: is a variable of the shell not set?"),
        (["photo.png", "--out=", "--json"], "--out has an empty value"),
        (["", "--json"], "an argument is empty"),
    ],
)
def test_an_empty_value_is_wrong_usage(args, said):
    done = run_program(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {said}")


def test_an_empty_text_is_a_value_where_the_command_says_so():
    for args in (["told", "--text", ""], ["told", "--text="], ["told", "--text=", "--out", "a="]):
        assert (done := run_program(*args)).returncode == 0, done.stderr


def test_debug_shows_the_traceback_of_the_same_error():
    done = run_program("--debug", "user")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "UserError: tile=500" in done.stderr


def test_json_summary_is_alone_on_stdout_and_failures_leave_with_one():
    done = run_program("failed", "--json")
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (1, {"images": 3}, "")


def test_what_pillow_thinks_of_a_file_stays_off_the_terminal():
    done = run_program("pillow", "--json")
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, {"images": 3}, "")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--port", "65536"], r"'--port': .*65535"),
        (["--port", "many"], r"'--port': .*integer"),
        (["--port"], r"--port"),
        (["--absent"], r"No such option: --absent"),
        ([], r"Missing argument '(case|CASE)'"),
        (["told", "b"], r"unexpected extra argument"),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_option(args, said):
    done = run_program(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"error: .*{said}.* \(see --help\)\n", done.stderr), done.stderr


@pytest.mark.parametrize("command", sorted(SCRIPTS))
def test_help_of_every_command_loads_nothing_heavy(command):
    module, function = SCRIPTS[command].split(":")
    program = (
        f"import sys\nsys.argv = [{command!r}, '--help']\nfrom {module} import {function} as main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"heavy = {HEAVY!r} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=HANGS_AFTER_S
    )
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
