"""References leave to one table what all runs of a split share; ranks come back to the number."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.errors import InputError
from benchmark.runs.arrays import pack, unpack
from benchmark.runs.exchange import export_runs, import_runs
from benchmark.runs.npz import from_npz, integers_from_npz, to_npz
from benchmark.runs.promote import promote
from benchmark.runs.ranks import Ranks
from benchmark.runs.schema import RunResult
from benchmark.runs.split_table import SplitDraft, SplitTable
from benchmark.runs.store import Store
from tests.benchmark.results import make_record, make_spec, with_ranks
from tests.benchmark.runs.test_arrays import assert_same_ranks

SHARED = {f"{split}_{name}" for split in ("validation", "test") for name in ("items", "history")}


def of_one_split(count, *, several=True, dataset="toy", users=None, first=0):
    """Runs of the same users and histories, whose ranks are drawn anew."""
    base = with_ranks(several, users=users)
    made = []
    for seed in range(first, first + count):
        drawn = with_ranks(several, 100 + seed).test
        own = {
            name: getattr(drawn, name)
            for name in ("above", "equal", "above_masked", "equal_masked", "popularity", "lowered")
        }
        ranks = replace(base.test, **own)
        record = make_record(make_spec(dataset=dataset), seed)
        made.append(RunResult(record, ranks, ranks, base.length))
    return made


def tables(store):
    return sorted(path.name for path in store.split_tables.folder.glob("*"))


@pytest.fixture
def reference(tmp_path):
    """Three runs of one split, promoted."""
    runs, reference = Store(tmp_path / "runs"), Store(tmp_path / "reference")
    for run in of_one_split(3):
        runs.write(run)
    assert set(promote(runs, reference).values()) == {"added"}
    return runs, reference


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("users", [None, 17, 0])
def test_any_ranks_come_back_to_the_number(tmp_path, several, users):
    """Of a run that the table was made from, and of one that came later."""
    runs, reference = Store(tmp_path / "runs"), Store(tmp_path / "reference")
    for count in (2, 3):
        made = of_one_split(count, several=several, users=users)
        for run in made:
            runs.write(run)
        promote(runs, reference, keep_top=True)
    assert len(tables(reference)) == 1
    for number, run in enumerate(made):
        read = Store(reference.root).read(run.record.spec.key, number)
        for split in ("validation", "test"):
            before, after = getattr(run, split), getattr(read, split)
            fewer = {"lowered": after.lowered, "popularity": after.popularity}  # promote drops some
            assert_same_ranks(replace(before, **fewer), after)
        np.testing.assert_array_equal(read.length, run.length)


def test_what_is_shared_is_in_the_table_alone(reference):
    _, store = reference
    (name,) = tables(store)
    record = store.read(make_spec().key, 0).record
    assert name == f"toy-{record.split_sha256[:12]}.npz"
    shared = set(from_npz((store.split_tables.folder / name).read_bytes()))
    assert shared >= {"length", "test_user", "validation_user", *SHARED}
    for seed in range(3):
        own = from_npz(store.path(make_spec().key, seed).with_suffix(".npz").read_bytes())
        assert not shared & set(own)


def test_a_table_expects_the_geometric_mean_and_the_share_of_history():
    made = of_one_split(3)
    draft = SplitDraft(made[0])
    assert all(draft.add(run) for run in made[1:])
    assert not draft.add(with_ranks(several_a_user=True, seed=1)), "of other users"
    table = draft.table().queries["test"]
    above = np.stack([run.test.above for run in made])
    np.testing.assert_array_equal(
        table.expected, np.rint(np.prod(above + 1.0, axis=0) ** (1 / 3) - 1)
    )
    history = above - np.stack([run.test.above_masked for run in made])
    share = ((history + 0.5) / (above + 5)).mean(axis=0)
    np.testing.assert_array_equal(table.weight, np.maximum(np.rint(share / share.max() * 255), 1))
    assert np.all(np.diff(table.expected[table.order]) >= 0)


def test_runs_that_agree_on_what_is_hard_take_less_room():
    """Where queries differ far more than what runs add, a sixth at the least (seen: 18 %)."""
    rng = np.random.default_rng(0)
    hard = rng.normal(5, 1.5, 4_000)
    length = np.full(hard.size, 9, np.int32)
    none, all_items = np.zeros(hard.size, np.int32), np.full(hard.size, 5_000, np.int32)
    made = []
    for seed in range(6):
        logarithm = np.clip(hard + rng.normal(0, 0.3, hard.size), 0, 8)
        above = np.exp(logarithm).astype(np.int32)
        ranks = Ranks(above, none, above, none, all_items, 5_000)
        made.append(RunResult(make_record(make_spec(), seed), ranks, ranks, length))
    draft = SplitDraft(made[0])
    for run in made[1:5]:
        draft.add(run)
    table = draft.table()
    queries = {split: replace(own, expected=none) for split, own in table.queries.items()}
    nothing_known = replace(table, queries=queries)
    assert len(pack(made[5], table)) < 5 / 6 * len(pack(made[5], nothing_known))


def test_a_table_stays_as_it_is_when_runs_are_added(reference):
    runs, store = reference
    before = {path: path.read_bytes() for path in store.split_tables.folder.iterdir()}
    for run in of_one_split(2, first=3):
        runs.write(run)
    assert sorted(promote(runs, store).values()) == ["added"] * 2 + ["unchanged"] * 3
    assert {path: path.read_bytes() for path in store.split_tables.folder.iterdir()} == before


@pytest.mark.parametrize("damage", ["gone", "empty", "bit", "other"])
def test_a_damaged_table_is_named_and_costs_no_run(reference, damage):
    """Its runs cannot be read; nothing is written over it; restored, all is as it was."""
    runs, store = reference
    (name,) = tables(store)
    path = store.split_tables.folder / name
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "bit":
        path.write_bytes(whole[:80] + bytes([whole[80] ^ 1]) + whole[81:])
    else:
        path.write_bytes(SplitDraft(with_ranks(several_a_user=True, seed=1)).table().content)
    stored = Store(store.root).status(make_spec().key, 0)
    assert stored.status == "damaged"
    assert name in stored.problem
    assert "restore it" in stored.problem
    if damage != "gone":
        with pytest.raises(InputError, match=rf"{name}: not the table of a split .*restore it"):
            promote(runs, Store(store.root))
    path.write_bytes(whole)
    assert Store(store.root).status(make_spec().key, 0).status == "complete"


def test_without_its_table_promoting_brings_runs_back(reference):
    runs, store = reference
    (name,) = tables(store)
    (store.split_tables.folder / name).unlink()
    again = Store(store.root)
    done = list(promote(runs, again).values())  # the first brings it back for the others
    assert done == ["replaced", "unchanged", "unchanged"]
    assert tables(again) == [name], "made from the same runs, it is the same"


def test_a_new_table_of_other_runs_replaces_those_that_leaned_on_the_old(reference):
    runs, store = reference
    (name,) = tables(store)
    (store.split_tables.folder / name).unlink()
    (later,) = of_one_split(1, first=3)
    runs.write(later)
    again = Store(store.root)
    assert list(promote(runs, again).values()) == ["replaced"] * 3 + ["added"]
    (new,) = tables(again)
    assert new != name
    assert all(run.status == "complete" for run in Store(store.root).scan())


def test_tables_that_no_run_leans_on_any_more_go(reference):
    runs, store = reference
    (name,) = tables(store)
    for seed in range(3):  # of other users
        other = with_ranks(several_a_user=True, seed=50)
        runs.write(replace(other, record=make_record(make_spec(), seed)))
    assert set(promote(runs, store).values()) == {"replaced"}
    (left,) = tables(store)
    assert left != name
    assert all(run.status == "complete" for run in Store(store.root).scan())


def test_datasets_whose_names_begin_alike_have_tables_of_their_own(tmp_path):
    runs, store = Store(tmp_path / "runs"), Store(tmp_path / "reference")
    names = ("toy", "toy-core")
    for dataset in names:
        runs.write(of_one_split(1, dataset=dataset)[0])
        promote(runs, store)
    assert [name.rpartition("-")[0] for name in tables(store)] == ["toy-core", "toy"]
    assert set(promote(runs, Store(store.root)).values()) == {"unchanged"}


@pytest.mark.parametrize("keep_top", [True, False])
def test_an_exported_reference_stands_alone(reference, tmp_path, keep_top):
    """It leaves its store, and the table with it."""
    _, store = reference
    export_runs(store, tmp_path / "references.zip", keep_top=keep_top)
    there = Store(tmp_path / "there")
    import_runs([tmp_path / "references.zip"], there, lambda record: "")
    assert not there.split_tables.folder.exists()
    for seed in range(3):
        before, after = (s.read(make_spec().key, seed) for s in (store, there))
        assert after.record.split_sha256 is None
        assert_same_ranks(before.test, after.test)


def test_counts_of_another_number_of_queries_are_damage():
    (run,) = of_one_split(1)
    table = SplitDraft(run).table()
    arrays = integers_from_npz(pack(run, table))
    for name in ("test_above", "validation_history_above"):
        for wrong in (arrays[name][:, :1], arrays[name][:, :-1]):
            with pytest.raises(ValueError, match="queries, of a split that has 400"):
                unpack(to_npz(arrays | {name: wrong}), run.record, {}, table)


def test_other_bytes_are_no_table():
    (run,) = of_one_split(1)
    arrays = from_npz(SplitDraft(run).table().content)
    del arrays["test_weight"]
    with pytest.raises(KeyError):
        SplitTable.read("toy", to_npz(arrays))
