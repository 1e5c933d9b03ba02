"""Counts the reads of files, for the tests that promise few of them."""

import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, Self

_open: "list[Reads]" = []


@cache
def _listen() -> None:
    """Hear of every file that Python opens, however it does; it cannot be undone, so it is done
    once."""
    sys.addaudithook(_hear)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _open and isinstance(arguments[0], str):
        for reads in _open:
            reads.note(Path(arguments[0]), str(arguments[1] or "r"))


class Reads:
    """While it is open, counts how often each json and npz file under a folder is read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.counts: Counter[str] = Counter()
        """By path under the root."""

    def __enter__(self) -> Self:
        _listen()
        _open.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _open.remove(self)

    def note(self, path: Path, mode: str) -> None:
        if "r" in mode and path.suffix in (".json", ".npz") and path.is_relative_to(self.root):
            self.counts[path.relative_to(self.root).as_posix()] += 1
