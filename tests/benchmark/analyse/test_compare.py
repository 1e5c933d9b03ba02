"""Two folders side by side."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.analyse.compare import COLUMNS, compare_runs
from benchmark.analyse.rules import RULES
from benchmark.errors import InputError
from benchmark.runs.runset import RunSet
from benchmark.runs.store import Store
from tests.benchmark.results import HASHES, draw_above, failed_result, make_result, make_spec

QUICK = replace(RULES, resamples=400)


def fill(store: Store, model: str, quality: float, start: int, **fields) -> None:
    for seed in range(6):
        rng = np.random.default_rng(start + seed)
        store.write(make_result(make_spec(model), seed, draw_above(rng, 300, quality), **fields))


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Store, Store]:
    a, b = Store(tmp_path / "a"), Store(tmp_path / "b")
    fill(a, "Same", 1.0, 0)
    fill(b, "Same", 1.0, 0)
    fill(a, "Better", 1.0, 0)
    fill(b, "Better", 3.0, 100)
    fill(a, "Gone", 1.0, 0)
    fill(b, "New", 1.0, 0)
    fill(a, "Moved", 1.0, 0)
    fill(b, "Moved", 1.0, 0, hashes=HASHES.model_copy(update={"data": "other"}))
    a.write(failed_result(make_spec("Same"), 6))
    return a, b


def test_differences_and_their_reasons(stores):
    frame = compare_runs(*map(RunSet, stores), metrics=["NDCG@10"], rules=QUICK)
    assert tuple(frame.columns) == COLUMNS
    assert set(frame["protocol"]) == {"kept", "left out"}
    frame = frame.query("protocol == 'kept'").set_index("model")
    same, better = frame.loc["Same"], frame.loc["Better"]
    assert same["difference"] == 0
    assert same["low"] < 0 < same["high"]
    assert better["difference"] > better["low"] > 0
    assert better["p"] < 0.05
    assert (same["n_a"], same["n_b"]) == (6, 6), "the failed run is not among them"
    assert frame.loc["Gone", "note"] == "no finished run in the second folder"
    assert frame.loc["New", "note"] == "no finished run in the first folder"
    assert frame.loc["Moved", "note"].startswith("other data")
    assert frame.loc[["Gone", "New", "Moved"], "difference"].isna().all()
    assert frame.loc["Gone", "mean_a"] > 0


def test_rows_on_other_users_are_named_and_hide_no_others(stores):
    a, b = stores
    for seed, users in ((6, 299), (7, 300)):
        above = draw_above(np.random.default_rng(seed), users)
        a.write(make_result(make_spec("Better"), seed, above))
    lines = compare_runs(RunSet(a), RunSet(b), metrics=["NDCG@10"], rules=QUICK)
    odd = lines[lines["model"] == "Better"]
    assert (odd["note"] == "other numbers of users").all()
    assert odd["difference"].isna().all()
    assert odd["mean_a"].notna().all()
    assert lines.loc[lines["model"] == "Same", "difference"].eq(0).all()


def test_nothing_to_compare(tmp_path):
    with pytest.raises(InputError, match="neither"):
        compare_runs(RunSet(Store(tmp_path / "a")), RunSet(Store(tmp_path / "b")))
