"""The files of the code that references were made with, once for all runs of the same code.

A record names some fifty files with their hashes, so that a stale run can say what has changed.
That is a third of the record, and dozens of references share it: their store keeps it beside them,
in `code.json` (hash of the code -> path -> hash of the file), and their records leave it out. Where
the file is gone or damaged a stale reference says that the code differs and not where.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from benchmark.files import write_bytes
from benchmark.runs.schema import Hashes

NAME = "code.json"
Files = Mapping[str, str]


class CodeTable:
    """`code.json` of one store. It is read again when it has changed."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._read_at: tuple[int, int] | None = None
        self._known: dict[str, Files] = {}

    def add(self, hashes: Hashes) -> None:
        """Keep the files of a code. The caller holds the lock of the store."""
        known = self._current()
        if hashes.files and known.get(hashes.code) != hashes.files:
            table = dict(sorted((known | {hashes.code: hashes.files}).items()))
            write_bytes(self.path, json.dumps(table, indent=1, sort_keys=True).encode())

    def filled(self, hashes: Hashes) -> Hashes:
        """With the files of its code, where the table has them and the hashes lack them."""
        if hashes.files:
            return hashes
        files = self._current().get(hashes.code, {})
        return hashes.model_copy(update={"files": dict(files)})

    def _current(self) -> dict[str, Files]:
        try:
            stat = self.path.stat()
            if self._read_at != (stat.st_mtime_ns, stat.st_ino):
                table = json.loads(self.path.read_bytes())
                self._known = {code: dict(files) for code, files in table.items()}
                self._read_at = stat.st_mtime_ns, stat.st_ino
        except (OSError, ValueError, TypeError, AttributeError):
            self._known, self._read_at = {}, None
        return self._known
