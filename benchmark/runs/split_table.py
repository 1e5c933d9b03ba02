"""What all runs of a split have in common, once for all references.

The users' lengths, their histories and the size of the catalogue are the same in every run of a
split. And a query that is hard for one row is hard for most: in the order of how hard its queries
are on average, a run's ranks take a fifth less room. A store of references keeps both beside its
runs, in `splits/<dataset>-<start of its SHA-256>.npz`:

    length                    [U]
    <split>_items             N
    <split>_history           [Q]: how many items the history takes from the ranking, as differences
                              from one query to the next
    <split>_user              [Q], as differences; of several queries a user
    <split>_expected          [B, Q]: how many items are above the target, the geometric mean over
                              the runs that the table was made from, in rows of bytes
    <split>_weight            [Q]: what share of them is history, 1 to 255, 255 the largest

A run's record has the SHA-256 of its table. A table that is written is never changed: runs that
come later lean on it as it is, and ranks come back to the number whatever it expects. Where the
file is gone or damaged the runs that lean on it are damaged, and their message names it.
"""

import contextlib
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from benchmark.errors import InputError
from benchmark.files import write_bytes
from benchmark.runs.npz import (
    UNREADABLE,
    from_planes,
    integers_from_npz,
    smallest,
    to_npz,
    to_planes,
)
from benchmark.runs.ranks import IntArray, Ranks
from benchmark.runs.schema import RunResult
from benchmark.runs.spec import slug

FOLDER = "splits"
Split = Literal["validation", "test"]
SPLITS: tuple[Split, ...] = ("validation", "test")


@dataclass(frozen=True)
class Queries:
    """What the runs of a split have in common, query by query."""

    n_items: int
    n_candidates_masked: IntArray
    """[Q]: as in `Ranks`."""
    user: IntArray | None
    """[Q]: as in `Ranks`."""

    def __len__(self) -> int:
        return len(self.n_candidates_masked)

    def fits(self, ranks: Ranks) -> bool:
        """Whether the ranks are of these queries."""
        if (self.user is None) != (ranks.user is None):
            return False
        return (
            self.n_items == ranks.n_items
            and np.array_equal(self.n_candidates_masked, ranks.n_candidates_masked)
            and (self.user is None or np.array_equal(self.user, ranks.user))  # type: ignore[arg-type]
        )


@dataclass(frozen=True)
class SortedQueries(Queries):
    """The same, and what a usual run says of them."""

    expected: IntArray
    """[Q]: how many items are above the target."""
    weight: IntArray
    """[Q], > 0: of a given number of items above the target, how many are history, in any unit."""

    @cached_property
    def order(self) -> npt.NDArray[np.intp]:
        """[Q]: the queries from the easiest to the hardest; as they are where nothing is known."""
        return np.argsort(self.expected, kind="stable")

    def history_order(self, above: IntArray) -> npt.NDArray[np.intp]:
        """[Q]: the queries in the order of how many history items are expected above the target,
        given how many items are. Neighbours in it have like counts. All in whole numbers, so that
        it is the same on every machine."""
        return np.argsort(above.astype(np.int64) * self.weight, kind="stable")


@dataclass(frozen=True)
class DataSplit:
    """What makes runs those of one split."""

    dataset: str
    length: IntArray
    """[U]: as in `RunResult`."""
    queries: Mapping[Split, Queries]

    @classmethod
    def of(cls, result: RunResult) -> "DataSplit":
        """That of a finished run."""
        assert result.length is not None
        queries = {
            split: Queries(ranks.n_items, ranks.n_candidates_masked, ranks.user)
            for split, ranks in _ranks(result).items()
        }
        return cls(result.record.spec.dataset, result.length, queries)

    def fits(self, result: RunResult) -> bool:
        """Whether a finished run is of this split."""
        ranks = _ranks(result)
        return (
            self.dataset == result.record.spec.dataset
            and np.array_equal(self.length, result.length)  # type: ignore[arg-type]
            and all(own.fits(ranks[split]) for split, own in self.queries.items())
        )


@dataclass(frozen=True)
class SplitTable(DataSplit):
    """The table of one split. Its arrays are shared by all runs that are read with it, and cannot
    be written to."""

    queries: Mapping[Split, SortedQueries]
    content: bytes
    """Of its file."""

    @cached_property
    def sha256(self) -> str:
        """Of its file."""
        return hashlib.sha256(self.content).hexdigest()

    @classmethod
    def read(cls, dataset: str, content: bytes) -> "SplitTable":
        """The table in a file's bytes. Raises one of `UNREADABLE` for other bytes."""
        arrays = integers_from_npz(content)
        queries: dict[Split, SortedQueries] = {}
        for split in SPLITS:
            n_items = int(arrays[f"{split}_items"])
            user = arrays.get(f"{split}_user")
            queries[split] = SortedQueries(
                n_items,
                _fixed(n_items - np.cumsum(arrays[f"{split}_history"], dtype=np.int32)),
                None if user is None else _fixed(np.cumsum(user, dtype=np.int32)),
                _fixed(from_planes(arrays[f"{split}_expected"])),
                _fixed(arrays[f"{split}_weight"]),
            )
        return cls(dataset, _fixed(arrays["length"]), queries, content)


