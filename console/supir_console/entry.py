"""Turns a typer app into a console script that never shows a user a traceback.

The law it keeps: exit code 0 done, 1 done but some items failed, 2 wrong usage, config or input (one line on
stderr), 3 a defect of ours. Work that broke off for no fault of either is 1 too: a rerun completes it. SIGTERM and
SIGHUP end as Ctrl-C does, with a line and 128 + their number. `--debug`, anywhere on the line, shows the traceback
instead of the one line.
"""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Callable, Collection, Sequence
from typing import NoReturn, TypeGuard

from supir_console.signals import INTERRUPTED, interrupted_by_signals
from supir_console.summary import one_line
from supir_console.threads import let_threads_sleep

EXIT_UNFINISHED = 1
EXIT_USAGE = 2
EXIT_DEFECT = 3


class UserError(ValueError):
    """The user's input is wrong; the message says what, the value, what is allowed, the mend."""


class Unfinished(RuntimeError):  # noqa: N818 - says what happened
    """A machine or process died under the work; what is done is kept, and the same command goes on from there."""


def entry(app: Callable[..., object]) -> Callable[[], None]:
    """Returns the console-script function for `app`.

    Args:
        app: the typer app, or a function that hands `args` on to one; its own usage errors already leave with code 2.

    A file-system error, and a `ValueError` class that one of our packages defines, is a word on the user's input.
    Everything else is a defect: one line that says so, exit code 3.
    Threads of OpenMP are told to sleep while they wait, so `app` must not have loaded one: heavy imports stand inside.
    """

    def main() -> None:
        let_threads_sleep()
        debug = "--debug" in sys.argv
        arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
        logging.basicConfig(
            level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
        )
        # These log a line for every request or file; their warnings still reach the user.
        for chatty in ("httpx", "aiohttp.access", "aiobotocore", "botocore", "fsspec"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        # What Pillow thinks of a user's file is recorded with that file by whoever reads it.
        logging.getLogger("PIL").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module=r"PIL\.")
        # Another package's optional kernels are of no use here; it warns that they are missing at every start.
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        with interrupted_by_signals() as received:
            try:
                app(args=arguments)
            except Exception as error:
                if debug:
                    raise
                _leave_for(error)
            except (KeyboardInterrupt, SystemExit) as end:  # the latter by typer, of the former
                code = INTERRUPTED if isinstance(end, KeyboardInterrupt) else end.code
                if received and code == INTERRUPTED:
                    _leave_by(received[0])
                raise SystemExit(code) from None

    return main


def require_given(args: Sequence[str], texts: Collection[str] = ()) -> None:
    """Finds that no argument is empty, as that of a shell variable that is not set.

    An empty path would mean the folder that one is in, and an empty name the default.

    Args:
        args: of the command line.
        texts: options whose value may be empty.

    Raises:
        UserError: one is.
    """
    before = ""
    for argument in args:
        option, equals, value = argument.partition("=")
        name = option if equals and option.startswith("--") else before
        if (not argument or (equals and not value and option.startswith("--"))) and name not in texts:
            what = f"{name} has an empty value" if name.startswith("-") else "an argument is empty"
            raise UserError(f"{what}: is a variable of the shell not set? leave it out or give its value")
        before = argument


def is_our_word_on_input(error: object) -> TypeGuard[ValueError]:
    """Returns whether the error is a `ValueError` class that one of our packages defines."""
    return isinstance(error, ValueError) and type(error).__module__.startswith("supir_")


def _leave_for(error: Exception) -> NoReturn:
    if _is_about_input(error):
        _leave(str(error), EXIT_USAGE, error)
    if isinstance(error, Unfinished):
        _leave(str(error), EXIT_UNFINISHED, error)
    _leave(f"{type(error).__name__}: {error} (a defect; --debug shows where)", EXIT_DEFECT, error)


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
