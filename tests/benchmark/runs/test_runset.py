"""A run set reads every file of its store once, and sees what the store sees."""

import numpy as np
import pytest

from benchmark.runs.promote import promote
from benchmark.runs.runset import RunSet
from benchmark.runs.store import DamagedRun, Store
from tests.benchmark.reads import Reads
from tests.benchmark.results import HASHES, failed_result, make_result, make_spec

ABOVE = np.arange(40)


@pytest.fixture
def store(tmp_path) -> Store:
    """Two whole runs with top lists, a failed one, a damaged one."""
    store = Store(tmp_path)
    for seed in (0, 1, 3):
        store.write(make_result(make_spec(), seed, ABOVE, top=5))
    store.write(failed_result(make_spec(), 2))
    path = store.path(make_spec().key, 3).with_suffix(".npz")
    path.write_bytes(path.read_bytes()[:-1])
    return store


def test_each_file_is_read_once(store):
    key = make_spec().key
    runs = RunSet(store)
    with Reads(store.root) as reads:
        for _ in range(3):
            for seed in range(5):
                runs.status(key, seed, HASHES)
            assert len(list(runs.scan())) == 4
            runs.read(key, 0)
            runs.spec(key, range(5))
    folder = "quick/toy/sasrec/base"
    assert reads.counts == {
        f"{folder}/seed-0.json": 1,
        f"{folder}/seed-0.npz": 1,
        f"{folder}/seed-1.json": 1,
        f"{folder}/seed-1.npz": 1,
        f"{folder}/seed-2.json": 1,  # a failed run has a record alone
        f"{folder}/seed-3.json": 2,  # damaged: once more, a writer may have come between
        f"{folder}/seed-3.npz": 2,
    }


def test_it_says_what_the_store_says(store):
    key = make_spec().key
    runs = RunSet(store)
    stale = HASHES.model_copy(update={"code": "edited"})
    for hashes in (None, HASHES, stale):
        for seed in range(5):
            ours, theirs = runs.status(key, seed, hashes), store.status(key, seed, hashes)
            assert (ours.status, ours.problem) == (theirs.status, theirs.problem)
            assert ours.record == theirs.record
    assert [run.path for run in runs.scan()] == [run.path for run in store.scan()]
    with pytest.raises(KeyError, match="no run of"):
        runs.read(key, 4)
    with pytest.raises(DamagedRun, match="SHA-256"):
        runs.read(key, 3)
    np.testing.assert_array_equal(runs.read(key, 0).test.above, ABOVE)
    assert runs.read(key, 0).test.top is None
    assert store.read(key, 0).test.top is not None


def test_a_run_that_is_written_later_is_seen_once_it_is_asked_for_again(store):
    key = make_spec().key
    runs = RunSet(store)
    assert runs.status(key, 4).status == "missing"
    store.write(make_result(make_spec(), 4, ABOVE))
    assert runs.status(key, 4).status == "missing"
    runs.forget(key, 4)
    assert runs.status(key, 4).status == "complete"


def test_a_run_whose_folder_another_name_shares_is_not_taken_for_it(store):
    """SASRec and SASREC have one file name; the store holds the first one's runs."""
    runs = RunSet(store)
    list(runs.scan())
    other = make_spec("SASREC")
    assert store.path(other.key, 0) == store.path(make_spec().key, 0)
    assert runs.status(other.key, 0).status == "damaged"
    assert runs.spec(other.key, [0]) is None
    assert runs.status(make_spec().key, 0).status == "complete"


def test_references_count_where_the_store_has_no_current_run(tmp_path_factory, store):
    """Of each seed: current here (0, 1), failed (2) or damaged (3) here, missing (4, 5). The
    references have current runs of 1, 2, 3 and 4, and one of other code of 5."""
    committed = Store(tmp_path_factory.mktemp("committed"))
    for seed in (1, 2, 3, 4):
        committed.write(make_result(make_spec(), seed, ABOVE + 1))
    other = HASHES.model_copy(update={"code": "other"})
    committed.write(make_result(make_spec(), 5, ABOVE, hashes=other))
    runs, key = RunSet(store, committed), make_spec().key
    states = [runs.status(key, seed, HASHES).status for seed in range(6)]
    assert states == ["complete"] * 5 + ["missing"]
    for seed in range(5):
        first = runs.read(key, seed).test.above[0]
        assert first == (0 if seed in (0, 1) else 1)
    assert [run.path.name for run in runs.scan()] == [f"seed-{s}.json" for s in (0, 1, 2, 3)]
    own = RunSet(store)
    assert [own.status(key, seed, HASHES).status for seed in (2, 3, 4)] == [
        "failed",
        "damaged",
        "missing",
    ]


def test_a_damaged_reference_is_named_where_the_store_has_no_run(tmp_path):
    """One lost table makes all references of a split unreadable: that must not look like none."""
    store, references = Store(tmp_path / "runs"), Store(tmp_path / "reference")
    store.write(make_result(make_spec(), 0, ABOVE))
    promote(store, references)
    (table,) = references.split_tables.folder.iterdir()
    table.unlink()
    found = RunSet(Store(tmp_path / "empty"), Store(references.root)).status(make_spec().key, 0)
    assert (found.status, str(table) in found.problem) == ("damaged", True)
    runs = RunSet(store, Store(references.root))
    assert runs.status(make_spec().key, 0).status == "complete"
    assert runs.status(make_spec().key, 1).status == "missing"
    uncounted = RunSet(Store(tmp_path / "empty"), Store(references.root), count_references=False)
    assert uncounted.status(make_spec().key, 0).status == "missing"
