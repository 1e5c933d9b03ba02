"""Results on disk: one npz of ranks and one json record for every (dataset, model, variant, seed).

Layout, under the store's root (`runs/` for fresh results, `results/reference/` for committed ones):

    <profile>/<dataset>/<model>/<variant>/seed-<k>.npz   ranks of both splits (a trial's: of
                                                         validation), users' lengths
    <profile>/<dataset>/<model>/<variant>/seed-<k>.<name>.npz  an artefact, where the run has any
    <profile>/<dataset>/<model>/<variant>/seed-<k>.json  the record; the commit point
    code.json, splits/                                   what references leave out

A write puts each file in place by temp file, fsync and rename, the json last. The json holds the
SHA-256 of each npz and its own: whatever moment a process is killed at and whatever byte changes
later, a run reads as complete only if it is whole. Writers of one store take turns by a lock file,
`.lock`, which the system frees when a process dies. A failed run has a json alone.
"""

import contextlib
import fnmatch
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from benchmark.errors import InputError
from benchmark.files import locked, write_bytes, writing
from benchmark.runs.arrays import pack, unpack
from benchmark.runs.code_table import CodeTable
from benchmark.runs.identity import why_stale
from benchmark.runs.npz import UNREADABLE, from_npz, to_npz
from benchmark.runs.schema import SCHEMA_VERSION, Hashes, RunRecord, RunResult
from benchmark.runs.spec import RunKey, slug
from benchmark.runs.split_table import SplitTable, SplitTables

Status = Literal["complete", "failed", "stale", "damaged", "missing"]


@dataclass(frozen=True)
class Stored:
    """One run as it lies on disk."""

    path: Path
    """Of the json."""
    status: Status
    problem: str = ""
    """Why the status is not "complete"; names the file where one is damaged."""
    result: RunResult | None = None
    """None where it is missing or damaged."""

    @property
    def record(self) -> RunRecord | None:
        return None if self.result is None else self.result.record

    @property
    def no_result(self) -> str:
        """A line that names the file and says why it holds no finished run."""
        return self.problem if self.status == "damaged" else f"{self.path}: {self.problem}"

    def against(self, hashes: Hashes | None) -> "Stored":
        """The same; "stale" if it is finished and was made with other settings, code or data."""
        if hashes is None or self.record is None or self.record.status != "ok":
            return self
        reason = why_stale(self.record, hashes)
        return replace(self, status="stale", problem=reason) if reason else self


class DamagedRun(InputError):
    """A stored run that cannot be trusted; it is treated as missing and computed again."""


class FinishedRunKept(InputError):
    """A failed run that was not stored, because a finished one stands in its place."""


