"""A run's arrays in their file: any ranks come back, earlier schemas are read, nonsense is not."""

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.runs.arrays import pack, unpack
from benchmark.runs.npz import UNREADABLE, from_npz, to_npz
from benchmark.runs.ranks import Ranks
from benchmark.runs.schema import SCHEMA_VERSION, RunResult
from benchmark.runs.store import Store
from tests.benchmark.results import draw_above, make_record, make_result, make_spec, with_ranks

ABOVE = draw_above(np.random.default_rng(0), 50)
RANK_FIELDS = ("above", "equal", "above_masked", "equal_masked", "n_candidates_masked")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("users", [None, 17, 500, 0])
@pytest.mark.parametrize("seed", range(3))
def test_any_ranks_come_back_to_the_number(store, several, users, seed):
    """Whether the lengths are of the split's users or of others (one moment for all users)."""
    made = with_ranks(several, seed, users=users)
    store.write(made)
    read = store.read(made.record.spec.key, seed)
    assert_same_ranks(made.test, read.test)
    np.testing.assert_array_equal(read.length, made.length)


@pytest.mark.parametrize("items", [1, 256, 257, 65_536, 65_537, 2**31 - 1])
def test_ranks_at_the_edges_of_their_bytes_come_back(store, items):
    """Of the first item to the last, in one, two or four rows of bytes."""
    above = np.array([items - 1, 0, items // 2, items - 1], np.int32)
    left_out = np.array([0, 0, items // 3, items - 1], np.int32)
    equal = np.zeros(4, np.int32)
    ranks = Ranks(above, equal, left_out, equal, np.full(4, items, np.int32), items)
    store.write(RunResult(make_record(make_spec(), 0), ranks, ranks, np.array([5, 9, 2, 2])))
    assert_same_ranks(ranks, store.read(make_spec().key, 0).test)
    with np.load(store.path(make_spec().key, 0).with_suffix(".npz")) as stored:
        rows = {1: 1, 256: 1, 257: 2, 65_536: 2}.get(items, 4)
        assert stored["test_above"].shape == (rows, 4)
        assert stored["test_above"].dtype == np.uint8


def test_counts_that_are_no_rows_of_bytes_are_damage():
    result = make_result(make_spec(), 0, ABOVE)
    arrays = from_npz(pack(result))
    for name in ("test_above", "validation_history_above"):
        own = arrays[name]
        for wrong in (own[0], own[:0], np.repeat(own, 5, axis=0), own + np.int32(256)):
            with pytest.raises(ValueError, match="no rows of bytes"):
                unpack(to_npz(arrays | {name: wrong}), result.record, {})


def test_histories_of_users_who_repeat_nothing_take_no_space(store):
    """One query a user, or several in the order of time: the same number throughout."""
    length = np.arange(5, 65, dtype=np.int32)
    user = np.repeat(np.arange(60), 3).astype(np.int32)
    history = np.repeat(length, 3) - np.tile([3, 2, 1], 60)
    above = np.zeros(180, np.int32)
    ranks = Ranks(above, above, above, above, (500 - history).astype(np.int32), 500, user=user)
    store.write(RunResult(make_record(make_spec(), 0), ranks, ranks, length))
    with np.load(store.path(make_spec().key, 0).with_suffix(".npz")) as stored:
        assert set(stored["test_history"][3:].tolist()) == {-1, 3}
        assert "test_equal" not in stored, "0 throughout is left out"


def assert_same_ranks(before, after):
    assert before.n_items == after.n_items
    for field in (*RANK_FIELDS, "user", "popularity", "lowered"):
        expected, found = getattr(before, field), getattr(after, field)
        if expected is None:
            assert found is None, field
            continue
        np.testing.assert_array_equal(found, expected, err_msg=field)
        assert found.dtype == np.int32, field


def write_in_schema(store, made, schema):
    """The run in files of an earlier schema. Those of the third have histories, users and
    popularity as they are, not as differences; those of the fourth have as differences what the
    histories hold, not what they lack; the fifth has counts above as plain numbers."""
    path = store.write(made)
    ranks = made.test
    own = {
        "items": ranks.n_items,
        "above": ranks.above,
        "equal": ranks.equal,
        "history_above": ranks.above - ranks.above_masked,
        "history_equal": ranks.equal - ranks.equal_masked,
        "history": ranks.n_items - ranks.n_candidates_masked,
        "popularity": ranks.popularity.copy(),
        "lowered": ranks.lowered,
    } | ({"user": ranks.user} if ranks.user is not None else {})
    if schema >= 5:
        first = np.arange(len(ranks)) if ranks.user is None else ranks.user
        own["history"] = made.length[np.unique(first, return_inverse=True)[1]] - own["history"]
    if schema >= 4:
        own["popularity"][3:] = own["popularity"][:3] - own["popularity"][3:]
        if ranks.user is not None:
            same = np.diff(ranks.user, prepend=-1) == 0
            own["history"] = own["history"] - np.where(same, np.roll(own["history"], 1), 0)
            own["user"] = np.diff(ranks.user, prepend=0)
    arrays = {f"{split}_{name}": own[name] for split in ("validation", "test") for name in own}
    np.savez_compressed(path.with_suffix(".npz"), length=made.length, **arrays)
    digest = hashlib.sha256(path.with_suffix(".npz").read_bytes()).hexdigest()
    fields = json.loads(path.read_text()) | {"schema_version": schema, "arrays_sha256": digest}
    del fields["sha256"]
    if schema == 1:
        del fields["traceback"]
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(fields | {"sha256": digest}))


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("schema", [3, 4, 5])
def test_runs_of_earlier_schemas_are_read(store, several, schema):
    made = with_ranks(several)
    write_in_schema(store, made, schema)
    assert_same_ranks(made.test, store.read(made.record.spec.key, 0).test)


def test_records_of_the_first_schema_are_read(store):
    """They have no traceback; written again, as by promote, they are of the schema of today."""
    made = with_ranks(several_a_user=False)
    write_in_schema(store, made, 1)
    key = made.record.spec.key
    result = store.read(key, 0)
    assert (result.record.schema_version, result.record.traceback) == (1, "")
    store.write(result)
    assert store.read(key, 0).record.schema_version == SCHEMA_VERSION
    assert_same_ranks(made.test, store.read(key, 0).test)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"above": -ABOVE - 1}, "outside the catalogue"),
        ({"above": ABOVE + 10_000}, "outside the catalogue"),
        ({"equal": ABOVE * 0 - 1}, "outside the catalogue"),
        ({"above_masked": ABOVE + 1}, "get worse|outside the catalogue"),
    ],
)
def test_ranks_that_no_ranking_gives_are_damage(change, why):
    """A checksum says that a file is whole, not that its maker was right."""
    result = make_result(make_spec(), 0, ABOVE)
    wrong = replace(result, test=replace(result.test, **change))
    with pytest.raises(ValueError, match=why):
        unpack(pack(wrong), result.record, {})


def test_ranks_with_halves_are_damage():
    result = make_result(make_spec(), 0, ABOVE)
    arrays = from_npz(pack(result))
    for name in ("test_above", "length"):
        halves = to_npz(arrays | {name: arrays[name] + 0.5})
        with pytest.raises(ValueError, match=f"{name} holds no whole numbers"):
            unpack(halves, result.record, {})


@pytest.mark.parametrize("fault", ["stream", "encrypted", "method"])
def test_arrays_that_zipfile_cannot_read_are_damage(fault):
    """What the zip's own reader raises is one of `UNREADABLE`."""
    data = bytearray(pack(make_result(make_spec(), 0, ABOVE)))
    for header in re.finditer(rb"PK\x03\x04|PK\x01\x02", bytes(data)):
        flags = header.start() + (6 if header[0] == b"PK\x03\x04" else 8)
        if fault == "encrypted":
            data[flags] |= 1
        elif fault == "method":
            data[flags + 2] = 97
    if fault == "stream":
        length, extra = (int.from_bytes(data[at : at + 2], "little") for at in (26, 28))
        data[30 + length + extra] = 0xFF  # a block of a kind that deflate lacks
    with pytest.raises(UNREADABLE):
        from_npz(bytes(data))
