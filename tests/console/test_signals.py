"""What becomes of a command that a signal ends: a real process each."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from limits import HANGS_AFTER_S
from terminal import take_signals

BEGIN = """
import os, signal, sys, time
import typer
from supir_console import entry, handling_stop_signals, let_signals_end, ray_session
from supir_console.signals import handler_given_back
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

def tell(text):
    print(text, flush=True, file=sys.__stdout__)  # a session of Ray has the other

def wait():
    try:
        tell("waits")
        time.sleep(3600)
    finally:
        tell("closed")

@app.command()
def main():
"""
WAITS = "    wait()"
FORKS = """
    if child := os.fork():
        wait_for_child = os.waitpid(child, 0)[1]
        tell(f"child by {os.WTERMSIG(wait_for_child)}")
    else:
        tell(os.getpid())
        time.sleep(3600)
"""
SERVES = """
    try:
        wait()
    except KeyboardInterrupt:
        tell("served")
"""
ON_RAY = """
    with ray_session(num_cpus=1):
        wait()
"""
RAY_STARTS = """
    with handler_given_back():
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))  # as Ray does
        wait()
"""
LETS_END = "    let_signals_end(), wait()"
HANDLES = """
    received = []
    with handling_stop_signals(lambda number, _: received.append(number)):
        tell("waits")
        while signal.SIGTERM not in received:
            time.sleep(0.01)
    tell(sorted(received))
    wait()
"""
STOPPED = "stopped by {}; what is done is kept, and the same command goes on from there\n"

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a command and returns its process, once it has told its first line."""
    started: list[subprocess.Popen[str]] = []

    def begin(body: str, *before: str) -> subprocess.Popen[str]:
        command = [*before, sys.executable, "-c", f"{BEGIN}{body}\nentry(app)()"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=take_signals, **pipes)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=HANGS_AFTER_S)
    return process.returncode, out, err


@pytest.mark.parametrize("body", [WAITS, ON_RAY, RAY_STARTS])
def test_sigterm_ends_a_command_in_one_line_and_what_is_open_is_closed(body: str, start: Start):
    process = start(body)
    assert process.stdout.readline() == "waits\n"
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (143, "closed\n", STOPPED.format("SIGTERM"))


def test_a_closed_terminal_ends_it_too_but_not_under_nohup(start: Start):
    process = start(WAITS)
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    assert ended(process) == (129, "closed\n", STOPPED.format("SIGHUP"))
    process = start(WAITS, "nohup")
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (143, "closed\n", STOPPED.format("SIGTERM"))


def test_a_terminal_that_is_gone_takes_no_word_and_no_exit_code():
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", f"{BEGIN}{WAITS}\nentry(app)()"]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, preexec_fn=take_signals)
    os.close(theirs)
    with os.fdopen(ours, "rb") as terminal:
        assert terminal.readline() == b"waits\r\n"
    process.send_signal(signal.SIGHUP)
    assert process.wait(HANGS_AFTER_S) == 129


def test_who_lets_signals_end_it_outlives_its_terminal_under_nohup_too(start: Start):
    process = start(LETS_END, "nohup")
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == -signal.SIGTERM


@pytest.mark.parametrize(("before", "received"), [((), [1, 2, 15]), (("nohup",), [2, 15])])
def test_who_handles_signals_gets_all_that_are_not_ignored_and_gives_them_back(
    before: tuple[str, ...], received: list[int], start: Start
):
    process = start(HANDLES, *before)
    process.stdout.readline()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
    assert [process.stdout.readline() for _ in range(2)] == [f"{received}\n", "waits\n"]
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (143, "closed\n", STOPPED.format("SIGTERM"))


def test_ctrl_c_is_known_to_who_pressed_it(start: Start):
    process = start(WAITS)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "closed\n", "")


def test_a_command_that_takes_an_interruption_for_its_end_keeps_its_code(start: Start):
    process = start(SERVES)
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (0, "closed\nserved\n", "")


def test_a_forked_process_dies_of_the_signal_and_says_nothing(start: Start):
    process = start(FORKS)
    child = int(process.stdout.readline())
    subprocess.run(["kill", "-TERM", str(child)], check=True)
    assert ended(process) == (0, f"child by {signal.SIGTERM:d}\n", "")


def test_a_process_that_lets_signals_end_it_ends_at_once(start: Start):
    process = start(LETS_END)
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (-signal.SIGTERM, "", "")