class Store:
    """Runs under one folder. Several processes may write and read it at once."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._lock = self.root / ".lock"
        self.code_table = CodeTable(self.root)
        self.split_tables = SplitTables(self.root)

    def path(self, key: RunKey, seed: int) -> Path:
        """Where the run's json lies; its npz has the same name."""
        return self.root.joinpath(*map(slug, key)) / f"seed-{seed}.json"

    def write(self, result: RunResult, table: SplitTable | None = None) -> Path:
        """Put one finished or failed run in place, over whatever stood there; only a failed run
        does not replace a finished one, be it stale. table: that of the run's split, for
        references, which leave to it and to `code.json` what they share with others.

        Raises FinishedRunKept for a failed run where a finished one stands, and InputError if the
        folder cannot be written or is full, or if the run of another spec whose name gives the same
        file name stands there.
        """
        record = result.record
        path = self.path(record.spec.key, record.seed)
        files = packed(result, table)
        with writing(path.parent), locked(self._lock):
            self._refuse_clash(path, record.spec.key)
            if record.status == "failed":
                self._keep_finished(path)
            for leftover in path.parent.glob(".seed-*"):
                leftover.unlink()
            if table is not None:
                self.code_table.add(record.hashes)
                self.split_tables.add(table)
            for name, data in files.items():
                write_bytes(path.with_name(name), data)
            for older in path.parent.glob(f"{path.stem}.*npz"):
                if older.name not in files:
                    older.unlink()
        return path

    def read(self, key: RunKey, seed: int) -> RunResult:
        """A stored run, verified. Raises DamagedRun naming the file, KeyError if there is none."""
        path = self.path(key, seed)
        if not path.is_file():
            raise KeyError(f"no run of {key}, seed {seed}, in {self.root}")
        result = self._read(path)
        if result.record.spec.key != key or result.record.seed != seed:
            raise DamagedRun(
                f"{path}: holds {result.record.spec.key}, seed {result.record.seed}, not {key}, "
                f"seed {seed}; it was moved here, or the names give one file: move it away"
            )
        return result

    def status(self, key: RunKey, seed: int, hashes: Hashes | None = None) -> Stored:
        """How the run stands. With `hashes` a finished run made by other settings, code or data is
        stale; without, that is not asked (results from elsewhere)."""
        path = self.path(key, seed)
        try:
            result = self.read(key, seed)
        except KeyError as error:
            return Stored(path, "missing", str(error.args[0]))
        except DamagedRun as error:
            return Stored(path, "damaged", str(error))
        return _stored(path, result).against(hashes)

    def paths(self) -> list[Path]:
        """The json files of all runs under the root, sorted; not those in folders of an import
        that goes on or was killed, which begin with a dot. A folder may be a link to another disk;
        one that leads back to where the walk has been is not followed."""
        found: list[Path] = []
        been: set[str] = set()
        for folder, inner, files in os.walk(self.root, followlinks=True):
            if (real := os.path.realpath(folder)) in been:
                inner.clear()
                continue
            been.add(real)
            inner[:] = [name for name in inner if not name.startswith(".")]
            found += [Path(folder, name) for name in fnmatch.filter(files, "seed-*.json")]
        return sorted(found)

    def forget_unused(self) -> None:
        """Drop from `code.json` and `splits/` what no run here is of; nothing while a record cannot
        be read."""
        unread = contextlib.suppress(InputError, FileNotFoundError)
        with writing(self.root), locked(self._lock), unread:
            records = [_record(path, path.read_bytes()) for path in self.paths()]
            self.code_table.keep({record.hashes.code for record in records})
            self.split_tables.keep(
                {
                    self.split_tables.path(record.spec.dataset, record.split_sha256)
                    for record in records
                    if record.split_sha256 is not None
                }
            )

    def may_be_of(self, path: Path, profile: str | None) -> bool:
        """Whether a run, which may be damaged, lies in the folder of the profile; None is any."""
        return profile is None or path.relative_to(self.root).parts[0] == slug(profile)

    def at(self, path: Path) -> Stored:
        """How the run whose json lies at `path` stands; damaged if another run's lies there."""
        try:
            result = self._read(path)
        except DamagedRun as error:
            return Stored(path, "damaged", str(error))
        record = result.record
        if self.path(record.spec.key, record.seed) == path:
            return _stored(path, result)
        problem = f"{path}: holds {record.spec.key}, seed {record.seed}; it was moved here"
        return Stored(path, "damaged", problem)

    def scan(self) -> Iterator[Stored]:
        """Every run under the root, in the order of its path; damaged ones are named."""
        return map(self.at, self.paths())

    def _read(self, path: Path) -> RunResult:
        """A run, verified; once more when no writer is at work if one may have come between its two
        files. A folder that cannot be locked because it cannot be written has no writer."""
        try:
            result = self._read_once(path)
        except DamagedRun:
            with contextlib.ExitStack() as held:
                with contextlib.suppress(InputError):
                    held.enter_context(locked(self._lock))
                result = self._read_once(path)
        filled = {"hashes": self.code_table.filled(result.record.hashes)}
        return replace(result, record=result.record.model_copy(update=filled))

    def _read_once(self, path: Path) -> RunResult:
        """A run and its arrays, the hashes checked."""
        npz = path.with_suffix(".npz")
        try:
            record = _record(path, path.read_bytes())
            if record.status == "failed":
                return RunResult(record)
            data = {
                file: _verified(file, digest, path)
                for file, digest in array_files(path, record).items()
            }
        except OSError as error:
            raise DamagedRun(f"{error.filename}: cannot be read ({error.strerror})") from error
        table = None
        if record.split_sha256 is not None:
            try:
                table = self.split_tables.get(record.spec.dataset, record.split_sha256)
            except InputError as error:
                raise DamagedRun(f"{path}: {error}") from error
        try:
            artefacts = {n: from_npz(data[_artefact(path, n)]) for n in record.artefacts_sha256}
            return unpack(data[npz], record, artefacts, table)
        except UNREADABLE as error:
            raise DamagedRun(f"{npz}: not a file of ranks ({error})") from error

    def _refuse_clash(self, path: Path, key: RunKey) -> None:
        """Two names with one file name must not overwrite each other's runs."""
        with contextlib.suppress(DamagedRun, FileNotFoundError):
            stored = _record(path, path.read_bytes()).spec.key
            if stored != key:
                raise InputError(
                    f"{path} holds {stored}, whose name gives the same file name as {key}; "
                    "rename one of them"
                )

    def _keep_finished(self, path: Path) -> None:
        """Raises FinishedRunKept if a whole, finished run lies at `path`."""
        with contextlib.suppress(DamagedRun):
            if self._read_once(path).record.status == "ok":
                raise FinishedRunKept(f"{path}: the finished run is kept, the failed not stored")


