"""The terminal: lines as they are, on any encoding, and a copy of them in the log of a run."""

import codecs
import contextlib
import os
import sys
import time
import unicodedata
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from benchmark.errors import InputError
from benchmark.files import writing

_PLAIN = {
    "±": "+-", "−": "-", "–": "-", "—": "-", "→": "->", "←": "<-", "×": "x", "·": "*", "•": "*",
    "…": "...", "≥": ">=", "≤": "<=", "≠": "!=", "≈": "~", "“": '"', "”": '"', "‘": "'", "’": "'",
    "†": "+", "‡": "++", "¶": "#", "§": "=", "★": "**", "✗": "x", "✓": "ok",
    "Δ": "delta", "α": "alpha", "β": "beta", "λ": "lambda", "σ": "sigma",
}  # fmt: skip
"""What stands for a character that a terminal's encoding lacks."""

FALLBACK = "benchmark-plain"
"""Name of the encoding error handler that writes `_PLAIN`, else the letter without its accent, else
a question mark."""


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def _in_ascii(character: str) -> str:
    bare = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return _PLAIN.get(character) or bare or "?"


codecs.register_error(FALLBACK, _plain)


def prepare_streams() -> None:
    """Let standard output and error take any text, whatever their encoding. Raises InputError where
    standard output is closed: the first file that a run opens would take its place."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        if stream is None:
            _to_nowhere(number)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=FALLBACK)
    if sys.stdout is None:
        raise InputError("standard output is closed; send it to a file or to /dev/null")


def _to_nowhere(number: int) -> None:
    """Make file descriptor `number` one that takes everything."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        if nowhere != number:
            os.dup2(nowhere, number)
            os.close(nowhere)


class OutputRefused(InputError):
    """Standard output takes no more."""


class Terminal(Console):
    """A console that prints text as it is: names may hold brackets and colons, which are neither
    styles nor pictures, and a line is never cut into two. While a log is open, it gets a copy."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)
        self._log: Log | None = None

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's. Raises OutputRefused where the output cannot be written."""
        if all(isinstance(thing, str) for thing in objects):
            options.setdefault("soft_wrap", True)
        if self._log is not None:
            self._log.copy(objects, options)
        try:
            super().print(*objects, **options)
        except OSError as error:
            raise self._refused(error) from error

    def on_broken_pipe(self) -> None:
        """Called by rich when the reader of a pipe has gone."""
        raise self._refused(BrokenPipeError(0, "its reader is gone"))

    def _refused(self, error: OSError) -> OutputRefused:
        discard_output()
        return OutputRefused(
            f"standard output cannot be written ({error.strerror}); finished runs are stored, the "
            "same command goes on"
        )

    def open_log(self, folder: Path, command: list[str]) -> None:
        """Begin a log of what is printed from now on, unless there is one. Where none can be
        written, that is said and nothing else happens."""
        if self._log is None:
            try:
                self._log = Log(folder, command)
            except InputError as error:
                self.print(f"without a log: {error}", style="yellow")

    def to_log(self, text: str) -> None:
        """Write to the log alone, with the time, if there is one."""
        if self._log is not None:
            self._log.write(text)

    def close_log(self) -> Path | None:
        """End the log; its path if there was one."""
        if self._log is None:
            return None
        log, self._log = self._log, None
        return log.close()


def discard_output() -> None:
    """Drop what standard output still holds and takes from now on."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        _to_nowhere(sys.stdout.fileno())


class Log:
    """A text file, `<time>-<command>.log`, of one command that trains."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        """Raises InputError where the folder cannot be written."""
        stamp = time.strftime("%Y%m%d-%H%M%S")
        word = "".join(c for c in command[0] if c.isalnum() or c in "-_") if command else ""
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.path, self._file = _new_file(folder, f"{stamp}-{word or 'run'}")
        self._console = Console(file=self._file, width=120, markup=False, emoji=False)
        self.write(f"{' '.join(command)} (process {os.getpid()}, Python {sys.version.split()[0]})")

    def copy(self, objects: tuple[Any, ...], options: dict[str, Any]) -> None:
        """What is printed on the terminal."""
        with contextlib.suppress(OSError, ValueError):  # a full disk must not end the run
            self._console.print(*objects, **options | {"highlight": False})
            self._file.flush()

    def write(self, text: str) -> None:
        """Text after the time of day; its further lines are indented."""
        with contextlib.suppress(OSError, ValueError):
            lines = text.rstrip().replace("\n", "\n    ")
            self._file.write(f"{time.strftime('%H:%M:%S')} {lines}\n")
            self._file.flush()

    def close(self) -> Path:
        """The path of what was written."""
        with contextlib.suppress(OSError, ValueError):
            self._file.close()
        return self.path


def _new_file(folder: Path, name: str) -> tuple[Path, IO[str]]:
    """A file that nobody has, of this name or with a number after it."""
    number = 1
    while True:
        path = folder / (f"{name}.log" if number == 1 else f"{name}-{number}.log")
        try:
            return path, path.open("x", encoding="utf-8", errors=FALLBACK)
        except FileExistsError:
            number += 1
