"""The store under damage, kills, crowds and full disks."""

import dataclasses
import hashlib
import json
import multiprocessing
import os
import random
import resource
import signal
import stat
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import InputError
from benchmark.runs.promote import promote
from benchmark.runs.schema import RunResult
from benchmark.runs.spec import slug
from benchmark.runs.store import DamagedRun, FinishedRunKept, Store
from tests.benchmark.results import (
    HASHES,
    draw_above,
    failed_result,
    make_record,
    make_result,
    make_spec,
    with_ranks,
)

ABOVE = draw_above(np.random.default_rng(0), 50)
RANK_FIELDS = ("above", "equal", "above_masked", "equal_masked", "n_candidates_masked")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def test_round_trip(store):
    spec = make_spec("SASRec (MM)", variant="lambda=0.01", config={"layers": 2, "rate": 1e-3})
    rng = np.random.default_rng(1)
    written = make_result(spec, 7, draw_above(rng, 300), top=50)
    written.test.above_masked[:] -= np.minimum(written.test.above, 2)
    optional = {
        "top_masked": written.test.top[:, ::-1].copy(),
        "user": np.sort(rng.integers(0, 250, 300)).astype(np.int32),
        "popularity": rng.integers(0, 100_000, (6, 300)).astype(np.int32),
        "lowered": rng.integers(0, 4, (300, 7)).astype(np.int32),
    }
    written = dataclasses.replace(written, test=dataclasses.replace(written.test, **optional))
    path = store.write(written)
    assert path.relative_to(store.root).as_posix() == "quick/toy/sasrec-mm/lambda=0.01/seed-7.json"
    read = store.read(spec.key, 7)
    for split in ("validation", "test"):
        before, after = getattr(written, split), getattr(read, split)
        assert before.n_items == after.n_items
        for field in (*RANK_FIELDS, "top", *optional):
            if getattr(before, field) is None:
                assert getattr(after, field) is None, field
                continue
            assert np.array_equal(getattr(before, field), getattr(after, field)), field
            assert getattr(after, field).dtype == np.int32
    assert np.array_equal(read.length, written.length)
    assert read.record.spec == spec
    assert read.record.model_copy(update={"arrays_sha256": None, "sha256": ""}) == written.record
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [p.name for p in sorted(path.parent.iterdir())] == ["seed-7.json", "seed-7.npz"]


def test_status_of_missing_complete_failed_and_stale(store):
    spec = make_spec()
    assert store.status(spec.key, 0).status == "missing"
    store.write(make_result(spec, 0, ABOVE))
    store.write(failed_result(spec, 1))
    assert store.status(spec.key, 0, HASHES).status == "complete"
    failed = store.status(spec.key, 1, HASHES)
    assert (failed.status, failed.problem) == ("failed", "loss is NaN at step 3")
    changed = HASHES.model_copy(update={"code": "other", "data": "other"})
    stale = store.status(spec.key, 0, changed)
    assert (stale.status, stale.problem) == (
        "stale",
        "made with other code and other data (bundle toy)",
    )
    assert store.status(spec.key, 0).status == "complete", "results from elsewhere are not judged"


def test_failed_run_has_no_ranks_and_takes_damaged_ones_away(store):
    spec = make_spec()
    path = store.write(make_result(spec, 0, ABOVE))
    path.write_bytes(path.read_bytes()[:-1])
    store.write(failed_result(spec, 0))
    assert not path.with_suffix(".npz").exists()
    assert store.read(spec.key, 0).test is None
    store.write(make_result(spec, 0, ABOVE))
    assert store.status(spec.key, 0).status == "complete"


def test_failed_run_never_replaces_a_finished_one(store):
    """Be the finished one of the same identity or stale."""
    spec = make_spec()
    path = store.write(make_result(spec, 0, ABOVE))
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    other = make_record(
        spec, 0, status="failed", message="no", hashes=HASHES.model_copy(update={"code": "other"})
    )
    for failed in (failed_result(spec, 0), RunResult(other)):
        with pytest.raises(FinishedRunKept, match=r"seed-0\.json: the finished run is kept"):
            store.write(failed)
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before
    store.write(failed_result(spec, 1, "first"))
    store.write(failed_result(spec, 1, "second"))
    assert store.read(spec.key, 1).record.message == "second"


def test_incomplete_results_cannot_be_made():
    with pytest.raises(ValueError, match="needs the ranks"):
        RunResult(make_record(make_spec(), 0))
    with pytest.raises(ValueError, match="says why"):
        failed_result(make_spec(), 0, message="")


