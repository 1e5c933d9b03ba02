"""The files of the code that references were made with, once for all runs of the same code.

A record names some fifty files with their hashes, so that a stale run can say what has changed.
That is a third of the record, and dozens of references share it: their store keeps it beside them,
in `code.json` (hash of the code -> path -> hash of the file), and their records leave it out. Where
the file is gone or damaged a stale reference says that the code differs and not where; `promote`
does not write over a damaged one.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from benchmark.errors import InputError
from benchmark.files import write_bytes
from benchmark.runs.schema import Hashes

NAME = "code.json"
Files = Mapping[str, str]

_TABLE = TypeAdapter(dict[str, dict[str, str]])


class CodeTable:
    """`code.json` of one store. It is read again when it has changed; its writers hold the lock of
    the store."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._read_at: tuple[int, int] | None = None
        self._known: dict[str, dict[str, str]] = {}

    def add(self, hashes: Hashes) -> None:
        """Keep the files of a code. Raises InputError where the table that is there is damaged."""
        known = self.whole()
        if hashes.files and known.get(hashes.code) != hashes.files:
            self._write(known | {hashes.code: hashes.files})

    def keep(self, codes: Collection[str]) -> None:
        """Forget what no run is of any more. Raises InputError as `add`."""
        known = self.whole()
        if known.keys() - codes:
            self._write({code: files for code, files in known.items() if code in codes})

    def filled(self, hashes: Hashes) -> Hashes:
        """With the files of its code, where the table has them and the hashes lack them."""
        if hashes.files:
            return hashes
        try:
            known = self.whole()
        except InputError:
            return hashes
        return hashes.model_copy(update={"files": dict(known.get(hashes.code, {}))})

    def _write(self, table: Mapping[str, Files]) -> None:
        write_bytes(self.path, json.dumps(table, indent=1, sort_keys=True).encode())

    def whole(self) -> dict[str, dict[str, str]]:
        """The table that is there; empty where there is none. Raises InputError if damaged."""
        try:
            stat = self.path.stat()
            if self._read_at != (stat.st_mtime_ns, stat.st_ino):
                self._known = _TABLE.validate_json(self.path.read_bytes(), strict=True)
                self._read_at = stat.st_mtime_ns, stat.st_ino
        except FileNotFoundError:
            self._known, self._read_at = {}, None
        except (OSError, ValidationError) as error:
            self._read_at = None
            raise InputError(
                f"{self.path}: no table of source files ({type(error).__name__}); restore it, or "
                "delete it: then stale references no longer say which file has changed"
            ) from error
        return self._known
