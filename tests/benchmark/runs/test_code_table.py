"""Records of references share the list of files of their code; nothing but that leaves them."""

import json

import numpy as np
import pytest

from benchmark.errors import InputError
from benchmark.runs.code_table import NAME
from benchmark.runs.exchange import export_runs, import_runs
from benchmark.runs.identity import identity
from benchmark.runs.promote import promote
from benchmark.runs.schema import Hashes
from benchmark.runs.store import Store
from tests.benchmark.results import draw_above, make_result, make_spec

ABOVE = draw_above(np.random.default_rng(0), 50)
OLD = Hashes(config="config", code="old", data="data", files={"a.py": "1", "b.py": "2"})
NEW = Hashes(config="config", code="new", data="data", files={"a.py": "1", "b.py": "3"})


def made(seed, hashes):
    name = identity(hashes, seed)
    return make_result(make_spec(), seed, ABOVE, hashes=hashes, identity=name)


@pytest.fixture
def reference(tmp_path):
    """Two seeds of one code and one of another, promoted."""
    runs, reference = Store(tmp_path / "runs"), Store(tmp_path / "reference")
    for seed, hashes in enumerate((OLD, OLD, NEW)):
        runs.write(made(seed, hashes))
    assert set(promote(runs, reference).values()) == {"added"}
    return runs, reference


def test_a_code_has_its_files_in_one_place_and_every_record_is_read_with_them(reference):
    runs, store = reference
    table = json.loads((store.root / NAME).read_text())
    assert table == {"old": OLD.files, "new": NEW.files}
    for seed, hashes in enumerate((OLD, OLD, NEW)):
        path = store.path(make_spec().key, seed)
        assert json.loads(path.read_text())["hashes"]["files"] == {}
        assert store.read(make_spec().key, seed).record.hashes == hashes
        assert Store(store.root).at(path).record.hashes == hashes
        own = runs.path(make_spec().key, seed)
        assert json.loads(own.read_text())["hashes"]["files"] == hashes.files  # runs have their own
    assert set(promote(runs, store).values()) == {"unchanged"}


def test_a_stale_reference_names_the_file_that_changed(reference):
    _, store = reference
    stale = store.status(make_spec().key, 0, NEW)
    assert stale.status == "stale"
    assert stale.problem == "made with other code (b.py)"


def test_without_the_table_runs_stand_and_promoting_brings_it_back(reference):
    runs, store = reference
    table = store.root / NAME
    wanted = table.read_bytes()
    table.unlink()
    assert store.status(make_spec().key, 0, OLD).status == "complete"
    assert store.status(make_spec().key, 0, NEW).problem == "made with other code"
    done = promote(runs, store)  # the first run of each code brings its files back for the others
    assert list(done.values()) == ["replaced", "unchanged", "replaced"]
    assert table.read_bytes() == wanted
    assert store.read(make_spec().key, 0).record.hashes == OLD


@pytest.mark.parametrize(
    "damage",
    [b"", b"[]", b'{"old": 3}', b'{"old": {"a.py": 3}}', b"<<<<<<< HEAD\n{", b"\xff", b"[" * 10**5],
)
def test_a_damaged_table_is_named_and_not_written_over(reference, damage):
    """A mark of a merge in it must not cost what it holds; reading runs does without it."""
    runs, store = reference
    table = store.root / NAME
    table.write_bytes(damage)
    assert store.status(make_spec().key, 0, OLD).status == "complete"
    assert store.status(make_spec().key, 0, NEW).problem == "made with other code"
    with pytest.raises(InputError, match=rf"{NAME}: no table of source files .*restore it"):
        promote(runs, store)
    assert table.read_bytes() == damage


def test_codes_that_no_run_has_any_more_leave_the_table(reference):
    runs, store = reference
    for seed in (0, 1):
        runs.write(made(seed, NEW))
    assert list(promote(runs, store).values()) == ["replaced", "replaced", "unchanged"]
    assert json.loads((store.root / NAME).read_text()) == {"new": NEW.files}


def test_codes_stay_while_a_record_cannot_be_read(reference):
    """And promoting still says what it has done."""
    runs, store = reference
    for name, text in (("seed-7", "{"), ("seed-8", '{"schema_version": 99, "sha256": ""}')):
        other = store.root / "quick" / "toy" / "other" / "base" / f"{name}.json"
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_text(text)
        runs.write(made(0, NEW if name == "seed-7" else OLD))
        assert list(promote(runs, store).values()) == ["replaced", "unchanged", "unchanged"]
        assert json.loads((store.root / NAME).read_text()).keys() == {"old", "new"}


@pytest.mark.parametrize("keep_top", [True, False])
def test_an_exported_reference_has_its_files_with_it(reference, tmp_path, keep_top):
    """It leaves its store, and the table with it."""
    _, store = reference
    export_runs(store, tmp_path / "references.zip", keep_top=keep_top)
    there = Store(tmp_path / "there")
    import_runs([tmp_path / "references.zip"], there, lambda record: "")
    for seed, hashes in enumerate((OLD, OLD, NEW)):
        assert there.read(make_spec().key, seed).record.hashes == hashes


def test_a_table_of_another_writer_is_seen(reference):
    runs, store = reference
    later = Hashes(config="config", code="later", data="data", files={"c.py": "4"})
    store.read(make_spec().key, 0)
    runs.write(made(3, later))
    promote(runs, Store(store.root))
    assert store.read(make_spec().key, 3).record.hashes == later
