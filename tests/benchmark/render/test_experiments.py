"""The tables of experiments beside the paper's own: order, one moment for all, the diagnosis."""

import numpy as np
import pytest

from benchmark.analyse.verify import verify
from benchmark.data.bundle import load_bundle
from benchmark.evaluate.metrics import per_user
from benchmark.render.document import percent
from benchmark.render.tables.build import build_table
from benchmark.runs.store import Store
from tests.benchmark.render.synthetic import fill
from tests.benchmark.render.test_tables import planned


def test_what_the_order_adds(tmp_path, profile):
    """Every method in the order of time and shuffled, compared with itself alone."""
    store, models = Store(tmp_path), ("SASRec", "FindRec")
    fill(store, ["order"], profile, seeds=6, users=120, models=models)
    plans = planned(store, profile, "order", seeds=6, models=models)
    table = build_table("order", plans, profile, root=store.root)
    rows = [(r.heading, r.label) for r in table.document.blocks[0].rows]
    assert rows == [
        ("SASRec", "in the order of time"),
        ("", "shuffled"),
        ("FindRec", "in the order of time"),
        ("", "shuffled"),
    ]
    (effects,) = [b for b in table.document.blocks if b.title.startswith("What the order adds")]
    cells = table.cells.query("row == 'SASRec' and metric == 'NDCG@10' and protocol == 'kept'")
    mean = cells.set_index("column")["mean"]
    assert effects.rows[0].label == "in the order of time against: SASRec, shuffled"
    expected = percent(mean[""] / mean["shuffled-histories"] - 1)
    assert effects.rows[0].entries[0].text == expected


def test_the_split_at_one_moment_says_whom_it_asks_for(tmp_path, profile):
    """The counts of the bundle stand under the table, and FindRec is compared with each other
    trained row."""
    store, models = Store(tmp_path), ("SASRec", "FindRec", "Popularity")
    both = profile.model_copy(update={"run_on": ("ml-100k",)})
    load_bundle("ml-100k")
    fill(store, ["global-time"], both, seeds=2, users=120, models=models)
    plans = planned(store, both, "global-time", seeds=2, models=models)
    table = build_table("global-time", plans, both, root=store.root)
    notes = "\n".join(table.document.notes)
    assert "Protocol: one moment for all users" in notes
    assert "166 have a test target: 69 seen in training and 97 unseen" in notes
    assert "9 of 1\u2009349 items and the targets of 9 of 166 test queries" in notes
    assert set(table.numbers.verdicts["versus"]) == {"SASRec"}
    assert set(table.cells["column"]) == {""}


def test_the_diagnosis_is_derived_from_the_runs(tmp_path, profile):
    """Cells of every row under every hypothesis that has runs; what has none is said to be not
    reached; the texts are the same each time."""
    store, models = Store(tmp_path), ("SASRec", "FindRec", "Popularity")
    fill(store, ["diagnose"], profile, seeds=2, users=120, models=models)
    plans = planned(store, profile, "diagnose", seeds=2, models=models)
    table = build_table("diagnose", plans, profile, root=store.root)
    cells = table.cells.set_index(["row", "column", "metric"])
    usual = cells.loc["SASRec", "full ranking, kept", "NDCG@10"]
    runs = [store.read(plans[0].key, seed).test for seed in range(2)]
    mean = np.mean([per_user(run, "NDCG@10").mean() for run in runs])
    assert usual["mean"] == pytest.approx(mean, abs=1e-12)
    assert usual["paper"] == 0.0796
    assert usual["ci_low"] < usual["mean"] < usual["ci_high"]
    assert np.isnan(cells.loc["Popularity", "full ranking, kept", "NDCG@10"]["paper"])
    summary = {row.label: row.entries for row in table.document.blocks[0].rows}
    assert len(summary) == 10
    assert summary["popular negatives"][2].text == "not reached", "made-up runs keep no popularity"
    assert summary["uniform negatives"][0].text.startswith("n = ")
    again = build_table("diagnose", plans, profile, root=store.root)
    assert again.texts() == table.texts()
    assert verify_text(table, tmp_path) == []


def verify_text(table, folder):
    path = folder / "diagnose.csv"
    path.write_text(table.texts()["csv"], encoding="utf-8")
    return verify(path, table.cells)
