"""The command line. Nothing is computed here: each command plans, launches and renders."""

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from itertools import pairwise
from types import FrameType

import typer

from benchmark.cli import (
    checking,
    claims,
    datasets,
    doctor,
    exchange,
    explain,
    gpu,
    output,
    pages,
    planted,
    power,
    results,
    scale,
    tables,
    trial,
    tuning,
)
from benchmark.cli.options import console, shown_path
from benchmark.cli.terminal import OutputRefused, Terminal, discard_output, prepare_streams
from benchmark.errors import InputError

app = typer.Typer(
    help="Reproduce the tables and figures of FindRec (KDD '25), ours beside the paper's.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
PARTS = (
    tables,
    claims,
    tuning,
    trial,
    power,
    results,
    pages,
    output,
    exchange,
    checking,
    datasets,
    planted,
    explain,
    doctor,
    gpu,
    scale,
)
for part in PARTS:
    app.registered_commands += part.app.registered_commands


class Interrupted(BaseException):
    """SIGINT or SIGTERM. Not a KeyboardInterrupt, which typer answers without a word."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main() -> None:
    """Run a command. Here, and nowhere else, what a user or the system can cause becomes one line:
    status 2 for bad input and for files that the system refuses, 128 and the signal's number where
    one ended the command."""
    status = 2
    try:
        prepare_streams()
        _listen()
        status = _run()
        _flush()
    except Interrupted as interrupted:
        status = 128 + interrupted.number
        name = signal.Signals(interrupted.number).name
        _say(f"interrupted ({name}): finished runs are stored; the same command goes on")
    except InputError as error:
        _say(f"error: {error}")
    except OSError as error:
        _say(f"error: {_of_system(error)}")
    except MemoryError:
        _say("error: no memory left; close other programs, or ask for less at once")
    if (log := console.close_log()) is not None:
        _say(f"log: {shown_path(log)}", style="")
    raise SystemExit(status)


def _run() -> int:
    """The status that the command ends with."""
    refuse_empty(sys.argv[1:])
    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def refuse_empty(arguments: Sequence[str]) -> None:
    """Raises InputError for an argument without a letter: an empty variable in a script must not
    become a run of everything, or the working folder."""
    for before, argument in pairwise(["", *arguments]):
        option, equals, value = argument.partition("=")
        if not argument.strip() or (option.startswith("--") and equals and not value.strip()):
            name = option if equals else before if before.startswith("-") else "an argument"
            raise InputError(f"{name}: names nothing; leave it out, or say what is meant")


def _listen() -> None:
    """Answer SIGINT and SIGTERM alike; a second one ends the process at once, which is safe."""

    def answer(number: int, _: FrameType | None) -> None:
        for other in (signal.SIGINT, signal.SIGTERM):
            signal.signal(other, signal.SIG_DFL)
        raise Interrupted(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup or in the background
            signal.signal(number, answer)


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError as error:
        discard_output()
        raise OutputRefused(f"standard output cannot be written ({error.strerror})") from error


def _say(line: str, style: str = "red") -> None:
    """One line on standard error, and in the log; where nobody can read it, nothing."""
    console.to_log(line)
    with contextlib.suppress(InputError, OSError):
        Terminal(stderr=True).print(" ".join(line.splitlines()), style=style)


def _of_system(error: OSError) -> str:
    """What the system refused, and of which file."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return f"{reason}; nothing that was stored is lost, the same command goes on"
    return f"{os.fsdecode(error.filename)}: {reason}; mend that, or choose another path"
