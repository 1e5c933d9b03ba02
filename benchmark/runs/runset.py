"""The runs of one store as one command sees them: each read and verified at most once.

Planning, cells, notes, provenance and figures are all given the same run set. Top lists, most of a
run's bytes, are not kept in memory.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmark.runs.schema import Hashes, RunResult
from benchmark.runs.spec import RunKey, RunSpec, slug
from benchmark.runs.store import DamagedRun, Store, Stored, without_top


class RunSet:
    """What a store held when it was first asked. A run that is written later is seen after
    `forget`, or by another run set."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._seen: dict[Path, Stored] = {}

    @property
    def root(self) -> Path:
        """The store's folder."""
        return self.store.root

    def status(self, key: RunKey, seed: int, hashes: Hashes | None = None) -> Stored:
        """How the run stands, with its result; as `Store.status` says it."""
        path = self.store.path(key, seed)
        record = self._seen[path].record if path in self._seen else None
        if path not in self._seen or (record is not None and record.spec.key != key):
            self._seen[path] = _without_top(self.store.status(key, seed))
        return self._seen[path].against(hashes)

    def read(self, key: RunKey, seed: int) -> RunResult:
        """The run without its top lists. Raises KeyError if there is none, DamagedRun as
        `Store.read` does."""
        stored = self.status(key, seed)
        if stored.status == "damaged":
            raise DamagedRun(stored.problem)
        if stored.result is None:
            raise KeyError(stored.problem)
        return stored.result

    def scan(self) -> Iterator[Stored]:
        """Every run under the root, in the order of its path; damaged ones are named."""
        for path in self.store.paths():
            if path not in self._seen:
                self._seen[path] = _without_top(self.store.at(path))
            yield self._seen[path]

    def seeds(self, key: RunKey) -> list[int]:
        """Seeds that the store has a file of, whole or damaged, in rising order."""
        folder = self.root.joinpath(*map(slug, key))
        numbers = (path.stem.removeprefix("seed-") for path in folder.glob("seed-*.json"))
        return sorted(int(number) for number in numbers if number.isdecimal())

    def spec(self, key: RunKey) -> RunSpec | None:
        """The settings that the stored runs of this key were made with: those of the first seed
        whose record is whole; None where there is none."""
        for seed in self.seeds(key):
            record = self.status(key, seed).record
            if record is not None:
                return record.spec
        return None

    def forget(self, key: RunKey, seed: int) -> None:
        """Read the run again when it is next asked for: it has just been written."""
        self._seen.pop(self.store.path(key, seed), None)


def _without_top(stored: Stored) -> Stored:
    if stored.result is None:
        return stored
    return replace(stored, result=without_top(stored.result))