def _fixed(array: IntArray) -> IntArray:
    array.setflags(write=False)
    return array


class SplitDraft:
    """A table in the making: what runs of one split say of its queries."""

    def __init__(self, first: RunResult) -> None:
        self.split = DataSplit.of(first)
        self._runs = 0
        queries = self.split.queries
        self._log_above = {split: np.zeros(len(own)) for split, own in queries.items()}
        self._share = {split: np.zeros(len(own)) for split, own in queries.items()}
        self.add(first)

    def add(self, result: RunResult) -> bool:
        """Take a run in; False where it is of another split."""
        if not self.split.fits(result):
            return False
        self._runs += 1
        for split, ranks in _ranks(result).items():
            self._log_above[split] += np.log1p(ranks.above)
            # a half and five: of few items above, the share is a guess
            self._share[split] += (ranks.above - ranks.above_masked + 0.5) / (ranks.above + 5)
        return True

    def table(self) -> SplitTable:
        """Of the runs so far."""
        arrays: dict[str, npt.NDArray[Any]] = {"length": self.split.length}
        for split, own in self.split.queries.items():
            expected = np.rint(np.expm1(self._log_above[split] / self._runs)).astype(np.int32)
            share = self._share[split] / self._share[split].max(initial=1e-9)
            arrays |= {
                f"{split}_items": np.asarray(own.n_items),
                f"{split}_history": np.diff(own.n_items - own.n_candidates_masked, prepend=0),
                f"{split}_expected": to_planes(expected),
                f"{split}_weight": np.maximum(np.rint(255 * share), 1).astype(np.uint8),
            }
            if own.user is not None:
                arrays[f"{split}_user"] = np.diff(own.user, prepend=0)
        content = to_npz({name: smallest(array) for name, array in arrays.items()}, dense=True)
        return SplitTable.read(self.split.dataset, content)


class SplitTables:
    """The tables of one store. Their writers hold the lock of the store."""

    def __init__(self, root: Path) -> None:
        self.folder = root / FOLDER
        self._known: dict[Path, SplitTable] = {}

    def path(self, dataset: str, digest: str) -> Path:
        """Of the table with that SHA-256."""
        return self.folder / f"{slug(dataset)}-{digest[:12]}.npz"

    def get(self, dataset: str, digest: str) -> SplitTable:
        """The table with that SHA-256. Raises InputError where the file is gone or damaged."""
        path = self.path(dataset, digest)
        try:
            table = self._read(path, dataset)
        except FileNotFoundError as error:
            raise _no_table(path, "it is not there") from error
        if table.sha256 != digest:
            raise _no_table(path, "its SHA-256 is not the one that the run records")
        return table

    def matching(self, result: RunResult) -> SplitTable | None:
        """The table of a finished run's split. Raises InputError where there is none, and one of
        the dataset, which might be it, is damaged."""
        dataset = result.record.spec.dataset
        damaged: InputError | None = None
        for path in sorted(self.folder.glob(f"{slug(dataset)}-????????????.npz")):
            try:
                table = self._read(path, dataset)
            except FileNotFoundError:
                continue  # another writer has just dropped it
            except InputError as error:
                damaged = damaged or error
                continue
            if table.fits(result):
                return table
        if damaged is not None:
            raise damaged
        return None

    def add(self, table: SplitTable) -> None:
        """Put its file in place, unless it is there."""
        path = self.path(table.dataset, table.sha256)
        if not path.is_file():
            write_bytes(path, table.content)
        self._known[path] = table

    def keep(self, used: Collection[Path]) -> None:
        """Forget what no run leans on any more."""
        for path in set(self.folder.glob("*.npz")) - set(used):
            path.unlink()
            self._known.pop(path, None)
        with contextlib.suppress(OSError):
            self.folder.rmdir()  # if it is empty

    def _read(self, path: Path, dataset: str) -> SplitTable:
        if path not in self._known:
            try:
                table = SplitTable.read(dataset, path.read_bytes())
            except FileNotFoundError:
                raise
            except UNREADABLE as error:
                raise _no_table(path, str(error)) from error
            if self.path(dataset, table.sha256) != path:
                raise _no_table(path, "its SHA-256 is not the one in its name")
            self._known[path] = table
        return self._known[path]


def _no_table(path: Path, why: str) -> InputError:
    return InputError(
        f"{path}: not the table of a split ({why}); restore it, or delete it and promote the runs "
        "that lean on it again: they cannot be read without it"
    )


def _ranks(result: RunResult) -> Mapping[Split, Ranks]:
    """Of both splits."""
    if result.validation is None or result.test is None:
        raise ValueError("a run without ranks of both splits is no reference")
    return {"validation": result.validation, "test": result.test}
