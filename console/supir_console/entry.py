"""Turns a typer app into a console script that never shows a user a traceback.

The law it keeps: exit code 0 done, 1 done but some items failed, 2 wrong usage, config or input (one line on
stderr), 3 a defect of ours. Work that broke off for no fault of either is 1 too: a rerun completes it. SIGTERM and
SIGHUP end as Ctrl-C does, with a line and 128 + their number. `--debug`, anywhere on the line, shows the traceback
instead of the one line. An argument that is empty, as that of a shell variable that is not set, is wrong usage.
"""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NoReturn, TypeGuard

import typer

from supir_console.signals import INTERRUPTED, interrupted_by_signals
from supir_console.summary import one_line
from supir_console.threads import let_threads_sleep

EXIT_UNFINISHED = 1
EXIT_USAGE = 2
EXIT_DEFECT = 3
_WRONG_USAGE = typer.BadParameter.__mro__[1]
"""The class of whatever typer refuses of a command line, which it has under no public name."""


class UserError(ValueError):
    """The user's input is wrong; the message says what, the value, what is allowed, the mend."""


class Unfinished(RuntimeError):  # noqa: N818 - says what happened
    """A machine or process died under the work; what is done is kept, and the same command goes on from there."""


def entry(app: Callable[..., object], empty: Collection[str] = ()) -> Callable[[], None]:
    """Returns the console-script function for `app`.

    Args:
        app: the typer app, or a function that hands its arguments on to one, such as `by_first_word` makes.
        empty: options whose value may be an empty text.

    A file-system error, and a `ValueError` class that one of our packages defines, is a word on the user's input.
    Everything else is a defect: one line that says so, exit code 3.
    Threads of OpenMP are told to sleep while they wait, so `app` must not have loaded one: heavy imports stand inside.
    """

    def main() -> None:
        let_threads_sleep()
        _log_to_stderr()
        debug = "--debug" in sys.argv
        arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
        with interrupted_by_signals() as received:
            try:
                _require_given(arguments, empty)
                code = app(args=arguments, standalone_mode=False)  # typer's own way shows a box of many lines
            except Exception as error:
                if debug:
                    raise
                _leave_for(error)
            except (KeyboardInterrupt, SystemExit) as end:
                code = INTERRUPTED if isinstance(end, KeyboardInterrupt) else end.code
            if received and code == INTERRUPTED:  # typer returns it after an interruption
                _leave_by(received[0])
        raise SystemExit(0 if code is None else code)

    return main


def by_first_word(
    app: Callable[..., object], others: Mapping[str, Callable[..., object]], name: str
) -> Callable[..., object]:
    """Returns what runs the command that the first argument names, and `app` where it names none.

    Args:
        app: typer app.
        others: typer apps of the commands beside it, by their words.
        name: of the program, as its help has it.
    """

    def dispatch(args: Sequence[str], **how: object) -> object:
        word = args[0] if args else ""
        if word in others:
            return others[word](args=args[1:], prog_name=f"{name} {word}", **how)
        return app(args=args, prog_name=name, **how)

    return dispatch


def is_our_word_on_input(error: object) -> TypeGuard[ValueError]:
    """Returns whether the error is a `ValueError` class that one of our packages defines."""
    return isinstance(error, ValueError) and type(error).__module__.startswith("supir_")


def _leave_for(error: Exception) -> NoReturn:
    if isinstance(error, _WRONG_USAGE):
        _leave_for_usage(error)
    if _is_about_input(error):
        _leave(str(error), EXIT_USAGE, error)
    if isinstance(error, Unfinished):
        _leave(str(error), EXIT_UNFINISHED, error)
    _leave(f"{type(error).__name__}: {error} (a defect; --debug shows where)", EXIT_DEFECT, error)


def _leave_for_usage(error: Exception) -> NoReturn:
    """In typer's words, which name the option; a command line without a word was answered by the help alone."""
    words = str(getattr(error, "format_message", error.__str__)())
    if not words.strip():
        raise SystemExit(EXIT_USAGE) from error
    _leave(f"{words.rstrip('.')} (see --help)", EXIT_USAGE, error)


def _leave_by(number: signal.Signals) -> NoReturn:
    sys.stderr.write(
        f"stopped by {number.name}; what is done is kept, and the same command goes on from there\n"
    )
    raise SystemExit(128 + number)


def _is_about_input(error: Exception) -> bool:
    return isinstance(error, OSError) or is_our_word_on_input(error)


def _leave(text: str, code: int, error: Exception) -> NoReturn:
    line = one_line(" ".join(text.split()))
    sys.stderr.write(f"error: {line}\n")
    raise SystemExit(code) from error


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    # These log a line for every request or file; their warnings still reach the user.
    for chatty in ("httpx", "aiohttp.access", "aiobotocore", "botocore", "fsspec"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # What Pillow thinks of a user's file is recorded with that file by whoever reads it.
    logging.getLogger("PIL").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    # Another package's optional kernels are of no use here; it warns that they are missing at every start.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def _require_given(args: Sequence[str], empty: Collection[str]) -> None:
    """An empty path would mean the folder that one is in, and an empty name the default."""
    before = ""
    for argument in args:
        option, equals, value = argument.partition("=")
        name = option if equals and option.startswith("--") else before
        if (not argument or (equals and not value and option.startswith("--"))) and name not in empty:
            what = f"{name} has an empty value" if name.startswith("-") else "an argument is empty"
            raise UserError(f"{what}: is a variable of the shell not set? leave it out or give its value")
        before = argument