def test_diverged_curves_survive(store):
    spec = make_spec()
    curves = {"loss_steps": [1, 2], "losses": {"recommendation": [7.0, float("nan")]}}
    store.write(RunResult(make_record(spec, 0, status="failed", message="NaN", curves=curves)))
    assert np.isnan(store.read(spec.key, 0).record.curves.losses["recommendation"][1])


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_any_damaged_byte_is_caught(store, suffix):
    """A flipped bit anywhere, half a file, an empty file: named, and never read as complete."""
    spec = make_spec()
    path = store.write(make_result(spec, 0, ABOVE)).with_suffix(suffix)
    whole = path.read_bytes()
    places = [0, len(whole) // 3, len(whole) - 1]
    if suffix == ".json":
        places += [whole.index(b"arrays_sha256") + 20, whole.index(b'"seed": 0') + 8]
    damaged = [whole[:p] + bytes([whole[p] ^ 1]) + whole[p + 1 :] for p in places]
    for data in [*damaged, whole[: len(whole) // 2], b""]:
        path.write_bytes(data)
        with pytest.raises(DamagedRun, match=path.name):
            store.read(spec.key, 0)
        found = store.status(spec.key, 0)
        assert found.status == "damaged"
        assert str(path) in found.problem
        assert [run.status for run in store.scan()] == ["damaged"]
    path.write_bytes(whole)
    assert store.status(spec.key, 0).status == "complete"


def test_ranks_that_went_missing_are_damage(store):
    spec = make_spec()
    store.write(make_result(spec, 0, ABOVE)).with_suffix(".npz").unlink()
    assert "seed-0.npz" in store.status(spec.key, 0).problem


def test_run_in_another_runs_place_is_damage(store):
    spec = make_spec()
    path = store.write(make_result(spec, 0, ABOVE))
    for suffix in (".json", ".npz"):
        path.with_suffix(suffix).rename(path.with_name(f"seed-1{suffix}"))
    assert store.status(spec.key, 1).status == "damaged"
    assert [run.status for run in store.scan()] == ["damaged"]


def test_names_with_one_file_name_do_not_overwrite_each_other(store):
    store.write(make_result(make_spec("SASRec (MM)"), 0, ABOVE))
    with pytest.raises(InputError, match="same file name"):
        store.write(make_result(make_spec("SASRec-MM"), 0, ABOVE))


def test_newer_schema_is_refused(store):
    path = store.write(make_result(make_spec(), 0, ABOVE))
    fields = json.loads(path.read_text()) | {"schema_version": 99, "a_later_field": 1}
    del fields["sha256"]
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(fields | {"sha256": digest}))
    with pytest.raises(InputError, match="update the program"):
        store.read(make_spec().key, 0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("SASRec (MM)", "sasrec-mm"), ("lambda=0.01", "lambda=0.01"), ("../../etc", "etc")],
)
def test_slug(name, expected):
    assert slug(name) == expected


def test_slug_of_nothing():
    with pytest.raises(InputError, match="no letter or digit"):
        slug("../..")


def test_scan_lists_every_run_in_order(store):
    for model in ("SASRec", "GRU4Rec"):
        for seed in (0, 1):
            store.write(make_result(make_spec(model), seed, ABOVE))
    store.write(failed_result(make_spec("BERT4Rec"), 0))
    runs = list(store.scan())
    assert [(r.record.spec.model, r.record.seed, r.status) for r in runs] == [
        ("BERT4Rec", 0, "failed"),
        ("GRU4Rec", 0, "complete"),
        ("GRU4Rec", 1, "complete"),
        ("SASRec", 0, "complete"),
        ("SASRec", 1, "complete"),
    ]


def test_a_folder_on_another_disk_is_seen(store, tmp_path):
    """A link to a folder is followed, one that leads back is not."""
    store.write(make_result(make_spec(), 0, ABOVE))
    (tmp_path / "big").mkdir()
    (store.root / "quick").rename(tmp_path / "big" / "quick")
    (store.root / "quick").symlink_to(tmp_path / "big" / "quick")
    (tmp_path / "big" / "quick" / "back").symlink_to(store.root)
    (run,) = store.scan()
    assert run.status == "complete"


# ---------------------------------------------------------------- references


def test_promote_drops_top_lists_and_passes_over_failures(store, tmp_path):
    reference = Store(tmp_path / "reference")
    spec = make_spec()
    store.write(make_result(spec, 0, ABOVE, top=50))
    store.write(failed_result(spec, 1))
    assert list(promote(store, reference).values()) == ["added"]
    assert [run.status for run in reference.scan()] == ["complete"]
    assert reference.read(spec.key, 0).test.top is None
    assert np.array_equal(reference.read(spec.key, 0).test.above, ABOVE)
    assert store.read(spec.key, 0).test.top is not None, "the run itself stays as it is"
    assert list(promote(store, reference).values()) == ["unchanged"]
    store.write(make_result(spec, 0, ABOVE + 1))
    assert list(promote(store, reference).values()) == ["replaced"]
    assert list(promote(store, reference, keep_top=True, profile="quick").values()) == ["unchanged"]


@pytest.mark.parametrize("several", [False, True])
def test_promote_drops_side_counts(store, tmp_path, several):
    """Popularity is kept of the first seed, lowered scores of all, unless a user has several test
    targets; ranks are never touched."""
    made = {seed: with_ranks(several, seed) for seed in (3, 1, 2)}
    for run in made.values():
        store.write(run)
    reference = Store(tmp_path / "reference")
    promote(store, reference)
    for seed, run in made.items():
        kept = reference.read(run.record.spec.key, seed)
        assert (kept.test.popularity is None) == (several or seed != 1)
        for split in ("validation", "test"):
            before, after = getattr(run, split), getattr(kept, split)
            assert (after.lowered is None) == several
            for field in (*RANK_FIELDS, *(["user"] if several else ["lowered"])):
                np.testing.assert_array_equal(getattr(after, field), getattr(before, field), field)
    assert set(promote(store, reference).values()) == {"unchanged"}


def test_side_counts_are_kept_of_the_named_datasets_alone(store, tmp_path):
    """`ci` serves the regression check, and Beauty 5-core a comparison of scores."""
    for dataset in ("toy", "other"):
        run = with_ranks(several_a_user=False)
        spec = make_spec(dataset=dataset)
        record = run.record.model_copy(update={"spec": spec})
        store.write(replace(run, record=record))
    reference = Store(tmp_path / "reference")
    promote(store, reference, side_counts_of=["toy"])
    for dataset, kept in (("toy", True), ("other", False)):
        test = reference.read(make_spec(dataset=dataset).key, 0).test
        assert (test.popularity is not None) == (test.lowered is not None) == kept
        assert np.array_equal(test.above, run.test.above)
    assert set(promote(store, reference, side_counts_of=["toy"]).values()) == {"unchanged"}


def test_records_of_references_have_no_blanks(store, tmp_path):
    """They say the same, under the same hash."""
    path = store.write(make_result(make_spec(), 0, ABOVE))
    reference = Store(tmp_path / "reference")
    promote(store, reference)
    there = reference.path(make_spec().key, 0).read_bytes()
    assert b"\n" not in there
    assert b": " not in there
    own, other = (json.loads(text) for text in (path.read_bytes(), there))
    different = {"arrays_sha256", "split_sha256", "sha256"}  # the ranks are packed more densely
    assert {k: v for k, v in own.items() if k not in different} == {
        k: v for k, v in other.items() if k not in different
    }


def test_promote_refuses_damage_before_it_writes(store, tmp_path):
    store.write(make_result(make_spec(), 0, ABOVE))
    path = store.write(make_result(make_spec(), 1, ABOVE))
    path.with_suffix(".npz").write_bytes(b"")
    with pytest.raises(InputError, match=r"nothing was promoted.*seed-1\.npz"):
        promote(store, Store(tmp_path / "reference"))
    assert not (tmp_path / "reference").exists()


def test_promote_is_not_stopped_by_another_profiles_damage(store, tmp_path):
    store.write(make_result(make_spec(), 0, ABOVE))
    damaged = store.root / "rolling" / "toy" / "sasrec" / "base" / "seed-0.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{}")
    assert list(promote(store, Store(tmp_path / "r"), profile="quick").values()) == ["added"]
    with pytest.raises(InputError, match="nothing was promoted"):
        promote(store, Store(tmp_path / "r"))