def _stored(path: Path, result: RunResult) -> Stored:
    failed = result.record.status == "failed"
    return Stored(
        path, "failed" if failed else "complete", result.record.message if failed else "", result
    )


def packed(result: RunResult, table: SplitTable | None = None) -> dict[str, bytes]:
    """The files of a run by name, in the order in which they are written: the record comes last.
    table: as in `Store.write`; without one they stand alone."""
    record = result.record
    name = f"seed-{record.seed}"
    arrays = {f"{name}.npz": pack(result, table)} if record.status == "ok" else {}
    artefacts = {held: to_npz(values) for held, values in result.artefacts.items()}
    digests = {held: hashlib.sha256(data).hexdigest() for held, data in artefacts.items()}
    own: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "arrays_sha256": next((hashlib.sha256(a).hexdigest() for a in arrays.values()), None),
        "split_sha256": None if table is None else table.sha256,
        "artefacts_sha256": digests,
    }
    if table is not None:  # the store of references has the files of its codes beside them
        own["hashes"] = record.hashes.model_copy(update={"files": {}})
    return {
        **arrays,
        **{f"{name}.{held}.npz": data for held, data in artefacts.items()},
        f"{name}.json": record_text(record.model_copy(update=own), blanks=table is None),
    }


def array_files(path: Path, record: RunRecord) -> dict[Path, str | None]:
    """The files of arrays of a finished run whose json lies at `path` -> the SHA-256 that its
    record has of them; the ranks come first."""
    artefacts = {_artefact(path, name): d for name, d in record.artefacts_sha256.items()}
    return {path.with_suffix(".npz"): record.arrays_sha256, **artefacts}


# ---------------------------------------------------------------- files


def _artefact(path: Path, name: str) -> Path:
    """Where an artefact of the run whose json lies at `path` lies."""
    return path.with_suffix(f".{name}.npz")


def _verified(file: Path, digest: str | None, record: Path) -> bytes:
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise DamagedRun(
            f"{file}: its SHA-256 is not the one that {record.name} records; the run has to be "
            "computed again"
        )
    return data


def record_text(record: RunRecord, *, blanks: bool = True) -> bytes:
    """The record's JSON with its own hash in it. blanks: to be read by people."""
    fields = record.model_dump(mode="json", exclude={"sha256"})
    whole = fields | {"sha256": _own_hash(fields)}
    if blanks:
        return json.dumps(whole, indent=1).encode()
    return json.dumps(whole, separators=(",", ":")).encode()


def _own_hash(fields: dict[str, Any]) -> str:
    """Over the JSON as it was written, so that a later schema's new fields change no old hash."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _record(path: Path, data: bytes) -> RunRecord:
    again = "the run has to be computed again"
    try:
        fields = json.loads(data)
        own_hash = fields.pop("sha256")
        version = fields["schema_version"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DamagedRun(f"{path}: not a run's record; {again}") from error
    if _own_hash(fields) != own_hash:
        raise DamagedRun(f"{path}: changed since it was written (its SHA-256 differs); {again}")
    if type(version) is not int:
        raise DamagedRun(f"{path}: its schema is {version!r}, which is no number; {again}")
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{path}: written in schema {version}, newer than this program's {SCHEMA_VERSION}; "
            "update the program"
        )
    try:
        return RunRecord.model_validate(fields | {"sha256": own_hash})
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise DamagedRun(f"{path}: not a run's record ({what}); {again}") from error
