"""Tables from stored runs: statuses, buckets, comparisons, verification to the digit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark.analyse.cells import COLUMNS, CellSpec, derive_cells
from benchmark.analyse.rules import RULES, Bucket
from benchmark.analyse.verify import to_csv, verify
from benchmark.errors import InputError
from benchmark.evaluate.metrics import per_user
from benchmark.runs.runset import RunSet
from benchmark.runs.schema import RunResult
from benchmark.runs.store import Store, Stored
from tests.benchmark.results import (
    HASHES,
    delete_run,
    draw_above,
    failed_result,
    make_result,
    make_spec,
)

QUICK = replace(RULES, resamples=400)
SEEDS = tuple(range(6))
METRICS = ("NDCG@10", "MRR@5")


def fill(store: Store, model: str, quality: float, *, seeds=SEEDS, users=400, **fields) -> None:
    rng = np.random.default_rng(round(1000 * quality))
    for seed in seeds:
        above = draw_above(rng, users, quality)
        store.write(make_result(make_spec(model), seed, above, **fields))


def cell_spec(model: str, *, seeds=SEEDS, **fields) -> CellSpec:
    """A cell whose runs `make_table` looks up."""
    spec = fields.pop("spec", make_spec(model))
    runs = dict.fromkeys(seeds, Stored(Path(), "missing"))
    base = {"row": model, "run_key": spec.key, "runs": runs, "grade": "A", "spec": spec}
    return CellSpec(**base | fields)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    fill(store, "Good", 3.0)
    fill(store, "Fair", 1.5)
    fill(store, "Poor", 1.0)
    return store


def make_table(
    store: Store, cell_specs: list[CellSpec], *, table="2", hashes=lambda spec: None, **fields
):
    runs = RunSet(store)
    filled = [
        replace(c, runs={k: runs.status(c.run_key, k, hashes(c.spec)) for k in c.runs})
        for c in cell_specs
    ]
    return derive_cells(table, filled, metrics=METRICS, rules=QUICK, **fields)


ROWS = [cell_spec("Poor"), cell_spec("Good"), cell_spec("Fair")]


def cell(table, row: str, metric: str = "NDCG@10", protocol: str = "kept") -> pd.Series:
    frame = table.cells
    own = (frame["row"] == row) & (frame["metric"] == metric) & (frame["protocol"] == protocol)
    (found,) = frame[own].to_dict("records")
    return found


def test_numbers_are_those_of_the_ranks(store):
    table = make_table(store, ROWS)
    assert tuple(table.cells.columns) == COLUMNS
    assert table.cells["row"].tolist() == ["Poor"] * 4 + ["Good"] * 4 + ["Fair"] * 4
    assert table.cells["protocol"].tolist() == ["kept", "left out"] * 6
    by_seed = [
        per_user(store.read(make_spec("Good").key, seed).test, "MRR@5").mean() for seed in SEEDS
    ]
    good = cell(table, "Good", "MRR@5")
    assert good["mean"] == pytest.approx(np.mean(by_seed), rel=1e-12)
    assert good["sd"] == pytest.approx(np.std(by_seed, ddof=1), rel=1e-9)
    assert (good["n"], good["status"], good["grade"]) == (6, "ok", "A")
    assert good["ci_low"] < good["mean"] < good["ci_high"]
    assert table.problems == ()


def test_every_row_meets_the_best_other(store):
    table = make_table(store, ROWS)
    lines = table.best.query("metric == 'NDCG@10' and protocol == 'kept'").set_index("row")
    assert lines["versus"].to_dict() == {"Poor": "Good", "Good": "Fair", "Fair": "Good"}
    assert lines.loc["Good", "difference"] > 0 > lines.loc["Poor", "difference"]
    assert lines.loc["Good", ["paper_bold", "paper_star", "bold", "star"]].all()
    assert lines.loc["Fair", "underline"]
    assert (cell(table, "Good")["p_best"], cell(table, "Fair")["p_best"] < 0.05) == (1, True)
    assert len(table.best) == 12
    assert table.verdicts.empty, "no comparison was fixed beforehand"


def test_verdicts_are_on_comparisons_that_were_fixed_beforehand(store):
    """The subject against every other member; Holm over the verdicts of the whole table."""
    table = make_table(store, [cell_spec("Poor"), cell_spec("Good", subject=True), ROWS[2]])
    lines = table.verdicts.query("protocol == 'kept'").set_index(["metric", "versus"])
    assert set(table.verdicts["row"]) == {"Good"}
    assert set(table.verdicts["versus"]) == {"Poor", "Fair"}
    assert lines.loc[("NDCG@10", "Poor"), "verdict"] == "replicated"
    assert (lines.loc["NDCG@10", "p_holm"] >= lines.loc["NDCG@10", "p"]).all()
    assert set(lines.loc["MRR@5", "verdict"]) == {""}, "intervals only"
    assert lines.loc["MRR@5", "p_holm"].isna().all()
    assert lines.loc["MRR@5", "low"].notna().all()
    of_poor = make_table(store, [cell_spec("Poor", subject=True), *ROWS[1:]]).verdicts
    assert set(of_poor.query("metric == 'NDCG@10'")["verdict"]) == {"contradicted"}


def test_decompositions_add_up_to_the_comparisons(tmp_path):
    """kept = left out + retention, and each the comparison's own under that protocol: 1e-12."""
    store = Store(tmp_path)
    rng = np.random.default_rng(5)
    for model, quality in (("Good", 3.0), ("Fair", 1.5)):
        for seed in SEEDS:
            made = make_result(make_spec(model), seed, draw_above(rng, 400, quality))
            masked = np.maximum(made.test.above - rng.integers(0, 9, 400), 0).astype(np.int32)
            test = replace(made.test, above_masked=masked)
            store.write(RunResult(made.record, made.validation, test, made.length))
    table = make_table(store, [cell_spec("Good", subject=True), cell_spec("Fair")])
    (line,) = table.decompositions.query("metric == 'NDCG@10'").to_dict("records")
    assert line["kept"] == pytest.approx(line["left_out"] + line["retention"], abs=1e-12)
    for protocol, name in (("kept", "kept"), ("left out", "left_out")):
        (own,) = table.verdicts.query(f"metric == 'NDCG@10' and protocol == '{protocol}'").to_dict(
            "records"
        )
        ends = [line[name], line[f"{name}_low"], line[f"{name}_high"]]
        assert np.expm1(ends) == pytest.approx(
            [own["difference"], own["low"], own["high"]], abs=1e-12
        )
    kept = table.retentions.set_index(["row", "metric"])["retention"]
    ratio = [
        cell(table, m)["mean"] / cell(table, m, protocol="left out")["mean"]
        for m in ("Good", "Fair")
    ]
    assert kept[("Good", "NDCG@10")] == pytest.approx(ratio[0], rel=1e-12)
    assert line["retention"] == pytest.approx(np.log(ratio[0] / ratio[1]), abs=1e-12)