def test_promote_of_nothing_says_so(store, tmp_path):
    with pytest.raises(InputError, match="no finished run"):
        promote(store, Store(tmp_path / "reference"))


# ---------------------------------------------------------------- folders that take nothing


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(
        InputError, match=r"runs: a file stands where a folder .*choose another folder"
    ):
        Store(tmp_path / "runs").write(make_result(make_spec(), 0, ABOVE))


def _write_in_child(folder: Path, prepare: Callable[[], None]) -> str:
    """The error of a write in a child process that `prepare` has put under a limit."""

    def child() -> None:
        prepare()
        try:
            Store(folder).write(make_result(make_spec(), 0, np.arange(5_000) % 499))
        except InputError as error:
            sender.send(str(error))

    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(30)
    return receiver.recv() if receiver.poll() else "no error"


def test_disk_that_fills_up_leaves_nothing_behind(tmp_path):
    """A limit on file size stops the write half-way, as a full disk does."""
    folder = tmp_path / "runs"
    limit = (100, 100)
    error = _write_in_child(folder, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    assert error.startswith(f"{folder}/quick/toy/sasrec/base: no space left to write")
    assert [path.name for path in folder.rglob("*") if path.is_file()] == [".lock"]


def test_read_only_folder():
    """As an ordinary user, since a superuser may write anywhere."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        nobody = 65534 if os.geteuid() == 0 else os.geteuid()
        error = _write_in_child(Path(name), lambda: os.seteuid(nobody))
    assert (
        "cannot be written (Permission denied); change its permissions, or choose another" in error
    )


# ---------------------------------------------------------------- kills and crowds


def _write_forever(root: Path, seed: int, rounds: int | None) -> None:
    """Runs whose every rank equals the number of the round, so that a mixture is seen."""
    store, spec = Store(root), make_spec()
    number = 0
    while rounds is None or number < rounds:
        number += 1
        above = np.full(2_000, number % 499)
        store.write(make_result(spec, seed, above, message=str(number % 499)))


def test_kill_at_any_moment_leaves_no_wrong_run(tmp_path):
    """SIGKILL after a random time, 12 times over. Whatever reads as complete must be one whole
    write: every rank equal to the number in its own record."""
    context = multiprocessing.get_context("fork")
    rng = random.Random(0)
    store, seen = Store(tmp_path), []
    for _ in range(12):
        process = context.Process(target=_write_forever, args=(tmp_path, 0, None))
        process.start()
        time.sleep(0.05 + 0.2 * rng.random())
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        found = store.status(make_spec().key, 0)
        seen.append(found.status)
        if found.status == "complete":
            result = store.read(make_spec().key, 0)
            assert (result.test.above == int(result.record.message)).all()
    assert "complete" in seen, "the loop was never quick enough to finish a write"
    assert set(seen) <= {"complete", "damaged", "missing"}
    store.write(make_result(make_spec(), 0, ABOVE))
    assert store.status(make_spec().key, 0).status == "complete"
    assert len(list(store.path(make_spec().key, 0).parent.iterdir())) == 2, "leftovers are cleared"


def test_concurrent_writers_of_one_run_end_whole(tmp_path):
    """Three processes write the same run while this one reads: never damage, never a mixture."""
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_forever, args=(tmp_path, 0, 25)) for _ in range(3)]
    for writer in writers:
        writer.start()
    store = Store(tmp_path)
    reads = 0
    while any(writer.is_alive() for writer in writers):
        found = store.status(make_spec().key, 0)
        assert found.status in ("complete", "missing"), found.problem
        reads += found.status == "complete"
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert reads > 0
    result = store.read(make_spec().key, 0)
    assert (result.test.above == int(result.record.message)).all()


# ---------------------------------------------------------------- artefacts


def with_snapshot(seed=0, **arrays):
    spec = make_spec(protocol={"snapshot": True})
    arrays = arrays or {"states": np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)}
    made = make_result(make_spec(), seed, np.arange(5))
    return replace(made, record=make_record(spec, seed), artefacts={"snapshot": arrays})


def test_artefacts_come_back_to_the_bit_and_are_hashed(store):
    made = with_snapshot()
    path = store.write(made)
    read = store.read(made.record.spec.key, 0)
    found, expected = read.artefacts["snapshot"]["states"], made.artefacts["snapshot"]["states"]
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    file = path.with_suffix(".snapshot.npz")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert read.record.artefacts_sha256 == {"snapshot": digest}
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    (stored,) = store.scan()
    assert stored.status == "damaged"
    assert str(file) in stored.problem
    file.unlink()
    assert store.status(made.record.spec.key, 0).status == "damaged"


def test_a_run_without_artefacts_leaves_none_of_the_run_before(store):
    path = store.write(with_snapshot())
    store.write(with_snapshot(seed=1))
    store.write(make_result(make_spec(), 0, ABOVE))
    assert sorted(file.name for file in path.parent.glob("seed-*")) == [
        "seed-0.json",
        "seed-0.npz",
        "seed-1.json",
        "seed-1.npz",
        "seed-1.snapshot.npz",
    ]


def test_promoted_runs_keep_their_artefacts(store, tmp_path):
    target = Store(tmp_path / "reference")
    store.write(with_snapshot())
    assert list(promote(store, target).values()) == ["added"]
    assert list(promote(store, target).values()) == ["unchanged"]
    other = with_snapshot(states=np.zeros(2, np.float32))
    store.write(other)
    assert list(promote(store, target).values()) == ["replaced"]
    read = target.read(other.record.spec.key, 0).artefacts["snapshot"]["states"]
    np.testing.assert_array_equal(read, np.zeros(2))


def test_a_finished_run_has_the_snapshot_that_it_was_asked_for():
    with pytest.raises(ValueError, match="asks for a snapshot"):
        replace(with_snapshot(), artefacts={})
