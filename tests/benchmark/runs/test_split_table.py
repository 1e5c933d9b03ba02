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
    """Runs of the same users and histories, whose ranks and top lists are drawn anew."""
    base = with_ranks(several, users=users)
    made = []
    for seed in range(first, first + count):
        drawn = with_ranks(several, 100 + seed).test
        own = {
            name: getattr(drawn, name)
            for name in ("above", "equal", "above_masked", "equal_masked", "popularity", "lowered")
        }
        top = np.random.default_rng(seed).integers(1, 500, (len(base.test), 5)).astype(np.int32)
        ranks = replace(base.test, **own, top=top, top_masked=top[::-1])
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
            dropped = [name for name in ("lowered", "popularity") if getattr(after, name) is None]
            # of one target a user all is kept, but the sums of test targets of later seeds
            later = ["popularity"] if number and split == "test" else []
            assert dropped == (["lowered", "popularity"] if several else later)
            assert_same_ranks(replace(before, **dict.fromkeys(dropped)), after)
            np.testing.assert_array_equal(after.top, before.top)
            np.testing.assert_array_equal(after.top_masked, before.top_masked)
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
    other = Store(store.root)
    stored = other.status(make_spec().key, 0)
    assert stored.status == "damaged"
    assert name in stored.problem
    assert "restore it" in stored.problem
    if damage != "gone":
        with pytest.raises(InputError, match=rf"{name}: not the table of a split .*restore it"):
            promote(runs, Store(store.root))
    path.write_bytes(whole)
    assert other.status(make_spec().key, 0).status == "complete"


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
    assert {name.rpartition("-")[0] for name in tables(store)} == set(names)
    assert set(promote(runs, Store(store.root)).values()) == {"unchanged"}


@pytest.mark.parametrize("keep_top", [True, False])
def test_an_exported_reference_stands_alone(reference, tmp_path, keep_top):
    """It leaves its store, and the table with it."""
    runs, store = reference
    promote(runs, store, keep_top=True)
    export_runs(store, tmp_path / "references.zip", keep_top=keep_top)
    there = Store(tmp_path / "there")
    import_runs([tmp_path / "references.zip"], there, lambda record: "")
    assert not there.split_tables.folder.exists()
    for seed in range(3):
        before, after = (s.read(make_spec().key, seed) for s in (store, there))
        assert after.record.split_sha256 is None
        assert_same_ranks(before.test, after.test)
        assert (after.test.top is not None) == (after.test.top_masked is not None) == keep_top
        if keep_top:
            np.testing.assert_array_equal(after.test.top, before.test.top)


@pytest.mark.parametrize("known", [False, True])
def test_a_run_that_is_trained_anew_while_it_is_promoted_is_named(tmp_path, known):
    """On another split: whether its old one had a table already or was to get one."""
    (run,) = of_one_split(1)
    target = Store(tmp_path / "reference")

    class Busy(Store):
        def scan(self):
            yield from super().scan()
            other = with_ranks(several_a_user=True, seed=50)
            self.write(replace(other, record=run.record))

    runs = Busy(tmp_path / "runs")
    runs.write(run)
    if known:
        promote(Store(runs.root), target)
    with pytest.raises(InputError, match=r"seed-0\.json changed while it was promoted"):
        promote(runs, target)


def test_a_table_that_another_promotion_drops_meanwhile_is_put_back(reference):
    runs, store = reference
    (later,) = of_one_split(1, first=3)
    runs.write(later)
    (name,) = tables(store)

    class Dropped(Store):
        def scan(self):
            yield from super().scan()
            (store.split_tables.folder / name).unlink()

    promote(Dropped(runs.root), Store(store.root))
    assert tables(store) == [name]
    assert all(run.status == "complete" for run in Store(store.root).scan())


def test_what_a_killed_promotion_left_goes_with_the_next(reference):
    runs, store = reference
    (name,) = tables(store)
    store.split_tables.add(SplitDraft(with_ranks(several_a_user=True, seed=50)).table())
    assert len(tables(store)) == 2
    assert set(promote(runs, store).values()) == {"unchanged"}
    assert tables(store) == [name]


def test_damaged_tables_that_are_not_needed_stop_nothing(reference):
    """Whether they lie before or after the one that is."""
    runs, store = reference
    for digest in ("0" * 64, "f" * 64):
        store.split_tables.path("toy", digest).write_bytes(b"")
    assert set(promote(runs, Store(store.root)).values()) == {"unchanged"}


def test_a_table_of_another_split_is_refused(reference):
    runs, store = reference
    other = SplitDraft(with_ranks(several_a_user=True, seed=50)).table()
    with pytest.raises(ValueError, match="another split"):
        store.write(runs.read(make_spec().key, 0), other)


def test_what_runs_share_cannot_be_written_to(reference):
    _, store = reference
    one, other = (store.read(make_spec().key, seed) for seed in (0, 1))
    assert one.length is other.length
    for shared in (one.length, one.test.user, one.test.n_candidates_masked):
        with pytest.raises(ValueError, match="read-only"):
            shared[0] = 1


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