def test_a_control_has_an_interval_from_its_one_seed(store):
    control = make_spec("Count", protocol={"control": True})
    store.write(make_result(control, 0, draw_above(np.random.default_rng(8), 400, 1.0)))
    table = make_table(store, [*ROWS, cell_spec("Count", spec=control, seeds=(0,), compared=False)])
    found = cell(table, "Count")
    assert found["n"] == 1
    assert found["ci_low"] < found["mean"] < found["ci_high"]


def test_one_spec_has_one_interval_in_every_table(store):
    alone = cell(make_table(store, [cell_spec("Good")]), "Good")
    among = cell(make_table(store, ROWS), "Good")
    assert (alone["ci_low"], alone["ci_high"]) == pytest.approx(
        (among["ci_low"], among["ci_high"]), rel=1e-9
    )
    assert np.isnan(alone["p_best"]), "nothing to compare with"


def test_paper_values_stand_beside_the_cells_that_they_belong_to(store):
    paper = pd.DataFrame(
        [
            ("2", "Good", "", "toy", "NDCG@10", 0.5),
            ("2", "Ours", "", "toy", "NDCG@10", 0.6),
            ("3", "Good", ">30", "toy", "NDCG@10", 0.7),
            ("2", "Poor", "", "elsewhere", "NDCG@10", 0.8),
        ],
        columns=["table", "row", "group", "dataset", "metric", "value"],
    )
    table = make_table(store, [*ROWS[:2], cell_spec("Fair", paper_row="Ours")], paper_cells=paper)
    assert cell(table, "Good")["paper"] == 0.5
    assert cell(table, "Fair")["paper"] == 0.6
    assert np.isnan(cell(table, "Poor")["paper"])
    third = [cell_spec("Good", bucket=RULES.buckets[2])]
    bucket = make_table(store, third, table="3", paper_cells=paper)
    assert bucket.cells.loc[0, ["column", "paper"]].tolist() == [">30", 0.7]
    assert np.isnan(cell(table, "Good", protocol="left out")["paper"]), "the paper prints one"


