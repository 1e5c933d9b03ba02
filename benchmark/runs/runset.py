"""The runs of one store as one command sees them: each read and verified at most once.

Planning, cells, notes, provenance and figures are all given the same run set. Top lists, most of a
run's bytes, are not kept in memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmark.runs.schema import Hashes, RunRecord, RunResult
from benchmark.runs.spec import RunKey, RunSpec
from benchmark.runs.store import DamagedRun, Store, Stored


class RunSet:
    """What a store held when it was first asked. A run that is written later is seen after
    `forget`, or by another run set.

    references: finished runs elsewhere, the committed ones. They are only read. They count where
    the store has no current run of its own, so that nobody trains again what everybody has; unless
    count_references they only tell how long a run takes.
    """

    def __init__(
        self, store: Store, references: Store | None = None, *, count_references: bool = True
    ) -> None:
        self.store = store
        self._references = None if references is None else RunSet(references)
        self._count_references = count_references
        self._seen: dict[Path, Stored] = {}

    @property
    def root(self) -> Path:
        """The store's folder."""
        return self.store.root

    def status(self, key: RunKey, seed: int, hashes: Hashes | None = None) -> Stored:
        """How the run stands, with its result; as `Store.status` says it."""
        own = self._own_status(key, seed, hashes)
        if own.status == "complete" or self._references is None or not self._count_references:
            return own
        committed = self._references.status(key, seed, hashes)
        # a damaged one is named: what made it unreadable may hide a whole folder of them
        named = own.status == "missing" and committed.status == "damaged"
        return committed if committed.status == "complete" or named else own

    def _own_status(self, key: RunKey, seed: int, hashes: Hashes | None = None) -> Stored:
        path = self.store.path(key, seed)
        if path not in self._seen:
            self._seen[path] = _without_top(self.store.status(key, seed))
        seen = self._seen[path]
        if seen.record is not None and seen.record.spec.key != key:  # names with one file name
            seen = self.store.status(key, seed)
        return seen.against(hashes)

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
        """Every run under the root, in the order of its path; damaged ones are named. References
        are left out."""
        for path in self.store.paths():
            if path not in self._seen:
                self._seen[path] = _without_top(self.store.at(path))
            yield self._seen[path]

    def timed(self, key: RunKey, seeds: Sequence[int]) -> list[RunRecord]:
        """Of finished runs, which tell how long one takes, whatever code and settings they were
        made with: those of the store, else the first of the references."""
        own = self._finished(key, seeds)
        if own or self._references is None:
            return own
        return next(filter(None, (self._references._finished(key, [s]) for s in seeds)), [])

    def _finished(self, key: RunKey, seeds: Sequence[int]) -> list[RunRecord]:
        records = (self._own_status(key, seed).record for seed in seeds)
        return [record for record in records if record is not None and record.status == "ok"]

    def spec(self, key: RunKey, seeds: Sequence[int]) -> RunSpec | None:
        """The settings that the stored runs of this key were made with: those of the first of the
        seeds whose record is whole; None where there is none."""
        records = (self.status(key, seed).record for seed in seeds)
        return next((record.spec for record in records if record is not None), None)

    def forget(self, key: RunKey, seed: int) -> None:
        """Read the run again when it is next asked for: it has just been written."""
        self._seen.pop(self.store.path(key, seed), None)


def _without_top(stored: Stored) -> Stored:
    if stored.result is None:
        return stored
    return replace(stored, result=stored.result.without_top())
