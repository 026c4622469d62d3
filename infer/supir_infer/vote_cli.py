"""`supir-eval vote A B [C …]`: a blind pairwise vote on this machine, and what it found.

Place in the flow: the second command of `supir-eval`. Exit codes: 0 done or stopped by Ctrl-C, 1 some pictures
could not be asked about (they are named), 2 wrong usage or input.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from supir_console import JsonOption, UserError, counted, finish, require_writable_file

if TYPE_CHECKING:
    from supir_infer.vote_session import VoteSession

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def vote(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of restored pictures, two or more; names must match.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="File of votes; the same command goes on behind its last one."),
    ] = Path("votes.jsonl"),
    lq: Annotated[
        Path | None, typer.Option(help="The degraded input, to be looked at beside the two.")
    ] = None,
    voter: Annotated[str, typer.Option(help="Who votes; each gets an order of their own.")] = "voter",
    seed: Annotated[int, typer.Option(min=0, help="Of the order of pictures, pairs and sides.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Votes after which this voter is done.")] = None,
    result: Annotated[
        bool, typer.Option("--result", help="Asks nothing, prints what the votes say.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0 takes a free one.")] = 7861,
    host: Annotated[str, typer.Option(help="Address; 0.0.0.0 opens it to the network.")] = "127.0.0.1",
    as_json: JsonOption = False,
) -> None:
    """Asks which of two restorations is better, blindly, and ranks the runs (Bradley-Terry, 95 % intervals)."""
    if result and not output.is_file():
        raise UserError(f"{output} does not exist; vote first, or name the file of votes with -o")
    require_writable_file(output, "-o")
    session = _session(runs, lq, output, voter, seed, limit)
    if not result and not session.is_finished():
        _serve(session, host, port)
    _tell(session, as_json, asked=not result)


def _session(
    runs: list[Path], lq: Path | None, output: Path, voter: str, seed: int, limit: int | None
) -> VoteSession:
    from supir_infer.ballot import BallotBox
    from supir_infer.matching import by_name
    from supir_infer.vote_session import VoteSession

    names = [run.as_posix() for run in runs]
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise UserError(f"{', '.join(names)}: give two or more folders, each once")
    methods = {name: by_name(run) for name, run in zip(names, runs, strict=True)}
    if all(run.is_file() for run in runs):  # single pictures are compared whatever their names
        methods = {name: {"picture": run} for name, run in zip(names, runs, strict=True)}
    shared = [name for files in methods.values() for name in files]
    if len(shared) == len(set(shared)):
        raise UserError(
            f"no picture has the same name in two of {', '.join(names)}; names (without suffix) must be equal"
        )
    given = by_name(lq) if lq else {}
    return VoteSession(methods, given, BallotBox(output), voter, seed, limit)


def _serve(session: VoteSession, host: str, port: int) -> None:
    from supir_infer.vote_server import VoteServer

    state = session.state()
    with VoteServer(host, port, session) as server:
        sys.stderr.write(
            f"supir-eval vote: {server.url} ({counted(state['total'] - state['answered'], 'question')}; Ctrl-C ends it,"
            " votes are kept)\n"
        )
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            sys.stderr.write("\n")


def _tell(session: VoteSession, as_json: bool, *, asked: bool) -> None:
    """Prints the result, and what is not in it; of this voter's questions only where they were asked."""
    from supir_infer.vote_result import result, text
    from supir_infer.vote_session import missing_pictures

    found = result(list(session.methods), session.answers())
    apart: dict[str, Any] = {
        "missing": missing_pictures(session.methods),
        "votes_on_other_files": session.stale,
        "lines_that_are_no_votes": session.box.bad_lines,
    }
    if asked:
        state = session.state()
        apart = {
            "open": state["total"] - state["answered"],
            "identical": session.identical,
            "left_out": session.left_out,
        } | apart
    told = {key: value for key, value in apart.items() if value}
    if not as_json:
        sys.stdout.write(text(found))
    finish({**found, **told} if as_json else told, as_json, len(session.left_out) if asked else 0)