def test_buckets_average_back_to_the_whole(store):
    """Means over buckets, weighed by users, are the mean over all: 1e-12."""
    length = store.read(make_spec("Good").key, 0).length
    buckets = make_table(
        store, [cell_spec("Good", bucket=bucket) for bucket in RULES.buckets]
    ).cells
    weights = [bucket.holds(length).mean() for bucket in RULES.buckets]
    assert sum(weights) == 1.0
    means = buckets.query("metric == 'NDCG@10' and protocol == 'kept'")["mean"]
    whole = cell(make_table(store, [cell_spec("Good")]), "Good")["mean"]
    assert np.dot(weights, means) == pytest.approx(whole, rel=1e-12)


def test_buckets_are_comparison_families_of_their_own(store):
    cell_specs = [cell_spec(m, bucket=b) for b in RULES.buckets for m in ("Good", "Poor")]
    lines = make_table(store, cell_specs).best.query("protocol == 'kept'")
    assert len(lines) == 12
    assert set(lines["versus"]) == {
        f"{m} {b.label}" for m in ("Good", "Poor") for b in RULES.buckets
    }


def test_bucket_without_users_is_empty_and_harmless(store):
    nobody = Bucket(1_000, None)
    table = make_table(store, [cell_spec(m, bucket=nobody) for m in ("Good", "Poor")])
    assert table.cells[["mean", "ci_low", "p_best"]].isna().all(axis=None)


def test_sweep_compares_values_of_one_row(tmp_path):
    store = Store(tmp_path)
    cell_specs = []
    for value, quality in (("1", 1.0), ("2", 2.0)):
        spec = make_spec("FindRec", variant=f"layers={value}")
        rng = np.random.default_rng(int(value))
        for seed in SEEDS:
            store.write(make_result(spec, seed, draw_above(rng, 300, quality)))
        cell_specs.append(cell_spec("FindRec", spec=spec, column=value, paper_row=value))
    lines = make_table(store, cell_specs).best.query("metric == 'NDCG@10' and protocol == 'kept'")
    assert lines["versus"].tolist() == ["FindRec 2", "FindRec 1"]
    assert lines["bold"].tolist() == [False, True]


def test_statuses(store):
    fill(store, "Partial", 1.0, seeds=(0, 1))
    fill(store, "Broken", 9.0, seeds=SEEDS[:-1])
    store.write(failed_result(make_spec("Broken"), 5))
    models = ("Good", "Poor", "Partial", "Broken", "Absent")
    table = make_table(store, [cell_spec(model) for model in models])
    found = {model: (cell(table, model)["status"], cell(table, model)["n"]) for model in models}
    assert found == {
        "Good": ("ok", 6),
        "Poor": ("ok", 6),
        "Partial": ("missing", 2),
        "Broken": ("failed", 5),
        "Absent": ("missing", 0),
    }
    assert np.isnan(cell(table, "Absent")["mean"])
    assert set(table.best["row"]) == {"Good", "Poor"}, "others take no part in any order"
    assert "Broken on toy (quick), seed 5: failed: loss is NaN at step 3" in table.problems
    assert sum("Absent" in problem for problem in table.problems) == 6


def test_controls_are_shown_and_not_judged(store):
    table = make_table(store, [*ROWS, cell_spec("Good", row="Control", compared=False)])
    assert cell(table, "Control")["mean"] == cell(table, "Good")["mean"]
    assert np.isnan(cell(table, "Control")["p_best"])


def test_stale_runs_are_used_only_when_asked(store):
    current = HASHES.model_copy(update={"code": "edited"})
    ignored = make_table(store, ROWS, hashes=lambda spec: current)
    assert set(ignored.cells["status"]) == {"stale"}
    assert ignored.cells["n"].sum() == 0
    assert "made with other code" in ignored.problems[0]
    reused = make_table(store, ROWS, hashes=lambda spec: current, reuse_stale=True)
    assert set(reused.cells["status"]) == {"stale"}
    assert set(reused.cells["n"]) == {6}
    fresh = make_table(store, ROWS, hashes=lambda spec: HASHES)
    assert set(fresh.cells["status"]) == {"ok"}


def test_stale_runs_take_part_in_comparisons_only_when_asked(store):
    edited = HASHES.model_copy(update={"code": "edited"})

    def current(spec):
        return edited if spec.model == "Good" else HASHES

    ignored = make_table(store, ROWS, hashes=current)
    assert set(ignored.cells.query("row == 'Good'")["status"]) == {"stale"}
    assert "Good" not in {*ignored.best["row"], *ignored.best["versus"]}
    reused = make_table(store, ROWS, hashes=current, reuse_stale=True)
    assert "Good" in set(reused.best["row"])


def test_failed_runs_stay_failed_when_they_are_stale_too(store):
    delete_run(store, make_spec("Good"), 0)  # a failed run does not replace a finished one
    store.write(failed_result(make_spec("Good"), 0))
    current = HASHES.model_copy(update={"code": "edited"})
    table = make_table(store, ROWS, hashes=lambda spec: current, reuse_stale=True)
    assert (cell(table, "Good")["status"], cell(table, "Good")["n"]) == ("failed", 5)


def test_damaged_run_is_missing_and_named(store):
    path = store.path(make_spec("Good").key, 3).with_suffix(".npz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    table = make_table(store, ROWS)
    assert (cell(table, "Good")["status"], cell(table, "Good")["n"]) == ("missing", 5)
    assert any(str(path) in problem for problem in table.problems)


def test_three_seeds_get_no_p(store):
    cells = [cell_spec(m, seeds=(0, 1, 2), subject=m == "Good") for m in ("Good", "Poor")]
    table = make_table(store, cells)
    assert table.cells["p_best"].isna().all()
    assert not table.best["star"].any()
    assert set(table.verdicts.query("metric == 'NDCG@10'")["verdict"]) == {"inconclusive"}
    assert table.verdicts["p"].isna().all()


def test_validation_and_masking_reach_the_numbers(tmp_path):
    store = Store(tmp_path)
    above = np.arange(60) % 20
    for seed in SEEDS:
        made = make_result(make_spec(), seed, above)
        better = replace(made.test, above=made.test.above // 2, above_masked=made.test.above // 4)
        store.write(RunResult(made.record, better, made.test, made.length))
    test = cell(make_table(store, [cell_spec("SASRec")]), "SASRec")["mean"]
    validation = cell_spec("SASRec", split="validation")
    both = make_table(store, [validation])
    unmasked = cell(both, "SASRec")["mean"]
    masked = cell(both, "SASRec", protocol="left out")["mean"]
    assert test < unmasked < masked


def test_runs_on_other_users_are_refused(store):
    fill(store, "Other", 1.0, users=399)
    with pytest.raises(InputError, match=r"runs on toy .* \[399, 400\]; .*versions of the data"):
        make_table(store, [*ROWS, cell_spec("Other")])


# ---------------------------------------------------------------- verify


def test_what_was_rendered_verifies(store, tmp_path):
    path = tmp_path / "table2.csv"
    path.write_text(to_csv(make_table(store, ROWS).cells))
    assert verify(path, make_table(store, ROWS).cells) == []
    assert path.read_text().startswith(
        "table,row,column,dataset,metric,protocol,mean,sd,n,paper,grade,ci_low,ci_high,p_best,"
        "status\n"
    )


def test_any_edited_digit_is_caught(store, tmp_path):
    """Every digit of every number of the file, one at a time; each names the cell."""
    cells = make_table(store, ROWS).cells
    path, text = tmp_path / "table2.csv", to_csv(cells)
    start = text.index("\n") + 1
    places = [i for i in range(start, len(text)) if text[i].isdigit()]
    for i in places[:: len(places) // 60]:
        path.write_text(text[:i] + str((int(text[i]) + 1) % 10) + text[i + 1 :])
        assert verify(path, cells), f"digit {i} of {text[i - 20 : i + 20]!r}"


def test_difference_names_file_cell_and_both_numbers(store, tmp_path):
    cells = make_table(store, ROWS).cells
    path = tmp_path / "table2.csv"
    mean = f"{cell(make_table(store, ROWS), 'Good', 'MRR@5')['mean']:.6g}"
    path.write_text(to_csv(cells).replace(mean, "0.9"))
    assert verify(path, cells) == [
        f"{path}: table 2, Good, toy, MRR@5, {protocol}: mean is 0.9, the stored ranks give {mean}"
        for protocol in ("kept", "left out")
    ]


def test_cells_without_runs_and_missing_cells_are_differences(store, tmp_path):
    path = tmp_path / "table2.csv"
    path.write_text(to_csv(make_table(store, ROWS).cells))
    fewer = verify(path, make_table(store, ROWS[:2]).cells)
    assert f"{path}: table 2, Fair, toy, MRR@5, kept: no run stands behind this cell" in fewer
    path.write_text(to_csv(make_table(store, ROWS[:2]).cells))
    assert any(
        "the cell is not in the file" in d for d in verify(path, make_table(store, ROWS).cells)
    )


def test_what_is_no_table_is_refused(store, tmp_path):
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    for name, reason in (("bad.csv", "not a table of cells"), ("none.csv", "cannot be read")):
        with pytest.raises(InputError, match=reason):
            verify(tmp_path / name, make_table(store, ROWS).cells)
